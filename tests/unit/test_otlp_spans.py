# SPDX-License-Identifier: Apache-2.0
"""Spans of sampled requests: parents, both ends, phases, names and statuses."""

from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from analyzers.rows import Role
from analyzers.samples import NamedSample, name_sample
from exporters.otlp.settings import Origin
from exporters.otlp.spans import SPANS_PER_REQUEST, SpanMaker, SpanQueue
from tests.receivers import Receiver
from tests.rows import CLIENT, SECOND, SERVER, FixedResolver, sample

WALL = 1_700_000_000 * SECOND
ORIGIN = Origin("1.2.3", "node-1", "blue")
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def named(role: Role = Role.SERVER, **fields: Any) -> NamedSample:
    return name_sample(sample(role, **fields), FixedResolver())


def made(*samples: NamedSample) -> list[tuple[dict[str, Any], Span]]:
    told = Receiver()
    for request in SpanMaker(ORIGIN, WALL).requests(samples):
        told.traces.append(ExportTraceServiceRequest.FromString(request.body))
    return told.spans()


def test_the_parent_is_the_one_of_the_header() -> None:
    ((attributes, span),) = made(named(trace_id=TRACE, parent_id=PARENT))
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.kind == Span.SPAN_KIND_SERVER
    assert attributes["service.name"] == "server"
    assert any(span.span_id)


def test_without_a_header_a_trace_begins_here() -> None:
    ((_, one),) = made(named())
    ((_, other),) = made(named())
    assert any(one.trace_id)
    assert one.trace_id != other.trace_id
    assert one.parent_span_id == b""


def test_both_ends_here_are_a_client_with_its_server_below() -> None:
    both = named(Role.CLIENT, identity=CLIENT, peer=SERVER, trace_id=TRACE, parent_id=PARENT)
    (of_client, client), (of_server, server) = made(both)
    assert (of_client["service.name"], client.kind) == ("client", Span.SPAN_KIND_CLIENT)
    assert (of_server["service.name"], server.kind) == ("server", Span.SPAN_KIND_SERVER)
    assert client.parent_span_id.hex() == PARENT
    assert server.parent_span_id == client.span_id
    assert client.trace_id == server.trace_id
    assert of_client["server.address"] == "server-service"
    assert of_server["http.route"] == "/a"
    assert (of_client["network.peer.port"], of_server["network.peer.port"]) == (80, 40000)


def test_phases_are_events_in_the_span() -> None:
    request = named(request_ns=2_000_000, processing_ns=4_000_000, response_ns=1_000_000, connect_ns=500_000)
    ((attributes, span),) = made(request)
    start_ns = WALL + 5 * SECOND
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (start_ns, start_ns + 7_000_000)
    assert [(event.name, event.time_unix_nano - start_ns) for event in span.events] == [
        ("request.sent", 2_000_000),
        ("response.started", 6_000_000),
    ]
    assert attributes["firesteel.connect.duration"] == 0.0005


def test_what_a_client_calls_an_error_a_server_may_not() -> None:
    failed: dict[str, Any] = {"status": 404, "is_error": True, "response_content": "404"}
    ((attributes, server),) = made(named(**failed))
    assert server.status.code == Status.STATUS_CODE_UNSET
    assert attributes["http.response.status_code"] == 404
    assert "error.type" not in attributes
    ((attributes, client),) = made(named(Role.CLIENT, **failed))
    assert (client.status.code, attributes["error.type"]) == (Status.STATUS_CODE_ERROR, "404")


def test_an_answer_that_never_came_is_told() -> None:
    lost = named(Role.CLIENT, status=0, is_error=True, no_response=True, response_content="no response")
    ((attributes, span),) = made(lost)
    assert [event.name for event in span.events] == ["request.sent"]
    assert (attributes["error.type"], span.status.message) == ("timeout", "no response")


def test_names_are_of_few_values() -> None:
    names = {
        "http": ("/a/*", "HTTP /a/*"),
        "grpc": ("/shop.Cart/Add", "shop.Cart/Add"),
        "mysql": ("SELECT orders *", "SELECT orders"),
        "redis": ("GET", "GET"),
        "kafka": ("Produce orders", "Produce orders"),
        "rocketmq": ("Topic:orders", "orders"),
        "dubbo": ("shop.Cart#add", "shop.Cart/add"),
        "dns": ("example.org A", "DNS example.org A"),
        "NOSUPPORT": ("", "NOSUPPORT"),
    }
    for protocol, (content, name) in names.items():
        ((_, span),) = made(named(protocol=protocol, request_content=content))
        assert span.name == name


def test_who_asked_is_not_guessed() -> None:
    queue = SpanQueue(10)
    queue.put([named(Role.UNKNOWN), named()])
    assert len(queue) == 1


def test_the_queue_drops_the_oldest_and_counts_them() -> None:
    queue = SpanQueue(3)
    queue.put([named(sequence=number) for number in range(1, 8)])
    assert (queue.dropped, [one.sample.sequence for one in queue.take()]) == (4, [5, 6, 7])


def test_requests_are_of_bounded_size() -> None:
    requests = list(SpanMaker(ORIGIN, WALL).requests([named()] * (SPANS_PER_REQUEST + 1)))
    assert [request.items for request in requests] == [SPANS_PER_REQUEST, 1]
