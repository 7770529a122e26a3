/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Connections come and go: attempts and their results, listening sockets, the end. */
#ifndef FIRESTEEL_LIFECYCLE_H
#define FIRESTEEL_LIFECYCLE_H

#include "stream.h"

static __always_inline void connect_ended(struct connection *connection, struct sock *sk, int error)
{
	struct fs_connect *event;
	__u64 now = bpf_ktime_get_ns();

	if (connection->role != FS_ROLE_CLIENT || !connection->start_ns || connection->flags & CONNECTION_EXCLUDED)
		return;
	event = reserve(FS_EV_CONNECT, sizeof(*event));
	if (!event)
		return;
	head_for(&event->head, FS_EV_CONNECT, sizeof(*event), now, connection, false);
	tuple_of(sk, FS_ROLE_CLIENT, &event->tuple);
	event->duration_ns = now - connection->start_ns;
	event->error = error;
	event->reserved = 0;
	__builtin_memcpy(event->comm, connection->comm, sizeof(event->comm));
	submit(event, FS_EV_CONNECT);
}

static __always_inline void listening(struct connection *connection, struct sock *sk)
{
	struct fs_listen *event;

	if (connection->flags & CONNECTION_EXCLUDED)
		return;
	event = reserve(FS_EV_LISTEN, sizeof(*event));
	if (!event)
		return;
	head_for(&event->head, FS_EV_LISTEN, sizeof(*event), bpf_ktime_get_ns(), connection, false);
	tuple_of(sk, FS_ROLE_SERVER, &event->tuple);
	__builtin_memcpy(event->comm, connection->comm, sizeof(event->comm));
	submit(event, FS_EV_LISTEN);
	connection->epoch = control.epoch;
}

/* The last word: what still waits, then the close. Connections that were never told end untold. */
static __noinline int closed(struct sock *sk)
{
	struct connection *connection;
	struct tcp_sock *tcp;
	struct fs_close *event;

	if (!sk)
		return 0;
	connection = find_connection(sk);
	if (!connection || connection->epoch != control.epoch || connection->flags & CONNECTION_EXCLUDED)
		return 0;
	if (connection->pending.waiting)
		flush(connection);
	event = reserve(FS_EV_CLOSE, sizeof(*event));
	if (!event)
		return 0;
	head_for(&event->head, FS_EV_CLOSE, sizeof(*event), bpf_ktime_get_ns(), connection, false);
	__builtin_memset(&event->bytes_sent, 0, sizeof(*event) - sizeof(event->head));
	tcp = tcp_of(sk);
	if (tcp) {
		/* The kernel counts a FIN that came as a byte received; what it counts as sent is payload only. */
		event->bytes_sent = READ(tcp, bytes_sent) - READ(tcp, bytes_retrans);
		event->bytes_received = READ(tcp, bytes_received) - (has_fin(sk) ? 1 : 0);
		event->srtt_us = READ(tcp, srtt_us) >> 3;
		event->retransmits = READ(tcp, total_retrans);
	}
	event->error = READ(sk, sk_err);
	submit(event, FS_EV_CLOSE);
	connection->epoch = 0;
	connection->start_ns = 0;
	return 0;
}

/* A datagram socket, or one of MPTCP, is let go by its last owner. */
static __always_inline void released(struct connection *connection)
{
	struct fs_close *event;

	if (!connection || connection->epoch != control.epoch || connection->flags & CONNECTION_EXCLUDED)
		return;
	if (connection->pending.waiting)
		flush(connection);
	event = reserve(FS_EV_CLOSE, sizeof(*event));
	if (!event)
		return;
	head_for(&event->head, FS_EV_CLOSE, sizeof(*event), bpf_ktime_get_ns(), connection, false);
	__builtin_memset(&event->bytes_sent, 0, sizeof(*event) - sizeof(event->head));
	event->bytes_sent = connection->sent; /* counted where there are no sequence numbers */
	event->bytes_received = connection->received;
	submit(event, FS_EV_CLOSE);
	connection->epoch = 0;
}

/*
 * CLOSE->SYN_SENT draws a new id: one socket may connect, be refused (or dissolved by connect to AF_UNSPEC) and connect
 * again. SYN_RECV->ESTABLISHED runs in softirq, where only the server's role and the time are known; its process shows at
 * the first I/O, which TCP fast open has before that. A client gets there when both ends connected at once. A server that
 * goes 10->3->1 has no handshake time of its own; one of MPTCP goes 10->1. What a listener of MPTCP accepts from a client
 * that does not speak it is the kernel's own socket until the application takes it. One that it listens on is said to do so
 * twice.
 */
static __always_inline int state_changed(struct sock *sk, int from, int to)
{
	bool accepted = to == TCP_ESTABLISHED && (from == TCP_SYN_RECV || from == TCP_LISTEN);
	struct connection *connection;

	if (from == to || !is_inet(sk) || !is_stream(sk))
		return 0;
	if (is_kernels_own(sk) && (!accepted || is_subflow(sk)))
		return 0;
	if (to == TCP_SYN_SENT || to == TCP_LISTEN || accepted) {
		connection = make_connection(sk);
		if (!connection)
			return 0;
		if (accepted && connection->id) {
			connect_ended(connection, sk, 0);
			return 0;
		}
		if (to == TCP_SYN_SENT)
			closed(sk);
		begin(connection, sk, to == TCP_SYN_SENT ? FS_ROLE_CLIENT : FS_ROLE_SERVER, bpf_ktime_get_ns());
		if (to == TCP_SYN_SENT || to == TCP_LISTEN)
			adopt_process(connection);
		if (to == TCP_LISTEN)
			listening(connection, sk);
		return 0;
	}
	if (from != TCP_SYN_SENT)
		return 0;
	connection = find_connection(sk);
	if (!connection)
		return 0;
	if (to == TCP_ESTABLISHED)
		connect_ended(connection, sk, 0);
	else if (to == TCP_CLOSE)
		connect_ended(connection, sk, READ(sk, sk_err) ?: ECANCELED);
	return 0;
}

static __always_inline void process_event(struct task_struct *task, __u32 kind)
{
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);
	struct fs_process *event;

	if (pid_namespace && !(process_of(task) >> 32))
		return;
	event = reserve(FS_EV_PROCESS, sizeof(*event));
	if (!event)
		return;
	head_of(&event->head, FS_EV_PROCESS, sizeof(*event), bpf_ktime_get_ns());
	event->head.cgroup_id = cgroup_of(task);
	event->head.netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	event->kind = kind;
	event->parent = pid_namespace ? number_in_namespace(parent) : BPF_CORE_READ(parent, tgid);
	BPF_CORE_READ_INTO(&event->comm, task, comm);
	submit(event, FS_EV_PROCESS);
}

#endif
