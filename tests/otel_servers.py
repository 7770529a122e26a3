# SPDX-License-Identifier: Apache-2.0
"""Real receivers of OTLP: an OpenTelemetry Collector (`make otelcol`) and Jaeger (`make jaeger`), where they are built.

Building them takes Go and minutes, so no test must have them: tests that go through them are skipped where they are not built.
"""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.receivers import until
from tests.servers import free_port, listens

ROOT = Path(__file__).resolve().parents[1]
_COLLECTOR = """
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:{port}
        {tls}
exporters:
  otlphttp: {{endpoint: "http://127.0.0.1:{onwards}", compression: none, sending_queue: {{enabled: false}}, retry_on_failure: {{enabled: false}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    metrics: {{receivers: [otlp], exporters: [otlphttp]}}
    traces: {{receivers: [otlp], exporters: [otlphttp]}}
"""


def otelcol() -> str:
    """The command; the test is skipped where it is not built."""
    return _built("FIRESTEEL_OTELCOL", "otelcol", ROOT / "build" / "otelcol" / "otelcol", "otelcol")


def jaeger() -> str:
    """The command; the test is skipped where it is not built."""
    return _built("FIRESTEEL_JAEGER", "jaeger-all-in-one", ROOT / "build" / "jaeger" / "all-in-one", "jaeger")


def _built(variable: str, name: str, path: Path, target: str) -> str:
    found = os.environ.get(variable) or shutil.which(name) or (str(path) if path.exists() else "")
    if not found:
        pytest.skip(f"optional: no {name}: make {target}")
    return found


@contextmanager
def otel_collector(
    folder: Path, onwards: int, port: int = 0, certificate: tuple[Path, Path] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Takes OTLP by gRPC at `port` and hands it on by HTTP, at once: what its next one refuses it refuses too."""
    found = otelcol()
    tls = "" if certificate is None else f"tls: {{cert_file: {certificate[0]}, key_file: {certificate[1]}}}"
    (folder / "collector.yaml").write_text(_COLLECTOR.format(port=port, onwards=onwards, tls=tls))
    with _program([found, "--config", f"file:{folder / 'collector.yaml'}"], port, folder / "collector.log") as process:
        yield process


class Jaeger:
    """A trace store, asked as its user interface does."""

    def __init__(self, port: int, query: int) -> None:
        self.port = port
        self._query = query

    def spans(self, trace_id: str) -> list[dict[str, Any]]:
        """Spans of one trace, each with `process` and its tags by name."""
        try:
            address = f"http://127.0.0.1:{self._query}/api/traces/{trace_id}"
            with urllib.request.urlopen(address, timeout=10) as answer:
                traces = json.load(answer)["data"]
        except urllib.error.HTTPError:  # 404: none yet
            return []
        return [
            span | {"process": trace["processes"][span["processID"]], "tags": _tags(span["tags"])}
            for trace in traces
            for span in trace["spans"]
        ]


def _tags(tags: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in tags}


@contextmanager
def jaeger_store(folder: Path) -> Iterator[Jaeger]:
    found = jaeger()
    port, query = free_port(), free_port()
    told = {"collector.otlp.grpc": port, "query.http-server": query}
    others = (
        "admin.http",
        "collector.grpc-server",
        "collector.http-server",
        "collector.otlp.http",
        "query.grpc-server",
    )
    told |= {name: free_port() for name in others}
    command = [found, *(f"--{name}.host-port=127.0.0.1:{number}" for name, number in told.items())]
    with _program(command, query, folder / "jaeger.log") as process:
        until(lambda: process.poll() is not None or listens(process.pid, "127.0.0.1", port), 30)
        yield Jaeger(port, query)


@contextmanager
def _program(command: list[str], port: int, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with path.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until(lambda: process.poll() is not None or listens(process.pid, "127.0.0.1", port), 30)
        assert process.poll() is None, path.read_text()
        yield process
    finally:
        process.terminate()
        process.wait(15)
