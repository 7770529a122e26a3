# SPDX-License-Identifier: Apache-2.0
"""The life of connections as the programs tell it: attempts, ids, processes, peers, what is older, what is left out."""

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import socket_calls
from tests.captures import AGAIN, MESSAGE, REQUESTS_OUT, Event, capturing
from tests.socket_calls import (
    CLIENT,
    IN,
    LATE,
    LOST_BEFORE,
    MPTCP,
    NONE,
    OUT,
    PEER_UNKNOWN,
    REPEATED,
    SEEDED,
    SERVER,
    TIMEOUT,
    UNKNOWN,
    Ground,
    Pair,
    assert_contiguous,
    io_of,
    of_kind,
)  # fmt: skip

TEXT = b"a text of known bytes"
_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_MSG_FASTOPEN, _TCP_FASTOPEN = 0x20000000, 23
_PROTOCOLS = [0, 262] if Path("/proc/sys/net/mptcp").exists() else [0]
"""Those of a stream: what the kernel takes for TCP, and MPTCP if it was built with it."""


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    ports = socket_calls.free_ports(200)
    with capturing(only_ports=ports) as capture:
        yield Ground(capture, ports)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return socket_calls.built("io_calls", tmp_path_factory.mktemp("programs"), "-luring")


def exchange(pair: Pair, times: int = 1) -> None:
    for _ in range(times):
        pair.near.sendall(TEXT)
        assert pair.far.recv(4096) == TEXT
        pair.far.sendall(TEXT[::-1])
        assert pair.near.recv(4096) == TEXT[::-1]


def opened(events: list[Event], port: int) -> Event:
    """The one OPEN of the end at `port`."""
    (event,) = [event for event in events if event.kind == "open" and event.local_port == port]
    return event


def closes_of(events: list[Event]) -> list[Event]:
    """Of connections: a listener has an id and an end too."""
    listeners = {event.conn_id for event in of_kind(events, "listen")}
    return [event for event in of_kind(events, "close") if event.conn_id not in listeners]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_whole_life_of_a_connection(ground: Ground, family: int) -> None:
    ground.capture.take()
    pair = ground.stream(family)
    near, far = pair.near_port, pair.far_port
    exchange(pair, 3)
    pair.close()
    events = [event for event in ground.capture.take() if event.kind != "process"]
    host = socket_calls.LOOPBACK[socket.AddressFamily(family)]
    (listen,) = of_kind(events, "listen")
    (connect,) = of_kind(events, "connect")
    assert (listen.local, listen.local_port, listen.pid) == (host, far, os.getpid())
    assert (connect.error, connect.remote, connect.remote_port, connect.role) == (0, host, far, CLIENT)
    client, server = opened(events, near), opened(events, far)
    assert (client.role, client.remote_port, client.open_flags, client.pid) == (CLIENT, far, 0, os.getpid())
    assert (server.role, server.remote_port, server.open_flags, server.pid) == (SERVER, near, 0, os.getpid())
    assert connect.conn_id == client.conn_id != server.conn_id
    closes = {event.conn_id: event for event in of_kind(events, "close")}
    assert set(closes) == {client.conn_id, server.conn_id, listen.conn_id}
    for end, first in ((client, OUT), (server, IN)):
        told = [event for event in events if event.kind == "data" and event.conn_id == end.conn_id]
        assert [event.direction for event in told] == [first, 1 - first] * 3
        assert [event.payload for event in told] == [TEXT, TEXT[::-1]] * 3
        assert_contiguous(told)
        assert (closes[end.conn_id].bytes_sent, closes[end.conn_id].bytes_received) == (63, 63)
    assert len(events) == 1 + 1 + 2 + 12 + 3


def test_refused_and_tried_again_on_one_descriptor(ground: Ground) -> None:
    ground.capture.take()
    port = ground.port()
    with ground.bound(socket.AF_INET, socket.SOCK_STREAM) as near:
        near.setblocking(True)
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                near.connect(("127.0.0.1", port))
        with ground.bound(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.listen()
            near.connect(listener.getsockname())
            last_port = listener.getsockname()[1]
    events = ground.capture.take()
    attempts = of_kind(events, "connect")
    assert [event.error for event in attempts] == [errno.ECONNREFUSED, errno.ECONNREFUSED, 0]
    assert [event.remote_port for event in attempts] == [port, port, last_port]
    assert len({event.conn_id for event in attempts}) == 3
    assert of_kind(events, "open") == closes_of(events) == []


def test_a_dissolved_connection_is_closed_before_the_next_on_its_descriptor(ground: Ground) -> None:
    first, second = ground.stream(), ground.bound(socket.AF_INET, socket.SOCK_STREAM)
    second.listen()
    ground.capture.take()
    first.near.sendall(TEXT)
    unspecified = struct.pack("=H14x", socket.AF_UNSPEC)
    assert ctypes.CDLL(None).connect(first.near.fileno(), unspecified, len(unspecified)) == 0
    first.near.connect(second.getsockname())
    first.near.sendall(TEXT)
    events = [event for event in ground.capture.take() if event.kind in ("open", "data", "close")]
    first.close()
    second.close()
    assert [event.kind for event in events] == ["open", "data", "close", "open", "data"]
    assert len({event.conn_id for event in events[:3]}) == len({event.conn_id for event in events[3:]}) == 1
    assert events[0].conn_id != events[3].conn_id


@pytest.mark.parametrize("client", _PROTOCOLS)
@pytest.mark.parametrize("server", _PROTOCOLS)
def test_mptcp_is_told_once(ground: Ground, client: int, server: int) -> None:
    """Either end may be MPTCP's; the other then falls back."""
    ground.capture.take()
    with ground.bound(socket.AF_INET, socket.SOCK_STREAM, server) as listener:
        listener.listen()
        near = ground.bound(socket.AF_INET, socket.SOCK_STREAM, client)
        near.connect(listener.getsockname())
        pair = Pair(near, listener.accept()[0])
    near_port, far_port = pair.near_port, pair.far_port
    exchange(pair, 2)
    pair.near.close()
    assert pair.far.recv(10) == b""
    pair.far.close()
    events = ground.capture.take()
    ends = opened(events, near_port), opened(events, far_port)
    assert [end.role for end in ends] == [CLIENT, SERVER]
    assert bool(ends[0].open_flags & MPTCP) == bool(client)
    assert [event.error for event in of_kind(events, "connect")] == [0]
    for end, first in zip(ends, (OUT, IN), strict=True):
        told = [event for event in events if event.kind == "data" and event.conn_id == end.conn_id]
        assert [event.direction for event in told] == [first, 1 - first] * 2
        assert [event.payload for event in told] == [TEXT, TEXT[::-1]] * 2
        assert_contiguous(told)
    closes = closes_of(events)
    assert sorted(event.conn_id for event in closes) == sorted(end.conn_id for end in ends)
    assert {(event.bytes_sent, event.bytes_received) for event in closes} == {(42, 42)}
    assert len(io_of(events)) == 8
    assert [event.local_port for event in of_kind(events, "listen")] == [far_port]


@pytest.mark.parametrize("protocol", _PROTOCOLS)
def test_a_receive_that_found_nothing_is_not_told_of_the_next_socket(ground: Ground, protocol: int) -> None:
    """The next one often lies where the last one did, and the kernel still holds what that call was about."""
    ground.capture.take()
    for _ in range(8):
        pair = ground.stream(protocol=protocol)
        pair.near.setblocking(False)
        pair.far.setblocking(False)
        with pytest.raises(BlockingIOError):
            pair.near.recv(4096)
        with pytest.raises(BlockingIOError):
            pair.far.recv(4000)
        pair.close()
        after = ground.bound(socket.AF_INET, socket.SOCK_STREAM, protocol)
        after.close()
    events = ground.capture.take()
    assert {event.kind for event in events} - {"process", "trouble"} == {"listen", "connect", "close"}
    listeners = {event.conn_id for event in of_kind(events, "listen")}
    assert {event.conn_id for event in of_kind(events, "close")} == listeners


def in_own_network(work: Callable[[], None]) -> None:
    """Runs `work` in a thread with a network namespace of its own, whose loopback is up."""
    failures: list[Exception] = []

    def run() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "unshare")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                name = struct.pack("16sh14x", b"lo", _IFF_UP)
                fcntl.ioctl(any_socket, _SIOCSIFFLAGS, name)
            work()
        except (OSError, AssertionError) as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(TIMEOUT)
    if failures:
        raise failures[0]


@pytest.mark.parametrize("waits", [False, True])
def test_tcp_fast_open_is_one_connection_with_its_first_bytes(ground: Ground, waits: bool) -> None:
    ground.capture.take()
    ports = []

    def talk() -> None:
        Path("/proc/sys/net/ipv4/tcp_fastopen").write_text(str(0x1 | 0x2 | 0x4 | 0x200))  # both ends, no cookie
        with ground.bound(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.IPPROTO_TCP, _TCP_FASTOPEN, 5)
            listener.listen()
            near = ground.bound(socket.AF_INET, socket.SOCK_STREAM)
            near.setblocking(waits)
            assert near.sendto(TEXT, _MSG_FASTOPEN, listener.getsockname()) == len(TEXT)
            far = listener.accept()[0]
            assert far.recv(4096) == TEXT
            far.sendall(TEXT[::-1])
            near.settimeout(TIMEOUT)
            assert near.recv(4096) == TEXT[::-1]
            ports.extend([near.getsockname()[1], far.getsockname()[1]])
            Pair(near, far).close()

    in_own_network(talk)
    events = ground.capture.take()
    client, server = (opened(events, port) for port in ports)
    assert (client.role, server.role) == (CLIENT, SERVER)
    assert client.netns == server.netns != Path("/proc/self/ns/net").stat().st_ino
    for end, first in ((client, OUT), (server, IN)):
        told = [event for event in io_of(events) if event.conn_id == end.conn_id]
        assert [(event.direction, event.payload) for event in told] == [(first, TEXT), (1 - first, TEXT[::-1])]
        assert (end.send_seq, end.recv_seq) == ((told[0].seq, told[1].seq) if first else (told[1].seq, told[0].seq))
    assert sorted(event.conn_id for event in closes_of(events)) == sorted([client.conn_id, server.conn_id])
    assert [event.error for event in of_kind(events, "connect")] == [0]


def test_tcp_fast_open_that_is_refused_sent_nothing(ground: Ground) -> None:
    ground.capture.take()

    def talk() -> None:
        Path("/proc/sys/net/ipv4/tcp_fastopen").write_text(str(0x1 | 0x4))
        with ground.bound(socket.AF_INET, socket.SOCK_STREAM) as near:
            near.setblocking(True)
            with contextlib.suppress(ConnectionRefusedError):
                near.sendto(TEXT, _MSG_FASTOPEN, ("127.0.0.1", ground.port()))
                raise AssertionError("nobody listens there")

    in_own_network(talk)
    events = ground.capture.take()
    assert [event.error for event in of_kind(events, "connect")] == [errno.ECONNREFUSED]
    assert io_of(events) == of_kind(events, "open") == closes_of(events) == []


def test_one_datagram_socket_with_two_peers(ground: Ground) -> None:
    with contextlib.ExitStack() as stack:
        one, a, b = (stack.enter_context(ground.bound(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3))
        ground.capture.take()
        for peer in (a, b, a):
            one.sendto(TEXT, peer.getsockname())
            peer.sendto(TEXT[::-1], one.getsockname())
            assert one.recvfrom(4096) == (TEXT[::-1], peer.getsockname())
        events = ground.capture.take()
        port, peers = one.getsockname()[1], [peer.getsockname()[1] for peer in (a, a, b, b, a, a)]
    own = opened(events, port)
    told = [event for event in io_of(events) if event.conn_id == own.conn_id]
    assert [(e.direction, e.remote_port, e.payload) for e in told] == [
        (side, peer, TEXT if side == OUT else TEXT[::-1]) for side, peer in zip([OUT, IN] * 3, peers, strict=True)
    ]
    assert own.role == UNKNOWN


def test_a_connected_datagram_socket_that_sends_to_somebody_else(ground: Ground) -> None:
    with ground.pair("udp4") as pair, ground.bound(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        pair.near.sendto(TEXT, stranger.getsockname())
        pair.near.send(TEXT)
        told = io_of(ground.capture.take())
        assert [event.remote_port for event in told] == [stranger.getsockname()[1], pair.far_port]


def test_the_peer_of_a_look_ahead_is_not_that_of_the_next_datagram(ground: Ground) -> None:
    with contextlib.ExitStack() as stack:
        one, two, a, b = (stack.enter_context(ground.bound(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(4))
        a.sendto(TEXT, one.getsockname())
        b.sendto(TEXT, two.getsockname())
        ground.capture.take()
        one.recvfrom(4096, socket.MSG_PEEK)
        two.recv(4096)
        one.recv(4096)
        told = io_of(ground.capture.take())
        assert [(event.remote_port, event.flags & PEER_UNKNOWN) for event in told] == [(0, PEER_UNKNOWN)] * 2


def test_datagrams_of_an_excluded_peer_are_silent(ground: Ground) -> None:
    with ground.bound(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as excluded:
        excluded.bind(("127.0.0.1", 0))  # not among the ground's ports
        ground.capture.take()
        one.sendto(TEXT, excluded.getsockname())
        excluded.sendto(TEXT, one.getsockname())
        assert one.recvfrom(4096)[0] == TEXT
        assert io_of(ground.capture.take()) == []


def test_a_failed_sendmmsg_does_not_shift_the_next(ground: Ground, program: Path) -> None:
    """A message of the second call is its own although the first call ended early."""
    with ground.pair("udp4") as pair:
        pair.far.close()
        results = socket_calls.call(program, "sendmmsg", pair.near, TEXT, count=3)
        told = io_of(ground.capture.take(), results.pid)
        assert [event.bytes for event in told] == results.results[: len(told)]
        assert all(event.payload in (TEXT[:7], TEXT[7:14], TEXT[14:]) for event in told)


def test_two_threads_on_one_datagram_socket_keep_their_peers(ground: Ground) -> None:
    with contextlib.ExitStack() as stack:
        one, a, b = (stack.enter_context(ground.bound(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3))
        one.sendto(TEXT, a.getsockname())
        ground.capture.take()

        def send(to: socket.socket) -> None:
            for number in range(300):
                one.sendto(b"%d to %d" % (number, to.getsockname()[1]), to.getsockname())

        run_together([lambda: send(a), lambda: send(b)])
        told = io_of(ground.capture.take())
        for peer in (a, b):
            port = peer.getsockname()[1]
            mine = [event for event in told if event.remote_port == port]
            assert [event.payload for event in mine] == [b"%d to %d" % (number, port) for number in range(300)]
            assert len({event.tid for event in mine}) == 1
        assert len(told) == 600


def run_together(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["tcp4", "udp4"])
def test_sixteen_threads_blocked_in_receive(ground: Ground, kind: str) -> None:
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(ground.pair(kind)) for _ in range(16)]
        ready = threading.Barrier(17)

        def receive(end: socket.socket) -> None:
            ready.wait()
            assert end.recv(4096) == TEXT

        threads = [threading.Thread(target=receive, args=(pair.near,)) for pair in pairs]
        for thread in threads:
            thread.start()
        ready.wait()
        ground.capture.take()
        for pair in pairs:
            pair.tell(TEXT)
        for thread in threads:
            thread.join(TIMEOUT)
        told = [event for event in io_of(ground.capture.take()) if event.direction == IN]
        assert [(event.bytes, event.payload, event.reason) for event in told] == [(len(TEXT), TEXT, NONE)] * 16
        assert len({event.conn_id for event in told}) == len({event.tid for event in told}) == 16


@pytest.mark.parametrize("seeded", [True, False])
def test_connections_older_than_the_programs(seeded: bool) -> None:
    ports = socket_calls.free_ports(12)
    with contextlib.ExitStack() as stack:
        with capturing(0, only_ports=ports) as before:
            old = Ground(before, ports)
            pair, datagrams = old.stream(socket.AF_INET6), old.datagrams(connected=False)
            listener = stack.enter_context(old.bound(socket.AF_INET, socket.SOCK_STREAM))
        listener.listen()
        stack.callback(pair.close)
        stack.callback(datagrams.close)
        exchange(pair)
        with capturing(only_ports=ports) as capture:
            if seeded:
                capture.seed()
                events = capture.take()
                assert {e.local_port for e in of_kind(events, "listen")} == {listener.getsockname()[1]}
                assert {e.pid for e in of_kind(events, "listen")} == {os.getpid()}
            exchange(pair)
            datagrams.near.sendto(TEXT, datagrams.far.getsockname())
            events = [*(events if seeded else []), *capture.take()]
            for port, first in ((pair.near_port, OUT), (pair.far_port, IN)):
                end = opened(events, port)
                told = [event for event in io_of(events) if event.conn_id == end.conn_id]
                assert [(e.direction, e.payload) for e in told] == [(first, TEXT), (1 - first, TEXT[::-1])]
                assert end.open_flags == (SEEDED | LATE if seeded else LATE)
                assert (end.pid, end.comm, end.role) == (os.getpid(), Path("/proc/self/comm").read_text().strip(), 0)
                assert end.send_seq == next(e.seq for e in told if e.direction == OUT)
                assert end.recv_seq == next(e.seq for e in told if e.direction == IN)
            assert opened(events, datagrams.near_port).pid == os.getpid()


def test_nested_process_namespaces_tell_the_outermost_number(ground: Ground, program: Path) -> None:
    with ground.pair("tcp4") as pair:
        unshare = ["unshare", "--fork", "--pid"]
        process = subprocess.Popen(
            [*unshare, *unshare, program, "write", str(pair.near.fileno()), TEXT], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, pass_fds=[pair.near.fileno()], env=os.environ | {"IO_CALLS_WAIT": "1"},
        )  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"%d " % len(TEXT))
            (told,) = io_of(ground.capture.take())
            status = Path(f"/proc/{told.pid}/status").read_text()
            assert status.startswith("Name:\tio_calls\n")
            numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
            assert numbers == [str(told.pid), numbers[1], "1"]
        finally:
            process.communicate(b"\n", timeout=TIMEOUT)


def test_the_end_takes_along_what_waits(ground: Ground) -> None:
    """A request that nobody answers is told when its connection closes."""
    with ground.pair("tcp4") as pair:
        exchange(pair)
        events = ground.capture.take()
        client = opened(events, pair.near_port)
        ground.capture.set_mode(client.conn_id, MESSAGE | REQUESTS_OUT)
        pair.near.sendall(TEXT)
        assert [event for event in io_of(ground.capture.take()) if event.conn_id == client.conn_id] == []
        pair.close()
        told = [e for e in ground.capture.take() if e.conn_id == client.conn_id and e.kind != "trouble"]
        assert [event.kind for event in told] == ["exchange", "close"]
        assert (told[0].first_bytes, told[0].second_bytes, told[0].payload) == (len(TEXT), 0, TEXT)
        assert told[0].first_seq == client.send_seq + len(TEXT) & 0xFFFFFFFF


def test_bytes_read_together_with_the_end(ground: Ground) -> None:
    with ground.pair("tcp4") as pair:
        near, far = pair.near_port, pair.far_port
        pair.near.sendall(TEXT)
        pair.near.shutdown(socket.SHUT_WR)
        assert pair.far.recv(4096) == TEXT
        assert pair.far.recv(4096) == b""
        pair.far.sendall(TEXT)
        pair.far.close()
        assert pair.near.recv(4096) == TEXT
        pair.near.close()
        events = ground.capture.take()
        for port, own in ((near, OUT), (far, IN)):
            end = opened(events, port)
            told = [event for event in io_of(events) if event.conn_id == end.conn_id]
            assert [(e.direction, e.bytes) for e in told] == [(own, len(TEXT)), (1 - own, len(TEXT))]
            assert told[1].peer_seq == told[0].seq + len(TEXT) & 0xFFFFFFFF
            (close,) = [event for event in of_kind(events, "close") if event.conn_id == end.conn_id]
            assert (close.bytes_sent, close.bytes_received) == (len(TEXT), len(TEXT))


def test_another_epoch_has_everything_told_again(ground: Ground) -> None:
    with ground.pair("tcp4") as pair, ground.pair("udp4") as datagrams:
        for end in (pair, datagrams):
            exchange(end)
        first = {e.conn_id: e for e in of_kind(ground.capture.take(), "open")}
        ground.capture.control.set_epoch(8)
        for end in (pair, datagrams):
            exchange(end)
        events = ground.capture.take()
        again = {e.conn_id: e for e in of_kind(events, "open")}
        assert set(again) == set(first)
        assert len(again) == len(of_kind(events, "open")) == 4
        for conn_id, event in again.items():
            told = [e for e in events if e.conn_id == conn_id]
            assert [e.kind for e in told] == ["open", *[told[1].kind] * 2]
            assert event.open_flags & REPEATED
            assert (event.role, event.local_port, event.pid) == (
                first[conn_id].role, first[conn_id].local_port, first[conn_id].pid)  # fmt: skip
        ground.capture.control.set_epoch(0)
        exchange(pair)
        assert ground.capture.take() == []
        ground.capture.control.set_epoch(7)


def test_one_that_the_engine_asks_for_is_told_again(ground: Ground) -> None:
    with ground.pair("tcp4") as pair, ground.pair("udp4") as datagrams:
        for end in (pair, datagrams):
            exchange(end)
        first = {e.conn_id: e for e in of_kind(ground.capture.take(), "open")}
        for end in (pair, datagrams):
            asked = next(e.conn_id for e in first.values() if e.local_port == end.near_port)
            ground.capture.set_mode(asked, AGAIN, 0)
            exchange(end)
            events = [e for e in ground.capture.take() if e.kind not in ("process", "trouble")]
            told = [e for e in events if e.conn_id == asked]
            # Before each event, until the engine has heard it and takes the mode back.
            assert [e.kind for e in told] == ["open", told[1].kind] * 2
            assert {e.open_flags & REPEATED for e in told[::2]} == {REPEATED}
            assert of_kind([e for e in events if e.conn_id != asked], "open") == []
            ground.capture.set_mode(asked, 0, 512)
            exchange(end)
            assert of_kind(ground.capture.take(), "open") == []


def test_own_processes_and_excluded_ports_are_silent() -> None:
    ports = socket_calls.free_ports(8)
    with capturing(0, only_ports=ports) as capture:
        ground = Ground(capture, ports)
        capture.control.leave_out_processes([os.getpid()])
        capture.control.set_epoch(7)
        pair = ground.stream()
        exchange(pair, 2)
        pair.close()
        capture.control.leave_out_processes([])
        capture.control.leave_out_ports([ports[2]])
        pair = ground.stream()
        assert ports[2] in (pair.near_port, pair.far_port)
        exchange(pair, 2)
        pair.close()
        assert [e for e in capture.take() if e.pid == os.getpid() and e.kind not in ("process", "trouble")] == []


def test_a_connection_that_finds_no_room_counts_the_events_that_it_could_not_tell() -> None:
    ports = socket_calls.free_ports(8)
    with capturing(ring_bytes=1 << 16, only_ports=ports) as capture:
        ground = Ground(capture, ports)
        pair, late = ground.stream(), ground.stream()
        capture.control.set_epoch(9)
        exchange(pair, 500)
        before = capture.counters()
        assert before.lost["data"] > 0
        exchange(late, 3)
        after = capture.counters()
        assert after.lost["data"] - before.lost["data"] == 12
        capture.take()
        exchange(late)
        told = capture.take()
        assert [e.kind for e in told if e.kind != "process"].count("open") == 2
        assert len(io_of(told)) == 4
        pair.close()
        late.close()


def test_a_full_ring_counts_every_event_that_is_missing() -> None:
    ports = socket_calls.free_ports(8)
    with capturing(ring_bytes=1 << 16, only_ports=ports) as capture:
        pair = Ground(capture, ports).stream()
        exchange(pair)
        before = capture.counters()
        first = io_of(capture.take())
        exchange(pair, 500)
        after = capture.counters()
        kept = io_of(capture.take())
        lost = after.lost["data"] - before.lost["data"]
        assert lost > 0
        assert after.lost["open"] == before.lost["open"] == 0
        assert len(kept) + lost == 2000
        assert after.written["data"] - before.written["data"] == len(kept)
        exchange(pair)
        last = io_of(capture.take())
        for event in first:
            told = [e for e in last if e.conn_id == event.conn_id]
            assert len(told) == 2
            assert [bool(e.flags & LOST_BEFORE) for e in told] == [True, False]
        assert not any(e.flags & LOST_BEFORE for e in [*first, *kept])
        pair.close()
