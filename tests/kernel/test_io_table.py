# SPDX-License-Identifier: Apache-2.0
"""Every way to read or write a socket, on every kind of socket: how many events, which bytes, payload or why not, peer."""

import contextlib
import errno
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import socket_calls
from tests.captures import Event, capturing
from tests.socket_calls import (
    COMPAT,
    DISCARDED,
    IN,
    LOOPBACK,
    MESSAGE_INDEX,
    NONE,
    OUT,
    PEER_UNKNOWN,
    SYSCALL,
    TIMEOUT,
    TRUNCATED,
    Called,
    Ground,
    Pair,
    io_of,
)  # fmt: skip

TEXT = b"GET /of-known-bytes HTTP/1.1 abcdefgh 0123456789"
HALVES = [TEXT[:24], TEXT[24:]]
CONNECTED = ("tcp4", "tcp6", "udp4", "udp6")
UNCONNECTED = ("udp4-unconnected", "udp6-unconnected")


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    ports = socket_calls.free_ports(500)
    with capturing(only_ports=ports) as capture:
        yield Ground(capture, ports)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return socket_calls.built("io_calls", tmp_path_factory.mktemp("programs"), "-luring")


def assert_io(
    events: list[Event], pair: Pair, direction: int, texts: list[bytes], reason: int, budget: int = 512
) -> None:
    """One event for each of `texts`, of the near end, in order."""
    family = socket.AddressFamily(pair.near.family)
    for event, text in zip(events, texts, strict=True):
        payload = text[:budget] if reason in (NONE, TRUNCATED) else b""
        assert (event.direction, event.bytes, event.payload, event.reason) == (direction, len(text), payload, reason)
        assert event.captured == len(payload)
        if event.kind == "datagram" and not event.flags & PEER_UNKNOWN:
            assert (event.remote, event.remote_port) == (LOOPBACK[family], pair.far_port)
            assert (event.local, event.local_port) == (LOOPBACK[family], pair.near_port)
    assert len({event.conn_id for event in events}) <= 1
    if events and events[0].kind == "data":
        socket_calls.assert_contiguous(events)


def _sends() -> Iterator[tuple[str, str, int]]:
    for kind in CONNECTED:
        for call in ("write", "writev", "send", "sendto", "sendmsg"):
            yield kind, call, NONE
        for call in ("sendfile", "splice", "uring_send", "uring_send_async", "uring_sendmsg", "uring_sendmsg_async"):
            yield kind, call, SYSCALL
        yield kind, "write32", COMPAT
    for kind in UNCONNECTED:
        yield kind, "sendto", NONE
        yield kind, "sendmsg", NONE
        yield kind, "uring_sendmsg", SYSCALL
        yield kind, "uring_sendmsg_async", SYSCALL


@pytest.mark.parametrize(("kind", "call", "reason"), list(_sends()))
def test_a_send_is_one_event(ground: Ground, program: Path, kind: str, call: str, reason: int) -> None:
    with ground.pair(kind) as pair:
        port = {"port": pair.far_port} if kind in UNCONNECTED else {}
        called = socket_calls.call(program, call, pair.near, TEXT, **port)
        assert called.results == [len(TEXT)]
        told = io_of(ground.capture.take(), called.pid)
        assert [event.flags & PEER_UNKNOWN for event in told] == [0]
        assert_io(told, pair, OUT, [TEXT], ground.reason(reason, call))
        assert pair.far.recv(4096) == TEXT


def _receives() -> Iterator[tuple[str, str, int, bool]]:
    """Kind, call, reason, and is the peer unknown: an unconnected socket's call that did not ask for it."""
    for kind in CONNECTED + UNCONNECTED:
        lone = kind in UNCONNECTED
        for call in ("read", "readv", "recv"):
            yield kind, call, NONE, lone
        yield kind, "recvfrom", NONE, False
        yield kind, "recvmsg", NONE, False
        yield kind, "uring_recv", SYSCALL, lone
        yield kind, "uring_recv_async", SYSCALL, lone
        yield kind, "uring_recvmsg", SYSCALL, False
        yield kind, "uring_recvmsg_async", SYSCALL, False
        yield kind, "read32", COMPAT, lone


@pytest.mark.parametrize(("kind", "call", "reason", "unknown"), list(_receives()))
def test_a_receive_is_one_event(
    ground: Ground, program: Path, kind: str, call: str, reason: int, unknown: bool
) -> None:
    with ground.pair(kind) as pair:
        pair.tell(TEXT)
        called = socket_calls.call(program, call, pair.near)
        assert (called.results, called.texts) == ([len(TEXT)], [TEXT])
        told = io_of(ground.capture.take(), called.pid)
        assert [bool(event.flags & PEER_UNKNOWN) for event in told] == [unknown]
        assert_io(told, pair, IN, [TEXT], ground.reason(reason, call))


@pytest.mark.parametrize("kind", CONNECTED + UNCONNECTED)
def test_sendmmsg_is_an_event_for_each_message(ground: Ground, program: Path, kind: str) -> None:
    with ground.pair(kind) as pair:
        port = {"port": pair.far_port} if kind in UNCONNECTED else {}
        called = socket_calls.call(program, "sendmmsg", pair.near, TEXT, count=2, **port)
        assert called.results == [24, 24]
        # A stream's sendmmsg may end after part of a message, unseen: which message is next is not known.
        reason = ground.reason(MESSAGE_INDEX) if kind.startswith("tcp") else NONE
        assert_io(io_of(ground.capture.take(), called.pid), pair, OUT, HALVES, reason)


@pytest.mark.parametrize("kind", CONNECTED + UNCONNECTED)
def test_recvmmsg_is_an_event_for_each_message(ground: Ground, program: Path, kind: str) -> None:
    with ground.pair(kind) as pair:
        for text in HALVES:
            pair.tell(text)
        called = socket_calls.call(program, "recvmmsg", pair.near, size=48, count=2)
        assert (called.results, called.texts) == ([24, 24], HALVES)
        reason = ground.reason(MESSAGE_INDEX) if kind.startswith("tcp") else NONE
        assert_io(io_of(ground.capture.take(), called.pid), pair, IN, HALVES, reason)


@pytest.mark.parametrize("kind", CONNECTED)
def test_one_message_of_sendmmsg_has_its_payload(ground: Ground, program: Path, kind: str) -> None:
    with ground.pair(kind) as pair:
        called = socket_calls.call(program, "sendmmsg", pair.near, TEXT, count=1)
        assert_io(io_of(ground.capture.take(), called.pid), pair, OUT, [TEXT], NONE)


def test_recvmmsg_with_a_time_limit_proves_no_message(ground: Ground, program: Path) -> None:
    with ground.pair("udp4") as pair:
        for text in HALVES:
            pair.tell(text)
        called = socket_calls.call(program, "recvmmsg_timeout", pair.near, size=48, count=2)
        assert called.texts == HALVES
        assert_io(io_of(ground.capture.take(), called.pid), pair, IN, HALVES, ground.reason(MESSAGE_INDEX))


@pytest.mark.parametrize("kind", ["tcp4", "tcp6"])
def test_splice_from_a_socket_is_a_gap_in_the_offsets(ground: Ground, program: Path, kind: str) -> None:
    with ground.pair(kind) as pair:
        for call in ("read", "splice_in", "read"):
            pair.tell(TEXT)
            assert socket_calls.call(program, call, pair.near).texts == [TEXT]
        told = [event for event in io_of(ground.capture.take()) if event.direction == IN]
        # At the socket tracepoints nothing is seen of it.
        assert [event.payload for event in told] == ([TEXT, TEXT] if ground.by_registers else [TEXT, b"", TEXT])
        assert told[-1].seq - told[0].seq & 0xFFFFFFFF == 2 * len(TEXT)
        assert {event.bytes for event in told} == {len(TEXT)}


NOT_DATA = (
    ("tcp4", "recv", socket.MSG_PEEK), ("tcp6", "recvmsg", socket.MSG_PEEK), ("udp4", "recv", socket.MSG_PEEK),
    ("udp6-unconnected", "recvfrom", socket.MSG_PEEK), ("udp4", "recvmmsg", socket.MSG_PEEK),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "call", "flags"), NOT_DATA)
def test_a_look_ahead_is_no_data(ground: Ground, program: Path, kind: str, call: str, flags: int) -> None:
    with ground.pair(kind) as pair:
        pair.tell(TEXT)
        peeked = socket_calls.call(program, call, pair.near, flags=flags)
        assert peeked.texts == [TEXT]
        called = socket_calls.call(program, "recvfrom", pair.near)
        events = ground.capture.take()
        assert io_of(events, peeked.pid) == []
        assert_io(io_of(events, called.pid), pair, IN, [TEXT], NONE)


def test_out_of_band_is_no_data(ground: Ground, program: Path) -> None:
    with ground.pair("tcp4") as pair:
        pair.far.send(b"!", socket.MSG_OOB)
        called = socket_calls.call(program, "recv", pair.near, flags=socket.MSG_OOB)
        assert called.results == [1]
        assert io_of(ground.capture.take(), called.pid) == []


def test_the_queue_of_errors_is_no_data(ground: Ground, program: Path) -> None:
    with ground.bound(socket.AF_INET, socket.SOCK_DGRAM) as near:
        near.setsockopt(socket.SOL_IP, 11, 1)  # IP_RECVERR
        near.connect(("127.0.0.1", ground.port()))
        near.send(TEXT)
        ground.capture.take()
        called = socket_calls.call(program, "recvmsg", near, flags=0x2000)  # MSG_ERRQUEUE
        assert called.texts == [TEXT]
        assert io_of(ground.capture.take(), called.pid) == []


def test_discarded_bytes_of_a_stream_are_counted_without_payload(ground: Ground, program: Path) -> None:
    with ground.pair("tcp4") as pair:
        pair.tell(TEXT)
        called = socket_calls.call(program, "recv", pair.near, flags=socket.MSG_TRUNC)
        assert called.results == [len(TEXT)]
        assert_io(io_of(ground.capture.take(), called.pid), pair, IN, [TEXT], DISCARDED)


@pytest.mark.parametrize("call", ["recv", "recvmsg"])
def test_the_length_of_a_cut_datagram_is_its_own(ground: Ground, program: Path, call: str) -> None:
    with ground.pair("udp4") as pair:
        pair.tell(TEXT)
        called = socket_calls.call(program, call, pair.near, flags=socket.MSG_TRUNC, size=10)
        assert called.results == [len(TEXT)]
        assert_io(io_of(ground.capture.take(), called.pid), pair, IN, [TEXT], TRUNCATED, budget=10)


@pytest.mark.parametrize("kind", CONNECTED)
def test_a_receive_that_would_block_is_nothing(ground: Ground, program: Path, kind: str) -> None:
    with ground.pair(kind) as pair:
        for call in ("recv", "recvmsg", "recvmmsg"):
            called = socket_calls.call(program, call, pair.near, flags=socket.MSG_DONTWAIT)
            assert called.results == [-errno.EAGAIN]
        assert not [event for event in ground.capture.take() if event.kind != "process"]


def test_a_send_after_the_end_is_nothing(ground: Ground, program: Path) -> None:
    with ground.pair("tcp4") as pair:
        pair.near.shutdown(socket.SHUT_WR)
        called = socket_calls.call(program, "send", pair.near, TEXT, flags=socket.MSG_NOSIGNAL)
        assert called.results == [-errno.EPIPE]
        assert not [event for event in ground.capture.take() if event.kind != "process"]


@pytest.mark.parametrize("kind", ["tcp4", "udp6"])
@pytest.mark.parametrize("parts", [1, 2, 9, 40])
def test_a_text_in_parts_is_put_together(ground: Ground, program: Path, kind: str, parts: int) -> None:
    """From two parts on the first is empty."""
    with ground.pair(kind) as pair:
        called = socket_calls.call(program, "writev", pair.near, TEXT, parts=parts)
        assert_io(io_of(ground.capture.take(), called.pid), pair, OUT, [TEXT], NONE, budget=len(TEXT))


@pytest.mark.parametrize("size", [1, 128, 129, 512, 513, 5000])
@pytest.mark.parametrize(
    ("kind", "call"), [("tcp4", "write"), ("tcp6", "writev"), ("udp4", "send"), ("udp6", "writev")]
)
def test_payload_ends_at_the_budget(ground: Ground, program: Path, kind: str, call: str, size: int) -> None:
    text = (b"0123456789abcdef" * 320)[:size]
    with ground.pair(kind) as pair:
        called = socket_calls.call(program, call, pair.near, text)
        # A stream's read or write that is not long has all of its bytes.
        budget = 4096 if kind.startswith("tcp") and size <= 4096 else 512
        reason = NONE if size <= budget else TRUNCATED
        assert_io(io_of(ground.capture.take(), called.pid), pair, OUT, [text], reason, budget)


def test_calls_of_one_connection_have_contiguous_offsets(ground: Ground, program: Path) -> None:
    with ground.pair("tcp4") as pair:
        near = int(pair.near.getsockname()[1])
        for call in ("write", "writev", "sendfile", "write32", "uring_send", "sendmmsg", "splice", "write"):
            pair.tell(TEXT)
            socket_calls.call(program, call, pair.near, TEXT)
            assert pair.far.recv(4096) == TEXT
            socket_calls.call(program, "recv", pair.near)
        events = ground.capture.take()
        opened = {event.conn_id: event for event in events if event.kind == "open"}
        assert sorted(event.local_port for event in opened.values()) == sorted([near, pair.far_port])
        for conn_id, start in opened.items():
            told = [event for event in events if event.kind == "data" and event.conn_id == conn_id]
            assert len(told) == 16
            socket_calls.assert_contiguous(told)
            assert next(e.seq for e in told if e.direction == OUT) == start.send_seq
            assert next(e.seq for e in told if e.direction == IN) == start.recv_seq
            for event in told:
                other = [e for e in told if e.direction != event.direction and e.time_ns <= event.time_ns]
                end = other[-1].seq + other[-1].bytes if other else start.recv_seq
                assert event.direction == IN or event.peer_seq == end & 0xFFFFFFFF


@contextlib.contextmanager
def _inside(program: Path, call: str, near: socket.socket, other: socket.socket) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [program, call, str(near.fileno()), f"other={other.fileno()}"], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=[near.fileno(), other.fileno()],
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waiting\n"
        socket_calls.wait_blocked(process.pid)
        yield process
    finally:
        process.kill()
        process.wait()


def _end(process: subprocess.Popen[bytes]) -> Called:
    said, _ = process.communicate(timeout=TIMEOUT)
    return socket_calls.results(process.pid, said)


def test_a_ring_that_completes_in_another_sockets_call_shows_no_foreign_bytes(ground: Ground, program: Path) -> None:
    with ground.pair("tcp4") as pair, ground.pair("tcp6") as other:
        with _inside(program, "ring_inside_read", pair.near, other.near) as process:
            pair.tell(TEXT)
            other.tell(b"of the other")
            called = _end(process)
        assert called.texts == [TEXT]
        told = io_of(ground.capture.take(), called.pid)
        own = b"" if ground.by_registers else TEXT
        assert sorted(event.payload for event in told) in ([own], sorted([own, b"of the other"]))
        assert_io([event for event in told if event.bytes == len(TEXT)], pair, IN, [TEXT], ground.reason(SYSCALL))


def test_a_ring_that_completes_at_the_end_of_a_call_of_the_same_socket_shows_no_foreign_bytes(
    ground: Ground, program: Path
) -> None:
    """The thread is in a long write of the very socket on which its ring receives."""
    with ground.pair("tcp4") as pair:
        with _inside(program, "ring_inside_write", pair.near, pair.near) as process:
            pair.tell(TEXT)
            called = _end(process)
        assert called.texts == [TEXT]
        told = [event for event in io_of(ground.capture.take(), called.pid) if event.direction == IN]
        assert_io(told, pair, IN, [TEXT], ground.reason(SYSCALL))
