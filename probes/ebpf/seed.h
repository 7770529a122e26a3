/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Sockets that are older than the programs, found through the open files of all processes. */
#ifndef FIRESTEEL_SEED_H
#define FIRESTEEL_SEED_H

#include "lifecycle.h"

static __always_inline struct socket *socket_of_file(struct file *file)
{
#ifdef FS_UNTYPED
	struct socket *socket;
	if ((READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = READ(file, private_data); /* none, if it was opened by path */
	return socket && READ(socket, file) == file ? socket : 0;
#else
	return bpf_sock_from_file(file); /* 4f19cab76136, 5.11 */
#endif
}

/* Whoever has the socket open first is taken for its owner. */
static __always_inline void adopt_owner(struct connection *connection, struct task_struct *task)
{
	if (connection->pid)
		return;
	connection->pid = process_of(task) >> 32;
	connection->tid = connection->pid;
	connection->cgroup_id = cgroup_of(task);
	BPF_CORE_READ_INTO(&connection->comm, task, group_leader, comm);
	if (is_left_out(connection->pid))
		connection->flags |= CONNECTION_EXCLUDED;
}

static __always_inline void seed_socket(struct sock *sk, struct task_struct *task)
{
	struct connection *connection;
	__u8 state;

	if (!is_inet(sk) || !(is_stream(sk) || is_udp(sk)) || is_kernels_own(sk))
		return;
	state = READ(sk, __sk_common.skc_state);
	if (is_stream(sk) && state != TCP_ESTABLISHED && state != TCP_LISTEN && state != TCP_CLOSE_WAIT)
		return;
	connection = make_connection(sk);
	if (!connection)
		return;
	if (!connection->id) {
		begin(connection, sk, state == TCP_LISTEN ? FS_ROLE_SERVER : FS_ROLE_UNKNOWN, 0);
		connection->flags |= CONNECTION_SEEDED;
	}
	adopt_owner(connection, task);
	if (connection->epoch == control.epoch || connection->flags & CONNECTION_EXCLUDED)
		return;
	if (is_stream(sk) && state == TCP_LISTEN)
		listening(connection, sk);
	else
		tell(connection, sk, 0, 0);
}

/* Since 5.8 (eaaacd23910f). */
SEC("iter/task_file")
int seed(struct bpf_iter__task_file *context)
{
	struct task_struct *task = context->task;
	struct file *file = context->file;
	struct socket *socket;
	struct sock *sk;

	if (!file || !task || !control.epoch)
		return 0;
	socket = socket_of_file(file);
	if (!socket)
		return 0;
	sk = READ(socket, sk);
	if (!sk)
		return 0;
	begin_events(sk);
	seed_socket(sk, task);
	end_events(context);
	return 0;
}

#endif
