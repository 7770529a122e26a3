# SPDX-License-Identifier: Apache-2.0
"""Which Firesteel this is."""

import platform
import subprocess
from pathlib import Path

VERSION = "0.1.0"
CONTRACT_VERSION = 1  # FS_CONTRACT_VERSION of probes/include/event.h, checked by a test
_ROOT = Path(__file__).resolve().parent.parent


def describe() -> dict[str, str]:
    """Version, event contract, Python, kernel, and the commit where this runs from a checkout."""
    return {
        "version": VERSION,
        "contract": str(CONTRACT_VERSION),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "commit": commit(),
    }


def commit() -> str:
    """The first 12 characters of the commit that is checked out here, or an empty string."""
    if not (_ROOT / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
