# SPDX-License-Identifier: Apache-2.0
"""What things are called over OTLP: attributes for the labels, and the metrics that the semantic conventions name.

Conventions: https://opentelemetry.io/docs/specs/semconv/, as of SCHEMA_URL. A test holds every name that is not
`firesteel.*` against the registry that the package opentelemetry-semantic-conventions carries.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
SCOPE: Final = "firesteel"

ValueKind = Literal["text", "number", "truth"]


@dataclass(frozen=True, slots=True)
class Attribute:
    """The name of a label over OTLP, what its text is sent as, and the conventions' words for its values where they differ."""

    name: str
    kind: ValueKind = "text"
    words: Mapping[str, str] = field(default_factory=dict)


_PARTY: Final = {
    "node": "k8s.node.name",
    "namespace": "k8s.namespace.name",
    "workload_kind": "firesteel.workload.kind",
    "workload_name": "firesteel.workload.name",
    "service": "k8s.service.name",
    "pod": "k8s.pod.name",
    "container": "k8s.container.name",
    "container_id": "container.id",
}


def _side(label: str, attribute: str) -> dict[str, Attribute]:
    return {
        f"{label}_{name}": Attribute(f"firesteel.{attribute}.{otel.removeprefix('firesteel.')}")
        for name, otel in _PARTY.items()
    }


ATTRIBUTES: Final[Mapping[str, Attribute]] = {
    **{name: Attribute(otel) for name, otel in _PARTY.items()},
    "ip": Attribute("server.address"),
    "port": Attribute("server.port", "number"),
    "protocol": Attribute("firesteel.protocol"),
    "request_content": Attribute("firesteel.request.content"),
    "response_content": Attribute("firesteel.response.content"),
    "is_slow": Attribute("firesteel.request.slow", "truth"),
    "is_error": Attribute("firesteel.request.error", "truth"),
    **_side("src", "source"),
    **_side("dst", "destination"),
    "src_ip": Attribute("source.address"),
    "src_port": Attribute("source.port", "number"),
    "dst_ip": Attribute("destination.address"),
    "dst_port": Attribute("destination.port", "number"),
    "dst_domain": Attribute("firesteel.destination.domain"),
    "dnat_ip": Attribute("firesteel.destination.translated.address"),
    "dnat_port": Attribute("firesteel.destination.translated.port", "number"),
    "status_code": Attribute("firesteel.response.status_code"),
    "success": Attribute("firesteel.connect.success", "truth"),
    "errno": Attribute("firesteel.connect.errno", "number"),
    "direction": Attribute("network.io.direction", words={"sent": "transmit", "received": "receive"}),
    "pid": Attribute("process.pid", "number"),
    "comm": Attribute("firesteel.process.command"),
}
"""By label of docs/metrics.md. Labels of the agent's own metrics are `firesteel.` and their name."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A histogram of request durations in seconds that the conventions define. `attributes` are those that may be set;
    `protocols` are those whose requests it measures, told from one side."""

    name: str
    side: Literal["client", "server"]
    protocols: tuple[str, ...]
    attributes: tuple[str, ...]
    help: str


_SERVER: Final = ("server.address", "server.port")
_HTTP: Final = (
    "http.request.method", "url.scheme", "http.response.status_code", "error.type", "network.protocol.name",
    "network.protocol.version", *_SERVER,
)  # fmt: skip
_RPC: Final = ("rpc.system.name", "rpc.method", "rpc.response.status_code", "error.type", *_SERVER)

OPERATIONS: Final = (
    Operation(
        "http.server.request.duration", "server", ("http", "http2"), (*_HTTP, "http.route"),
        "Duration of HTTP requests as the server saw them.",
    ),
    Operation(
        "http.client.request.duration", "client", ("http", "http2"), (*_HTTP, "url.template"),
        "Duration of HTTP requests as the client saw them.",
    ),
    Operation("rpc.server.call.duration", "server", ("grpc", "dubbo"), _RPC, "Duration of calls as the server saw them."),
    Operation("rpc.client.call.duration", "client", ("grpc", "dubbo"), _RPC, "Duration of calls as the client saw them."),
    Operation(
        "db.client.operation.duration", "client", ("mysql", "postgresql", "mongodb", "redis", "memcached"),
        (
            "db.system.name", "db.operation.name", "db.collection.name", "db.query.summary", "db.response.status_code",
            "error.type", *_SERVER,
        ),
        "Duration of database operations as the client saw them.",
    ),
    Operation(
        "messaging.client.operation.duration", "client", ("kafka", "rocketmq", "amqp", "mqtt"),
        ("messaging.system", "messaging.operation.name", "messaging.destination.name", "error.type", *_SERVER),
        "Duration of a client's operations at a message broker.",
    ),
    Operation(
        "dns.lookup.duration", "client", ("dns",), ("dns.question.name", "error.type", *_SERVER),
        "Duration of DNS questions as the client saw them.",
    ),
)  # fmt: skip
"""Each goes out under the resource of the workload that was observed."""

RESOURCE_ATTRIBUTES: Final = (
    "service.name", "service.namespace", "service.version", "service.instance.id", "host.name", "k8s.cluster.name",
    "k8s.node.name", "k8s.namespace.name", "k8s.pod.name", "k8s.container.name", "container.id",
    "k8s.deployment.name", "k8s.statefulset.name", "k8s.daemonset.name", "k8s.replicaset.name", "k8s.job.name",
    "k8s.cronjob.name",
)  # fmt: skip
WORKLOAD_ATTRIBUTES: Final[Mapping[str, str]] = {
    "deployment": "k8s.deployment.name",
    "statefulset": "k8s.statefulset.name",
    "daemonset": "k8s.daemonset.name",
    "replicaset": "k8s.replicaset.name",
    "job": "k8s.job.name",
    "cronjob": "k8s.cronjob.name",
}
"""By workload_kind in lower case; other kinds are `firesteel.workload.kind` and `firesteel.workload.name`."""
