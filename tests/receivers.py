# SPDX-License-Identifier: Apache-2.0
"""Receivers of OTLP for tests, by HTTP and gRPC, that do as they are told: take, refuse, stall, break off, talk nonsense."""

import gzip
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

_UNAVAILABLE = 14


@dataclass
class Receiver:
    """What arrived, and how to answer: `status` is HTTP's or gRPC's number for the next answers.

    `nonsense` is answered, as a success, to what is then not taken; `missing` bytes that were announced never come, and
    there are `drip` seconds between each two that do (HTTP only);
    `asked` is called when a request is all there; if it says so, that is not taken and nothing is answered.
    """

    port: int = 0
    status: int = 0
    stall: float = 0.0
    nonsense: bytes = b""
    missing: int = 0
    drip: float = 0.0
    asked: Callable[[], bool] = lambda: False
    answer_headers: dict[str, str] = field(default_factory=dict)
    rejected: int = 0
    metrics: list[ExportMetricsServiceRequest] = field(default_factory=list)
    traces: list[ExportTraceServiceRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    attempts: int = 0
    # What was read of it so far: on a busy machine there is a lot, and tests ask again and again.
    _points: dict[str, tuple[int, list[tuple[dict[str, Any], Any]]]] = field(default_factory=dict)
    _spans: list[tuple[dict[str, Any], Span]] = field(default_factory=list)
    _spans_read: int = 0

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """Attributes (the resource's included) and point of every data point of a metric, in the order of arrival."""
        read, known = self._points.get(name, (0, []))
        fresh = self.metrics[read:]
        known += [
            (attributes(resource.resource.attributes) | attributes(point.attributes), point)
            for request in fresh
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in getattr(metric, metric.WhichOneof("data") or "").data_points
        ]
        self._points[name] = (read + len(fresh), known)
        return known

    def names(self) -> set[str]:
        return {
            metric.name
            for request in self.metrics
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def spans(self) -> list[tuple[dict[str, Any], Span]]:
        fresh = self.traces[self._spans_read :]
        self._spans_read += len(fresh)
        self._spans += [
            (attributes(resource.resource.attributes) | attributes(span.attributes), span)
            for request in fresh
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return self._spans


def attributes(pairs: Any) -> dict[str, Any]:
    def value(pair: KeyValue) -> Any:
        kind = pair.value.WhichOneof("value")
        return getattr(pair.value, kind) if kind else None

    found = {pair.key: value(pair) for pair in pairs}
    assert len(found) == len(pairs), "an attribute is there twice"
    return found


@contextmanager
def http_receiver(
    port: int = 0, certificate: tuple[Path, Path] | None = None, authority: Path | None = None
) -> Iterator[Receiver]:
    """`authority` is who must have signed the certificate of a client; without it none is asked for."""
    told = Receiver(status=200)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            told.attempts += 1
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            time.sleep(told.stall)
            told.headers.append({name.lower(): value for name, value in self.headers.items()})
            if told.asked():
                self.close_connection = True
                return
            answer = told.nonsense
            if told.status == 200 and not told.nonsense and not told.missing:
                answer = self._take(body)
            self.send_response(told.status)
            for name, value in told.answer_headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer) + told.missing))
            self.end_headers()
            for piece in [answer[i : i + 1] for i in range(len(answer))] if told.drip else [answer]:
                self.wfile.write(piece)
                time.sleep(told.drip)
            if told.missing:
                self.close_connection = True

        def _take(self, body: bytes) -> bytes:
            if self.path == "/v1/metrics":
                return _take_metrics(told, ExportMetricsServiceRequest.FromString(body)).SerializeToString()
            assert self.path == "/v1/traces", self.path
            return _take_traces(told, ExportTraceServiceRequest.FromString(body)).SerializeToString()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base has it
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        if authority is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(authority)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    told.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _take_metrics(told: Receiver, request: ExportMetricsServiceRequest) -> ExportMetricsServiceResponse:
    told.metrics.append(request)
    taken = ExportMetricsServiceResponse()
    taken.partial_success.rejected_data_points = told.rejected
    return taken


def _take_traces(told: Receiver, request: ExportTraceServiceRequest) -> ExportTraceServiceResponse:
    told.traces.append(request)
    taken = ExportTraceServiceResponse()
    taken.partial_success.rejected_spans = told.rejected
    return taken


def _handler(told: Receiver, service: str, read: Callable[[bytes], Any], take: Any) -> grpc.GenericRpcHandler:
    """A service with one call, which answers with bytes."""

    def export(request: Any, context: Any) -> Any:
        told.attempts += 1
        told.headers.append(dict(context.invocation_metadata()))
        time.sleep(told.stall)
        status = _UNAVAILABLE if told.asked() else told.status
        if status:
            context.abort(next(code for code in grpc.StatusCode if code.value[0] == status), "as the test wants it")
        return told.nonsense or take(told, request).SerializeToString()

    method = grpc.unary_unary_rpc_method_handler(export, read, bytes)
    return grpc.method_handlers_generic_handler(f"opentelemetry.proto.collector.{service}", {"Export": method})


@contextmanager
def grpc_receiver(
    port: int = 0, certificate: tuple[Path, Path] | None = None, authority: Path | None = None
) -> Iterator[Receiver]:
    """`authority` is who must have signed the certificate of a client; without it none is asked for."""
    told = Receiver()
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers(
        (
            _handler(told, "metrics.v1.MetricsService", ExportMetricsServiceRequest.FromString, _take_metrics),
            _handler(told, "trace.v1.TraceService", ExportTraceServiceRequest.FromString, _take_traces),
        )
    )
    if certificate is None:
        told.port = server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        chain, key = (path.read_bytes() for path in certificate)
        clients = authority.read_bytes() if authority else None
        credentials = grpc.ssl_server_credentials([(key, chain)], clients, require_client_auth=authority is not None)
        told.port = server.add_secure_port(f"127.0.0.1:{port}", credentials)
    server.start()
    try:
        yield told
    finally:
        server.stop(0).wait()


def self_signed(folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    """Certificate and key for `name` and 127.0.0.1."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def until(what: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
