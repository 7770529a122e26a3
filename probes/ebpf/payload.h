/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Finds the bytes of a read or write. At the socket tracepoints they are in the user's buffer, which only the system
 * call's registers name. They may be read only if the call is in the table below, entered by a 64-bit instruction, and
 * the file behind its descriptor is this very socket. Everything else is "not available here", with the reason.
 */
#ifndef FIRESTEEL_PAYLOAD_H
#define FIRESTEEL_PAYLOAD_H

#include "connection.h"

#define IOVECS 8

struct iovec {
	__u64 base;
	__u64 length;
};

/* Where the bytes are: `base` of `length`; with `count`, that is the first of so many entries at `vector`. */
struct source {
	__u64 base;
	__u64 length;
	__u64 vector;
	__u32 count;
	__u32 reason; /* enum fs_reason; not 0: nothing to read */
};

/* Of the x86-64 system call table: who reads or writes sockets, and how its second argument names the buffer. */
enum buffer_form { FORM_NONE, FORM_PLAIN, FORM_VECTOR, FORM_MESSAGE, FORM_MESSAGES };

static __always_inline enum buffer_form form_of(long number)
{
	switch (number) {
	case 0: /* read */
	case 1: /* write */
	case 44: /* sendto */
	case 45: /* recvfrom */ return FORM_PLAIN;
	case 19: /* readv */
	case 20: /* writev */ return FORM_VECTOR;
	case 46: /* sendmsg */
	case 47: /* recvmsg */ return FORM_MESSAGE;
	case 299: /* recvmmsg */
	case 307: /* sendmmsg */ return FORM_MESSAGES;
	default: return FORM_NONE;
	}
}

/* Is the file behind `descriptor` this socket? Casts instead of helper calls: a fault reads as 0. */
static __always_inline bool is_descriptor_of(struct task_struct *task, __u32 descriptor, struct sock *sk)
{
	struct fdtable *table = task->files->fdt;
	if (descriptor >= table->max_fds)
		return false;
	struct hlist_head *entry = bpf_rdonly_cast((void *)((__u64)table->fd + 8ull * descriptor),
						   bpf_core_type_id_kernel(struct hlist_head));
	__u64 file = (__u64)sk->sk_socket->file; /* 0: the kernel's own, or closed meanwhile */
	return file && (__u64)entry->first == file;
}

struct user_message { /* struct user_msghdr of the 64-bit ABI */
	__u64 name;
	__u64 name_length;
	__u64 vector;
	__u64 vector_length;
};
#define USER_MESSAGES_STRIDE 64 /* sizeof(struct mmsghdr) */
#define USER_MESSAGES_LENGTH 56 /* offsetof(struct mmsghdr, msg_len) */

/* The first entry is looked at in any case: mostly it holds all that is wanted, a head before its body. */
static __always_inline void source_vector(struct source *source, __u64 vector, __u64 count)
{
	struct iovec first;
	if (count > IOVECS)
		count = IOVECS;
	if (!count)
		return;
	if (bpf_probe_read_user(&first, sizeof(first), (void *)vector)) {
		source->reason = FS_REASON_NOT_RESIDENT;
		return;
	}
	source->base = first.base;
	source->length = first.length;
	source->vector = vector;
	source->count = count == 1 ? 0 : count;
}

static __always_inline void source_message(struct source *source, __u64 header)
{
	struct user_message message;
	if (bpf_probe_read_user(&message, sizeof(message), (void *)header)) {
		source->reason = FS_REASON_NOT_RESIDENT;
		return;
	}
	source_vector(source, message.vector, message.vector_length);
}

/* What a sendmmsg or recvmmsg call was given. */
struct messages_call {
	__u64 vector;
	__u64 socket;
	__u32 length;
	__s32 bytes; /* of the message that just moved, or its error */
	__u8 may_end_unseen; /* recvmmsg with a time-out */
};

/*
 * sendmmsg and recvmmsg report each message but not which one it is. A thread's calls are counted; the count is believed
 * only if the kernel has meanwhile written the previous message's length where it should be. A recvmmsg with a time-out
 * may end unseen, so of those only the single message is known.
 */
__noinline int source_messages(struct source *source, const struct messages_call *call)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct message_index *last, next = {};
	__u32 index = 0, written = 0;

	if (!source || !call)
		return 0;
	last = bpf_map_lookup_elem(&message_indexes, &thread);
	if (last && last->vector == call->vector && last->socket == call->socket && last->length == call->length &&
	    last->next < call->length)
		index = last->next;
	if (index) {
		bpf_probe_read_user(&written, sizeof(written),
				    (void *)(call->vector + (index - 1) * USER_MESSAGES_STRIDE + USER_MESSAGES_LENGTH));
		if (written != last->last_bytes)
			source->reason = FS_REASON_MESSAGE_INDEX;
	}
	next.vector = call->vector;
	next.socket = call->socket;
	next.length = call->length;
	next.next = call->bytes < 0 ? 0 : index + 1;
	next.last_bytes = call->bytes;
	bpf_map_update_elem(&message_indexes, &thread, &next, BPF_ANY);
	if (call->may_end_unseen && call->length > 1)
		source->reason = FS_REASON_MESSAGE_INDEX;
	if (!source->reason && call->bytes > 0)
		source_message(source, call->vector + index * USER_MESSAGES_STRIDE);
	return 0;
}

static __always_inline void source_of_messages(struct source *source, struct pt_regs *regs, struct sock *sk,
					       __s32 bytes)
{
	struct messages_call call = {
		.vector = regs->si,
		.socket = (__u64)sk,
		.length = regs->dx,
		.bytes = bytes,
		.may_end_unseen = regs->orig_ax == 299 && regs->r8,
	};
	source_messages(source, &call);
}

/* A datagram without bytes, or a failure, moves a thread's place in sendmmsg or recvmmsg too. */
static __always_inline void skip_message(struct sock *sk, __s32 bytes)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct source source = {};
	struct pt_regs *regs;

	if (task->flags & PF_KTHREAD)
		return;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	if (form_of(regs->orig_ax) == FORM_MESSAGES)
		source_of_messages(&source, regs, sk, bytes);
}

/*
 * A register that still says ENOSYS is that of a system call which has not returned. Work that the kernel left for the
 * way back to user space (io_uring's completions) runs with the registers of a call that is over.
 */
static __always_inline bool is_in_call(const struct pt_regs *regs)
{
	return (__s64)regs->ax == -ENOSYS;
}

static __always_inline void find_source(struct source *source, struct sock *sk, __s32 bytes, int flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs;
	enum buffer_form form;

	__builtin_memset(source, 0, sizeof(*source));
	if (task->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER)) {
		source->reason = task->flags & PF_KTHREAD ? FS_REASON_KERNEL_BUFFER : FS_REASON_SYSCALL;
		return;
	}
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	form = form_of(regs->orig_ax);
	if (task->thread_info.status & TS_COMPAT) /* its numbers are those of another table */
		source->reason = FS_REASON_COMPAT;
	else if (form == FORM_NONE || !is_in_call(regs))
		source->reason = FS_REASON_SYSCALL;
	else if (!is_descriptor_of(task, regs->di, sk))
		source->reason = FS_REASON_NOT_THIS_SOCKET;
	else if (is_stream(sk) && (flags & MSG_TRUNC))
		source->reason = FS_REASON_DISCARDED;
	else if (is_stream(sk) && form == FORM_MESSAGES && regs->dx != 1)
		source->reason = FS_REASON_MESSAGE_INDEX; /* the call may end after part of a message, unseen */
	if (source->reason)
		return;
	if (form == FORM_PLAIN) {
		source->base = regs->si;
		source->length = regs->dx;
	} else if (form == FORM_VECTOR) {
		source_vector(source, regs->si, regs->dx);
	} else if (form == FORM_MESSAGE) {
		source_message(source, regs->si);
	} else {
		source_of_messages(source, regs, sk, bytes);
	}
}

static __always_inline struct scratch *claim_scratch(void)
{
	__u32 first = bpf_get_smp_processor_id();
#pragma unroll
	for (__u32 i = 0; i < 4; i++) {
		__u32 index = (first + i * 16) & (SCRATCHES - 1);
		struct scratch *scratch = bpf_map_lookup_elem(&scratches, &index);
		if (scratch && __sync_val_compare_and_swap(&scratch->busy, 0, 1) == 0)
			return scratch;
	}
	return 0;
}

static __always_inline void release_scratch(struct scratch *scratch)
{
	__sync_lock_test_and_set(&scratch->busy, 0);
}

/*
 * Puts a scattered buffer together in scratch. The first entries may be empty. Returns how many bytes, at most `want`.
 */
__noinline __u32 gather(struct scratch *scratch, const struct source *source, __u32 want)
{
	struct iovec entries[IOVECS] = {};
	__u32 count, at = 0;

	if (!scratch || !source)
		return 0;
	count = source->count;
	if (count > IOVECS)
		count = IOVECS;
	if (bpf_probe_read_user(entries, count * sizeof(entries[0]), (void *)source->vector))
		return 0;
	for (__u32 i = 0; i < IOVECS; i++) {
		__u64 part = entries[i].length;
		if (i >= count || at >= want || at >= FS_PAYLOAD_MAX)
			break;
		if (part > want - at)
			part = want - at;
		if (part > FS_PAYLOAD_MAX)
			part = FS_PAYLOAD_MAX;
		if (part &&
		    bpf_probe_read_user(&scratch->bytes[at & (FS_PAYLOAD_MAX - 1)], part, (void *)entries[i].base))
			break;
		at += part;
	}
	return at > want ? want : at;
}

/*
 * Copies up to `limit` (at most `room`, a constant) bytes into `out`. Returns the count, and the reason if it is less
 * than what moved.
 */
static __always_inline __u32 copy_payload(void *out, const __u32 room, struct source *source, __u64 bytes, __u32 limit,
					  __u8 *reason)
{
	__u64 want = bytes < limit ? bytes : limit; /* 64 bits: the verifier loses a bound on half a register */
	long failed;

	*reason = source->reason;
	if (source->reason)
		return 0;
	if (want > room)
		want = room;
	if (source->count && source->length < want) {
		struct scratch *scratch = claim_scratch();
		if (!scratch) {
			*reason = FS_REASON_NOT_RESIDENT;
			return 0;
		}
		want = gather(scratch, source, want);
		barrier_var(want);
		if (want > room)
			want = room;
		failed = bpf_probe_read_kernel(out, want, scratch->bytes);
		release_scratch(scratch);
	} else {
		if (want > source->length)
			want = source->length;
		barrier_var(want);
		if (want > room)
			want = room;
		failed = bpf_probe_read_user(out, want, (void *)source->base);
	}
	if (failed || (!want && bytes)) {
		*reason = FS_REASON_NOT_RESIDENT;
		return 0;
	}
	*reason = want < bytes ? FS_REASON_TRUNCATED : FS_REASON_NONE;
	return want;
}

#endif
