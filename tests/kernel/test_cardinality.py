# SPDX-License-Identifier: Apache-2.0
"""A cardinality bomb through all of the agent: thousands of different paths over a real socket, exact counts and bounded pages."""

import itertools
import json
import socket
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agents import Agent, running_agent
from tests.processes import engine_of
from tests.raw_http import RawConnection, head
from tests.receivers import http_receiver, until
from tests.servers import Server, nginx

ENTITY, EDGE = "kindling_entity_request_total", "kindling_topology_request_total"
PATHS, TWICE = 20_000, 500
CONTENTS, ROWS = 20, 100
AT_ONCE = 20
MOST_GROWTH_MIB = 64.0


def words() -> Iterator[str]:
    """Of letters alone, so that each is a path of its own under every way of clustering but blank."""
    return map("".join, itertools.product(string.ascii_lowercase, repeat=4))


def ask(server: Server, paths: list[str]) -> None:
    """AT_ONCE are sent before their answers are read."""
    link = RawConnection(socket.create_connection((server.address, server.port), timeout=20))
    for begin in range(0, len(paths), AT_ONCE):
        some = paths[begin : begin + AT_ONCE]
        link.send(b"".join(head("GET", f"/{path}/{path[::-1]}") for path in some))
        assert [link.answer().status for _ in some] == [404] * len(some)
    link.close()


def newest(points: list[tuple[dict[str, Any], Any]], port: int) -> tuple[int, int]:
    """Requests and points of the newest push."""
    found = {json.dumps(named, sort_keys=True): point.count for named, point in points if named["server.port"] == port}
    return sum(found.values()), len(found)


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / (1 << 20)


def use(agent: Agent) -> float:
    return resident_mib(agent.process.pid) + resident_mib(engine_of(agent))


@pytest.mark.timeout(180)
def test_paths_that_are_all_different_cost_neither_counts_nor_memory(tmp_path: Path) -> None:
    made = list(itertools.islice(words(), PATHS))
    with nginx() as server, http_receiver() as told:
        settings = (
            f"metrics.contents_per_workload={CONTENTS}", f"metrics.rows.entity={ROWS}", f"metrics.rows.topology={ROWS}",
            f"metrics.rows.trace={ROWS}", f"export.otlp.endpoint=http://127.0.0.1:{told.port}", "export.otlp.protocol=http",
            "export.otlp.interval=1s",
        )  # fmt: skip
        with running_agent(tmp_path, settings) as agent:
            port = str(server.port)
            ask(server, made[:TWICE])
            assert agent.counts(ENTITY, TWICE, port=port) == TWICE
            before = use(agent)
            ask(server, made[TWICE:])
            # What was told of before stays one.
            ask(server, made[:TWICE])
            asked = PATHS + TWICE
            assert agent.counts(ENTITY, asked, port=port) == asked
            assert agent.total(EDGE, dst_port=port) == asked
            assert {row.labels["is_error"] for row in agent.find(ENTITY, port=port)} == {"true"}
            contents = {row.labels["request_content"] for row in agent.find(ENTITY, port=port)}
            assert len(contents) <= CONTENTS + 1
            assert "other" in contents
            for name in (ENTITY, EDGE):
                rows = [frozenset(row.labels.items()) for row in agent.find(name)]
                assert len(rows) == len(set(rows))
                assert len(rows) <= ROWS + 4, "and one for each outcome of those beyond"
            assert len(agent.find("kindling_trace_request_duration_nanoseconds")) <= ROWS
            for name in ("http.server.request.duration", "http.client.request.duration"):
                until(lambda name=name: newest(told.points(name), server.port)[0] >= asked, 30)  # type: ignore[misc]
                count, points = newest(told.points(name), server.port)
                assert count == asked
                assert points <= ROWS + 1
            assert use(agent) - before < MOST_GROWTH_MIB
            agent.page()
            assert agent.total("firesteel_lost_total", stage="ring") == 0
            assert agent.total("firesteel_lost_total", stage="parse") == 0
