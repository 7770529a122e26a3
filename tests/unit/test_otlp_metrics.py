# SPDX-License-Identifier: Apache-2.0
"""What is pushed as metrics, read back with the official classes: names, attributes, values, times, temporality."""

from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from analyzers.rows import RequestRow, Role, TcpRow
from analyzers.snapshot import EMPTY, SnapshotBuilder
from exporters.otlp import metrics as metrics_module
from exporters.otlp.lane import Request
from exporters.otlp.metrics import MetricRequests, Push
from exporters.otlp.series import OtlpSeries
from exporters.otlp.settings import HistogramForm, Origin, Temporality
from exporters.own import OwnState
from exporters.registry_otel import SCHEMA_URL
from exporters.settings import MetricsSettings, RowLimits
from tests.receivers import Receiver
from tests.rows import SECOND, FixedResolver, request_row, tcp_row

WALL = 1_700_000_000 * SECOND
ORIGIN = Origin("1.2.3", "node-1", "blue", "firesteel.node-1")


class Pushing:
    """Rows in, requests out, as the exporter puts it together."""

    def __init__(
        self,
        temporality: Temporality = "cumulative",
        settings: MetricsSettings | None = None,
        form: HistogramForm = "explicit",
    ) -> None:
        self.settings = settings or MetricsSettings()
        self.builder = SnapshotBuilder(FixedResolver())
        self.builder.count_calls(True, fine=form == "exponential")
        self.series = OtlpSeries(self.settings, ORIGIN, form)
        self.requests = MetricRequests(ORIGIN, temporality, self.settings.bounds_ns, form)
        self.now_ns = 0

    def feed(self, rows: list[RequestRow], tcp: list[TcpRow] | None = None, now_ns: int = SECOND) -> None:
        self.now_ns = now_ns
        self.series.update(self.builder.build(rows, tcp or [], [], now_ns))

    def push(self, own: OwnState | None = None, *, arrive: bool = True) -> Receiver:
        told = Receiver()
        for request in self.made(own):
            told.metrics.append(ExportMetricsServiceRequest.FromString(request.body))
            if arrive and request.acknowledged:
                request.acknowledged()
        return told

    def made(self, own: OwnState | None = None) -> list[Request]:
        return list(self.requests.requests(Push(self.series.page(self.now_ns), own, WALL)))


def value(told: Receiver, name: str, **wanted: Any) -> Any:
    found = [
        point
        for attributes, point in told.points(name)
        if all(attributes.get(key.replace("__", ".")) == one for key, one in wanted.items())
    ]
    assert len(found) == 1, (name, wanted, told.points(name))
    return found[0]


def test_an_edge_has_the_attributes_of_its_labels() -> None:
    pushing = Pushing()
    pushing.feed([request_row(1, count=3)])
    told = pushing.push()
    attributes, point = told.points("firesteel.network.topology.requests")[0]
    assert attributes == {
        "service.name": "firesteel",
        "service.version": "1.2.3",
        "service.instance.id": "firesteel.node-1",
        "host.name": "node-1",
        "k8s.cluster.name": "blue",
        "source.address": "10.0.0.1",
        "destination.address": "10.0.0.2",
        "destination.port": 80,
        "firesteel.protocol": "http",
        "firesteel.response.status_code": "200",
        "firesteel.request.slow": False,
        "firesteel.request.error": False,
        **{
            f"firesteel.{side}.{name}": text.format(party)
            for side, party in (("source", "client"), ("destination", "server"))
            for name, text in (
                ("k8s.node.name", "node-1"),
                ("k8s.namespace.name", "shop"),
                ("workload.kind", "deployment"),
                ("workload.name", "{}"),
                ("k8s.service.name", "{}-service"),
                ("k8s.pod.name", "{}-pod"),
                ("k8s.container.name", "{}-main"),
                ("container.id", "0123456789ab"),
            )
            for side in (side,)
        },
    }
    assert (point.as_int, point.time_unix_nano) == (3, WALL + SECOND)
    assert point.start_time_unix_nano < point.time_unix_nano
    assert value(told, "firesteel.network.topology.request.size").as_int == 30
    assert value(told, "firesteel.network.topology.response.size").as_int == 300
    assert value(told, "firesteel.network.topology.duration").as_int == 3000


def test_operations_go_out_under_the_workload_that_was_seen() -> None:
    pushing = Pushing()
    counts = (4, 0, 0, 0, 0, 0, 0, 1, 0)
    pushing.feed([
        request_row(1, count=5, duration_ns=5 * SECOND, buckets=counts),
        request_row(2, Role.SERVER, count=2, request_content="/b", status=503, response_content="503", is_error=True),
    ])  # fmt: skip
    told = pushing.push()
    attributes, point = told.points("http.client.request.duration")[0]
    assert attributes == {
        "service.name": "client",
        "service.namespace": "shop",
        "service.instance.id": "shop.client-pod.client-main",
        "k8s.cluster.name": "blue",
        "k8s.namespace.name": "shop",
        "k8s.deployment.name": "client",
        "k8s.pod.name": "client-pod",
        "k8s.container.name": "client-main",
        "container.id": "0123456789abcdef",
        "k8s.node.name": "node-1",
        "host.name": "node-1",
        "http.request.method": "_OTHER",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.template": "/a",
        "network.protocol.name": "http",
        "server.address": "server-service",
        "server.port": 80,
    }
    assert (point.count, point.sum, list(point.bucket_counts)) == (5, 5.0, list(counts))
    assert list(point.explicit_bounds) == [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 2.5]
    served, point = told.points("http.server.request.duration")[0]
    assert (served["service.name"], served["http.route"], served["error.type"]) == ("server", "/b", "503")
    assert point.count == 2


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        (
            {"protocol": "grpc", "request_content": "/shop.Cart/Add", "status": 5, "is_error": True},
            "rpc.client.call.duration",
            {"rpc.system.name": "grpc", "rpc.method": "shop.Cart/Add", "rpc.response.status_code": "NOT_FOUND",
             "error.type": "NOT_FOUND"},
        ),
        (
            {"protocol": "mysql", "request_content": "SELECT orders *", "status": 1146, "is_error": True},
            "db.client.operation.duration",
            {"db.system.name": "mysql", "db.operation.name": "SELECT", "db.collection.name": "orders",
             "db.query.summary": "SELECT orders", "db.response.status_code": "1146", "error.type": "1146"},
        ),
        (
            {"protocol": "redis", "request_content": "CONFIG SET", "status": 0, "response_content": "noerror"},
            "db.client.operation.duration",
            {"db.system.name": "redis", "db.operation.name": "CONFIG SET"},
        ),
        (
            {"protocol": "kafka", "request_content": "Produce orders", "status": 0},
            "messaging.client.operation.duration",
            {"messaging.system": "kafka", "messaging.operation.name": "Produce", "messaging.destination.name": "orders"},
        ),
        (
            {"protocol": "dubbo", "request_content": "shop.Cart#add", "status": 20, "is_error": True},
            "rpc.client.call.duration",
            {"rpc.system.name": "dubbo", "rpc.method": "shop.Cart/add", "rpc.response.status_code": "20",
             "error.type": "exception"},
        ),
        (
            {"protocol": "rocketmq", "request_content": "Topic:orders", "status": 0},
            "messaging.client.operation.duration",
            {"messaging.system": "rocketmq", "messaging.operation.name": "_OTHER", "messaging.destination.name": "orders"},
        ),
        (
            {"protocol": "dns", "request_content": "example.org A", "no_response": True, "is_error": True},
            "dns.lookup.duration",
            {"dns.question.name": "example.org", "error.type": "timeout"},
        ),
    ],
)  # fmt: skip
def test_each_protocol_has_the_words_of_its_convention(fields: Any, name: str, expected: dict[str, Any]) -> None:
    pushing = Pushing()
    pushing.feed([request_row(1, **fields)])
    attributes, point = pushing.push().points(name)[0]
    assert {key: attributes[key] for key in expected} == expected
    assert point.count == 1


def test_what_has_no_convention_has_no_operation() -> None:
    pushing = Pushing()
    pushing.feed([request_row(1, protocol="NOSUPPORT")])
    told = pushing.push()
    assert all(name.startswith("firesteel.network.") for name in told.names())


def test_cumulative_counters_tell_all_and_keep_their_beginning() -> None:
    pushing = Pushing()
    pushing.feed([request_row(1, count=3)])
    first = value(pushing.push(), "firesteel.network.topology.requests")
    pushing.feed([request_row(1, count=10)], now_ns=9 * SECOND)
    second = value(pushing.push(), "firesteel.network.topology.requests")
    assert (first.as_int, second.as_int) == (3, 10)
    assert first.start_time_unix_nano == second.start_time_unix_nano


def test_deltas_tell_what_grew_since_the_last_push_that_arrived() -> None:
    pushing = Pushing("delta")
    pushing.feed([request_row(1, count=3)])
    first = value(pushing.push(), "firesteel.network.topology.requests")
    pushing.feed([request_row(1, count=5)], now_ns=9 * SECOND)
    lost = value(pushing.push(arrive=False), "firesteel.network.topology.requests")
    pushing.feed([request_row(1, count=9)], now_ns=20 * SECOND)
    third = value(pushing.push(), "firesteel.network.topology.requests")
    assert (first.as_int, lost.as_int, third.as_int) == (3, 2, 6)
    assert third.start_time_unix_nano == first.time_unix_nano
    quiet = pushing.push()
    assert "firesteel.network.topology.requests" not in quiet.names()
    assert "http.client.request.duration" not in quiet.names()


def test_temporality_and_monotonicity_are_told() -> None:
    for temporality, told in (("cumulative", 2), ("delta", 1)):
        pushing = Pushing(temporality)  # type: ignore[arg-type]
        pushing.feed([request_row(1)], [tcp_row(1)])
        for request in pushing.push().metrics:
            for resource in request.resource_metrics:
                assert resource.schema_url == SCHEMA_URL
                for metric in resource.scope_metrics[0].metrics:
                    data = getattr(metric, metric.WhichOneof("data") or "")
                    if metric.WhichOneof("data") != "gauge":
                        assert data.aggregation_temporality == AggregationTemporality.ValueType(told)
                    if metric.WhichOneof("data") == "sum":
                        assert data.is_monotonic


def test_tcp_and_connects() -> None:
    pushing = Pushing()
    pushing.feed([], [
        tcp_row(1, srtt_us=700, retransmits=2, resets_received=1, updated_ns=SECOND),
        tcp_row(2, error=111, connects=4, connect_ns=80, updated_ns=SECOND),
    ])  # fmt: skip
    told = pushing.push()
    assert value(told, "firesteel.network.tcp.srtt").as_int == 700
    assert value(told, "firesteel.network.tcp.retransmits").as_int == 2
    assert value(told, "firesteel.network.tcp.resets", network__io__direction="receive").as_int == 1
    attributes, point = told.points("firesteel.network.tcp.connects")[0]
    assert (attributes["firesteel.connect.errno"], attributes["firesteel.connect.success"]) == (111, False)
    assert point.as_int == 4


def test_the_agents_own_metrics_are_pushed_too() -> None:
    pushing = Pushing()
    told = pushing.push(OwnState("1.2.3", snapshot=replace(EMPTY, undirected=9)))
    assert value(told, "firesteel.undirected_requests").as_int == 9
    assert told.points("firesteel.build_info")[0][0]["firesteel.version"] == "1.2.3"


def test_requests_are_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "POINTS_PER_REQUEST", 10)
    pushing = Pushing()
    pushing.feed([request_row(index, count=1, remote_ip=f"192.0.2.{index}") for index in range(1, 36)])
    made = pushing.made()
    assert max(request.items for request in made) == 10
    told = pushing.push()
    assert len(told.points("firesteel.network.topology.requests")) == 35
    assert len(told.points("http.client.request.duration")) == 35


def test_what_exceeds_the_limits_is_one_point() -> None:
    pushing = Pushing(settings=MetricsSettings(rows=RowLimits(entity=10, topology=10, tcp=10)))
    pushing.feed([request_row(index, count=2, request_content=f"/{index}", remote_ip=f"192.0.2.{index}")
                  for index in range(1, 31)])  # fmt: skip
    told = pushing.push()
    points = told.points("http.client.request.duration")
    assert len(points) == 11
    assert sum(point.count for _, point in points) == 60
    over = [point.count for attributes, point in points if attributes.get("otel.metric.overflow")]
    assert over == [40]
    assert sum(point.as_int for _, point in told.points("firesteel.network.topology.requests")) == 60


def test_addresses_outside_are_capped_as_on_the_page() -> None:
    pushing = Pushing(settings=MetricsSettings(outside_addresses=2))
    pushing.feed([request_row(n, remote_ip=f"203.0.113.{n}", remote_port=8000 + n) for n in range(1, 6)])
    found = {
        (labels["server.address"], labels.get("server.port")): point.count
        for labels, point in pushing.push().points("http.client.request.duration")
    }
    assert found == {("203.0.113.1", 8001): 1, ("203.0.113.2", 8002): 1, ("other", None): 3}


def test_workload_detail_leaves_out_what_is_a_pods() -> None:
    pushing = Pushing(settings=MetricsSettings(detail="workload"))
    pushing.feed([request_row(1)])
    attributes, _ = pushing.push().points("http.client.request.duration")[0]
    assert not {"k8s.pod.name", "container.id", "k8s.node.name", "service.instance.id"} & set(attributes)
    assert attributes["k8s.deployment.name"] == "client"


def test_hostile_text_is_sent_as_unicode() -> None:
    pushing = Pushing()
    pushing.feed([request_row(1, request_content='a"\n\udcff\x00' + "x" * 70_000)])
    attributes, _ = pushing.push().points("http.client.request.duration")[0]
    assert attributes["url.template"].startswith('a"\n\ufffd\x00xx')
    assert len(attributes["url.template"]) == 256
