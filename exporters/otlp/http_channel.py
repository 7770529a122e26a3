# SPDX-License-Identifier: Apache-2.0
"""OTLP over HTTP with binary Protobuf: POST to /v1/metrics and /v1/traces."""

import gzip
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import Final

import urllib3
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from exporters.otlp.delivery import ChannelError, Outcome, Signal
from exporters.otlp.settings import OtlpSettings

_PATHS: Final = {Signal.METRICS: "/v1/metrics", Signal.SPANS: "/v1/traces"}
_RETRYABLE: Final = frozenset({429, 502, 503, 504})
_ANSWER_BYTES: Final = 1 << 16
_GZIP_LEVEL: Final = 1


class HttpChannel:
    def __init__(self, settings: OtlpSettings) -> None:
        """Reads the TLS files. Raises ChannelError."""
        self._settings = settings
        self._base = settings.endpoint.rstrip("/")
        self._headers = {
            "Content-Type": "application/x-protobuf",
            "User-Agent": "firesteel",
            **({"Content-Encoding": "gzip"} if settings.compression == "gzip" else {}),
            **settings.headers,
        }
        context = _context(settings) if self._base.startswith("https") else None
        self._pool = urllib3.PoolManager(num_pools=1, maxsize=2, retries=False, ssl_context=context)

    def send(self, signal: Signal, body: bytes) -> Outcome:
        if self._settings.compression == "gzip":
            body = gzip.compress(body, _GZIP_LEVEL)
        try:
            answer = self._pool.request(
                "POST",
                self._base + _PATHS[signal],
                body=body,
                headers=self._headers,
                timeout=urllib3.Timeout(total=self._settings.timeout),
                preload_content=False,
                redirect=False,
            )
            try:
                content = self._read(answer)
                status, retry_after = answer.status, answer.headers.get("Retry-After", "")
            finally:
                # What the receiver still sends of a longer answer is not waited for.
                answer.close()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            return Outcome(_reason(error), retry=True)
        if status == 200:
            return _accepted(signal, content)
        retry = status in _RETRYABLE
        return Outcome(f"HTTP status {status}", retry, _wait(retry_after) if retry else 0.0)

    def close(self) -> None:
        self._pool.clear()

    def _read(self, answer: urllib3.BaseHTTPResponse) -> bytes:
        """Of the body what may matter. Raises TimeoutError: urllib3's time holds for each read, which a receiver that sends byte by
        byte begins anew with each."""
        end = time.monotonic() + self._settings.timeout
        content = b""
        while len(content) < _ANSWER_BYTES and (piece := answer.read1(_ANSWER_BYTES - len(content))):
            content += piece
            if time.monotonic() > end:
                raise TimeoutError(f"the answer is not all there after {self._settings.timeout:g} s more")
        return content


def _accepted(signal: Signal, content: bytes) -> Outcome:
    """200 with a partial success means that some were refused for good."""
    try:
        if signal is Signal.METRICS:
            return Outcome(
                rejected=ExportMetricsServiceResponse.FromString(content).partial_success.rejected_data_points
            )
        return Outcome(rejected=ExportTraceServiceResponse.FromString(content).partial_success.rejected_spans)
    except DecodeError:
        return Outcome("the answer is not OTLP: is this a collector's HTTP port?")


def _wait(retry_after: str) -> float:
    """Seconds, or a date (RFC 9110, 10.2.3)."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return 0.0


def _reason(error: Exception) -> str:
    """urllib3 wraps the cause in objects whose text is an address."""
    told = str(error)
    return told.rpartition("object at ")[2].partition(": ")[2] or told or type(error).__name__


def _context(settings: OtlpSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    files = settings.tls
    try:
        if files.ca:
            context = ssl.create_default_context(cafile=files.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
        if files.cert:
            context.load_cert_chain(files.cert, files.key or None)
    except (OSError, ssl.SSLError) as error:
        raise ChannelError(f"export.otlp.tls: {files.ca or files.cert} cannot be used: {error}") from error
    return context
