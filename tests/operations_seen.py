# SPDX-License-Identifier: Apache-2.0
"""What a running agent counted for one server by operation and outcome, for the tests of real servers."""

from __future__ import annotations

import time
from collections import Counter

from tests.agents import Agent

REQUESTS = "kindling_entity_request_total"
EDGES = "kindling_topology_request_total"
# Request content, response content, whether it is an error.
Operation = tuple[str, str, bool]


def operations(agent: Agent, port: int, protocol: str) -> Counter[Operation]:
    """Of the page that was read last, what the server's entity was asked."""
    found: Counter[Operation] = Counter()
    for series in agent.find(REQUESTS, port=str(port), protocol=protocol):
        labels = series.labels
        found[labels["request_content"], labels["response_content"], labels["is_error"] == "true"] += int(series.value)
    return +found


def protocols(agent: Agent, port: int) -> set[str]:
    """All that was said on that port, decoded or not."""
    return {series.labels["protocol"] for series in agent.find(REQUESTS, port=str(port)) if series.value}


def seen(agent: Agent, port: int, protocol: str, requests: int, seconds: float = 15.0) -> Counter[Operation]:
    """The operations once there are so many, on entity and edge alike, and a turn of the agent later."""

    def counted(reader: Agent) -> bool:
        edge = reader.total(EDGES, dst_port=str(port), protocol=protocol)
        return edge == operations(reader, port, protocol).total() == requests

    agent.wait(counted, seconds)
    time.sleep(1.3)
    agent.page()
    found = operations(agent, port, protocol)
    assert agent.total(EDGES, dst_port=str(port), protocol=protocol) == found.total()
    return found
