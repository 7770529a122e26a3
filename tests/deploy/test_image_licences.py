# SPDX-License-Identifier: Apache-2.0
"""Licence texts of Debian's packages in an image: whose files there are, and what goes along with them."""

import sys
from pathlib import Path

import pytest

from deploy.images import licences

COMMON = "/usr/share/common-licenses"


def system(root: Path) -> Path:
    """With one package, whose text refers to a licence that is a link, one that is gone, and the folder itself."""
    documents, common = root / "usr/share/doc/one", root / "usr/share/common-licenses"
    documents.mkdir(parents=True)
    common.mkdir()
    (documents / "copyright").write_text(f"See `{COMMON}/LGPL', {COMMON}/GPL-2.\nand {COMMON}/Gone in {COMMON}/.\n")
    for name in ("LGPL-2.1", "GPL-2", "Artistic"):
        (common / name).write_text(name)
    (common / "LGPL").symlink_to("LGPL-2.1")
    return root


def test_a_package_brings_what_it_refers_to(tmp_path: Path) -> None:
    root, out = system(tmp_path / "system"), tmp_path / "image"
    licences.write(out, ["one", "one"], [root / "usr/share/common-licenses/Artistic"], system=root)
    found = {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if not path.is_dir()}
    assert found == {
        "usr/share/doc/one/copyright": (root / "usr/share/doc/one/copyright").read_text(),
        "usr/share/common-licenses/LGPL": "LGPL-2.1",
        "usr/share/common-licenses/GPL-2": "GPL-2",
        "usr/share/doc/firesteel/Artistic": "Artistic",
    }
    assert not any(path.is_symlink() for path in out.rglob("*"))


def test_a_package_without_its_text_is_not_handed_on(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"doc/two/copyright.*--reinstall two"):
        licences.write(tmp_path / "image", ["one", "two"], [], system=system(tmp_path / "system"))


def test_files_have_owners_by_the_old_place_and_by_the_new_one() -> None:
    # /lib is /usr/lib, and dpkg knows a file by one of both.
    text = Path("/usr/share/common-licenses/GPL-2")
    loaders = [path for folder in ("/lib64", "/usr/lib64") for path in Path(folder).glob("ld-linux-*.so.2")]
    loaders += [path for folder in ("/lib", "/usr/lib") for path in Path(folder).glob("ld-linux-*.so.1")]
    found = licences.owners([text, *loaders, Path(sys.prefix) / "no-such-file"])
    assert found == {text: "base-files", **dict.fromkeys(loaders, "libc6")}
    assert len(loaders) == 2
