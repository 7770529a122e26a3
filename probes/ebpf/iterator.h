/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Finds the bytes of a read or write where the hook has the kernel's own description of the buffer: the iterator in the
 * message. Whoever asked, in which way and from which process, this is what the bytes are copied from or to.
 */
#ifndef FIRESTEEL_ITERATOR_H
#define FIRESTEEL_ITERATOR_H

#include "payload.h"

#ifdef FS_SHORT
#define REWINDS 2
#define UNROLLED _Pragma("unroll")
#else
#define UNROLLED
#define REWINDS 64 /* entries of a scattered buffer that are walked back; longer ones are told without their bytes */
#endif

enum iterator_kind { OF_THE_KERNEL = 0, ONE_BUFFER, SCATTERED };

/* Where an iterator stands. `at` is a user's buffer, or the kernel's copy of a vector of them. */
struct position {
	__u64 at;
	__u64 offset;
	__u64 count; /* bytes that are left */
	__u32 kind; /* enum iterator_kind */
	__u32 reserved;
};

/* Only the buffers of applications are read: pages, pipes and the kernel's own memory (ITER_BVEC, ITER_KVEC) are not. */
static __always_inline enum iterator_kind iterator_kind_of(const struct iov_iter *iterator)
{
	const struct iov_iter___before_5_14 *older = (const void *)iterator;
	__u32 kind;

	/* The direction is the lowest bit. */
	if (bpf_core_field_exists(older->type))
		kind = BPF_CORE_READ(older, type) & ~1u;
	else
		kind = BPF_CORE_READ(iterator, iter_type);
	if (bpf_core_enum_value_exists(enum iter_type, ITER_UBUF) &&
	    kind == bpf_core_enum_value(enum iter_type, ITER_UBUF))
		return ONE_BUFFER;
	if (bpf_core_enum_value_exists(enum iter_type, ITER_IOVEC) &&
	    kind == bpf_core_enum_value(enum iter_type, ITER_IOVEC))
		return SCATTERED;
	return OF_THE_KERNEL;
}

/* As a number: an application's pointer is none that the verifier knows. */
static __always_inline void locate_iterator(const struct msghdr *message, struct position *position)
{
	const struct iov_iter *iterator = &message->msg_iter;
	const struct iov_iter___before_6_4 *older = (const void *)iterator;

	position->kind = iterator_kind_of(iterator);
	position->offset = BPF_CORE_READ(iterator, iov_offset);
	position->at = 0;
	if (position->kind == ONE_BUFFER)
		bpf_core_read(&position->at, sizeof(position->at), &iterator->ubuf);
	else if (position->kind == SCATTERED && bpf_core_field_exists(older->iov))
		bpf_core_read(&position->at, sizeof(position->at), &older->iov);
	else if (position->kind == SCATTERED)
		bpf_core_read(&position->at, sizeof(position->at), &iterator->__iov);
}

/*
 * Back by `moved` bytes from where a call left a vector: over what it used up, the entry in which it stands included. Entries
 * that were empty are passed over.
 */
static __always_inline void rewind_vector(struct source *source, struct position *position, __u64 moved)
{
	__u64 end = position->at + (position->offset ? sizeof(struct part) : 0), used;
	struct part part = {};

	if (moved <= position->offset) {
		source->skip = position->offset - moved;
		if (bpf_probe_read_kernel(&part, sizeof(part), (void *)position->at))
			source->reason = FS_REASON_NOT_RESIDENT;
	} else {
		__u64 left = moved - position->offset;
		int i;
		UNROLLED
		for (i = 0; i < REWINDS; i++) {
			position->at -= sizeof(part);
			if (bpf_probe_read_kernel(&part, sizeof(part), (void *)position->at)) {
				source->reason = FS_REASON_NOT_RESIDENT;
				break;
			}
			if (left <= part.length) {
				source->skip = part.length - left;
				break;
			}
			left -= part.length;
		}
		if (i == REWINDS)
			source->reason = FS_REASON_SYSCALL;
	}
	if (source->reason)
		return;
	/* From the addresses, of which the verifier knows nothing: a count would be another case for each turn of the loop. */
	used = (end - position->at) / sizeof(part);
	source->base = part.base + source->skip;
	source->length = part.length - source->skip;
	source->vector = position->at;
	source->count = used > 1 ? used : 0;
	source->in_kernel = 1;
}

static __always_inline void locate_buffer(struct source *source, const struct msghdr *message, __u64 moved)
{
	struct position position;

	locate_iterator(message, &position);
	if (position.kind == ONE_BUFFER) {
		source->base = position.at + position.offset - moved;
		source->length = moved;
	} else if (position.kind == SCATTERED) {
		rewind_vector(source, &position, moved);
	} else {
		source->reason = FS_REASON_KERNEL_BUFFER;
	}
}

/* Functions of their own, verified once: what they find is then any value, and not another case for each way to it. */
#ifdef FS_UNTYPED
__noinline int locate(__u64 moved)
{
	struct source found = {};
	struct source *kept = own_source();

	if (!kept)
		return 0;
	locate_buffer(&found, (const struct msghdr *)kept->base, moved);
	*kept = found;
	return 0;
}

static __always_inline void find_buffer(struct source *source, const struct msghdr *message, __u64 moved)
{
	struct source *kept = own_source();

	if (!kept) {
		source->reason = FS_REASON_SYSCALL;
		return;
	}
	kept->base = (__u64)message; /* through memory, for the verifier takes no pointer for a number */
	locate(moved);
	*source = *kept;
}
#else
struct moved {
	__u64 message;
	__u64 bytes;
};

__noinline int locate(struct source *source, const struct moved *moved)
{
	if (source && moved)
		locate_buffer(source, (const struct msghdr *)moved->message, moved->bytes);
	return 0;
}

static __always_inline void find_buffer(struct source *source, const struct msghdr *message, __u64 bytes)
{
	struct moved moved = {.message = (__u64)message, .bytes = bytes};
	locate(source, &moved);
}
#endif

/* A datagram that was cut moved no more than its buffer holds, whatever the call returned (MSG_TRUNC). */
static __always_inline void find_by_iterator(struct source *source, const struct operation *operation)
{
	__u64 moved = operation->result;

	if (!operation->message) {
		source->reason = FS_REASON_KERNEL_BUFFER;
		return;
	}
	if (is_stream(operation->sk) && operation->flags & MSG_TRUNC) {
		source->reason = FS_REASON_DISCARDED;
		return;
	}
	if (moved > operation->size)
		moved = operation->size;
	find_buffer(source, operation->message, moved);
}

#endif
