# SPDX-License-Identifier: Apache-2.0
"""The core driver's columns of hooks, each on the kernels that have it: call by call they tell the same."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from probes.core import COLUMN_VARIABLE
from tests.vm import machine
from tests.vm.machine import EXCHANGE

pytestmark = pytest.mark.timeout(machine.patient(2400))
_SECONDS = 2000
_PYTEST = f".venv/bin/python -m pytest -q -p no:cacheprovider --timeout {machine.patient(600):g}"
_TABLES = ("test_io_table.py", "test_modes.py", "test_connections.py")
_ITERATORS = "tests/kernel/test_connections.py::test_connections_older_than_the_programs"
"""Only programs with types of their own walk over sockets that were there before."""
_SMALL_RING = "tests/kernel/test_connections.py::test_a_full_ring_counts_every_event_that_is_missing"
"""A perf ring is not small."""


@dataclass(frozen=True, slots=True)
class Case:
    """A kernel, and the words of a column that is forced there."""

    kernel: str
    column: str


CASES = (
    Case("5.10", "trampolines untyped"),
    Case("5.10", "kprobes"),
    Case("5.10", "kprobes perf-rings"),
    Case("6.1", "trampolines typed"),
    Case("6.1", "kprobes"),
    Case("6.12", "trampolines typed"),
    Case("6.12", "socket-tracepoints"),
    Case("6.12", "kprobes"),
    Case("newest", "trampolines typed"),
    Case("newest", "socket-tracepoints"),
    Case("newest", "kprobes"),
)
_KERNELS = os.environ.get("FIRESTEEL_VM_KERNELS", "").split() or sorted({case.kernel for case in CASES})
_HERE = [case for case in CASES if case.kernel in _KERNELS]


@pytest.mark.parametrize("case", _HERE, ids=lambda case: f"{case.kernel}-{case.column.replace(' ', '-')}")
def test_each_call_is_told_the_same_by_each_column(case: Case) -> None:
    """The tests of the hooks, as they run on the host: exact counts, bytes, payload or the reason for none, peers."""
    left_out = [_ITERATORS] if "kprobes" in case.column else []
    left_out += [_SMALL_RING] if "perf-rings" in case.column else []
    tests = [f"tests/kernel/{table}" for table in _TABLES] + [f"--deselect {test}" for test in left_out]
    command = f"export {COLUMN_VARIABLE}='{case.column}'\n{_PYTEST} {' '.join(tests)}"
    finished = machine.run(case.kernel, command, seconds=_SECONDS)
    assert finished.status == 0, finished.output[-8000:] + finished.console[-2000:]
    assert finished.complaints == []
    assert not re.search(r"\d+ skipped", finished.output)


_HIDE_TYPES = "mount -t tmpfs none /sys/kernel/btf"


@pytest.mark.skipif("6.1" not in _KERNELS, reason="Linux 6.1 was not asked for")
def test_a_kernel_that_does_not_tell_its_types_is_watched_with_a_file(tmp_path: Path) -> None:
    command = f"""
cp /sys/kernel/btf/vmlinux {EXCHANGE}/types
{_HIDE_TYPES}
.venv/bin/firesteel doctor --set driver=core >{EXCHANGE}/without
.venv/bin/firesteel doctor --set driver=core --btf {EXCHANGE}/types >{EXCHANGE}/with
.venv/bin/firesteel doctor --set driver=core --btf /etc/hostname >{EXCHANGE}/wrong
true"""
    finished = machine.run("6.1", command, seconds=_SECONDS, exchange=tmp_path)
    assert finished.status == 0, finished.output
    assert "core was not chosen: the kernel has no BTF" in (tmp_path / "without").read_text()
    assert "core loads by kprobes: " in (tmp_path / "with").read_text()
    assert "the kernel's types cannot be read from /etc/hostname" in (tmp_path / "wrong").read_text()
