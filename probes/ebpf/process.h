/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Which process it is, in the numbers that the agent knows. A node that is a container itself (kind, k3d) shares the
 * kernel with others: there, processes are told by their numbers in the node's own pid namespace, and those outside of it
 * are nobody's.
 */
#ifndef FIRESTEEL_PROCESS_H
#define FIRESTEEL_PROCESS_H

#include "maps.h"

/* kind inside Docker Desktop is two levels down; the kernel allows 32 (MAX_PID_NS_LEVEL). */
#define PID_LEVELS 6

/* The number of a task in `pid_namespace`, 0 if it is outside. thread_pid: since 4.19 (2c4704756cab). */
static __noinline __u32 number_in_namespace(struct task_struct *task)
{
	struct pid *pid;
	__u32 level;

	if (!task)
		return 0;
	pid = BPF_CORE_READ(task, thread_pid);
	level = BPF_CORE_READ(pid, level);
#pragma unroll
	for (int i = 1; i <= PID_LEVELS; i++) {
		struct upid numbers;
		if ((__u32)i > level)
			return 0;
		bpf_core_read(&numbers, sizeof(numbers), &pid->numbers[i]);
		if (BPF_CORE_READ(numbers.ns, ns.inum) == pid_namespace)
			return numbers.nr;
	}
	return 0;
}

/* Process in the upper half, thread in the lower, as bpf_get_current_pid_tgid does; 0 for somebody outside. */
static __always_inline __u64 process_of(struct task_struct *task)
{
	if (!pid_namespace)
		return (__u64)(__u32)READ(task, tgid) << 32 | (__u32)READ(task, pid);
	return (__u64)number_in_namespace(READ(task, group_leader)) << 32 | number_in_namespace(task);
}

static __always_inline __u64 current_process(void)
{
	if (!pid_namespace)
		return bpf_get_current_pid_tgid();
	return process_of(current_task());
}

static __always_inline bool is_own_process(__u32 pid)
{
#pragma unroll
	for (int i = 0; i < FS_OWN_PIDS; i++) {
		if (!control.own_pids[i])
			return false;
		if (control.own_pids[i] == pid)
			return true;
	}
	return false;
}

/* Whose sockets are not to be captured: the agent's own, and those of processes outside of this node. */
static __always_inline bool is_left_out(__u32 pid)
{
	return (pid_namespace && !pid) || is_own_process(pid);
}

#endif
