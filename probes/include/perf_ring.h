/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * One consumer for the perf rings of all processors, for kernels without a BPF ring (below 5.8) and for BCC. Each ring is
 *
 *   head page (struct perf_event_mmap_page; of it only data_tail is ours to write) | data, a power of two of bytes
 *
 * and is filled by its own processor, so the rings are merged here: by the time of writing, which probes/perf_rings.py asks
 * the kernel to put into each record (CLOCK_MONOTONIC). What was written after a turn began waits for the next turn, for a
 * ring that was already looked at may get something older.
 *
 *   record: u32 type, u16 misc, u16 length | sample: u64 time, u32 bytes, the event, padding to 8
 *                                          | lost: u64 id, u64 count of what found no room
 *
 * Records may be split by the end of the data, and events stand where u64 must not: so they are copied out, and their
 * room is given back at once. Whoever goes on after a crash starts with the record after the one that was being read.
 * Nothing that stands in a ring is trusted. C89-clean; the atomics are those of gcc and clang.
 */
#ifndef FIRESTEEL_PERF_RING_H
#define FIRESTEEL_PERF_RING_H

#include "control.h"

#define FS_PERF_HEAD_OFFSET 1024 /* data_head in struct perf_event_mmap_page, ABI; data_tail follows */
#define FS_PERF_LOST 2 /* PERF_RECORD_LOST */
#define FS_PERF_SAMPLE 9 /* PERF_RECORD_SAMPLE */
#define FS_PERF_RECORD_MAX 65536 /* lengths have 16 bits */

struct fs_perf_head {
	__u32 type;
	__u16 misc;
	__u16 length;
};

struct fs_perf_ring {
	const __u64 *head; /* data_head: what the kernel has written */
	__u64 *tail; /* data_tail: what we have read */
	const __u8 *data;
	__u64 size; /* a power of two */
	__u64 position;
	__u64 limit; /* the head when this turn began */
	__u64 time_ns; /* of the sample at `position`, while the ring is in the heap */
	__u32 bytes; /* of its event */
	__u32 length; /* of the record */
};

struct fs_perf_rings {
	__u32 count;
	__u32 waiting; /* rings in the heap */
	__u32 heap[FS_CPUS]; /* rings by the time of their next sample, the earliest first */
	struct fs_perf_ring rings[FS_CPUS];
	__u64 until_ns; /* samples of this turn are older */
	__u64 lost; /* records that the kernel says it dropped */
	__u64 contradictions;
	__u64 event[FS_PERF_RECORD_MAX / 8]; /* the one that was read last */
};

/* `bytes` at `position`, in two parts where the data ends between them. */
static __inline__ void fs_perf_copy(const struct fs_perf_ring *ring, __u64 position, void *out, __u32 bytes)
{
	__u64 at = position & (ring->size - 1);
	__u64 first = ring->size - at;

	if (first > bytes)
		first = bytes;
	__builtin_memcpy(out, ring->data + at, first);
	__builtin_memcpy((__u8 *)out + first, ring->data, bytes - first);
}

static __inline__ void fs_perf_advance(struct fs_perf_ring *ring, __u64 position)
{
	ring->position = position;
	__atomic_store_n(ring->tail, position, __ATOMIC_RELEASE);
}

/* On to the ring's next sample, past everything else. False: none in this turn. */
static __inline__ int fs_perf_look(struct fs_perf_rings *rings, struct fs_perf_ring *ring)
{
	while (ring->limit - ring->position >= sizeof(struct fs_perf_head)) {
		__u64 left = ring->limit - ring->position, fields[2];
		struct fs_perf_head head;
		__u32 bytes;

		fs_perf_copy(ring, ring->position, &head, sizeof(head));
		if (left > ring->size || head.length < sizeof(head) || head.length > left || head.length % 8)
			break;
		if (head.type == FS_PERF_SAMPLE && head.length >= sizeof(head) + 16) {
			fs_perf_copy(ring, ring->position + sizeof(head), fields, 8);
			fs_perf_copy(ring, ring->position + sizeof(head) + 8, &bytes, 4);
			if (bytes > head.length - sizeof(head) - 12)
				break;
			ring->time_ns = fields[0];
			ring->bytes = bytes;
			ring->length = head.length;
			return ring->time_ns < rings->until_ns;
		}
		if (head.type == FS_PERF_LOST && head.length >= sizeof(head) + sizeof(fields)) {
			fs_perf_copy(ring, ring->position + sizeof(head), fields, sizeof(fields));
			rings->lost += fields[1];
		} else {
			rings->contradictions++;
		}
		fs_perf_advance(ring, ring->position + head.length);
	}
	if (ring->position != ring->limit) {
		/* What stands there is no record: all of it is given back, but never twice. */
		rings->contradictions++;
		if (ring->limit - ring->position < 1ull << 63)
			fs_perf_advance(ring, ring->limit);
	}
	return 0;
}

/* The heap's entry at `at` goes down to where both below it are later. */
static __inline__ void fs_perf_sift(struct fs_perf_rings *rings, __u32 at)
{
	__u32 moved = rings->heap[at];
	__u64 time_ns = rings->rings[moved].time_ns;

	for (;;) {
		__u32 below = 2 * at + 1;
		if (below >= rings->waiting)
			break;
		if (below + 1 < rings->waiting &&
		    rings->rings[rings->heap[below + 1]].time_ns < rings->rings[rings->heap[below]].time_ns)
			below++;
		if (rings->rings[rings->heap[below]].time_ns >= time_ns)
			break;
		rings->heap[at] = rings->heap[below];
		at = below;
	}
	rings->heap[at] = moved;
}

/* Begins a turn: what stands in the rings now and is older than `until_ns`. Returns how full the fullest is, in bytes. */
static __inline__ __u64 fs_perf_begin(struct fs_perf_rings *rings, __u64 until_ns)
{
	__u64 most = 0;
	__u32 i;

	rings->until_ns = until_ns;
	rings->waiting = 0;
	for (i = 0; i < rings->count; i++)
		rings->rings[i].limit = __atomic_load_n(rings->rings[i].head, __ATOMIC_ACQUIRE);
	for (i = 0; i < rings->count; i++) {
		struct fs_perf_ring *ring = &rings->rings[i];
		__u64 filled = ring->limit - ring->position;
		if (filled > most && filled <= ring->size)
			most = filled;
		if (fs_perf_look(rings, ring))
			rings->heap[rings->waiting++] = i;
	}
	for (i = rings->waiting / 2; i-- > 0;)
		fs_perf_sift(rings, i);
	return most;
}

/* The next event of this turn, aligned to 8 and valid until the next call, or NULL. */
static __inline__ const void *fs_perf_next(struct fs_perf_rings *rings, __u32 *bytes)
{
	struct fs_perf_ring *ring;

	if (!rings->waiting)
		return 0;
	ring = &rings->rings[rings->heap[0]];
	*bytes = ring->bytes;
	fs_perf_copy(ring, ring->position + sizeof(struct fs_perf_head) + 12, rings->event, ring->bytes);
	fs_perf_advance(ring, ring->position + ring->length);
	if (!fs_perf_look(rings, ring))
		rings->heap[0] = rings->heap[--rings->waiting];
	if (rings->waiting)
		fs_perf_sift(rings, 0);
	return rings->event;
}

#endif
