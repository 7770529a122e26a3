/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Retransmits, resets and dropped packets: rare, in softirq, and often without a full socket. */
#ifndef FIRESTEEL_TROUBLE_H
#define FIRESTEEL_TROUBLE_H

#include "connection.h"

/* Fills the event from a socket whose connection may be known. */
static __noinline int trouble(struct sock *sk, __u32 kind, __u32 reason)
{
	struct connection *connection;
	struct fs_trouble *event;

	if (!sk || !is_inet(sk))
		return 0;
	connection = find_connection(sk);
	if (connection ? connection->flags & CONNECTION_EXCLUDED : pid_namespace != 0)
		return 0; /* who knows whose socket it is, where the kernel is shared */
	event = reserve(FS_EV_TROUBLE, sizeof(*event));
	if (!event)
		return 0;
	if (connection) {
		head_for(&event->head, FS_EV_TROUBLE, sizeof(*event), bpf_ktime_get_ns(), connection, false);
	} else {
		head_of(&event->head, FS_EV_TROUBLE, sizeof(*event), bpf_ktime_get_ns());
		event->head.flags |= FS_NO_PROCESS;
		event->head.pid = event->head.tid = 0;
		event->head.netns = netns_of(sk);
	}
	tuple_of(sk, connection ? connection->role : FS_ROLE_UNKNOWN, &event->tuple);
	event->kind = kind;
	event->reason = reason;
	submit(event, FS_EV_TROUBLE);
	return 0;
}

/* A connection that is only half open: the answer to its SYN is not acknowledged yet. */
static __always_inline void trouble_of_request(struct sock *listener, struct request_sock *request, __u32 kind)
{
	struct fs_trouble *event;
	struct fs_tuple tuple;

	addresses_of(&request->__req_common, &tuple);
	tuple.l4 = FS_TCP;
	tuple.role = FS_ROLE_SERVER;
	if (port_excluded(tuple.local_port) || port_excluded(tuple.remote_port))
		return;
	event = reserve(FS_EV_TROUBLE, sizeof(*event));
	if (!event)
		return;
	head_of(&event->head, FS_EV_TROUBLE, sizeof(*event), bpf_ktime_get_ns());
	event->head.flags |= FS_NO_PROCESS;
	event->head.pid = event->head.tid = 0;
	event->head.netns = netns_of(listener);
	event->tuple = tuple;
	event->kind = kind;
	event->reason = 0;
	submit(event, FS_EV_TROUBLE);
}

struct ipv4_head {
	__u8 version_and_length;
	__u8 skipped[8];
	__u8 protocol;
	__u8 checksum[2];
	__be32 source;
	__be32 destination;
};

struct ipv6_head {
	__u8 skipped[6];
	__u8 next;
	__u8 hops;
	__u8 source[16];
	__u8 destination[16];
};

struct tcp_ports {
	__be16 source;
	__be16 destination;
};

/*
 * Fills the tuple from a received packet's headers: its destination is the local end. False: not TCP over IP, or the
 * headers are not there. Extension headers of IPv6 are not walked.
 */
static __always_inline bool tuple_of_packet(struct sk_buff *skb, struct fs_tuple *tuple)
{
	unsigned char *head = BPF_CORE_READ(skb, head);
	__u16 network = BPF_CORE_READ(skb, network_header), transport = BPF_CORE_READ(skb, transport_header);
	__be16 protocol = BPF_CORE_READ(skb, protocol);
	struct tcp_ports ports;

	if (transport == 0xffff || transport <= network)
		return false;
	if (protocol == bpf_htons(ETH_P_IP)) {
		struct ipv4_head ip;
		if (bpf_probe_read_kernel(&ip, sizeof(ip), head + network) || ip.protocol != IPPROTO_TCP)
			return false;
		tuple->family = 4;
		map_ipv4(tuple->remote, ip.source);
		map_ipv4(tuple->local, ip.destination);
	} else if (protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6_head ip;
		if (bpf_probe_read_kernel(&ip, sizeof(ip), head + network) || ip.next != IPPROTO_TCP)
			return false;
		tuple->family = 6;
		__builtin_memcpy(tuple->remote, ip.source, 16);
		__builtin_memcpy(tuple->local, ip.destination, 16);
	} else {
		return false;
	}
	if (bpf_probe_read_kernel(&ports, sizeof(ports), head + transport))
		return false;
	tuple->remote_port = bpf_ntohs(ports.source);
	tuple->local_port = bpf_ntohs(ports.destination);
	tuple->l4 = FS_TCP;
	tuple->role = FS_ROLE_UNKNOWN;
	tuple->reserved = 0;
	return !port_excluded(tuple->local_port) && !port_excluded(tuple->remote_port);
}

static __always_inline void trouble_of_packet(struct sk_buff *skb, __u32 kind, __u32 reason)
{
	struct fs_tuple tuple = {};
	struct fs_trouble *event;

	if (pid_namespace || !tuple_of_packet(skb, &tuple))
		return;
	event = reserve(FS_EV_TROUBLE, sizeof(*event));
	if (!event)
		return;
	head_of(&event->head, FS_EV_TROUBLE, sizeof(*event), bpf_ktime_get_ns());
	event->head.flags |= FS_NO_PROCESS;
	event->head.pid = event->head.tid = 0;
	event->tuple = tuple;
	event->kind = kind;
	event->reason = reason;
	submit(event, FS_EV_TROUBLE);
}

#endif
