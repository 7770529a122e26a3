# SPDX-License-Identifier: Apache-2.0
"""Who is at which end: owners of sockets, sides of a connection, and connections with both ends on this node."""

from collections.abc import Iterator

import pytest

from analyzers.contract import PROTOCOLS
from tests.events import (
    EXEC,
    EXIT,
    IN,
    NO_PROCESS,
    OUT,
    REPEATED,
    SECOND,
    SEEDED,
    SYSCALL,
    Conversation,
    close,
    listen,
    process,
)
from tests.inprocess import InProcessEngine

MS = 1_000_000
CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 80)
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CONNECT, THERE = b"CONNECT store:6379 HTTP/1.1\r\nHost: store:6379\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"
PING, PONG = b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    with InProcessEngine() as made:
        yield made


def parties(engine: InProcessEngine) -> list[tuple[str, str, str, int]]:
    return [(row.role, row.owner, row.peer, row.count) for row in engine.rows()]


def test_an_accept_in_softirq_gets_its_owner_from_the_process_that_reads(engine: InProcessEngine) -> None:
    c = Conversation(7, SERVER, CLIENT, "server")
    engine.feed([process(0, EXEC, pid=9, comm="app"), c.open(1, flags=NO_PROCESS)])
    c.head |= {"pid": 9, "cgroup_id": 77}
    engine.feed([c.receives(2, GET), c.sends(3, OK)])
    assert parties(engine) == [("server", "app", "", 1)]
    assert [engine.table.idents[i].cgroup_id for i in range(1, engine.table.idents_used)] == [77]


def test_a_forked_worker_is_named_as_the_process_that_listened(engine: InProcessEngine) -> None:
    engine.feed([listen(0, 3, ("0.0.0.0", 80), comm="nginx", pid=1, cgroup_id=5)])
    c = Conversation(7, SERVER, CLIENT, "server", pid=1234, cgroup_id=5)
    engine.feed([c.open(1, flags=NO_PROCESS), c.receives(2, GET), c.sends(3, OK)])
    assert parties(engine) == [("server", "nginx", "", 1)]
    assert engine.table.idents_used == 2


def test_a_name_ends_with_its_process(engine: InProcessEngine) -> None:
    engine.feed([process(0, EXEC, pid=9, comm="old"), process(1, EXIT, pid=9)])
    c = Conversation(7, SERVER, CLIENT, "server", pid=9)
    engine.feed([c.open(2, flags=NO_PROCESS), c.receives(3, GET), c.sends(4, OK)])
    assert parties(engine) == [("server", "", "", 1)]


def test_repeated_opens_count_once_and_fill_in_what_was_unknown(engine: InProcessEngine) -> None:
    c = Conversation(7, SERVER, CLIENT, "unknown", comm="app", pid=9)
    engine.feed([c.open(0, flags=NO_PROCESS), c.receives(1, GET)])
    c.role = "server"
    engine.feed([c.open(2, open_flags=REPEATED), c.sends(3, OK), c.open(4, open_flags=REPEATED)])
    assert parties(engine) == [("server", "app", "", 1)]
    assert engine.stat("connections_opened") == 1


def test_events_of_a_connection_that_was_never_told_are_counted(engine: InProcessEngine) -> None:
    c = Conversation(7, SERVER, CLIENT, "server")
    engine.feed([c.receives(1, GET), c.sends(2, OK)])
    assert (engine.rows(), engine.stat("connections_unknown")) == ([], 2)
    assert engine.mode(7) == "again"
    engine.feed([c.close(3)])
    assert (engine.mode(7), engine.stat("connections_unknown")) == (None, 2)


def test_a_connection_that_was_never_told_is_asked_for_and_counted_from_then_on(engine: InProcessEngine) -> None:
    c = Conversation(7, SERVER, CLIENT, "server", comm="app")
    engine.feed([c.receives(1, GET), c.sends(2, OK), c.open(3, open_flags=REPEATED)])
    assert engine.mode(7) is None
    engine.feed([c.receives(4, GET), c.sends(5, OK)])
    assert [(row.owner, row.count) for row in engine.rows()] == [("app", 1)]


def test_what_the_engine_before_wanted_of_a_connection_does_not_hold_for_the_next(engine: InProcessEngine) -> None:
    c = Conversation(7, SERVER, CLIENT, "server", comm="app")
    engine.feed([c.open(0)])
    for turn in range(4):
        engine.feed([c.receives(2 * turn + 1, GET), c.sends(2 * turn + 2, OK)])
    assert engine.mode(7) == "message"
    engine.crash()
    assert engine.mode(7) is None


def test_a_full_table_rejects_and_counts_and_has_room_after_a_close() -> None:
    with InProcessEngine(max_connections=3) as engine:
        ends = [Conversation(i, SERVER, ("10.0.0.1", 1000 + i), "server", comm="app") for i in range(1, 6)]
        for c in ends:
            engine.feed([c.open(0), c.receives(1, GET), c.sends(2, OK)])
        assert (engine.rows()[0].count, engine.stat("connections_rejected")) == (3, 2)
        assert engine.stat("connections_unknown") == 4
        assert (engine.mode(4), engine.mode(5)) == (None, None), "there is no room to ask for"
        engine.feed([ends[0].close(3), ends[4].open(4), ends[4].receives(5, GET), ends[4].sends(6, OK)])
        assert engine.rows()[0].count == 4


@pytest.mark.parametrize("listens", [True, False])
def test_a_seeded_connection_is_the_servers_if_its_port_is_listened_on(engine: InProcessEngine, listens: bool) -> None:
    engine.feed([listen(0, 3, ("0.0.0.0", 80 if listens else 81), comm="nginx", pid=1)])
    c = Conversation(7, SERVER, ("10.0.0.1", 443), "unknown", comm="app", pid=9)
    tls = b"\x17\x03\x03\x00\x10" + bytes(16)
    engine.feed(
        [c.open(1, open_flags=SEEDED), c.moves(IN if listens else OUT, 2, tls), c.moves(OUT if listens else IN, 3, tls)]
    )
    engine.feed([c.close(4)])
    (row,) = engine.rows()
    assert (row.role, row.protocol, row.count) == ("server" if listens else "client", "tls", 1)
    assert (row.local[1], row.remote[1]) == ((80, 0) if listens else (0, 443))


def test_who_asks_refutes_what_the_absence_of_a_listener_suggested(engine: InProcessEngine) -> None:
    engine.feed([listen(0, 3, ("0.0.0.0", 81), comm="x", pid=1)])
    c = Conversation(7, SERVER, CLIENT, "unknown", comm="app", pid=9)
    engine.feed([c.open(1, open_flags=SEEDED), c.receives(2, GET), c.sends(3, OK)])
    assert parties(engine) == [("server", "app", "", 1)]


def test_a_listener_ends_with_its_socket(engine: InProcessEngine) -> None:
    engine.feed([listen(0, 3, ("0.0.0.0", 80), comm="nginx", pid=1), close(1, 3), listen(2, 4, ("0.0.0.0", 81))])
    c = Conversation(7, SERVER, CLIENT, "unknown", comm="app", pid=9)
    engine.feed([c.open(3, open_flags=SEEDED), c.sends(4, b"hm"), c.receives(5, b"ah"), c.close(6)])
    assert parties(engine) == [("client", "app", "", 1)]


def ends(
    netns: tuple[int, int] = (1, 2), addresses: tuple[str, str] = ("10.0.0.1", "10.0.0.2")
) -> tuple[Conversation, Conversation]:
    near, far = (addresses[0], 40000), (addresses[1], 80)
    client = Conversation(1, near, far, "client", comm="curl", pid=5, netns=netns[0])
    server = Conversation(2, far, near, "server", comm="nginx", pid=6, netns=netns[1], send_seq=5000, recv_seq=1000)
    return client, server


@pytest.mark.parametrize(
    "addresses", [("10.0.0.1", "10.0.0.2"), ("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("fd00::1", "fd00::2")]
)
def test_a_connection_inside_the_node_is_counted_once_and_the_client_is_silenced(
    engine: InProcessEngine, addresses: tuple[str, str]
) -> None:
    loopback = addresses[0] == addresses[1]
    client, server = ends((1, 1) if loopback else (1, 2), addresses)
    engine.feed([client.open(0), server.open(1)])
    for i in range(5):
        t = 10 * i + 10
        engine.feed(
            [client.sends(t, GET), server.receives(t + 1, GET), server.sends(t + 5, OK), client.receives(t + 6, OK)]
        )
    engine.feed([client.close(100), server.close(101)])
    (row,) = engine.rows()
    assert (row.role, row.owner, row.peer, row.count, row.flags) == (
        "server",
        "nginx",
        "curl",
        5,
        frozenset({"both_ends"}),
    )
    assert (row.duration_ns, row.remote[1], row.local[1]) == (5 * 4, 0, 80)
    assert (engine.stat("both_ends"), engine.stat("requests")) == (1, 5)
    assert engine.table.pending == 0


def test_the_client_is_silenced_as_soon_as_the_server_was_readable(engine: InProcessEngine) -> None:
    client, server = ends()
    engine.feed([server.open(0), client.open(1), client.sends(2, GET)])
    assert engine.mode(1) is None
    engine.feed([server.receives(3, GET)])
    assert engine.mode(1) == "silent"
    engine.feed([server.sends(4, OK), client.receives(5, OK)])
    assert parties(engine) == [("server", "nginx", "curl", 1)]


def test_the_client_tells_where_the_servers_payload_cannot_be_read(engine: InProcessEngine) -> None:
    client, server = ends()
    engine.feed([client.open(0), server.open(1)])
    for i in range(3):
        t = 10 * i + 10
        engine.feed([client.sends(t, GET), server.receives(t + 1, b"", length=len(GET), reason=SYSCALL)])
        engine.feed([server.sends(t + 5, b"", length=len(OK), reason=SYSCALL), client.receives(t + 6, OK)])
    (row,) = engine.rows()
    assert (row.role, row.owner, row.peer, row.count) == ("client", "curl", "nginx", 3)
    assert (engine.mode(2), engine.mode(1)) == ("silent", "message of requests out")


def test_a_servers_event_without_payload_that_comes_first_waits_for_the_clients(engine: InProcessEngine) -> None:
    client, server = ends()
    engine.feed([client.open(0), server.open(1), server.receives(11, b"", length=len(GET), reason=SYSCALL)])
    engine.feed([client.sends(10, GET), server.sends(15, b"", length=len(OK), reason=SYSCALL), client.receives(16, OK)])
    assert parties(engine) == [("client", "curl", "nginx", 1)]


def test_neither_end_readable_is_the_servers_unknown_conversation(engine: InProcessEngine) -> None:
    client, server = ends()
    engine.feed([client.open(0), server.open(1), client.sends(10, b"", length=99, reason=SYSCALL)])
    engine.feed([server.receives(11, b"", length=99, reason=SYSCALL), server.sends(15, b"", length=9, reason=SYSCALL)])
    engine.feed([client.receives(16, b"", length=9, reason=SYSCALL), server.close(20), client.close(21)])
    (row,) = engine.rows()
    assert (row.role, row.protocol, row.peer, row.count) == ("server", "NOSUPPORT", "curl", 1)
    assert (row.request_bytes, row.response_bytes) == (99, 9)


def test_the_other_end_takes_over_with_the_next_request_when_the_telling_one_becomes_unreadable(
    engine: InProcessEngine,
) -> None:
    client, server = ends()
    engine.feed([client.open(0), server.open(1)])
    for i in range(6):
        t = 100 * i + 10
        readable = i < 2
        asked = server.receives(t + 1, GET if readable else b"", length=len(GET), reason=0 if readable else SYSCALL)
        engine.feed([client.sends(t, GET), asked, server.sends(t + 5, OK), client.receives(t + 6, OK)])
    assert parties(engine) == [("client", "curl", "nginx", 3), ("server", "nginx", "curl", 2)]
    assert engine.mode(2) == "silent"


def test_the_end_that_takes_over_in_a_tunnel_knows_that_it_is_one(engine: InProcessEngine) -> None:
    """The server's port is said to speak HTTP: of what is in its tunnel that says nothing."""
    engine.config.port_rule[0].port, engine.config.port_rule[0].protocol = 80, PROTOCOLS.index("http")
    engine.config.port_rules = 1
    engine.config.generation += 1
    engine.tick(0)
    client, server = ends()
    engine.feed([client.open(0), server.open(1)])
    talk = [(CONNECT, THERE), *[(PING, PONG)] * 9]
    for i, (asked, answer) in enumerate(talk):
        t = 100 * i + 10
        told = server.receives(t + 1, asked if i < 3 else b"", length=len(asked), reason=0 if i < 3 else SYSCALL)
        engine.feed([client.sends(t, asked), told, server.sends(t + 5, answer), client.receives(t + 6, answer)])
    counts = {(row.role, row.protocol): row.count for row in engine.rows()}
    assert counts == {("server", "http"): 1, ("server", "redis"): 2, ("client", "redis"): 6}


@pytest.mark.parametrize("closes", [False, True])
def test_the_first_request_waits_a_moment_for_the_clients_end_to_be_told(engine: InProcessEngine, closes: bool) -> None:
    client, server = ends((1, 1), ("127.0.0.1", "127.0.0.1"))
    engine.feed([server.open(0), server.receives(1 * MS, GET), server.sends(2 * MS, OK)])
    engine.feed([client.open(3 * MS), client.sends(1 * MS, GET), client.receives(4 * MS, OK)])
    engine.feed([server.close(5 * MS), client.close(5 * MS)] if closes else [])
    assert engine.rows() == []
    engine.tick(60 * MS)
    (row,) = engine.rows()
    assert (row.role, row.peer, row.count, row.duration_ns) == ("server", "curl", 1, 1 * MS)
    assert (engine.table.pending, engine.table.connections) == (0, 0 if closes else 2)


def test_loopback_addresses_of_two_namespaces_are_not_one_connection(engine: InProcessEngine) -> None:
    client, server = ends((1, 2), ("127.0.0.1", "127.0.0.1"))
    engine.feed([client.open(0), server.open(1), server.receives(2, GET), server.sends(3, OK)]).tick(SECOND)
    assert (parties(engine), engine.stat("both_ends")) == ([("server", "nginx", "", 1)], 0)


def test_equal_addresses_in_several_other_namespaces_are_not_believed(engine: InProcessEngine) -> None:
    client, server = ends((1, 2))
    twin = Conversation(3, client.local, client.remote, "client", comm="twin", netns=3)
    engine.feed([client.open(0), twin.open(1), server.open(2), server.receives(3, GET), server.sends(4, OK)])
    engine.tick(SECOND)
    assert (parties(engine), engine.stat("both_ends")) == ([("server", "nginx", "", 1)], 0)


def test_the_same_namespace_is_preferred(engine: InProcessEngine) -> None:
    client, server = ends((1, 1))
    twin = Conversation(3, client.local, client.remote, "client", comm="twin", netns=3)
    engine.feed([client.open(0), twin.open(1), server.open(2), server.receives(3, GET), server.sends(4, OK)])
    assert parties(engine) == [("server", "nginx", "curl", 1)]


def test_an_owner_that_becomes_known_later_is_the_peer_of_the_other_end_too(engine: InProcessEngine) -> None:
    client, server = ends()
    engine.feed([listen(0, 9, ("0.0.0.0", 80), comm="nginx", pid=6, netns=2)])
    engine.feed([client.open(0), server.open(1, flags=NO_PROCESS), client.sends(10, GET)])
    engine.feed([server.receives(11, b"", length=len(GET), reason=SYSCALL), client.receives(16, OK)])
    assert parties(engine) == [("client", "curl", "nginx", 1)]


def test_an_unanswered_request_inside_the_node_is_one_error(engine: InProcessEngine) -> None:
    client, server = ends()
    engine.feed([client.open(0), server.open(1), client.sends(10, GET), server.receives(11, GET)])
    engine.feed([client.close(20), server.close(21)])
    (row,) = engine.rows()
    assert (row.role, row.count, row.flags) == ("server", 1, frozenset({"both_ends", "error", "no_response"}))


def test_an_idle_connection_is_expired_with_what_waits() -> None:
    with InProcessEngine(connection_idle_ns=5 * SECOND, no_response_ns=0) as engine:
        c = Conversation(7, SERVER, CLIENT, "server", comm="app")
        engine.feed([c.open(0), c.receives(SECOND, GET)])
        engine.tick(2 * SECOND).tick(6 * SECOND)
        assert engine.table.connections == 1
        engine.tick(7 * SECOND + 1)
        assert (engine.table.connections, engine.stat("connections_expired")) == (0, 1)
        assert engine.rows()[0].response == "no response"


@pytest.mark.parametrize("speaks", [True, False])
def test_a_connection_that_was_idle_for_long_is_told_again_before_its_next_bytes(*, speaks: bool) -> None:
    with InProcessEngine(connection_idle_ns=5 * SECOND) as engine:
        c = Conversation(7, SERVER, CLIENT, "server", comm="app")
        engine.feed([c.open(0), c.receives(1, GET), c.sends(2, OK)])
        engine.tick(4 * SECOND).tick(9 * SECOND)
        assert (engine.table.connections, engine.mode(7)) == (0, "again")
        if speaks:
            engine.feed([c.open(9 * SECOND, open_flags=REPEATED)])
            engine.feed([c.receives(9 * SECOND, GET), c.sends(9 * SECOND + 1, OK)])
        engine.feed([c.close(9 * SECOND + 2)])
        assert engine.mode(7) is None
        assert sum(row.count for row in engine.rows()) == (2 if speaks else 1)
        assert engine.stat("connections_unknown") == 0
