# SPDX-License-Identifier: Apache-2.0
"""memcached over the real kernel, text and binary: by command and outcome the agent counts what the client did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests import memcached_client as client
from tests.agents import Agent
from tests.operations_seen import protocols, seen
from tests.requests_seen import lost, watching


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with watching(ring="32MiB") as running:
        yield running


@pytest.mark.parametrize(
    "work",
    [
        client.commands,
        client.packets,
        partial(client.pipelined, rounds=200),
        partial(client.quiet_meta, rounds=100),
        partial(client.quiet_packets, rounds=20),
        partial(client.everyday, rounds=50, size=100_000),
    ],
    ids=["commands", "packets", "pipelined", "quiet-meta", "quiet-packets", "pymemcache"],
)
def test_what_a_client_does(agent: Agent, work: Callable[[int], Counter[client.Said]]) -> None:
    with client.memcached() as server:
        done = work(server.port)
        expected = {(content, answer, error): count for (content, answer, _, error), count in done.items()}
        assert seen(agent, server.port, "memcached", done.total()) == expected
        assert protocols(agent, server.port) == {"memcached"}
    assert lost(agent) == {}
