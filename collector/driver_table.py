# SPDX-License-Identifier: Apache-2.0
"""What each driver stands on and tells, as a table for people: `python -m collector.driver_table` prints the one in docs/drivers.md."""

from collections.abc import Iterator

from collector import polling
from collector.capabilities import PROFILES
from collector.host_checks import OLDEST
from collector.own_state import NEEDS, RESETS
from collector.schema import Config
from exporters import registry_traffic as traffic
from exporters.registry import Metric
from probes.hooks import HOOKS
from probes.kmod import WATCHED

_DRIVERS = tuple(OLDEST)
_NO_PROBE, _MODULE = "none", "kmod"
_PREFIX = Config().metrics.prefix


def rows() -> Iterator[tuple[str, ...]]:
    """What it is about, and a cell for each driver in the order in which they are tried."""
    yield "kernel", *("any" if driver == _NO_PROBE else "from {}.{}".format(*OLDEST[driver]) for driver in _DRIVERS)
    yield "capabilities at the start", *(", ".join(f"`CAP_{name}`" for name in PROFILES[driver]) for driver in _DRIVERS)
    for metric in traffic.TRAFFIC:
        yield f"`{metric.name.format(prefix=_PREFIX)}`", *(_cell(metric, driver) for driver in _DRIVERS)


def _cell(metric: Metric, driver: str) -> str:
    if metric is traffic.WORKLOAD_INFO:
        return "in a cluster"
    if driver == _NO_PROBE:
        return "yes" if metric.name in polling.TOLD else "-"
    hooks = [hook for hook, name in NEEDS.items() if name == metric.name]
    if metric is traffic.RESET:
        hooks = list(RESETS)
    return "yes" if all(_has(driver, hook) for hook in hooks) else "-"


def _has(driver: str, hook: str) -> bool:
    if driver == _MODULE:
        return any(hook in watched.names for watched in WATCHED)
    return any(row.name == hook for row in HOOKS)


def table() -> str:
    """GitHub Markdown."""
    head = ("", *_DRIVERS)
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, tuple("---" for _ in head), *rows()))


if __name__ == "__main__":
    print(table(), end="")
