# SPDX-License-Identifier: Apache-2.0
"""A loss of a fifth against what `make bench` recorded is found before it is released.

What is compared is the CPU time that a request to nginx takes with the agent to that without it: server, client and agent
together. A time would fail on every slower machine, and a rate on every busy one.
"""

from __future__ import annotations

import json
from pathlib import Path

from bench import overhead
from bench.figures import median_ratio

RECORDED = Path(__file__).resolve().parent / "recorded.json"
KEY = "overhead.nginx.cpu"
LOSS = 0.2
# Holds where `make bench` has recorded nothing yet: the budget of the rate, turned over.
BUDGET = 1 / 0.92


def recorded_ratio() -> float:
    """What `make bench` found last, or the budget if it never ran."""
    return float(json.loads(RECORDED.read_text())[KEY]) if RECORDED.exists() else BUDGET


def tripped(measured: float, recorded: float) -> bool:
    """Whether a request costs more than a fifth more than it did when the ratio was recorded."""
    return measured > recorded * (1 + LOSS)


def measured_ratio(rounds: int = 4) -> float:
    """The median ratio of a few short pairs under nginx."""
    load = next(load for load in overhead.LOADS if load.name == "nginx")
    return median_ratio([one.cpu for one in overhead.measure(load, rounds)])
