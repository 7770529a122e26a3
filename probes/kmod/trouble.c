// SPDX-License-Identifier: GPL-2.0-only
/* Retransmits, resets and dropped packets: rare, in softirq, and often without a full socket. */
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include "firesteel.h"

/* Of a socket whose connection may be known. */
void fst_trouble(const struct sock *sk, u32 kind)
{
	struct fst_connection *c;
	struct fs_trouble *event;

	if (!sk || !fst_is_inet(sk))
		return;
	c = fst_find(sk);
	if (c ? c->flags & FST_EXCLUDED : fst.pid_namespace != 0)
		return; /* who knows whose socket it is, where the kernel is shared */
	event = fst_reserve(FS_EV_TROUBLE, sizeof(*event));
	if (!event)
		return;
	if (c) {
		fst_head_for(&event->head, FS_EV_TROUBLE, sizeof(*event), fst_now(), c, false);
	} else {
		fst_head_outside(&event->head, FS_EV_TROUBLE, sizeof(*event));
		event->head.netns = fst_netns_of(sock_net(sk));
	}
	fst_tuple(sk, c ? c->role : FS_ROLE_UNKNOWN, &event->tuple);
	event->kind = kind;
	event->reason = 0;
	fst_commit(event, FS_EV_TROUBLE);
}

static void tell(const struct fs_tuple *tuple, u32 netns, u32 kind, u32 reason)
{
	struct fs_trouble *event;

	if (fst_port_excluded(tuple->local_port) || fst_port_excluded(tuple->remote_port))
		return;
	event = fst_reserve(FS_EV_TROUBLE, sizeof(*event));
	if (!event)
		return;
	fst_head_outside(&event->head, FS_EV_TROUBLE, sizeof(*event));
	event->head.netns = netns;
	event->tuple = *tuple;
	event->kind = kind;
	event->reason = reason;
	fst_commit(event, FS_EV_TROUBLE);
}

/* A SYN-ACK that was sent again. */
void fst_trouble_of_request(const struct sock *listener, const struct request_sock *request)
{
	struct fs_tuple tuple = {.l4 = FS_TCP, .role = FS_ROLE_SERVER};
	struct fst_half_open half;

	if (fst.pid_namespace)
		return;
	fst_request_addresses(listener, request, &half);
	tuple.local_port = half.local_port;
	tuple.remote_port = half.remote_port;
	if (half.family == AF_INET6) {
		tuple.family = 6;
		memcpy(tuple.local, half.local6, 16);
		memcpy(tuple.remote, half.remote6, 16);
	} else {
		tuple.family = 4;
		fst_map_ipv4(tuple.local, half.local);
		fst_map_ipv4(tuple.remote, half.remote);
	}
	tell(&tuple, fst_netns_of(sock_net(listener)), FS_TROUBLE_SYNACK_RETRANSMIT, 0);
}

/* Do so many bytes stand between the buffer's begin and end? */
static bool is_inside(const struct sk_buff *skb, const void *at, size_t bytes)
{
	const u8 *first = at;

	return first >= skb->head && first + bytes <= skb_end_pointer(skb);
}

/*
 * Fills the tuple from a received packet's headers: its destination is the local end. False: not TCP over IP, or the
 * headers are not there. Extension headers of IPv6 are not walked.
 */
static bool tuple_of_packet(const struct sk_buff *skb, struct fs_tuple *tuple)
{
	const struct iphdr *ip;
	const struct ipv6hdr *ipv6;
	const __be16 *ports;

	if (!skb->head || !skb_transport_header_was_set(skb) || skb_transport_header(skb) <= skb_network_header(skb))
		return false;
	ip = (const struct iphdr *)skb_network_header(skb);
	ipv6 = (const struct ipv6hdr *)ip;
	if (skb->protocol == htons(ETH_P_IP)) {
		if (!is_inside(skb, ip, sizeof(*ip)) || ip->protocol != IPPROTO_TCP)
			return false;
		tuple->family = 4;
		fst_map_ipv4(tuple->remote, ip->saddr);
		fst_map_ipv4(tuple->local, ip->daddr);
	} else if (skb->protocol == htons(ETH_P_IPV6)) {
		if (!is_inside(skb, ipv6, sizeof(*ipv6)) || ipv6->nexthdr != IPPROTO_TCP)
			return false;
		tuple->family = 6;
		memcpy(tuple->remote, &ipv6->saddr, 16);
		memcpy(tuple->local, &ipv6->daddr, 16);
	} else {
		return false;
	}
	ports = (const __be16 *)skb_transport_header(skb);
	if (!is_inside(skb, ports, 2 * sizeof(*ports)))
		return false;
	tuple->remote_port = ntohs(ports[0]);
	tuple->local_port = ntohs(ports[1]);
	tuple->l4 = FS_TCP;
	return true;
}

void fst_trouble_of_packet(const struct sk_buff *skb, u32 kind, u32 reason)
{
	struct fs_tuple tuple = {.role = FS_ROLE_UNKNOWN};

	if (!fst.pid_namespace && tuple_of_packet(skb, &tuple))
		tell(&tuple, 0, kind, reason);
}

#ifdef HAVE_DROP
/*
 * Reasons that mean a packet of somebody's connection was lost: those of probes/hooks.py that this kernel has. Left out
 * is what belongs to a healthy or closed connection: old segments and acknowledgements, resets, purged queues.
 */
static bool is_loss(u32 reason)
{
	switch (reason) {
#define FST_CASE(name) case SKB_DROP_REASON_##name:
		FST_LOSS_REASONS(FST_CASE)
		return true;
	default: return false;
	}
}

void fst_dropped(const struct sk_buff *skb, u32 reason)
{
	if (is_loss(reason))
		fst_trouble_of_packet(skb, FS_TROUBLE_PACKET_DROPPED, reason);
}
#endif
