/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Perf rings, for kernels without a BPF ring. An event has to be whole when it is written, and only the hook's own function
 * has what writing takes, its context: so what a program tells is put together in slots and written at its end.
 */
#ifndef FIRESTEEL_STAGING_H
#define FIRESTEEL_STAGING_H

#include "maps.h"

static __always_inline struct stage *own_stage(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&stages, &zero);
}

static __always_inline void *stage_event(__u16 type, __u64 size)
{
	struct stage *stage = own_stage();
	struct staged *staged;
	__u64 level; /* half a register has no bound that older verifiers see */
	__u32 slot;

	if (!stage)
		return 0;
	level = stage->level & STAGED_LEVELS;
	slot = stage->used[level];
	if (!level || slot >= STAGED_EVENTS)
		return 0;
	slot += (level - 1) * STAGED_EVENTS;
	staged = bpf_map_lookup_elem(&staging, &slot);
	if (!staged || size > sizeof(staged->event))
		return 0;
	stage->used[level]++;
	staged->socket = stage->socket[level];
	staged->type = type;
	staged->size = 0;
	return staged->event;
}

static __always_inline void commit_staged(void *event, __u32 size)
{
	((struct staged *)(event - __builtin_offsetof(struct staged, event)))->size = size;
}

static __always_inline void write_staged(void *context, struct staged *staged)
{
	__u64 size = at_most(staged->size, sizeof(staged->event)), key = staged->socket;
	struct connection *connection;

	if (!size)
		return;
	if (!bpf_perf_event_output(context, &perf_events, BPF_F_CURRENT_CPU, staged->event, size)) {
		__sync_fetch_and_add(&own_counters()->written[staged->type & 15], 1);
		return;
	}
	__sync_fetch_and_add(&own_counters()->lost[staged->type & 15], 1);
	connection = bpf_map_lookup_elem(&connections, &key);
	if (!connection)
		return;
	connection->flags |= CONNECTION_LOST;
	if (staged->type == FS_EV_OPEN)
		connection->epoch = 0; /* so that it is told again */
}

static __always_inline void begin_stage(const void *socket)
{
	struct stage *stage = own_stage();
	__u64 level;

	if (!stage)
		return;
	level = ++stage->level;
	if (level > STAGED_LEVELS)
		return;
	barrier_var(level); /* or the bound is left out where the compiler knows it already */
	level &= STAGED_LEVELS;
	stage->used[level] = 0;
	stage->socket[level] = (__u64)socket;
}

static __always_inline void end_stage(void *context)
{
	struct stage *stage = own_stage();
	__u64 level;

	if (!stage)
		return;
	level = stage->level;
	if (level && level <= STAGED_LEVELS) {
		barrier_var(level);
		level &= STAGED_LEVELS;
#pragma unroll
		for (__u32 i = 0; i < STAGED_EVENTS; i++) {
			__u32 slot = (level - 1) * STAGED_EVENTS + i;
			struct staged *staged;
			if (i >= stage->used[level])
				break;
			staged = bpf_map_lookup_elem(&staging, &slot);
			if (staged)
				write_staged(context, staged);
		}
	}
	stage->level--;
}

#endif
