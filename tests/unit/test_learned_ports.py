# SPDX-License-Identifier: Apache-2.0
"""What a port is known for: its parser is asked first, until a connection of that port contradicts.

A message that two protocols would take for theirs shows which of them is asked first: the first of the table is by id.
"""

from collections.abc import Iterator

import pytest

from tests import toy
from tests.events import Conversation
from tests.inprocess import InProcessEngine
from tests.toy import message

BY_ID, IN_ORDER = "http2", "redis"
KNOWN, OTHER = 6379, 6380


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    with InProcessEngine(native=toy.native()) as made:
        yield made


class Talk:
    """Connections to one service, one after the other, each asking and being answered once."""

    def __init__(self, engine: InProcessEngine) -> None:
        self._engine, self._last = engine, 0

    def open(self, port: int) -> Conversation:
        self._last += 1
        made = Conversation(self._last, ("10.0.0.2", port), ("10.0.0.1", 40000 + self._last), "server", pid=5)
        self._engine.feed([made.open(self._last * 1000)])
        return made

    def asks(self, port: int, kind: str, name: str) -> str:
        """The protocol of the row that this request is counted in."""
        c = self.open(port)
        at = self._last * 1000
        self._engine.feed([c.receives(at + 1, message(kind, name)), c.close(at + 2)])
        return next(row.protocol for row in self._engine.rows() if row.request == name)

    def contradicts(self, port: int) -> None:
        """Asks again and again, and is answered by what is no message."""
        c = self.open(port)
        for turn in range(40):
            at = self._last * 1000 + 2 * turn
            self._engine.feed([c.receives(at + 1, message("=", "/odd")), c.sends(at + 2, b"\x01\x02nothing")])
            if self._engine.stat("contradictions"):
                break
        self._engine.feed([c.close(self._last * 1000 + 900)])


def test_the_parser_that_a_port_is_known_for_is_asked_first(engine: InProcessEngine) -> None:
    talk = Talk(engine)
    assert talk.asks(KNOWN, "=", "/unknown") == BY_ID
    assert talk.asks(OTHER, "<", "/learned") == IN_ORDER
    assert talk.asks(OTHER, "=", "/known") == IN_ORDER
    assert talk.asks(KNOWN, "=", "/elsewhere") == BY_ID


def test_what_a_port_is_known_for_is_forgotten_when_a_connection_contradicts(engine: InProcessEngine) -> None:
    talk = Talk(engine)
    assert [talk.asks(port, "<", f"/learned/{port}") for port in (KNOWN, OTHER)] == [IN_ORDER, IN_ORDER]
    assert [talk.asks(port, "=", f"/before/{port}") for port in (KNOWN, OTHER)] == [IN_ORDER, IN_ORDER]
    talk.contradicts(KNOWN)
    assert engine.stat("contradictions") == 1
    assert talk.asks(KNOWN, "=", f"/after/{KNOWN}") == BY_ID
    assert talk.asks(OTHER, "=", f"/after/{OTHER}") == IN_ORDER


def test_what_does_not_look_like_what_its_port_is_known_for_is_asked_of_all(engine: InProcessEngine) -> None:
    talk = Talk(engine)
    assert talk.asks(KNOWN, "<", "/learned") == IN_ORDER
    assert talk.asks(KNOWN, "?", "/other") == BY_ID
    assert talk.asks(KNOWN, "=", "/last") == BY_ID
