# SPDX-License-Identifier: Apache-2.0
"""Run time and count of each BPF program of the agent under load, from the kernel's own statistics."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import agent
from bench.figures import Line, Section, Table, quick
from tests import clients, servers

_SWITCH = Path("/proc/sys/kernel/bpf_stats_enabled")


@dataclass(frozen=True, slots=True)
class Program:
    """A loaded program. Times include the 60 to 80 ns that the kernel's measuring itself takes each time."""

    number: int
    name: str
    kind: str
    nanoseconds: int
    runs: int


def loaded() -> dict[int, Program]:
    """All BPF programs in the kernel now, by id."""
    command = [servers.program("bpftool"), "--json", "prog", "show"]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    found = [
        Program(row["id"], row.get("name", "?"), row["type"], row.get("run_time_ns", 0), row.get("run_cnt", 0))
        for row in rows
    ]
    return {program.number: program for program in found}


@contextmanager
def statistics() -> Iterator[None]:
    """Has the kernel measure programs, and restores what was set before."""
    before = _SWITCH.read_text()
    _SWITCH.write_text("1")
    try:
        yield
    finally:
        _SWITCH.write_text(before)


def run() -> Section:
    others = loaded()
    seconds = 3 if quick() else 6
    with statistics(), servers.nginx() as server, agent.running():
        before = loaded()
        load = clients.wrk(server, seconds=seconds)
        after = loaded()
    spent = []
    for number, program in after.items():
        if number in others:
            continue
        start = before.get(number, Program(number, "", "", 0, 0))
        spent.append((program, program.nanoseconds - start.nanoseconds, program.runs - start.runs))
    spent.sort(key=lambda row: -row[1])
    total = sum(nanoseconds for _, nanoseconds, _ in spent)
    rows = [
        [
            program.name,
            program.kind,
            f"{runs:,}",
            f"{runs / load.requests:.2f}",
            f"{nanoseconds / runs:,.0f} ns" if runs else "-",
            f"{nanoseconds / load.requests:,.0f} ns",
        ]
        for program, nanoseconds, runs in spent
    ]
    table = Table(
        "BPF programs under nginx at saturation (both ends on this machine)",
        ("program", "type", "runs", "runs per request", "one run", "per request"),
        rows,
        "With kernel.bpf_stats_enabled, whose own 60 to 80 ns are in every run.",
    )
    line = Line(
        "time in BPF programs per HTTP request, both ends here, measuring included", f"{total / load.requests:,.0f} ns"
    )
    return Section([line], [table], {"bpf_ns_per_request": round(total / load.requests)})
