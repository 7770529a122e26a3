# SPDX-License-Identifier: Apache-2.0
"""SQL reduced to operation and table: what programs send, and that no literal ever comes out."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.parsing import Dialect, reduce_sql

MYSQL, POSTGRESQL = Dialect.MYSQL, Dialect.POSTGRESQL

BOTH = [
    ("SELECT * FROM orders WHERE id = 5", "SELECT orders *"),
    ("select a,b from shop.orders o join items i on o.id = i.o", "SELECT shop.orders *"),
    ("SELECT c FROM one.two.three.four", "SELECT one.two.three *"),
    ("SELECT\n\t1", "SELECT *"),
    ("(SELECT a FROM t) UNION (SELECT b FROM u)", "SELECT t *"),
    ("SELECT * FROM (SELECT x FROM inner_t) z", "SELECT inner_t *"),
    ("SELECT (SELECT max(x) FROM inner_t), 1 FROM outer_t", "SELECT inner_t *"),
    ("SELECT 'a', 'from secret', 'it''s from x' FROM t", "SELECT t *"),
    ("SELECT EXTRACT(YEAR FROM stamp), TRIM(LEADING 'x' FROM y) FROM t", "SELECT t *"),
    ("SELECT a IS DISTINCT FROM b FROM t", "SELECT t *"),
    ("SELECT c FROM [dbo].[order items]", "SELECT dbo.order*items *"),
    ("SELECT c FROM ['x']", "SELECT *"),
    ("SELECT c FROM generate_series(1, 10)", "SELECT generate_series *"),
    ("SELECT a FROM 'literal' FROM t", "SELECT t *"),
    ("SELECT 1; DROP TABLE t", "SELECT *"),
    ("; ; SELECT a FROM t", "SELECT t *"),
    ("SELECT a FROM t FOR UPDATE", "SELECT t *"),
    ("SELECT a FROM log_20240131_eu, x2", "SELECT log_*_eu *"),
    ("SELECT a FROM t123", "SELECT t123 *"),
    ("SELECT a FROM 2024_t", "SELECT *"),
    ("INSERT INTO t VALUES ('x', 5)", "INSERT t *"),
    ("INSERT INTO a.t (b) SELECT b FROM c", "INSERT a.t *"),
    ("REPLACE INTO t SET a = 1", "REPLACE t *"),
    ("UPDATE t SET a = 'x' WHERE b IN (SELECT c FROM d)", "UPDATE t *"),
    ("DELETE FROM t WHERE a = 'it''s'", "DELETE t *"),
    ("MERGE INTO target t USING source s ON t.a = s.a", "MERGE target *"),
    ("WITH a AS (SELECT 1 FROM base), b AS (SELECT 2) SELECT * FROM a", "SELECT base *"),
    ("WITH RECURSIVE n(x) AS (VALUES (1)) SELECT * FROM t", "SELECT t *"),
    ("WITH a AS (SELECT 1 FROM base) INSERT INTO target SELECT * FROM a", "INSERT target *"),
    ("WITH a AS (SELECT 1 FROM base) UPDATE target SET x = 1", "UPDATE target *"),
    ("WITH a AS (SELECT 1 FROM base) DELETE FROM target", "DELETE target *"),
    ("WITH a AS (SELECT 1 FROM base", "WITH base *"),
    ("BEGIN", "BEGIN"),
    ("begin work;", "BEGIN"),
    ("START TRANSACTION READ ONLY", "START TRANSACTION"),
    ("COMMIT", "COMMIT"),
    ("ROLLBACK TO SAVEPOINT s1", "ROLLBACK"),
    ("SAVEPOINT s1", "SAVEPOINT"),
    ("SET password = 'x'", "SET *"),
    ("SHOW TABLES", "SHOW *"),
    ("USE shop", "USE *"),
    ("CALL shop.do_it(1, 'x')", "CALL shop.do_it *"),
    ("CREATE TABLE IF NOT EXISTS foo.bar (a int)", "CREATE TABLE foo.bar *"),
    ("CREATE TEMPORARY TABLE bar AS SELECT * FROM t", "CREATE TABLE bar *"),
    ("CREATE UNIQUE INDEX i ON t (a)", "CREATE INDEX t *"),
    ("CREATE OR REPLACE VIEW v AS SELECT * FROM t", "CREATE VIEW v *"),
    ("CREATE USER bob PASSWORD 'pw'", "CREATE USER *"),
    ("CREATE SOMETHING x", "CREATE *"),
    ("DROP TABLE IF EXISTS t", "DROP TABLE t *"),
    ("ALTER TABLE t ADD x int DEFAULT 5", "ALTER TABLE t *"),
    ("TRUNCATE TABLE t", "TRUNCATE TABLE t *"),
    ("TRUNCATE t", "TRUNCATE TABLE t *"),
    ("EXPLAIN SELECT * FROM t", "EXPLAIN t *"),
    ("EXPLAIN ANALYZE UPDATE t SET a = 1", "EXPLAIN t *"),
    ("/* hint */ -- more\nSELECT /*+ BKA(t1) */ c FROM t", "SELECT t *"),
    ("LOCK TABLES t WRITE", "LOCK TABLE t *"),
    ("VALUES (1, 'x')", "VALUES *"),
    ("PREPARE p FROM 'SELECT 1'", "PREPARE *"),
    ("EXECUTE p (1)", "EXECUTE *"),
    ("hunter2", "*"),
    ("'SELECT'", "*"),
    ("", "*"),
    ("/* ping */", "*"),
]
OF_MYSQL = [
    ('SELECT a FROM `shop`.`order items` WHERE `x` = "from y"', "SELECT shop.order*items *"),
    ('SELECT "from secret" FROM t', "SELECT t *"),
    ("SELECT a # from b\nFROM t", "SELECT t *"),
    ("SELECT 5--1 FROM t", "SELECT t *"),
    ("SELECT 5 -- 1 FROM b\nFROM t", "SELECT t *"),
    ("/*!40101 SET NAMES utf8 */", "SET *"),
    ("SELECT /*!40001 SQL_NO_CACHE */ * FROM t", "SELECT t *"),
    ("/*M!100100 SELECT a FROM t */", "SELECT t *"),
    ("INSERT LOW_PRIORITY IGNORE t (a) VALUES (1)", "INSERT t *"),
    ("DELETE QUICK FROM t", "DELETE t *"),
    ("LOAD DATA LOCAL INFILE 'x' REPLACE INTO TABLE t", "LOAD t *"),
    ("DESCRIBE shop.orders", "DESCRIBE shop.orders *"),
    ("SHOW FULL TABLES FROM `db` LIKE 'PROBABLYNOT'", "SHOW *"),
    ("ALTER USER 'bob'@'%' IDENTIFIED BY 'pw'", "ALTER USER *"),
    ("SELECT 'a\\' FROM secret', b FROM t", "SELECT *"),
    ("UPDATE t SET a = 'x\\'y'", "UPDATE t *"),
    ("SELECT @v FROM @x", "SELECT *"),
]
OF_POSTGRESQL = [
    ('SELECT a FROM "Shop"."Order""s" WHERE x = $1', "SELECT Shop.Order*s *"),
    ("SELECT $$ FROM secret $$, $t$ FROM $$ x $t$ FROM t", "SELECT t *"),
    ("SELECT $1 FROM ONLY t", "SELECT t *"),
    ("SELECT E'a' FROM LATERAL f(x)", "SELECT f *"),
    ("SELECT /* a /* nested from b */ from c */ 1 FROM t", "SELECT t *"),
    ("SELECT a #> '{x}' FROM t", "SELECT t *"),
    ("SELECT (ARRAY[1,2])[1] FROM t", "SELECT t *"),
    ("COPY t (a, b) FROM STDIN", "COPY t *"),
    ("COPY (SELECT a FROM t) TO STDOUT", "COPY t *"),
    ("DECLARE c CURSOR FOR SELECT a FROM t", "DECLARE t *"),
    ("EXPLAIN (ANALYZE, COSTS OFF) SELECT a FROM t", "EXPLAIN t *"),
    ("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON s.t USING btree (a)", "CREATE INDEX s.t *"),
    ("REFRESH MATERIALIZED VIEW v", "REFRESH VIEW v *"),
    ("VACUUM FULL t", "VACUUM t *"),
    ("DO $body$ BEGIN DELETE FROM t; END $body$", "DO *"),
    ("END", "END"),
    ("ABORT", "ABORT"),
    ("NOTIFY channel, 'x'", "NOTIFY *"),
]
EVERY = [(MYSQL, *case) for case in BOTH + OF_MYSQL] + [(POSTGRESQL, *case) for case in BOTH + OF_POSTGRESQL]


@pytest.mark.parametrize(("dialect", "statement", "label"), EVERY, ids=lambda value: str(value)[:50])
def test_a_statement_is_its_operation_and_table(dialect: Dialect, statement: str, label: str) -> None:
    assert reduce_sql(statement.encode(), dialect) == label
    assert reduce_sql(statement.encode() + b";", dialect) == label


@pytest.mark.parametrize(("dialect", "statement", "label"), EVERY, ids=lambda value: str(value)[:50])
def test_of_a_cut_statement_nothing_is_guessed(dialect: Dialect, statement: str, label: str) -> None:
    """Each beginning of it gives a beginning of what the whole gives, but for the star; a name is whole or absent."""
    names = set(re.split(r"[ .]", label)) | {"*", "WITH", "START", "base", ""}
    for length in range(len(statement)):
        cut = reduce_sql(statement[:length].encode(), dialect, truncated=True)
        assert set(re.split(r"[ .]", cut)) <= names, statement[:length]


def test_names_that_are_odd() -> None:
    assert reduce_sql("SELECT a FROM `bücher`".encode(), MYSQL) == "SELECT b*cher *"
    assert reduce_sql(b"SELECT a FROM `x\x00\xff'y`", MYSQL) == "SELECT x*y *"
    assert reduce_sql(b"SELECT a FROM " + b"n" * 500, MYSQL) == "SELECT " + "n" * 64 + "* *"
    assert reduce_sql(b"SELECT a FROM ``", MYSQL) == "SELECT *"
    assert reduce_sql(b"SELECT a FROM " + b"(" * 5000 + b"SELECT b FROM t", MYSQL) == "SELECT *"


# Identifiers and literals of alphabets that do not meet, neither with each other nor with the words of the language.
_NAMES = st.text("ghjk", min_size=1, max_size=6)
_SECRETS = st.text("YZ79", min_size=1, max_size=12)


def _literals(dialect: Dialect) -> st.SearchStrategy[str]:
    escaped = _SECRETS.map(lambda text: text.replace("7", "''").replace("9", " FROM "))
    forms = [escaped.map(lambda text: f"'{text}'"), st.integers(7, 9).map(lambda digit: str(digit) * 3)]
    if dialect is MYSQL:
        forms += [_SECRETS.map(lambda text: f'"{text} from {text}"'), _SECRETS.map(lambda text: f"'{text}\\'{text}'")]
        forms += [_SECRETS.map(lambda text: f"/* FROM {text} */ 7")]
    else:
        forms += [_SECRETS.map(lambda text: f"$$ FROM {text}$$"), _SECRETS.map(lambda text: f"E'\\\\{text}'")]
        forms += [_SECRETS.map(lambda text: f"$x$'{text}$$$x$"), _SECRETS.map(lambda text: f"/* /* */ {text} */ 7")]
    return st.one_of(*forms)


@st.composite
def _statements(draw: st.DrawFn, dialect: Dialect) -> tuple[str, str, str]:
    """A statement, its operation and its table."""
    quote = '"' if dialect is POSTGRESQL else "`"
    table = draw(_NAMES)
    written = draw(st.sampled_from([table, f"{quote}{table}{quote}"]))
    values = ", ".join(draw(st.lists(_literals(dialect), min_size=1, max_size=4)))
    template = draw(
        st.sampled_from(
            [
                ("SELECT", "SELECT a FROM {t} WHERE b IN ({v})"),
                ("INSERT", "INSERT INTO {t} (a, b) VALUES ({v})"),
                ("UPDATE", "UPDATE {t} SET a = coalesce({v})"),
                ("DELETE", "DELETE FROM {t} WHERE a = any({v})"),
                ("CALL", "CALL {t}({v})"),
                ("CREATE TABLE", "CREATE TABLE {t} AS SELECT {v}"),
            ]
        )
    )
    return template[1].format(t=written, v=values), template[0], table


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(Dialect).flatmap(lambda dialect: st.tuples(st.just(dialect), _statements(dialect))))
def test_the_table_comes_out_and_literals_do_not(case: tuple[Dialect, tuple[str, str, str]]) -> None:
    dialect, (statement, operation, table) = case
    assert reduce_sql(statement.encode(), dialect) == f"{operation} {table} *"


@settings(deadline=None, max_examples=500)
@given(st.data(), st.sampled_from(Dialect), st.booleans())
def test_no_literal_comes_out_of_anything(data: st.DataObject, dialect: Dialect, truncated: bool) -> None:
    words = st.sampled_from(
        ["SELECT", "FROM", "DELETE", "INSERT INTO", "UPDATE", "TABLE", "CREATE", "WITH", "AS", "DISTINCT", "INTO", "ON"]
        + ["(", ")", ",", ".", "=", "[", "]", "@", "COPY", "EXPLAIN", "ONLY", "/* Z7 */", "-- Z9\n", "CALL", "DROP"]
    )
    pieces = data.draw(st.lists(st.one_of(words, _NAMES, _literals(dialect)), max_size=20))
    label = reduce_sql(" ".join(pieces).encode(), dialect, truncated=truncated)
    assert not set("Z79") & set(label), label


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=200), st.sampled_from(Dialect), st.booleans())
def test_anything_may_come(data: bytes, dialect: Dialect, truncated: bool) -> None:
    for start in (b"", b"SELECT ", b"INSERT INTO ", b"WITH x AS (", b"CREATE "):
        reduce_sql(start + data, dialect, truncated=truncated)
