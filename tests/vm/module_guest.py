# SPDX-License-Identifier: Apache-2.0
"""Runs inside of a virtual machine, as root: what becomes of the kernel module when things go wrong, and what it tells.

`python -m tests.vm.module_guest RESULT` writes one JSON object: an answer for each function of `QUESTIONS`, or what it
raised. The module is where the agent looks for it.
"""

import ctypes
import errno
import json
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from probes import facts, kmod, module_file
from probes.driver import Rejection
from tests import socket_calls
from tests.captures import capturing
from tests.socket_calls import Ground, Pair
from tests.vm.machine import patient

THREADS = 16
_RECVFROM = "45"  # of x86-64
_RING = 1 << 20
_PARAMETERS = Path("/sys/module/firesteel/parameters")
_TEXT = b"GET /of-known-bytes HTTP/1.1\r\nHost: firesteel\r\n\r\n"
_ECHO = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
peer = server.accept()[0]
here, there = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
there.bind(("127.0.0.1", 0))
there.settimeout(1)
print("talks", flush=True)
while True:
    client.sendall(b"ask"); peer.recv(99); peer.sendall(b"answer"); client.recv(99)
    here.sendto(b"ask", there.getsockname()); there.recv(99)
    socket.create_connection(server.getsockname()).close(); server.accept()[0].close()
"""
_READER = """
import mmap, sys, time
from probes import facts, kmod
from probes.control import ControlPage
loaded = kmod.load(facts.gather(), 1 << 20)
page = ControlPage(loaded.one()["control"])
page.prepare()
ring = mmap.mmap(loaded.one()["ring"], 4096)
page.set_epoch(7)
print("reads", flush=True)
time.sleep(1000)
"""


@contextmanager
def _talking(processes: int = 2) -> Iterator[None]:
    """TCP, UDP and new connections all the time."""
    started = [_python(_ECHO, "talks") for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def _python(program: str, ready: str) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    said = process.stdout.readline().decode().strip()
    assert said == ready, f"{said!r} instead of {ready!r}"
    return process


def _loaded(ring_bytes: int = _RING) -> kmod.Loaded:
    return kmod.load(facts.gather(), ring_bytes)


def _refusal(what: Callable[[], Any]) -> list[str]:
    """Reason and remedy."""
    try:
        what()
    except Rejection as rejection:
        return [rejection.reason, rejection.remedy]
    return ["it was not refused", ""]


def file_and_handshake() -> Any:
    """Mode of /proc/firesteel, version in sysfs, who may open it."""
    _loaded().close()
    as_nobody = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", "cat", str(kmod.PROC)],
        capture_output=True,
        text=True,
        check=False,
    )
    without = subprocess.run(
        ["capsh", "--drop=cap_sys_module", "--", "-c", f"cat {kmod.PROC}"], capture_output=True, text=True, check=False
    )
    return {
        "mode": oct(kmod.PROC.stat().st_mode & 0o7777),
        "version": module_file.loaded_version(),
        "as_nobody": as_nobody.stderr.strip().rpartition(": ")[2],
        "root_without_capability": without.stderr.strip().rpartition(": ")[2],
    }


def second_reader() -> Any:
    first = _loaded()
    began = time.monotonic()
    refused = _refusal(_loaded)
    waited = time.monotonic() - began
    first.close()
    _loaded().close()
    return {"refused": refused, "waited_at_least_2_s": waited >= 2.0}


def other_contract() -> Any:
    """An agent of another contract, for which no module was built."""
    with patch.object(kmod, "CONTRACT", 99):
        return _refusal(_loaded)


def impossible_rings() -> Any:
    return [_refusal(partial(_loaded, size))[0] for size in (4095, 4096 * 3)]


def no_writable_mapping() -> Any:
    """Everything but the consumer's page and what is the reader's to say cannot be written, even after mprotect."""
    loaded = _loaded()
    told = {}
    for name, role, length, offset in (
        ("producer", "ring", 4096, 4096),
        ("data", "ring", 2 * _RING, 8192),
        ("all", "ring", 8192 + 2 * _RING, 0),
        ("beyond", "ring", 4096, 8192 + 2 * _RING),
        ("counters", "counters", 4096, 0),
    ):
        try:
            mmap.mmap(loaded.one()[role], length, offset=offset).close()
            told[name] = "mapped"
        except OSError as error:
            told[name] = errno.errorcode[error.errno or 0]
    page = mmap.mmap(loaded.one()["ring"], 4096, prot=mmap.PROT_READ, offset=4096)
    address = ctypes.c_void_p(next(_mapped_at()))
    libc = ctypes.CDLL(None, use_errno=True)
    allowed = libc.mprotect(address, 4096, mmap.PROT_READ | mmap.PROT_WRITE) == 0
    told["mprotect"] = "allowed" if allowed else errno.errorcode[ctypes.get_errno()]
    page.close()
    loaded.close()
    return told


def _mapped_at() -> Iterator[int]:
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "firesteel" in line and "anon_inode" in line:
            yield int(line.split("-")[0], 16)


def lying_reader() -> Any:
    """A consumer position that cannot be: events are dropped and counted, nothing else happens."""
    with capturing(ring_bytes=_RING) as capture:
        page = mmap.mmap(capture.loaded.one()["ring"], 4096)
        page[:8] = (1 << 40).to_bytes(8, sys.byteorder)
        with _talking(1):
            time.sleep(2)
        lost = sum(capture.counters().lost.values())
        page.close()
    return lost > 0


def _receiving(pairs: Sequence[Pair]) -> list[threading.Thread]:
    """A thread for each that waits inside of its receive, however long an emulated machine takes to get there."""
    threads = [threading.Thread(target=pair.near.recv, args=(99,)) for pair in pairs]
    for thread in threads:
        thread.start()
    end = time.monotonic() + patient(60.0)
    while any(_system_call(thread) != _RECVFROM for thread in threads) and time.monotonic() < end:
        time.sleep(0.05)
    return threads


def _system_call(thread: threading.Thread) -> str:
    """The number of the one that it waits in."""
    return Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().split()[0]


def blocked_threads() -> Any:
    """Each of many threads that wait in a receive is seen, and nothing is missed."""
    ports = socket_calls.free_ports(THREADS * 2 + 20)
    with capturing(only_ports=ports) as capture:
        ground = Ground(capture, ports)
        pairs = [ground.stream() for _ in range(THREADS)]
        capture.take()
        threads = _receiving(pairs)
        for pair in pairs:
            pair.far.sendall(_TEXT)
        for thread in threads:
            thread.join()
        received = [event for event in capture.take() if event.kind == "data" and event.direction == socket_calls.IN]
        for pair in pairs:
            pair.close()
    return {"payloads": Counter(event.payload == _TEXT for event in received)[True], "missed": _missed()}


def too_few_instances() -> Any:
    """With room for 16 threads, and 24 inside, what is not seen is counted, and reaches the mapped counters."""
    maxactive = _PARAMETERS / "maxactive"
    before = maxactive.read_text()
    maxactive.write_text("16")
    ports = socket_calls.free_ports(80)
    try:
        with capturing(only_ports=ports) as capture:
            ground = Ground(capture, ports)
            pairs = [ground.stream() for _ in range(24)]
            threads = _receiving(pairs)
            capture.take()
            for pair in pairs:
                pair.far.sendall(_TEXT)
            for thread in threads:
                thread.join()
            seen = sum(e.kind == "data" and e.direction == socket_calls.IN for e in capture.take())
            time.sleep(0.5)
            pairs[0].far.sendall(_TEXT)
            pairs[0].near.recv(99)
            mapped = mmap.mmap(capture.loaded.one()["counters"], 512, prot=mmap.PROT_READ)
            in_page = int.from_bytes(mapped[400:408], sys.byteorder)
            mapped.close()
            missed = _missed()
            for pair in pairs:
                pair.close()
    finally:
        maxactive.write_text(before)
    return {"not_seen": 24 - seen, "missed_at_least_those": missed >= 24 - seen > 0, "in_page": in_page == missed}


def _missed() -> int:
    return int((_PARAMETERS / "missed").read_text())


def unload_while_read() -> Any:
    """The module stays as long as somebody reads or maps it."""
    loaded = _loaded()
    control = loaded.one()["control"]
    page = mmap.mmap(control, 4096)
    while_open = kmod.unload()
    loaded.close()
    while_mapped = kmod.unload()
    page.close()
    free = kmod.unload()
    return {"while_open": while_open, "while_mapped": while_mapped, "free": free, "gone": not kmod.PROC.exists()}


def killed_readers() -> Any:
    """The reader dies with its ring mapped, the traffic goes on; the next one starts at once."""
    with _talking():
        for _ in range(5):
            reader = _python(_READER, "reads")
            time.sleep(0.3)
            reader.send_signal(signal.SIGKILL)
            reader.wait()
    with capturing() as capture, _talking(1):
        time.sleep(1)
        return len(capture.take()) > 0


def processors_come_and_go() -> Any:
    """A processor is taken away and brought back while events are written on it; then it writes them again."""
    online = Path("/sys/devices/system/cpu/cpu1/online")
    everywhere = os.sched_getaffinity(0)
    ports = socket_calls.free_ports(8)
    with capturing(ring_bytes=1 << 22, only_ports=ports) as capture:
        pair = Ground(capture, ports).stream()
        with _talking():
            for _ in range(3):
                online.write_text("0")
                _exchange(pair)
                online.write_text("1")
                _exchange(pair)
        os.sched_setaffinity(0, {1})
        _exchange(pair)
        os.sched_setaffinity(0, everywhere)
        told = len([event for event in capture.take() if event.kind == "data"])
        pair.close()
    return told


def _exchange(pair: Pair) -> None:
    """Four reads and writes."""
    pair.near.sendall(_TEXT)
    pair.far.recv(99)
    pair.far.sendall(_TEXT)
    pair.near.recv(99)


def little_memory() -> Any:
    """More than a quarter of the machine's memory is refused, and leaves nothing behind."""
    connections = _PARAMETERS / "max_connections"
    before = connections.read_text()
    refused = [_refusal(partial(_loaded, 1 << 30))[0]]
    connections.write_text(str(1 << 22))
    refused.append(_refusal(_loaded)[0])
    connections.write_text(before)
    _loaded().close()
    return refused


QUESTIONS = (
    file_and_handshake,
    second_reader,
    other_contract,
    impossible_rings,
    no_writable_mapping,
    lying_reader,
    blocked_threads,
    too_few_instances,
    little_memory,
    processors_come_and_go,
    killed_readers,
    unload_while_read,
)


def _asked(question: Callable[[], Any]) -> Any:
    print(question.__name__, flush=True)
    try:
        return question()
    except Exception:  # noqa: BLE001 - the test shows it; the next question is asked all the same
        return {"raised": traceback.format_exc()}


def main() -> int:
    answers = {question.__name__: _asked(question) for question in QUESTIONS}
    Path(sys.argv[1]).write_text(json.dumps(answers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
