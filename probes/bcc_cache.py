# SPDX-License-Identifier: Apache-2.0
"""What BCC compiled, kept by release and by what it was made of: the next start needs no compiler.

The kernel verifies whatever is loaded from here, but it is loaded with all privileges: so only what this user wrote into a
folder of its own is read.
"""

import contextlib
import json
import os
import stat
import tempfile
from pathlib import Path

VARIABLE = "FIRESTEEL_BCC_CACHE"
FOLDER = Path("/var/lib/firesteel/bcc")
_KEPT = 4
"""Results for each release: of a few versions of the sources."""


def folder(release: str) -> Path:
    """Of one kernel."""
    return Path(os.environ.get(VARIABLE) or FOLDER) / release


def read(release: str, name: str) -> dict[str, object] | None:
    """The result of that name, or None."""
    path = folder(release) / f"{name}.json"
    with contextlib.suppress(OSError, ValueError):
        if _is_ours(path.parent) and _is_ours(path):
            found = json.loads(path.read_text())
            if isinstance(found, dict) and {"programs", "seconds", "mebibytes", "bcc"} <= found.keys():
                return found
    return None


def write(release: str, name: str, answer: dict[str, object]) -> str:
    """Keeps it, if there is a place. Returns a word about that."""
    place = folder(release)
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=place, suffix=".new", delete=False) as file:
            json.dump(answer, file)
        Path(file.name).replace(place / f"{name}.json")
        for old in sorted(place.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            old.unlink()
    except OSError as error:
        return f"not kept ({place}: {error.strerror})"
    return f"kept in {place}"


def _is_ours(path: Path) -> bool:
    facts = path.lstat()
    return facts.st_uid == os.geteuid() and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
