# SPDX-License-Identifier: Apache-2.0
"""Metrics of the traffic. Names, labels and meanings of the {prefix}_* ones are what dashboards made for Kindling use."""

from typing import Final

from exporters.metric import Metric

_PARTY: Final = (
    "node",
    "namespace",
    "workload_kind",
    "workload_name",
    "service",
    "pod",
    "container",
    "container_id",
    "ip",
)


def _sides(*, container_id: bool = True) -> tuple[str, ...]:
    party = [label for label in _PARTY if container_id or label != "container_id"]
    return (*(f"src_{label}" for label in party), *(f"dst_{label}" for label in party))


ENTITY_LABELS: Final = (*_PARTY, "port", "protocol", "request_content", "response_content")
ENTITY_HISTOGRAM_LABELS: Final = (*_PARTY, "port", "protocol")
EDGE_LABELS: Final = (*_sides(), "dst_domain", "dst_port", "protocol", "status_code")
EDGE_HISTOGRAM_LABELS: Final = (*_sides(), "dst_domain", "dst_port", "protocol")
TRACE_LABELS: Final = (
    *_sides(),
    "dst_domain",
    "dst_port",
    "protocol",
    "dnat_ip",
    "dnat_port",
    "is_server",
    "request_content",
    "response_content",
    "request_duration_status",
    "request_reqxfer_status",
    "request_processing_status",
    "response_rspxfer_status",
)
TCP_LABELS: Final = (*_sides(container_id=False), "dst_domain", "src_port", "dst_port")
CONNECT_LABELS: Final = (*TCP_LABELS, "dnat_ip", "dnat_port", "success", "errno")
PROCESS_LABELS: Final = ("pid", "comm")
OUTCOME_LABELS: Final = ("is_slow", "is_error")
WORKLOAD_LABELS: Final = ("namespace", "workload_kind", "workload_name")


_REQUESTED: Final = "no request was seen yet"
_TCP: Final = "no driver is attached, or no TCP connection was seen yet"

ENTITY_TOTAL: Final = Metric(
    "{prefix}_entity_request_total",
    "firesteel.network.entity.requests",
    "counter",
    "{request}",
    (*ENTITY_LABELS, *OUTCOME_LABELS),
    "Requests that a workload on this node was asked. Graph its rate as load; the share of is_error or is_slow says whether its clients are served well.",
    _REQUESTED,
)
ENTITY_DURATION: Final = Metric(
    "{prefix}_entity_request_duration_nanoseconds_total",
    "firesteel.network.entity.duration",
    "counter",
    "ns",
    ENTITY_LABELS,
    "Time these requests took, from the first byte in to the last byte out. Divide its rate by that of entity_request_total for the mean.",
    _REQUESTED,
)
ENTITY_SENT: Final = Metric(
    "{prefix}_entity_request_send_bytes_total",
    "firesteel.network.entity.sent",
    "counter",
    "By",
    ENTITY_LABELS,
    "Bytes the workload sent in its responses. Look here for what fills the network.",
    _REQUESTED,
)
ENTITY_RECEIVED: Final = Metric(
    "{prefix}_entity_request_receive_bytes_total",
    "firesteel.network.entity.received",
    "counter",
    "By",
    ENTITY_LABELS,
    "Bytes the workload received in its requests. Look here for uploads that are larger than meant.",
    _REQUESTED,
)
ENTITY_HISTOGRAM: Final = Metric(
    "{prefix}_entity_request_duration_seconds",
    "",
    "histogram",
    "s",
    ENTITY_HISTOGRAM_LABELS,
    "How long requests took at the workload. Take histogram_quantile of its buckets for the latency that most clients see.",
    "`metrics.histograms` is `topology` or `none`",
)
TOPOLOGY_TOTAL: Final = Metric(
    "{prefix}_topology_request_total",
    "firesteel.network.topology.requests",
    "counter",
    "{request}",
    (*EDGE_LABELS, *OUTCOME_LABELS),
    "Requests from one workload to another. Its rate draws the topology; increase() over a day lists who ever asked whom.",
    _REQUESTED,
)
TOPOLOGY_DURATION: Final = Metric(
    "{prefix}_topology_request_duration_nanoseconds_total",
    "firesteel.network.topology.duration",
    "counter",
    "ns",
    EDGE_LABELS,
    "Time these requests took as the client saw it. Compare its mean with the server's own: the difference is spent between them.",
    _REQUESTED,
)
TOPOLOGY_REQUEST_BYTES: Final = Metric(
    "{prefix}_topology_request_request_bytes_total",
    "firesteel.network.topology.request.size",
    "counter",
    "By",
    EDGE_LABELS,
    "Bytes from client to server on this edge. Sort by its rate towards NOT_FOUND_EXTERNAL to find what leaves the cluster.",
    _REQUESTED,
)
TOPOLOGY_RESPONSE_BYTES: Final = Metric(
    "{prefix}_topology_request_response_bytes_total",
    "firesteel.network.topology.response.size",
    "counter",
    "By",
    EDGE_LABELS,
    "Bytes from server to client on this edge. Sort by its rate to find the heaviest dependency.",
    _REQUESTED,
)
TOPOLOGY_HISTOGRAM: Final = Metric(
    "{prefix}_topology_request_duration_seconds",
    "",
    "histogram",
    "s",
    EDGE_HISTOGRAM_LABELS,
    "How long requests took on this edge. Use it where the mean hides the slow ones; it costs eleven series for each edge.",
    "`metrics.histograms` is `entity` or `none`",
)
TRACE: Final = Metric(
    "{prefix}_trace_request_duration_nanoseconds",
    "",
    "gauge",
    "ns",
    TRACE_LABELS,
    "The newest request of each edge and side, and its newest slow or failed ones. Count it by dst_ip to list the addresses in use now; open a row to see which phase was slow.",
    "no request was seen within the life of a gauge",
)
SRTT: Final = Metric(
    "{prefix}_tcp_srtt_microseconds",
    "firesteel.network.tcp.srtt",
    "gauge",
    "us",
    TCP_LABELS,
    "The kernel's smoothed round-trip time, newest reading. A value far above the usual one for this pair points at the path between them.",
    _TCP,
)
PACKET_LOSS: Final = Metric(
    "{prefix}_tcp_packet_loss_total",
    "firesteel.network.tcp.drops",
    "counter",
    "{packet}",
    TCP_LABELS,
    "Packets of this relation that this node's kernel dropped. If it grows, look at buffers, conntrack and policies of this node.",
    "the hook `kfree_skb` (or `tcp_drop`) is not attached",
)
RETRANSMIT: Final = Metric(
    "{prefix}_tcp_retransmit_total",
    "firesteel.network.tcp.retransmits",
    "counter",
    "{segment}",
    TCP_LABELS,
    "Segments sent again, SYN and SYN-ACK included. If its rate is above a percent of the traffic, the path or the peer loses packets.",
    "the hook `tcp_retransmit_skb` is not attached",
)
RESET: Final = Metric(
    "{prefix}_tcp_reset_total",
    "firesteel.network.tcp.resets",
    "counter",
    "{segment}",
    (*TCP_LABELS, "direction"),
    "Resets sent or received, by direction. Received ones mean that the peer refused or gave up; sent ones that this side did. "
    "Linux 6.1 tells of none that it sends for a port where nobody listens, 6.12 does.",
    "the hooks `tcp_send_reset` and `tcp_receive_reset` are not attached",
)
CONNECTS: Final = Metric(
    "{prefix}_tcp_connect_total",
    "firesteel.network.tcp.connects",
    "counter",
    "{attempt}",
    CONNECT_LABELS,
    'Connection attempts by result. success="false" with errno 111 is a port nobody listens at, 110 a packet filter or a dead host.',
    "no driver is attached, or nothing tried to connect yet",
)
CONNECT_DURATION: Final = Metric(
    "{prefix}_tcp_connect_duration_nanoseconds_total",
    "firesteel.network.tcp.connect.duration",
    "counter",
    "ns",
    CONNECT_LABELS,
    "Time connection attempts took. Its rate divided by that of tcp_connect_total is the mean handshake time.",
    "no driver is attached, or nothing tried to connect yet",
)
WORKLOAD_INFO: Final = Metric(
    "{prefix}_k8s_workload_info",
    "",
    "gauge",
    "1",
    WORKLOAD_LABELS,
    "1 for each workload of the cluster. Join with it to find workloads that nobody asks.",
    "there is no cluster",
)

TRAFFIC: Final = (
    ENTITY_TOTAL,
    ENTITY_DURATION,
    ENTITY_SENT,
    ENTITY_RECEIVED,
    ENTITY_HISTOGRAM,
    TOPOLOGY_TOTAL,
    TOPOLOGY_DURATION,
    TOPOLOGY_REQUEST_BYTES,
    TOPOLOGY_RESPONSE_BYTES,
    TOPOLOGY_HISTOGRAM,
    TRACE,
    SRTT,
    PACKET_LOSS,
    RETRANSMIT,
    RESET,
    CONNECTS,
    CONNECT_DURATION,
    WORKLOAD_INFO,
)
