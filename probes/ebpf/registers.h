/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Finds the bytes of a read or write at the socket tracepoints. They are in the user's buffer, which only the system
 * call's registers name. They may be read only if the call is in the table below, entered by a 64-bit instruction, and
 * the file behind its descriptor is this very socket. Everything else is "not available here", with the reason.
 */
#ifndef FIRESTEEL_REGISTERS_H
#define FIRESTEEL_REGISTERS_H

#include "payload.h"

/* Who reads or writes sockets, and how its second argument names the buffer. */
enum buffer_form { FORM_NONE, FORM_PLAIN, FORM_VECTOR, FORM_MESSAGE, FORM_MESSAGES };

#if defined(__TARGET_ARCH_x86)
/* arch/x86/entry/syscalls/syscall_64.tbl */
enum call_number {
	CALL_READ = 0,
	CALL_WRITE = 1,
	CALL_READV = 19,
	CALL_WRITEV = 20,
	CALL_SENDTO = 44,
	CALL_RECVFROM = 45,
	CALL_SENDMSG = 46,
	CALL_RECVMSG = 47,
	CALL_RECVMMSG = 299,
	CALL_SENDMMSG = 307,
};

static __always_inline long call_of(const struct pt_regs *regs)
{
	return regs->orig_ax;
}

#define ARGUMENT_1(regs) ((regs)->di)
#define ARGUMENT_2(regs) ((regs)->si)
#define ARGUMENT_3(regs) ((regs)->dx)
#define ARGUMENT_5(regs) ((regs)->r8)

/*
 * A register that still says ENOSYS is that of a system call which has not returned. Work that the kernel left for the
 * way back to user space (io_uring's completions) runs with the registers of a call that is over.
 */
static __always_inline bool is_in_call(const struct pt_regs *regs)
{
	return (__s64)regs->ax == -ENOSYS;
}

static __always_inline bool is_32_bit(struct task_struct *task)
{
	return READ(task, thread_info.status) & TS_COMPAT;
}
#elif defined(__TARGET_ARCH_arm64)
/* include/uapi/asm-generic/unistd.h */
enum call_number {
	CALL_READ = 63,
	CALL_WRITE = 64,
	CALL_READV = 65,
	CALL_WRITEV = 66,
	CALL_SENDTO = 206,
	CALL_RECVFROM = 207,
	CALL_SENDMSG = 211,
	CALL_RECVMSG = 212,
	CALL_RECVMMSG = 243,
	CALL_SENDMMSG = 269,
};

static __always_inline long call_of(const struct pt_regs *regs)
{
	return regs->syscallno;
}

#define ARGUMENT_1(regs) ((regs)->orig_x0)
#define ARGUMENT_2(regs) ((regs)->regs[1])
#define ARGUMENT_3(regs) ((regs)->regs[2])
#define ARGUMENT_5(regs) ((regs)->regs[4])

/* The first argument's register becomes the result (syscall_set_return_value), so until then it is what was given. */
static __always_inline bool is_in_call(const struct pt_regs *regs)
{
	return regs->regs[0] == regs->orig_x0;
}

static __always_inline bool is_32_bit(struct task_struct *task)
{
	return READ(task, thread_info.flags) & 1ul << TIF_32BIT;
}
#endif

static __always_inline enum buffer_form form_of(long number)
{
	switch (number) {
	case CALL_READ:
	case CALL_WRITE:
	case CALL_SENDTO:
	case CALL_RECVFROM: return FORM_PLAIN;
	case CALL_READV:
	case CALL_WRITEV: return FORM_VECTOR;
	case CALL_SENDMSG:
	case CALL_RECVMSG: return FORM_MESSAGE;
	case CALL_RECVMMSG:
	case CALL_SENDMMSG: return FORM_MESSAGES;
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
	struct part first;
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
SUBPROGRAM int source_messages(struct source *source, const struct messages_call *call)
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
		.vector = ARGUMENT_2(regs),
		.socket = (__u64)sk,
		.length = ARGUMENT_3(regs),
		.bytes = bytes,
		.may_end_unseen = call_of(regs) == CALL_RECVMMSG && ARGUMENT_5(regs),
	};
	source_messages(source, &call);
}

/* A datagram without bytes, or a failure, moves a thread's place in sendmmsg or recvmmsg too. */
static __always_inline void skip_message(struct sock *sk, __s32 bytes)
{
	struct task_struct *task = current_task();
	struct source source = {};
	struct pt_regs *regs;

	if (task->flags & PF_KTHREAD)
		return;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	if (form_of(call_of(regs)) == FORM_MESSAGES)
		source_of_messages(&source, regs, sk, bytes);
}

static __always_inline void find_by_registers(struct source *source, const struct operation *operation)
{
	struct task_struct *task = current_task();
	struct sock *sk = operation->sk;
	struct pt_regs *regs;
	enum buffer_form form;

	if (task->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER)) {
		source->reason = task->flags & PF_KTHREAD ? FS_REASON_KERNEL_BUFFER : FS_REASON_SYSCALL;
		return;
	}
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	form = form_of(call_of(regs));
	if (is_32_bit(task)) /* its numbers are those of another table */
		source->reason = FS_REASON_COMPAT;
	else if (form == FORM_NONE || !is_in_call(regs))
		source->reason = FS_REASON_SYSCALL;
	else if (!is_descriptor_of(task, ARGUMENT_1(regs), sk))
		source->reason = FS_REASON_NOT_THIS_SOCKET;
	else if (is_stream(sk) && operation->flags & MSG_TRUNC)
		source->reason = FS_REASON_DISCARDED;
	else if (is_stream(sk) && form == FORM_MESSAGES && ARGUMENT_3(regs) != 1)
		source->reason = FS_REASON_MESSAGE_INDEX; /* the call may end after part of a message, unseen */
	if (source->reason)
		return;
	if (form == FORM_PLAIN) {
		source->base = ARGUMENT_2(regs);
		source->length = ARGUMENT_3(regs);
	} else if (form == FORM_VECTOR) {
		source_vector(source, ARGUMENT_2(regs), ARGUMENT_3(regs));
	} else if (form == FORM_MESSAGE) {
		source_message(source, ARGUMENT_2(regs));
	} else {
		source_of_messages(source, regs, sk, operation->result);
	}
}

#endif
