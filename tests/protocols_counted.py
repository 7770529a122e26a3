# SPDX-License-Identifier: Apache-2.0
"""What a running agent counted of one server, by operation and by answer, for the tests of decoded protocols."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tests.agents import Agent

REQUESTS = "kindling_entity_request_total"
EDGES = "kindling_topology_request_total"


def by_content(agent: Agent, port: int, protocol: str) -> dict[tuple[str, str], int]:
    """Requests by (request_content, response_content), of the page that was read last."""
    found = Counter[tuple[str, str]]()
    for series in agent.find(REQUESTS, port=str(port), protocol=protocol):
        found[series.labels["request_content"], series.labels["response_content"]] += int(series.value)
    return {key: count for key, count in found.items() if count}


def errors(agent: Agent, port: int, protocol: str) -> int:
    """Those of them that count as errors, on the entity; the edge must say the same."""
    entity = int(agent.total(REQUESTS, port=str(port), protocol=protocol, is_error="true"))
    edge = int(agent.total(EDGES, dst_port=str(port), protocol=protocol, is_error="true"))
    assert entity == edge
    return entity


def assert_counted(agent: Agent, port: int, protocol: str, expected: Mapping[tuple[str, str], int]) -> None:
    """Waits for as many requests as are expected, and a turn longer, and compares."""
    total = sum(expected.values())
    agent.counts(REQUESTS, total, port=str(port), protocol=protocol)
    found = by_content(agent, port, protocol)
    both = {key: (found.get(key, 0), expected.get(key, 0)) for key in {*found, *expected}}
    differing = {key: counts for key, counts in both.items() if counts[0] != counts[1]}
    assert not differing, f"found, expected: {differing}"
    edges = agent.total(EDGES, dst_port=str(port), protocol=protocol)
    assert edges == total
