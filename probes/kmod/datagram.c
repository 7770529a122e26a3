// SPDX-License-Identifier: GPL-2.0-only
/* Datagrams: each is an event of its own, with its peer. */
#include "firesteel.h"

/*
 * The peer stands in the kernel's copy of the address: given by the caller of a send, filled in by a receive whose caller
 * asked for it. A connected socket may still send to somebody else, but it receives from its one peer.
 */
static void set_peer(struct fs_datagram *event, const struct msghdr *msg, u8 direction)
{
	const struct sockaddr *address = msg ? msg->msg_name : NULL;

	if (event->tuple.remote_port && direction == FS_IN)
		return;
	if (address && msg->msg_namelen >= (int)sizeof(struct sockaddr_in) && address->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)address;
		fst_map_ipv4(event->tuple.remote, in->sin_addr.s_addr);
		event->tuple.remote_port = ntohs(in->sin_port);
	} else if (address && msg->msg_namelen >= 24 /* sin6_scope_id may be missing: RFC 2133 */ &&
		   address->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
		memcpy(event->tuple.remote, &in6->sin6_addr, 16);
		event->tuple.remote_port = ntohs(in6->sin6_port);
	} else if (!event->tuple.remote_port) {
		event->head.flags |= FS_PEER_UNKNOWN;
	}
}

void fst_datagram_io(struct sock *sk, const struct msghdr *msg, const struct fst_source *source, int result,
		     u8 direction)
{
	u32 budget = min_t(u32, READ_ONCE(fst.control->datagram_budget), FS_PAYLOAD_MAX);
	struct fst_connection *c;
	struct fs_datagram *event;
	u32 room;

	if (result <= 0)
		return;
	c = fst_connection_of(sk);
	if (!c || !fst_ensure_told(c, sk, FS_EV_DATAGRAM, 0, direction))
		return;
	room = source->reason ? 0 : min_t(u32, result, budget);
	event = fst_reserve(FS_EV_DATAGRAM, sizeof(*event) + room);
	if (!event) {
		c->flags |= FST_LOST;
		return;
	}
	fst_head_for(&event->head, FS_EV_DATAGRAM, sizeof(*event), fst_now(), c, true);
	fst_tuple(sk, c->role, &event->tuple);
	set_peer(event, msg, direction);
	if (fst_port_excluded(event->tuple.remote_port)) {
		fst_discard(event);
		return;
	}
	event->bytes = result;
	event->direction = direction;
	event->captured = fst_copy(event + 1, room, source, result, &event->reason);
	event->head.size += event->captured;
	fst_count_absent(event->reason);
	fst_commit(event, FS_EV_DATAGRAM);
}
