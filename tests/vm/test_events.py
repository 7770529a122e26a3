# SPDX-License-Identifier: Apache-2.0
"""The module's events against those of the core driver: the same workload, the same events, field by field."""

import json
import os
from pathlib import Path

import pytest

from tests.vm import kernels, machine, modules
from tests.vm.machine import EXCHANGE

pytestmark = pytest.mark.timeout(machine.patient(1800))
_NAMES = os.environ.get("FIRESTEEL_VM_KERNELS", "").split() or [kernel.name for kernel in kernels.KERNELS]
_SECONDS = 600


@pytest.mark.parametrize("name", _NAMES)
def test_the_module_tells_what_core_tells(name: str, tmp_path: Path) -> None:
    command = f"""
{modules.handed_over(name, tmp_path)}
for driver in core kmod; do
    FIRESTEEL_TEST_DRIVER=$driver .venv/bin/python -m tests.vm.events_guest {EXCHANGE}/$driver || exit 1
done"""
    finished = machine.run(name, command, seconds=_SECONDS, exchange=tmp_path)
    assert finished.status == 0, finished.output + finished.console[-2000:]
    core, kmod = (json.loads((tmp_path / driver).read_text()) for driver in ("core", "kmod"))
    assert {kind for events in core.values() for event in events for kind in [event["event"]]} == {
        "open", "data", "exchange", "datagram", "connect", "close", "listen", "trouble",
    }  # fmt: skip
    assert kmod.keys() == core.keys()
    for ends, events in core.items():
        assert kmod[ends] == events, ends
