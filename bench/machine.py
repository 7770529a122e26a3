# SPDX-License-Identifier: Apache-2.0
"""What was measured on: without it a figure means nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from bench import programs
from tests.servers import MissingProgram


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
    """The commit that was measured, with a word if files differ from it. What benchmarks write themselves does not count."""
    written = (":!docs", ":!bench/recorded.json")
    asked = (
        ["git", "rev-parse", "--short", "HEAD"],
        ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", *written],
    )
    try:
        commit, changed = (
            subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()
            for command in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"
    return f"{commit}-dirty" if changed else commit


def others_attached() -> str:
    """How many BPF programs are loaded before anything of this benchmark is: they cost in every figure."""
    try:
        return str(len(programs.loaded()))
    except (MissingProgram, OSError, subprocess.CalledProcessError):
        return "unknown (no bpftool)"


def description(driver: str, before: tuple[float, str], root: Path) -> list[tuple[str, str]]:
    """Rows of the report's first table. `before`: the load average of the minute before, and who else was attached."""
    cores = os.cpu_count() or 1
    return [
        ("Processor", f"{cores} cores, {processor()} {virtual()}".strip()),
        ("Memory", f"{memory_gibibytes():.0f} GiB"),
        ("System", f"{distribution()}, Linux {platform.release()}, {platform.machine()}"),
        ("Driver", driver),
        ("Load before", f"{before[0]:.2f} (the figures below mean little if this is not small)"),
        ("BPF programs of others", before[1]),
        ("Firesteel", revision(root)),
    ]
