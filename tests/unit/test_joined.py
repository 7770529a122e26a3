# SPDX-License-Identifier: Apache-2.0
"""Recorded conversations whose first bytes nobody saw: which protocol they are found to be, and what is counted of the rest.

A sample of the first 4 096 bytes is left out; FIRESTEEL_EVERY_SPLIT=1 leaves out every number of them.
"""

import os
import random
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

import pytest

from tests.conversations import Conversation, Expected, counted, events_of, in_short, load_all, rest_of
from tests.events import SEEDED
from tests.parsing import Detected, Protocol, detect, listed, name_of

LONGEST = 4096
SAMPLE = 60
EVERY = bool(os.environ.get("FIRESTEEL_EVERY_SPLIT"))
FOUND = {Detected.REQUEST, Detected.RESPONSE, Detected.GREETING}
PROTOCOLS = {name_of(number): number for number in listed()} | {"grpc": Protocol.HTTP2}
CONVERSATIONS = [one for one in load_all() if not one.datagrams and one.protocol in PROTOCOLS]
# What a conversation may be found as besides its own protocols: a call whose content-type is a place in a table is HTTP/2.
ALSO = {"grpc": {"http2"}}


def told(conversation: Conversation, open_flags: int = 0) -> Counter[Expected]:
    """How often what was counted, by everything else that is known of it."""
    rows, stats = counted(events_of(conversation, open_flags=open_flags))
    assert stats["connections_closed"] == stats["connections_opened"] == 1
    found: Counter[Expected] = Counter()
    for one in in_short(rows):
        found[replace(one, count=0)] += one.count
    return found


def decoded(found: Counter[Expected]) -> Counter[Expected]:
    return Counter({one: count for one, count in found.items() if one.protocol != "NOSUPPORT"})


@dataclass(frozen=True)
class Joined:
    """A conversation, and what is left of it to be counted from each turn on."""

    conversation: Conversation

    @cached_property
    def whole(self) -> Counter[Expected]:
        return told(self.conversation)

    @cached_property
    def begins(self) -> list[int]:
        """At which byte each chunk does."""
        return [0, *accumulate(len(data) for _, data in self.conversation.chunks)]

    @cached_property
    def turns(self) -> dict[int, Counter[Expected]]:
        """What is asked from that byte on, for each at which the client begins to ask what its protocol is sure of."""
        chunks, found = self.conversation.chunks, {}
        number = PROTOCOLS[self.conversation.protocol]
        for at in range(1, len(chunks)):
            begins_to_ask = chunks[at][0] == "client" and chunks[at - 1][0] == "server"
            if not begins_to_ask or detect(Protocol(number), chunks[at][1]) is not Detected.REQUEST:
                continue
            before = told(replace(self.conversation, chunks=chunks[:at]))
            if before <= self.whole:  # else something still waits for its answer here
                found[self.begins[at]] = self.whole - before
        return found

    def places(self) -> list[int]:
        """Numbers of first bytes that are missing: all, or the first and the last and some between, and those up to a chunk."""
        every = range(1, min(self.begins[-1], LONGEST + 1))
        if EVERY or len(every) <= SAMPLE:
            return list(every)
        dice = random.Random(self.conversation.name)
        ends = [at for at in self.begins[1:] if at in every]
        return sorted({1, 2, 3, every[-1], *ends[:SAMPLE], *dice.sample(every, SAMPLE)})

    def without(self, missing: int) -> Counter[Expected]:
        chunks = tuple(rest_of(self.conversation.chunks, missing))
        return told(replace(self.conversation, chunks=chunks), SEEDED)

    def is_clear(self, missing: int) -> bool:
        """Whether counting begins with a turn: what is left before it is the beginning of nothing, or an answer."""
        side, data = next(rest_of(self.conversation.chunks, missing))
        found = {number: detect(number, data) for number in listed()}
        if side == "server" and found[Protocol(PROTOCOLS[self.conversation.protocol])] is Detected.RESPONSE:
            return True
        return missing in self.turns or set(found.values()) == {Detected.NOT_MINE}

    def expected(self, missing: int) -> Counter[Expected]:
        turns = list(self.turns)
        at = bisect_left(turns, missing)
        return self.turns[turns[at]] if at < len(turns) else Counter()


ALL = [Joined(conversation) for conversation in CONVERSATIONS]
# What was agreed on at first says what the rest is.
AGREED = {"http-upgrade-h2c", "http-websocket", "mysql-compressed", "mysql-tls", "postgresql-tls"}
# So many messages one after the other that nobody is sure of that it is not looked at any more.
UNSURE = {"memcached-commands", "mysql-prepared"}
# One batch of requests, or one exchange: there is no turn from which on anything is left.
ALONE = {
    *("http-curl-python", "http-pipelined-nginx", "http2-curl-upload", "http2-nghttp-nginx", "memcached-pipelined"),
    *("memcached-quiet-meta", "memcached-quiet-packets", "mqtt-denied-3", "mqtt-denied-5", "postgresql-denied"),
    "redis-pipe",
}
# Statements that were prepared, tables of header compression, the version that a login asked for.
REFERRING = {
    *("grpc-cancelled", "grpc-streams", "grpc-unary", "http2-nginx", "mqtt-work-5", "postgresql-pgbench-prepared"),
    "postgresql-statements",
}
# The server asks too, and that is counted between the client's turns.
MUTUAL = {"amqp-fail", "amqp-work"}
TURNS = [
    one for one in ALL if one.conversation.name not in AGREED | UNSURE | ALONE and one.conversation.protocol != "tls"
]


def ids(joined: Joined) -> str:
    return joined.conversation.name


@pytest.mark.timeout(3600 if EVERY else 120)
@pytest.mark.parametrize("joined", ALL, ids=ids)
def test_joined_anywhere_it_is_its_own_protocol_or_none(joined: Joined) -> None:
    spoken = joined.conversation.protocol
    own = {spoken} | {one.protocol for one in joined.whole} | ALSO.get(spoken, set())
    total = joined.whole.total()
    for missing in joined.places():
        found = joined.without(missing)
        assert {one.protocol for one in found} <= own | {"NOSUPPORT"}, missing
        assert decoded(found).total() <= total, missing


def test_there_are_turns_wherever_they_are_asked_for() -> None:
    turns = {one.conversation.name: any(one.turns.values()) for one in ALL if one.conversation.protocol != "tls"}
    assert {name for name, are_there in turns.items() if not are_there and name not in AGREED} == ALONE


@pytest.mark.timeout(3600 if EVERY else 120)
@pytest.mark.parametrize("joined", TURNS, ids=ids)
def test_joined_anywhere_all_is_counted_from_the_next_turn_on(joined: Joined) -> None:
    name = joined.conversation.name
    for missing in filter(joined.is_clear, joined.places()):
        expected, named = decoded(joined.expected(missing)), decoded(joined.without(missing))
        if name in MUTUAL:
            assert expected <= named <= joined.whole, missing
        elif name in REFERRING:
            # One that refers back is followed before anybody could be sure of it.
            assert expected.total() <= named.total() <= expected.total() + 1, missing
        else:
            assert named == expected, missing
