# SPDX-License-Identifier: Apache-2.0
"""What is pushed against the semantic conventions, message by message: units and instruments, types and values of attributes, and
those that must be there.

Units, instruments and lists of values come from the official package; types and requirement levels, which it does not carry, are of
https://opentelemetry.io/docs/specs/semconv/ (http, rpc, database, messaging and dns metrics; general attributes).
"""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import semconv
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from analyzers.rows import Role
from analyzers.samples import name_sample
from analyzers.snapshot import SnapshotBuilder
from exporters.otlp.spans import SpanMaker
from exporters.registry_otel import OPERATIONS, Operation
from exporters.registry_traffic import TRAFFIC
from exporters.settings import MetricsSettings
from tests.receivers import Receiver
from tests.rows import SECOND, FixedResolver, pod, request_row, sample, tcp_row
from tests.unit.test_otlp_metrics import ORIGIN, WALL, Pushing

INTEGERS = {
    "http.response.status_code", "server.port", "client.port", "network.peer.port", "source.port", "destination.port", "process.pid",
}  # fmt: skip
REQUIRED = {
    "http.server.request.duration": {"http.request.method", "url.scheme"},
    "http.client.request.duration": {"http.request.method", "server.address", "server.port"},
    "rpc.server.call.duration": {"rpc.system.name"},
    "rpc.client.call.duration": {"rpc.system.name"},
    "db.client.operation.duration": {"db.system.name"},
    "messaging.client.operation.duration": {"messaging.operation.name", "messaging.system"},
    "dns.lookup.duration": {"dns.question.name"},
}
# Values of our own where the conventions have none and allow that.
OWN_VALUES = {("messaging.system", "mqtt")}
CONTENTS = {
    "http": "/cart/*", "http2": "/cart/*", "grpc": "/shop.Cart/Add", "dubbo": "shop.Cart#add", "mysql": "SELECT orders *",
    "postgresql": "INSERT orders *", "mongodb": "find orders", "redis": "GET", "memcached": "get", "kafka": "Produce orders",
    "rocketmq": "Topic:orders", "amqp": "basic.publish orders", "mqtt": "PUBLISH orders", "dns": "example.org A",
}  # fmt: skip
OUTCOMES: tuple[dict[str, Any], ...] = (
    {"status": 0},
    {"status": 200, "response_content": "200", "method": "GET"},
    {"status": 404, "response_content": "404", "is_error": True},
    {"status": 503, "response_content": "503", "is_error": True, "method": "POST"},
    {"status": 0, "response_content": "", "is_error": True, "no_response": True},
)
CASES = [(operation, protocol) for operation in OPERATIONS for protocol in operation.protocols]


def _documented() -> dict[str, tuple[str, str]]:
    """Unit and instrument of each metric of the conventions, by name."""
    found = {}
    form = re.compile(r'^[A-Z0-9_]+: Final = "([^"]+)"\n"""\n(.*?)"""', re.MULTILINE | re.DOTALL)
    for root in map(Path, semconv.__path__):
        for path in root.glob("**/metrics/*_metrics.py"):
            for name, text in form.findall(path.read_text(encoding="utf-8")):
                unit, kind = (
                    re.search(r"^Unit: (\S+)$", text, re.MULTILINE),
                    re.search(r"^Instrument: (\w+)$", text, re.MULTILINE),
                )
                if unit and kind:
                    found[name] = (unit[1], kind[1])
    return found


def _values(attribute: str) -> set[str]:
    """The values that the conventions list for an attribute; empty where anything goes."""
    group, kind = attribute.partition(".")[0], "".join(map(str.title, re.split(r"[._]", attribute))) + "Values"
    try:
        module = importlib.import_module(f"opentelemetry.semconv._incubating.attributes.{group}_attributes")
    except ModuleNotFoundError:
        return set()
    return {member.value for member in getattr(module, kind, ())}


DOCUMENTED = _documented()


def faults(name: str, value: Any) -> Iterator[str]:
    """What is wrong with one attribute."""
    if name.startswith("firesteel."):
        return
    if type(value) is not (int if name in INTEGERS else bool if name == "otel.metric.overflow" else str):
        yield f"{name} is {value!r}"
    listed = _values(name)
    if listed and name != "error.type" and value not in listed and (name, value) not in OWN_VALUES:
        yield f"{name} is {value!r}, none of {sorted(listed)}"
    if value == "":
        yield f"{name} is empty"


def pushed(operation: Operation, protocol: str, settings: MetricsSettings | None = None, **pods: Any) -> Receiver:
    """One row for each outcome, seen from the side that the operation is told by."""
    pushing = Pushing(settings=settings)
    if pods:
        parties = {"client": pod("client", **pods), "server": pod("server", **pods)}
        pushing.builder = _builder(FixedResolver(
            {1: parties["client"], 2: parties["server"]}, {"10.0.0.1": parties["client"], "10.0.0.2": parties["server"]}
        ))  # fmt: skip
    role = Role.SERVER if operation.side == "server" else Role.CLIENT
    pushing.feed([
        request_row(index, role, protocol=protocol, request_content=CONTENTS[protocol], **outcome)
        for index, outcome in enumerate(OUTCOMES, start=1)
    ])  # fmt: skip
    return pushing.push()


def _builder(resolver: FixedResolver) -> SnapshotBuilder:
    builder = SnapshotBuilder(resolver)
    builder.count_calls(True)
    return builder


@pytest.mark.parametrize(("operation", "protocol"), CASES, ids=lambda value: getattr(value, "name", value))
def test_every_point_of_an_operation_is_as_its_convention_wants_it(operation: Operation, protocol: str) -> None:
    told = pushed(operation, protocol)
    points = told.points(operation.name)
    assert sum(point.count for _, point in points) == len(OUTCOMES)
    for attributes, _ in points:
        assert [fault for name, value in attributes.items() for fault in faults(name, value)] == []
        assert REQUIRED[operation.name] <= set(attributes)
        # Whatever answered has a status where the protocol has one, whatever failed a type.
        if operation.name.startswith("http.") and "error.type" in attributes:
            assert attributes["error.type"] in {"timeout", str(attributes.get("http.response.status_code"))}
    failed = 2 if operation.name == "http.server.request.duration" else 3
    assert sum(point.count for attributes, point in points if "error.type" in attributes) == failed
    assert sum(point.count for attributes, point in points if attributes.get("error.type") == "timeout") == 1


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_what_must_be_there_is_there_without_pods_and_services(operation: Operation) -> None:
    told = pushed(operation, operation.protocols[0], MetricsSettings(detail="workload"), service="")
    points = told.points(operation.name)
    assert sum(point.count for _, point in points) == len(OUTCOMES)
    assert all(REQUIRED[operation.name] <= set(attributes) for attributes, _ in points)
    if operation.side == "client":
        assert {attributes["server.address"] for attributes, _ in points} == {"server"}


@pytest.mark.parametrize("form", ["explicit", "exponential"])
def test_units_and_instruments_are_those_of_the_conventions_and_of_the_page(form: Any) -> None:
    assert {DOCUMENTED[operation.name] for operation in OPERATIONS} == {("s", "histogram")}
    pushing = Pushing(form=form)
    rows = [
        request_row(index, Role.SERVER if operation.side == "server" else Role.CLIENT, protocol=protocol)
        for index, (operation, protocol) in enumerate(CASES, start=1)
    ]
    health = tcp_row(1, srtt_us=700, retransmits=2, drops=1, resets_received=1, resets_sent=3, updated_ns=SECOND)
    pushing.feed(rows, [health, tcp_row(2, error=111, connects=4, connect_ns=80, updated_ns=SECOND)])
    own = {
        metric.otel: (metric.unit, {"counter": "sum"}.get(metric.kind, metric.kind))
        for metric in TRAFFIC
        if metric.otel
    }
    histogram = "histogram" if form == "explicit" else "exponential_histogram"
    wanted = own | {operation.name: ("s", histogram) for operation in OPERATIONS}
    found = {
        metric.name: (metric.unit, metric.WhichOneof("data"))
        for request in pushing.push().metrics
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert found == wanted


def test_attributes_of_flows_and_tcp_have_their_types_and_values() -> None:
    pushing = Pushing()
    health = tcp_row(1, srtt_us=700, retransmits=2, resets_received=1, resets_sent=3, updated_ns=SECOND)
    pushing.feed([request_row(1)], [health, tcp_row(2, error=111, connects=4, updated_ns=SECOND)])
    told = pushing.push()
    found = [(name, value) for metric in told.names() for attributes, _ in told.points(metric)
             for name, value in attributes.items()]  # fmt: skip
    assert [fault for name, value in found for fault in faults(name, value)] == []
    resets = {
        attributes["network.io.direction"]: point.as_int
        for attributes, point in told.points("firesteel.network.tcp.resets")
    }
    assert resets == {"receive": 1, "transmit": 3}


@pytest.mark.parametrize("protocol", CONTENTS)
@pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
def test_attributes_of_spans_have_their_types_and_values(protocol: str, role: Role) -> None:
    told = Receiver()
    samples = [
        name_sample(
            sample(role, protocol=protocol, request_content=CONTENTS[protocol], connect_ns=5, **outcome),
            FixedResolver(),
        )
        for outcome in OUTCOMES
    ]
    for request in SpanMaker(ORIGIN, WALL).requests(samples):
        told.traces.append(ExportTraceServiceRequest.FromString(request.body))
    spans = told.spans()
    assert len(spans) == len(OUTCOMES)
    family = next(one.name for one, name in CASES if name == protocol)
    for attributes, _ in spans:
        assert [fault for name, value in attributes.items() for fault in faults(name, value)] == []
        assert REQUIRED[family] <= set(attributes)
        assert type(attributes["firesteel.connect.duration"]) is float
