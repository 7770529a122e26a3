# SPDX-License-Identifier: Apache-2.0
"""What pika does with RabbitMQ over the real kernel, counted by method, place and reply code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import amqp_client
from tests.agents import Agent
from tests.brokers import rabbitmq
from tests.operations_seen import protocols, seen
from tests.requests_seen import watching


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with watching() as running:
        yield running


@pytest.mark.timeout(200)
def test_everything_a_client_does(agent: Agent) -> None:
    """Long bodies among them: what is not captured of a frame is stepped over."""
    with rabbitmq() as server:
        done = amqp_client.work(server.port, rounds=50, size=3000, one_by_one=True)
        done += amqp_client.work(server.port, size=200_000, one_by_one=True)
        done += amqp_client.fail(server.port)
        for _ in range(3):
            done += amqp_client.denied(server.port)
        expected = {(content, answer, error): count for (content, answer, _, error), count in done.items()}
        assert seen(agent, server.port, "amqp", done.total()) == expected
        assert protocols(agent, server.port) == {"amqp"}


@pytest.mark.timeout(200)
def test_a_client_that_publishes_without_waiting(agent: Agent) -> None:
    """Many methods in each read and write, of both ends: ten deliveries at once, and publishing with no word in between.

    Of the first batch, 50 kB in a few writes with the first question behind it, only the beginning is captured; from then on
    as much as there is.
    """
    with rabbitmq() as server:
        done = amqp_client.work(server.port, rounds=50)
        expected = {(content, answer, error): count for (content, answer, _, error), count in done.items()}
        found = seen(agent, server.port, "amqp", done.total())
        assert protocols(agent, server.port) == {"amqp"}
    batch = [(f"basic.{what}", "", False) for what in ("publish shop.orders", "publish orders", "get orders")]
    for asked in batch:
        assert 1 <= found.pop(asked) <= expected[asked]
        del expected[asked]
    assert found == expected
