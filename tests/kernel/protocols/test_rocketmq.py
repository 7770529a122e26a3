# SPDX-License-Identifier: Apache-2.0
"""RocketMQ's own name server, broker and client: by topic, code and answer, the agent counts what the client's log says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.agents import Agent
from tests.protocols_counted import EDGES, REQUESTS, by_content, errors
from tests.requests_seen import lost, watching
from tests.rocketmq_servers import BINARY, Cluster, Said, client, rocketmq

# What a broker, which is a client of the name server too, asks of it.
BROKERS_OWN = {
    *("REGISTER_BROKER", "UNREGISTER_BROKER", "QUERY_DATA_VERSION", "BROKER_HEARTBEAT"),
    *("GET_BROKER_MEMBER_GROUP", "GET_BROKER_CLUSTER_INFO"),
}


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with watching("metrics.contents_per_workload=500", ring="32MiB") as running:
        yield running


@pytest.fixture(scope="module")
def cluster(agent: Agent) -> Iterator[Cluster]:
    with rocketmq() as servers:
        yield servers


def content(said: Said) -> str:
    """What names no topic as brokers have them is a star."""
    return "Topic:*" if "/" in said.content else said.content


def expected(said: Counter[Said], port: int) -> Counter[tuple[str, str]]:
    answers = {"none": "", "lost": "no response"}
    counts = Counter[tuple[str, str]]()
    for one, count in said.items():
        if one.port == port:
            counts[content(one), answers.get(one.answer, one.answer)] += count
    return counts


def failures(said: Counter[Said], port: int) -> int:
    return sum(count for one, count in said.items() if one.port == port and one.answer not in {"0", "none"})


@pytest.mark.parametrize("options", [[], [BINARY]], ids=["json", "binary"])
def test_a_producer_a_consumer_and_what_is_refused(agent: Agent, cluster: Cluster, options: list[str]) -> None:
    broker, names = cluster.broker.port, cluster.name_server.port
    before = Counter(by_content(agent, broker, "rocketmq")), Counter(by_content(agent, names, "rocketmq"))
    failed = errors(agent, broker, "rocketmq")
    said = client(cluster, "work", "ask", options=options)

    asked = expected(said, broker)
    assert asked["Topic:orders", "0"] > 30 * 12
    assert asked["Topic:no-such", "17"] == 30 * 4
    assert asked["NOTIFY_CONSUMER_IDS_CHANGED", ""] >= 1  # the broker's, as is one of the next
    assert asked["GET_CONSUMER_RUNNING_INFO", "0"] == 2
    agent.counts(REQUESTS, before[0].total() + asked.total(), port=str(broker), protocol="rocketmq")
    assert Counter(by_content(agent, broker, "rocketmq")) - before[0] == asked
    assert agent.total(EDGES, dst_port=str(broker), protocol="rocketmq") == before[0].total() + asked.total()
    assert errors(agent, broker, "rocketmq") - failed == failures(said, broker) > 100

    found = Counter(by_content(agent, names, "rocketmq")) - before[1]
    clients = {key: count for key, count in found.items() if key[0] not in BROKERS_OWN}
    assert clients == expected(said, names)
    assert clients["Topic:nowhere", "17"] >= 1
    assert lost(agent) == {}
