/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Datagrams: each is an event of its own, with its peer. */
#ifndef FIRESTEEL_DATAGRAM_H
#define FIRESTEEL_DATAGRAM_H

#include "payload.h"

/* The cgroup hooks run in the same thread, just before (send) or after (receive) the datagram is copied. */
static __always_inline void remember_peer(struct datagram_peer *peer, const void *socket, __u8 direction)
{
	__u64 thread = bpf_get_current_pid_tgid();
	peer->socket = (__u64)socket;
	peer->direction = direction;
	peer->known = 1;
	peer->reserved = 0;
	bpf_map_update_elem(&datagram_peers, &thread, peer, BPF_ANY);
}

static __always_inline void set_peer(struct fs_datagram *event, struct sock *sk, __u8 direction)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct datagram_peer *peer;

	/* A connected socket may still send to somebody else, but it receives from its one peer. */
	if (event->tuple.remote_port && direction == FS_IN)
		return;
	peer = bpf_map_lookup_elem(&datagram_peers, &thread);
	if (!peer || !peer->known || peer->direction != direction || peer->socket != (__u64)sk) {
		if (!event->tuple.remote_port)
			event->head.flags |= FS_PEER_UNKNOWN;
		return;
	}
	__builtin_memcpy(event->tuple.remote, peer->address, 16);
	event->tuple.remote_port = peer->port;
	peer->known = 0;
}

/* A datagram that failed or was only looked at leaves its peer behind, and the next one may have none of its own. */
static __always_inline void forget_peer(void)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct datagram_peer *peer = bpf_map_lookup_elem(&datagram_peers, &thread);
	if (peer)
		peer->known = 0;
}

#define DATAGRAM_EVENT(room)                                                                                           \
	static __always_inline void datagram_event_##room(struct connection *connection, struct sock *sk, __u32 bytes, \
							  __u8 direction, struct source *source)                       \
	{                                                                                                              \
		struct fs_datagram *event = reserve(FS_EV_DATAGRAM, sizeof(*event) + (room));                          \
		__u32 captured;                                                                                        \
		if (!event) {                                                                                          \
			connection->flags |= CONNECTION_LOST;                                                          \
			return;                                                                                        \
		}                                                                                                      \
		head_for(&event->head, FS_EV_DATAGRAM, sizeof(*event), bpf_ktime_get_ns(), connection, true);          \
		tuple_of(sk, connection->role, &event->tuple);                                                         \
		set_peer(event, sk, direction);                                                                        \
		if (port_excluded(event->tuple.remote_port)) {                                                         \
			bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);                                                  \
			return;                                                                                        \
		}                                                                                                      \
		event->bytes = bytes;                                                                                  \
		event->direction = direction;                                                                          \
		captured = copy_payload(event + 1, (room), source, bytes, control.datagram_budget, &event->reason);    \
		event->captured = captured;                                                                            \
		event->head.size = sizeof(*event) + captured;                                                          \
		if (event->reason)                                                                                     \
			__sync_fetch_and_add(&own_counters()->absent[event->reason & 15], 1);                          \
		submit(event, FS_EV_DATAGRAM);                                                                         \
	}

DATAGRAM_EVENT(128)
DATAGRAM_EVENT(512)

static __noinline int datagram_io(struct sock *sk, int result, int flags, __u8 direction)
{
	struct connection *connection;
	struct source source;

	if (!sk)
		return 0;
	if (result <= 0) {
		forget_peer();
		skip_message(sk, result);
		return 0;
	}
	connection = connection_of(sk);
	if (!connection || !ensure_told(connection, sk, 0, direction))
		return 0;
	find_source(&source, sk, result, flags);
	if (result <= 128)
		datagram_event_128(connection, sk, result, direction, &source);
	else
		datagram_event_512(connection, sk, result, direction, &source);
	return 0;
}

#endif
