# SPDX-License-Identifier: Apache-2.0
"""Recorded conversations of every protocol through the engine: counted exactly, however they are cut, and by nobody else."""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import pytest

from tests.conversations import Conversation, Expected, counted, events_of, in_short, load_all
from tests.events import SEEDED
from tests.parsing import listed, name_of

STREAMS = [conversation for conversation in load_all() if not conversation.datagrams]
DECODED = {name_of(number) for number in listed()} | {"grpc", "websocket"}
KNOWN = [conversation for conversation in STREAMS if conversation.protocol in DECODED]
# Undecoded conversations are counted by I/Os, of which there are more when they are cut.
MESSAGES = [conversation for conversation in KNOWN if conversation.protocol not in {"tls", "websocket"}]
CUT_UP_TO = 700
"""Bytes of a chunk at each of which it is cut; the rest of a long one is content."""
EVENTS = 15_000
"""At most about as many for one conversation: of longer ones a sample of the places."""


def ids(conversation: Conversation) -> str:
    return conversation.name


def short(made: Iterable[bytes]) -> tuple[Expected, ...]:
    return in_short(counted(made)[0])


def whatever_was_shaken(counted_: Iterable[Expected]) -> tuple[Expected, ...]:
    """Without the version that a TLS handshake chose: a ServerHello in pieces is not put together."""
    found: Counter[Expected] = Counter()
    for one in counted_:
        is_shaken = one.protocol == "tls" and one.response.startswith("TLSv")
        found[replace(one, response="" if is_shaken else one.response, count=0)] += one.count
    return tuple(sorted(replace(one, count=count) for one, count in found.items()))


def times(count: int, expected: Iterable[Expected]) -> tuple[Expected, ...]:
    return tuple(replace(one, count=one.count * count) for one in expected)


@pytest.mark.parametrize("conversation", [one for one in KNOWN if one.expected is not None], ids=ids)
@pytest.mark.parametrize("side", ["server", "client"])
def test_what_is_counted_is_what_the_client_did(conversation: Conversation, side: str) -> None:
    rows, stats = counted(events_of(conversation, side=side))
    assert in_short(rows) == conversation.expected
    assert {"orphan_responses", "discarded_exchanges", "resyncs", "contradictions"}.isdisjoint(stats)
    assert sum(row.request_bytes + row.response_bytes for row in rows) == sum(len(d) for _, d in conversation.chunks)


def cut_once(place: tuple[int, int], number: int, _: bytes) -> list[int]:
    return [place[1]] if number == place[0] else []


@pytest.mark.parametrize("conversation", MESSAGES, ids=ids)
def test_cut_at_every_byte_the_same_is_counted(conversation: Conversation) -> None:
    whole = short(events_of(conversation))
    places = [(i, at) for i, (_, data) in enumerate(conversation.chunks) for at in range(1, min(len(data), CUT_UP_TO))]
    random.Random(conversation.name).shuffle(places)
    places = places[: EVENTS // len(conversation.chunks)]
    made: list[bytes] = []
    for conn_id, place in enumerate(places, 1):
        made += events_of(conversation, conn_id=conn_id, cut=partial(cut_once, place))
    assert whatever_was_shaken(short(made)) == times(len(places), whatever_was_shaken(whole))


@pytest.mark.parametrize("conversation", MESSAGES, ids=ids)
@pytest.mark.parametrize("pace", [1, 2, 3, 7, 64, 0])
def test_cut_into_small_pieces_the_same_is_counted(conversation: Conversation, pace: int) -> None:
    dice = random.Random(f"{conversation.name} {pace}")

    def cut(_: int, data: bytes) -> list[int]:
        if pace == 0:
            return sorted(dice.sample(range(len(data)), min(len(data), 20)))
        return list(range(0, min(len(data), 3000), pace))

    cut_short, whole = short(events_of(conversation, cut=cut)), short(events_of(conversation))
    assert whatever_was_shaken(cut_short) == whatever_was_shaken(whole)


@pytest.mark.parametrize("conversation", KNOWN, ids=ids)
def test_joined_in_the_middle_nothing_is_counted_that_was_not_seen(conversation: Conversation) -> None:
    total = sum(one.count for one in short(events_of(conversation)))
    for first in range(1, len(conversation.chunks)):
        found = short(events_of(conversation, first=first, open_flags=SEEDED))
        assert sum(one.count for one in found if one.protocol != "NOSUPPORT") <= total


@pytest.mark.parametrize("conversation", STREAMS, ids=ids)
def test_no_byte_can_be_missing_that_stops_the_engine(conversation: Conversation) -> None:
    sizes = [len(data) for _, data in conversation.chunks]
    made: list[bytes] = []
    pace = 1 + min(sum(sizes), 4096) * len(sizes) // EVENTS
    for conn_id, missing in enumerate(range(1, min(sum(sizes), 4096), pace), 1):
        rest = replace(conversation, chunks=tuple(_without(conversation.chunks, missing)))
        made += events_of(rest, conn_id=conn_id, open_flags=SEEDED)
    _, stats = counted(made)
    assert stats["connections_closed"] == stats["connections_opened"]


def _without(chunks: Iterable[tuple[str, bytes]], missing: int) -> Iterable[tuple[str, bytes]]:
    """The chunks without their first bytes."""
    for side, data in chunks:
        if missing < len(data):
            yield side, data[missing:]
        missing = max(0, missing - len(data))


def test_what_nobody_knows_is_nobodys() -> None:
    for conversation in STREAMS:
        if conversation not in KNOWN:
            assert {one.protocol for one in short(events_of(conversation))} <= {"NOSUPPORT"}, conversation.name


@pytest.mark.parametrize("conversation", KNOWN, ids=ids)
@pytest.mark.parametrize("captured", [512, 64])
def test_what_was_not_captured_is_at_most_missing(conversation: Conversation, captured: int) -> None:
    whole = sum(one.count for one in short(events_of(conversation)))
    rows, stats = counted(events_of(conversation, captured=captured))
    assert sum(row.count for row in rows if row.protocol in DECODED) <= whole
    assert stats["connections_closed"] == 1
