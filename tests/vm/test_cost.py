# SPDX-License-Identifier: Apache-2.0
"""What each driver costs, side by side on one kernel, counted in instructions: no clock of a busy host is in it."""

import json
import os
import subprocess
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from probes import bcc_cache
from tests.vm import kernels, machine, modules
from tests.vm.cost_guest import NOBODY
from tests.vm.machine import EXCHANGE

pytestmark = pytest.mark.timeout(machine.patient(3600))
DRIVERS = tuple(
    driver for driver in os.environ.get("FIRESTEEL_VM_DRIVERS", "core bcc kmod").split() if driver != "none"
)
_KERNEL = os.environ.get("FIRESTEEL_VM_KERNELS", "6.1").split()[0]
_CALLS = Path(__file__).with_name("calls.c")
_SECONDS = 3000
_AS_FAST = 1.02
"""An interrupt more or less during the measurement."""


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    exchange = tmp_path_factory.mktemp("exchange")
    compiler = kernels.need("gcc", "gcc")
    subprocess.run([compiler, "-O2", "-static", "-o", str(exchange / "calls"), str(_CALLS)], check=True)
    command = "\n".join([
        modules.handed_over(_KERNEL, exchange),
        # Of its own and empty: bcc compiles here.
        f"export {bcc_cache.VARIABLE}=/tmp/bcc FIRESTEEL_START_SECONDS={machine.patient(900):g}",
        f".venv/bin/python -m tests.vm.cost_guest {EXCHANGE}/costs {EXCHANGE}/calls {' '.join(DRIVERS)}",
    ])  # fmt: skip
    finished = machine.run(_KERNEL, command, seconds=_SECONDS, cpus=1, counted=True, exchange=exchange)
    assert finished.status == 0, finished.output + finished.console[-2000:]
    found: dict[str, Any] = json.loads((exchange / "costs").read_text())
    print(table(found))
    return found


def table(costs: dict[str, Any]) -> str:
    """For docs/drivers.md."""
    bare = median(costs[NOBODY]["nginx"])
    lines = [
        "| | instructions of a read or write | of getppid | nginx, of the unwatched rate | start, emulated | memory, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for who, told in costs.items():
        start = f"{told['start_seconds']:.0f} s" if "start_seconds" in told else ""
        memory = ", ".join(f"{name} {mib:.0f}" for name, mib in told.get("memory", {}).items())
        calls = f"{told['operation_ns']:.0f} | {told['getppid_ns']:.0f} | {median(told['nginx']) / bare:.2f}"
        lines.append(f"| {who} | {calls} | {start} | {memory} |")
    compiled = [line for told in costs.values() for line in told.get("compiled", ())]
    return "\n".join((*lines, *compiled))


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_call_that_is_not_watched_is_not_slowed(costs: dict[str, Any], driver: str) -> None:
    assert costs[driver]["getppid_ns"] <= _AS_FAST * costs[NOBODY]["getppid_ns"]
    # What is watched is: the driver was there.
    assert costs[driver]["chosen"] == driver
    assert costs[driver]["operation_ns"] > _AS_FAST * costs[NOBODY]["operation_ns"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_nothing_of_a_compiler_is_left_when_capture_starts(costs: dict[str, Any], driver: str) -> None:
    assert costs[driver]["with_compiler"] == []
    assert len(costs[driver]["compiled"]) == (driver == "bcc")
