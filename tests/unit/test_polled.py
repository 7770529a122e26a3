# SPDX-License-Identifier: Apache-2.0
"""Socket lists into rows: who is connected to whom, and how it goes, without a probe."""

from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from analyzers.polled import PolledRows
from analyzers.rows import Role
from probes.sockets import ESTABLISHED, LISTEN, SeenSocket, SocketLister

HOUR = 3600 * 10**9
HERE, POD = 1, 2
CLIENT = SeenSocket(HERE, 0, ESTABLISHED, "10.0.0.1", 40000, "10.0.0.9", 80, 11, 7, True, 900, 2, 100, 1000)
SERVER = SeenSocket(POD, 33, ESTABLISHED, "10.0.0.9", 80, "10.0.0.1", 40000, 12)
LISTENER = SeenSocket(POD, 33, LISTEN, "0.0.0.0", 80, "0.0.0.0", 0, 13)


def rows() -> PolledRows:
    return PolledRows({33: "nginx"}.get, HOUR)  # type: ignore[arg-type]


def test_a_connection_to_elsewhere_is_the_clients() -> None:
    polled = rows()
    polled.take([CLIENT], 5)
    (tcp,), (request,) = polled.tcp(), polled.requests()
    assert (tcp.key.role, tcp.key.remote_ip, tcp.key.remote_port, tcp.key.local_port) == (
        Role.CLIENT,
        "10.0.0.9",
        80,
        0,
    )
    assert (tcp.srtt_us, tcp.retransmits, tcp.connects, tcp.closed) == (900, 2, 0, 0)
    assert (request.key.protocol, request.count, request.request_bytes, request.response_bytes) == (
        "NOSUPPORT",
        0,
        100,
        1000,
    )
    assert request.key.identity.cgroup_id == 7


def test_of_a_connection_inside_the_node_the_serving_end_tells() -> None:
    polled = rows()
    polled.take([CLIENT, SERVER, LISTENER], 5)
    (tcp,) = polled.tcp()
    assert (tcp.key.role, tcp.key.local_port, tcp.key.remote_port) == (Role.SERVER, 80, 0)
    assert (tcp.key.identity.comm, tcp.key.identity.netns) == ("nginx", POD)
    assert tcp.key.peer is not None
    assert (tcp.key.peer.netns, tcp.key.peer.cgroup_id) == (HERE, 7)
    assert polled.requests() == []  # nothing is known of its bytes


def test_growth_is_added_and_what_ended_stays() -> None:
    polled = rows()
    polled.take([CLIENT], 1)
    polled.take([replace(CLIENT, sent=150, received=1500, retransmits=3, srtt_us=800)], 2)
    polled.take([], 3)
    polled.take([replace(CLIENT, inode=99, sent=5, received=7, retransmits=1)], 4)
    (tcp,), (request,) = polled.tcp(), polled.requests()
    assert (tcp.srtt_us, tcp.retransmits, tcp.closed) == (900, 4, 1)
    assert (request.request_bytes, request.response_bytes) == (155, 1507)


def test_another_connection_on_the_same_ports_is_not_the_old_one() -> None:
    polled = rows()
    polled.take([CLIENT], 1)
    polled.take([replace(CLIENT, inode=99, sent=5, received=7, retransmits=0)], 2)
    (tcp,), (request,) = polled.tcp(), polled.requests()
    assert (tcp.retransmits, tcp.closed) == (2, 1)
    assert (request.request_bytes, request.response_bytes) == (105, 1007)


def test_loopback_of_two_namespaces_is_not_one_place() -> None:
    near = replace(CLIENT, local_ip="127.0.0.1", remote_ip="127.0.0.1")
    far = replace(SERVER, local_ip="127.0.0.1", remote_ip="127.0.0.1")
    polled = rows()
    polled.take([near, far, LISTENER], 1)
    assert [row.key.peer for row in polled.tcp()] == [None, None]


def test_rows_end_and_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analyzers.polled.ROW_LIMIT", 2)
    polled = rows()
    polled.take([replace(CLIENT, remote_ip=f"10.0.1.{n}", inode=n + 1) for n in range(5)], 1)
    assert (len(polled.tcp()), polled.overflow) == (2, 3)
    polled.take([], HOUR + 2)
    assert polled.tcp() == []


class Refusing:
    """What pyroute2 gives where the kernel answers with NLMSG_ERROR: the refusal as a message."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def bind(self) -> None:
        pass

    def get_sock_stats(self, family: int, **_: object) -> list[dict[str, object]]:
        return [{"header": {"type": 2, "error": None}, "event": "NLMSG_ERROR"}] if family else []


def test_a_kernel_that_cannot_list_sockets_is_read_from_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux 6.1 with kernel.modules_disabled=1 and inet_diag not loaded."""
    monkeypatch.setattr("pyroute2.DiagSocket", Refusing)
    (tmp_path / "self/net").mkdir(parents=True)
    line = "   0: 0100007F:1F90 0200000A:C000 01 00000000:00000000 00:00000000 00000000     0        0 1161 1 0\n"
    (tmp_path / "self/net/tcp").write_text("  sl  local_address\n" + line)
    lister = SocketLister(tmp_path)
    (seen,) = lister.read()
    assert (seen.local_port, seen.is_detailed) == (8080, False)
    assert lister.detail_fault == (
        "sock_diag cannot be used: [Errno 2] the kernel has no inet_diag and tcp_diag, and loads none"
    )


def test_a_translated_connection_has_the_service_and_who_answers() -> None:
    """The other end is found by the address that answers, so the connection is one row with both owners."""
    polled = rows()
    polled.take([replace(CLIENT, dialled_ip="10.96.0.1", dialled_port=443), SERVER, LISTENER], 5)
    (tcp,) = polled.tcp()
    assert (tcp.key.role, tcp.key.dialled_ip, tcp.key.dialled_port) == (Role.SERVER, "10.96.0.1", 443)
    assert tcp.key.peer is not None
    polled = rows()
    polled.take(
        [replace(CLIENT, dialled_ip="10.96.0.1", dialled_port=443), replace(CLIENT, local_port=40001, inode=9)], 5
    )
    told = {(row.key.dialled_ip, row.key.dialled_port, row.key.remote_ip, row.key.remote_port) for row in polled.tcp()}
    assert told == {("10.96.0.1", 443, "10.0.0.9", 80), ("", 0, "10.0.0.9", 80)}
    assert {(row.key.dialled_ip, row.key.dialled_port) for row in polled.requests()} == {("10.96.0.1", 443), ("", 0)}


def test_lists_of_other_namespaces_are_read_from_proc(tmp_path: Path) -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    line = "   0: 0100007F:1F90 0200000A:C000 01 00000000:00000000 00:00000000 00000000     0        0 1161 1 0\n"
    odd = "   1: nonsense\n"
    waiting = line.replace(" 01 ", " 06 ", 1)
    six = line.replace("0100007F", "0000000000000000FFFF00000100007F").replace("0200000A", "0" * 24 + "01000000")
    for pid in ("self", "33"):
        net = tmp_path / pid / "net"
        net.mkdir(parents=True)
        (net / "tcp").write_text(head + (line + odd + waiting if pid == "33" else ""))
        (net / "tcp6").write_text(head + (six if pid == "33" else ""))
    lister = SocketLister(tmp_path)
    found = [seen for seen in lister.read() if seen.pid == 33]
    assert [(s.local_ip, s.local_port, s.remote_ip, s.remote_port, s.inode) for s in found] == [
        ("127.0.0.1", 8080, "10.0.0.2", 49152, 1161), ("127.0.0.1", 8080, "::1", 49152, 1161),
    ]  # fmt: skip
