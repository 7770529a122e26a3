# SPDX-License-Identifier: Apache-2.0
"""A real Kafka broker: by API, topic and error code, the agent counts what the clients asked and were answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.protocol.parser import KafkaProtocol

from tests.agents import Agent
from tests.kafka_broker import kafka
from tests.kafka_client import Client, consume, work
from tests.protocols_counted import REQUESTS, assert_counted, by_content, errors
from tests.requests_seen import lost, watching
from tests.servers import Server


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with watching("metrics.contents_per_workload=500", ring="32MiB") as running:
        yield running


@pytest.fixture(scope="module")
def broker(agent: Agent) -> Iterator[Server]:
    with kafka() as server:
        yield server


def now(agent: Agent, broker: Server) -> Counter[tuple[str, str]]:
    agent.settled(REQUESTS, port=str(broker.port), protocol="kafka")
    return Counter(by_content(agent, broker.port, "kafka"))


def test_every_version_of_what_a_broker_is_asked(agent: Agent, broker: Server) -> None:
    with Client(broker.port) as client, Client(broker.port, None) as other:
        work(client, "orders")
        other.metadata(12, "orders")
        consume(other, "shop", "orders")
    expected = client.said + other.said
    assert_counted(agent, broker.port, "kafka", expected)
    failed = sum(count for (_, code), count in expected.items() if code not in {"", "0"})
    assert errors(agent, broker.port, "kafka") == failed > 15
    here = {"port": str(broker.port), "protocol": "kafka"}
    assert agent.total("kindling_entity_request_receive_bytes_total", **here) == client.sent + other.sent
    assert agent.total("kindling_entity_request_send_bytes_total", **here) == client.received + other.received
    assert lost(agent) == {}


def test_hundreds_in_flight_and_long_records(agent: Agent, broker: Server) -> None:
    before = now(agent, broker)
    with Client(broker.port) as client:
        topic_id = client.create(7, "bulk").topics[0].topic_id
        for size in (10, 5_000, 300_000):
            client.produce(9, "bulk", b"x" * size)
            client.fetch(12, "bulk")
            client.fetch(16, "bulk", topic_id=topic_id)
        for _ in range(5):
            client.ask(*(client.producing(9, "bulk", b"%d" % n) for n in range(100)), topic="bulk")
    assert_counted(agent, broker.port, "kafka", before + client.said)
    assert lost(agent) == {}


def test_a_producer_and_a_group_of_consumers(agent: Agent, broker: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    before = now(agent, broker)
    asked = Counter[str]()
    send = KafkaProtocol.send_request

    def counting(self: Any, request: Any, *more: Any, **named: Any) -> Any:
        asked[type(request).__name__.removesuffix("Request")] += 1
        return send(self, request, *more, **named)

    monkeypatch.setattr(KafkaProtocol, "send_request", counting)
    where = {"bootstrap_servers": f"127.0.0.1:{broker.port}"}
    producer = KafkaProducer(**where, linger_ms=0)
    for number in range(200):
        future = producer.send("events", b"event %d" % number)
        if number % 10 == 0:
            future.get(20)
    producer.flush()
    producer.close()
    consumer = KafkaConsumer(
        "events", **where, group_id="readers", auto_offset_reset="earliest", consumer_timeout_ms=20_000
    )
    assert [next(consumer).value for _ in range(200)] == [b"event %d" % number for number in range(200)]
    consumer.commit()
    consumer.close()
    agent.counts(REQUESTS, before.total() + asked.total(), port=str(broker.port), protocol="kafka")
    found = Counter(by_content(agent, broker.port, "kafka")) - before
    by_api = Counter[str]()
    for (content, _), count in found.items():
        by_api[content.split()[0]] += count
    assert by_api == asked
    produced = {
        content: count for (content, code), count in found.items() if content.startswith("Produce ") and code == "0"
    }
    assert produced == {"Produce events": asked["Produce"]}
    assert {content for content, _ in found if content.startswith("Fetch")} == {"Fetch events"}


def test_a_connection_older_than_the_agent_is_joined(broker: Server) -> None:
    with Client(broker.port) as client:
        client.create(5, "late")
        with watching() as late:
            before = client.said.copy()
            for number in range(20):
                client.produce(9, "late", b"%d" % number)
            assert_counted(late, broker.port, "kafka", client.said - before)
