# SPDX-License-Identifier: Apache-2.0
"""From sampled requests to spans.

A request whose both ends are on this node becomes a client's span with the server's span below it; any other becomes
the span of the end that was seen. The parent is the one of the request's `traceparent` or B3 header fields. Phases are events.
"""

import random
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from analyzers.edges import Edge, status_code
from analyzers.resolver import Party
from analyzers.rows import Role, Sample
from analyzers.samples import NamedSample
from exporters.otlp import wire
from exporters.otlp.conventions import Facts, Side, tell
from exporters.otlp.lane import Request
from exporters.otlp.operations import server_address
from exporters.otlp.resources import of_party
from exporters.otlp.settings import Origin
from exporters.registry_otel import SCHEMA_URL, SCOPE

SPANS_PER_REQUEST: Final = 256
_SCOPE: Final = wire.field(1, SCOPE.encode())
_SPAN_ATTRIBUTES: Final = 9
_SECOND_NS: Final = 10**9


class SpanQueue:
    """Samples that wait to be sent: at most `limit`; beyond that the oldest goes, and is counted."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.dropped = 0
        self._waiting: deque[NamedSample] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, samples: Iterable[NamedSample]) -> None:
        for sample in samples:
            if sample.edge is None:
                continue  # nobody could tell who asked: a span would have to guess its kind
            self._waiting.append(sample)
        while len(self._waiting) > self.limit:
            try:
                self._waiting.popleft()
            except IndexError:  # the other thread took them meanwhile
                break
            self.dropped += 1

    def take(self) -> list[NamedSample]:
        some: list[NamedSample] = []
        while self._waiting and len(some) < SPANS_PER_REQUEST:
            try:
                some.append(self._waiting.popleft())
            except IndexError:  # the other thread made room
                break
        return some


@dataclass(frozen=True, slots=True)
class SpanMaker:
    """`wall_offset_ns` turns the events' clock into time of day."""

    origin: Origin
    wall_offset_ns: int

    def requests(self, samples: Iterable[NamedSample]) -> Iterator[Request]:
        """ExportTraceServiceRequests of bounded size."""
        rest = iter(samples)
        while some := list(islice(rest, SPANS_PER_REQUEST)):
            by_resource: dict[bytes, list[bytes]] = {}
            count = 0
            for named in some:
                for party, span in self._spans(named):
                    by_resource.setdefault(of_party(party, self.origin, True), []).append(span)
                    count += 1
            blocks = [
                wire.resource_block(resource, _SCOPE, wire.joined(2, spans), SCHEMA_URL)
                for resource, spans in by_resource.items()
            ]
            yield Request(wire.joined(1, blocks), count)

    def _spans(self, named: NamedSample) -> Iterator[tuple[Party, bytes]]:
        sample, edge = named.sample, named.edge
        assert edge is not None
        trace = bytes.fromhex(sample.trace_id) if sample.trace_id else _random_id(16)
        parent = bytes.fromhex(sample.parent_id) if sample.trace_id else b""
        both = sample.peer is not None
        if sample.role is Role.CLIENT or both:
            span_id = _random_id(8)
            yield edge.src, self._span("client", sample, edge, trace, span_id, parent)
            parent = span_id
        if sample.role is Role.SERVER or both:
            yield edge.dst, self._span("server", sample, edge, trace, _random_id(8), parent)

    def _span(self, side: Side, sample: Sample, edge: Edge, trace: bytes, span_id: bytes, parent: bytes) -> bytes:
        start_ns = sample.start_ns + self.wall_offset_ns
        told = tell(_facts(side, sample, edge))
        span = Span(
            trace_id=trace,
            span_id=span_id,
            parent_span_id=parent,
            name=told.name,
            kind=Span.SPAN_KIND_CLIENT if side == "client" else Span.SPAN_KIND_SERVER,
            start_time_unix_nano=start_ns,
            end_time_unix_nano=start_ns + sample.duration_ns,
            events=_phases(sample, start_ns),
        )
        if told.failed:
            text = "no response" if sample.no_response else sample.response_content
            span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=text))
        # Attributes are made once for each value; protobuf reads what follows a message as more of its fields.
        return span.SerializeToString() + wire.attributes(_SPAN_ATTRIBUTES, [*told.pairs, *_more(side, sample, edge)])


def _random_id(size: int) -> bytes:
    """Never all zero, which would mean that there is none."""
    return (random.getrandbits(8 * size) or 1).to_bytes(size, "big")


def _phases(sample: Sample, start_ns: int) -> list[Span.Event]:
    """When the request was all there, and when the answer began; an answer that never came has no beginning."""
    sent_ns = start_ns + sample.request_ns
    events = [Span.Event(time_unix_nano=sent_ns, name="request.sent")]
    if not sample.no_response:
        events.append(Span.Event(time_unix_nano=sent_ns + sample.processing_ns, name="response.started"))
    return events


def _facts(side: Side, sample: Sample, edge: Edge) -> Facts:
    return Facts(
        side=side,
        protocol=sample.protocol,
        content=sample.request_content,
        status=status_code(sample),
        answer="" if sample.no_response else sample.response_content,
        is_error=sample.is_error,
        no_response=sample.no_response,
        address=server_address(edge.dst, edge.dst_ip) if side == "client" else edge.dst_ip,
        port=edge.dst_port,
        method=sample.method,
    )


def _more(side: Side, sample: Sample, edge: Edge) -> Iterator[tuple[str, wire.Value]]:
    """What a span has beside what the conventions say of its protocol."""
    client_port = sample.remote_port if sample.role is Role.SERVER else sample.local_port
    yield "network.transport", edge.l4
    yield "network.peer.address", edge.dst_ip if side == "client" else edge.src_ip
    yield "network.peer.port", edge.dst_port if side == "client" else client_port
    yield "client.address", edge.src_ip
    yield "client.port", client_port
    yield "firesteel.sample.reason", sample.why
    yield "firesteel.request.size", sample.request_bytes
    yield "firesteel.response.size", sample.response_bytes
    yield "firesteel.request.text", sample.request_text
    yield "firesteel.response.text", sample.response_text
    if sample.connect_ns:
        yield "firesteel.connect.duration", sample.connect_ns / _SECOND_NS
