# SPDX-License-Identifier: Apache-2.0
"""Translations of addresses: the netlink messages of conntrack, and what they change of a connection from either end."""

import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers._native import ffi, lib
from tests.events import IN, OUT, SECOND, Conversation, datagram
from tests.inprocess import InProcessEngine

TCP, UDP = 6, 17
NEW = 1 << 8  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_NEW
End = tuple[str, int]
POD, SERVICE, BACKEND, NODE = ("10.1.0.5", 40000), ("10.96.0.10", 80), ("10.1.0.9", 8080), ("10.0.0.1", 51000)
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def attribute(number: int, value: bytes, *, nested: bool = False) -> bytes:
    head = struct.pack("=HH", 4 + len(value), number | (0x8000 if nested else 0))
    return head + value + bytes(-len(value) % 4)


def tuple_of(number: int, source: End, destination: End, l4: int) -> bytes:
    addresses = (ip_address(source[0]), ip_address(destination[0]))
    first = 1 if addresses[0].version == 4 else 3
    ip = b"".join(attribute(first + i, address.packed) for i, address in enumerate(addresses))
    ports = attribute(1, bytes([l4]))
    ports += attribute(2, struct.pack("!H", source[1])) + attribute(3, struct.pack("!H", destination[1]))
    return attribute(number, attribute(1, ip, nested=True) + attribute(2, ports, nested=True), nested=True)


def entry(client: End, dialled: End, server: End, shown: End | None = None, l4: int = TCP) -> bytes:
    """As the kernel tells a new one: the status attribute between and behind the tuples is of no interest."""
    body = struct.pack("=BBH", socket.AF_INET, 0, 0)
    body += tuple_of(1, client, dialled, l4) + tuple_of(2, server, shown or client, l4) + attribute(3, bytes(4))
    return struct.pack("=IHHII", 16 + len(body), NEW, 0, 0, 0) + body


def tell(engine: InProcessEngine, message: bytes) -> None:
    lib.fs_engine_conntrack(engine.engine, ffi.from_buffer(message), len(message))


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    with InProcessEngine() as made:
        yield made


def client(conn_id: int = 1, remote: End = SERVICE, local: End = POD) -> Conversation:
    return Conversation(conn_id, local, remote, "client", comm="curl", pid=5, netns=11)


def server(conn_id: int = 2, remote: End = POD, local: End = BACKEND) -> Conversation:
    return Conversation(conn_id, local, remote, "server", comm="nginx", pid=6, netns=12)


def ask(engine: InProcessEngine, c: Conversation, at: int = 10) -> None:
    send, receive = (c.sends, c.receives) if c.role == "client" else (c.receives, c.sends)
    engine.feed([c.open(at), send(at + 1, GET), receive(at + 2, OK)])


def ends(engine: InProcessEngine) -> list[tuple[str, End, End, End]]:
    return [(row.role, row.local, row.remote, row.dialled) for row in engine.rows() if row.count]


NOTHING = ("", 0)


def test_a_client_of_a_service_reaches_the_pod_that_answers(engine: InProcessEngine) -> None:
    tell(engine, entry(POD, SERVICE, BACKEND))
    ask(engine, client())
    assert ends(engine) == [("client", (POD[0], 0), BACKEND, SERVICE)]
    assert (engine.stat("nat_learned"), engine.stat("nat_applied")) == (1, 1)


def test_without_a_translation_nothing_changes(engine: InProcessEngine) -> None:
    tell(engine, entry(("10.1.0.6", 40000), SERVICE, BACKEND))
    ask(engine, client())
    assert ends(engine) == [("client", (POD[0], 0), SERVICE, NOTHING)]
    assert engine.stat("nat_applied") == 0


def test_a_server_sees_who_it_was_behind_a_node(engine: InProcessEngine) -> None:
    outside, node_port = ("192.0.2.7", 50001), ("10.0.0.1", 30080)
    tell(engine, entry(outside, node_port, BACKEND, NODE))
    ask(engine, server(remote=NODE))
    assert ends(engine) == [("server", BACKEND, (outside[0], 0), node_port)]


def test_both_ends_on_one_node_are_one_row(engine: InProcessEngine) -> None:
    tell(engine, entry(POD, SERVICE, BACKEND, NODE))
    c, s = client(), server(remote=NODE)
    engine.feed([c.open(10), s.open(11), c.sends(12, GET), s.receives(13, GET), s.sends(14, OK), c.receives(15, OK)])
    assert ends(engine) == [("server", BACKEND, (POD[0], 0), SERVICE)]
    assert engine.stat("both_ends") == 1
    assert [row.count for row in engine.rows()] == [1]


def test_a_pod_that_reaches_itself_through_its_service(engine: InProcessEngine) -> None:
    """Hairpin: the source is masqueraded, so that the answer comes back the same way."""
    tell(engine, entry((BACKEND[0], 40000), SERVICE, BACKEND, NODE))
    c, s = client(local=(BACKEND[0], 40000)), server(remote=NODE)
    engine.feed([c.open(10), s.open(11), c.sends(12, GET), s.receives(13, GET), s.sends(14, OK), c.receives(15, OK)])
    assert ends(engine) == [("server", BACKEND, (BACKEND[0], 0), SERVICE)]


def test_two_pods_behind_a_service_are_two_rows(engine: InProcessEngine) -> None:
    other = ("10.1.0.10", 8080)
    tell(engine, entry(POD, SERVICE, BACKEND))
    tell(engine, entry((POD[0], 40001), SERVICE, other))
    ask(engine, client(1))
    ask(engine, client(2, local=(POD[0], 40001)), 20)
    assert sorted(remote for _, _, remote, _ in ends(engine)) == [other, BACKEND]


def test_ipv6(engine: InProcessEngine) -> None:
    pod, service, backend = ("fd00::5", 40000), ("fd00:96::10", 80), ("fd00::9", 8080)
    tell(engine, entry(pod, service, backend))
    ask(engine, client(remote=service, local=pod))
    assert ends(engine) == [("client", (pod[0], 0), backend, service)]


def test_a_masqueraded_source_alone_is_no_translation_of_whom_it_reaches(engine: InProcessEngine) -> None:
    outside = ("192.0.2.7", 443)
    tell(engine, entry(POD, outside, outside, NODE))
    ask(engine, client(remote=outside))
    assert ends(engine) == [("client", (POD[0], 0), outside, NOTHING)]
    assert engine.stat("nat_learned") == 0


def test_a_tuple_that_is_used_again_without_translation_is_somebody_elses(engine: InProcessEngine) -> None:
    tell(engine, entry(POD, SERVICE, BACKEND))
    tell(engine, entry(POD, SERVICE, SERVICE))
    ask(engine, client())
    assert ends(engine) == [("client", (POD[0], 0), SERVICE, NOTHING)]


def test_an_old_translation_says_nothing_of_a_new_connection(engine: InProcessEngine) -> None:
    tell(engine, entry(POD, SERVICE, BACKEND))
    ask(engine, client(), 61 * SECOND)
    assert ends(engine) == [("client", (POD[0], 0), SERVICE, NOTHING)]


def test_an_old_translation_stands_for_a_connection_as_old(engine: InProcessEngine) -> None:
    tell(engine, entry(POD, SERVICE, BACKEND))
    c = client()
    engine.feed(
        [c.open(61 * SECOND, open_flags=lib.FS_OPEN_SEEDED), c.sends(62 * SECOND, GET), c.receives(63 * SECOND, OK)]
    )
    assert ends(engine) == [("client", (POD[0], 0), BACKEND, SERVICE)]


def test_more_translations_than_there_is_room_for(engine: InProcessEngine) -> None:
    """The newest stay."""
    for number in range(lib.FS_NATS + 10):
        tell(engine, entry((f"10.2.{number >> 8 & 255}.{number & 255}", 40000), SERVICE, BACKEND))
    ask(engine, client(1, local=("10.2.0.5", 40000)))
    ask(engine, client(2, local=("10.2.0.200", 40000)), 20)
    assert sorted(dialled for _, _, _, dialled in ends(engine)) == [NOTHING, SERVICE]


def test_translations_outlive_the_engine(engine: InProcessEngine) -> None:
    tell(engine, entry(POD, SERVICE, BACKEND))
    engine.crash()
    ask(engine, client())
    assert ends(engine) == [("client", (POD[0], 0), BACKEND, SERVICE)]


@pytest.mark.parametrize("cut", [1, 15, 16, 19, 20, 24, 40, 60, 90])
def test_a_message_that_is_cut_tells_nothing(engine: InProcessEngine, cut: int) -> None:
    whole = entry(POD, SERVICE, BACKEND)
    tell(engine, whole[:cut])
    tell(engine, struct.pack("=I", cut) + whole[4:cut])
    assert engine.stat("nat_learned") == 0


@settings(deadline=None, max_examples=500)
@given(st.data())
def test_any_bytes_do_no_harm(data: st.DataObject) -> None:
    whole = bytearray(entry(POD, SERVICE, BACKEND))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with InProcessEngine() as engine:
        tell(engine, bytes(whole[: data.draw(st.integers(0, len(whole)))]))
        tell(engine, bytes(whole))
        assert engine.stat("nat_learned") <= 2


QUESTION = bytes.fromhex("000101000001000000000000") + b"\x04shop\x05local\0" + bytes.fromhex("00010001")
ANSWER = QUESTION[:2] + b"\x81\x80" + QUESTION[4:]
DNS, DNS_POD = ("10.96.0.10", 53), ("10.1.0.9", 5353)


def test_datagrams_whose_translation_is_told_right_after_the_first(engine: InProcessEngine) -> None:
    """Both ends here, the server bound to every address."""
    q = datagram(10, 1, OUT, POD, DNS, QUESTION, pid=5)
    engine.feed([q])
    tell(engine, entry(POD, DNS, DNS_POD, l4=UDP))
    anywhere = ("0.0.0.0", DNS_POD[1])
    engine.feed(
        [
            datagram(11, 2, IN, anywhere, POD, QUESTION, pid=6),
            datagram(12, 2, OUT, anywhere, POD, ANSWER, pid=6),
        ]
    )
    engine.tick(SECOND)  # the server's row is counted before the client's answer is told
    engine.feed([datagram(SECOND, 1, IN, POD, DNS, ANSWER, pid=5)])
    engine.tick(10 * SECOND)
    assert ends(engine) == [("server", DNS_POD, (POD[0], 0), DNS)]
    assert [row.count for row in engine.rows()] == [1]
    assert [sorted(row.flags) for row in engine.rows()] == [["both_ends"]]
