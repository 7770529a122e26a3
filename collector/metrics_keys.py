# SPDX-License-Identifier: Apache-2.0
"""The part of the configuration's table that says what the exported series are: `metrics.*`."""

# ruff: noqa: RUF009 - the fields of these dataclasses are rows of a table, and key() and section() write them

from dataclasses import dataclass

from collector.compound_kinds import Items
from collector.key_texts import NAME
from collector.keys import key, section
from collector.kinds import DURATION_UNITS, Choice, Count, Duration, Flag, Text

_SECOND, _HOUR = DURATION_UNITS["s"], DURATION_UNITS["h"]

_PARTY = ("node", "namespace", "workload_kind", "workload_name", "service", "pod", "container", "container_id", "ip")
LABELS = (
    *_PARTY, "port", "protocol", "request_content", "response_content", "is_slow", "is_error", "status_code",
    *(f"src_{label}" for label in _PARTY), *(f"dst_{label}" for label in _PARTY), "src_port", "dst_port",
    "dst_domain", "dnat_ip", "dnat_port", "is_server", "success", "errno", "direction", "pid", "comm",
    "request_duration_status", "request_reqxfer_status", "request_processing_status", "response_rspxfer_status",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ttl:
    """How long an idle series lives."""

    counter: int = key(Duration(_SECOND, 7 * 24 * _HOUR), "1h", "A counter that did not move for so long ends.")
    gauge: int = key(Duration(_SECOND, 24 * _HOUR), "5m", "A gauge that did not move for so long ends.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Most rows of each kind on this node; what exceeds falls into one overflow row and is counted."""

    entity: int = key(Count(10, 30_000), "5000", "Rows of the entity metrics.")
    topology: int = key(Count(10, 30_000), "5000", "Rows of the topology metrics.")
    tcp: int = key(Count(10, 16_000), "5000", "Rows of the TCP metrics.")
    trace: int = key(Count(10, 30_000), "3000", "Rows of the trace view.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Names, detail and life of the exported series."""

    prefix: str = key(
        Text(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}", "a metric name: letters, digits and _"), "kindling", "First word of names."
    )
    detail: str = key(
        Choice(("auto", "pod", "workload")),
        "auto",
        "Which labels are filled: all (pod), those of workloads, or by the number of pods on the node.",
    )
    pod_detail_namespaces: tuple[str, ...] = key(
        Items(NAME, 64), "[]", "Namespaces that keep pod labels at workload detail."
    )
    histograms: str = key(
        Choice(("none", "entity", "topology", "both")), "entity", "Which request durations are exported as histograms."
    )
    scrape_interval: int = key(
        Duration(_SECOND // 10, _HOUR), "30s", "How often Prometheus scrapes: a new counter shows 0 for so long."
    )
    ttl: Ttl = section(Ttl)
    rows: Rows = section(Rows)
    contents_per_workload: int = key(
        Count(1, 10_000), "50", "Different request_content values of one workload; more become `other`."
    )
    outside_addresses: int = key(
        Count(1, 30_000), "500", "Addresses outside of the cluster that get rows of their own."
    )
    process_info: bool = key(Flag(), "false", "Whether connect metrics carry pid and comm.")
    drop_labels: tuple[str, ...] = key(
        Items(Choice(LABELS, "a label of docs/metrics.md"), len(LABELS)),
        "[]",
        "Labels to leave out; rows that then are the same are merged.",
    )
    cluster_label: str = key(
        Text(r"[^\x00-\x1f]{0,128}", "text of at most 128 characters"), '""', "Value of a `cluster` label; empty: none."
    )
