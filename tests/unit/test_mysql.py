# SPDX-License-Identifier: Apache-2.0
"""MySQL and MariaDB: packets as their documentations have them; what real programs said is in test_conversations.py."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conversations import Conversation, counted, events_of, load
from tests.parsing import Body, Detected, Flag, Framed, Parser, Protocol, Side, Unreadable, detect
from tests.playing import Chunk, Played, Player, byte_by_byte, play, split_everywhere

MYSQL = Protocol.MYSQL
PROTOCOL_41, SSL, SECURE, COMPRESS = 1 << 9, 1 << 11, 1 << 15, 1 << 5
DEPRECATE_EOF, OPTIONAL_METADATA = 1 << 24, 1 << 25
USUAL = PROTOCOL_41 | SECURE | 1
MORE, CURSOR = 0x0008, 0x0040
LONGEST = 0xFFFFFF


def packet(sequence: int, body: bytes) -> bytes:
    return struct.pack("<I", len(body))[:3] + bytes([sequence & 0xFF]) + body


def greeting(capabilities: int = USUAL | DEPRECATE_EOF, version: bytes = b"8.0.36") -> bytes:
    low, high = capabilities & 0xFFFF, capabilities >> 16
    body = b"\x0a" + version + b"\0" + struct.pack("<I", 7) + b"saltsalt\0" + struct.pack("<HBHH", low, 255, 2, high)
    return packet(0, body + b"\x15" + bytes(10) + b"moresaltsalt\0mysql_native_password\0")


def login(capabilities: int = USUAL, sequence: int = 1) -> bytes:
    head = struct.pack("<IIB23x", capabilities, 1 << 24, 45)
    return packet(sequence, head + b"somebody\0\x14" + b"h" * 20 + b"mysql_native_password\0")


def ok(sequence: int, status: int = 2, header: int = 0) -> bytes:
    return packet(sequence, bytes([header, 0, 0]) + struct.pack("<HH", status, 0))


def eof(sequence: int, status: int = 2) -> bytes:
    return packet(sequence, b"\xfe\0\0" + struct.pack("<H", status))


def error(sequence: int, code: int, text: bytes = b"#42S02Table 'secret' doesn't exist") -> bytes:
    return packet(sequence, b"\xff" + struct.pack("<H", code) + text)


def column(sequence: int) -> bytes:
    return packet(sequence, b"\x03def\x00\x01t\x01t\x01a\x01a\x0c\x3f\x00\x0b\x00\x00\x00\x03\x00\x00\x00\x00\x00")


def query(text: str) -> bytes:
    return packet(0, b"\x03" + text.encode())


def result(rows: int, *, eofs: bool, status: int = 2, first: int = 1, columns: int = 1) -> bytes:
    said = [bytes([columns]), *(column(0)[4:] for _ in range(columns))]
    said += [eof(0)[4:]] if eofs else []
    said += [b"\x011"] * rows
    said += [eof(0, status)[4:] if eofs else ok(0, status, 0xFE)[4:]]
    return b"".join(packet(first + i, body) for i, body in enumerate(said))


def in_sequence(packets: bytes, first: int = 1) -> bytes:
    """Packets with numbers that count up."""
    numbered, at = b"", 0
    while at < len(packets):
        length = int.from_bytes(packets[at : at + 3], "little")
        numbered += packet(first, packets[at + 4 : at + 4 + length])
        first, at = first + 1, at + 4 + length
    return numbered


def said(played: Played) -> list[tuple[str, str, bool]]:
    return [exchange.said for exchange in played.exchanges]


def talk(*pieces: bytes) -> list[Chunk]:
    """Client first, then in turns."""
    return [("client" if i % 2 == 0 else "server", data) for i, data in enumerate(pieces)]


SELECT = query("SELECT a FROM t WHERE b = 'x'")
ONE = [("SELECT t *", "0", False)]


@pytest.mark.parametrize("eofs", [True, False])
@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_a_result_set_with_and_without_eof_packets(eofs: bool, rows: int) -> None:
    answer = result(rows, eofs=eofs)
    chunks = talk(SELECT, answer, SELECT, answer)
    assert said(play(MYSQL, chunks)) == ONE * 2
    if rows == 1:
        for split in [*split_everywhere(chunks), byte_by_byte(chunks)]:
            assert said(play(MYSQL, split)) == ONE * 2


@pytest.mark.parametrize("eofs", [True, False])
def test_several_results_are_one_response(eofs: bool) -> None:
    first = result(2, eofs=eofs, status=MORE | 2)
    answer = in_sequence(first + ok(0, MORE | 2) + result(1, eofs=eofs))
    chunks = talk(query("SELECT 1; UPDATE x SET a = 1; SELECT 2"), answer, SELECT, ok(1))
    for split in [chunks, byte_by_byte(chunks)]:
        assert said(play(MYSQL, split)) == [("SELECT *", "0", False), *ONE]


@pytest.mark.parametrize("eofs", [True, False])
def test_an_error_behind_rows_is_the_response(eofs: bool) -> None:
    rows = result(3, eofs=eofs)
    end = rows.rfind(b"\xfe") - 4
    answer = in_sequence(rows[:end] + error(0, 1317))
    with_engine = counted_of(talk(SELECT, answer, SELECT, rows))
    assert with_engine == {("SELECT t *", "0", False): 1, ("SELECT t *", "1317", True): 1}


def counted_of(chunks: list[Chunk]) -> dict[tuple[str, str, bool], int]:
    conversation = type(load("mysql-denied"))("made", "mysql", tuple(chunks))
    rows, _ = counted(events_of(conversation))
    return {(row.request, row.response, "error" in row.flags): row.count for row in rows if row.count}


def test_the_longest_packets_go_on_in_the_next() -> None:
    text = b"\x03INSERT INTO t VALUES ('" + b"x" * (LONGEST + 100) + b"')"
    request = packet(0, text[:LONGEST]) + packet(1, text[LONGEST:])
    row = b"\xfd" + struct.pack("<I", LONGEST)[:3] + b"\xfe" * LONGEST
    answer = packet(1, b"\x01") + column(2) + packet(3, row[:LONGEST]) + packet(4, row[LONGEST:]) + ok(5, 2, 0xFE)
    played = play(MYSQL, talk(request, ok(2), SELECT, answer))
    assert said(played) == [("INSERT t *", "0", False), *ONE]
    assert [one.request.length for one in played.exchanges] == [len(request), len(SELECT)]
    assert [one.response.length for one in played.exchanges if one.response] == [len(ok(2)), len(answer)]


def prepared(sequence: int, number: int, columns: int, parameters: int, eofs: bool) -> bytes:
    bodies = [b"\0" + struct.pack("<IHHBH", number, columns, parameters, 0, 0)]
    for group in (parameters, columns):
        bodies += [column(0)[4:]] * group + ([eof(0)[4:]] if eofs and group else [])
    return b"".join(packet(sequence + i, body) for i, body in enumerate(bodies))


def execute(number: int, parameters: bytes = b"") -> bytes:
    return packet(0, b"\x17" + struct.pack("<IBI", number, 0, 1) + parameters)


PREPARE = packet(0, b"\x16UPDATE t SET a = ? WHERE b = 'x'")


@pytest.mark.parametrize("greeted", [True, False])
@pytest.mark.parametrize("eofs", [True, False])
def test_a_prepared_statement_is_remembered(eofs: bool, greeted: bool) -> None:
    flags = USUAL | (0 if eofs else DEPRECATE_EOF)
    chunks = [("server", greeting()), ("client", login(flags)), ("server", ok(2))] if greeted else []
    chunks += talk(PREPARE, prepared(1, 3, 2, 1, eofs), execute(3), ok(1), execute(3), error(1, 1205))
    chunks += [("client", packet(0, b"\x19\3\0\0\0"))]
    chunks += talk(execute(3), error(1, 1243))
    expected = [("PREPARE UPDATE t *", "0", False), ("UPDATE t *", "0", False), ("UPDATE t *", "1205", True)]
    for split in [chunks, byte_by_byte(chunks)]:
        found = [one for one in said(play(MYSQL, split)) if one[0] != "LOGIN"]
        assert found == [*expected, ("*", "1243", True)]


def test_the_statement_that_was_prepared_last_has_a_number_of_its_own() -> None:
    """MariaDB's connectors execute it before they know its number."""
    chunks: list[Chunk] = [("client", PREPARE + execute(0xFFFFFFFF)), ("server", prepared(1, 8, 0, 1, True) + ok(1))]
    assert said(play(MYSQL, chunks)) == [("PREPARE UPDATE t *", "0", False), ("UPDATE t *", "0", False)]


def test_statements_are_bounded_and_the_longest_unused_goes() -> None:
    chunks: list[Chunk] = []
    for number in range(1, 131):
        text = f"SELECT a FROM {chr(97 + number // 26)}{chr(97 + number % 26)}"
        chunks += talk(packet(0, b"\x16" + text.encode()), prepared(1, number, 1, 0, False), execute(1), ok(1))
    chunks += talk(execute(2), ok(1), execute(130), ok(1))
    last = said(play(MYSQL, chunks))[-3:]
    assert last == [("SELECT ab *", "0", False), ("*", "0", False), ("SELECT fa *", "0", False)]


def test_a_cursor_has_its_rows_fetched() -> None:
    opened = packet(1, b"\x01") + column(2) + eof(3, CURSOR | 2)
    fetched = packet(1, b"\0\0\x011") + packet(2, b"\0\0\x012") + eof(3, 0x80)
    chunks = talk(PREPARE, prepared(1, 1, 1, 0, True), execute(1), opened, packet(0, b"\x1c\1\0\0\0\2\0\0\0"), fetched)
    chunks += talk(SELECT, ok(1))
    assert [one[0] for one in said(play(MYSQL, chunks))][1:] == ["UPDATE t *", "FETCH UPDATE t *", "SELECT t *"]


def test_definitions_that_the_client_has_are_left_out() -> None:
    """MariaDB says so behind the number of columns, MySQL before it."""
    mariadb = packet(1, b"\x02\x00") + packet(2, b"\x011\x011") + ok(3, 2, 0xFE)
    assert said(play(MYSQL, talk(SELECT, mariadb, SELECT, ok(1)))) == ONE * 2
    mysql = packet(1, b"\x01\x01") + column(2) + packet(3, b"\x011") + ok(4, 2, 0xFE)
    flags = USUAL | OPTIONAL_METADATA | DEPRECATE_EOF
    chunks = [("server", greeting(flags)), ("client", login(flags)), ("server", ok(2))]
    assert said(play(MYSQL, [*chunks, *talk(SELECT, mysql, SELECT, ok(1))]))[1:] == ONE * 2


def test_a_login_may_take_several_turns() -> None:
    switch = packet(2, b"\xfecaching_sha2_password\0saltsaltsaltsaltsalt\0")
    hashed, full = packet(3, b"h" * 32), packet(4, b"\x01\x04")
    start: list[Chunk] = [("server", greeting()), ("client", login()), ("server", switch), ("client", hashed)]
    start += [("server", full), ("client", packet(5, b"a secret\0"))]
    for end, outcome in ((ok(6), ("0", False)), (error(6, 1045), ("1045", True))):
        played = play(MYSQL, [*start, ("server", end), *talk(SELECT, ok(1))])
        assert said(played) == [("LOGIN", *outcome), *ONE]
        assert played.exchanges[0].request.flags == Flag(1 << 9)
        assert len(played.skipped) == 3


def test_a_login_counts_only_if_it_fails() -> None:
    start: list[Chunk] = [("server", greeting()), ("client", login())]
    assert counted_of([*start, ("server", ok(2)), *talk(SELECT, ok(1))]) == {("SELECT t *", "0", False): 1}
    assert counted_of([*start, ("server", error(2, 1045))]) == {("LOGIN", "1045", True): 1}


def test_compression_is_told() -> None:
    flags = USUAL | COMPRESS
    player = Player(MYSQL)
    player.feed(Side.RESPONSE, greeting(flags))
    player.feed(Side.REQUEST, login(flags))
    player.feed(Side.RESPONSE, ok(2))
    assert player.played.switched is Protocol.NOSUPPORT
    assert said(player.played) == [("mysql compressed", "0", False)]
    assert play(MYSQL, [("server", greeting()), ("client", login(flags)), ("server", ok(2))]).switched is None


def test_a_wish_for_tls_switches() -> None:
    wish = packet(1, struct.pack("<IIB23x", USUAL | SSL, 1 << 24, 45))
    parser = Parser(MYSQL, Side.REQUEST)
    framing, message = parser.frame(wish)
    assert (framing, message.flags, message.length) == (Framed.MESSAGE, Flag.SKIP | Flag.SWITCH, len(wish))
    assert message.next_protocol is Protocol.TLS


def test_a_file_that_the_server_asked_for() -> None:
    load_ = query("LOAD DATA LOCAL INFILE '/secret/file' INTO TABLE t")
    chunks = talk(load_, packet(1, b"\xfb/secret/file"), packet(2, b"1\tsecret\n" * 9) + packet(3, b""), ok(4))
    for split in [chunks, byte_by_byte(chunks)]:
        played = play(MYSQL, [*split, *talk(SELECT, ok(1))])
        assert said(played) == [("LOAD t *", "0", False), *ONE]
        assert len(played.skipped) == 2


def a_long_file() -> list[Chunk]:
    """In more packets, of 13 bytes each, than there are numbers."""
    pieces = b"".join(packet(2 + i, b"1\tsecret\n") for i in range(600))
    load_ = query("LOAD DATA LOCAL INFILE '/secret/file' INTO TABLE t")
    return talk(load_, packet(1, b"\xfb/secret/file"), pieces + packet(602, b""), ok(603), SELECT, ok(1))


def test_a_file_in_more_packets_than_there_are_numbers() -> None:
    played = play(MYSQL, a_long_file())
    assert said(played) == [("LOAD t *", "0", False), *ONE]
    assert len(played.skipped) == 601


@pytest.mark.parametrize("captured", range(200, 213))
def test_a_file_is_loaded_wherever_its_capture_ends(captured: int) -> None:
    rows, stats = counted(events_of(Conversation("made", "mysql", tuple(a_long_file())), captured=captured))
    found = [(row.request, row.response, "error" in row.flags, row.count) for row in rows if row.count]
    assert sorted(found) == [("LOAD t *", "0", False, 1), ("SELECT t *", "0", False, 1)]
    assert {"discarded_exchanges", "resyncs"}.isdisjoint(stats)


def test_query_attributes_are_stepped_over() -> None:
    none = packet(0, b"\x03\0\1SELECT a FROM t")
    two = b"\x02\x01\x00\x01" + b"\x03\x00\x02id" + b"\xfd\x00\x04name" + struct.pack("<I", 7) + b"\x06secret"
    null = b"\x01\x01\x01\x01" + b"\xfd\x00\x04name"
    for sent in (none, packet(0, b"\x03" + two + b"SELECT a FROM t"), packet(0, b"\x03" + null + b"SELECT a FROM t")):
        assert said(play(MYSQL, talk(sent, ok(1)))) == ONE
        assert detect(MYSQL, sent) is Detected.REQUEST
    assert said(play(MYSQL, talk(packet(0, b"\x03\x01\x01\x00\x01\x06\x00\x00SELECT"), ok(1)))) == [("*", "0", False)]


@pytest.mark.parametrize(
    ("sent", "content"),
    [
        (b"\x02shop", "USE *"),
        (b"\x04orders\0", "FIELD_LIST *"),
        (b"\x0e", "PING"),
        (b"\x1b\0\0", "SET_OPTION"),
        (b"\x1f", "RESET_CONNECTION"),
        (b"\x11someone\0\x14" + b"h" * 20, "CHANGE_USER"),
        (b"\x1a\x07\0\0\0", "RESET *"),
        (b"\x0d", "DEBUG"),
    ],
)
def test_other_commands_go_by_their_name(sent: bytes, content: str) -> None:
    answer = ok(1) if sent[0] != 4 else eof(1)
    assert said(play(MYSQL, talk(packet(0, sent), answer, SELECT, error(1, 1146)))) == [
        (content, "0", False),
        ("SELECT t *", "1146", True),
    ]


def test_what_nobody_answers_is_no_request() -> None:
    silent = packet(0, b"\x19\1\0\0\0") + packet(0, b"\x18\1\0\0\0\0\0secret") + packet(0, b"\x01")
    played = play(MYSQL, [*talk(SELECT, ok(1)), ("client", silent)])
    assert said(played) == ONE
    assert [message.length for message in played.skipped] == [9, 17, 5]


def test_the_server_may_end_the_talk() -> None:
    farewell = error(0, 4031, b"#HY000The client was disconnected")
    played = play(MYSQL, [*talk(SELECT, ok(1)), ("server", farewell)])
    assert (said(played), len(played.skipped)) == (ONE, 1)


def test_a_replica_is_sent_events_until_the_end() -> None:
    dump = packet(0, b"\x12" + struct.pack("<IHI", 4, 0, 9) + b"log.1")
    _, message = Parser(MYSQL, Side.REQUEST).frame(dump)
    framing, answer = Parser(MYSQL, Side.RESPONSE).frame(packet(1, b"\0" + bytes(30)), waiting=message)
    assert (framing, answer.body) == (Framed.MESSAGE, Body.UNTIL_CLOSE)


def test_a_statement_of_which_only_the_start_was_captured() -> None:
    whole = query("UPDATE t SET a = '" + "x" * 5000 + "'")
    framing, message = Parser(MYSQL, Side.REQUEST).frame(whole[:512], truncated=True)
    assert (framing, message.length, message.content) == (Framed.MESSAGE, len(whole), "UPDATE t *")
    assert message.flags == Flag.CUT
    framing, message = Parser(MYSQL, Side.REQUEST).frame(whole)
    assert (framing, message.length, message.flags) == (Framed.MESSAGE, len(whole), Flag.NONE)
    assert Parser(MYSQL, Side.REQUEST).frame(whole[:3], truncated=True)[0] is Framed.INVALID


DETECTED = [
    (greeting(), Detected.GREETING),
    (greeting(USUAL, b"5.5.5-10.11.6-MariaDB-1"), Detected.GREETING),
    (error(0, 1040, b"Too many connections"), Detected.GREETING),
    (login(), Detected.REQUEST),
    (SELECT, Detected.REQUEST),
    (PREPARE, Detected.REQUEST),
    (execute(3, b"\0\1\xfd\0\3abc"), Detected.REQUEST),
    (packet(0, b"\x0e"), Detected.REQUEST),
    (ok(1), Detected.RESPONSE),
    (error(1, 1146), Detected.RESPONSE),
    (result(1, eofs=True), Detected.RESPONSE),
    (query("hello, world"), Detected.NOT_MINE),
    (packet(0, b"\x0e") + b"x", Detected.NOT_MINE),
    (ok(2), Detected.NOT_MINE),
    (packet(0, b"\x01"), Detected.NOT_MINE),
    (b"", Detected.TOO_SHORT),
]


@pytest.mark.parametrize(("data", "found"), DETECTED)
def test_found_from_either_side_and_in_the_middle(data: bytes, found: Detected) -> None:
    assert detect(MYSQL, data) is found
    assert detect(MYSQL, data, datagram=True) is Detected.NOT_MINE
    for length in range(1, len(data)):
        start = detect(MYSQL, data[:length])
        assert start in (
            {found, Detected.TOO_SHORT} if found is not Detected.NOT_MINE else {*Detected} - {found} | {found}
        )
        assert detect(MYSQL, data[:length], truncated=True) is not Detected.TOO_SHORT


def test_what_cannot_start_a_message_does_not() -> None:
    for data in (packet(3, b"1\t2\n"), packet(0, b""), packet(0, b"\x77"), packet(0, b"\x0e\0"), b"\xff" * 9):
        assert Parser(MYSQL, Side.REQUEST).frame(data)[0] is Framed.INVALID
    for data in (packet(1, b"\x05"), packet(7, b"\0"), packet(0, b"\x0a9"), b"\xff" * 40):
        assert Parser(MYSQL, Side.RESPONSE).frame(data)[0] is Framed.INVALID


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_anything_may_come(data: st.DataObject) -> None:
    chunks = [
        *talk(PREPARE, prepared(1, 3, 2, 1, True), execute(3), result(2, eofs=True), SELECT, result(2, eofs=False))
    ]
    chunks = [("server", greeting()), ("client", login()), ("server", ok(2)), *chunks]
    player = Player(MYSQL)
    for side, sent in chunks:
        wire = bytearray(sent)
        for _ in range(data.draw(st.integers(0, 3))):
            wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
        try:
            player.feed(Side.REQUEST if side == "client" else Side.RESPONSE, bytes(wire))
        except Unreadable:
            return


def test_a_replica_asks_for_a_file_whose_name_fits() -> None:
    """COM_BINLOG_DUMP_GTID; a first packet of another protocol's may begin as one does."""
    for said, answer in ((8, Framed.MESSAGE), (9, Framed.INVALID), (1 << 24, Framed.INVALID)):
        whole = packet(0, b"\x1e\0\0" + struct.pack("<II", 7, said) + b"bin.0001" + struct.pack("<Q", 4))
        assert Parser(MYSQL, Side.REQUEST).frame(whole)[0] is answer
