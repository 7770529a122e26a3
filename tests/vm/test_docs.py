# SPDX-License-Identifier: Apache-2.0
"""Lines of the documents that want another kernel, or that load and unload something: typed as the pages have them."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from collector.options import Exit
from tests.command_runs import of_a_terminal, run_by
from tests.vm import kernels, machine, modules

pytestmark = pytest.mark.timeout(machine.patient(1200))
KERNEL = "6.1"
_HERE = "tests/vm/test_docs.py"
NODE_LINES = [line.text for line in run_by(f"{_HERE}::test_what_stays_on_a_node_is_taken_off")]
RUN_LINES = [line.text for line in run_by(f"{_HERE}::test_one_command_under_another_kernel")]
# What an agent of profile kmod leaves: the module in the kernel, without a hook.
_AGENT = ".venv/bin/python -c 'from probes import facts, kmod; kmod.load(facts.gather(), 1 << 20).close()'"
_LOOK = "grep -c '^firesteel ' /proc/modules; ls -A /var/lib/firesteel"


def test_what_stays_on_a_node_is_taken_off(tmp_path: Path) -> None:
    """The module and what was built for it, by what every system has."""
    assert [line.split()[0] for line in NODE_LINES] == ["rmmod", "rm"]
    typed = [f"( {line} ); echo ended with $?" for line in NODE_LINES]
    command = "\n".join(["set -e", modules.handed_over(KERNEL, tmp_path), _AGENT, "set +e", _LOOK, *typed, _LOOK])
    finished = machine.run(KERNEL, command, seconds=300, exchange=tmp_path)
    assert finished.output.splitlines() == ["1", "modules", "ended with 0", "ended with 0", "0"], finished.console[
        -2000:
    ]
    assert finished.complaints == []


def test_one_command_under_another_kernel() -> None:
    """Whose release is printed, and what doctor says of it; its status is the line's."""
    (line,) = RUN_LINES
    environment = of_a_terminal() | {"PYTHONPATH": str(machine.ROOT)}
    done = subprocess.run(
        ["bash", "-c", line], cwd=machine.ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False, timeout=machine.patient(320),
    )  # fmt: skip
    assert done.returncode in {Exit.DONE, Exit.NOT_AS_WISHED}, done.stdout + done.stderr
    release = kernels.get(KERNEL).release
    first, *rest = done.stdout.splitlines()
    assert first == release != os.uname().release
    assert [row for row in rest if release in row], "doctor is asked about that kernel"
    assert re.search(
        rf"^firesteel-vm: {re.escape(release)}, status {done.returncode}, [\d.]+ s$", done.stderr, re.MULTILINE
    )
