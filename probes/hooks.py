# SPDX-License-Identifier: Apache-2.0
"""The hooks of the core driver's tracepoint set, one row each. docs and the doctor read this table too."""

from dataclasses import dataclass
from enum import Enum


class Attach(Enum):
    """How a program is attached."""

    TRACEPOINT = "tracepoint"
    CGROUP = "cgroup"
    ITERATOR = "iterator"


@dataclass(frozen=True, slots=True)
class Hook:
    """`name` is the kernel's, `program` is the function in ebpf/firesteel.bpf.c.

    A required hook that cannot attach rejects the driver. An optional one leaves `loses` without data, and says so.
    `arguments` is how many the kernel's tracepoint must have at least; of several rows of one name the first that fits
    is used.
    """

    name: str
    program: str
    attach: Attach
    required: bool
    purpose: str
    loses: str = ""
    arguments: int = 0


HOOKS = (
    Hook("sock_send_length", "on_send", Attach.TRACEPOINT, True, "what is sent", arguments=3),
    Hook("sock_recv_length", "on_receive", Attach.TRACEPOINT, True, "what is received", arguments=3),
    Hook("inet_sock_set_state", "on_state", Attach.TRACEPOINT, True, "connections, attempts, listeners", arguments=3),
    Hook("tcp_destroy_sock", "on_destroy", Attach.TRACEPOINT, True, "the end of connections", arguments=1),
    Hook("cgroup/sendmsg4", "on_sendmsg4", Attach.CGROUP, False, "peers of IPv4 datagrams sent", "UDP peers"),
    Hook("cgroup/sendmsg6", "on_sendmsg6", Attach.CGROUP, False, "peers of IPv6 datagrams sent", "UDP peers"),
    Hook("cgroup/recvmsg4", "on_recvmsg4", Attach.CGROUP, False, "peers of IPv4 datagrams received", "UDP peers"),
    Hook("cgroup/recvmsg6", "on_recvmsg6", Attach.CGROUP, False, "peers of IPv6 datagrams received", "UDP peers"),
    Hook("cgroup/sock_release", "on_release", Attach.CGROUP, False, "the end of datagram sockets",
         "UDP sockets then stay known until they are idle"),
    Hook("tcp_retransmit_skb", "on_retransmit_result", Attach.TRACEPOINT, False, "retransmits",
         "kindling_tcp_retransmit_total", arguments=3),
    Hook("tcp_retransmit_skb", "on_retransmit", Attach.TRACEPOINT, False, "retransmits",
         "kindling_tcp_retransmit_total", arguments=2),
    Hook("tcp_retransmit_synack", "on_retransmit_synack", Attach.TRACEPOINT, False, "retransmits of SYN-ACK",
         "the share of SYN-ACKs in kindling_tcp_retransmit_total", arguments=2),
    Hook("tcp_send_reset", "on_send_reset", Attach.TRACEPOINT, False, "resets sent", "resets sent", arguments=2),
    Hook("tcp_receive_reset", "on_receive_reset", Attach.TRACEPOINT, False, "resets received", "resets received",
         arguments=1),
    Hook("kfree_skb", "on_packet_dropped", Attach.TRACEPOINT, False, "dropped packets",
         "kindling_tcp_packet_loss_total", arguments=3),
    Hook("sched_process_exec", "on_exec", Attach.TRACEPOINT, False, "names of processes",
         "the name of a process that changed its program", arguments=3),
    Hook("sched_process_exit", "on_exit", Attach.TRACEPOINT, False, "the end of processes", "", arguments=1),
    Hook("iter/task_file", "seed", Attach.ITERATOR, False, "connections older than the agent",
         "idle older connections and listening sockets, until they are used"),
)  # fmt: skip

LOSS_REASONS = (
    "SOCKET_RCVBUFF", "TCP_CSUM", "NETFILTER_DROP", "IP_CSUM", "IP_INHDR", "IP_RPFILTER", "XFRM_POLICY", "PROTO_MEM",
    "SOCKET_BACKLOG", "TCP_ZEROWINDOW", "TCP_OVERWINDOW", "TCP_LISTEN_OVERFLOW", "TCP_OFO_QUEUE_PRUNE", "TCP_OFO_DROP",
    "IP_OUTNOROUTES", "BPF_CGROUP_EGRESS", "NEIGH_CREATEFAIL", "NEIGH_FAILED", "NEIGH_QUEUEFULL", "NEIGH_DEAD",
    "NEIGH_HH_FILLFAIL", "TC_EGRESS", "SECURITY_HOOK", "QDISC_DROP", "QDISC_OVERLIMIT", "QDISC_CONGESTED",
    "FQ_BAND_LIMIT", "FQ_HORIZON_LIMIT", "FQ_FLOW_LIMIT", "CPU_BACKLOG", "XDP", "TC_INGRESS", "SKB_CSUM", "DEV_READY",
    "FULL_RING", "NOMEM", "IP_INADDRERRORS", "IP_INNOROUTES", "PKT_TOO_BIG", "RECURSION_LIMIT",
)  # fmt: skip
"""Drop reasons (include/net/dropreason-core.h) that mean a packet of somebody's connection was lost. Left out is what
belongs to a healthy or closed connection: old segments and acknowledgements, resets, purged queues, closed ports."""
