# SPDX-License-Identifier: Apache-2.0
"""Every step of the Dockerfile, carried out in Debians of their own: both images as an engine makes them, their sizes and what is in them.

Takes minutes, the packages of a compiler from Debian's mirror, and three gigabytes for as long as it runs: FIRESTEEL_IMAGE_STEPS=1.
FIRESTEEL_IMAGE_MACHINE=arm64 has them made for that machine, whose programs qemu-user-static runs here, slowly. FIRESTEEL_IMAGE_KEEP is
a new folder in which the roots are left.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.images import bill
from probes import bcc_source
from tests.deploy import chroot, dockerfile, foreign, trees

FOREIGN = os.environ.get("FIRESTEEL_IMAGE_MACHINE", "")
KEPT = os.environ.get("FIRESTEEL_IMAGE_KEEP", "")
# Compilers that are emulated take ten times as long.
pytestmark = pytest.mark.timeout(15000 if FOREIGN else 1500)
BASE = {"BASE": "debian@sha256:" + "0" * 64}
FULL_MB = range(600, 730)
"""docs/kubernetes.md says 690 of a whole Debian; of a slim one it is less, and Debian's updates move it."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The root of each stage."""
    above = tmp_path_factory.mktemp("steps")
    folder = Path(KEPT) if KEPT else above / "stages"
    folder.mkdir(mode=0o755)
    above.chmod(0o755)
    context = folder / "context"
    dockerfile.hand_over(dockerfile.context(), context)
    _, stages = dockerfile.stages((dockerfile.IMAGES / "Dockerfile").read_text())
    base = folder / "base"
    with contextlib.ExitStack() as ended:
        if not KEPT:
            ended.callback(chroot.removed, folder)
        if FOREIGN:
            ended.enter_context(foreign.emulated(FOREIGN, above / "binfmt"))
        chroot.debian(base, FOREIGN)
        roots: dict[str, Path] = {}
        for stage in stages:
            root = folder / stage.name
            if stage.base == "scratch":
                root.mkdir()
            else:
                assert stage.base == "${BASE}"
                chroot.copy_of(base, root)
            chroot.perform(stage, root, roots, context, BASE)
            roots[stage.name] = root
        yield roots


def test_everything_is_for_that_machine(made: dict[str, Path]) -> None:
    machine = foreign.MACHINES[FOREIGN][0] if FOREIGN else os.uname().machine
    for name in ("small", "full"):
        assert trees.machines(made[name]) == {machine}
        kernels = bcc_source.ARCHITECTURES[machine]
        wanted = {f"firesteel-{kind}-{kernels}.bpf.o" for kind in ("typed", "untyped")}
        assert trees.bpf_objects(made[name]) == wanted


def test_both_have_the_sizes_that_are_told(made: dict[str, Path]) -> None:
    sizes = {name: trees.size_mb(made[name]) for name in ("small", "full")}
    print(sizes)
    assert sizes["small"] < trees.LARGEST_MB
    assert round(sizes["full"]) in FULL_MB


def test_the_small_one_is_whole_and_answers(made: dict[str, Path]) -> None:
    assert trees.missing_libraries(made["small"]) == set()
    assert not (made["small"] / "bin").exists()
    assert answered(made["small"]).startswith("firesteel 0.1.0, event contract 1")


def test_whoever_hands_them_on_hands_on_licences(made: dict[str, Path]) -> None:
    """Of Debian's interpreter and its libraries, which the small image takes without the packages."""
    for root in made["small"], made["full"]:
        documents = {path.parent.name for path in root.glob("usr/share/doc/*/copyright")}
        assert {"libc6", "libssl3", "ca-certificates"} <= documents
        assert any(re.fullmatch(r"libpython3\.\d+-stdlib", name) for name in documents), documents
        assert (root / "usr/share/doc/firesteel/LICENSE").is_file()


def answered(root: Path) -> str:
    return chroot.told(root, "/usr/local/bin/firesteel", "version")


def test_the_full_one_has_what_a_node_compiles_with(made: dict[str, Path]) -> None:
    full = made["full"]
    assert answered(full) == answered(made["small"])
    assert "usage" in chroot.inside(full, "recompile-module.sh --help").lower()
    assert chroot.inside(full, "/usr/bin/python3 -c 'import bcc; print(bcc.__name__)'") == "bcc\n"
    # As a module is: an object and no program, for which there would have to be a C library's headers.
    compiled = "printf 'int one(void) { return 1; }' | gcc -x c -c -o /run/one.o - && test -s /run/one.o"
    assert chroot.inside(full, f"{compiled} && make --version").startswith("GNU Make")
    assert list((full / "tmp").iterdir()) == []
    assert list((full / "var/lib/apt/lists").iterdir()) == []


def test_its_list_of_parts_is_what_dpkg_and_python_have(made: dict[str, Path]) -> None:
    full = made["full"]
    told = json.loads((full / bill.PLACE).read_text())
    shown = chroot.inside(full, "dpkg-query --show --showformat='${Package} ${Version}\\n'").splitlines()
    listed = {
        f"{part['name']} {part['versionInfo']}"
        for part in told["packages"]
        if part["SPDXID"].startswith("SPDXRef-deb-")
    }
    assert listed == set(shown)
    assert {"gcc", "make", "python3-bpfcc", "libc6", "binutils"} <= {line.split()[0] for line in shown}
    folders = full.glob("usr/local/lib/python3*/*-packages/*.dist-info/METADATA")
    python = {re.findall(r"^(?:Name|Version): (.+)$", place.read_text(), re.MULTILINE)[0] for place in folders}
    references = [part["externalRefs"][0]["referenceLocator"] for part in told["packages"] if "externalRefs" in part]
    assert len(python) > 30
    assert {part["name"] for part in told["packages"] if "pypi" in str(part.get("externalRefs"))} == python
    assert len(references) == len(set(references))


def test_a_base_without_certificates_takes_no_https(made: dict[str, Path]) -> None:
    """Before anything is changed; made["full"] has certificates, what it began with has not."""
    base = made["full"].with_name("base")
    assert not (base / "etc/ssl/certs/ca-certificates.crt").exists()
    script = (dockerfile.IMAGES / "packages.sh").read_text()
    with pytest.raises(AssertionError, match="this base has no certificates for https"):
        chroot.inside(
            base,
            script.replace("${1:-}", "full"),
            environment={**BASE, "DEBIAN_ARCHIVE": "https://snapshot.debian.org/x"},
        )
