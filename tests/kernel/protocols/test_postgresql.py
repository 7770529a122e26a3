# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL over the real kernel: by statement and by SQLSTATE, the agent counts what clients did."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import psycopg
import pytest

from tests import databases
from tests.agents import Agent
from tests.databases import PASSWORD, USER
from tests.protocols_counted import REQUESTS, assert_counted, errors
from tests.recordings.parsers.capture_databases import (
    PIPELINE,
    PSYCOPG,
    pgbench,
    postgresql_connection,
    postgresql_pipeline,
    postgresql_statements,
)
from tests.requests_seen import lost, watching
from tests.servers import Server

# Each test has a server of its own on a port of its own, so that one agent can tell them apart.
PORTS = iter(range(22200, 22300))
# What pgbench's transaction does, and its script: five statements between BEGIN and END.
TRANSACTION = (
    "BEGIN",
    "UPDATE pgbench_accounts *",
    "SELECT pgbench_accounts *",
    "UPDATE pgbench_tellers *",
    "UPDATE pgbench_branches *",
    "INSERT pgbench_history *",
    "END",
)
Counts = dict[tuple[str, str], int]


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with watching("metrics.contents_per_workload=500", ring="32MiB") as running:
        yield running


@pytest.fixture
def server(agent: Agent) -> Iterator[Server]:
    with databases.postgresql(port=next(PORTS)) as started:
        yield started


def failed(expected: Counts) -> int:
    return sum(count for (_, state), count in expected.items() if state != "00000")


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench(agent: Agent, server: Server, mode: str) -> None:
    clients, transactions = 4, 150
    pgbench(server.port, "--initialize", "--init-steps=dtgp", "-s", "4")
    pgbench(server.port, "-c", str(clients), "-t", str(transactions), "-M", mode, "--no-vacuum")
    done = clients * transactions
    counted = {name: shown(agent, server, name, done) for name in TRANSACTION}
    # One BEGIN is of the making of the tables.
    assert counted == dict.fromkeys(TRANSACTION, done) | {"BEGIN": done + 1}
    prepared = [agent.total(REQUESTS, port=str(server.port), request_content=f"PREPARE {name}") for name in TRANSACTION]
    # BEGIN and END have no parameters, but are prepared as well.
    assert prepared == [clients if mode == "prepared" else 0] * len(TRANSACTION)
    assert errors(agent, server.port, "postgresql") == 0
    assert lost(agent) == {}


def shown(agent: Agent, server: Server, content: str, expected: int) -> int:
    here = {"port": str(server.port), "protocol": "postgresql", "request_content": content}
    agent.wait(lambda reader: reader.total(REQUESTS, **here) >= expected)
    return int(agent.total(REQUESTS, **here))


def test_extended_queries_prepared_statements_and_cursors(agent: Agent, server: Server) -> None:
    postgresql_statements(server.port)
    assert_counted(agent, server.port, "postgresql", PSYCOPG)
    assert errors(agent, server.port, "postgresql") == failed(PSYCOPG)


def test_errors_behind_rows_of_a_connection_that_goes_on(agent: Agent, server: Server) -> None:
    """Far beyond the few statements after which the driver puts a request and the beginning of its answer together."""
    with contextlib.closing(postgresql_connection(server.port, prepare_threshold=None)) as connection:
        for _ in range(150):
            connection.execute("DO 'BEGIN END'")
            with pytest.raises(psycopg.errors.DivisionByZero):
                # Rows of 40 bytes are sent before the one that cannot be.
                connection.execute("SELECT repeat('x', 40), 1 / (4 - id) FROM generate_series(1, 9) AS id")
    expected = {("DO *", "00000"): 150, ("SELECT generate_series *", "22012"): 150}
    assert_counted(agent, server.port, "postgresql", expected)
    assert errors(agent, server.port, "postgresql") == 150


def test_pipelines_with_and_without_an_error(agent: Agent, server: Server) -> None:
    for _ in range(10):
        postgresql_pipeline(server.port)
    expected = {said: 10 * count for said, count in PIPELINE.items()}
    assert_counted(agent, server.port, "postgresql", expected)
    assert errors(agent, server.port, "postgresql") == failed(expected)


def test_long_statements_values_and_results_are_counted(agent: Agent, server: Server) -> None:
    sizes = (10_000, 1_000_000, 10_000_000)
    with postgresql_connection(server.port, prepare_threshold=None) as connection:
        connection.execute("CREATE TABLE texts (a text)")
        for size in sizes:
            connection.execute("INSERT INTO texts VALUES (%s)", ("x" * size,))
            connection.execute(f"SELECT length('{'y' * size}')").fetchone()
        assert len(connection.execute("SELECT a FROM texts").fetchall()) == len(sizes)
    expected: Counts = {
        ("CREATE TABLE texts *", "00000"): 1,
        ("INSERT texts *", "00000"): 3,
        ("SELECT *", "00000"): 3,
        ("SELECT texts *", "00000"): 1,
    }
    assert_counted(agent, server.port, "postgresql", expected)
    sent = agent.total("kindling_entity_request_receive_bytes_total", port=str(server.port), protocol="postgresql")
    received = agent.total("kindling_entity_request_send_bytes_total", port=str(server.port), protocol="postgresql")
    # Besides the values: messages' headers, statements' texts, login, and tags of what was done.
    assert 0 < sent - 2 * sum(sizes) < 3000
    assert 0 < received - sum(sizes) < 3000


def test_notices_and_notifications_belong_to_nobody(agent: Agent, server: Server) -> None:
    with postgresql_connection(server.port) as listener, postgresql_connection(server.port) as speaker:
        listener.execute("LISTEN news")
        for number in range(50):
            speaker.execute(f"NOTIFY news, 'secret {number}'")
        assert len(list(listener.notifies(timeout=5, stop_after=50))) == 50
        listener.execute("SELECT 1")
    expected: Counts = {("LISTEN *", "00000"): 1, ("NOTIFY *", "00000"): 50, ("SELECT *", "00000"): 1}
    assert_counted(agent, server.port, "postgresql", expected)


def test_nothing_that_was_said_is_shown(agent: Agent, server: Server) -> None:
    secrets = ("s3cr3t", "hunter2", "4111111111111111")
    with postgresql_connection(server.port) as connection:
        connection.execute(f"SELECT '{secrets[0]}', $x${secrets[1]}$x$, {secrets[2]}")
        connection.execute(f"CREATE ROLE reader LOGIN PASSWORD '{secrets[1]}'")
        connection.execute(f"SET application_name = '{secrets[0]}'")
        with contextlib.suppress(psycopg.Error):
            connection.execute("SELECT 1 FROM nowhere WHERE a = %s", (secrets[2],))
    agent.counts(REQUESTS, 4, port=str(server.port), protocol="postgresql")
    page = agent.get("/metrics", api=False).decode()
    assert not [secret for secret in (*secrets, PASSWORD) if secret in page]
    assert not re.search(rf'port="{server.port}"[^}}]*"{USER}"', page)


def test_a_connection_older_than_the_agent_is_joined(agent: Agent, server: Server) -> None:
    with postgresql_connection(server.port, prepare_threshold=1) as connection:
        connection.execute("CREATE TABLE old (a int)")
        for _ in range(3):
            connection.execute("SELECT a FROM old WHERE a = %s", (1,))
        with watching() as late:
            for _ in range(20):
                connection.execute("SELECT a FROM old")
            for _ in range(20):  # prepared before anybody looked
                connection.execute("SELECT a FROM old WHERE a = %s", (1,))
            expected: Counts = {
                ("PREPARE SELECT old *", "00000"): 1,
                ("SELECT old *", "00000"): 20,
                ("*", "00000"): 20,
            }
            assert_counted(late, server.port, "postgresql", expected)
