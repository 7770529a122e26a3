# SPDX-License-Identifier: Apache-2.0
"""scripts/recompile-module.sh on a node that is made up: its headers build whatever compiler they are told to accept."""

import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from probes import module_file
from tests.servers import MissingProgram

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "scripts/recompile-module.sh"
RELEASE = "4.4.0-firesteel"
_MAKEFILE = """
.PHONY: modules
modules:
	@echo "  CC [M]  firesteel.o by $(CC)"
	@for word in $(ACCEPTED); do if [ "$$word" = "$(CC)" ]; then exit 0; fi; done; cat $(CURDIR)/complaint; exit 1
	@printf '__attribute__((section(".modinfo"))) const char magic[] = "vermagic=%s SMP ";' $(MADE_FOR) >$(M)/made.c
	@cc -c -o $(M)/firesteel.ko $(M)/made.c
"""


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@dataclass
class Node:
    """`root` is where the script looks for the node's files, `bin` comes first in PATH."""

    root: Path

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def headers(self) -> Path:
        return self.root / "lib/modules" / RELEASE / "build"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def modules(self) -> Path:
        return self.root / "var/lib/firesteel/modules"

    def have_headers(
        self, accepted: str = "gcc-5", made_for: str = RELEASE, built_by: str = "gcc version 5.4.0"
    ) -> None:
        generated = self.headers / "include/generated"
        generated.mkdir(parents=True)
        (generated / "utsrelease.h").write_text(f'#define UTS_RELEASE "{RELEASE}"\n')
        (generated / "compile.h").write_text(f'#define LINUX_COMPILER "{built_by} (Debian)"\n')
        (self.headers / "complaint").write_text("error: unknown option\n")
        (self.headers / "Makefile").write_text(f"ACCEPTED = {accepted}\nMADE_FOR = {made_for}\n{_MAKEFILE}")

    def have_compiler(self, name: str, version: str) -> None:
        _program(self.bin / name, f"echo {version}")

    def run(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        environment = {
            "PATH": f"{self.bin}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "TMPDIR": str(self.temporary),
            "FIRESTEEL_NODE_ROOT": str(self.root),
            **variables,
        }
        return subprocess.run(
            ["bash", str(SCRIPT), "--kernel", RELEASE, *arguments], capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, env=environment, timeout=60,
        )  # fmt: skip

    def files(self) -> set[str]:
        """What is on the node."""
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*")}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    for name in ("make", "ld", "strip", "cc"):
        if shutil.which(name) is None:
            raise MissingProgram(name)
    made = Node(tmp_path)
    made.temporary.mkdir()
    _program(made.bin / "apt-cache", "exit 100")  # no network
    return made


def _fails(node: Node, *arguments: str, **variables: str) -> list[str]:
    """The last two lines of a run that fails and leaves nothing behind: the reason, and what to do."""
    before = node.files()
    finished = node.run(*arguments, **variables)
    assert finished.returncode == 1, finished.stderr
    assert finished.stdout == ""
    assert node.files() == before
    return [line.removeprefix("recompile-module: ") for line in finished.stderr.splitlines()[-2:]]


def test_a_module_is_built_by_the_compiler_of_the_kernel(node: Node) -> None:
    node.have_headers()
    node.have_compiler("gcc-9", "9")
    node.have_compiler("gcc-5", "5")
    finished = node.run()
    assert finished.returncode == 0, finished.stderr
    folder = node.modules / RELEASE / "1"
    assert {path.name for path in folder.iterdir()} == {"firesteel.ko", "built-from"}
    assert b"vermagic=4.4.0-firesteel SMP" in (folder / "firesteel.ko").read_bytes()
    assert stat.S_IMODE((folder / "firesteel.ko").stat().st_mode) == 0o644
    assert "building for Linux 4.4.0-firesteel with gcc-5 (the kernel's own: gcc 5)" in finished.stderr
    assert "not tried: this is a container" in finished.stderr
    assert list(node.temporary.iterdir()) == []


def test_it_is_not_built_again_until_it_is_asked_for(node: Node) -> None:
    node.have_headers()
    node.have_compiler("gcc-5", "5")
    assert node.run().returncode == 0
    module = node.modules / RELEASE / "1/firesteel.ko"
    first = module.stat().st_mtime_ns
    again = node.run()
    assert (again.returncode, module.stat().st_mtime_ns) == (0, first)
    assert "is there and up to date (--force builds it anyway)" in again.stderr
    assert node.run("--force").returncode == 0
    assert module.stat().st_mtime_ns > first


def test_every_compiler_is_tried_the_nearest_first_and_once(node: Node) -> None:
    node.have_headers(accepted="gcc-8")
    for name, version in (("gcc-9", "9"), ("gcc-8", "8"), ("gcc-6", "6")):
        node.have_compiler(name, version)
    (node.bin / "gcc").symlink_to("gcc-6")
    finished = node.run()
    assert finished.returncode == 0, finished.stderr
    assert re.findall(r"with (\S+) \(the", finished.stderr) == ["gcc", "gcc-8"]
    assert "gcc failed; its last lines:" in finished.stderr
    assert "    error: unknown option" in finished.stderr


def test_no_compiler_of_those_that_are_here_can_build_it(node: Node) -> None:
    node.have_headers(accepted="")
    node.have_compiler("gcc-5", "5")
    reason, remedy = _fails(node)
    assert reason.startswith("no compiler that is here can build for Linux 4.4.0-firesteel (tried: gcc-5")
    assert remedy == "what to do: the one that built the kernel: apt-get install gcc-5, or dnf install gcc"


def test_a_compiler_that_is_asked_for_must_be_here(node: Node) -> None:
    node.have_headers()
    assert _fails(node, "--cc", "gcc-3") == [
        "there is no compiler gcc-3", "what to do: --cc with one that is here, or none",
    ]  # fmt: skip


def test_another_compiler_does_not_help_where_the_headers_programs_do_not_run(node: Node) -> None:
    node.have_headers(accepted="")
    (node.headers / "complaint").write_text(
        "./tools/objtool/objtool: /lib/libc.so.6: version `GLIBC_2.38' not found (required by ./tools/objtool/objtool)\n"
    )
    node.have_compiler("gcc-5", "5")
    node.have_compiler("gcc-6", "6")
    reason, remedy = _fails(node)
    assert reason.startswith("a program of these headers does not run here: ")
    assert "in a container of its own release" in remedy


def test_without_headers_it_says_where_it_looked(node: Node) -> None:
    reason, remedy = _fails(node)
    assert reason.startswith("no headers of Linux 4.4.0-firesteel (looked in ")
    for place in ("lib/modules/4.4.0-firesteel/build", "usr/src/linux-headers-4.4.0-firesteel", "usr/src/kernels"):
        assert place in reason
    assert reason.endswith("apt has no package linux-headers-4.4.0-firesteel)")
    assert remedy.startswith("what to do: apt-get install linux-headers-4.4.0-firesteel, or dnf install kernel-devel-")


def test_headers_of_another_release_are_refused(node: Node) -> None:
    node.have_headers()
    (node.headers / "include/generated/utsrelease.h").write_text('#define UTS_RELEASE "4.4.1"\n')
    assert _fails(node, "--headers", str(node.headers)) == [
        f"{node.headers} is for Linux 4.4.1, not for 4.4.0-firesteel",
        "what to do: --kernel 4.4.1, or the headers of 4.4.0-firesteel",
    ]


def test_a_folder_that_has_no_headers_is_refused(node: Node) -> None:
    reason, _ = _fails(node, "--headers", str(node.temporary))
    assert reason == f"{node.temporary} has no prepared kernel headers (include/generated/utsrelease.h)"


def test_what_was_built_for_another_release_is_not_kept(node: Node) -> None:
    node.have_headers(made_for="4.4.9")
    node.have_compiler("gcc-5", "5")
    assert _fails(node) == [
        "what was built is not for Linux 4.4.0-firesteel: vermagic=4.4.9",
        "what to do: --headers with those of 4.4.0-firesteel",
    ]


def test_an_output_that_cannot_be_written_is_named(node: Node) -> None:
    node.have_headers()
    node.have_compiler("gcc-5", "5")
    reason, remedy = _fails(node, "--output", "/proc/firesteel-modules")
    assert reason.startswith("cannot make /proc/firesteel-modules: ")
    assert remedy == "what to do: run as root, mount it read-write, or --output DIR"


def test_a_kernel_that_wants_signatures_gets_no_unsigned_module(node: Node) -> None:
    node.have_headers()
    node.have_compiler("gcc-5", "5")
    (node.headers / ".config").write_text("CONFIG_MODULE_SIG_FORCE=y\n")
    reason, remedy = _fails(node)
    assert reason.endswith("was built to load signed modules only (CONFIG_MODULE_SIG_FORCE)")
    assert remedy.startswith("what to do: --sign KEY CERT, with a certificate that it trusts")


def test_it_signs(node: Node) -> None:
    node.have_headers()
    node.have_compiler("gcc-5", "5")
    (node.headers / ".config").write_text("CONFIG_MODULE_SIG_FORCE=y\n")
    key, certificate = node.root / "key.pem", node.root / "cert.der"
    key.touch()
    certificate.touch()
    _program(node.headers / "scripts/sign-file", 'echo "$1 $2 $3" >>"$4"')
    assert node.run("--sign", str(key), str(certificate)).returncode == 0
    signed = (node.modules / RELEASE / "1/firesteel.ko").read_bytes()
    assert signed.endswith(f"sha256 {key} {certificate}\n".encode())
    assert "is there and up to date" in node.run("--sign", str(key), str(certificate)).stderr


@pytest.mark.parametrize(("missing", "words"), [("key", "the key"), ("cert", "the certificate")])
def test_key_and_certificate_must_be_readable(node: Node, missing: str, words: str) -> None:
    node.have_headers()
    node.have_compiler("gcc-5", "5")
    paths = {name: node.root / name for name in ("key", "cert")}
    for name, path in paths.items():
        if name != missing:
            path.touch()
    reason, _ = _fails(node, "--sign", *map(str, paths.values()))
    assert reason == f"{words} {paths[missing]} cannot be read"


def test_a_signature_that_fails_is_shown(node: Node) -> None:
    node.have_headers()
    node.have_compiler("gcc-5", "5")
    (node.root / "key").touch()
    _program(node.headers / "scripts/sign-file", "echo 'bad key' >&2; exit 1")
    reason, remedy = _fails(node, "--sign", str(node.root / "key"), str(node.root / "key"))
    assert reason == "signing failed: see above"
    assert "belong together" in remedy


def test_a_dry_run_changes_nothing(node: Node) -> None:
    node.have_headers()
    node.have_compiler("gcc-5", "5")
    _program(node.bin / "docker", "exit 1")
    _program(node.bin / "dkms", "exit 1")
    before = node.files()
    finished = node.run("--dry-run", "--dkms", "--image", "firesteel:1")
    assert finished.returncode == 0, finished.stderr
    assert node.files() == before
    for words in ("would build in", "would put the module into", "have dkms build", "would build firesteel:1-modules"):
        assert words in finished.stderr


def test_the_list_has_headers_and_modules(node: Node) -> None:
    node.have_headers()
    node.have_compiler("gcc-5", "5")
    assert node.run().returncode == 0
    listed = node.run("--list")
    assert (listed.returncode, listed.stdout.splitlines()) == (
        0, [f"{RELEASE}\t{node.headers}", f"{RELEASE}\tcontract 1\tgcc-5"],
    )  # fmt: skip


def test_dkms_gets_the_sources_and_is_told_to_build(node: Node) -> None:
    node.have_headers()
    node.have_compiler("gcc-5", "5")
    _program(node.bin / "dkms", f'echo "$@" >>{node.root}/said')
    assert node.run("--dkms").returncode == 0
    said = (node.root / "said").read_text().splitlines()
    assert [line.split()[0] for line in said] == ["remove", "install"]
    assert said[1].endswith(f"-m firesteel -v 0.1.0 -k {RELEASE}")
    source = node.root / "usr/src/firesteel-0.1.0"
    names = {path.name for path in source.iterdir()}
    assert {"dkms.conf", "dkms-modules.sh", "Kbuild", "Makefile", "features.sh", "compat.h", "include"} <= names
    assert (source / "dkms-modules.sh").stat().st_mode & 0o111, "dkms runs it"
    assert (source / "include/event.h").exists()


def test_dkms_that_fails_leaves_no_sources(node: Node) -> None:
    node.have_headers()
    node.have_compiler("gcc-5", "5")
    _program(node.bin / "dkms", '[ "$1" = remove ] || { echo "Error! bad" >&2; exit 10; }')
    finished = node.run("--dkms")
    assert finished.returncode == 1
    assert "    Error! bad" in finished.stderr
    assert finished.stderr.splitlines()[-2] == f"recompile-module: dkms could not build it for {RELEASE}: see above"
    assert not (node.root / "usr/src/firesteel-0.1.0").exists()


def test_dkms_has_the_version_of_the_module() -> None:
    version = re.search(r'FS_KMOD_VERSION "([^"]+)"', (ROOT / "probes/kmod/interface.h").read_text())
    assert version is not None
    assert f'PACKAGE_VERSION="{version[1]}"' in (ROOT / "probes/kmod/dkms.conf").read_text()


def test_an_image_gets_a_layer_of_all_modules(node: Node) -> None:
    node.have_headers()
    node.have_compiler("gcc-5", "5")
    _program(
        node.bin / "docker", f'for last; do :; done; cp -r "$last" {node.root}/context; echo "$@" >{node.root}/said'
    )
    assert node.run("--image", "firesteel:1").returncode == 0
    assert (node.root / "said").read_text().startswith("build -q -t firesteel:1-modules ")
    assert (node.root / "context/modules" / RELEASE / "1/firesteel.ko").exists()
    dockerfile = (node.root / "context/Dockerfile").read_text().splitlines()
    # Over module_file.BUILT a pod has the node's folder mounted.
    assert dockerfile == ["FROM firesteel:1", f"COPY --chown=0:0 modules {module_file.IMAGE}"]


def test_an_image_that_cannot_be_built_is_named(node: Node) -> None:
    node.have_headers()
    node.have_compiler("gcc-5", "5")
    _program(node.bin / "docker", "echo 'pull access denied' >&2; exit 1")
    finished = node.run("--image", "firesteel:1")
    assert finished.returncode == 1
    assert "    pull access denied" in finished.stderr
    assert finished.stderr.splitlines()[-2].endswith("docker could not build firesteel:1-modules: see above")


def test_without_a_container_engine_the_folder_does_it(node: Node) -> None:
    node.have_headers()
    node.have_compiler("gcc-5", "5")
    programs = node.root / "programs"
    programs.mkdir()
    for program in Path("/usr/bin").iterdir():
        if program.name not in {"docker", "podman", "nerdctl", "buildah"}:
            (programs / program.name).symlink_to(program)
    reason, remedy = _fails(node, "--dry-run", "--image", "firesteel:1", PATH=f"{node.bin}:{programs}")
    assert reason == "there is no container engine (docker, podman, nerdctl, buildah)"
    assert remedy.endswith(f"the agent also finds the module in {node.modules}, which its pod mounts")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--frobnicate"], "there is no option --frobnicate"),
        (["--headers"], "--headers needs a value"),
        (["--sign", "key"], "--sign needs a private key and a certificate"),
        (["--kernel", "../../etc"], "'../../etc' is no kernel release"),
    ],
)
def test_what_cannot_be_meant_is_refused(node: Node, arguments: list[str], reason: str) -> None:
    assert _fails(node, *arguments)[0] == reason


def test_interrupted_it_leaves_nothing(node: Node) -> None:
    node.have_headers()
    node.have_compiler("gcc-5", "5")
    _program(node.bin / "make", "kill -TERM $PPID; sleep 1; exit 1")
    before = node.files()
    assert node.run().returncode == 143
    assert node.files() == before
