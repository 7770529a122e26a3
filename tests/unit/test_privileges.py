# SPDX-License-Identifier: Apache-2.0
"""Giving privileges up, in processes of their own: what is left, in every thread."""

import os
import subprocess
import sys

import pytest

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
_TOLD = """
from pathlib import Path
for status in Path("/proc/self/task").glob("*/status"):
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    print(*(fields[name].strip() for name in ("CapPrm", "CapEff", "CapBnd", "NoNewPrivs")), fields["Uid"].split()[0])
"""


def run(program: str, *prefix: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*prefix, sys.executable, "-c", program], capture_output=True, text=True, check=False)


@NEEDS_ROOT
def test_nothing_is_left() -> None:
    ended = run(f"from collector import privileges\nprivileges.drop()\n{_TOLD}")
    nothing = "0" * 16
    assert ended.stdout == f"{nothing} {nothing} {nothing} 1 65532\n", ended.stderr


@NEEDS_ROOT
def test_an_ordinary_user_has_nothing_to_give_up() -> None:
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    ended = run(f"from collector import privileges\nprivileges.drop()\n{_TOLD}", *user)
    permitted, effective, _, no_new, uid = ended.stdout.split()
    assert (permitted, effective, no_new, uid) == ("0" * 16, "0" * 16, "1", "65534"), ended.stderr


@NEEDS_ROOT
def test_a_thread_that_runs_already_is_told() -> None:
    program = """
import threading
from collector import privileges
end = threading.Event()
other = threading.Thread(target=end.wait)
other.start()
try:
    privileges.drop()
except privileges.PrivilegeError as error:
    print(error)
end.set()
"""
    told = run(program).stdout
    assert told.startswith("privileges are still held after giving them up: thread ")
    assert "CapBnd" in told
    assert "new privileges by exec" in told


@NEEDS_ROOT
def test_a_user_that_is_not_root_loses_its_capabilities_too() -> None:
    """As a container that runs as another user with ambient capabilities."""
    three = "-all,+setuid,+setgid,+setpcap"
    user = ("--reuid=65534", "--regid=65534", "--clear-groups")
    prefix = ("setpriv", *user, f"--inh-caps={three}", f"--ambient-caps={three}")
    ended = run(f"from collector import privileges\nprivileges.drop()\n{_TOLD}", *prefix)
    nothing = "0" * 16
    assert ended.stdout == f"{nothing} {nothing} {nothing} 1 65532\n", ended.stderr


@NEEDS_ROOT
def test_what_it_takes_is_named() -> None:
    program = "from collector import privileges\nprivileges.drop()"
    ended = run(program, "setpriv", "--bounding-set=-setpcap", "--inh-caps=-all")
    assert "CAP_SETUID, CAP_SETGID and CAP_SETPCAP are needed for that" in ended.stderr
