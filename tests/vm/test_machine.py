# SPDX-License-Identifier: Apache-2.0
"""The machines themselves: what a test gets to see of a command that ran under another kernel."""

import os
from pathlib import Path

import pytest

from tests.vm import kernels, machine

pytestmark = pytest.mark.timeout(machine.patient(300))
KERNEL = "6.1"


def test_output_status_and_files_come_out(tmp_path: Path) -> None:
    told: list[str] = []
    command = "uname -r; pwd; echo to-stderr >&2; echo kept >/run/exchange/file; touch not-on-the-host; exit 42"
    finished = machine.run(KERNEL, command, seconds=120, exchange=tmp_path, told=told.append)
    release = kernels.get(KERNEL).release
    assert finished.output == f"{release}\n{machine.ROOT}\nto-stderr\n" == "".join(told)
    assert (finished.status, finished.release, finished.timed_out) == (42, release, False)
    assert (tmp_path / "file").read_text() == "kept\n"
    assert not (machine.ROOT / "not-on-the-host").exists()
    assert finished.complaints == []


def test_a_machine_that_takes_too_long_is_killed() -> None:
    finished = machine.run(KERNEL, "echo begun; sleep 1000", seconds=40)
    assert (finished.status, finished.output, finished.timed_out) == (None, "begun\n", True)
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert "qemu-system-x86_64" not in [Path(f"/proc/{pid}/comm").read_text().strip() for pid in children]


def test_a_panic_is_told_by_the_console_and_not_by_a_status() -> None:
    finished = machine.run(KERNEL, "echo c >/proc/sysrq-trigger; sleep 1000", seconds=120)
    assert (finished.status, finished.timed_out) == (None, False)
    assert any("Kernel panic" in line for line in finished.complaints)


def test_a_kernel_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match=r"no kernel 2\.6: there are 5\.10, 6\.1, 6\.12, newest"):
        machine.run("2.6", "true")
