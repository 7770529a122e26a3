# SPDX-License-Identifier: Apache-2.0
"""One request in the words of the semantic conventions, for histograms and spans alike.

https://opentelemetry.io/docs/specs/semconv/http/, /rpc/, /db/, /messaging/ and /dns/, as of the registry's SCHEMA_URL.
A method of HTTP that the conventions do not know, or that was not captured, is `_OTHER`, their value for that.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from exporters.otlp.wire import Value

Side = Literal["client", "server"]
Pairs = list[tuple[str, Value]]

# https://grpc.github.io/grpc/core/md_doc_statuscodes.html
_GRPC_CODES: Final = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
_DATABASES: Final = ("mysql", "postgresql", "mongodb", "redis", "memcached")
_COLLECTIONS: Final = frozenset({"mysql", "postgresql", "mongodb"})
_BROKERS: Final = {"kafka": "kafka", "rocketmq": "rocketmq", "amqp": "rabbitmq", "mqtt": "mqtt"}
_TOPIC: Final = "Topic:"
_NO_ANSWER: Final = "timeout"
_UNTOLD: Final = "_OTHER"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one kind of request. `status` is the protocol's as text, empty if it has none; `answer` is the
    response_content. `address` and `port` are the serving end's. `method` is HTTP's, empty if it is none that the
    conventions know."""

    side: Side
    protocol: str
    content: str
    status: str
    answer: str
    is_error: bool
    no_response: bool
    address: str
    port: int
    method: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """`metric` is the convention's histogram for it, empty if there is none; `name` is a span's; `failed` is whether the
    conventions call it an error of this side."""

    metric: str
    name: str
    pairs: Pairs
    failed: bool


def tell(facts: Facts) -> Told:
    """The conventions' words for a request."""
    told = _FAMILIES.get(facts.protocol, _plain)(facts)
    if facts.address:
        told.pairs.append(("server.address", facts.address))
    if facts.port:
        told.pairs.append(("server.port", facts.port))
    return told


def _error(facts: Facts, code: str) -> Pairs:
    """error.type: the code of the answer, or that there was none."""
    if not facts.is_error:
        return []
    return [("error.type", _NO_ANSWER if facts.no_response else code or _UNTOLD)]


def _http(facts: Facts) -> Told:
    status = facts.status or (facts.answer if facts.answer.isdecimal() else "")
    method = facts.method or _UNTOLD
    pairs: Pairs = [("http.request.method", method), ("url.scheme", "http"), ("network.protocol.name", "http")]
    if facts.protocol == "http2":
        pairs.append(("network.protocol.version", "2"))
    if status.isdecimal():
        pairs.append(("http.response.status_code", int(status)))
    route = "http.route" if facts.side == "server" else "url.template"
    pairs.append((route, facts.content))
    # A server that says 4xx works as it should: the client was wrong.
    failed = facts.is_error and (facts.side == "client" or not status.startswith("4"))
    if failed:
        pairs += _error(facts, status)
    # "HTTP" stands for a method that is not known: https://opentelemetry.io/docs/specs/semconv/http/http-spans/#name
    return Told(
        f"http.{facts.side}.request.duration", f"{facts.method or 'HTTP'} {facts.content}".rstrip(), pairs, failed
    )


def _rpc(facts: Facts) -> Told:
    method = facts.content.removeprefix("/").replace("#", "/")
    status = facts.status
    if facts.protocol == "grpc" and status.isdecimal() and int(status) < len(_GRPC_CODES):
        status = _GRPC_CODES[int(status)]
    # With the status of success, what failed is the service: it threw.
    code = "exception" if (facts.protocol, status) == ("dubbo", "20") else status
    pairs: Pairs = [("rpc.system.name", facts.protocol), ("rpc.method", method), *_error(facts, code)]
    if not facts.no_response:
        pairs.append(("rpc.response.status_code", status))
    return Told(f"rpc.{facts.side}.call.duration", method or facts.protocol, pairs, facts.is_error)


def _database(facts: Facts) -> Told:
    operation, target = _operation(facts)
    pairs: Pairs = [("db.system.name", facts.protocol), ("db.operation.name", operation)]
    if facts.protocol in _COLLECTIONS:
        collection = target.partition(" ")[0]
        pairs.append(("db.collection.name", "" if collection == "*" else collection))
        summary = f"{operation} {target}".removesuffix(" *").rstrip()
        pairs.append(("db.query.summary", summary))
    code = facts.status if facts.status != "0" else ""
    if facts.is_error and not facts.no_response:
        pairs.append(("db.response.status_code", code))
    pairs += _error(facts, code or facts.answer)
    name = " ".join(part for part in (operation, target.removesuffix("*").strip()) if part) or facts.protocol
    metric = "db.client.operation.duration" if facts.side == "client" else ""
    return Told(metric, name, pairs, facts.is_error)


def _messaging(facts: Facts) -> Told:
    operation, target = facts.content.partition(" ")[::2]
    if facts.content.startswith(_TOPIC):  # RocketMQ's: what was done to the topic is not told
        operation, target = "", facts.content.removeprefix(_TOPIC)
    destination = "" if target == "*" else target
    pairs: Pairs = [
        ("messaging.system", _BROKERS[facts.protocol]),
        ("messaging.operation.name", operation or _UNTOLD),
        ("messaging.destination.name", destination),
        *_error(facts, facts.answer or facts.status),
    ]
    metric = "messaging.client.operation.duration" if facts.side == "client" else ""
    return Told(metric, f"{operation} {destination}".strip() or facts.protocol, pairs, facts.is_error)


def _dns(facts: Facts) -> Told:
    question = facts.content.partition(" ")[0]
    pairs: Pairs = [("dns.question.name", question or _UNTOLD), *_error(facts, facts.answer or facts.status)]
    metric = "dns.lookup.duration" if facts.side == "client" else ""
    return Told(metric, f"DNS {facts.content}".rstrip(), pairs, facts.is_error)


def _plain(facts: Facts) -> Told:
    pairs: Pairs = [("firesteel.protocol", facts.protocol), *_error(facts, facts.status)]
    return Told("", facts.protocol, pairs, facts.is_error)


def _operation(facts: Facts) -> tuple[str, str]:
    """Redis and memcached name the operation alone ("CONFIG SET"), the others what it is done to as well."""
    if facts.protocol not in _COLLECTIONS:
        return facts.content, ""
    operation, _, target = facts.content.partition(" ")
    return operation, target


_FAMILIES: Final[Mapping[str, Callable[[Facts], Told]]] = {
    "http": _http,
    "http2": _http,
    "grpc": _rpc,
    "dubbo": _rpc,
    **dict.fromkeys(_DATABASES, _database),
    **dict.fromkeys(_BROKERS, _messaging),
    "dns": _dns,
}
