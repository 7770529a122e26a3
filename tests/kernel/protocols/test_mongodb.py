# SPDX-License-Identifier: Apache-2.0
"""MongoDB over the real kernel: pymongo's commands, to a peer of our own (tests/mongodb_server.py says why), exactly."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.agents import ROOT, Agent
from tests.protocols_counted import by_content, errors
from tests.recordings.parsers.capture_databases import MONGODB, mongodb_commands, mongodb_connection
from tests.requests_seen import lost, watching
from tests.servers import listens

HELLO = ("ismaster", "0")
Counts = dict[tuple[str, str], int]


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with watching("metrics.contents_per_workload=500", ring="32MiB") as running:
        yield running


@contextmanager
def serving(port: int, *, compression: bool = False) -> Iterator[int]:
    """The peer in a process of its own: what one process says to itself is told from neither end."""
    code = (
        f"from tests.mongodb_server import MongoServer; MongoServer({port}, compression={compression}).serve_forever()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        end = time.monotonic() + 30
        while not listens(process.pid, "127.0.0.1", port):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


def assert_counted(agent: Agent, port: int, expected: Counts) -> None:
    """All but hellos, of which each connection has one and pymongo decides how many there are."""
    want = {key: count for key, count in expected.items() if key != HELLO}

    def done(reader: Agent) -> bool:
        return sum(count for key, count in by_content(reader, port, "mongodb").items() if key != HELLO) >= sum(
            want.values()
        )

    agent.wait(done)
    agent.settled("kindling_entity_request_total", port=str(port))
    found = by_content(agent, port, "mongodb")
    assert found.pop(HELLO) >= 2
    assert found == want
    assert errors(agent, port, "mongodb") == sum(count for (_, code), count in want.items() if code not in {"0", ""})


def test_commands_cursors_and_errors(agent: Agent) -> None:
    with serving(22401) as port:
        mongodb_commands(port)
        assert_counted(agent, port, MONGODB)
    assert lost(agent) == {}


def test_compressed_commands_are_counted_without_their_names(agent: Agent) -> None:
    with serving(22402, compression=True) as port:
        mongodb_commands(port)
        answered = sum(MONGODB.values()) - MONGODB[HELLO] - 1
        # That one write is not to be acknowledged cannot be read.
        assert_counted(agent, port, {("compressed", ""): answered, ("compressed", "no response"): 1})


def test_long_documents_and_batches_are_counted(agent: Agent) -> None:
    with serving(22403) as port, mongodb_connection(port) as client:
        rows = client["shop"]["long"]
        for number in range(10):
            rows.insert_one({"_id": number, "text": "x" * 1_000_000})
        assert len(list(rows.find({}, batch_size=4))) == 10
        expected = {("insert long", "0"): 10, ("find long", "0"): 1, ("getMore long", "0"): 2}
        assert_counted(agent, port, expected)
        sent = agent.total("kindling_entity_request_receive_bytes_total", port=str(port), protocol="mongodb")
        assert 10_000_000 < sent < 10_010_000
