# SPDX-License-Identifier: Apache-2.0
"""Kafka: every version of every message, what a real broker said, and input of bad faith."""

from __future__ import annotations

import random
import struct
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conversations import load
from tests.kafka_messages import TOPIC_ID, Encoder, definitions, framed, request, response, versions
from tests.multiplexed import Conversation, calls_of, split_everywhere
from tests.parsing import (
    Detected,
    Flag,
    Framed,
    Message,
    Outcome,
    Parser,
    Protocol,
    Side,
    detect,
    new_shared,
    new_state,
    stitch,
)

KAFKA = Protocol.KAFKA
DEFINITIONS = list(definitions())
PRODUCE, FETCH, METADATA, SASL_HANDSHAKE, API_VERSIONS = 0, 1, 3, 17, 18


def name_of(definition: Any) -> str:
    return str(definition["name"]).removesuffix("Request")


def ids(pair: tuple[Any, Any]) -> str:
    return name_of(pair[0])


def framed_by(data: bytes, side: Side = Side.REQUEST, **more: Any) -> Message:
    answer, message = Parser(KAFKA, side, **more).frame(data)
    assert answer is Framed.MESSAGE
    return message


def head(key: int, version: int, correlation: int, body: bytes, client: bytes | None = b"me") -> bytes:
    name = struct.pack(">h", -1) if client is None else struct.pack(">h", len(client)) + client
    return framed(struct.pack(">hhi", key, version, correlation) + name + body)


def text(value: bytes) -> bytes:
    return struct.pack(">h", len(value)) + value


def produce(correlation: int, topic: bytes, *, acks: int = 1) -> bytes:
    body = struct.pack(">hi", acks, 1000) + struct.pack(">i", 1) + text(topic) + struct.pack(">iii", 1, 0, 4) + b"data"
    return head(PRODUCE, 2, correlation, body)


def produced(correlation: int, code: int, topic: bytes = b"orders") -> bytes:
    body = struct.pack(">i", 1) + text(topic) + struct.pack(">iihqqi", 1, 0, code, 5, -1, 0)
    return framed(struct.pack(">i", correlation) + body)


# --- every version ----------------------------------------------------------------------------------------------------

# The topic, or the error, stands behind what is looked at.
UNNAMED = {
    *("AlterReplicaLogDirs", "DescribeLogDirs", "DescribeQuorum"),
}
PARTLY_READ = {
    *("DescribeGroups", "DeleteAcls", "DescribeConfigs", "DescribeLogDirs", "AlterClientQuotas", "DescribeProducers"),
    *("DescribeUserScramCredentials", "DescribeQuorum", "UpdateFeatures", "DescribeTransactions"),
}


@pytest.mark.parametrize("pair", DEFINITIONS, ids=ids)
def test_every_version_of_a_request_names_its_api_and_first_topic(pair: tuple[Any, Any]) -> None:
    definition, _ = pair
    name, dice = name_of(definition), random.Random(name_of(definition))
    for version in versions(definition["validVersions"]):
        for _ in range(8):
            encoder = Encoder(definition, version, dice)
            data = request(encoder, client=dice.choice([None, b"", b"me", b"x" * 100]))
            message = framed_by(data)
            topic = encoder.topic or ("*" if encoder.topic_id or definition["apiKey"] == FETCH else "")
            expected = name if name in UNNAMED else f"{name} {topic}".rstrip()
            assert (message.length, message.id, message.content) == (len(data), 77, expected), version


@pytest.mark.parametrize("pair", DEFINITIONS, ids=ids)
def test_every_version_of_a_response_tells_the_first_error_wherever_it_stands(pair: tuple[Any, Any]) -> None:
    asked, answered = pair
    dice = random.Random(name_of(asked))
    for version in versions(asked["validVersions"]):
        for seed in range(6):
            state = new_state(KAFKA)
            question = Parser(KAFKA, Side.REQUEST, state=state).frame(request(Encoder(asked, version, dice)))[1]
            errors = Encoder(answered, version, random.Random(seed))
            if len(response(errors)) > 1900:
                continue
            for failing in range(errors.errors + 1):
                Parser(KAFKA, Side.REQUEST, state=state).frame(request(Encoder(asked, version, dice)))
                data = response(Encoder(answered, version, random.Random(seed), failing))
                message = framed_by(data, Side.RESPONSE, state=state)
                outcome = stitch(KAFKA, question, message)
                code = 1000 + failing if failing else 0
                if name_of(asked) in PARTLY_READ and failing > 1:
                    assert outcome.status in {0, code}
                else:
                    assert (message.length, outcome.status) == (len(data), code), (version, failing)
                    assert outcome.response_content == (str(code) if errors.errors else "")


# --- recordings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kafka-topics", "kafka-groups"])
def test_recordings_however_they_are_cut(name: str) -> None:
    conversation = load(name)
    total = sum(len(data) for _, data in conversation.chunks)
    for chunks in (conversation.chunks, split_everywhere(conversation.chunks)):
        shared = new_shared(KAFKA)
        calls = calls_of(KAFKA, chunks, shared=shared)
        said = Counter((call.outcome.request_content, call.outcome.response_content) for call in calls if call.outcome)
        assert conversation.expected is not None
        assert said == {(one.request, one.response): one.count for one in conversation.expected}
        assert sum(sum(call.bytes) for call in calls) == total


# --- conversations ----------------------------------------------------------------------------------------------------


def outcomes(conversation: Conversation) -> list[Outcome]:
    assert (conversation.orphans, all(call.outcome for call in conversation.calls)) == (0, True)
    return [call.outcome for call in conversation.calls if call.outcome]


def test_many_in_flight_are_paired_by_their_numbers() -> None:
    conversation = Conversation(KAFKA)
    conversation.feed("client", b"".join(produce(number, b"t%d" % number) for number in range(100)))
    for number in range(100):
        conversation.feed("server", produced(number, number % 3, b"t%d" % number))
    found = [(said.request_content, said.response_content, said.error) for said in outcomes(conversation)]
    assert found[68:] == [(f"Produce t{n}", str(n % 3), n % 3 != 0) for n in range(68, 100)]
    assert [content for content, _, _ in found] == [f"Produce t{n}" for n in range(100)]


def test_who_wants_no_answer_gets_none() -> None:
    conversation = Conversation(KAFKA)
    conversation.feed("client", produce(1, b"logs", acks=0) + produce(2, b"logs", acks=0) + produce(3, b"logs"))
    conversation.feed("server", produced(3, 0))
    assert outcomes(conversation) == [
        Outcome(0, False, "Produce logs", ""),
        Outcome(0, False, "Produce logs", ""),
        Outcome(0, False, "Produce logs", "0"),
    ]


def test_an_unknown_error_is_minus_one() -> None:
    conversation = Conversation(KAFKA)
    conversation.feed("client", produce(1, b"orders"))
    conversation.feed("server", produced(1, -1))
    assert outcomes(conversation) == [Outcome(65535, True, "Produce orders", "-1")]


def metadata_of(correlation: int, *topics: tuple[bytes, bytes]) -> bytes:
    named = b"".join(
        struct.pack(">h", 0) + bytes([len(name) + 1]) + name + topic_id + b"\0\1" + bytes(4) + b"\0"
        for name, topic_id in topics
    )
    return framed(
        struct.pack(">i", correlation)
        + b"\0"
        + bytes(4)
        + b"\1\0"
        + bytes(4)
        + bytes([len(topics) + 1])
        + named
        + b"\0"
    )


def fetch_by_id(correlation: int, *topic_ids: bytes) -> bytes:
    topics = b"".join(topic_id + b"\1\0" for topic_id in topic_ids)
    body = b"\0" + bytes(12) + b"\0" + bytes(8) + bytes([len(topic_ids) + 1]) + topics + b"\1\1\0"
    return head(FETCH, 15, correlation, body)


def test_an_id_that_one_connection_was_told_is_a_name_on_all_of_them() -> None:
    shared = new_shared(KAFKA)
    asking, fetching = Conversation(KAFKA, shared=shared), Conversation(KAFKA, shared=shared)
    fetching.feed("client", fetch_by_id(1, TOPIC_ID))
    asking.feed("client", head(METADATA, 12, 1, b"\0\0\1\0\0"))
    asking.feed("server", metadata_of(1, (b"orders", TOPIC_ID), (b"carts", TOPIC_ID[::-1])))
    fetching.feed(
        "client", fetch_by_id(2, TOPIC_ID) + fetch_by_id(3, TOPIC_ID[::-1]) + fetch_by_id(4) + fetch_by_id(5, bytes(16))
    )
    fetching.feed("client", fetch_by_id(6, b"unknown" * 2 + b"id"))
    contents = [call.request.content for call in fetching.calls]
    assert contents == ["Fetch *", "Fetch orders", "Fetch carts", "Fetch carts", "Fetch carts", "Fetch *"]


def test_ids_beyond_what_is_kept_push_old_ones_out() -> None:
    shared = new_shared(KAFKA)
    asking = Conversation(KAFKA, shared=shared)
    topic_ids = [b"same place....%02d" % number for number in range(6)]
    for number, topic_id in enumerate(topic_ids):
        asking.feed("client", head(METADATA, 12, number, b"\0\0\1\0\0"))
        asking.feed("server", metadata_of(number, (b"t%d" % number, topic_id)))
    for number, topic_id in enumerate(topic_ids):
        asking.feed("client", fetch_by_id(100 + number, topic_id))
    contents = [call.request.content for call in asking.calls[6:]]
    assert contents == ["Fetch *", "Fetch *", *(f"Fetch t{number}" for number in range(2, 6))]


SECRET = b"\0user\0the password"


def test_tokens_of_the_old_login_are_nobodys_and_are_not_kept() -> None:
    conversation = Conversation(KAFKA)
    conversation.feed("client", head(SASL_HANDSHAKE, 0, 1, text(b"PLAIN")))
    conversation.feed("server", framed(struct.pack(">ihi", 1, 0, 1) + text(b"PLAIN")))
    conversation.feed("client", framed(SECRET))
    conversation.feed("server", framed(b""))
    conversation.feed("client", produce(2, b"orders"))
    conversation.feed("server", produced(2, 0))
    assert [said.request_content for said in outcomes(conversation)] == ["SaslHandshake", "Produce orders"]
    assert conversation.skipped == len(SECRET) + 8


def test_the_new_login_shows_nothing_of_its_token() -> None:
    body = struct.pack(">i", len(SECRET)) + SECRET
    for version, more in ((0, b""), (1, b""), (2, b"")):
        data = head(
            36, version, 1, (b"\0" + bytes([len(SECRET) + 1]) + SECRET + b"\0") if version == 2 else body + more
        )
        assert framed_by(data).content == "SaslAuthenticate"


def test_a_message_longer_than_what_was_captured() -> None:
    data = head(
        PRODUCE,
        2,
        9,
        struct.pack(">hii", 1, 1000, 1) + text(b"orders") + struct.pack(">iii", 1, 0, 90000) + bytes(90000),
    )
    for captured, content in ((4096, "Produce orders"), (40, "Produce orders")):
        answer, message = Parser(KAFKA, Side.REQUEST).frame(data[:captured], truncated=True)
        assert (answer, message.length, message.content) == (Framed.MESSAGE, len(data), content), captured
        assert bool(message.flags & Flag.CUT) is (captured < 1024)
    assert Parser(KAFKA, Side.REQUEST).frame(data[:20], truncated=True)[0] is Framed.INVALID
    assert Parser(KAFKA, Side.REQUEST).frame(data[:1000])[0] is Framed.MORE


def test_a_response_of_before_the_connection_was_joined_belongs_to_nobody() -> None:
    conversation = Conversation(KAFKA)
    conversation.feed("client", produce(50, b"orders"))
    conversation.feed("server", produced(48, 0) + produced(49, 0) + produced(50, 3))
    assert (conversation.orphans, [call.outcome.response_content for call in conversation.calls if call.outcome]) == (
        2,
        ["3"],
    )
    state = new_state(KAFKA)
    framed_by(produce(50, b"orders"), state=state)
    far = Parser(KAFKA, Side.RESPONSE, state=state)
    assert far.frame(produced(5000, 0))[0] is Framed.INVALID


@pytest.mark.parametrize(
    "data",
    [
        head(200, 0, 1, b""),
        head(PRODUCE, 99, 1, b""),
        framed(b"\0\3\0\1"),
        framed(struct.pack(">hhih", METADATA, 1, 1, 500) + b"x"),
        framed(struct.pack(">hhih", METADATA, 1, 1, 3) + b"a\x00c"),
        b"\x7f\xff\xff\xff" + head(METADATA, 1, 1, b"")[4:],
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_request(data: bytes) -> None:
    assert Parser(KAFKA, Side.REQUEST).frame(data)[0] is Framed.INVALID
    assert detect(KAFKA, data) is Detected.NOT_MINE


# --- detection --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (produce(1, b"orders"), Detected.REQUEST),
        (head(API_VERSIONS, 0, 1, b""), Detected.REQUEST),
        (head(API_VERSIONS, 3, 1, b"\0\6tests\0021\0"), Detected.REQUEST),
        (head(METADATA, 1, 1, struct.pack(">i", -1), None), Detected.REQUEST),
        (head(METADATA, 1, 1, struct.pack(">i", 1) + text(b"orders"), b""), Detected.REQUEST),
        (head(METADATA, 1, 1, struct.pack(">i", 1) + text(b"or\x01ers")), Detected.NOT_MINE),
        (head(METADATA, 1, 1, struct.pack(">i", -7)), Detected.NOT_MINE),
        (head(METADATA, 1, 1, struct.pack(">i", 0), b""), Detected.NOT_MINE),
        (head(API_VERSIONS, 0, 1, b"")[:12], Detected.TOO_SHORT),
        (b"\0\0", Detected.TOO_SHORT),
        (produced(1, 0), Detected.NOT_MINE),
        (bytes(60), Detected.NOT_MINE),
    ],
)
def test_detection(data: bytes, expected: Detected) -> None:
    assert detect(KAFKA, data) is expected
    if expected is Detected.TOO_SHORT:
        assert detect(KAFKA, data, truncated=True) is Detected.NOT_MINE
    assert detect(KAFKA, data, datagram=True) is Detected.NOT_MINE


@pytest.mark.parametrize("pair", DEFINITIONS, ids=ids)
def test_every_version_is_found(pair: tuple[Any, Any]) -> None:
    for version in versions(pair[0]["validVersions"]):
        for seed in range(4):
            data = request(Encoder(pair[0], version, random.Random(seed)))
            assert detect(KAFKA, data) is Detected.REQUEST, version


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=80), st.sampled_from(list(Side)), st.booleans())
def test_any_bytes_are_taken_or_left(data: bytes, side: Side, truncated: bool) -> None:
    detect(KAFKA, data, truncated=truncated)
    state = new_state(KAFKA)
    framed_by(produce(1, b"orders"), state=state)
    Parser(KAFKA, side, state=state).frame(framed(struct.pack(">i", 1) + data), truncated=truncated)
    Parser(KAFKA, side, state=state).frame(data, truncated=truncated)
    Parser(KAFKA, side).frame(head(PRODUCE, 9, 1, data), truncated=truncated)


def test_calls_have_their_bytes() -> None:
    (call,) = calls_of(KAFKA, [("client", produce(1, b"orders")), ("server", produced(1, 0))])
    assert call.bytes == [len(produce(1, b"orders")), len(produced(1, 0))]
