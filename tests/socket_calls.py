# SPDX-License-Identifier: Apache-2.0
"""Pairs of sockets on ports of our own, and single system calls made on one of them by a small C program."""

import contextlib
import itertools
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.captures import Capture, Event
from tests.servers import MissingProgram

IN, OUT = 0, 1
(NONE, TRUNCATED, LENGTH_ONLY, SYSCALL, NOT_THIS_SOCKET, COMPAT, NOT_RESIDENT, DISCARDED, KERNEL_BUFFER,
 MESSAGE_INDEX) = range(10)  # fmt: skip
LOST_BEFORE, NO_PROCESS, PEER_UNKNOWN = 1, 2, 4
SEEDED, REPEATED, LATE, MPTCP = 1, 2, 4, 8
UNKNOWN, CLIENT, SERVER = 0, 1, 2
LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
TIMEOUT = 10
OF_PAGES = ("sendfile", "splice", "splice_in")
"""Calls that move pages: there is no buffer of the application to look into."""
_SOURCES = Path(__file__).parent / "kernel" / "programs"


def built(name: str, folder: Path, *libraries: str) -> Path:
    """Compiles tests/kernel/programs/`name`.c into `folder`. Raises MissingProgram."""
    compiler = shutil.which("gcc")
    if compiler is None:
        raise MissingProgram("gcc")
    made = folder / name
    subprocess.run([compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", made, _SOURCES / f"{name}.c",
                    *libraries], check=True, timeout=60)  # fmt: skip
    return made


def free_ports(count: int) -> list[int]:
    """A block of ports that nobody has, below the ephemeral ones."""
    for _ in range(50):
        first = random.randrange(20000, 30000 - count)
        block = list(range(first, first + count))
        with contextlib.suppress(OSError):
            for port in block:
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    with socket.socket(socket.AF_INET6, kind) as trial:
                        trial.bind(("::", port))
            return block
    raise RuntimeError(f"no block of {count} free ports between 20000 and 30000")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two ends of a conversation. `near` is the end that is put to the test; for TCP it has connected."""

    near: socket.socket
    far: socket.socket

    @property
    def near_port(self) -> int:
        return int(self.near.getsockname()[1])

    @property
    def far_port(self) -> int:
        return int(self.far.getsockname()[1])

    def tell(self, text: bytes) -> None:
        """From far to near."""
        if self.far.type == socket.SOCK_STREAM:
            self.far.sendall(text)
        else:
            self.far.sendto(text, self.near.getsockname())

    def close(self) -> None:
        self.near.close()
        self.far.close()


class Ground:
    """A capture that sees only the ports of its own sockets."""

    def __init__(self, capture: Capture, ports: Sequence[int]) -> None:
        self.capture = capture
        self._ports = iter(ports)

    def port(self) -> int:
        return next(self._ports)

    @property
    def by_registers(self) -> bool:
        """Whether the bytes are found by the registers of the system call, which not all calls have."""
        return self.capture.loaded.hook_set == "socket-tracepoints"

    def reason(self, by_registers: int, call: str = "") -> int:
        """Why there is no payload here, where hooks that know registers only would say `by_registers`.

        Hooks that have the kernel's own description of the buffer find it whoever asks, and in which way.
        """
        if self.by_registers or by_registers not in (SYSCALL, COMPAT, MESSAGE_INDEX):
            return by_registers
        return KERNEL_BUFFER if call in OF_PAGES else NONE

    @contextlib.contextmanager
    def pair(self, kind: str) -> Iterator[Pair]:
        """`kind`: tcp4, tcp6, udp4, udp6 (both ends connected), or udp4-unconnected, udp6-unconnected."""
        family = socket.AF_INET6 if "6" in kind else socket.AF_INET
        made = self.stream(family) if kind.startswith("tcp") else self.datagrams(family, connected="-" not in kind)
        self.capture.take()
        try:
            yield made
        finally:
            made.close()

    def bound(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        made = socket.socket(family, kind, protocol)
        made.settimeout(TIMEOUT)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((LOOPBACK[socket.AddressFamily(family)], self.port()))
        return made

    def stream(self, family: int = socket.AF_INET, protocol: int = 0) -> Pair:
        with self.bound(family, socket.SOCK_STREAM, protocol) as listener:
            listener.listen(8)
            near = self.bound(family, socket.SOCK_STREAM, protocol)
            near.connect(listener.getsockname())
            far = listener.accept()[0]
            far.settimeout(TIMEOUT)
        near.setblocking(True)  # a program that inherits it would see Python's O_NONBLOCK
        return Pair(near, far)

    def datagrams(self, family: int = socket.AF_INET, *, connected: bool = True) -> Pair:
        near, far = self.bound(family, socket.SOCK_DGRAM), self.bound(family, socket.SOCK_DGRAM)
        if connected:
            near.connect(far.getsockname())
            far.connect(near.getsockname())
        near.setblocking(True)
        return Pair(near, far)


@dataclass(frozen=True, slots=True)
class Called:
    """What the program's calls returned: bytes moved or a negative errno, and the bytes that it read."""

    pid: int
    results: list[int]
    texts: list[bytes]


def call(program: Path, name: str, near: socket.socket, text: bytes = b"", **settings: int) -> Called:
    """One call of io_calls.c on `near`, by a process of its own."""
    words: list[str | bytes | Path] = [
        program,
        name,
        str(near.fileno()),
        *([text] if text else []),
        *(f"{k}={v}" for k, v in settings.items()),
    ]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, pass_fds=[near.fileno()])
    said, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    return results(process.pid, said)


def results(pid: int, said: bytes) -> Called:
    lines = [line.partition(b" ") for line in said.splitlines()]
    return Called(pid, [int(number) for number, _, _ in lines], [text for _, _, text in lines])


def io_of(events: Sequence[Event], pid: int | None = None) -> list[Event]:
    """What moved bytes; of one process if `pid` is given."""
    return [e for e in events if e.kind in ("data", "datagram", "exchange") and pid in (None, e.pid)]


def of_kind(events: Sequence[Event], kind: str) -> list[Event]:
    return [event for event in events if event.kind == kind]


def assert_contiguous(events: Sequence[Event]) -> None:
    """DATA of one connection: each begins where the one before it in its direction ended."""
    for direction in (IN, OUT):
        told = [event for event in events if event.direction == direction]
        for before, after in itertools.pairwise(told):
            assert after.seq == (before.seq + before.bytes) % (1 << 32)


def wait_blocked(pid: int) -> None:
    """Until the main thread of `pid` sleeps in a system call."""
    for _ in range(500):
        if _state(pid) == "S":
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} never slept: {_state(pid)}")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
