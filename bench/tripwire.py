# SPDX-License-Identifier: Apache-2.0
"""A loss of a fifth against the recorded ratio of nginx with and without the agent is found before it is released.

The ratio, not a time: a time would fail on every slower machine.
"""

from __future__ import annotations

import json
from pathlib import Path

from bench import overhead
from bench.figures import median_ratio

RECORDED = Path(__file__).resolve().parent / "recorded.json"
KEY = "overhead.nginx"
LOSS = 0.2


def recorded_ratio() -> float:
    """What `make bench` found last. Raises KeyError or FileNotFoundError if it never ran."""
    return float(json.loads(RECORDED.read_text())[KEY])


def tripped(measured: float, recorded: float) -> bool:
    """Whether `measured` lost more than a fifth of the recorded ratio."""
    return measured < recorded * (1 - LOSS)


def measured_ratio(rounds: int = 3) -> float:
    """The median ratio of a few short pairs under nginx."""
    load = next(load for load in overhead.LOADS if load.name == "nginx")
    return median_ratio([one.rate for one in overhead.measure(load, rounds)])
