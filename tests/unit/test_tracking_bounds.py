# SPDX-License-Identifier: Apache-2.0
"""Tables that strangers can fill, entries that are reused while they are read, and a table that somebody damaged."""

from collections.abc import Iterator
from typing import Any

import pytest

from analyzers import table as table_module
from analyzers._native import lib
from analyzers.snapshot import SnapshotBuilder
from analyzers.table import SharedTable
from analyzers.table_values import address_text
from tests.events import (
    IN,
    RESET_SENT,
    RETRANSMIT,
    SECOND,
    Conversation,
    datagram,
    listen,
    open_event,
    trouble,
)
from tests.inprocess import InProcessEngine
from tests.rows import FixedResolver, pod

SERVER = ("10.0.0.1", 80)
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    with InProcessEngine() as made:
        yield made


@pytest.fixture
def shared() -> Iterator[SharedTable]:
    made = SharedTable.create()
    yield made
    made.close()


def served(conn_id: int, client: str = "10.0.0.2", comm: str = "nginx") -> Conversation:
    return Conversation(conn_id, SERVER, (client, 40000), "server", comm=comm, pid=5)


def once(c: Conversation, at_ns: int) -> list[bytes]:
    """One request on a connection of its own."""
    return [c.open(at_ns, srtt_us=100), c.receives(at_ns + 1, GET), c.sends(at_ns + 2, OK), c.close(at_ns + 3)]


# --- reused while it is read ---------------------------------------------------------------------------------------


def reused_while_read(shared: SharedTable, entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the writer give an entry to another key as soon as the reader looks at its addresses."""

    def reused(address: bytes) -> str:
        entry.generation, entry.local_port = 9, 443
        return address_text(address)

    monkeypatch.setattr(table_module, "address_text", reused)


def test_a_row_that_was_reused_while_its_key_was_read_waits_for_the_next_look(
    shared: SharedTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = shared.pointer.rows[1]
    row.generation, row.local_port, row.count = 7, 80, 5
    with monkeypatch.context() as patch:
        reused_while_read(shared, row, patch)
        assert shared.requests() == []
    (read,) = shared.requests()
    assert (read.key.generation, read.key.local_port) == (9, 443)


def test_a_tcp_row_that_was_reused_while_its_key_was_read_waits_for_the_next_look(
    shared: SharedTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = shared.pointer.tcp_rows[1]
    row.generation, row.local_port, row.connects = 7, 80, 5
    with monkeypatch.context() as patch:
        reused_while_read(shared, row, patch)
        assert shared.tcp() == []
    (read,) = shared.tcp()
    assert (read.key.generation, read.key.local_port) == (9, 443)


# --- damaged -------------------------------------------------------------------------------------------------------


def entry_of(engine: InProcessEngine, array: str) -> Any:
    """The first entry in use behind those that are always there."""
    entries = getattr(engine.table, array)
    return next(entries[i] for i in range(2 if array == "strings" else 1, len(entries)) if entries[i].generation)


@pytest.mark.parametrize(
    ("array", "field", "value", "damaged"),
    [
        ("rows", "ident", 0x7FFFFFFF, 1),
        ("rows", "peer_ident", lib.FS_IDENTS - 1, 1),
        ("rows", "request_content", 0xFFFFFFFF, 1),
        ("rows", "response_content", lib.FS_STRINGS - 1, 1),
        ("rows", "protocol", 200, 1),
        ("tcp_rows", "ident", 0x7FFFFFFF, 1),
        ("tcp_rows", "peer_ident", 0x7FFFFFFF, 1),
        ("strings", "length", 0xFFFF, 2),  # and the row that has it
        ("idents", "comm", b"x" * 16, 3),  # and both of its rows
    ],
)
def test_a_damaged_entry_ends_and_the_next_engine_goes_on(
    engine: InProcessEngine, array: str, field: str, value: Any, damaged: int
) -> None:
    engine.feed(once(served(7), SECOND))
    assert (engine.table.rows_used, engine.table.tcp_rows_used) == (1, 1)
    setattr(entry_of(engine, array), field, value)
    engine.crash()
    assert engine.stat("entries_damaged") == damaged
    engine.feed(once(served(8), 2 * SECOND))
    engine.tick(4 * SECOND)
    (row,) = engine.rows()
    assert (row.owner, row.request, row.count) == ("nginx", "/a", 1 if array != "tcp_rows" else 2)
    assert sum(row.closed for row in engine.tcp_rows()) == (1 if array in ("tcp_rows", "idents") else 2)


def test_the_texts_that_are_always_there_are_put_right(engine: InProcessEngine) -> None:
    engine.table.strings[0].length = 0xFFFF
    engine.table.strings[1].text = b"another"
    engine.crash()
    assert (engine.text(0), engine.text(1), engine.stat("entries_damaged")) == ("", "other", 2)


def test_a_damaged_name_of_an_address_is_not_read_beyond_its_end(shared: SharedTable) -> None:
    with InProcessEngine(table=shared.pointer) as engine:
        engine.table.domain_head = 1
        engine.table.domains[1].generation, engine.table.domains[1].length = 5, 0xFFFF
        assert shared.domains(0) == []
        engine.crash()
        assert (engine.table.domains[1].generation, engine.stat("entries_damaged")) == (0, 1)


# --- told once -----------------------------------------------------------------------------------------------------


def test_a_connection_without_a_row_is_no_request() -> None:
    with InProcessEngine(row_limit=2) as engine:
        for i in range(3):
            engine.feed(once(served(10 + i, f"10.0.1.{i}"), SECOND))
        assert (engine.table.rows_used, engine.stat("rows_overflow")) == (3, 1)
        attempt = Conversation(50, ("10.0.0.1", 41000), ("10.9.9.9", 443), "client", comm="cli", send_seq=0, recv_seq=0)
        engine.feed([attempt.open(SECOND)])
        for second in range(2, 60):
            engine.tick(second * SECOND)
        assert (engine.stat("rows_overflow"), engine.stat("requests")) == (1, 3)
        assert [row.count for row in engine.rows(with_empty=True) if "overflow" in row.flags] == [1]


def test_a_connection_without_a_row_gets_one_once_there_is_room() -> None:
    with InProcessEngine(row_limit=1, row_idle_ns=5 * SECOND) as engine:
        engine.feed(once(served(10), SECOND))
        attempt = Conversation(50, ("10.0.0.1", 41000), ("10.9.9.9", 443), "client", comm="cli", send_seq=0, recv_seq=0)
        engine.feed([attempt.open(4 * SECOND)])
        for second in range(5, 30):
            engine.tick(second * SECOND)
        assert [row.owner for row in engine.rows(with_empty=True) if row.remote == ("10.9.9.9", 443)] == []
        engine.config.row_limit = 8
        engine.config.generation += 1
        for second in range(30, 33):
            engine.tick(second * SECOND)
        assert [row.owner for row in engine.rows(with_empty=True) if row.remote == ("10.9.9.9", 443)] == ["cli"]


# --- a stream that begins to listen --------------------------------------------------------------------------------


def test_a_stream_that_begins_to_listen_leaves_nothing_behind(engine: InProcessEngine) -> None:
    c = served(77)
    engine.feed([c.open(SECOND), c.receives(SECOND + 1, GET), c.sends(SECOND + 2, OK)])
    c.skips(0, 1000)
    engine.feed([c.receives(SECOND + 3, GET), listen(SECOND + 4, 77, SERVER, comm="nginx", pid=5)])
    engine.feed([c.close(SECOND + 5)])
    engine.tick(2 * SECOND)  # nothing of it is left to be taken up, on a place that may be another's
    assert (engine.table.connections, engine.table.pending) == (0, 0)
    other = served(78, "10.0.0.3")
    engine.feed([other.open(2 * SECOND)])
    for i in range(5):
        engine.feed([other.receives((3 + i) * SECOND, GET), other.sends((3 + i) * SECOND + 1, OK)])
    engine.tick(9 * SECOND)
    assert {row.remote[0]: row.count for row in engine.rows()} == {"10.0.0.2": 1, "10.0.0.3": 5}
    assert (engine.table.connections, engine.table.pending) == (1, 0)


# --- filled from outside -------------------------------------------------------------------------------------------

EARLY = 45 * SECOND


def address(number: int) -> str:
    return f"203.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def test_ever_new_clients_do_not_take_the_rows_away_from_others() -> None:
    """An ingress with 20 new addresses a second, for four times as long as there is room for them."""
    with InProcessEngine(max_connections=256, row_limit=2048, tcp_row_limit=2048) as engine:
        now, clients = SECOND, 8_000
        for i in range(clients):
            now += SECOND // 20
            engine.feed(once(served(1000 + i, address(i), "ingress"), now))
            if i % 20 == 0:
                engine.tick(now)
        assert (engine.stat("rows_overflow"), engine.stat("tcp_rows_overflow")) == (0, 0)
        assert 1536 <= engine.table.rows_used < 2048
        assert 1536 <= engine.table.tcp_rows_used < 2048
        ended = engine.stat("rows_ended_early")
        assert ended == 2 * clients - engine.table.rows_used - engine.table.tcp_rows_used
        assert engine.stat("rows_expired") == 0
        # Whoever was idle for longest went first: what is left are the newest, give or take one pass over the table.
        left = {row.remote[0] for row in engine.rows()}
        assert left <= {address(i) for i in range(clients - len(left) - 256, clients)}
        engine.feed(once(Conversation(5, ("10.0.0.7", 5000), ("10.0.0.8", 80), "server", comm="shop"), now))
        assert [row.count for row in engine.rows() if row.owner == "shop"] == [1]


@pytest.mark.parametrize("early", [0, EARLY])
def test_rows_end_early_only_where_they_may_and_no_sooner(early: int) -> None:
    with InProcessEngine(row_limit=8, tcp_row_limit=8, early_idle_ns=early) as engine:
        for i in range(8):
            engine.feed(once(served(10 + i, address(i)), SECOND))
        for second in range(2, 46):
            engine.tick(second * SECOND)
        assert (engine.table.rows_used, engine.stat("rows_ended_early")) == (8, 0)
        for second in range(47, 60):
            engine.tick(second * SECOND)
        # With one place free of the last two, a row may be idle for eight minutes.
        assert (engine.table.rows_used, engine.table.tcp_rows_used) == ((7, 7) if early else (8, 8))
        assert (engine.stat("rows_ended_early"), engine.stat("rows_expired")) == (2 if early else 0, 0)


def test_a_row_that_was_counted_late_is_not_idle() -> None:
    """A request without an answer ends long before it is counted: its row must last until its values were taken."""
    with InProcessEngine(row_limit=2, no_response_ns=120 * SECOND) as engine:
        c = served(7)
        engine.feed([c.open(SECOND), c.receives(SECOND, GET)])
        engine.feed(once(served(8, "10.0.0.3"), 100 * SECOND))
        for second in range(101, 124):
            engine.tick(second * SECOND)
        assert engine.stat("no_response") == 1
        assert engine.stat("rows_ended_early") == 0


def test_no_counter_falls_or_counts_twice_when_rows_end_early(shared: SharedTable) -> None:
    owners = {index: pod("server") for index in range(4)}
    builder = SnapshotBuilder(FixedResolver(owners, {}))
    with InProcessEngine(table=shared.pointer, row_limit=8, tcp_row_limit=8) as engine:
        now, asked, seen = SECOND, dict.fromkeys(map(address, range(8)), 0), dict.fromkeys(map(address, range(8)), 0)
        for turn in range(40):
            for client in [address((turn + i) % 8) for i in range(4)]:
                engine.feed(once(served(1000 + turn * 8 + int(client[-1]), client), now))
                asked[client] += 1
            for _ in range(20):
                now += SECOND
                engine.tick(now)
                snapshot = builder.build(shared.requests(), shared.tcp(), (), now)
                counted = {account.labels.edge.src_ip: account.count for account in snapshot.edges}
                assert all(count >= seen[client] for client, count in counted.items())
                seen |= counted
        closed = {account.labels.dst_ip: account.values[6] for account in snapshot.health}
        assert engine.stat("rows_ended_early") > 20
        assert engine.stat("rows_overflow") == engine.stat("tcp_rows_overflow") == 0
        assert seen == closed == asked


def test_a_scan_of_closed_ports_takes_a_quarter_of_the_rows_and_then_one() -> None:
    with InProcessEngine(tcp_row_limit=400) as engine:
        for port in range(1, 20_000):
            scanner = (address(port % 100), 44_444)
            engine.feed([trouble(SECOND, 0, ("10.0.0.1", port), scanner, RESET_SENT)])
        engine.feed([trouble(SECOND, 0, ("10.0.0.2", 80), ("10.0.0.3", 9), RETRANSMIT)])
        assert engine.table.tcp_rows_used == 100 + 2
        rows = [(row.local, row.remote, row.resets_sent, row.retransmits) for row in engine.tcp_rows()]
        assert sum(resets for *_, resets, _ in rows) == 19_999
        assert [row for row in rows if row[1] == ("::", 0)] == [
            (("10.0.0.1", 0), ("::", 0), 19_899, 0),
            (("10.0.0.2", 0), ("::", 0), 0, 1),
        ]
        assert engine.stat("retransmits_unmatched") == 1


def test_ever_new_names_of_one_cgroup_do_not_take_the_identities_away_from_others() -> None:
    with InProcessEngine(max_connections=16) as engine:
        for i in range(9000):
            name = Conversation(1000 + i, ("10.0.0.9", 40000), SERVER, "client", comm=f"n{i}", cgroup_id=66)
            engine.feed([name.open(SECOND), name.close(SECOND)])
        room = lib.FS_IDENTS // 16
        assert engine.table.idents_used == 1 + room + 1  # nobody, the named ones, and all the others
        assert (engine.stat("comms_overflow"), engine.stat("idents_overflow")) == (9000 - room, 0)
        engine.feed(once(Conversation(5, SERVER, ("10.0.0.2", 4000), "server", comm="victim", cgroup_id=42), SECOND))
        assert [row.owner for row in engine.rows()] == ["victim"]
        engine.crash()  # which knows how many there are
        name = Conversation(99, ("10.0.0.9", 40000), SERVER, "client", comm="one more", cgroup_id=66)
        engine.feed([name.open(SECOND)])
        assert engine.stat("comms_overflow") == 9001 - room


def test_ever_new_cgroups_make_room_for_each_other() -> None:
    """Short-lived jobs: each is gone with its connections, but its rows keep its name."""
    with InProcessEngine(max_connections=16) as engine:
        now = SECOND
        for i in range(12_000):
            now += SECOND // 10
            c = Conversation(1000 + i, SERVER, ("10.0.0.2", 4000), "server", comm="job", cgroup_id=1000 + i)
            engine.feed(once(c, now))
            engine.tick(now)
        assert (engine.stat("idents_overflow"), engine.stat("comms_overflow")) == (0, 0)
        assert engine.table.idents_used < lib.FS_IDENTS


NTP = ("10.0.0.5", 123)


def test_flows_with_the_same_ports_are_listed_up_to_a_bound() -> None:
    with InProcessEngine(max_connections=65536) as engine:
        engine.feed([open_event(SECOND, 9, NTP, ("0.0.0.0", 0), l4="udp", comm="ntpd", pid=3)])
        asked = b"\x23" + bytes(47)
        for i in range(3000):
            engine.feed([datagram(SECOND + i, 9, IN, NTP, (address(i), 123), asked, pid=3)] * 2)
        assert engine.table.stats.flows_unlisted == 3000 - 64
        engine.feed([datagram(SECOND, 9, IN, NTP, ("10.0.0.7", 40000), asked, pid=3)])
        assert engine.table.stats.flows_unlisted == 3000 - 64
        engine.finish()
        assert sum(row.request_bytes for row in engine.rows(with_empty=True)) == 6001 * 48


def test_datagrams_have_a_share_of_the_connections_and_make_room_for_each_other() -> None:
    with InProcessEngine(max_connections=400) as engine:
        sip, now = ("10.0.0.5", 5060), SECOND
        engine.feed([open_event(now, 9, sip, ("0.0.0.0", 0), l4="udp", comm="sip", pid=3)])
        for i in range(1000):
            now += SECOND // 40
            engine.feed([datagram(now, 9, IN, sip, (address(i), 1024 + i), b"\xff" * 60, pid=3)])
            engine.tick(now)
            assert engine.table.connections <= 1 + 101
        assert (engine.stat("connections_rejected"), engine.stat("flows_evicted")) == (0, 1000 - 101)
        for i in range(298):
            engine.feed([served(1000 + i, f"10.1.{i // 250}.{i % 250}").open(now)])
        assert engine.stat("connections_rejected") == 0
        engine.finish()
        assert sum(row.request_bytes for row in engine.rows(with_empty=True)) == 1000 * 60


def test_a_flood_of_datagrams_is_rejected_and_counted_and_nothing_else_is() -> None:
    with InProcessEngine(max_connections=400) as engine:
        sip, now = ("10.0.0.5", 5060), SECOND
        engine.feed([open_event(now, 9, sip, ("0.0.0.0", 0), l4="udp", comm="sip", pid=3)])
        for i in range(1000):
            engine.feed([datagram(now + i, 9, IN, sip, (address(i), 1024 + i), b"\xff" * 60, pid=3)])
        assert (engine.stat("connections_rejected"), engine.stat("flows_evicted")) == (1000 - 101, 0)
        engine.feed(once(served(7), now))
        assert [row.count for row in engine.rows() if row.owner == "nginx"] == [1]
        engine.feed([datagram(now + 3 * SECOND, 9, IN, sip, ("10.0.0.9", 99), b"\xff" * 60, pid=3)])
        assert (engine.stat("connections_rejected"), engine.stat("flows_evicted")) == (1000 - 101, 1)
