# SPDX-License-Identifier: Apache-2.0
"""Tables that strangers can fill, entries that are reused while they are read, and a table that somebody damaged."""

from collections.abc import Iterator
from typing import Any

import pytest

from analyzers import table as table_module
from analyzers._native import lib
from analyzers.table import SharedTable
from tests.events import SECOND, Conversation, listen
from tests.inprocess import InProcessEngine

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
    text = table_module.address_text

    def reused(address: bytes) -> str:
        entry.generation, entry.local_port = 9, 443
        return text(address)

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
