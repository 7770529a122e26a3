/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Kprobes, where there are no trampolines: a call is noted where it begins, and told where its bytes have moved. Nothing
 * waits for the function's return, for whoever blocks in there holds one of the few instances that a kretprobe has.
 *
 *   streams   release_sock, which ends every call, and every pause in one: what left the iterator since the last time, as
 *             far as the stream went on as well. A call that moves its bytes in parts is told in parts. One that is over
 *             is no longer on the thread's stack, and its message is not looked at again
 *   UDP in    skb_consume_udp, when a datagram has been copied; it is told how much that was
 *   UDP out   the return of udp_sendmsg, which says if it was sent at all. One that was missed is noticed by the next
 *             call of its thread, and counted
 */
#ifndef FIRESTEEL_HOOKS_KPROBES_H
#define FIRESTEEL_HOOKS_KPROBES_H

#include "io.h"

#if defined(__TARGET_ARCH_x86)
#define PARAMETER_1(context) ((context)->di)
#define PARAMETER_2(context) ((context)->si)
#define PARAMETER_3(context) ((context)->dx)
#define PARAMETER_4(context) ((context)->cx)
#define RETURNED(context) ((context)->ax)
#define STACK(context) ((context)->sp)
/* Where the function that begins here finds its way back. */
#define WAY_BACK(context) ((context)->sp)
#elif defined(__TARGET_ARCH_arm64)
#define PARAMETER_1(context) ((context)->regs[0])
#define PARAMETER_2(context) ((context)->regs[1])
#define PARAMETER_3(context) ((context)->regs[2])
#define PARAMETER_4(context) ((context)->regs[3])
#define RETURNED(context) ((context)->regs[0])
#define STACK(context) ((context)->sp)
/* Where its caller does, in the frame that x29 still points to: its own is not on the stack yet. */
#define WAY_BACK(context) ((context)->regs[29] + 8)
#endif

#ifdef FS_HEADERS /* bcc_source.py makes the programs of these */
#define KPROBE(name)        \
	fs_no_##name(void); \
	static __always_inline int fs_program_##name(struct pt_regs *ctx)
#else
#define KPROBE(name) name(struct pt_regs *ctx)
#endif

/* A call of inet_sendmsg or one of its like that a thread is in, or was in last. */
struct call {
	__u64 socket; /* 0: over */
	__u64 message; /* the kernel's struct msghdr; 0: pages are moved, without one */
	__u64 left; /* bytes of its buffer that were still to come when we looked last */
	__u64 frame; /* the place on the stack at which a return address lies as long as the call goes on */
	__u64 returns_to; /* that address; 0: not looked at yet */
	__u32 seq; /* how far the stream was then */
	__u32 flags;
	__u8 direction;
	__u8 by_seq; /* the stream says how much moved: there is no iterator, or it stands still */
	__u8 without_seq; /* it cannot say: MPTCP, and the first send of TCP fast open */
	__u8 datagram;
	__u32 reserved;
};

/* By thread. An entry is used again by the thread's next call, and removed when the thread ends. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64); /* pid_tgid */
	__type(value, struct call);
} calls SEC(".maps");

static __always_inline struct call *own_call(void)
{
	__u64 thread = bpf_get_current_pid_tgid();
	return bpf_map_lookup_elem(&calls, &thread);
}

static __always_inline __u32 stream_offset(struct sock *sk, __u8 direction)
{
	const struct tcp_sock *tcp = tcp_of(sk);
	if (!tcp)
		return 0;
	return direction == FS_OUT ? bytes_written(sk, tcp) : bytes_read(sk, tcp);
}

/*
 * Also while nobody listens: a thread that blocks in there for long is told all the same. What is only looked at is noted
 * too, for the call before it is over.
 */
static __always_inline int call_begins(struct socket *socket, struct msghdr *message, __u64 size, int flags,
				       __u8 direction, __u64 frame)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct sock *sk = READ(socket, sk);
	struct call call = {}, *last;

	if (!sk || is_kernels_own(sk))
		return 0;
	call.datagram = is_udp(sk);
	if (!call.datagram && !is_stream(sk))
		return 0;
	call.socket = (__u64)sk;
	call.message = (__u64)message;
	call.left = message ? READ(message, msg_iter.count) : size;
	call.frame = frame;
	call.flags = flags;
	call.direction = direction;
	if (!call.datagram) {
		call.seq = stream_offset(sk, direction);
		call.by_seq = !message || flags & MSG_TRUNC;
		call.without_seq = !is_tcp(sk) || READ(sk, __sk_common.skc_state) == TCP_CLOSE;
	}
	last = bpf_map_lookup_elem(&calls, &thread);
	if (last && last->socket && last->datagram && last->message && last->direction == FS_OUT)
		__sync_fetch_and_add(&own_counters()->missed, 1);
	if (last)
		*last = call;
	else if (bpf_map_update_elem(&calls, &thread, &call, BPF_NOEXIST))
		__sync_fetch_and_add(&own_counters()->missed, 1);
	return 0;
}

static __always_inline void forget_call(const struct task_struct *task)
{
	__u64 thread = (__u64)(__u32)READ(task, tgid) << 32 | (__u32)READ(task, pid);
	bpf_map_delete_elem(&calls, &thread);
}

/*
 * A call that ended without its last byte (nothing was there, or the end of the stream, or an error) leaves its entry, and
 * the thread goes on to close or set up this socket, or another one at the same address. The message is gone then, and what
 * is read there may be anything. So is the way back that was on the stack under the call: other calls have other frames
 * there. It is learned when the call lets go of the socket first, as every call does, for whoever waits for the function's
 * return has put an address of its own there by then.
 */
static __always_inline bool goes_on(struct call *call, __u64 stack)
{
	__u64 returns_to = 0;

	if (stack > call->frame || bpf_probe_read_kernel(&returns_to, sizeof(returns_to), (const void *)call->frame))
		return false;
	if (!call->returns_to)
		call->returns_to = returns_to;
	return returns_to == call->returns_to;
}

/*
 * The first send of TCP fast open, which goes with the SYN. Who waits for the answer comes by again when it is there: only
 * then it shows at which offsets the connection begins, or that there is none, and nothing was sent.
 */
static __always_inline bool is_unanswered(const struct call *call, const struct sock *sk)
{
	const struct msghdr *message = (const struct msghdr *)call->message;
	__u8 state;

	if (!call->without_seq || call->direction != FS_OUT || !message)
		return false;
	state = READ(sk, __sk_common.skc_state);
	return state == TCP_CLOSE || (state == TCP_SYN_SENT && !(READ(message, msg_flags) & MSG_DONTWAIT));
}

/* What moved since we looked last. A stream that stands still has moved nothing. */
static __always_inline __u32 moved_since(struct call *call, struct sock *sk)
{
	__u32 seq = stream_offset(sk, call->direction), by_seq = seq - call->seq;
	const struct msghdr *message = (const struct msghdr *)call->message;
	__u64 left, by_iterator;

	if (call->by_seq) {
		call->seq = seq;
		return call->without_seq || (__s32)by_seq < 0 ? 0 : by_seq;
	}
	left = READ(message, msg_iter.count);
	by_iterator = call->left - left;
	if (left >= call->left || (!call->without_seq && !by_seq))
		return 0;
	if (!call->without_seq && by_iterator > by_seq)
		by_iterator = by_seq;
	call->seq = seq;
	call->left -= by_iterator;
	if (!call->left)
		call->socket = 0;
	return by_iterator;
}

static __always_inline bool is_wanted(const struct call *call, int result)
{
	return control.epoch && result > 0 && !(call->flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB));
}

static __always_inline int stream_moved(void *context, const struct call *call, struct sock *sk, int result)
{
	struct operation operation = {.sk = sk,
				      .message = (struct msghdr *)call->message,
				      .size = result,
				      .result = result,
				      .flags = call->flags,
				      .direction = call->direction,
				      .way = BY_ITERATOR};
	if (!is_wanted(call, result))
		return 0;
	begin_events(sk);
	stream_io(&operation);
	return end_events(context);
}

static __always_inline int datagram_moved(void *context, struct call *call, int result, __u8 direction)
{
	struct operation operation = {.sk = (struct sock *)call->socket,
				      .message = (struct msghdr *)call->message,
				      .size = call->left,
				      .result = result,
				      .flags = call->flags,
				      .direction = direction,
				      .way = BY_ITERATOR};
	call->socket = 0;
	if (!is_wanted(call, result))
		return 0;
	begin_events(operation.sk);
	datagram_io(&operation);
	return end_events(context);
}

SEC("kprobe/inet_sendmsg")
int KPROBE(on_send_begins)
{
	return call_begins((struct socket *)PARAMETER_1(ctx), (struct msghdr *)PARAMETER_2(ctx), 0, 0, FS_OUT,
			   WAY_BACK(ctx));
}

SEC("kprobe/inet_recvmsg")
int KPROBE(on_receive_begins)
{
	return call_begins((struct socket *)PARAMETER_1(ctx), (struct msghdr *)PARAMETER_2(ctx), 0,
			   (int)PARAMETER_4(ctx), FS_IN, WAY_BACK(ctx));
}

/* sendfile and splice before 6.5. A protocol without a sendpage of its own calls sendmsg for it, which notes that. */
SEC("kprobe/inet_sendpage")
int KPROBE(on_sendpage_begins)
{
	return call_begins((struct socket *)PARAMETER_1(ctx), 0, PARAMETER_4(ctx), 0, FS_OUT, WAY_BACK(ctx));
}

SEC("kprobe/tcp_splice_read")
int KPROBE(on_splice_begins)
{
	return call_begins((struct socket *)PARAMETER_1(ctx), 0, 0, 0, FS_IN, WAY_BACK(ctx));
}

SEC("kprobe/release_sock")
int KPROBE(on_release_sock)
{
	struct sock *sk = (struct sock *)PARAMETER_1(ctx);
	struct call *call = own_call();

	if (!call || call->socket != (__u64)sk || call->datagram)
		return 0;
	if (!goes_on(call, STACK(ctx))) {
		call->socket = 0;
		return 0;
	}
	if (is_unanswered(call, sk))
		return 0;
	return stream_moved(ctx, call, sk, moved_since(call, sk));
}

/* The third argument is how many bytes were copied; if they were only looked at, less than nothing. */
SEC("kprobe/skb_consume_udp")
int KPROBE(on_datagram_received)
{
	struct call *call = own_call();

	if (!call || call->socket != PARAMETER_1(ctx) || !call->datagram || call->direction != FS_IN)
		return 0;
	return datagram_moved(ctx, call, (int)PARAMETER_3(ctx), FS_IN);
}

/*
 * A send of IPv6 to a mapped address of IPv4 comes through both functions, and is over after the first. For a page the
 * kernel sends nothing first, so that it is known where to.
 */
SEC("kretprobe/udp_sendmsg")
int KPROBE(on_datagram_sent)
{
	struct call *call = own_call();
	int result = (int)RETURNED(ctx);

	if (!call || !call->socket || !call->datagram || call->direction != FS_OUT)
		return 0;
	if (!result && !call->message)
		result = (int)call->left;
	return datagram_moved(ctx, call, result, FS_OUT);
}

SEC("kprobe/inet_release")
int KPROBE(on_release_begins)
{
	struct socket *socket = (struct socket *)PARAMETER_1(ctx);
	struct call *call = own_call();

	if (call && !call->datagram && call->socket == (__u64)READ(socket, sk))
		call->socket = 0;
	return socket_released(ctx, socket);
}

#endif
