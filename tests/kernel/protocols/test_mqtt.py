# SPDX-License-Identifier: Apache-2.0
"""What paho does with mosquitto over the real kernel, counted by packet, topic and reason."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from tests import mqtt_client
from tests.agents import Agent
from tests.brokers import mosquitto
from tests.operations_seen import protocols, seen
from tests.requests_seen import watching


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with watching() as running:
        yield running


@pytest.mark.parametrize("version", [mqtt_client.V311, mqtt_client.V5])
def test_everything_a_client_does(agent: Agent, version: MQTTProtocolVersion) -> None:
    """Every quality of service, with short and long messages."""
    with mosquitto() as server:
        done = mqtt_client.work(server.port, version, rounds=20)
        done += mqtt_client.work(server.port, version, rounds=3, size=100_000)
        expected = {(content, answer, error): count for (content, answer, _, error), count in done.items()}
        assert seen(agent, server.port, "mqtt", done.total()) == expected
        assert protocols(agent, server.port) == {"mqtt"}


@pytest.mark.parametrize("version", [mqtt_client.V311, mqtt_client.V5])
def test_a_client_that_publishes_without_waiting(agent: Agent, version: MQTTProtocolVersion) -> None:
    """Many messages in each read and write, of both ends."""
    with mosquitto() as server:
        done = mqtt_client.burst(server.port, version, count=500)
        expected = {(content, answer, error): count for (content, answer, _, error), count in done.items()}
        assert seen(agent, server.port, "mqtt", done.total()) == expected


@pytest.mark.parametrize("version", [mqtt_client.V311, mqtt_client.V5])
def test_a_login_that_is_refused(agent: Agent, version: MQTTProtocolVersion) -> None:
    with mosquitto(password=("user", "right-word")) as server:
        ((content, answer, _, error),) = mqtt_client.denied(server.port, version)
        assert seen(agent, server.port, "mqtt", 1) == {(content, answer, error): 1}
