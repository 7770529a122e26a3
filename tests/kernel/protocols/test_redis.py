# SPDX-License-Identifier: Apache-2.0
"""Redis over the real kernel: by command and by error, the agent counts what INFO commandstats says."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests import servers
from tests.agents import Agent
from tests.protocols_counted import REQUESTS, assert_counted, by_content, errors
from tests.recordings.parsers.capture_redis import COMMANDS, command
from tests.requests_seen import lost, watching
from tests.servers import Server, program

_STATS = re.compile(r"^cmdstat_(\S+):calls=(\d+),.*rejected_calls=(\d+),failed_calls=(\d+)", re.MULTILINE)


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with watching("metrics.contents_per_workload=500", ring="32MiB") as running:
        yield running


def cli(server: Server, *words: str, text: str | None = None) -> str:
    command = [program("redis-cli"), "-p", str(server.port), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, input=text, timeout=60).stdout


def benchmark(server: Server, tests: str, requests: int, *options: str) -> None:
    command = [program("redis-benchmark"), "-p", str(server.port), "-t", tests, "-n", str(requests), "-q", *options]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def told(server: Server) -> Counter[tuple[str, str]]:
    """What the server did, this question included. Commands that it does not know are not in there."""
    found = Counter[tuple[str, str]]({("INFO", "noerror"): 1})
    for name, calls, rejected, failed in _STATS.findall(cli(server, "info", "commandstats")):
        content = name.upper().replace("|", " ")
        found[content, "noerror"] += int(calls) - int(failed)
        found[content, "error"] += int(failed) + int(rejected)
    return +found


@pytest.mark.parametrize("options", [("-P", "16", "-c", "8"), ("-c", "8"), ("-3", "-P", "16", "-c", "4")])
def test_benchmark(agent: Agent, options: tuple[str, ...]) -> None:
    with servers.redis() as server:
        benchmark(server, "set,get,incr,lpush,rpop,sadd,hset,spop,zadd", 8000, *options)
        assert_counted(agent, server.port, "redis", told(server))
        assert sum(by_content(agent, server.port, "redis").values()) > 72_000
    assert lost(agent) == {}


def test_answers_of_every_kind_and_errors(agent: Agent) -> None:
    lines = [shlex.split(line) for line in COMMANDS.splitlines()]
    with servers.redis() as server:
        for hello in ([], [("HELLO", "3")]):
            with socket.create_connection((server.address, server.port)) as client:
                for words in [*hello, *lines]:
                    client.sendall(command(*words))
                    assert client.recv(65536)
        expected = told(server)
        expected["NOSUCHCOMMAND", "error"] = 2
        # The wrong command in MULTI was answered QUEUED, and EXEC did what it was asked.
        expected["LPUSH", "noerror"] += expected.pop(("LPUSH", "error"))
        assert_counted(agent, server.port, "redis", expected)
        failed = sum(count for (_, answer), count in expected.items() if answer == "error")
        assert errors(agent, server.port, "redis") == failed > 8


def test_long_values_have_exact_bytes(agent: Agent) -> None:
    sizes = (10_000, 1_000_000, 5_000_000)
    with servers.redis() as server:
        with socket.create_connection((server.address, server.port)) as client:
            for size in sizes:
                client.sendall(command("SET", "key", "x" * size))
                assert client.recv(100) == b"+OK\r\n"
                client.sendall(command("GET", "key"))
                left = len(f"${size}\r\n") + size + 2
                while left:
                    left -= len(client.recv(left))
        assert_counted(agent, server.port, "redis", {("SET", "noerror"): 3, ("GET", "noerror"): 3})
        here = {"port": str(server.port), "protocol": "redis"}
        requests = sum(len(command("SET", "key", "x" * size)) + len(command("GET", "key")) for size in sizes)
        responses = sum(len(f"+OK\r\n${size}\r\n") + size + 2 for size in sizes)
        assert agent.total("kindling_entity_request_receive_bytes_total", **here) == requests
        assert agent.total("kindling_entity_request_send_bytes_total", **here) == responses


def test_subscriptions_are_counted_and_their_messages_are_not(agent: Agent) -> None:
    with servers.redis() as server:
        with (
            socket.create_connection((server.address, server.port)) as listener,
            socket.create_connection((server.address, server.port)) as monitor,
        ):
            monitor.sendall(command("MONITOR"))
            assert monitor.recv(100) == b"+OK\r\n"
            listener.sendall(command("SUBSCRIBE", "a", "b") + command("PING"))
            time.sleep(0.2)
            for number in range(100):
                cli(server, "publish", "ab"[number % 2], f"message {number}")
            listener.sendall(command("UNSUBSCRIBE"))
            time.sleep(0.2)
            listener.sendall(command("GET", "missing"))
            time.sleep(0.2)
        expected = {
            ("MONITOR", "noerror"): 1,
            ("SUBSCRIBE", "noerror"): 1,
            ("PING", "noerror"): 1,
            ("PUBLISH", "noerror"): 100,
            ("UNSUBSCRIBE", "noerror"): 1,
            ("GET", "noerror"): 1,
        }
        assert_counted(agent, server.port, "redis", expected)


def test_unanswered_by_wish(agent: Agent) -> None:
    with servers.redis() as server:
        with socket.create_connection((server.address, server.port)) as client:
            client.sendall(command("PING"))
            assert client.recv(100) == b"+PONG\r\n"
            client.sendall(command("CLIENT", "REPLY", "OFF") + command("INCR", "n") * 50)
            client.sendall(command("CLIENT", "REPLY", "ON"))
            assert client.recv(100) == b"+OK\r\n"
            client.sendall(command("GET", "n"))
            assert client.recv(100) == b"$2\r\n50\r\n"
        expected = {
            ("PING", "noerror"): 1,
            ("CLIENT REPLY", ""): 1,
            ("INCR", ""): 50,
            ("CLIENT REPLY", "noerror"): 1,
            ("GET", "noerror"): 1,
        }
        assert_counted(agent, server.port, "redis", expected)
        assert errors(agent, server.port, "redis") == 0


def test_a_connection_older_than_the_agent_is_joined(agent: Agent) -> None:
    """A server that says no more than its answers: what is asked after a moment's silence is counted."""
    with servers.redis() as server, socket.create_connection((server.address, server.port)) as client:
        client.sendall(command("SET", "k", "v"))
        assert client.recv(100) == b"+OK\r\n"
        with watching() as late:
            before = late.total(REQUESTS, port=str(server.port))
            for _ in range(20):
                client.sendall(command("GET", "k"))
                assert client.recv(100) == b"$1\r\nv\r\n"
            assert before == 0
            assert_counted(late, server.port, "redis", {("GET", "noerror"): 20})
