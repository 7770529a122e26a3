# SPDX-License-Identifier: Apache-2.0
"""What a running agent counted for one server, for the kernel tests: by status, on the entity and on the edge."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.agents import Agent, running_agent
from tests.raw_http import Figures, total

# What is counted where: the metrics of requests, request bytes and response bytes, and the labels of port and status.
_ENTITY = (
    "kindling_entity_request_total",
    "kindling_entity_request_receive_bytes_total",
    "kindling_entity_request_send_bytes_total",
    "port",
    "response_content",
)
_EDGE = (
    "kindling_topology_request_total",
    "kindling_topology_request_request_bytes_total",
    "kindling_topology_request_response_bytes_total",
    "dst_port",
    "status_code",
)
LOST_STAGES = ("ring", "table", "parse")


@contextmanager
def watching(*settings: str, ring: str = "8MiB") -> Iterator[Agent]:
    """An agent with a driver. Skips where this kernel takes none."""
    with (
        tempfile.TemporaryDirectory(prefix="firesteel-agent-") as folder,
        running_agent(Path(folder), settings, ring=ring) as agent,
    ):
        driver = agent.status()["driver"]
        if driver["name"] == "none":
            pytest.skip(f"this kernel takes no programs: {driver['why']}")
        yield agent


def _seen(agent: Agent, where: tuple[str, str, str, str, str], port: int, protocol: str) -> dict[str, Figures]:
    requests, request_bytes, response_bytes, port_label, status_label = where
    found: defaultdict[str, Figures] = defaultdict(Figures)
    labels = {port_label: str(port), "protocol": protocol}
    for series in agent.find(requests, **labels):
        found[series.labels[status_label]] += Figures(requests=int(series.value))
    for series in agent.find(request_bytes, **labels):
        found[series.labels[status_label]] += Figures(request_bytes=int(series.value))
    for series in agent.find(response_bytes, **labels):
        found[series.labels[status_label]] += Figures(response_bytes=int(series.value))
    return dict(found)


def entity(agent: Agent, port: int, protocol: str = "http") -> dict[str, Figures]:
    """By response content, of the page that was read last."""
    return _seen(agent, _ENTITY, port, protocol)


def edge(agent: Agent, port: int, protocol: str = "http") -> dict[str, Figures]:
    """By status code, of the page that was read last."""
    return _seen(agent, _EDGE, port, protocol)


def protocols(agent: Agent, port: int) -> set[str]:
    return {series.labels["protocol"] for series in agent.find(_ENTITY[0], port=str(port)) if series.value}


def wait_for(agent: Agent, port: int, requests: int, protocol: str = "http", seconds: float = 15.0) -> None:
    """Reads the page until entity and edge have so many requests, and once more later: nothing may come on top.

    A row's requests and bytes are shown together, so they need no wait of their own.
    """

    def counted(reader: Agent) -> bool:
        totals = [total(seen(reader, port, protocol)).requests for seen in (entity, edge)]
        return totals == [requests, requests]

    agent.wait(counted, seconds)
    time.sleep(1.3)
    agent.page()


def lost(agent: Agent) -> dict[tuple[str, str], float]:
    """Losses between kernel and table. (What other connections of this machine cannot be paired is not ours.)"""
    return {
        (series.labels["stage"], series.labels["type"]): series.value
        for series in agent.find("firesteel_lost_total")
        if series.labels["stage"] in LOST_STAGES and series.value
    }


def counts(figures: dict[str, Figures]) -> dict[str, int]:
    return {status: figure.requests for status, figure in figures.items()}
