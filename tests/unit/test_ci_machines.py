# SPDX-License-Identifier: Apache-2.0
"""The last stage of .ci/run, with programs of its own in the places of make and of the fetch: who gets a second try, what is left out."""

from pathlib import Path

import pytest

from tests.ci_script import Ended, run_stage
from tests.vm import machine

MAKE = """#!/bin/sh
echo "make $FIRESTEEL_VM_PATIENCE $*" >>"$CALLS"
case $* in
*newest* | *test_container*) exit 0 ;;
esac
if [ "$FIRST" = timeout ] && [ "$(grep -c 5.10 "$CALLS")" = 1 ]; then
	echo "5.10.0-46-amd64 after 901 s" >>"$FIRESTEEL_VM_TIMED_OUT"
	exit 2
fi
[ "$FIRST" != slow ] || sleep 6
[ "$FIRST" != assertion ] || exit 2
"""
FETCH = """#!/bin/sh
case "$* $FETCH" in
*" 5.10 lacking") echo "firesteel-vm: no kernel 5.10 (bullseye): gone" >&2; exit 3 ;;
*" 5.10 broken") echo "Traceback" >&2; exit 1 ;;
*lacking-all) echo "firesteel-vm: offline" >&2; exit 3 ;;
esac
"""


def run(folder: Path, **environment: str) -> Ended:
    programs = {"bin/make": MAKE, ".venv/bin/python": FETCH, "scripts/setup.sh": "#!/bin/sh\n"}
    return run_stage(folder, "vm virtual_machines", programs, {"FIRST": "", "FETCH": "", **environment})


def test_all_kernels_run_once(tmp_path: Path) -> None:
    ended = run(tmp_path)
    assert (ended.status, len(ended.calls)) == (0, 3)
    assert "VM_TESTS=tests/vm/test_container.py tests/vm/test_docs.py VM_KERNELS=6.1 VM_DRIVERS= " in ended.calls[2]
    assert ended.last.startswith("ci: all passed (vm) in ")
    assert "not run" not in ended.output


def test_an_assertion_is_not_tried_again(tmp_path: Path) -> None:
    ended = run(tmp_path, FIRST="assertion")
    assert (ended.status, len(ended.calls)) == (1, 3)
    assert ended.last.startswith("ci: FAILED: vm;")


@pytest.mark.parametrize(("before", "twice"), [("", "2"), ("3", "6"), ("1.5", "3")])
def test_a_machine_that_timed_out_is_tried_again_with_twice_the_patience(
    tmp_path: Path, before: str, twice: str
) -> None:
    ended = run(tmp_path, FIRST="timeout", FIRESTEEL_VM_PATIENCE=before)
    assert ended.status == 0
    assert [call.partition(" test-vm")[0] for call in ended.calls] == [
        f"make {before}",
        f"make {twice}",
        f"make {before}",
        f"make {before}",
    ]
    said = f"tried again with {twice} times the patience: drivers on Linux 5.10 (5.10.0-46-amd64 after 901 s)"
    assert said in ended.output


def test_only_a_machine_without_complaints_is_told_to_have_timed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    monkeypatch.setenv(machine.TIMED_OUT_VARIABLE, str(told))
    for console, timed_out in (
        ("", False),
        ("WARNING: CPU: 0", True),
        ("BUG: soft lockup", True),
        ("Linux version", True),
    ):
        machine.tell(machine.Finished("6.1", None, "", console, timed_out, 12.3))
    assert told.read_text() == "6.1 after 12 s\n"


def test_a_kernel_that_cannot_be_had_is_left_out_and_named(tmp_path: Path) -> None:
    ended = run(tmp_path, FETCH="lacking")
    assert (ended.status, len(ended.calls)) == (0, 2)
    assert ended.last.endswith("; not run: vm 5.10: no kernel 5.10 (bullseye): gone")
    every = run(tmp_path, FETCH="lacking-all")
    assert (every.status, every.calls) == (0, ended.calls)
    assert "=== vm: NOT RUN" in every.output
    assert every.last.endswith("; not run: vm 5.10: offline; not run: vm newest: offline; not run: vm 6.1: offline")
    assert "(vm)" not in every.last


def test_a_kernel_that_must_be_there_fails(tmp_path: Path) -> None:
    ended = run(tmp_path, FETCH="lacking", FIRESTEEL_REQUIRE_VM="1")
    assert (ended.status, len(ended.calls)) == (1, 2)
    assert ended.last.endswith("; not run: vm 5.10: no kernel 5.10 (bullseye): gone")


def test_a_fetch_that_breaks_fails(tmp_path: Path) -> None:
    assert run(tmp_path, FETCH="broken").status == 1


def test_on_a_slow_machine_the_last_kernel_is_left_out_and_named(tmp_path: Path) -> None:
    ended = run(tmp_path, SECONDS="4300")
    assert (ended.status, len(ended.calls)) == (0, 2)
    assert ended.last.endswith("; not run: tests/vm/test_container.py tests/vm/test_docs.py: no time was left")


def test_what_comes_last_is_left_out_where_the_drivers_took_all_the_time(tmp_path: Path) -> None:
    """It is not to fail a change because two machines before it were slow."""
    ended = run(tmp_path, SECONDS="4195", FIRST="slow")
    assert (ended.status, len(ended.calls)) == (0, 2)
    assert ended.last.endswith("; not run: tests/vm/test_container.py tests/vm/test_docs.py: no time was left")
