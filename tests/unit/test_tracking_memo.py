# SPDX-License-Identifier: Apache-2.0
"""Heads that were parsed before are recalled, and only where the parser would say the same again."""

from tests.events import SECOND, Conversation
from tests.inprocess import InProcessEngine

CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 80)
GET = b"GET /numbers/17 HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
HEAD_ONLY = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
NEXT = b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"


def served(conn_id: int) -> Conversation:
    return Conversation(conn_id, SERVER, CLIENT, "server", comm="nginx", pid=5)


def counts(engine: InProcessEngine) -> dict[tuple[str, int], int]:
    return {(row.request, row.status): row.count for row in engine.rows()}


def test_the_same_answer_to_another_method_ends_elsewhere() -> None:
    """The answer to HEAD has no body, the same bytes as an answer to GET have one of nine bytes."""
    with InProcessEngine() as engine:
        for turn in range(3):
            a, b = served(10 + 2 * turn), served(11 + 2 * turn)
            at = turn * SECOND
            engine.feed([a.open(at), a.receives(at + 1, HEAD), a.sends(at + 2, HEAD_ONLY)])
            engine.feed([a.receives(at + 3, GET), a.sends(at + 4, NEXT)])
            engine.feed(
                [b.open(at), b.receives(at + 5, GET), b.sends(at + 6, HEAD_ONLY), b.sends(at + 6, b"ninebytes")]
            )
            engine.feed([b.receives(at + 7, GET), b.sends(at + 8, NEXT)])
        assert counts(engine) == {("/numbers/*", 200): 6, ("/numbers/*", 404): 6}
        assert engine.stat("discarded_exchanges") == 0
        told = {(row.request, row.status): row.response_bytes for row in engine.rows()}
        assert told == {("/numbers/*", 200): 3 * (2 * len(HEAD_ONLY) + 9), ("/numbers/*", 404): 6 * len(NEXT)}
        assert engine.table.parse_failures[1] == 0


def test_a_chunked_answer_is_parsed_each_time() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with InProcessEngine() as engine:
        c = served(1)
        engine.feed([c.open(0)])
        for turn in range(4):
            at = turn * SECOND
            engine.feed([c.receives(at + 1, GET), c.sends(at + 2, chunked), c.sends(at + 3, b"3\r\nabc\r\n0\r\n\r\n")])
        assert counts(engine) == {("/numbers/*", 200): 4}
        assert engine.stat("discarded_exchanges") == 0


def test_a_changed_option_is_obeyed_at_once() -> None:
    with InProcessEngine(url_clustering=1) as engine:
        c = served(1)
        engine.feed([c.open(0), c.receives(1, GET), c.sends(2, NEXT), c.receives(3, GET), c.sends(4, NEXT)])
        engine.config.url_clustering = 0
        engine.config.generation += 1
        engine.tick(5)
        engine.feed([c.receives(6, GET), c.sends(7, NEXT)])
        assert counts(engine) == {("/numbers/*", 404): 2, ("/numbers/17", 404): 1}


def test_different_heads_of_one_length_are_different() -> None:
    with InProcessEngine(contents_per_workload=0, url_clustering=0) as engine:
        c = served(1)
        engine.feed([c.open(0)])
        for turn in range(3000):
            path = b"/%04d" % (turn % 1500)
            engine.feed([c.receives(turn * 10 + 1, GET.replace(b"/numbers/17", path)), c.sends(turn * 10 + 2, NEXT)])
        assert set(counts(engine).values()) == {2}
        assert len(counts(engine)) == 1500
