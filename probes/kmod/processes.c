// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which process it is, in the numbers that the agent knows. A node that is a container itself (kind, k3d) shares the
 * kernel with others: there, processes are told by their numbers in the node's own pid namespace, and those outside of it
 * are nobody's.
 */
#include "firesteel.h"

static u32 number_of(struct task_struct *task)
{
	const struct pid *pid;
	u32 number = 0;
	int i;

	rcu_read_lock();
	pid = task_pid(task);
	for (i = 1; pid && i <= (int)pid->level; i++)
		if (fst_pid_namespace_number(pid->numbers[i].ns) == fst.pid_namespace) {
			number = pid->numbers[i].nr;
			break;
		}
	rcu_read_unlock();
	return number;
}

/* Process in the upper half, thread in the lower; 0 for somebody outside. */
u64 fst_process_of(struct task_struct *task)
{
	if (!fst.pid_namespace)
		return (u64)(u32)task->tgid << 32 | (u32)task->pid;
	return (u64)number_of(task->group_leader) << 32 | number_of(task);
}

u32 fst_parent_of(struct task_struct *task)
{
	struct task_struct *parent;
	u32 number;

	rcu_read_lock();
	parent = rcu_dereference(task->real_parent);
	number = fst.pid_namespace ? number_of(parent) : (u32)parent->tgid;
	rcu_read_unlock();
	return number;
}

/* Whose sockets are not to be captured: the agent's own, and those of processes outside of this node. */
bool fst_is_left_out(u32 pid)
{
	int i;

	if (fst.pid_namespace && !pid)
		return true;
	for (i = 0; i < FS_OWN_PIDS; i++) {
		u32 own = READ_ONCE(fst.control->own_pids[i]);
		if (!own)
			return false;
		if (own == pid)
			return true;
	}
	return false;
}

u64 fst_cgroup_of(struct task_struct *task)
{
	u64 number;

	rcu_read_lock();
	number = fst_task_cgroup(task, fst.hierarchy == FS_KMOD_CGROUP_MEMORY);
	rcu_read_unlock();
	return number;
}

/* Called where the process begins its program, or where its first thread ends. */
void fst_process(struct task_struct *task, u32 kind)
{
	const struct nsproxy *namespaces;
	struct fs_process *event;

	if (fst.pid_namespace && !(fst_process_of(task) >> 32))
		return;
	event = fst_reserve(FS_EV_PROCESS, sizeof(*event));
	if (!event)
		return;
	fst_head(&event->head, FS_EV_PROCESS, sizeof(*event), fst_now());
	event->head.cgroup_id = fst_cgroup_of(task);
	namespaces = READ_ONCE(task->nsproxy); /* its own: nobody else takes it away */
	event->head.netns = namespaces ? fst_netns_of(namespaces->net_ns) : 0;
	event->kind = kind;
	event->parent = fst_parent_of(task);
	memcpy(event->comm, task->comm, sizeof(event->comm));
	fst_commit(event, FS_EV_PROCESS);
}
