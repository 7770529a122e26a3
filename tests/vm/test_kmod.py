# SPDX-License-Identifier: Apache-2.0
"""The kernel module on each kernel: what it tells, call by call, and what becomes of it when things go wrong."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from probes import module_file
from tests.vm import kernels, machine, modules
from tests.vm.machine import EXCHANGE, Finished
from tests.vm.module_guest import THREADS

pytestmark = pytest.mark.timeout(machine.patient(2400))
_NAMES = os.environ.get("FIRESTEEL_VM_KERNELS", "").split() or [kernel.name for kernel in kernels.KERNELS]
_SECONDS = 1500
_CYCLES = int(os.environ.get("FIRESTEEL_VM_CYCLES", "50"))
_NO_MEMORY = re.compile("more than a quarter of the memory, or that is not free|Cannot allocate memory")
_PYTEST = f".venv/bin/python -m pytest -q -p no:cacheprovider --timeout {machine.patient(600):g}"
# One reader at a time: what opens a capture of its own runs apart from what shares one.
_CONNECTIONS = "tests/kernel/test_connections.py"
_ALONE = [f"{_CONNECTIONS}::{name}" for name in (
    "test_connections_older_than_the_programs",
    "test_own_processes_and_excluded_ports_are_silent",
    "test_a_full_ring_counts_every_event_that_is_missing",
    "test_a_connection_that_finds_no_room_counts_the_events_that_it_could_not_tell",
)]  # fmt: skip
_TABLES = (
    "tests/kernel/test_io_table.py tests/kernel/test_modes.py",
    f"{_CONNECTIONS} {' '.join(f'--deselect {name}' for name in _ALONE)}",
    " ".join(_ALONE),
)


@dataclass(frozen=True, slots=True)
class Told:
    """`answers` by question of module_guest.py."""

    finished: Finished
    answers: dict[str, Any]
    version: str


@pytest.fixture(scope="module", params=_NAMES)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """One machine for all questions: the start of one takes longer than most of them."""
    exchange = tmp_path_factory.mktemp("exchange")
    command = "\n".join([
        modules.handed_over(request.param, exchange),
        "export FIRESTEEL_TEST_DRIVER=kmod",
        f".venv/bin/python -m tests.vm.module_guest {EXCHANGE}/answers",
        "set -e",
        *(f"{_PYTEST} {tables}" for tables in _TABLES),
    ])  # fmt: skip
    finished = machine.run(request.param, command, seconds=_SECONDS, exchange=exchange)
    answers = exchange / "answers"
    assert answers.exists(), finished.output + finished.console[-4000:]
    return Told(finished, json.loads(answers.read_text()), module_file.version_of(exchange / "firesteel.ko"))


def test_every_call_mode_and_connection_is_told_as_by_the_core_driver(told: Told) -> None:
    assert told.finished.status == 0, told.finished.output
    assert len(re.findall(r"^\d+ passed", told.finished.output, re.MULTILINE)) == len(_TABLES)
    assert not re.search(r"\d+ skipped", told.finished.output)


def test_the_kernel_has_nothing_to_complain_about(told: Told) -> None:
    assert told.finished.complaints == []


def test_the_file_is_for_root_with_the_capability_only(told: Told) -> None:
    assert told.answers["file_and_handshake"] == {
        "mode": "0o400",
        "version": told.version,
        "as_nobody": "Permission denied",
        "root_without_capability": "Operation not permitted",
    }


def test_a_second_reader_is_refused_after_a_wait(told: Told) -> None:
    assert told.answers["second_reader"] == {
        "refused": [
            "/proc/firesteel has a reader already: one agent at a time can use the module",
            "stop the other agent of this node, or let this one use another driver",
        ],
        "waited_at_least_2_s": True,
    }


def test_an_agent_of_another_contract_is_refused(told: Told) -> None:
    reason = f"the built module is of another version: {told.version} speaks contract 1, interface 1; this agent speaks 99, 1"
    assert told.answers["other_contract"] == [reason, f"sudo {module_file.RECOMPILE}"]


def test_a_ring_that_cannot_be_is_refused(told: Told) -> None:
    assert told.answers["impossible_rings"] == [f"ring.size {size} is not possible" for size in (4095, 4096 * 3)]


def test_a_quarter_of_the_memory_is_the_most(told: Told) -> None:
    assert told.answers["little_memory"] == [
        f"a ring of {size} bytes and the tables are more than a quarter of the memory, or that is not free"
        for size in (1 << 30, 1 << 20)
    ]


def test_what_the_kernel_writes_nobody_else_may(told: Told) -> None:
    assert told.answers["no_writable_mapping"] == {
        "producer": "EPERM", "data": "EPERM", "all": "EPERM", "beyond": "EINVAL", "counters": "EPERM",
        "mprotect": "EACCES",
    }  # fmt: skip


def test_a_reader_that_lies_about_its_position_loses_events_only(told: Told) -> None:
    assert told.answers["lying_reader"] is True


def test_threads_that_wait_in_a_receive_are_all_seen(told: Told) -> None:
    assert told.answers["blocked_threads"] == {"payloads": THREADS, "missed": 0}


def test_what_no_instance_was_left_for_is_counted(told: Told) -> None:
    answer = told.answers["too_few_instances"]
    assert 0 < answer["not_seen"] <= 8
    assert answer["missed_at_least_those"]
    assert answer["in_page"]


def test_processors_come_and_go(told: Told) -> None:
    assert told.answers["processors_come_and_go"] == 4 * 7


def test_the_next_reader_starts_after_one_that_was_killed(told: Told) -> None:
    assert told.answers["killed_readers"] is True


def test_the_module_stays_while_somebody_reads(told: Told) -> None:
    assert told.answers["unload_while_read"] == {
        "while_open": "it is in use", "while_mapped": "it is in use", "free": "", "gone": True,
    }  # fmt: skip


@pytest.mark.parametrize("name", _NAMES)
def test_readers_are_killed_and_the_module_unloaded_again_and_again_under_load(name: str, tmp_path: Path) -> None:
    """With traffic, and somebody who takes all memory; the reader dies wherever it is. Nothing is left, nothing warns."""
    command = (
        f"{modules.handed_over(name, tmp_path)}\n.venv/bin/python -m tests.vm.cycles_guest {EXCHANGE}/cycles {_CYCLES}"
    )
    finished = machine.run(name, command, seconds=60 + 6 * _CYCLES, memory="1G", exchange=tmp_path)
    assert finished.status == 0, finished.output + finished.console[-4000:]
    answer = json.loads((tmp_path / "cycles").read_text())
    assert (answer["cycles"], answer["stays"], answer["still_there"]) == (_CYCLES, "", False)
    refused = {reason for reason in answer["ends"] if reason not in {"loading", "reading"}}
    assert all(_NO_MEMORY.search(reason) for reason in refused), answer
    assert answer["ends"]["reading"] > _CYCLES / 2, answer
    assert finished.complaints == []
