# SPDX-License-Identifier: Apache-2.0
"""MariaDB over the real kernel: by statement and by error, the agent counts what clients did and what the server says."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pymysql.constants import CLIENT

from tests import databases, mysql_commands
from tests.agents import Agent
from tests.databases import PASSWORD, USER
from tests.protocols_counted import REQUESTS, assert_counted, errors
from tests.recordings.parsers.capture_databases import (
    MYSQL_PREPARED,
    MYSQL_STATEMENTS,
    mysql_connection,
    mysql_prepared,
    mysql_statements,
)
from tests.requests_seen import lost, protocols, watching
from tests.servers import Server, program

# Each test has a server of its own on a port of its own, so that one agent can tell them apart.
PORTS = iter(range(22000, 22100))


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with watching("metrics.contents_per_workload=500", ring="32MiB") as running:
        yield running


@pytest.fixture
def server(agent: Agent) -> Iterator[Server]:
    with databases.mariadb(port=next(PORTS)) as started:
        yield started


def failed(expected: dict[tuple[str, str], int]) -> int:
    return sum(count for (_, code), count in expected.items() if code != "0")


def run_slap(server: Server, folder: Path, *options: str, create: str, queries: str) -> None:
    """mysqlslap, from files: its option for words on the command line keeps no semicolons in them."""
    for name, text in (("create.sql", create), ("queries.sql", queries)):
        (folder / name).write_text(text)
    command = [program("mariadb-slap"), "--no-defaults", "-h", server.address, "-P", str(server.port), "-u", USER]
    command += [f"--create={folder / 'create.sql'}", f"--query={folder / 'queries.sql'}", "--delimiter=;", *options]
    # Not on the command line, where every user of the machine could read it.
    environment = os.environ | {"MYSQL_PWD": PASSWORD}
    subprocess.run(command, check=True, capture_output=True, timeout=60, env=environment)


def status(server: Server) -> dict[str, int]:
    """What the server counted of its own; the question is in it."""
    with closing(mysql_connection(server.port)) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Com\\_%'")
        return {name: int(value) for name, value in cursor.fetchall()}


# Statements of an ordinary log of orders, and how each is shown.
QUERIES = "INSERT INTO orders VALUES (NULL, 'secret'); SELECT id, note FROM orders WHERE id < 20; UPDATE orders SET note = 'x' WHERE id = 1"
SHOWN = ("INSERT orders *", "SELECT orders *", "UPDATE orders *")


def test_mysqlslap(agent: Agent, server: Server, tmp_path: Path) -> None:
    clients, rounds = 8, 2400
    create = "CREATE TABLE orders (id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(100))"
    run_slap(
        server, tmp_path, f"--concurrency={clients}", f"--number-of-queries={rounds}", create=create, queries=QUERIES
    )
    counted = status(server)
    for name, shown in zip(("Com_insert", "Com_select", "Com_update"), SHOWN, strict=True):
        agent.counts(REQUESTS, rounds / 3, port=str(server.port), request_content=shown)
        assert total(agent, server, shown) == counted[name] == rounds / 3
    assert errors(agent, server.port, "mysql") == 0
    assert lost(agent) == {}


def total(agent: Agent, server: Server, content: str) -> float:
    return agent.total(REQUESTS, port=str(server.port), protocol="mysql", request_content=content)


def test_statements_results_and_errors(agent: Agent, server: Server) -> None:
    mysql_statements(server.port)
    assert_counted(agent, server.port, "mysql", MYSQL_STATEMENTS)
    assert errors(agent, server.port, "mysql") == failed(MYSQL_STATEMENTS)


def test_errors_behind_rows_of_a_connection_that_goes_on(agent: Agent, server: Server) -> None:
    """Far beyond the few statements after which the driver puts a request and the beginning of its answer together."""
    with closing(mysql_connection(server.port)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE few (id INT PRIMARY KEY)")
        cursor.execute("INSERT INTO few VALUES (1), (2), (3)")
        for _ in range(150):
            cursor.execute("UPDATE few SET id = 3 WHERE id = 3")
            with pytest.raises(pymysql.Error):
                cursor.execute("SELECT id, (SELECT 1 UNION SELECT o.id + 1) FROM few o ORDER BY NULL")
    expected = {
        ("SET *", "0"): 1, ("CREATE TABLE few *", "0"): 1, ("INSERT few *", "0"): 1,
        ("UPDATE few *", "0"): 150, ("SELECT few *", "1242"): 150,
    }  # fmt: skip
    assert_counted(agent, server.port, "mysql", expected)
    assert errors(agent, server.port, "mysql") == 150


def test_prepared_statements_and_other_commands(agent: Agent, server: Server) -> None:
    mysql_prepared(server.port)
    assert_counted(agent, server.port, "mysql", MYSQL_PREPARED)
    assert errors(agent, server.port, "mysql") == failed(MYSQL_PREPARED)


def test_many_prepared_statements_on_many_connections(agent: Agent, server: Server) -> None:
    expected = Counter[tuple[str, str]]()
    with closing(mysql_connection(server.port)) as connection:
        connection.cursor().execute("CREATE TABLE items (id INT PRIMARY KEY, name VARCHAR(20))")
    expected["SET *", "0"] += 1
    expected["CREATE TABLE items *", "0"] += 1
    for number in range(10):
        with closing(mysql_connection(server.port)) as connection:
            insert = mysql_commands.prepare(connection, "INSERT INTO items VALUES (?, ?)")
            select = mysql_commands.prepare(connection, "SELECT * FROM items WHERE id = ?")
            for i in range(50):
                mysql_commands.execute(connection, insert, (str(number * 100 + i), "name"))
                assert mysql_commands.execute(connection, select, (str(i),)) == 1
            with pytest.raises(pymysql.IntegrityError):
                mysql_commands.execute(connection, insert, (str(number * 100), "name"))
    expected["SET *", "0"] += 10
    expected["PREPARE INSERT items *", "0"] = expected["PREPARE SELECT items *", "0"] = 10
    expected["INSERT items *", "0"] = expected["SELECT items *", "0"] = 500
    expected["INSERT items *", "1062"] = 10
    assert_counted(agent, server.port, "mysql", expected)


def test_logins_count_if_they_fail(agent: Agent, server: Server) -> None:
    for password in ("wrong", "worse"):
        with pytest.raises(pymysql.OperationalError, match="1045"):
            mysql_connection(server.port, password=password)
    with closing(mysql_connection(server.port)) as connection:
        connection.ping()
    expected = {("LOGIN", "1045"): 2, ("SET *", "0"): 1, ("PING", "0"): 1}
    assert_counted(agent, server.port, "mysql", expected)


def test_long_statements_and_results_have_exact_bytes(agent: Agent, server: Server) -> None:
    """Of more than 16 MiB, too, which are several packets."""
    sizes = (10_000, 1_000_000, 20_000_000)
    sent = received = 0
    with closing(mysql_connection(server.port, autocommit=None)) as connection:
        cursor = connection.cursor()
        for size in sizes:
            statement = f"SELECT '{'x' * size}'"
            cursor.execute(statement)
            assert len(cursor.fetchone()[0]) == size
            sent += on_wire(len(statement) + 1)
            received += size
    assert_counted(agent, server.port, "mysql", {("SET *", "0"): 1, ("SELECT *", "0"): len(sizes)})
    here = {"port": str(server.port), "protocol": "mysql", "request_content": "SELECT *"}
    # COM_QUIT is nobody's request; its bytes are the last one's.
    assert agent.total("kindling_entity_request_receive_bytes_total", **here) == sent + on_wire(len("Q"))
    # Besides the rows, definitions with the same text for their names, which end at 64 characters, and headers.
    spent = agent.total("kindling_entity_request_send_bytes_total", **here) - received
    assert 0 < spent < 1000


def on_wire(length: int) -> int:
    return length + 4 * (length // 0xFFFFFF + 1)


def test_a_file_the_server_asks_for(agent: Agent, server: Server, tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    rows.write_text("".join(f"{i}\trow\n" for i in range(100_000)))
    with closing(mysql_connection(server.port, local_infile=True)) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE rows_ (id INT, name VARCHAR(20))")
        assert cursor.execute(f"LOAD DATA LOCAL INFILE '{rows}' INTO TABLE rows_") == 100_000
    expected = {("SET *", "0"): 1, ("CREATE TABLE rows_ *", "0"): 1, ("LOAD rows_ *", "0"): 1}
    assert_counted(agent, server.port, "mysql", expected)


def test_compressed_connections_are_told(agent: Agent, server: Server) -> None:
    command = [program("mariadb"), "--no-defaults", "-h", server.address, "-P", str(server.port), "-u", USER]
    subprocess.run(
        [*command, "--compress", "-e", "SELECT 1", "test"],
        check=True,
        capture_output=True,
        timeout=30,
        env=os.environ | {"MYSQL_PWD": PASSWORD},
    )
    agent.wait(lambda reader: "NOSUPPORT" in protocols(reader, server.port))
    assert protocols(agent, server.port) == {"NOSUPPORT"}
    assert agent.total(REQUESTS, port=str(server.port), request_content="mysql compressed") >= 1


def test_nothing_that_was_said_is_shown(agent: Agent, server: Server) -> None:
    secrets = ("s3cr3t", "hunter2", "4111111111111111")
    with closing(mysql_connection(server.port, client_flag=CLIENT.MULTI_STATEMENTS)) as connection:
        ask(connection, f"SELECT '{secrets[0]}', \"{secrets[1]}\", {secrets[2]}")
        ask(connection, f"CREATE USER '{secrets[0]}'@'%' IDENTIFIED BY '{secrets[1]}'")
        ask(connection, f"SET PASSWORD FOR '{secrets[0]}'@'%' = PASSWORD('{secrets[1]}')")
        ask(connection, f"SELECT {secrets[2]} FROM nowhere_{secrets[2]} WHERE a = '{secrets[0]}'")
    agent.counts(REQUESTS, 5, port=str(server.port), protocol="mysql")
    shown = agent.get("/metrics", api=False).decode()
    assert not [secret for secret in secrets if secret in shown]
    assert not re.search(rf'port="{server.port}"[^}}]*{USER}', shown)


def ask(connection: Any, statement: str) -> None:
    try:
        connection.cursor().execute(statement)
    except pymysql.Error:
        assert "nowhere" in statement


def test_a_connection_older_than_the_agent_is_joined(agent: Agent, server: Server) -> None:
    with closing(mysql_connection(server.port)) as connection:
        ask(connection, "CREATE TABLE old (a INT)")
        with watching() as late:
            for _ in range(20):
                ask(connection, "SELECT a FROM old")
            assert_counted(late, server.port, "mysql", {("SELECT old *", "0"): 20})
