# SPDX-License-Identifier: Apache-2.0
"""aiohttp's WebSocket server and client over the real kernel: by path and close code, the agent counts what they did."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.agents import Agent
from tests.operations_seen import Operation, seen
from tests.requests_seen import lost, watching
from tests.servers import free_port, running

ECHO = Path(__file__).parent.parent / "programs" / "websocket_echo.py"
PATH = "/socket"
TURN: Operation = (PATH, "", False)
MESSAGES = 5


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with watching() as watched:
        yield watched


async def talk(session: aiohttp.ClientSession, url: str, code: int, size: int) -> Counter[Operation]:
    """Turns one by one, and an end: by the client, or (from 4000 on) by the server, as the last message asks it to."""
    done: Counter[Operation] = Counter()
    async with session.ws_connect(url, autoclose=code >= 4000) as link:
        for number in range(MESSAGES):
            text = f"{number}" * size
            await link.send_str(text)
            assert await link.receive_str() == text
            done[TURN] += 1
        if code >= 4000:
            await link.send_str(f"close {code}")
            assert (await link.receive()).data == code
        elif code:
            await link.close(code=code)
    return done + Counter({(PATH, str(code), code not in {1000, 1001}): 1})


async def drop(url: str, host: str, port: int) -> Counter[Operation]:
    """A connection that is lost: no Close at all."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\x81\x82\0\0\0\0hi")
    assert await reader.readexactly(4) == b"\x81\x02hi"
    writer.close()
    await writer.wait_closed()
    return Counter({TURN: 1, (PATH, "1006", True): 1})


async def work(host: str, port: int) -> Counter[Operation]:
    done: Counter[Operation] = Counter()
    url = f"http://{host}:{port}{PATH}"
    async with aiohttp.ClientSession() as session:
        for code in (1000, 1001, 1002, 1011, 3000, 4001, 4400):
            for size in (1, 200, 100_000):
                done += await talk(session, url, code, size)
    for _ in range(3):
        done += await drop(url, host, port)
    return done


def test_turns_and_ends(agent: Agent, tmp_path: Path) -> None:
    port = free_port()
    with running("websocket", [sys.executable, str(ECHO), str(port)], "127.0.0.1", port, tmp_path, seconds=60):
        done = asyncio.run(work("127.0.0.1", port))
        assert seen(agent, port, "websocket", done.total()) == done
    assert lost(agent) == {}
