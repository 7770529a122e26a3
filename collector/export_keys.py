# SPDX-License-Identifier: Apache-2.0
"""The part of the configuration's table that says what is sent elsewhere: `export.*`."""

# ruff: noqa: RUF009 - the fields of these dataclasses are rows of a table, and key() and section() write them

from collections.abc import Mapping
from dataclasses import dataclass

from collector.compound_kinds import Table
from collector.key_texts import PATH
from collector.keys import key, section
from collector.kinds import DURATION_UNITS, Choice, Count, Duration, Flag, Size, Text

_SECOND, _MINUTE, _HOUR = DURATION_UNITS["s"], DURATION_UNITS["m"], DURATION_UNITS["h"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpTls:
    """For an https endpoint."""

    ca: str = key(PATH, '""', "PEM file with the authorities that may vouch for the collector; empty: the system's.")
    cert: str = key(PATH, '""', "PEM file with the agent's own certificate; empty: none.")
    key: str = key(PATH, '""', "PEM file with its private key.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Otlp:
    """Push to an OpenTelemetry collector."""

    endpoint: str = key(
        Text(
            r"(https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[!-~]*)?)?",
            'a URL such as http://collector:4317, or ""',
        ),
        '""',
        "OpenTelemetry collector that metrics are pushed to; empty: none.",
    )
    protocol: str = key(
        Choice(("auto", "grpc", "http")), "auto", "How it is spoken to; auto: http on port 4318, else grpc."
    )
    metrics: bool = key(Flag(), "true", "Whether metrics are pushed.")
    spans: bool = key(Flag(), "false", "Whether sampled requests are pushed as spans.")
    headers: Mapping[str, str] = key(
        Table(
            Text(r"[A-Za-z0-9_.-]{1,64}", "a header name"),
            Text(r"[\x20-\x7e]{0,4096}", "printable text, or @ and the absolute path of a file that holds it"),
            16,
        ),
        "{}",
        "Header fields of each request, such as a token. `@/path` takes the value from a file.",
    )
    interval: int = key(Duration(_SECOND, _HOUR), "60s", "How often metrics are pushed.")
    timeout: int = key(Duration(_SECOND // 10, 5 * _MINUTE), "10s", "How long the collector may take for one request.")
    compression: str = key(Choice(("gzip", "none")), "gzip", "How requests are packed.")
    temporality: str = key(
        Choice(("cumulative", "delta")), "cumulative", "Whether counters tell their whole value or what they grew."
    )
    histograms: str = key(
        Choice(("explicit", "exponential")),
        "explicit",
        "Durations in the buckets of the metrics page, or in exponential ones, each 1.41 times as wide as the one before.",
    )
    queue: int = key(Count(16, 100_000), "2048", "Sampled requests that may wait to be pushed as spans.")
    tls: OtlpTls = section(OtlpTls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Jsonl:
    """Sampled requests and edges as lines of JSON."""

    path: str = key(
        Text(
            r"(-|(unix:)?/[^\x00]+)?", 'an absolute path, "unix:" and one of a socket, "-" for standard output, or ""'
        ),
        '""',
        "Where lines are written to (docs/jsonl.md); empty: nowhere.",
    )
    requests: bool = key(Flag(), "true", "Whether there is a line for each sampled request.")
    edges: bool = key(Flag(), "true", "Whether there is a line for each edge that moved, once an interval.")
    interval: int = key(Duration(_SECOND, _HOUR), "60s", "How often edges are written.")
    max_size: int = key(Size(1 << 16, 1 << 34, power=False), "64MiB", "Size at which a file is put aside.")
    files: int = key(Count(0, 100), "3", "Files that are kept aside; the oldest goes first.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is sent elsewhere."""

    otlp: Otlp = section(Otlp)
    jsonl: Jsonl = section(Jsonl)
