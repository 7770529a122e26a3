# SPDX-License-Identifier: Apache-2.0
"""Packets of real programs, as tcpdump wrote them: what was asked is what their clients did, time included.

After a change that is meant to change the result: `python tests/replay/test_captures.py` writes the golden files anew.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.agents import FIRESTEEL

HERE = Path(__file__).resolve().parent
CAPTURES = HERE.parent / "recordings" / "captures"
NAMES = ("shop-lo-nano.pcap", "shop-any.pcapng", "shop-snaplen-100.pcap")
ROUNDS = 2


def told(name: str) -> dict[str, Any]:
    """The parts of the account that do not depend on where it is read."""
    command = [*FIRESTEEL, "replay", str(CAPTURES / name), "--json"]
    account = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    edges = [{key: edge[key] for key in ("id", "tcp")} for edge in account["topology"]["edges"]]
    return {"capture": account["capture"], "requests": account["requests"], "edges": edges}


@pytest.mark.parametrize("name", NAMES)
def test_the_result_is_the_golden_one(name: str) -> None:
    assert told(name) == json.loads((HERE / f"{name}.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_are_those_of_the_clients(name: str) -> None:
    account = told(name)
    counts: dict[tuple[str, int], int] = {}
    for row in account["requests"]:
        key = row["protocol"], row["status"]
        counts[key] = counts.get(key, 0) + row["count"]
    # With 100 bytes of each packet the name in a question is whole, and so is the head of a request's line.
    assert counts == {
        ("http", 200): 3 * ROUNDS, ("http", 404): ROUNDS, ("http", 503): ROUNDS, ("dns", 0): ROUNDS, ("dns", 3): ROUNDS,
    }  # fmt: skip
    refused = [edge["tcp"]["connect_failures"] for edge in account["edges"] if edge["tcp"]["connect_failures"]]
    assert refused == [{"ECONNREFUSED": ROUNDS}]


if __name__ == "__main__":
    for name in NAMES:
        (HERE / f"{name}.json").write_text(json.dumps(told(name), indent=1) + "\n")
        sys.stdout.write(f"{name}.json written\n")
