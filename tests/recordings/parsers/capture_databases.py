# SPDX-License-Identifier: Apache-2.0
"""Makes the recordings of databases anew, as capture.py does for the rest."""

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymysql
from pymysql.constants import CLIENT

from tests import databases, mysql_commands, servers
from tests.databases import PASSWORD, USER
from tests.recordings.parsers.capture import FOLDER, Relay, run, version, write

LOCAL = "127.0.0.1"
Counts = dict[tuple[str, str], int]
"""Requests that the client made, by request_content and response_content."""


def keep(name: str, protocol: str, programs: str, command: str, relay: Relay, expected: list[list[object]]) -> None:
    """Writes a recording with what must be counted of it."""
    write(name, protocol, programs, command, relay)
    path = FOLDER / f"{name}.json"
    content = json.loads(path.read_text())
    content["expected"] = expected
    path.write_text(json.dumps(content, indent=1) + "\n")


def of_mysql(counts: Counts) -> list[list[object]]:
    return [
        ["mysql", request, code, int(code), code != "0", count] for (request, code), count in sorted(counts.items())
    ]


MYSQL_STATEMENTS: Counts = {
    ("SET *", "0"): 1,  # autocommit
    ("CREATE TABLE orders *", "0"): 1,
    ("INSERT orders *", "0"): 2,
    ("INSERT orders *", "1062"): 1,
    ("SELECT orders *", "0"): 3,
    ("SELECT orders *", "1242"): 1,
    ("UPDATE orders *", "0"): 1,
    ("DELETE orders *", "0"): 1,
    ("SELECT nowhere *", "1146"): 1,
    ("*", "1064"): 1,
    ("SELECT *", "0"): 1,
    ("SELECT *", "1146"): 1,
    ("LOAD orders *", "0"): 1,
    ("PING", "0"): 1,
    ("USE *", "0"): 1,
    ("BEGIN", "0"): 1,
    ("COMMIT", "0"): 1,
}
MYSQL_PREPARED: Counts = {
    ("SET *", "0"): 1,  # autocommit
    ("CREATE TABLE items *", "0"): 1,
    ("PREPARE INSERT items *", "0"): 1,
    ("PREPARE SELECT items *", "0"): 1,
    ("PREPARE DELETE items *", "0"): 1,
    ("PREPARE SELECT nowhere *", "1146"): 1,
    ("INSERT items *", "0"): 5,
    ("INSERT items *", "1062"): 1,
    ("SELECT items *", "0"): 6,
    ("FETCH SELECT items *", "0"): 2,
    ("RESET SELECT items *", "0"): 1,
    ("DELETE items *", "0"): 1,
    ("*", "1243"): 1,  # a statement that was closed
    ("STATISTICS", "0"): 1,
    ("FIELD_LIST *", "0"): 1,
    ("SET_OPTION", "0"): 1,
    ("RESET_CONNECTION", "0"): 1,
}
MYSQL_CLIENT: Counts = {
    ("SELECT orders *", "0"): 1,
    ("SELECT *", "1054"): 1,
    ("UPDATE orders *", "0"): 1,
    ("SHOW *", "0"): 1,
}
MYSQL_DENIED: Counts = {("LOGIN", "1045"): 1}


def mysql_connection(port: int, **options: Any) -> Any:
    settings = {"host": LOCAL, "user": USER, "password": PASSWORD, "database": "test", "autocommit": True, **options}
    return pymysql.connect(port=port, **settings)


def mysql_statements(port: int) -> None:
    connection = mysql_connection(port, client_flag=CLIENT.MULTI_STATEMENTS, local_infile=True)
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE orders (id INT PRIMARY KEY, note VARCHAR(100))")
    cursor.executemany("INSERT INTO orders VALUES (%s, %s)", [(i, f"note {i}") for i in range(50)])
    cursor.execute("INSERT INTO orders VALUES (100, 'secret word')")
    for _ in range(3):
        cursor.execute("SELECT id, note FROM orders WHERE note <> 'secret word' ORDER BY id")
        cursor.fetchall()
    cursor.execute("UPDATE orders SET note = 'x' WHERE id = 100")
    cursor.execute("DELETE FROM orders WHERE id = 100")
    for wrong in ("SELECT * FROM nowhere", "INSERT INTO orders VALUES (1, 'again')", "SELEC 1"):
        with contextlib.suppress(pymysql.Error):
            cursor.execute(wrong)
    cursor.execute("SELECT 1; UPDATE orders SET note = 'y' WHERE id = 3; SELECT note FROM orders; DO 1")
    while cursor.nextset():
        pass
    with contextlib.suppress(pymysql.Error):
        cursor.execute("SELECT 1; SELECT * FROM nowhere")
        while cursor.nextset():
            pass
    # An error behind rows.
    with contextlib.suppress(pymysql.Error):
        cursor.execute("SELECT id, (SELECT 1 UNION SELECT o.id + 1) FROM orders o WHERE id < 3 ORDER BY NULL")
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as rows:
        rows.writelines(f"{i}\tfrom a file\n" for i in range(200, 260))
        rows.flush()
        cursor.execute(f"LOAD DATA LOCAL INFILE '{rows.name}' INTO TABLE orders")
    connection.ping()
    connection.select_db("test")
    connection.begin()
    connection.commit()
    connection.close()


def mysql_prepared(port: int) -> None:
    connection = mysql_connection(port)
    connection.cursor().execute("CREATE OR REPLACE TABLE items (id INT PRIMARY KEY, name VARCHAR(20))")
    insert = mysql_commands.prepare(connection, "INSERT INTO items VALUES (?, ?)")
    select = mysql_commands.prepare(connection, "SELECT name, id FROM items WHERE id > ?")
    delete = mysql_commands.prepare(connection, "DELETE FROM items")
    for i in range(1, 6):
        mysql_commands.execute(connection, insert, (str(i), f"name {i}"))
        assert mysql_commands.execute(connection, select, ("0",)) == i
    with contextlib.suppress(pymysql.Error):
        mysql_commands.execute(connection, insert, ("1", "again"))
    with contextlib.suppress(pymysql.Error):
        mysql_commands.prepare(connection, "SELECT * FROM nowhere")
    mysql_commands.execute(connection, select, ("1",), cursor=True)
    mysql_commands.fetch(connection, select, 2)
    mysql_commands.fetch(connection, select, 9)
    mysql_commands.reset(connection, select)
    mysql_commands.close(connection, insert)
    mysql_commands.execute(connection, delete)
    with contextlib.suppress(pymysql.Error):
        mysql_commands.execute(connection, insert, ("1", "closed"))
    mysql_commands.command(connection, mysql_commands.STATISTICS)
    mysql_commands.fields(connection, "items")
    mysql_commands.command(connection, mysql_commands.SET_OPTION, b"\0\0")
    mysql_commands.command(connection, mysql_commands.RESET_CONNECTION)
    connection.close()


def _mysql_client(port: int, *options: str, text: str = "SELECT 1") -> str:
    command = ["mysql", "--no-defaults", "-h", LOCAL, "-P", str(port), "-u", USER, f"-p{PASSWORD}", *options, "test"]
    return run(*command, text=text)


def mysql() -> None:
    with databases.mariadb() as server:
        speaker = f"PyMySQL {pymysql.__version__}; {version('mariadbd', '--version')}"
        relay = Relay(server.port)
        mysql_statements(relay.port)
        keep(
            "mysql-pymysql",
            "mysql",
            speaker,
            "mysql_statements of capture_databases.py",
            relay,
            of_mysql(MYSQL_STATEMENTS),
        )

        relay = Relay(server.port)
        mysql_prepared(relay.port)
        keep(
            "mysql-prepared",
            "mysql",
            speaker,
            "mysql_prepared of capture_databases.py",
            relay,
            of_mysql(MYSQL_PREPARED),
        )

        relay = Relay(server.port)
        with contextlib.suppress(pymysql.Error):
            mysql_connection(relay.port, password="wrong")
        keep("mysql-denied", "mysql", speaker, "a wrong password", relay, of_mysql(MYSQL_DENIED))

        client = f"{version('mysql', '--version')}; {version('mariadbd', '--version')}"
        relay = Relay(server.port)
        text = "SELECT note FROM orders WHERE id = 1;\nSELECT nothing;\nUPDATE orders SET note = 'z';\nSHOW TABLES;\n"
        said = _mysql_client(relay.port, "-f", text=text)
        keep("mysql-client", "mysql", client, said, relay, of_mysql(MYSQL_CLIENT))

        relay = Relay(server.port)
        said = _mysql_client(relay.port, "--compress", "-f", text=text)
        keep("mysql-compressed", "mysql", client, said, relay, [["NOSUPPORT", "mysql compressed", "", 0, False, 4]])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        cert, key = servers.certificate(folder)
        key.chmod(0o644)
        with databases.mariadb(options=[f"--ssl-cert={cert}", f"--ssl-key={key}"]) as server:
            relay = Relay(server.port)
            said = _mysql_client(relay.port, "--ssl")
            write("mysql-tls", "mysql", client, said, relay)


RECIPES: dict[str, Callable[[], None]] = {recipe.__name__: recipe for recipe in (mysql,)}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or RECIPES:
        RECIPES[chosen]()
