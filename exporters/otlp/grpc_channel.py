# SPDX-License-Identifier: Apache-2.0
"""OTLP over gRPC. Importing this costs 9 MiB, so it is done where an endpoint asks for it, and nowhere else."""

import ssl
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from exporters.otlp.delivery import ChannelError, Outcome, Signal
from exporters.otlp.settings import OtlpSettings

_METHODS: Final = {
    Signal.METRICS: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    Signal.SPANS: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
}
_CODES = grpc.StatusCode
_RETRYABLE: Final = frozenset({
    _CODES.CANCELLED, _CODES.DEADLINE_EXCEEDED, _CODES.ABORTED, _CODES.OUT_OF_RANGE, _CODES.UNAVAILABLE, _CODES.DATA_LOSS,
})  # fmt: skip
# The lanes wait and try again themselves; a channel that did so too would answer late and hide why.
_OPTIONS: Final = (
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", 1 << 16),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 10_000),
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.primary_user_agent", "firesteel"),
)


class GrpcChannel:
    def __init__(self, settings: OtlpSettings) -> None:
        """Reads the TLS files. Connects with the first request. Raises ChannelError."""
        parts = urlsplit(settings.endpoint)
        secure = parts.scheme == "https"
        host = parts.hostname or ""
        port = parts.port or (443 if secure else 80)
        self._target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._timeout = settings.timeout
        # Names of gRPC metadata are lower case.
        self._metadata = tuple((name.lower(), value) for name, value in settings.headers.items())
        self._compression = grpc.Compression.Gzip if settings.compression == "gzip" else grpc.Compression.NoCompression
        self._credentials = _credentials(settings) if secure else None
        self._channel: Any = None
        self._calls: dict[Signal, Any] = {}

    def send(self, signal: Signal, body: bytes) -> Outcome:
        call = self._calls.get(signal)
        if call is None:
            # Bytes go as they are: they are the message already.
            call = self._calls[signal] = self._open().unary_unary(_METHODS[signal])
        try:
            answer = call(body, timeout=self._timeout, metadata=self._metadata, compression=self._compression)
        except grpc.RpcError as error:
            return _failed(error)
        return _accepted(signal, answer)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def _open(self) -> Any:
        """With its threads, which must not be there before the privileges are given up."""
        if self._channel is None:
            if self._credentials is not None:
                self._channel = grpc.secure_channel(self._target, self._credentials, options=_OPTIONS)
            else:
                self._channel = grpc.insecure_channel(self._target, options=_OPTIONS)
        return self._channel


def _accepted(signal: Signal, answer: bytes) -> Outcome:
    try:
        if signal is Signal.METRICS:
            return Outcome(
                rejected=ExportMetricsServiceResponse.FromString(answer).partial_success.rejected_data_points
            )
        return Outcome(rejected=ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans)
    except DecodeError:
        return Outcome("the answer is not OTLP: is this a collector's gRPC port?")


def _failed(error: Any) -> Outcome:
    code, details = error.code(), str(error.details() or "")
    trailers = dict(error.trailing_metadata() or ())
    # RESOURCE_EXHAUSTED is for good unless the receiver says when to come again.
    told = b"google.rpc.RetryInfo" in bytes(trailers.get("grpc-status-details-bin", b""))
    retry = code in _RETRYABLE or (code is _CODES.RESOURCE_EXHAUSTED and told)
    return Outcome(f"gRPC status {code.name}: {details[:300]}", retry)


def _credentials(settings: OtlpSettings) -> grpc.ChannelCredentials:
    files = settings.tls
    try:
        roots = Path(
            files.ca or ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
        ).read_bytes()
        chain = Path(files.cert).read_bytes() if files.cert else None
        key = Path(files.key).read_bytes() if files.key else None
    except OSError as error:
        raise ChannelError(f"export.otlp.tls: {error.filename}: {error.strerror}") from error
    return grpc.ssl_channel_credentials(roots, key, chain)
