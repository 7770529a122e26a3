# SPDX-License-Identifier: Apache-2.0
"""What the fuzzers had in their longest runs: `python -m bench.fuzzed < results` keeps what scripts/fuzz.sh counted.

A line of results is a fuzzer's name and how many inputs it had, with nothing found.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.figures import Section, Table

KEPT = Path(__file__).with_name("fuzzed.json")


def kept() -> dict[str, dict[str, Any]]:
    """By fuzzer: `inputs`, the `date` of the run, and a `note` where it was of an earlier state of the code."""
    return dict(json.loads(KEPT.read_text()))


def merged(before: Mapping[str, Mapping[str, Any]], results: Iterable[str], date: str) -> dict[str, Mapping[str, Any]]:
    """A run of the present state stands in the place of one of an earlier state, and of a shorter one."""
    found = dict(before)
    for line in results:
        name, inputs = line.split()
        old = found.get(name, {"inputs": 0})
        if "note" in old or int(inputs) >= old["inputs"]:
            found[name] = {"inputs": int(inputs), "date": date}
    return dict(sorted(found.items()))


def section() -> Section:
    rows = [(name, f"{one['inputs']:,}", one["date"], one.get("note", "")) for name, one in sorted(kept().items())]
    note = "Under address and undefined-behaviour sanitizers, with nothing found; `FUZZ_INPUTS=10000000 make fuzz` is such a run."
    return Section((), (Table("Fuzzers", ("fuzzer", "inputs", "date", "of which state"), rows, note),))


def main() -> int:
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    KEPT.write_text(json.dumps(merged(kept(), sys.stdin, date), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
