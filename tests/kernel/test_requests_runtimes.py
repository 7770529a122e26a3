# SPDX-License-Identifier: Apache-2.0
"""Servers and clients of several languages: each has its own way to read, write, wait, and move between threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.agents import ROOT, Agent
from tests.raw_http import RawConnection, connected, head, total
from tests.requests_seen import counts, edge, entity, protocols, wait_for, watching
from tests.servers import MissingProgram, Server, free_port, program, running

PROGRAMS = Path(__file__).parent / "programs"
BUILT = ROOT / "build/tests"
# Each language serves another one's clients.
CLIENT_OF = {"threads": "node", "node": "go", "go": "java", "java": "asyncio", "asyncio": "threads"}
WORKERS = 6
EACH = 60
SECONDS = 120


def go_program() -> str:
    """Built once, of Go's own library only, without the network."""
    source, built = PROGRAMS / "http-go.go", BUILT / "http-go"
    compiler = program("go")
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        BUILT.mkdir(parents=True, exist_ok=True)
        fixed = {"CGO_ENABLED": "0", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}
        subprocess.run(
            [compiler, "build", "-o", str(built), str(source)], check=True, env={**os.environ, **fixed}, timeout=280
        )
    return str(built)


def command(language: str) -> list[str]:
    """What is in front of a program's arguments. Raises MissingProgram."""
    match language:
        case "go":
            return [go_program()]
        case "java":
            return [program("java"), "-Xshare:auto", "-XX:TieredStopAtLevel=1", str(PROGRAMS / "HttpJava.java")]
        case "node":
            return [program("node"), str(PROGRAMS / "http-node.js")]
        case _:
            return [sys.executable, str(PROGRAMS / f"http_{language}.py")]


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with watching() as running_one:
        yield running_one


def load(server: Server, language: str) -> dict[str, int]:
    """What the client says that it got, by status."""
    arguments = ["client", server.url("").rstrip("/"), str(WORKERS), str(EACH)]
    done = subprocess.run([*command(language), *arguments], capture_output=True, text=True, timeout=SECONDS, check=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def loads(agent: Agent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Server, dict[str, int]]]]:
    """By the server's language: the server, and what its client got. All at once, for starting takes longest."""
    with ExitStack() as stack, ThreadPoolExecutor(len(CLIENT_OF)) as pool:

        def start(language: str) -> Server:
            port = free_port()
            arguments = [*command(language), "server", str(port)]
            folder = tmp_path_factory.mktemp(language)
            return stack.enter_context(running(language, arguments, "127.0.0.1", port, folder, seconds=SECONDS))

        def both(language: str) -> tuple[Server, dict[str, int]] | None:
            try:
                command(CLIENT_OF[language])
                server = start(language)
            except MissingProgram:
                return None
            return server, load(server, CLIENT_OF[language])

        done = dict(zip(CLIENT_OF, pool.map(both, CLIENT_OF), strict=True))
        yield {language: result for language, result in done.items() if result is not None}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("language", CLIENT_OF)
def test_every_request_between_languages(
    agent: Agent, loads: dict[str, tuple[Server, dict[str, int]]], language: str
) -> None:
    command(language)
    command(CLIENT_OF[language])
    server, expected = loads[language]
    assert expected == {"200": 2 * WORKERS * EACH // 3, "404": WORKERS * EACH // 3}
    wait_for(agent, server.port, WORKERS * EACH)
    assert counts(entity(agent, server.port)) == expected
    assert counts(edge(agent, server.port)) == expected
    assert protocols(agent, server.port) == {"http"}
    assert total(entity(agent, server.port)) == total(edge(agent, server.port))
    # The bodies alone, and with up to 500 bytes a head: the programs do not count what they send.
    bodies = 3000 * expected["200"] // 2
    assert bodies < total(entity(agent, server.port)).request_bytes < bodies + 500 * WORKERS * EACH


def frame(text: bytes) -> bytes:
    """A masked WebSocket text frame of less than 126 bytes; the mask is zero."""
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text


def upgrade(client: RawConnection) -> int:
    client.send(
        head("GET", "/socket", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")[:-2]
        + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    return client.answer().status


def test_what_follows_an_upgrade_is_websocket(agent: Agent, tmp_path: Path) -> None:
    messages = 20
    port = free_port()
    start = [sys.executable, str(PROGRAMS / "websocket_echo.py"), str(port)]
    upgraded: list[tuple[int, int]] = []
    spoken: list[tuple[int, int]] = []
    with running("websocket", start, "127.0.0.1", port, tmp_path, seconds=60) as server:
        for _ in range(3):
            with connected(server) as client:
                assert upgrade(client) == 101
                upgraded.append((client.sent, client.received))
                for _ in range(messages):
                    client.send(frame(b"hello"))
                    assert client.take(7) == b"\x81\x05hello"
                spoken.append((client.sent - upgraded[-1][0], client.received - upgraded[-1][1]))
        # They end without a Close, which is an end of its own.
        wait_for(agent, port, 3 * messages + 3, "websocket")
    assert counts(entity(agent, port)) == {"101": 3}
    assert counts(edge(agent, port)) == {"101": 3}
    for protocol, sizes in {"http": upgraded, "websocket": spoken}.items():
        figures = total(entity(agent, port, protocol))
        assert figures.request_bytes == sum(size for size, _ in sizes)
        assert figures.response_bytes == sum(size for _, size in sizes)
