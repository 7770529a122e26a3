# SPDX-License-Identifier: Apache-2.0
"""`python -m bench [SECTION...] [--print]`: measures, then writes docs/benchmarks.md and bench/recorded.json.

With sections named, with --print, or on a machine that was busy when it began, nothing is written: the report goes to
the terminal.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import agent, engine, footprint, machine, overhead, page, panel, programs, protocols, report
from bench.figures import Section
from tests.servers import MissingProgram

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "docs/benchmarks.md"
RECORDED = ROOT / "bench/recorded.json"
BUSY_LOAD = 1.0
"""Load average of the last minute above which figures say more about the neighbours than about us."""

SECTIONS: Mapping[str, Callable[[], Section]] = {
    "engine": engine.run,
    "protocols": protocols.run,
    "page": page.run,
    "footprint": footprint.run,
    "programs": programs.run,
    "overhead": overhead.run,
    "panel": panel.run,
}


def driver() -> str:
    """The driver that an agent chooses here, with its hook set."""
    with agent.running() as running:
        found = running.page()
    labels = ("driver", "hooks")
    return ", ".join(filter(None, (found.label("firesteel_driver_info", label) for label in labels))) or "unknown"


def calm() -> float:
    """The load average when it has fallen low enough, or after three minutes: a build may just have ended."""
    deadline = time.monotonic() + 180
    while (load := os.getloadavg()[0]) > BUSY_LOAD and time.monotonic() < deadline:
        time.sleep(5)
    return load


def measured(names: list[str]) -> tuple[list[Section], list[str]]:
    """The sections that could be measured, and a sentence for each that could not."""
    sections, failed = [], []
    for name in names:
        began = time.monotonic()
        print(f"bench: {name} ...", file=sys.stderr, flush=True)
        try:
            sections.append(SECTIONS[name]())
        except (MissingProgram, RuntimeError, OSError) as reason:
            failed.append(f"{name}: {str(reason).splitlines()[0]}")
            print(f"bench: {name} failed: {reason}", file=sys.stderr, flush=True)
        print(f"bench: {name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return sections, failed


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure the budgets on this machine.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all without")
    parser.add_argument("--print", action="store_true", help="show the report, write nothing")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if os.geteuid() != 0:
        print("bench: only root may load what is measured here: sudo make bench", file=sys.stderr)
        return 3
    before = calm(), machine.others_attached()
    sections, failed = measured(options.sections or list(SECTIONS))
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    text = report.page(machine.description(driver(), before, ROOT), date, sections, failed)
    if options.print or options.sections:
        print(text)
    elif before[0] > BUSY_LOAD:
        print(text)
        print(f"bench: the load was {before[0]:.2f} when it began: nothing is written", file=sys.stderr)
    else:
        REPORT.write_text(text)
        figures = {key: value for section in sections for key, value in (section.recorded or {}).items()}
        RECORDED.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
        print(f"bench: wrote {REPORT.relative_to(ROOT)} and {RECORDED.relative_to(ROOT)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
