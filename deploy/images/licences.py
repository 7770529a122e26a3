# SPDX-License-Identifier: Apache-2.0
"""What whoever hands on Debian's files has to hand on with them: each package's usr/share/doc/PACKAGE/copyright, and the licences that these refer to.

Ours are beside them, in usr/share/doc/firesteel. Python packages bring their own in their dist-info.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

DOCUMENTS: Final = Path("usr/share/doc")
COMMON: Final = Path("usr/share/common-licenses")
_REFERENCE: Final = re.compile(rb"/usr/share/common-licenses/([A-Za-z0-9][A-Za-z0-9.-]*[A-Za-z0-9])")
_PATHS_AT_ONCE: Final = 500


def owners(paths: Iterable[Path]) -> dict[Path, str]:
    """The Debian package of each of these files; those that no package brought are left out, as of a Python that was compiled here."""
    # Debian has /lib, /bin and their like in /usr, and dpkg knows some files by the old place and some by the new one.
    asked: dict[str, list[Path]] = {}
    for path in paths:
        for known in _places(path):
            asked.setdefault(str(known), []).append(path)
    places = sorted(asked)
    found: dict[Path, str] = {}
    for first in range(0, len(places), _PATHS_AT_ONCE):
        told = subprocess.run(
            ["dpkg-query", "--search", *places[first : first + _PATHS_AT_ONCE]],
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        for line in told.splitlines():
            packages, _, place = line.partition(": ")
            if place in asked and not line.startswith("diversion "):
                found |= dict.fromkeys(asked[place], packages.split(",")[0].split(":")[0])
    return found


def _places(path: Path) -> set[Path]:
    real = path.resolve()
    below = [one.relative_to("/usr") for one in (path, real) if one.is_relative_to("/usr")]
    return {path, real, *(Path("/") / one for one in below)}


def write(out: Path, packages: Iterable[str], ours: Sequence[Path], *, system: Path = Path("/")) -> None:
    """Into the image's root `out`, from `system`. Raises FileNotFoundError for a package without such a file: one that was left out of that system."""
    texts: list[bytes] = []
    for package in sorted(set(packages)):
        source = system / DOCUMENTS / package / "copyright"
        if not source.exists():
            raise FileNotFoundError(
                f"{source}: without it nothing of {package} may be handed on; apt-get install --reinstall {package}"
            )
        _copy(source, out / DOCUMENTS / package / "copyright")
        texts.append(source.read_bytes())
    for name in sorted({found.decode() for text in texts for found in _REFERENCE.findall(text)}):
        # Some name a file that Debian has no more, or the folder's name with a word behind it.
        if (source := system / COMMON / name).is_file():
            _copy(source, out / COMMON / name)
    for source in ours:
        _copy(source, out / DOCUMENTS / "firesteel" / source.name)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o644)
