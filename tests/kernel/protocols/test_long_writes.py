# SPDX-License-Identifier: Apache-2.0
"""Pipelines whose reads and writes hold more requests than one event has bytes: once the agent has seen that, all count."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests import servers
from tests.agents import Agent
from tests.protocols_counted import REQUESTS, by_content, errors
from tests.recordings.parsers.capture_redis import command
from tests.requests_seen import lost, watching

BATCH, ROUNDS = 180, 60
VALUE = "x" * 100
QUIET_SECONDS = 0.5
"""A pipeline that was lost is taken up again after a silence."""


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with watching("metrics.contents_per_workload=500", ring="32MiB") as running:
        yield running


def ask(client: socket.socket) -> None:
    """One write of some 24 000 bytes: every third command asks a string for its members."""
    words = [("SET", f"key{n}", VALUE) if n % 3 else ("SMEMBERS", "key1") for n in range(BATCH)]
    client.sendall(b"".join(command(*one) for one in words))
    answers = b""
    while answers.count(b"\r\n") < BATCH:
        answers += client.recv(1 << 16)


def test_requests_behind_the_first_bytes_of_a_write_count(agent: Agent) -> None:
    with servers.redis() as server, socket.create_connection((server.address, server.port)) as client:
        client.sendall(command("SET", "key1", VALUE))
        assert client.recv(64) == b"+OK\r\n"
        for _ in range(4):  # it learns that a write holds more than it was given
            ask(client)
            time.sleep(QUIET_SECONDS)
        agent.settled(REQUESTS, port=str(server.port), protocol="redis")
        before = Counter(by_content(agent, server.port, "redis")), errors(agent, server.port, "redis")
        for _ in range(ROUNDS):
            ask(client)
        agent.counts(REQUESTS, before[0].total() + ROUNDS * BATCH, port=str(server.port), protocol="redis")
        counted = Counter(by_content(agent, server.port, "redis")) - before[0]
        assert counted == {
            ("SET", "noerror"): ROUNDS * BATCH * 2 // 3,
            ("SMEMBERS", "error"): ROUNDS * BATCH // 3,
        }
        assert errors(agent, server.port, "redis") - before[1] == ROUNDS * BATCH // 3
    assert lost(agent) == {}
