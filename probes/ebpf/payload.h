/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The bytes of a read or write, once a hook set's own way of finding them has named the buffer (registers.h, iterator.h).
 * Everything that cannot be proven is "not available here", with the reason.
 */
#ifndef FIRESTEEL_PAYLOAD_H
#define FIRESTEEL_PAYLOAD_H

#include "connection.h"

#define IOVECS 260 /* the most that gRPC writes at once, a few bytes each */

struct part { /* struct iovec of the 64-bit ABI, and of the kernel */
	__u64 base;
	__u64 length;
};

/* One read or write, as a hook found it. */
struct operation {
	struct sock *sk;
	struct msghdr *message; /* the kernel's, where the hook has it */
	__u64 size; /* of the buffer, with `message` */
	int result; /* bytes that moved */
	int flags;
	__u8 direction;
	__u8 way; /* enum way: a constant in each program */
};

enum way {
	BY_REGISTERS, /* socket tracepoints: the buffer is what the system call was given */
	BY_ITERATOR, /* after the call, walked back by what moved */
	BY_START, /* while it goes on, from where it began */
	WITHOUT_BUFFER, /* of the kernel's: sendfile, splice */
};

static __always_inline struct scratch *claim_scratch(__u32 *index)
{
#ifdef FS_UNTYPED
#pragma unroll
	for (__u32 i = 0; i < SCRATCHES; i++) {
		struct scratch *scratch;
		*index = i;
		scratch = bpf_map_lookup_elem(&scratches, index);
		if (scratch && !scratch->busy) {
			scratch->busy = 1;
			return scratch;
		}
	}
#else
	__u32 first = bpf_get_smp_processor_id();
#pragma unroll
	for (__u32 i = 0; i < 4; i++) {
		struct scratch *scratch;
		*index = (first + i * 16) & (SCRATCHES - 1);
		scratch = bpf_map_lookup_elem(&scratches, index);
		if (scratch && __sync_val_compare_and_swap(&scratch->busy, 0, 1) == 0)
			return scratch;
	}
#endif
	return 0;
}

static __always_inline void release_scratch(struct scratch *scratch)
{
#ifdef FS_UNTYPED
	*(volatile __u64 *)&scratch->busy = 0;
#else
	__sync_lock_test_and_set(&scratch->busy, 0);
#endif
}

static __always_inline struct scratch *scratch_at(__u32 index)
{
	return bpf_map_lookup_elem(&scratches, &index);
}

/* What comes out of memory is any number to the verifier, and not another case for each way to it. */
#define KEPT(field) (*(volatile __typeof__(field) *)&(field))

/*
 * Puts a scattered buffer together in a scratch, which holds its source too: a function whose arguments are numbers is
 * verified once (51c39bb1d5d1, 5.6) and not at each call. The first entries may be empty, or all skipped. Returns how
 * many bytes, at most `want`.
 */
__noinline __u32 gather(__u32 index, __u32 want)
{
	struct scratch *scratch = scratch_at(index);
	const struct source *source;
	__u32 count;
	__u64 at;

	if (!scratch)
		return 0;
	source = &scratch->source;
	count = source->count;
	KEPT(scratch->filled) = 0;
	KEPT(scratch->skip) = source->skip;
	for (__u32 i = 0; i < IOVECS; i++) {
		void *place = (void *)(source->vector + i * sizeof(struct part));
		struct part entry;
		__u64 part, left, skip = KEPT(scratch->skip);

		at = KEPT(scratch->filled);
		if (i >= count || at >= want || at >= FS_PAYLOAD_MAX)
			break;
		if (source->in_kernel ? bpf_probe_read_kernel(&entry, sizeof(entry), place)
				      : bpf_probe_read_user(&entry, sizeof(entry), place))
			break;
		if (skip >= entry.length) {
			KEPT(scratch->skip) = skip - entry.length;
			continue;
		}
		KEPT(scratch->skip) = 0;
		part = entry.length - skip;
		left = want - at;
		part = at_most(part < left ? part : left, FS_PAYLOAD_MAX);
		if (part &&
		    bpf_probe_read_user(&scratch->bytes[at & (FS_PAYLOAD_MAX - 1)], part, (void *)(entry.base + skip)))
			break;
		KEPT(scratch->filled) = at + part;
	}
	at = KEPT(scratch->filled);
	return at > want ? want : at;
}

/* Reads up to `*want` bytes, at most `room`, and says how many. Not 0: they are not in memory. */
#ifdef FS_HEADERS
/*
 * BCC makes one function of each program: so a scattered buffer is put together once, where it is found, and not wherever
 * its bytes are wanted. Programs are not preempted there, and only those in system calls come here.
 */
static __always_inline void put_together(struct source *source, __u64 bytes)
{
#ifndef FS_SHORT
	struct scratch *scratch = scratch_at(0);

	if (source->reason || !source->count || source->length >= bytes || !scratch)
		return;
	scratch->source = *source;
	KEPT(scratch->wanted) = bytes < FS_PAYLOAD_MAX ? bytes : FS_PAYLOAD_MAX;
	KEPT(scratch->filled) = gather(0, KEPT(scratch->wanted));
	source->length = KEPT(scratch->filled);
	source->base = (__u64)scratch->bytes;
	source->together = 1;
#endif
}

static __always_inline long read_source(void *out, const __u32 room, struct source *source, __u64 *want)
{
	if (*want > source->length)
		*want = source->length;
	*want = at_most(*want, room);
	return source->together ? bpf_probe_read_kernel(out, *want, (void *)source->base)
				: bpf_probe_read_user(out, *want, (void *)source->base);
}
#else
static __always_inline long read_source(void *out, const __u32 room, struct source *source, __u64 *want)
{
	struct scratch *scratch;
	__u32 index;
	long failed;

	if (!source->count || source->length >= *want) {
		if (*want > source->length)
			*want = source->length;
		*want = at_most(*want, room);
		return bpf_probe_read_user(out, *want, (void *)source->base);
	}
	scratch = claim_scratch(&index);
	if (!scratch)
		return -1;
	scratch->source = *source;
	*want = at_most(gather(index, *want), room);
	failed = bpf_probe_read_kernel(out, *want, scratch->bytes);
	release_scratch(scratch);
	return failed;
}
#endif

/*
 * Copies up to `limit` (at most `room`, a constant) bytes into `out`. Returns the count, and the reason if it is less
 * than what moved.
 */
static __always_inline __u32 copy_payload(void *out, const __u32 room, struct source *source, __u64 bytes, __u32 limit,
					  __u8 *reason)
{
	__u64 want = bytes < limit ? bytes : limit; /* 64 bits: the verifier loses a bound on half a register */

	*reason = source->reason;
	if (source->reason)
		return 0;
	if (read_source(out, room, source, &want) || (!want && bytes)) {
		*reason = FS_REASON_NOT_RESIDENT;
		return 0;
	}
	*reason = want < bytes ? FS_REASON_TRUNCATED : FS_REASON_NONE;
	return want;
}

#endif
