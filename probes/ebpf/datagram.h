/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Datagrams: each is an event of its own, with its peer. */
#ifndef FIRESTEEL_DATAGRAM_H
#define FIRESTEEL_DATAGRAM_H

#include "source.h"

#ifndef FS_UNTYPED
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

static __always_inline void set_remembered_peer(struct fs_datagram *event, struct sock *sk, __u8 direction)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct datagram_peer *peer;

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
#endif

struct socket_address { /* struct sockaddr_in, and struct sockaddr_in6 */
	__u16 family;
	__be16 port;
	__be32 ipv4; /* of IPv6 the flow information */
	__u8 ipv6[16];
};

/* The kernel's copy of the address that a send was given or a receive has found. An IPv4 send may say AF_UNSPEC. */
static __always_inline void set_named_peer(struct fs_datagram *event, const struct msghdr *message)
{
	void *name = message ? READ(message, msg_name) : 0;
	struct socket_address address;

	if (!name || bpf_probe_read_kernel(&address, __builtin_offsetof(struct socket_address, ipv6), name)) {
		if (!event->tuple.remote_port)
			event->head.flags |= FS_PEER_UNKNOWN;
		return;
	}
	if (address.family == AF_INET6)
		bpf_probe_read_kernel(event->tuple.remote, 16, name + __builtin_offsetof(struct socket_address, ipv6));
	else
		map_ipv4(event->tuple.remote, address.ipv4);
	event->tuple.remote_port = bpf_ntohs(address.port);
}

/* A connected socket may still send to somebody else, but it receives from its one peer. */
static __always_inline void set_peer(struct fs_datagram *event, const struct operation *operation)
{
	if (event->tuple.remote_port && operation->direction == FS_IN)
		return;
#ifndef FS_UNTYPED
	if (operation->way == BY_REGISTERS)
		set_remembered_peer(event, operation->sk, operation->direction);
	else
#endif
		set_named_peer(event, operation->message);
}

#define DATAGRAM_EVENT(room)                                                                                        \
	static __always_inline void datagram_event_##room(struct connection *connection,                            \
							  const struct operation *operation, struct source *source) \
	{                                                                                                           \
		struct fs_datagram *event = reserve(FS_EV_DATAGRAM, sizeof(*event) + (room));                       \
		__u32 captured, bytes = operation->result;                                                          \
		if (!event) {                                                                                       \
			connection->flags |= CONNECTION_LOST;                                                       \
			return;                                                                                     \
		}                                                                                                   \
		head_for(&event->head, FS_EV_DATAGRAM, sizeof(*event), bpf_ktime_get_ns(), connection, true);       \
		tuple_of(operation->sk, connection->role, &event->tuple);                                           \
		set_peer(event, operation);                                                                         \
		if (port_excluded(event->tuple.remote_port)) {                                                      \
			discard(event);                                                                             \
			return;                                                                                     \
		}                                                                                                   \
		event->bytes = bytes;                                                                               \
		event->direction = operation->direction;                                                            \
		captured = copy_payload(event + 1, (room), source, bytes, control.datagram_budget, &event->reason); \
		event->captured = captured;                                                                         \
		event->head.size = sizeof(*event) + captured;                                                       \
		if (event->reason)                                                                                  \
			__sync_fetch_and_add(&own_counters()->absent[event->reason & 15], 1);                       \
		submit(event, FS_EV_DATAGRAM);                                                                      \
	}

DATAGRAM_EVENT(128)
DATAGRAM_EVENT(512)

/* A datagram without bytes, or a failure, is none to tell. At the tracepoints it still moves what threads are at. */
static __always_inline int datagram_io(const struct operation *operation)
{
	struct connection *connection;
	struct source source;

	if (operation->result <= 0) {
#ifndef FS_UNTYPED
		if (operation->way == BY_REGISTERS) {
			forget_peer();
			skip_message(operation->sk, operation->result);
		}
#endif
		return 0;
	}
	connection = connection_of(operation->sk);
	if (!connection || !ensure_told(connection, operation->sk, FS_EV_DATAGRAM, 0, operation->direction))
		return 0;
	find_source(&source, operation);
	if (operation->result <= 128)
		datagram_event_128(connection, operation, &source);
	else
		datagram_event_512(connection, operation, &source);
	return 0;
}

#endif
