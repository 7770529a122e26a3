# SPDX-License-Identifier: Apache-2.0
"""What the configuration means to each part: the engine's settings and those of the metrics page."""

from typing import cast

from analyzers.contract import PROTOCOLS
from analyzers.settings import EngineSettings, PortRule
from collector.metadata.names_connection import NamesSettings
from collector.schema import Config
from exporters.settings import Detail, Histograms, MetricsSettings, RowLimits

_UNDECODED = PROTOCOLS[0]
_UNDECODED_BYTES = 255  # what a sample has room for
# Longer than a row's first values may wait to be taken: for the name of its owner (analyzers.snapshot.NAME_PATIENCE_NS),
# and for the next turn of an agent that has so many rows.
_EARLY_IDLE_NS = 45 * 10**9
_COMM_BYTES = 15  # the kernel has no longer names


_CARRIERS = {"grpc": "http2", "websocket": "http"}
"""What cannot be decoded without another protocol, in which it comes: that is switched on with it, and looked for at its ports."""


def engine_settings(config: Config) -> EngineSettings:
    """Live keys of protocols, requests, payload, samples and connections. What has no parser stays undecoded."""
    protocols, payload = config.protocols, config.payload
    named = frozenset(PROTOCOLS if protocols.enabled == ("default",) else protocols.enabled) & frozenset(PROTOCOLS)
    enabled = named | {_CARRIERS[name] for name in named & _CARRIERS.keys()}
    return EngineSettings(
        max_connections=config.connections.max,
        contents_per_workload=config.metrics.contents_per_workload,
        connection_idle_ns=config.connections.idle,
        row_idle_ns=max(config.metrics.ttl.counter, _EARLY_IDLE_NS),
        early_idle_ns=_EARLY_IDLE_NS,
        no_response_ns=config.requests.no_response,
        slow_ns={name: protocols.slow_ns(name) for name in PROTOCOLS},
        slow_default_ns=protocols.slow["default"],
        protocols_enabled=enabled | {_UNDECODED},
        sample_rate=config.samples.rate,
        sample_per_edge=config.samples.per_edge,
        sample_normal_permille=round(config.samples.normal * 1000),
        capture_bytes=payload.capture_bytes,
        undecoded_bytes=_UNDECODED_BYTES if protocols.plugins else 0,
        parse_bytes=payload.parse_bytes,
        stream_bytes=payload.stream_bytes,
        url_clustering=config.requests.url_clustering,
        dns_nxdomain_is_error=config.requests.dns_nxdomain_is_error,
        port_rules=tuple(
            PortRule(port, _CARRIERS.get(name, name) if name in PROTOCOLS else None)
            for port, name in sorted(protocols.ports.items())
        ),
        count_verbs=counts_calls(config),
        count_fine=counts_finely(config),
        protocols_unwanted=frozenset(config.scope.exclude_protocols) & frozenset(PROTOCOLS),
        unwanted_comms=tuple(name for name in config.scope.exclude_comms if len(name.encode()) <= _COMM_BYTES),
        unwanted_paths=config.scope.exclude_paths,
    )


def counts_calls(config: Config) -> bool:
    """Whether requests are counted by operation, for OTLP."""
    return bool(config.export.otlp.endpoint) and config.export.otlp.metrics


def counts_finely(config: Config) -> bool:
    """Whether durations are counted in fine buckets."""
    return counts_calls(config) and config.export.otlp.histograms == "exponential"


def metrics_settings(config: Config) -> MetricsSettings:
    """The keys metrics.*, with the histogram bounds that the engine counts by."""
    metrics = config.metrics
    rows = metrics.rows
    return MetricsSettings(
        prefix=metrics.prefix,
        detail=cast("Detail", metrics.detail),
        pod_detail_namespaces=frozenset(metrics.pod_detail_namespaces),
        histograms=cast("Histograms", metrics.histograms),
        scrape_interval_ns=metrics.scrape_interval,
        counter_ttl_ns=metrics.ttl.counter,
        gauge_ttl_ns=metrics.ttl.gauge,
        rows=RowLimits(entity=rows.entity, topology=rows.topology, tcp=rows.tcp, trace=rows.trace),
        contents_per_workload=metrics.contents_per_workload,
        outside_addresses=metrics.outside_addresses,
        process_info=metrics.process_info,
        drop_labels=frozenset(metrics.drop_labels),
        cluster_label=metrics.cluster_label,
        bounds_ns=EngineSettings().bucket_ns,
    )


def names_settings(config: Config) -> NamesSettings | None:
    """The keys kubernetes.names*; None where the API server alone is asked."""
    settings = config.kubernetes
    return None if settings.names == "off" else NamesSettings(settings.names, settings.names_ca, settings.names_token)
