# SPDX-License-Identifier: Apache-2.0
"""The agent's own seccomp filter, in processes of their own: it cannot be taken off again."""

import subprocess
import sys

import pytest

from collector import problems, system_calls

_ENTER = "import ctypes, os, threading; ctypes.CDLL(None).prctl(38, 1, 0, 0, 0); from collector import system_calls; "


def _run(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _ENTER + script], check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("call", "refused"),
    [("os.mknod('/tmp/never-made', 0o600)", True), ("os.chroot('/')", True), ("os.getpid()", False)],
)
def test_what_is_forbidden_is_refused(call: str, refused: bool) -> None:
    told = _run(f"""
assert system_calls.forbid() == ''
try:
    {call}
    print('done')
except PermissionError as error:
    print(error.errno)
""")
    assert told == ("1" if refused else "done")


def test_it_holds_for_threads_that_run_already_and_for_children() -> None:
    told = _run("""
import subprocess
go, said = threading.Event(), []
def later():
    go.wait()
    try:
        os.chroot('/')
    except PermissionError:
        said.append('thread')
thread = threading.Thread(target=later)
thread.start()
assert system_calls.forbid() == ''
go.set()
thread.join()
print(*said, subprocess.run(['unshare', '--net', 'true'], capture_output=True).returncode != 0)
""")
    assert told == "thread True"


def test_every_forbidden_name_is_one_that_libseccomp_knows_on_some_machine() -> None:
    """A slip of the pen would silently forbid nothing: then libseccomp answers -1 instead of a pseudo number."""
    told = _run("""
library = ctypes.CDLL('libseccomp.so.2')
print([name for name in system_calls.FORBIDDEN if library.seccomp_syscall_resolve_name(name.encode()) == -1])
""")
    assert told == "[]"


def test_without_the_library_the_agent_says_so() -> None:
    fault = system_calls.forbid("libseccomp-that-is-not-there.so")
    assert "cannot be loaded" in fault
    (problem,) = problems.of_sandbox(fault)
    assert (problem.cause, "libseccomp2" in problem.remedy) == (fault, True)
    assert list(problems.of_sandbox("")) == []
