# SPDX-License-Identifier: Apache-2.0
"""The hooks of the core driver, one row each. docs and the doctor read this table too."""

from dataclasses import dataclass
from enum import Enum


class Attach(Enum):
    """How a program is attached."""

    TRACEPOINT = "tracepoint"
    CGROUP = "cgroup"
    ITERATOR = "iterator"
    ENTRY = "fentry"
    EXIT = "fexit"
    KPROBE = "kprobe"
    KRETPROBE = "kretprobe"


class HookSet(Enum):
    """A column of the table: the hooks that are used together."""

    TRAMPOLINES = "trampolines"
    TRACEPOINTS = "socket-tracepoints"
    KPROBES = "kprobes"


_ALL = frozenset(HookSet)
_TRAMPOLINES = frozenset({HookSet.TRAMPOLINES})
_TRACEPOINTS = frozenset({HookSet.TRACEPOINTS})
_KPROBES = frozenset({HookSet.KPROBES})


@dataclass(frozen=True, slots=True)
class Hook:
    """`name` is the kernel's, `program` is the function in ebpf/, `sets` are the columns that it belongs to.

    A required hook that cannot attach rejects the set. An optional one leaves `loses` without data, and says so.
    `arguments` is how many the kernel's tracepoint or function must have at least; of several rows of one name the first
    that fits is used. `since` and `until` are the versions from and to which the kernel has such a function; another one
    needs none.
    """

    name: str
    program: str
    attach: Attach
    required: bool
    purpose: str
    loses: str = ""
    arguments: int = 0
    sets: frozenset[HookSet] = _ALL
    until: tuple[int, int] | None = None
    since: tuple[int, int] | None = None

    def is_needed(self, version: tuple[int, int]) -> bool:
        """Whether a kernel of this version has what this is for."""
        return (self.since is None or version >= self.since) and (self.until is None or version < self.until)


HOOKS = (
    Hook("sock_send_length", "on_send", Attach.TRACEPOINT, True, "what is sent", arguments=3, sets=_TRACEPOINTS),
    Hook("sock_recv_length", "on_receive", Attach.TRACEPOINT, True, "what is received", arguments=3, sets=_TRACEPOINTS),
    Hook("inet_sendmsg", "on_inet_sendmsg", Attach.EXIT, True, "what is sent", arguments=3, sets=_TRAMPOLINES),
    Hook("inet6_sendmsg", "on_inet6_sendmsg", Attach.EXIT, True, "what is sent", arguments=3, sets=_TRAMPOLINES),
    Hook("inet_recvmsg", "on_inet_recvmsg", Attach.EXIT, True, "what is received", arguments=4, sets=_TRAMPOLINES),
    Hook("inet6_recvmsg", "on_inet6_recvmsg", Attach.EXIT, True, "what is received", arguments=4, sets=_TRAMPOLINES),
    Hook("inet_sendpage", "on_inet_sendpage", Attach.EXIT, False, "what sendfile and splice send",
         "lengths of what is sent by sendfile", 5, _TRAMPOLINES, until=(6, 5)),
    Hook("tcp_splice_read", "on_tcp_splice_read", Attach.EXIT, False, "what splice receives",
         "lengths of what is received by splice", 5, _TRAMPOLINES),
    Hook("inet_release", "on_inet_release", Attach.ENTRY, False, "the end of datagram sockets",
         "UDP sockets then stay known until they are idle", 1, _TRAMPOLINES),
    Hook("inet_sendmsg", "on_send_begins", Attach.KPROBE, True, "what is sent", sets=_KPROBES),
    Hook("inet6_sendmsg", "on_send_begins", Attach.KPROBE, True, "what is sent", sets=_KPROBES, since=(5, 3)),
    Hook("inet_recvmsg", "on_receive_begins", Attach.KPROBE, True, "what is received", sets=_KPROBES),
    Hook("inet6_recvmsg", "on_receive_begins", Attach.KPROBE, True, "what is received", sets=_KPROBES, since=(5, 3)),
    Hook("release_sock", "on_release_sock", Attach.KPROBE, True, "what moved in a stream", sets=_KPROBES),
    Hook("skb_consume_udp", "on_datagram_received", Attach.KPROBE, True, "datagrams received", sets=_KPROBES),
    Hook("udp_sendmsg", "on_datagram_sent", Attach.KRETPROBE, True, "datagrams sent", sets=_KPROBES),
    Hook("udpv6_sendmsg", "on_datagram_sent", Attach.KRETPROBE, False, "datagrams sent over IPv6",
         "datagrams sent over IPv6", sets=_KPROBES),
    Hook("inet_sendpage", "on_sendpage_begins", Attach.KPROBE, False, "what sendfile and splice send",
         "lengths of what is sent by sendfile", sets=_KPROBES, until=(6, 5)),
    Hook("tcp_splice_read", "on_splice_begins", Attach.KPROBE, False, "what splice receives",
         "lengths of what is received by splice", sets=_KPROBES),
    Hook("inet_release", "on_release_begins", Attach.KPROBE, False, "the end of datagram sockets",
         "UDP sockets then stay known until they are idle", sets=_KPROBES),
    Hook("inet_sock_set_state", "on_state", Attach.TRACEPOINT, True, "connections, attempts, listeners", arguments=3),
    Hook("tcp_destroy_sock", "on_destroy", Attach.TRACEPOINT, True, "the end of connections", arguments=1),
    Hook("cgroup/sendmsg4", "on_sendmsg4", Attach.CGROUP, False, "peers of IPv4 datagrams sent", "UDP peers",
         sets=_TRACEPOINTS),
    Hook("cgroup/sendmsg6", "on_sendmsg6", Attach.CGROUP, False, "peers of IPv6 datagrams sent", "UDP peers",
         sets=_TRACEPOINTS),
    Hook("cgroup/recvmsg4", "on_recvmsg4", Attach.CGROUP, False, "peers of IPv4 datagrams received", "UDP peers",
         sets=_TRACEPOINTS),
    Hook("cgroup/recvmsg6", "on_recvmsg6", Attach.CGROUP, False, "peers of IPv6 datagrams received", "UDP peers",
         sets=_TRACEPOINTS),
    Hook("cgroup/sock_release", "on_release", Attach.CGROUP, False, "the end of datagram sockets",
         "UDP sockets then stay known until they are idle", sets=_TRACEPOINTS),
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
    Hook("sched_process_exit", "on_exit", Attach.TRACEPOINT, False, "the end of processes", "", arguments=1,
         sets=_TRAMPOLINES | _TRACEPOINTS),
    Hook("sched_process_exit", "on_thread_exit", Attach.TRACEPOINT, True, "the end of processes and threads", "",
         arguments=1, sets=_KPROBES),
    Hook("iter/task_file", "seed", Attach.ITERATOR, False, "connections older than the agent",
         "idle older connections and listening sockets, until they are used"),
)  # fmt: skip


def hooks_of(hook_set: HookSet) -> tuple[Hook, ...]:
    """The rows of one column."""
    return tuple(hook for hook in HOOKS if hook_set in hook.sets)


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
