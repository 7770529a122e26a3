# SPDX-License-Identifier: Apache-2.0
"""The list of an image's parts: what dpkg has is read as it is, and the full image's has that instead of the small one's libraries."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.images import bill
from tests.deploy.dockerfile import IMAGES

STATUS = """\
Package: libstdc++6
Status: install ok installed
Priority: optional
Architecture: amd64
Multi-Arch: same
Source: gcc-12
Version: 12.2.0-14+deb12u1
Description: GNU Standard C++ Library v3
 Package: not-one
 Version: 9

Package: gone
Status: deinstall ok config-files
Version: 1.0

Package: half
Status: install reqreinst half-installed
Version: 1.0

Package: binutils
Status: hold ok installed
Version: 1:2.40-2


Package: python3
Status: install ok installed
Version: 3.11.2-1+b1
"""
CREATION = {"created": "2023-11-14T22:13:20Z", "creators": ["Tool: a test"]}


def small(root: Path) -> Path:
    """Below `root`, the small image's list, with a library."""
    ours = bill.part("firesteel", "0.1.0", "Apache-2.0")
    parts = [
        bill.part("typing_extensions", "4.1", "PSF-2.0", of="pypi"),
        bill.part("python", "3.11.2", "PSF-2.0"),
        {**bill.debian_part("libc6", "2.36-9"), "comment": "libc.so.6"},
        {**bill.debian_part("libown.so", ""), "comment": "libown.so"},
    ]
    place = root / bill.PLACE
    place.parent.mkdir(parents=True)
    place.write_text(bill.document("firesteel", ours, parts, CREATION))
    dpkg = root / "var/lib/dpkg"
    dpkg.mkdir(parents=True)
    (dpkg / "status").write_text(STATUS)
    return place


def test_what_dpkg_has_is_what_is_installed() -> None:
    assert [(part["name"], part["versionInfo"]) for part in bill.installed(STATUS)] == [
        ("binutils", "1:2.40-2"), ("libstdc++6", "12.2.0-14+deb12u1"), ("python3", "3.11.2-1+b1"),
    ]  # fmt: skip


def test_a_part_says_where_it_is_from() -> None:
    (_, library, _) = bill.installed(STATUS)
    assert library == {
        "name": "libstdc++6",
        "versionInfo": "12.2.0-14+deb12u1",
        "licenseDeclared": "NOASSERTION",
        "SPDXID": "SPDXRef-deb-libstdc--6",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1",
            }
        ],
    }
    assert "externalRefs" not in bill.debian_part("libown.so", "")
    (reference,) = bill.part("typing_extensions", "4.1", "PSF-2.0", of="pypi")["externalRefs"]
    assert reference["referenceLocator"] == "pkg:pypi/typing-extensions@4.1"


def test_the_full_images_list_is_its_last_step(tmp_path: Path) -> None:
    place = small(tmp_path)
    before = json.loads(place.read_text())
    subprocess.run([sys.executable, "-I", str(IMAGES / "bill.py"), str(tmp_path)], check=True, capture_output=True)
    after = json.loads(place.read_text())
    assert [(part["name"], part["versionInfo"]) for part in after["packages"]] == [
        ("firesteel", "0.1.0"), ("typing_extensions", "4.1"), ("python", "3.11.2"),
        ("binutils", "1:2.40-2"), ("libstdc++6", "12.2.0-14+deb12u1"), ("python3", "3.11.2-1+b1"),
    ]  # fmt: skip
    assert len({part["SPDXID"] for part in after["packages"]}) == len(after["packages"])
    same = ("spdxVersion", "dataLicense", "SPDXID", "creationInfo")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert after.keys() == before.keys()
    assert (before["name"], after["name"]) == ("firesteel", "firesteel-full")
    assert before["documentNamespace"] != after["documentNamespace"]
    for told in (before, after):
        ours, *others = (part["SPDXID"] for part in told["packages"])
        relations = [tuple(one[name] for name in ("spdxElementId", "relationshipType", "relatedSpdxElement")) for one in told["relationships"]]  # fmt: skip
        assert relations == [("SPDXRef-DOCUMENT", "DESCRIBES", ours), *((ours, "CONTAINS", other) for other in others)]


def test_a_list_of_another_kind_of_machine_is_another_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """SPDX wants a documentNamespace of its own for each; the images of both are made of the same sources at the same time."""
    found = set()
    for machine in ("x86_64", "aarch64"):
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        ours = bill.part("firesteel", "0.1.0", "Apache-2.0")
        found.add(json.loads(bill.document("firesteel", ours, [], CREATION))["documentNamespace"])
    assert found == {f"urn:firesteel:0.1.0:image:{machine}:2023-11-14T22:13:20Z" for machine in ("x86_64", "aarch64")}


def test_without_a_list_there_is_none_to_add_to(tmp_path: Path) -> None:
    place = small(tmp_path)
    place.unlink()
    ended = subprocess.run(
        [sys.executable, "-I", str(IMAGES / "bill.py"), str(tmp_path)], check=False, capture_output=True
    )
    assert (ended.returncode, place.exists()) == (1, False)
