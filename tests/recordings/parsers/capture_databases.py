# SPDX-License-Identifier: Apache-2.0
"""Makes the recordings of databases anew, as capture.py does for the rest."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Any

import psycopg
import pymongo
import pymongo.errors
import pymysql
from pymysql.constants import CLIENT

from tests import databases, mongodb_server, mysql_commands, servers
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
        speaker = f"PyMySQL {distribution_version('PyMySQL')}; {version('mariadbd', '--version')}"
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


def of_postgresql(counts: Counts) -> list[list[object]]:
    return [
        ["postgresql", request, state, int(state != "00000"), state != "00000", count]
        for (request, state), count in sorted(counts.items())
    ]


PSQL_TEXT = """CREATE TABLE orders (id int PRIMARY KEY, note text);
INSERT INTO orders SELECT i, 'secret ' || i FROM generate_series(1, 50) i;
SELECT id, note FROM orders WHERE note <> 'secret word' ORDER BY id;
SELECT * FROM nowhere;
INSERT INTO orders VALUES (1, 'again');
SELECT 1 \\; SELECT count(*) FROM orders \\; UPDATE orders SET note = 'x' WHERE id = 3;
SELEC 1;
SELECT 1 / (30 - id) FROM orders ORDER BY id;
DO $$BEGIN RAISE NOTICE 'a secret'; END$$;
COPY orders FROM STDIN;
100\tone
101\ttwo
\\.
COPY orders FROM STDIN;
not a number\tone
\\.
COPY orders TO STDOUT;
;
BEGIN;
DELETE FROM orders WHERE id > 90;
ROLLBACK;
LISTEN news;
NOTIFY news, 'secret';
"""
PSQL: Counts = {
    ("CREATE TABLE orders *", "00000"): 1,
    ("INSERT orders *", "00000"): 1,
    ("SELECT orders *", "00000"): 1,
    ("SELECT nowhere *", "42P01"): 1,
    ("INSERT orders *", "23505"): 1,
    ("SELECT *", "00000"): 1,
    ("*", "42601"): 1,
    ("*", "00000"): 1,  # an empty one
    ("SELECT orders *", "22012"): 1,
    ("DO *", "00000"): 1,
    ("COPY orders *", "00000"): 2,
    ("COPY orders *", "22P02"): 1,
    ("BEGIN", "00000"): 1,
    ("DELETE orders *", "00000"): 1,
    ("ROLLBACK", "00000"): 1,
    ("LISTEN *", "00000"): 1,
    ("NOTIFY *", "00000"): 1,
}
PSYCOPG: Counts = {
    ("CREATE TABLE items *", "00000"): 1,
    ("INSERT items *", "00000"): 8,
    ("PREPARE INSERT items *", "00000"): 1,
    ("SELECT items *", "00000"): 4,
    ("SELECT items *", "22012"): 1,
    ("PREPARE SELECT nowhere *", "42P01"): 1,
    ("SELECT nowhere *", "42P01"): 1,
    ("BEGIN", "00000"): 1,
    ("DECLARE items *", "00000"): 1,
    ("DESCRIBE *", "00000"): 1,  # of the portal that DECLARE made
    ("FETCH *", "00000"): 3,
    ("CLOSE *", "00000"): 1,
    ("COMMIT", "00000"): 1,
    ("COPY items *", "00000"): 1,
}
PIPELINE: Counts = {
    ("SELECT *", "00000"): 12,
    ("SELECT nowhere *", "42P01"): 1,
    ("SELECT *", "aborted"): 3,
}


def environment() -> dict[str, str]:
    return os.environ | {"PGPASSWORD": PASSWORD, "PGUSER": USER, "PGHOST": LOCAL, "PGDATABASE": "postgres"}


def postgresql_connection(port: int, **options: Any) -> Any:
    given = {"host": LOCAL, "user": USER, "password": PASSWORD, "dbname": "postgres", "sslmode": "disable", **options}
    given = {"gssencmode": "disable", "autocommit": True, **given}
    return psycopg.connect(port=port, **given)


def psql(port: int, *options: str, text: str, sslmode: str = "disable") -> str:
    command = ["psql", "--no-psqlrc", "--quiet", "-p", str(port), *options]
    values = environment() | {"PGSSLMODE": sslmode, "PGGSSENCMODE": "disable"}
    subprocess.run(command, input=text, text=True, capture_output=True, timeout=60, check=False, env=values)
    return f"PGSSLMODE={sslmode} {' '.join(command)}"


def postgresql_statements(port: int) -> None:
    with postgresql_connection(port, prepare_threshold=3) as connection:
        connection.execute("CREATE TABLE items (id int PRIMARY KEY, name text)")
        for i in range(8):  # from the fourth on with a prepared statement
            connection.execute("INSERT INTO items VALUES (%s, %s)", (i, "secret"))
        for i in range(3):
            connection.execute("SELECT name FROM items WHERE id < %s", (i,), prepare=False).fetchall()
        with contextlib.suppress(psycopg.Error):
            connection.execute("SELECT %s / id FROM items", (1,), prepare=False)
        with contextlib.suppress(psycopg.Error):
            connection.execute("SELECT * FROM nowhere WHERE a = %s", (1,), prepare=True)
        with contextlib.suppress(psycopg.Error):
            connection.execute("SELECT * FROM nowhere WHERE a = %s", (1,), prepare=False)
        with connection.transaction(), connection.cursor("secret_name") as cursor:
            cursor.itersize = 3
            assert len(list(cursor.execute("SELECT * FROM items"))) == 8
        with connection.cursor().copy("COPY items FROM STDIN") as copy:
            for i in range(100, 200):
                copy.write_row((i, "a row"))
        connection.execute("SELECT id FROM items", binary=True).fetchall()


def postgresql_pipeline(port: int) -> None:
    """Ten statements in flight; then five with an error in the second, behind which the server skips up to the Sync."""
    with postgresql_connection(port, prepare_threshold=None) as connection:
        with connection.pipeline():
            for i in range(10):
                connection.execute("SELECT %s::int", (i,))
        wire = connection.pgconn
        wire.enter_pipeline_mode()
        wire.send_query_params(b"SELECT $1::int", [b"1"])
        wire.pipeline_sync()
        wire.send_query_params(b"SELECT $1 FROM nowhere", [b"1"])
        for _ in range(3):
            wire.send_query_params(b"SELECT $1::int", [b"1"])
        wire.pipeline_sync()
        syncs = 0
        while syncs < 2:
            result = wire.get_result()
            syncs += result is not None and result.status == psycopg.pq.ExecStatus.PIPELINE_SYNC
        wire.exit_pipeline_mode()
        connection.execute("SELECT %s::int", (1,))


def pgbench(port: int, *options: str) -> str:
    command = ["pgbench", "-p", str(port), "--no-vacuum", *options]
    values = environment() | {"PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}
    subprocess.run(command, capture_output=True, timeout=60, check=True, env=values)
    return " ".join(command)


def keep_last(relay: Relay) -> None:
    """pgbench asks about its tables on a connection of its own; this keeps the one behind it."""
    time.sleep(0.3)
    starts = [i for i, (side, data) in enumerate(relay.chunks) if side == "client" and data.startswith("000000")]
    del relay.chunks[: starts[-1]]


def postgresql() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        cert, key = servers.certificate(folder)
        with databases.postgresql(certificate=(cert, key)) as server:
            _record_postgresql(server.port)


def _record_postgresql(port: int) -> None:
    server = version(databases.postgresql_program("postgres"), "--version")
    speaker = f"psycopg {psycopg.__version__}; {server}"
    relay = Relay(port)
    said = psql(relay.port, text=PSQL_TEXT)
    keep(
        "postgresql-psql",
        "postgresql",
        f"{version('psql', '--version')}; {server}",
        f"{said}: PSQL_TEXT",
        relay,
        of_postgresql(PSQL),
    )
    for function, counts in ((postgresql_statements, PSYCOPG), (postgresql_pipeline, PIPELINE)):
        relay = Relay(port)
        function(relay.port)
        name = function.__name__
        said = f"{name} of capture_databases.py"
        keep(name.replace("_", "-"), "postgresql", speaker, said, relay, of_postgresql(counts))
    relay = Relay(port)
    with contextlib.suppress(psycopg.Error):
        postgresql_connection(relay.port, password="wrong")
    denied: Counts = {("LOGIN", "28P01"): 1}
    keep("postgresql-denied", "postgresql", speaker, "a wrong password", relay, of_postgresql(denied))
    pgbench(port, "--initialize", "--init-steps=dtgp")
    for mode in ("simple", "extended", "prepared"):
        relay = Relay(port)
        said = pgbench(relay.port, "--select-only", "-t", "5", "-M", mode, "-n")
        keep_last(relay)
        expected: Counts = {("SELECT pgbench_accounts *", "00000"): 5}
        if mode == "prepared":
            expected["PREPARE SELECT pgbench_accounts *", "00000"] = 1
        keep(
            f"postgresql-pgbench-{mode}",
            "postgresql",
            f"{version('pgbench', '--version')}; {server}",
            said,
            relay,
            of_postgresql(expected),
        )
    relay = Relay(port)
    said = psql(relay.port, text="SELECT 1;\n", sslmode="require")
    write("postgresql-tls", "postgresql", f"{version('psql', '--version')}; {server}", said, relay)


MONGODB: Counts = {
    ("ismaster", "0"): 1,
    ("ping", "0"): 1,
    ("insert orders", "0"): 2,
    ("insert orders", "11000"): 1,
    ("insert orders", ""): 1,  # not acknowledged
    ("find orders", "0"): 4,
    ("find orders", "2"): 1,
    ("getMore orders", "0"): 4,
    ("getMore orders", "43"): 1,
    ("update orders", "0"): 1,
    ("delete orders", "0"): 1,
    ("explode", "59"): 1,
    ("find nowhere_*", "0"): 1,
}

# That the one is not to be acknowledged cannot be read.
MONGODB_COMPRESSED: list[list[object]] = [
    ["compressed", "", 0, False, 18],
    ["compressed", "no response", 0, True, 1],
    ["ismaster", "0", 0, False, 1],
]


def of_mongodb(counts: Counts) -> list[list[object]]:
    return [
        ["mongodb", request, code, int(code or 0), code not in {"0", ""}, count]
        for (request, code), count in sorted(counts.items())
    ]


def mongodb_connection(port: int, **options: Any) -> Any:
    """A pool of one connection, besides the one that watches the server."""
    return pymongo.MongoClient(LOCAL, port, maxPoolSize=1, directConnection=True, **options)


def mongodb_commands(port: int, **options: Any) -> None:
    with mongodb_connection(port, **options) as client:
        shop = client["shop"]
        client.admin.command("ping")
        shop.orders.insert_many([{"_id": i, "note": "secret"} for i in range(100)])
        shop.orders.insert_one({"_id": 1000, "note": "x" * 20_000})
        with contextlib.suppress(pymongo.errors.DuplicateKeyError):
            shop.orders.insert_one({"_id": 1})
        shop.get_collection("orders", write_concern=pymongo.WriteConcern(w=0)).insert_one({"_id": 2000})
        assert shop.orders.find_one({"_id": 3})["note"] == "secret"
        assert shop.orders.find_one({"_id": 2000}) == {"_id": 2000}
        assert len(list(shop.orders.find({"note": "secret"}, batch_size=20))) == 100
        assert len(list(shop.orders.find({"_id": 1000}))) == 1
        with contextlib.suppress(pymongo.errors.OperationFailure):
            list(shop.orders.find({"$secret": 1}))
        with contextlib.suppress(pymongo.errors.OperationFailure):
            shop.command("getMore", 4711, collection="orders")
        shop.orders.update_one({"_id": 3}, {"$set": {"note": "y"}})
        shop.orders.delete_one({"_id": 4})
        with contextlib.suppress(pymongo.errors.OperationFailure):
            shop.command("explode", "secret")
        assert shop["nowhere_20240131"].find_one() is None


def keep_pool(relay: Relay) -> None:
    """This leaves out the connection that watches the server; each begins with a hello."""
    time.sleep(0.5)
    starts = [i for i, (side, data) in enumerate(relay.chunks) if side == "client" and b"ismaster".hex() in data]
    del relay.chunks[: starts[-1]]


def mongodb() -> None:
    with mongodb_server.mongodb() as server:
        speaker = f"pymongo {pymongo.version}; tests/mongodb_server.py"
        relay = Relay(server.port)
        mongodb_commands(relay.port)
        keep_pool(relay)
        said = "mongodb_commands of capture_databases.py"
        keep("mongodb-pymongo", "mongodb", speaker, said, relay, of_mongodb(MONGODB))
    with mongodb_server.mongodb(compression=True) as server:
        relay = Relay(server.port)
        mongodb_commands(relay.port)
        keep_pool(relay)
        expected = [["mongodb", *one] for one in MONGODB_COMPRESSED]
        keep("mongodb-compressed", "mongodb", speaker, f"{said}, with zlib", relay, expected)


RECIPES: dict[str, Callable[[], None]] = {recipe.__name__: recipe for recipe in (mysql, postgresql, mongodb)}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or RECIPES:
        RECIPES[chosen]()
