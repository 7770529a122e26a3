# SPDX-License-Identifier: Apache-2.0
"""MongoDB: messages as its manual has them, documents by pymongo's bson; input of bad faith."""

import struct
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.parsing import Detected, Flag, Framed, Message, Outcome, Parser, Protocol, Side, detect, stitch
from tests.playing import Chunk, Played, byte_by_byte, play, split_everywhere

MONGODB = Protocol.MONGODB
REPLY, UPDATE, INSERT, QUERY, GET_MORE, DELETE, KILL_CURSORS = 1, 2001, 2002, 2004, 2005, 2006, 2007
COMPRESSED, MSG = 2012, 2013
MORE_TO_COME = 2


def message(opcode: int, body: bytes, number: int = 1, to: int = 0) -> bytes:
    return struct.pack("<IIII", 16 + len(body), number, to, opcode) + body


def document(content: dict[str, Any]) -> bytes:
    return bytes(bson.encode(content))


def ask(content: dict[str, Any], number: int = 1, *, flags: int = 0, more: bytes = b"") -> bytes:
    return message(MSG, struct.pack("<I", flags) + b"\0" + document(content) + more, number)


def answer(content: dict[str, Any], to: int = 1, *, number: int = 900, flags: int = 0) -> bytes:
    return message(MSG, struct.pack("<I", flags) + b"\0" + document(content), number, to)


def sequence(name: str, *documents: dict[str, Any]) -> bytes:
    content = name.encode() + b"\0" + b"".join(document(one) for one in documents)
    return b"\1" + struct.pack("<I", len(content) + 4) + content


def old_query(name: str, content: dict[str, Any], number: int = 1) -> bytes:
    return message(
        QUERY, struct.pack("<I", 0) + name.encode() + b"\0" + struct.pack("<II", 0, 1) + document(content), number
    )


def old_reply(content: dict[str, Any], to: int = 1, flags: int = 8) -> bytes:
    return message(REPLY, struct.pack("<IqII", flags, 0, 0, 1) + document(content), 901, to)


def talk(*pieces: bytes) -> list[Chunk]:
    return [("client" if i % 2 == 0 else "server", data) for i, data in enumerate(pieces)]


def said(chunks: list[Chunk]) -> list[tuple[str, str, bool]]:
    return [exchange.said for exchange in played(chunks).exchanges]


def played(chunks: list[Chunk]) -> Played:
    whole = play(MONGODB, chunks, by_id=True)
    for split in [byte_by_byte(chunks), *split_everywhere(chunks, 1 + sum(len(data) for _, data in chunks) // 50)]:
        other = play(MONGODB, split, by_id=True)
        assert [one.said for one in other.exchanges] == [one.said for one in whole.exchanges]
    return whole


FIND = ask({"find": "orders", "filter": {"note": "secret"}, "$db": "shop"})
FOUND = answer({"cursor": {"firstBatch": [{"a": 1}] * 3, "id": 0, "ns": "shop.orders"}, "ok": 1.0})


@pytest.mark.parametrize(
    ("content", "label"),
    [
        ({"find": "orders", "filter": {"note": "secret"}}, "find orders"),
        ({"insert": "orders", "documents": [{"a": "secret"}]}, "insert orders"),
        ({"update": "a.b-c_d$1", "updates": []}, "update a.b-c_d$1"),
        ({"delete": "logs_20240131"}, "delete logs_*"),
        ({"aggregate": "orders", "pipeline": []}, "aggregate orders"),
        ({"aggregate": 1, "pipeline": []}, "aggregate"),
        ({"findAndModify": "orders"}, "findAndModify orders"),
        ({"getMore": 4711, "collection": "orders", "batchSize": 3}, "getMore orders"),
        ({"find": "naïve name"}, "find na*ve*name"),
        ({"find": "x" * 100}, "find " + "x" * 64 + "*"),
        ({"hello": 1, "client": {"secret": "secret"}}, "hello"),
        ({"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": b"secret"}, "saslStart"),
        ({"createUser": "secret", "pwd": "secret"}, "createUser"),
        ({"dropDatabase": 1}, "dropDatabase"),
        ({"listCollections": 1}, "listCollections"),
        ({"secret word": 1}, "*"),
        ({"9": "secret"}, "*"),
        ({}, "*"),
    ],
)
def test_the_command_and_its_collection_and_nothing_else(content: dict[str, Any], label: str) -> None:
    assert said(talk(ask(content), answer({"ok": 1}))) == [(label, "0", False)]
    assert said(talk(old_query("admin.$cmd", content), old_reply({"ok": 1}))) == [(label, "0", False)]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"n": 1, "ok": 1.0}, "0"),
        ({"ok": 1}, "0"),
        ({"ok": True}, "0"),
        ({"ok": 0.0, "errmsg": "secret", "code": 59, "codeName": "CommandNotFound"}, "59"),
        ({"ok": 0, "code": 11000.0}, "11000"),
        ({"ok": False, "code": bson.Int64(13)}, "13"),
        ({"ok": 0, "errmsg": "without a code"}, "8"),
        ({"ok": 0, "code": -5}, "1"),
        ({"n": 0, "writeErrors": [{"index": 0, "code": 11000, "errmsg": "secret"}], "ok": 1.0}, "11000"),
        ({"n": 0, "writeErrors": [{"index": 0}], "ok": 1.0}, "8"),
        ({"n": 0, "writeErrors": [], "ok": 1.0}, "0"),
        ({"n": 1, "writeConcernError": {"code": 64, "errmsg": "secret"}, "ok": 1.0}, "64"),
        (
            {
                "topologyVersion": {"processId": bson.ObjectId(), "counter": bson.Int64(6)},
                "at": bson.Timestamp(1, 2),
                "ok": 0,
                "code": 91,
            },
            "91",
        ),
        (
            {
                "p": bson.Regex("a", "i"),
                "b": b"bytes",
                "d": bson.Decimal128("1"),
                "c": bson.Code("x"),
                "ok": 0,
                "code": 2,
            },
            "2",
        ),
        ({"s": bson.Code("x", {"y": 1}), "n": None, "m": bson.MinKey(), "M": bson.MaxKey(), "ok": 0, "code": 3}, "3"),
    ],
)
def test_errors_have_their_codes(content: dict[str, Any], code: str) -> None:
    expected = [("find orders", code, code != "0")]
    assert said(talk(FIND, answer(content))) == expected
    assert said(talk(FIND, old_reply(content))) == expected


def test_documents_may_come_in_a_section_of_their_own_on_either_side_of_the_command() -> None:
    rows = sequence("documents", {"a": "secret"}, {"b": 2})
    content = {"insert": "orders", "$db": "shop"}
    behind = ask(content, more=rows)
    before = message(MSG, bytes(4) + rows + b"\0" + document(content))
    checked = ask(content, flags=1, more=rows + b"\x01\x02\x03\x04")
    for sent in (behind, before, checked):
        assert said(talk(sent, answer({"n": 2, "ok": 1}))) == [("insert orders", "0", False)]


def test_answers_come_in_any_order() -> None:
    sent = [ask({"find": name, "$db": "shop"}, number) for number, name in ((5, "a"), (6, "b"), (7, "c"))]
    replies = [answer({"ok": 1}, 7), answer({"ok": 0, "code": 2}, 5), answer({"ok": 1}, 6)]
    assert sorted(said(talk(b"".join(sent), b"".join(replies)))) == [
        ("find a", "2", True),
        ("find b", "0", False),
        ("find c", "0", False),
    ]


def test_what_is_not_acknowledged_is_counted_at_once() -> None:
    sent = ask({"insert": "orders", "writeConcern": {"w": 0}}, flags=MORE_TO_COME)
    assert said(talk(sent + FIND, FOUND)) == [("insert orders", "", False), ("find orders", "0", False)]


@pytest.mark.parametrize(
    ("opcode", "body", "label"),
    [
        (INSERT, bytes(4) + b"shop.orders\0" + document({"a": "secret"}), "insert orders"),
        (UPDATE, bytes(4) + b"shop.orders\0" + bytes(4) + document({}) * 2, "update orders"),
        (DELETE, bytes(4) + b"shop.orders\0" + bytes(4) + document({}), "delete orders"),
        (KILL_CURSORS, struct.pack("<IIq", 0, 1, 7), "killCursors"),
    ],
)
def test_the_oldest_messages_are_not_answered(opcode: int, body: bytes, label: str) -> None:
    assert said(talk(message(opcode, body))) == [(label, "", False)]


def test_the_oldest_queries() -> None:
    more = message(GET_MORE, bytes(4) + b"shop.orders\0" + struct.pack("<Iq", 5, 77), 2)
    chunks = talk(old_query("shop.orders", {"note": "secret"}), old_reply({"a": 1}))
    chunks += talk(more, old_reply({"a": 1}, 2, flags=1))
    chunks += talk(old_query("shop.orders", {}, 3), old_reply({"$err": "secret", "code": 17}, 3, flags=2))
    wrapped = old_query("shop.$cmd", {"$query": {"count": "orders"}, "$readPreference": {}}, 4)
    chunks += talk(wrapped, old_reply({"n": 1, "ok": 1}, 4))
    assert said(chunks) == [
        ("find orders", "0", False),
        ("getMore orders", "43", True),
        ("find orders", "17", True),
        ("count orders", "0", False),
    ]


def test_a_request_that_is_answered_again_and_again_counts_once() -> None:
    hello = ask({"hello": 1, "$db": "admin"}, 3, flags=1 << 16)
    replies = answer({"ok": 1}, 3, number=50, flags=MORE_TO_COME) + answer({"ok": 1}, 50, number=51, flags=MORE_TO_COME)
    replies += answer({"ok": 1}, 51, number=52)
    found = played(talk(hello, replies, ask({"ping": 1}, 52), answer({"ok": 1}, 52, number=53)))
    assert [one.said[0] for one in found.exchanges] == ["hello", "ping"]
    assert (len(found.skipped), found.orphans) == (2, [])


@pytest.mark.parametrize("how", [1, 2, 3])
def test_what_is_compressed_is_paired_all_the_same(how: int) -> None:
    body = struct.pack("<IIB", MSG, 100, how) + b"squeezed" * 3
    chunks = talk(message(COMPRESSED, body, 8), message(COMPRESSED, body, 9, 8))
    assert said(chunks) == [("compressed", "", False)]
    assert detect(MONGODB, chunks[0][1]) is Detected.REQUEST
    assert detect(MONGODB, chunks[1][1]) is Detected.RESPONSE


def test_a_message_of_which_only_the_start_was_captured() -> None:
    rows = sequence("documents", *[{"a": "x" * 1000}] * 100)
    sent = ask({"insert": "orders", "$db": "shop"}, more=rows)
    framing, got = Parser(MONGODB, Side.REQUEST).frame(sent[:512], truncated=True)
    assert (framing, got.length, got.content, got.flags) == (Framed.MESSAGE, len(sent), "insert orders", Flag.CUT)
    assert Parser(MONGODB, Side.REQUEST).frame(sent[:512])[0] is Framed.MORE
    framing, got = Parser(MONGODB, Side.REQUEST).frame(sent[:5000])
    assert (framing, got.length, got.content) == (Framed.MESSAGE, len(sent), "insert orders")
    batch = answer({"cursor": {"firstBatch": [{"a": "x" * 1000}] * 100}, "ok": 1})
    framing, got = Parser(MONGODB, Side.RESPONSE).frame(batch[:512], truncated=True)
    assert (framing, got.length, got.status) == (Framed.MESSAGE, len(batch), 0)
    assert Parser(MONGODB, Side.REQUEST).frame(sent[:15], truncated=True)[0] is Framed.INVALID


def test_without_an_answer_a_request_failed() -> None:
    _, request = Parser(MONGODB, Side.REQUEST).frame(FIND)
    assert stitch(MONGODB, request, None) == Outcome(0, True, "find orders", "")


DETECTED = [
    (FIND, Detected.REQUEST),
    (FOUND, Detected.RESPONSE),
    (old_query("admin.$cmd", {"isMaster": 1}), Detected.REQUEST),
    (old_reply({"ok": 1}), Detected.RESPONSE),
    (message(INSERT, bytes(4) + b"shop.orders\0" + document({"a": 1})), Detected.REQUEST),
    (ask({"insert": "a"}, flags=MORE_TO_COME), Detected.REQUEST),
    (message(77, bytes(40)), Detected.NOT_MINE),
    (message(MSG, b"\xff\xff\0\0" + b"\0" + document({"a": 1})), Detected.NOT_MINE),
    (message(MSG, bytes(4) + b"\7" + document({"a": 1})), Detected.NOT_MINE),
    (message(MSG, bytes(4) + b"\0" + struct.pack("<I", 1 << 20) + bytes(20)), Detected.NOT_MINE),
    (message(QUERY, bytes(40), 1, 5), Detected.NOT_MINE),
    (message(REPLY, bytes(40), 1, 0), Detected.NOT_MINE),
    (message(COMPRESSED, struct.pack("<IIB", 5, 100, 1) + b"x" * 9), Detected.NOT_MINE),
    (struct.pack("<IIII", 1 << 31, 1, 0, MSG) + bytes(20), Detected.NOT_MINE),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Detected.NOT_MINE),
]


@pytest.mark.parametrize(("data", "found"), DETECTED)
def test_found_from_either_side(data: bytes, found: Detected) -> None:
    assert detect(MONGODB, data) is found
    assert detect(MONGODB, data, datagram=True) is Detected.NOT_MINE
    for length in range(1, len(data)):
        start = detect(MONGODB, data[:length])
        if found is not Detected.NOT_MINE:
            assert start in {found, Detected.TOO_SHORT}
        assert detect(MONGODB, data[:length], truncated=True) is not Detected.TOO_SHORT


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("data", [message(77, bytes(40)), message(MSG, b""), b"\xff" * 40])
def test_what_cannot_start_a_message_does_not(side: Side, data: bytes) -> None:
    assert Parser(MONGODB, side).frame(data)[0] is Framed.INVALID


def test_a_reply_is_no_request_and_the_other_way_round() -> None:
    asked: Message | None = None
    assert Parser(MONGODB, Side.REQUEST).frame(FOUND)[0] is Framed.INVALID
    for old in (old_query("a.b", {}), message(INSERT, bytes(4) + b"a.b\0" + document({}))):
        assert Parser(MONGODB, Side.RESPONSE).frame(old, waiting=asked)[0] is Framed.INVALID


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_anything_may_come(data: st.DataObject) -> None:
    chunks = talk(FIND, FOUND, old_query("a.$cmd", {"$query": {"ping": 1}}), old_reply({"ok": 0, "code": 2}))
    for side, sent in chunks:
        wire = bytearray(sent)
        for _ in range(data.draw(st.integers(0, 4))):
            wire[data.draw(st.integers(4, len(wire) - 1))] = data.draw(st.integers(0, 255))
        framing, said_ = Parser(MONGODB, Side.REQUEST if side == "client" else Side.RESPONSE).frame(bytes(wire))
        assert framing in {Framed.INVALID, Framed.MESSAGE}
        assert framing is Framed.INVALID or said_.length == len(wire)
