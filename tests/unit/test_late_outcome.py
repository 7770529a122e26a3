# SPDX-License-Identifier: Apache-2.0
"""Protocols that say how a request ended behind its rows: in message mode a long answer is wanted as far as the parser sees."""

from collections.abc import Iterator

import pytest

from tests.events import Conversation
from tests.inprocess import InProcessEngine
from tests.unit.test_mongodb import FIND, FOUND
from tests.unit.test_mysql import error as mysql_error
from tests.unit.test_mysql import query as mysql_query
from tests.unit.test_postgresql import COLUMNS, READY, error, query, row
from tests.unit.test_tracking_http import request, response

SELECT = query("SELECT a FROM t")
FAILED = error("22012") + READY


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    with InProcessEngine() as made:
        yield made


def server() -> Conversation:
    return Conversation(7, ("10.0.0.2", 5432), ("10.0.0.1", 40000), "server", comm="backend", pid=5)


@pytest.mark.parametrize(("asked", "answered", "mode"), [
    (SELECT, FAILED, "message with long answers"),
    (mysql_query("SELECT a FROM t"), mysql_error(1, 1064), "message with long answers"),
    (FIND, FOUND, "message with long answers"),
    (request(), response(), "message"),
], ids=["postgresql", "mysql", "mongodb", "http"])  # fmt: skip
def test_the_driver_is_told_for_whom(engine: InProcessEngine, asked: bytes, answered: bytes, mode: str) -> None:
    c = server()
    engine.feed([c.open(0)])
    for turn in range(3):
        assert engine.mode(7) is None
        engine.feed([c.receives(10 * turn + 1, asked), c.sends(10 * turn + 4, answered)])
    assert engine.mode(7) == mode


def test_an_error_behind_rows_that_the_driver_told_apart(engine: InProcessEngine) -> None:
    c = server()
    answer = COLUMNS + row(100) + FAILED
    engine.feed([c.open(0), c.receives(1, SELECT), c.sends(2, answer)])
    engine.feed([c.exchanges(12, SELECT, b"", first_start_ns=11), c.sends(13, answer)])
    assert [(row.request, row.response, row.count) for row in engine.rows()] == [("SELECT t *", "22012", 2)]
