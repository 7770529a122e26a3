# SPDX-License-Identifier: Apache-2.0
"""Dubbo's own provider and client: by service, method and outcome, the agent counts what the client did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.agents import Agent
from tests.dubbo_servers import Called, Provider, ask_wrongly, client, connect, dubbo
from tests.protocols_counted import EDGES, REQUESTS, by_content, errors
from tests.requests_seen import lost, protocols, watching

ANSWERS = {"value": "20", "exception": "exception", "failed": "40", "none": ""}
ROUNDS = 20


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with watching("metrics.contents_per_workload=500", ring="32MiB") as running:
        yield running


@pytest.fixture(scope="module")
def provider(agent: Agent) -> Iterator[Provider]:
    with dubbo() as server:
        yield server


@pytest.mark.parametrize("serialization", ["hessian2", "fastjson2"])
def test_values_exceptions_failures_and_no_answer(agent: Agent, provider: Provider, serialization: str) -> None:
    before = Counter(by_content(agent, provider.port, "dubbo"))
    failed = errors(agent, provider.port, "dubbo")
    called = client(provider, serialization=serialization, rounds=ROUNDS, heartbeat_ms=300)
    assert called == {
        Called("shop.Cart#add", "value"): ROUNDS + 1,
        Called("shop.Cart#add", "exception"): ROUNDS,
        Called("shop.Cart#add", "failed"): 1,
        Called("shop.Cart#addLater", "value"): 12 * ROUNDS,
        Called("shop.Cart#note", "none"): ROUNDS,
        Called("shop.Cart#remove", "exception"): ROUNDS,
        Called("shop.Cart#$echo", "value"): 1,
        Called("shop.Cart#$invoke", "value"): 1,
        Called("shop.Cart#$invoke", "exception"): 1,
    }
    asked = Counter({(one.content, ANSWERS[one.outcome]): count for one, count in called.items()})
    total = before.total() + asked.total()
    agent.counts(REQUESTS, total, port=str(provider.port), protocol="dubbo")
    assert Counter(by_content(agent, provider.port, "dubbo")) - before == asked
    assert agent.total(EDGES, dst_port=str(provider.port), protocol="dubbo") == total
    assert errors(agent, provider.port, "dubbo") - failed == 2 * ROUNDS + 2
    assert lost(agent) == {}


def test_arguments_that_nobody_can_read(agent: Agent, provider: Provider) -> None:
    before = Counter(by_content(agent, provider.port, "dubbo"))
    with connect(provider.port) as connection:
        status = ask_wrongly(connection, 7)
    agent.counts(REQUESTS, before.total() + 7, port=str(provider.port), protocol="dubbo")
    assert Counter(by_content(agent, provider.port, "dubbo")) - before == {("shop.Cart#add", str(status)): 7}
    assert status != 20
    assert protocols(agent, provider.port) == {"dubbo"}


def test_a_connection_older_than_the_agent_is_joined(provider: Provider) -> None:
    with connect(provider.port) as connection:
        ask_wrongly(connection, 2)
        with watching() as late:
            status = ask_wrongly(connection, 3)
            late.counts(REQUESTS, 3, port=str(provider.port), protocol="dubbo")
            assert by_content(late, provider.port, "dubbo") == {("shop.Cart#add", str(status)): 3}
