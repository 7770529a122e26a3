/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Into the ring, or into the loss counters. The readers poll, so nothing is ever woken from a probe. */
#ifndef FIRESTEEL_EMIT_H
#define FIRESTEEL_EMIT_H

#include "process.h"
#ifdef FS_UNTYPED
#include "staging.h"
#endif

/* Each program that may write begins and ends with these two. `socket` is the one that it is about, if any. */
static __always_inline void begin_events(const void *socket)
{
#ifdef FS_UNTYPED
	if (!has_ring)
		begin_stage(socket);
#endif
}

static __always_inline int end_events(void *context)
{
#ifdef FS_UNTYPED
	if (!has_ring)
		end_stage(context);
#endif
	return 0;
}

/* Room for an event of constant size, or NULL after counting the loss. */
static __always_inline void *reserve(__u16 type, __u64 size)
{
	void *event;
#ifdef FS_UNTYPED
	if (!has_ring)
		event = stage_event(type, size);
	else
#endif
		event = bpf_ringbuf_reserve(&events, size, 0);
	if (!event)
		__sync_fetch_and_add(&own_counters()->lost[type & 15], 1);
	return event;
}

static __always_inline void submit(void *event, __u16 type)
{
#ifdef FS_UNTYPED
	if (!has_ring) {
		commit_staged(event, ((struct fs_head *)event)->size);
		return;
	}
#endif
	__sync_fetch_and_add(&own_counters()->written[type & 15], 1);
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

/* What was reserved is not wanted after all. */
static __always_inline void discard(void *event)
{
#ifdef FS_UNTYPED
	if (!has_ring)
		return; /* its size stayed 0 */
#endif
	bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);
}

static __always_inline void head_of(struct fs_head *head, __u16 type, __u32 size, __u64 time_ns)
{
	__u64 pid_tgid = current_process();
	head->time_ns = time_ns;
	head->conn_id = 0;
	head->cgroup_id = 0;
	head->pid = pid_tgid >> 32;
	head->tid = (__u32)pid_tgid;
	head->netns = 0;
	head->type = type;
	head->cpu = bpf_get_smp_processor_id();
	head->size = size;
	head->flags = 0;
}

/* Process facts come from the connection where the hook does not run in the process. */
static __always_inline void head_for(struct fs_head *head, __u16 type, __u32 size, __u64 time_ns,
				     struct connection *connection, bool in_process)
{
#ifdef FS_UNTYPED
	/* Before 5.12 io_uring's workers are threads of the kernel (3bfe6106693b). */
	in_process = in_process && !(READ(current_task(), flags) & PF_KTHREAD);
#endif
	head_of(head, type, size, time_ns);
	head->conn_id = connection->id;
	head->cgroup_id = connection->cgroup_id;
	head->netns = connection->netns;
	if (!in_process) {
		head->pid = connection->pid;
		head->tid = connection->tid;
		if (!connection->pid)
			head->flags |= FS_NO_PROCESS;
	}
	if (connection->flags & CONNECTION_LOST) {
		head->flags |= FS_LOST_BEFORE;
		connection->flags &= ~CONNECTION_LOST;
	}
}

#endif
