# SPDX-License-Identifier: Apache-2.0
"""The bcc driver on each kernel: what it tells of every system call, with either kind of ring, and what it stands on."""

import os
import re
import struct

import pytest

from probes import bcc_cache, bcc_programs
from probes.hooks import HookSet, hooks_of
from tests.vm import compiled, kernels, machine

pytestmark = pytest.mark.timeout(machine.patient(2400))
_NAMES = os.environ.get("FIRESTEEL_VM_KERNELS", "").split() or [kernel.name for kernel in kernels.KERNELS]
_SECONDS = 1800
_TABLES = ("tests/kernel/test_io_table.py", "tests/kernel/test_modes.py", "tests/kernel/test_connections.py")
# The kernel lets only programs with types of their own walk over all sockets, and a perf ring is not small.
_NOT_HERE = (
    "tests/kernel/test_connections.py::test_connections_older_than_the_programs",
    "tests/kernel/test_connections.py::test_a_full_ring_counts_every_event_that_is_missing",
)


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("ring", ["ring", "perf"])
def test_every_call_mode_and_connection_is_told_as_by_the_core_driver(name: str, ring: str) -> None:
    compiled.compiled(name, perf_rings=ring == "perf")
    words = [
        f"export {bcc_cache.VARIABLE}={compiled.cache()} {bcc_programs.RING_VARIABLE}={ring} FIRESTEEL_TEST_DRIVER=bcc",
        f".venv/bin/python -m pytest -q -p no:cacheprovider --timeout {machine.patient(600):g} "
        + " ".join((*_TABLES, *(f"--deselect {test}" for test in _NOT_HERE))),
    ]
    finished = machine.run(name, "\n".join(words), seconds=_SECONDS)
    assert finished.status == 0, finished.output + finished.console[-2000:]
    assert re.search(r"^\d+ passed", finished.output, re.MULTILINE)
    assert "skipped" not in finished.output
    assert finished.complaints == []


@pytest.mark.parametrize("name", _NAMES)
def test_programs_are_compiled_against_the_headers_of_every_kernel(name: str) -> None:
    made = compiled.compiled(name)
    missing = {hook.name for hook in made.lacks}
    assert missing <= {"tcp_retransmit_skb", "kfree_skb", "iter/task_file"}
    rows = {hook.program for hook in hooks_of(HookSet.KPROBES) if hook not in made.lacks}
    assert set(made.programs) == rows
    assert compiled.compiled(name).built.startswith("kept from before")


def test_programs_for_kernels_before_5_3_are_short_and_have_no_loops() -> None:
    """No such kernel is to be had: what its verifier wants is counted in the instructions."""
    made = compiled.compiled("5.10", perf_rings=True, defines=["FS_SHORT"])
    assert set(made.programs) >= {"on_release_sock", "on_datagram_received", "on_datagram_sent", "on_state"}
    for program, code in made.programs.items():
        assert len(code) // 8 <= 4096, program
        rows = [struct.unpack_from("=BBhi", code, at) for at in range(0, len(code), 8)]
        assert not _has_loop(rows), program
        # Calls of helpers only: functions of BPF's own came in 4.16, and direct values of maps in 5.2.
        assert all(registers >> 4 == 0 for opcode, registers, _, _ in rows if opcode == 0x85), program
        assert all(registers >> 4 != 2 for opcode, registers, _, _ in rows if opcode == 0x18), program


def _has_loop(rows: list[tuple[int, int, int, int]]) -> bool:
    """Whether some instruction can be reached from itself, as check_cfg of the verifier looks for it."""

    def after(at: int) -> list[int]:
        opcode, _, offset, _ = rows[at]
        if opcode == 0x95:
            return []
        if opcode == 0x05:
            return [at + 1 + offset]
        width = 2 if opcode == 0x18 else 1
        jumps = opcode & 7 in {5, 6} and opcode != 0x85
        return [at + width] + ([at + 1 + offset] if jumps else [])

    done, path, left = set[int](), {0}, [(0, after(0))]
    while left:
        at, following = left[-1]
        if not following:
            left.pop()
            path.discard(at)
            done.add(at)
        elif (then := following.pop()) in path:
            return True
        elif then not in done:
            path.add(then)
            left.append((then, after(then)))
    return False


def test_headers_of_another_kernel_are_refused() -> None:
    command = "import sys; from probes import bcc, facts; next(bcc.candidates(facts.gather(), 1 << 20))()"
    root = kernels.get("6.1").root / "usr/src" / f"linux-headers-{kernels.get('6.1').release}"
    words = f"{bcc_programs.HEADERS_VARIABLE}={root} .venv/bin/python -c '{command}'"
    finished = machine.run("5.10", words, seconds=300)
    assert finished.status == 1
    assert "has the headers of Linux 6.1, and this is 5.10" in finished.output
