/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The life of a connection in its socket's storage: drawn, told to the engine, told again when the engine changed. */
#ifndef FIRESTEEL_CONNECTION_H
#define FIRESTEEL_CONNECTION_H

#include "emit.h"
#include "socket.h"

#ifdef FS_ONE_MODE
#define HAS_MODES false
#else
#define HAS_MODES true
#endif

static __always_inline __u64 cgroup_of(struct task_struct *task)
{
	if (cgroup_controller < 0)
		return BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	struct cgroup_subsys_state *state;
	struct css_set *set = READ(task, cgroups);
	bpf_core_read(&state, sizeof(state), &set->subsys[cgroup_controller & 31]);
	return BPF_CORE_READ(state, cgroup, kn, id);
}

/*
 * Processors that an id tells apart; with more, two of them would draw the same ids. The clock's bits are scarcer: with ten
 * of them gone it still takes 208 days to come round.
 */
#ifdef FS_UNTYPED
#define ID_PROCESSOR_BITS 10
#else
#define ID_PROCESSOR_BITS 13 /* as many as a kernel can have (NR_CPUS) */
#endif

/*
 * Without atomics that return a value, the clock: no two draws on one processor happen within one of its ticks, for even an
 * interrupt takes longer to begin.
 */
static __always_inline __u64 draw_id(void)
{
	__u64 processor = bpf_get_smp_processor_id();
#ifdef FS_UNTYPED
	return bpf_ktime_get_ns() << ID_PROCESSOR_BITS | (processor & ((1 << ID_PROCESSOR_BITS) - 1));
#else
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&id_counts, &zero);
	if (!count)
		return 0;
	return __sync_add_and_fetch(count, 1) << ID_PROCESSOR_BITS | (processor & ((1 << ID_PROCESSOR_BITS) - 1));
#endif
}

/* Takes the facts of the current process. Only where a hook runs in the process that uses the socket. */
static __always_inline void adopt_process(struct connection *connection)
{
	__u64 pid_tgid = current_process();
	struct task_struct *task = current_task();
#ifdef FS_UNTYPED
	if (READ(task, flags) & PF_KTHREAD)
		return;
#endif
	connection->pid = pid_tgid >> 32;
	connection->tid = (__u32)pid_tgid;
	connection->cgroup_id = cgroup_of(task);
	BPF_CORE_READ_INTO(&connection->comm, task, group_leader, comm);
	if (is_left_out(connection->pid))
		connection->flags |= CONNECTION_EXCLUDED;
}

/* A new connection on this socket: another id, nothing of the old one. */
static __always_inline void begin(struct connection *connection, const struct sock *sk, __u8 role, __u64 now)
{
#ifdef FS_UNTYPED
	connection->socket = (__u64)sk;
	__builtin_memset(&connection->id, 0,
			 __builtin_offsetof(struct connection, text) - __builtin_offsetof(struct connection, id));
#else
	__builtin_memset(connection, 0, __builtin_offsetof(struct connection, text));
#endif
	connection->id = draw_id();
	connection->netns = netns_of(sk);
	connection->role = role;
	connection->start_ns = now;
	if (ports_excluded(sk))
		connection->flags |= CONNECTION_EXCLUDED;
	if (protocol_of(sk) == IPPROTO_MPTCP)
		connection->flags |= CONNECTION_NO_SEQ;
}

static __always_inline struct connection *find_connection(struct sock *sk)
{
#ifdef FS_UNTYPED
	__u64 key = (__u64)sk;
	return bpf_map_lookup_elem(&connections, &key);
#else
	return bpf_sk_storage_get(&connections, sk, 0, 0);
#endif
}

/* Found, or made anew with zeroes. NULL: there is no more room, counted. */
static __always_inline struct connection *make_connection(struct sock *sk)
{
	struct connection *connection;
#ifdef FS_UNTYPED
	__u64 key = (__u64)sk;
	connection = bpf_map_lookup_elem(&connections, &key);
	if (!connection) {
		bpf_map_update_elem(&connections, &key, (const void *)&no_connection, BPF_NOEXIST);
		connection = bpf_map_lookup_elem(&connections, &key);
	}
#else
	connection = bpf_sk_storage_get(&connections, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
#endif
	if (!connection)
		__sync_fetch_and_add(&own_counters()->storage_failed, 1);
	return connection;
}

/* The socket is gone. Its own storage goes with it. */
static __always_inline void forget_connection(struct sock *sk)
{
#ifdef FS_UNTYPED
	__u64 key = (__u64)sk;
	bpf_map_delete_elem(&connections, &key);
#endif
}

/* The connection of a socket; one older than the programs is begun here. NULL: no storage to be had. */
static __always_inline struct connection *connection_of(struct sock *sk)
{
	struct connection *connection = find_connection(sk);
	bool accepting;

	if (connection)
		return connection;
	connection = make_connection(sk);
	if (!connection)
		return 0;
	/* A TCP fast open request is read before the handshake ends. */
	accepting = is_tcp(sk) && READ(sk, __sk_common.skc_state) == TCP_SYN_RECV;
	begin(connection, sk, accepting ? FS_ROLE_SERVER : FS_ROLE_UNKNOWN, accepting ? bpf_ktime_get_ns() : 0);
	return connection;
}

static __always_inline bool tell_of(struct connection *connection, struct sock *sk, __u32 sending, __u32 reading)
{
	struct tcp_sock *tcp;
	struct fs_open *event;
	__u32 epoch = control.epoch, open_flags = 0;

	if (!connection || !sk)
		return false;
	event = reserve(FS_EV_OPEN, sizeof(*event));
	if (!event)
		return false;
	head_for(&event->head, FS_EV_OPEN, sizeof(*event), bpf_ktime_get_ns(), connection, false);
	tuple_of(sk, connection->role, &event->tuple);
	event->sock = (__u64)sk;
	event->cookie = READ(sk, __sk_common.skc_cookie.counter);
	event->start_ns = connection->start_ns;
	event->send_seq = connection->sent;
	event->recv_seq = connection->received;
	event->srtt_us = 0;
	tcp = tcp_of(sk);
	if (tcp) {
		event->send_seq = bytes_written(sk, tcp) - sending;
		event->recv_seq = bytes_read(sk, tcp) - reading;
		event->srtt_us = READ(tcp, srtt_us) >> 3;
	}
	if (connection->epoch)
		open_flags |= FS_OPEN_REPEATED;
	if (!connection->start_ns)
		open_flags |= FS_OPEN_LATE;
	if (connection->flags & CONNECTION_SEEDED)
		open_flags |= FS_OPEN_SEEDED;
	if (connection->flags & CONNECTION_NO_SEQ)
		open_flags |= FS_OPEN_MPTCP;
	event->open_flags = open_flags;
	__builtin_memcpy(event->comm, connection->comm, sizeof(event->comm));
	submit(event, FS_EV_OPEN);
	connection->epoch = epoch;
	return true;
}

/*
 * Tells the engine what the connection is, once for each engine. `sending` and `reading` are bytes of the I/O that goes
 * on and will be told next: the offsets are those before it. False: the ring is full, so tell it later.
 */
#ifdef FS_UNTYPED
__noinline int tell_socket(__u64 socket, __u32 sending, __u32 reading)
{
	return tell_of(bpf_map_lookup_elem(&connections, &socket), (struct sock *)socket, sending, reading);
}

static __always_inline bool tell(struct connection *connection, struct sock *sk, __u32 sending, __u32 reading)
{
	return tell_socket((__u64)sk, sending, reading);
}
#else
static __noinline bool tell(struct connection *connection, struct sock *sk, __u32 sending, __u32 reading)
{
	return tell_of(connection, sk, sending, reading);
}
#endif

/* What the engine wants of this connection, or 0. */
static __always_inline __u64 slot_of(const struct connection *connection)
{
	__u64 slot = HAS_MODES ? modes[fs_slot_of(connection->id)] : 0;
	return fs_slot_mine(slot, connection->id) ? slot : 0;
}

/*
 * Makes sure that the engine knows the connection, in the process that uses it. False: leave this event out; one of
 * `type` that would have been told is counted as lost.
 */
static __always_inline bool ensure_told(struct connection *connection, struct sock *sk, __u8 type, int result,
					__u8 direction)
{
	if (connection->epoch == control.epoch) {
		if (connection->flags & CONNECTION_EXCLUDED)
			return false;
		if (fs_slot_mode(slot_of(connection)) != FS_MODE_AGAIN)
			return true;
		connection->epoch = FS_EPOCH_ASKED;
	}
	if (!connection->pid)
		adopt_process(connection);
	if (ports_excluded(sk)) /* MPTCP has them only now */
		connection->flags |= CONNECTION_EXCLUDED;
	if (connection->flags & CONNECTION_EXCLUDED) {
		connection->epoch = control.epoch;
		return false;
	}
	connection->pending.waiting = 0;
	if (tell(connection, sk, direction == FS_OUT ? result : 0, direction == FS_IN ? result : 0))
		return true;
	connection->flags |= CONNECTION_LOST;
	if (control.epoch)
		__sync_fetch_and_add(&own_counters()->lost[type], 1);
	return false;
}

#endif
