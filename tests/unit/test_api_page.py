# SPDX-License-Identifier: Apache-2.0
"""docs/api.md names every field that the API answers, and every route."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from analyzers.rows import DriverCounters
from collector.api import Driver, Hook, Problem, RejectedDriver
from collector.kinds import Endpoint
from collector.schema import Config
from collector.server import HttpServer
from tests.fake_agent import FakeAgent, Peer, engine_state, request, sample_of, tcp

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
CURL = Peer("127.0.0.1", "curl", comm="curl", pid=10)
NGINX = Peer("127.0.0.1", "nginx.service", "systemd", comm="nginx", pid=20)

# Keys that are values: names of events, statistics, reasons, errno.
OPEN = ("engine.events", "engine.parsed", "engine.parse_failures", "engine.stats", "loss.events", "not_visible")


def names(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, list):
        for item in value[:1]:
            yield from names(item, path)
    elif isinstance(value, dict) and not path.endswith(OPEN) and not path.endswith("tcp.connect_failures"):
        for key, item in value.items():
            yield key
            yield from names(item, f"{path}.{key}")


@pytest.fixture
def agent() -> FakeAgent:
    named = request(1, CURL, NGINX, 80)
    told = FakeAgent(
        requests=[named], tcp=[tcp(1, CURL, NGINX, 80, error=111, connects=1)], recorded=[sample_of(named, 1)]
    )
    told.now = replace(
        told.now,
        driver=Driver("core", "x", (Hook("a", True, True),), (RejectedDriver("bcc", "x"),)),
        problems=(Problem("warning", "a", "b", "c"),),
        counters=DriverCounters({}, {"DATA": 1}, {"COMPAT": 1}, 0, 0),
        engine=engine_state(stats={"requests": 1}),
    )
    return told


async def test_every_field_is_documented(agent: FakeAgent) -> None:
    documented = set(re.findall(r"[a-z0-9_]+", " ".join(re.findall(r"`([^`\n]+)`", PAGE))))
    settings = replace(Config().listen, metrics=Endpoint("127.0.0.1", 0), api=Endpoint("127.0.0.1", 0))
    http = HttpServer(settings, agent)
    await http.start()
    try:
        async with aiohttp.ClientSession(http.url("listen.api")) as session:
            edge = (await (await session.get("/api/v1/topology")).json())["edges"][0]["id"]
            for path, query in (
                ("status", {}),
                ("topology", {}),
                ("rows", {"edge": edge}),
                ("traces", {}),
                ("explain", {"address": "127.0.0.1"}),
            ):
                answer = await (await session.get(f"/api/v1/{path}", params=query)).json()
                assert answer["version"] == 1
                levels = {"namespace", "workload", "pod", "address"}
                assert set(names(answer)) - documented - levels == set(), f"fields of {path} that docs/api.md lacks"
    finally:
        await http.stop()


def test_every_route_is_documented() -> None:
    source = (Path(__file__).parents[2] / "collector" / "api_routes.py").read_text()
    routes = set(re.findall(r'get\("(/api/[^"]+)"', source))
    assert len(routes) == 10
    assert {route for route in routes if f"`{route}" not in PAGE} == set()
