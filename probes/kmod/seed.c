// SPDX-License-Identifier: GPL-2.0-only
/* Sockets that are older than the hooks, found through the open files of all processes. Runs when the reader asks. */
#include "firesteel.h"

static bool is_wanted(const struct sock *sk)
{
	u8 state = sk->sk_state;

	if (!fst_is_inet(sk) || fst_is_kernels_own(sk))
		return false;
	if (fst_is_udp(sk))
		return true;
	return fst_is_stream(sk) && (state == TCP_ESTABLISHED || state == TCP_LISTEN || state == TCP_CLOSE_WAIT);
}

/* Under the lock of the process's file table: the file, so the socket, cannot go. */
static int seed_file(const void *data, struct file *file, unsigned int descriptor)
{
	struct task_struct *task = (struct task_struct *)data;
	struct inode *inode = file_inode(file);
	u32 epoch = READ_ONCE(fst.control->epoch);
	struct fst_connection *c;
	const struct sock *sk;
	bool listens;

	if (!epoch || !S_ISSOCK(inode->i_mode))
		return 0;
	sk = SOCKET_I(inode)->sk;
	if (!sk || !is_wanted(sk))
		return 0;
	listens = fst_is_stream(sk) && sk->sk_state == TCP_LISTEN;
	preempt_disable();
	c = fst_find_or_begin(sk, listens ? FS_ROLE_SERVER : FS_ROLE_UNKNOWN, 0, FST_SEEDED);
	if (c) {
		if (!c->pid)
			fst_adopt(c, task->group_leader);
		if (c->epoch != epoch && !(c->flags & FST_EXCLUDED)) {
			if (listens)
				fst_listening(c, sk);
			else
				fst_tell(c, sk, 0, 0);
		}
	}
	preempt_enable();
	return 0;
}

/* The processes of this moment, held so that their files can be looked through one by one, without stopping anybody. */
static unsigned long hold_processes(struct task_struct **held, unsigned long room)
{
	struct task_struct *process;
	unsigned long count = 0;

	rcu_read_lock();
	for_each_process(process)
	{
		if (count < room) {
			get_task_struct(process);
			held[count] = process;
		}
		count++;
	}
	rcu_read_unlock();
	return count;
}

/* 0, -ENOMEM, or -EINTR if the reader is being killed. */
int fst_seed(void)
{
	unsigned long room = 1024, count, i;
	struct task_struct **held;
	int result = 0;

	for (;;) {
		held = vmalloc(room * sizeof(*held));
		if (!held)
			return -ENOMEM;
		count = hold_processes(held, room);
		if (count <= room)
			break;
		for (i = 0; i < room; i++)
			put_task_struct(held[i]);
		vfree(held);
		room = count + count / 4;
	}
	for (i = 0; i < count; i++) {
		if (!result && fatal_signal_pending(current))
			result = -EINTR;
		if (!result) {
			task_lock(held[i]);
			if (held[i]->files)
				iterate_fd(held[i]->files, 0, seed_file, held[i]);
			task_unlock(held[i]);
		}
		put_task_struct(held[i]);
		cond_resched();
	}
	vfree(held);
	return result;
}
