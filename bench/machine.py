# SPDX-License-Identifier: Apache-2.0
"""What was measured on: without it a figure means nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def virtual() -> str:
    """'virtual machine' where the processor says so: figures are noisier there."""
    return "virtual machine" if " hypervisor " in f"{Path('/proc/cpuinfo').read_text()} ".replace("\n", " ") else ""


def memory_gibibytes() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)


def distribution() -> str:
    return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown system")


def revision(root: Path) -> str:
    """The commit that was measured, with a word if files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "not a git checkout"


def description(driver: str, root: Path) -> list[tuple[str, str]]:
    """Rows of the report's first table."""
    cores = os.cpu_count() or 1
    return [
        ("Processor", f"{cores} cores, {processor()} {virtual()}".strip()),
        ("Memory", f"{memory_gibibytes():.0f} GiB"),
        ("System", f"{distribution()}, Linux {platform.release()}, {platform.machine()}"),
        ("Driver", driver),
        ("Firesteel", revision(root)),
    ]
