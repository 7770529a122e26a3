# SPDX-License-Identifier: Apache-2.0
"""gRPC calls of grpcio over the real kernel: by method and status they are what the client saw."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.agents import Agent
from tests.operations_seen import protocols, seen
from tests.requests_seen import watching
from tests.servers import Server, free_port, running

PREFIX = "/shop.v1.Orders/"
PROGRAM = Path(__file__).parents[1] / "programs" / "grpc_server.py"


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with watching() as running_agent:
        yield running_agent


@contextmanager
def orders() -> Iterator[Server]:
    """A gRPC server in a process of its own."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="firesteel-grpc-") as folder:
        command = [sys.executable, str(PROGRAM), str(port)]
        with running("grpc", command, "127.0.0.1", port, Path(folder), seconds=30) as server:
            yield server


def channel(server: Server) -> Any:
    """A connection of its own, and every call sent exactly once."""
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.insecure_channel(f"127.0.0.1:{server.port}", options=options)


def status_of(call: Callable[[], object]) -> int:
    try:
        call()
    except grpc.RpcError as error:
        return int(error.code().value[0])
    return 0


def test_unary_calls_and_every_status(agent: Agent) -> None:
    expected: Counter[tuple[str, str, bool]] = Counter()
    with orders() as server:
        with channel(server) as connection:
            get, fail = connection.unary_unary(PREFIX + "Get"), connection.unary_unary(PREFIX + "Fail")
            for size in (0, 1, 500, 3000):
                assert status_of(partial(get, bytes(size))) == 0
                expected[PREFIX + "Get", "0", False] += 1
            for code in range(1, 17):
                assert status_of(partial(fail, str(code).encode())) == code
                expected[PREFIX + "Fail", str(code), True] += 1
            assert status_of(lambda: connection.unary_unary(PREFIX + "None")(b"")) == 12
            expected[PREFIX + "None", "12", True] += 1
        assert seen(agent, server.port, "grpc", expected.total()) == expected
        assert protocols(agent, server.port) == {"grpc"}


def test_streams_both_ways(agent: Agent) -> None:
    with orders() as server:
        with channel(server) as connection:
            watch = connection.unary_stream(PREFIX + "Watch")
            for _ in range(10):
                assert len(list(watch(b"5 100 0"))) == 5
                assert status_of(lambda: list(watch(b"2 10 9"))) == 9
                assert connection.stream_unary(PREFIX + "Upload")(iter([bytes(200)] * 5)) == b"1000"
                assert len(list(connection.stream_stream(PREFIX + "Chat")(iter([b"a", b"b"])))) == 2
        names = {"Watch": ("0", False), "Upload": ("0", False), "Chat": ("0", False)}
        expected = {(PREFIX + name, *outcome): 10 for name, outcome in names.items()}
        assert seen(agent, server.port, "grpc", 40) == {**expected, (PREFIX + "Watch", "9", True): 10}


@pytest.mark.parametrize("at_once", [25, 500])
def test_a_thousand_streams_on_one_connection(agent: Agent, at_once: int) -> None:
    """No more at once than fit into the 32 KiB that are captured of one read: header compression does not forgive a gap."""
    with orders() as server:
        with channel(server) as connection:
            get = connection.unary_unary(PREFIX + "Get")
            for first in range(0, 1000, at_once):
                numbers = range(first, first + at_once)
                futures = [get.future(str(number).encode()) for number in numbers]
                assert sorted(int(future.result()) for future in futures) == list(numbers)
        assert seen(agent, server.port, "grpc", 1000) == {(PREFIX + "Get", "0", False): 1000}


def test_calls_that_are_given_up(agent: Agent) -> None:
    """A deadline that passes and a cancelled stream: the client resets, whatever the server says meanwhile."""
    with orders() as server:
        with channel(server) as connection:
            sleep = connection.unary_unary(PREFIX + "Sleep")
            for _ in range(3):
                assert status_of(lambda: sleep(b"0.6", timeout=0.2)) == 4
            for _ in range(3):
                call = connection.unary_stream(PREFIX + "Watch")(b"1000000 10 0")
                next(iter(call))
                call.cancel()
            assert connection.unary_unary(PREFIX + "Get")(b"x") == b"x"
        found = seen(agent, server.port, "grpc", 7)
    assert found[PREFIX + "Get", "0", False] == 1
    sleeping = {outcome: count for (name, outcome, error), count in found.items() if name == PREFIX + "Sleep" and error}
    assert sum(sleeping.values()) == 3
    assert set(sleeping) <= {"1", "4"}  # who was first: the server's word or the client's reset
    assert found[PREFIX + "Watch", "1", True] == 3
