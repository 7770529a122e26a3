# SPDX-License-Identifier: Apache-2.0
"""The method of an HTTP request: from the bytes to http.request.method, `_OTHER` for what the conventions do not know."""

import pytest
from opentelemetry.semconv.attributes.http_attributes import HttpRequestMethodValues

from analyzers.contract import VERBS
from analyzers.rows import Role
from analyzers.samples import name_sample
from analyzers.table import SharedTable
from tests.events import SECOND
from tests.inprocess import InProcessEngine
from tests.multiplexed import calls_of
from tests.parsing import Protocol
from tests.rows import FixedResolver, request_row, sample
from tests.unit.test_http2 import Peers
from tests.unit.test_otlp_metrics import Pushing
from tests.unit.test_otlp_spans import made
from tests.unit.test_tracking_http import request, response, server


def test_the_methods_are_those_of_the_conventions() -> None:
    known = {member.value for member in HttpRequestMethodValues} - {"_OTHER"}
    assert set(VERBS[1:]) >= known - {"QUERY"}
    assert set(VERBS[1:]) <= known
    assert VERBS[0] == ""


def test_samples_say_which_it_was() -> None:
    table = SharedTable.create()
    asked = [*VERBS[1:], "PROPFIND"]
    with InProcessEngine(
        table=table.pointer, sample_rate=1000, sample_per_edge=1000, sample_normal_permille=1000
    ) as engine:
        for number, method in enumerate(asked):
            c = server(number + 1)
            at = (number + 1) * SECOND
            engine.feed([c.open(at), c.receives(at + 1, request(method=method)), c.sends(at + 9, response())])
        engine.tick(99 * SECOND)
        assert [one.method for one in table.samples_since(1).samples] == [*VERBS[1:], ""]
        # Rows are not kept apart by it unless somebody wants that.
        assert len({row.key.method for row in table.requests()}) == 1
    table.close()


def test_rows_are_kept_apart_by_it_if_wanted() -> None:
    table = SharedTable.create()
    with InProcessEngine(table=table.pointer, count_verbs=1) as engine:
        c = server()
        engine.feed([c.open(0)])
        for number, method in enumerate(["GET", "POST", "GET", "PROPFIND", "POST", "POST"], 1):
            at = number * SECOND
            engine.feed([c.receives(at, request(method=method)), c.sends(at + 9, response())])
        found = {row.key.method: row.count for row in table.requests()}
    assert found == {"GET": 2, "POST": 3, "": 1}
    table.close()


def test_http2_has_it_from_the_static_table_and_from_literals() -> None:
    peers = Peers()
    for stream, method in ((1, "GET"), (3, "POST"), (5, "DELETE"), (7, "DELETE"), (9, "BREW")):
        head = [(":method", method), (":scheme", "http"), (":path", "/a"), (":authority", "x")]
        peers.head("client", stream, head, end=True)
        peers.head("server", stream, [(":status", "200")], end=True)
    calls = calls_of(Protocol.HTTP2, peers.chunks)
    assert [VERBS[call.request.raw.verb] for call in calls] == ["GET", "POST", "DELETE", "DELETE", ""]


@pytest.mark.parametrize(("method", "told", "name"), [("GET", "GET", "GET /a"), ("", "_OTHER", "HTTP /a")])
def test_spans_and_durations_carry_it(method: str, told: str, name: str) -> None:
    for role in (Role.CLIENT, Role.SERVER):
        ((attributes, span),) = made(name_sample(sample(role, method=method), FixedResolver()))
        assert (attributes["http.request.method"], span.name) == (told, name)
    pushing = Pushing()
    pushing.feed([request_row(1, method=method), request_row(2, Role.SERVER, method=method)])
    receiver = pushing.push()
    for side in ("client", "server"):
        points = receiver.points(f"http.{side}.request.duration")
        assert [attributes["http.request.method"] for attributes, _ in points] == [told]


def test_the_page_merges_what_differs_in_nothing_else() -> None:
    pushing = Pushing()
    pushing.feed([request_row(1, method="GET", count=2), request_row(2, method="POST", count=3)])
    receiver = pushing.push()
    assert [point.as_int for _, point in receiver.points("firesteel.network.topology.requests")] == [5]
    found = {attributes["http.request.method"]: point.count
             for attributes, point in receiver.points("http.client.request.duration")}  # fmt: skip
    assert found == {"GET": 2, "POST": 3}
