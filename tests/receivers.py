# SPDX-License-Identifier: Apache-2.0
"""Receivers of OTLP for tests, by HTTP and gRPC, that do as they are told: take, refuse, stall, break off."""

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
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Receiver:
    """What arrived, and how to answer: `status` is HTTP's or gRPC's number for the next answers."""

    port: int = 0
    status: int = 0
    stall: float = 0.0
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
def http_receiver(port: int = 0, certificate: tuple[Path, Path] | None = None) -> Iterator[Receiver]:
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
            answer = b""
            if told.status == 200:
                answer = self._take(body)
            self.send_response(told.status)
            for name, value in told.answer_headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def _take(self, body: bytes) -> bytes:
            if self.path == "/v1/metrics":
                told.metrics.append(ExportMetricsServiceRequest.FromString(body))
                taken = ExportMetricsServiceResponse()
                taken.partial_success.rejected_data_points = told.rejected
                return taken.SerializeToString()
            assert self.path == "/v1/traces", self.path
            told.traces.append(ExportTraceServiceRequest.FromString(body))
            spans = ExportTraceServiceResponse()
            spans.partial_success.rejected_spans = told.rejected
            return spans.SerializeToString()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base has it
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
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


class _Metrics(MetricsServiceServicer):
    def __init__(self, told: Receiver) -> None:
        self._told = told

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - as the protocol has it
        _answer(self._told, context)
        self._told.metrics.append(request)
        taken = ExportMetricsServiceResponse()
        taken.partial_success.rejected_data_points = self._told.rejected
        return taken


class _Traces(TraceServiceServicer):
    def __init__(self, told: Receiver) -> None:
        self._told = told

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        _answer(self._told, context)
        self._told.traces.append(request)
        return ExportTraceServiceResponse()


def _answer(told: Receiver, context: Any) -> None:
    told.attempts += 1
    told.headers.append(dict(context.invocation_metadata()))
    time.sleep(told.stall)
    if told.status:
        code = next(code for code in grpc.StatusCode if code.value[0] == told.status)
        context.abort(code, "as the test wants it")


@contextmanager
def grpc_receiver(port: int = 0, certificate: tuple[Path, Path] | None = None) -> Iterator[Receiver]:
    told = Receiver()
    server = grpc.server(ThreadPoolExecutor(4))
    add_MetricsServiceServicer_to_server(_Metrics(told), server)  # type: ignore[no-untyped-call]
    add_TraceServiceServicer_to_server(_Traces(told), server)  # type: ignore[no-untyped-call]
    if certificate is None:
        told.port = server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        chain, key = (path.read_bytes() for path in certificate)
        credentials = grpc.ssl_server_credentials([(key, chain)])
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
