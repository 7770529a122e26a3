# SPDX-License-Identifier: Apache-2.0
"""The engine's sandbox, tried from inside by a program that links nothing else."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[2] / "analyzers" / "native"


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("sandbox") / "probe"
    source = Path(__file__).with_name("sandbox_probe.c")
    subprocess.run(["cc", "-std=c11", f"-I{NATIVE}", "-o", program, source, NATIVE / "sandbox.c"], check=True)
    return program


def start(probe: Path, act: str, input_fd: int, output_fd: int) -> subprocess.Popen[bytes]:
    """The probe with its two descriptors at 7 and 8, as it expects them."""
    program = "import os,sys; a,b=map(int,sys.argv[1:3]); a=os.dup(a); b=os.dup(b); os.dup2(a,7); os.dup2(b,8); "
    program += "os.execv(sys.argv[3], sys.argv[3:])"
    arguments = [sys.executable, "-c", program, str(input_fd), str(output_fd), str(probe), act]
    return subprocess.Popen(arguments, pass_fds=(input_fd, output_fd))


@pytest.fixture
def ends() -> "object":
    source, sink = os.pipe(), os.pipe()
    os.write(source[1], b"q")
    yield source[0], sink
    for fd in (*source, *sink):
        os.close(fd)


@pytest.mark.parametrize(
    "act",
    ["open", "socket", "execve", "fork", "mmap", "kill", "ptrace", "bpf", "write-elsewhere", "read-elsewhere"],
)
def test_a_forbidden_call_kills(probe: Path, ends: tuple[int, tuple[int, int]], act: str) -> None:
    process = start(probe, act, ends[0], ends[1][1])
    assert process.wait(10) == -signal.SIGSYS


def test_what_the_engine_needs_is_allowed(probe: Path, ends: tuple[int, tuple[int, int]]) -> None:
    process = start(probe, "allowed", ends[0], ends[1][1])
    assert process.wait(10) == 0
    assert os.read(ends[1][0], 10) == b"q"


def test_an_orphan_does_not_start(probe: Path, ends: tuple[int, tuple[int, int]]) -> None:
    process = start(probe, "orphan", ends[0], ends[1][1])
    assert process.wait(10) == 3


def test_nothing_is_left_to_it(probe: Path, ends: tuple[int, tuple[int, int]]) -> None:
    process = start(probe, "hang", ends[0], ends[1][1])
    try:
        facts = wait_for_filter(process.pid)
        assert facts["CapEff"] == facts["CapPrm"] == "0" * 16
        assert facts["NoNewPrivs"] == "1"
        assert facts["Seccomp"] == "2"
        if os.geteuid() == 0:
            assert facts["CapBnd"] == "0" * 16
            assert facts["Uid"].split() == facts["Gid"].split() == ["65532"] * 4
            assert facts["Groups"] == ""
            assert sorted(fd.name for fd in Path(f"/proc/{process.pid}/fd").iterdir()) == ["7", "8"]
        # Signals with which terminals and service managers end everything are the agent's to answer.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            process.send_signal(number)
        time.sleep(0.1)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def wait_for_filter(pid: int) -> dict[str, str]:
    """/proc/PID/status once the system call filter is in force."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        facts = {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}
        if facts["Seccomp"] == "2":
            return facts
        time.sleep(0.01)
    raise AssertionError("the filter never came into force")
