# SPDX-License-Identifier: Apache-2.0
"""Processes of a running agent from outside: /proc and bpftool, for tests of privileges and of what is left behind."""

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.agents import Agent
from tests.servers import program

_OWN_FDS = {"prog_id": "prog", "link_id": "link", "map_id": "map"}


def status(pid: int) -> dict[str, str]:
    """/proc/PID/status by field."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def children(pid: int) -> dict[int, str]:
    """Process ids and names of the children of a process."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                told = status(int(folder.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
            if told.get("PPid") == str(pid):
                found[int(folder.name)] = told["Name"]
    return found


def engine_of(agent: Agent) -> int:
    """The engine's process id, once it runs; AssertionError if none does for five seconds."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        found = [pid for pid, name in children(agent.process.pid).items() if name == "firesteel-engin"]
        if len(found) == 1:
            return found[0]
        time.sleep(0.02)
    raise AssertionError(f"no engine below process {agent.process.pid}: {agent.log.read_text()}")


def is_alive(pid: int) -> bool:
    try:
        return status(pid)["State"][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kernel_objects(pid: int) -> set[tuple[str, int]]:
    """BPF programs, links and maps that the descriptors of a process hold, as (kind, id)."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed in the meantime
            for name, number in re.findall(r"^(prog_id|link_id|map_id):\t(\d+)$", descriptor.read_text(), re.MULTILINE):
                found.add((_OWN_FDS[name], int(number)))
    return found


def loaded_objects() -> dict[tuple[str, int], Any]:
    """What bpftool shows, by (kind, id)."""
    found = {}
    for kind in ("prog", "link", "map"):
        # Exits with 255 where an object went while it was being listed; the list is printed all the same.
        command = [program("bpftool"), "--json", "--bpffs", kind, "show"]
        printed = subprocess.run(command, check=False, capture_output=True, text=True).stdout
        for entry in json.loads(printed or "[]"):
            if "id" in entry:
                found[kind, int(entry["id"])] = entry
    return found


def within(seconds: float, what: Callable[[], bool]) -> bool:
    """Whether `what` comes to hold within the time."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def started_ago(pid: int) -> float:
    """Seconds since a process started."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
