# SPDX-License-Identifier: Apache-2.0
"""The part of the configuration that says where to push, and how: keys `export.otlp.*` of docs/config.md."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Protocol = Literal["grpc", "http"]
Compression = Literal["gzip", "none"]
Temporality = Literal["cumulative", "delta"]
HistogramForm = Literal["explicit", "exponential"]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files; an empty path is none. Without `ca` the system's authorities are trusted."""

    ca: str = ""
    cert: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class OtlpSettings:
    """`endpoint` is a URL; https means TLS. Times are seconds. `queue` is the number of spans that may wait."""

    endpoint: str
    protocol: Protocol = "grpc"
    metrics: bool = True
    spans: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    interval: float = 60.0
    timeout: float = 10.0
    compression: Compression = "gzip"
    temporality: Temporality = "cumulative"
    histograms: HistogramForm = "explicit"
    tls: TlsFiles = field(default_factory=TlsFiles)
    queue: int = 2048

    def tells_as(self, other: "OtlpSettings") -> bool:
        """Whether what is told of counts goes on where it ended with the other's."""
        mine = (self.metrics, self.temporality, self.histograms)
        return mine == (other.metrics, other.temporality, other.histograms)


@dataclass(frozen=True, slots=True)
class Origin:
    """Who pushes: the resource of what belongs to no workload. `instance` tells this agent from all others."""

    version: str
    node: str = ""
    cluster: str = ""
    instance: str = ""
