# SPDX-License-Identifier: Apache-2.0
"""Recorded conversations of every protocol through the engine: counted exactly, however they are cut, and by nobody else.

They are cut at a sample of their bytes, the longest ones at few of them; FIRESTEEL_EVERY_SPLIT=1 cuts all at every byte.
"""

import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby

import pytest

from tests.conversations import Conversation, Expected, counted, events_of, in_short, load, load_all
from tests.events import SEEDED
from tests.parsing import listed, name_of
from tests.recordings.parsers.expected import EXPECTED

STREAMS = [conversation for conversation in load_all() if not conversation.datagrams]
DECODED = {name_of(number) for number in listed()} | {"grpc", "websocket"}
KNOWN = [conversation for conversation in STREAMS if conversation.protocol in DECODED]
UNKNOWN = [conversation for conversation in STREAMS if conversation not in KNOWN]
MESSAGES = [conversation for conversation in KNOWN if conversation.protocol != "tls"]
# Those in which TLS is spoken, from the beginning or later.
SEALED = [
    conversation for conversation in KNOWN if conversation.protocol == "tls" or conversation.name.endswith("-tls")
]
# The answer to a request of HTTP/1.1 comes in HTTP/2, behind the one that says so.
ORPHANS = {"http-upgrade-h2c": 1}
EVERY = bool(os.environ.get("FIRESTEEL_EVERY_SPLIT"))
CUT_UP_TO = 700
"""Bytes of a chunk of which the places for a sample are taken; the rest of a long one is content."""
EVENTS = 15_000
"""At most about as many for one conversation, unless it is cut at every byte."""


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


def test_every_recording_says_what_must_be_counted_of_it() -> None:
    assert [one.name for one in KNOWN if not one.expected] == []
    for name, counts in EXPECTED.items():
        assert load(name).expected == tuple(Expected(*row, count) for row, count in sorted(counts.items()))


@pytest.mark.parametrize("conversation", KNOWN, ids=ids)
@pytest.mark.parametrize("side", ["server", "client"])
def test_what_is_counted_is_what_the_client_did(conversation: Conversation, side: str) -> None:
    rows, stats = counted(events_of(conversation, side=side))
    assert in_short(rows) == conversation.expected
    assert stats.get("orphan_responses", 0) == ORPHANS.get(conversation.name, 0)
    assert {"discarded_exchanges", "resyncs", "contradictions"}.isdisjoint(stats)
    assert sum(row.request_bytes + row.response_bytes for row in rows) == sum(len(d) for _, d in conversation.chunks)


def cut_once(place: tuple[int, int], number: int, _: bytes) -> list[int]:
    return [place[1]] if number == place[0] else []


def cut_places(conversation: Conversation) -> list[tuple[int, int]]:
    """Number of a chunk, and where it is cut in two: every place there is, or a sample."""
    up_to = sum(len(data) for _, data in conversation.chunks) if EVERY else CUT_UP_TO
    places = [(i, at) for i, (_, data) in enumerate(conversation.chunks) for at in range(1, min(len(data), up_to))]
    if EVERY:
        return places
    random.Random(conversation.name).shuffle(places)
    return places[: EVENTS // len(conversation.chunks)]


def cut_everywhere(conversation: Conversation, places: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    """Once for each place, on a connection of its own."""
    for conn_id, place in enumerate(places, 1):
        yield from events_of(conversation, conn_id=conn_id, cut=partial(cut_once, place))


@pytest.mark.timeout(3600 if EVERY else 120)
@pytest.mark.parametrize("conversation", MESSAGES, ids=ids)
def test_cut_at_every_byte_the_same_is_counted(conversation: Conversation) -> None:
    whole, places = short(events_of(conversation)), cut_places(conversation)
    found = short(cut_everywhere(conversation, places))
    assert whatever_was_shaken(found) == times(len(places), whatever_was_shaken(whole))


@pytest.mark.timeout(3600 if EVERY else 120)
@pytest.mark.parametrize("conversation", SEALED, ids=ids)
def test_tls_cut_at_every_byte_has_as_many_exchanges(conversation: Conversation) -> None:
    """Name, version and alert of one in pieces may be missing: they are not put together, and never others."""
    whole, places = short(events_of(conversation)), cut_places(conversation)
    found = short(cut_everywhere(conversation, places))
    for protocol in {one.protocol for one in whole}:
        total = len(places) * sum(one.count for one in whole if one.protocol == protocol)
        assert sum(one.count for one in found if one.protocol == protocol) == total
    assert {one.request for one in found} <= {one.request for one in whole} | {""}
    # Without the alert in the end, what was chosen before it is the answer.
    chosen = {"TLSv1.2"} if conversation.name == "tls-distrusted" else set()
    assert {one.response for one in found} <= {one.response for one in whole} | chosen | {""}
    assert {one.protocol for one in found} == {one.protocol for one in whole}


@pytest.mark.parametrize("conversation", MESSAGES, ids=ids)
@pytest.mark.parametrize("pace", [1, 2, 3, 7, 64, 0])
def test_cut_into_small_pieces_the_same_is_counted(conversation: Conversation, pace: int) -> None:
    dice = random.Random(f"{conversation.name} {pace}")

    def cut(_: int, data: bytes) -> list[int]:
        if pace == 0:
            return sorted(dice.sample(range(len(data)), min(len(data), 20)))
        return list(range(0, len(data) if EVERY else min(len(data), 3000), pace))

    cut_short, whole = short(events_of(conversation, cut=cut)), short(events_of(conversation))
    assert whatever_was_shaken(cut_short) == whatever_was_shaken(whole)


def test_there_is_something_that_nobody_knows() -> None:
    assert {conversation.name for conversation in UNKNOWN} == {"other-git", "other-smtp"}


@pytest.mark.parametrize("conversation", UNKNOWN, ids=ids)
def test_what_nobody_knows_is_nobodys(conversation: Conversation) -> None:
    """From its beginning, from every chunk on, and however it is cut."""
    seen = [events_of(conversation, side=side) for side in ("client", "server")]
    seen += [events_of(conversation, first=first, open_flags=SEEDED) for first in range(1, len(conversation.chunks))]
    seen.append(cut_everywhere(conversation, cut_places(conversation)))
    for made in seen:
        assert {one.protocol for one in short(made)} <= {"NOSUPPORT"}
    turns = sum(one == "client" for one, _ in groupby(side for side, _ in conversation.chunks))
    assert sum(one.count for one in short(events_of(conversation))) in {turns, turns + 1}  # a greeting may be one


@pytest.mark.parametrize("conversation", KNOWN, ids=ids)
@pytest.mark.parametrize("captured", [512, 64])
def test_what_was_not_captured_is_at_most_missing(conversation: Conversation, captured: int) -> None:
    whole = sum(one.count for one in short(events_of(conversation)))
    rows, stats = counted(events_of(conversation, captured=captured))
    assert sum(row.count for row in rows if row.protocol in DECODED) <= whole
    assert stats["connections_closed"] == 1
