/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * One consumer for the BPF ring buffer and for the module's ring, which has the same layout:
 *
 *   consumer page (ours to write) | producer page | data | the same data again, so that no record is ever split
 *
 * A record is a u32 length with two flags, a u32 that is the kernel's own, then the bytes, padded to 8. Positions are
 * byte counts that only grow. Nothing that stands in the ring is trusted: whatever contradicts the layout is skipped
 * up to the producer and counted. C89-clean; the atomics are those of gcc and clang.
 */
#ifndef FIRESTEEL_RING_H
#define FIRESTEEL_RING_H

#include "event.h"

#define FS_RING_BUSY 0x80000000u /* still being written */
#define FS_RING_DISCARD 0x40000000u /* given up by its writer */
#define FS_RING_RECORD_HEAD 8

struct fs_ring {
	__u64 *consumer;
	const __u64 *producer;
	const __u8 *data;
	__u64 size; /* a power of two */
	__u64 position; /* of the next record; published by fs_ring_release */
	__u64 limit; /* the producer's position when it was last looked at */
	__u64 contradictions;
};

/* Never goes back: what was read once is not read again. */
static __inline__ const void *fs_ring_broken(struct fs_ring *ring)
{
	if (ring->limit - ring->position < 1ull << 63)
		ring->position = ring->limit & ~7ull;
	ring->contradictions++;
	return 0;
}

/* Lets the producers have everything before `position` again. */
static __inline__ void fs_ring_release(struct fs_ring *ring)
{
	__atomic_store_n(ring->consumer, ring->position, __ATOMIC_RELEASE);
}

/* How many bytes wait. Looks at the producer's cache line, which fs_ring_next avoids while it can. */
static __inline__ __u64 fs_ring_filled(struct fs_ring *ring)
{
	ring->limit = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
	return ring->limit - ring->position;
}

/* The next record, aligned to 8 and valid until fs_ring_release, or NULL if there is none yet. */
static __inline__ const void *fs_ring_next(struct fs_ring *ring, __u32 *bytes)
{
	for (;;) {
		__u64 left = ring->limit - ring->position, step;
		const __u8 *record = ring->data + (ring->position & (ring->size - 1));
		__u32 head;

		if (left < FS_RING_RECORD_HEAD || left > ring->size) {
			left = fs_ring_filled(ring);
			if (left == 0)
				return 0;
		}
		if (left < FS_RING_RECORD_HEAD || left > ring->size)
			return fs_ring_broken(ring);
		head = __atomic_load_n((const __u32 *)record, __ATOMIC_ACQUIRE);
		if (head & FS_RING_BUSY)
			return 0;
		*bytes = head & ~FS_RING_DISCARD;
		step = ((__u64)*bytes + FS_RING_RECORD_HEAD + 7) & ~7ull;
		if (step > left) {
			/* Perhaps the producer went on since; if not, the length lies. */
			left = fs_ring_filled(ring);
			if (step > left || left > ring->size)
				return fs_ring_broken(ring);
		}
		ring->position += step;
		if (!(head & FS_RING_DISCARD))
			return record + FS_RING_RECORD_HEAD;
	}
}

#endif
