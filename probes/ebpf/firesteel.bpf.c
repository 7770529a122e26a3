// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The hooks. Each is a row of probes/hooks.py, which says what it is for, whether it is required, and to which sets it
 * belongs. Compiled twice: see access.h.
 */
#include "hooks_trampolines.h"
#ifdef FS_UNTYPED
#include "hooks_kprobes.h"
#else
#include "hooks_tracepoints.h"
#endif
#ifndef FS_HEADERS /* iterators need BTF */
#include "seed.h"
#endif
#include "trouble.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* A kernel that does not describe itself (kernel.btf) has tracepoints, but cannot type their arguments. */
#ifdef FS_UNTYPED
#define TRACEPOINT(name) SEC("raw_tp/" name)
#else
#define TRACEPOINT(name) SEC("tp_btf/" name)
#endif

TRACEPOINT("inet_sock_set_state")
int BPF_PROG(on_state, struct sock *sk, int from, int to)
{
	if (!control.epoch)
		return 0;
	begin_events(sk);
	state_changed(sk, from, to);
	return end_events(ctx);
}

TRACEPOINT("tcp_destroy_sock")
int BPF_PROG(on_destroy, struct sock *sk)
{
	begin_events(sk);
	if (control.epoch)
		closed(sk);
	forget_connection(sk);
	return end_events(ctx);
}

static __always_inline int on_trouble(void *context, struct sock *sk, __u32 kind)
{
	if (!control.epoch)
		return 0;
	begin_events(sk);
	trouble(sk, kind, 0);
	return end_events(context);
}

/* Before 6.17 (ad892e912b84) the tracepoint fired for sent segments only; since then its third argument says if sending failed. */
TRACEPOINT("tcp_retransmit_skb")
int BPF_PROG(on_retransmit, struct sock *sk, struct sk_buff *skb)
{
	return on_trouble(ctx, sk, FS_TROUBLE_RETRANSMIT);
}

TRACEPOINT("tcp_retransmit_skb")
int BPF_PROG(on_retransmit_result, struct sock *sk, struct sk_buff *skb, int error)
{
	return error ? 0 : on_trouble(ctx, sk, FS_TROUBLE_RETRANSMIT);
}

TRACEPOINT("tcp_retransmit_synack")
int BPF_PROG(on_retransmit_synack, struct sock *listener, struct request_sock *request)
{
	if (!control.epoch || pid_namespace)
		return 0;
	begin_events(0);
	trouble_of_request(listener, request, FS_TROUBLE_SYNACK_RETRANSMIT);
	return end_events(ctx);
}

/* Without a socket (a closed port) the packet that is answered says who it is about. */
TRACEPOINT("tcp_send_reset")
int BPF_PROG(on_send_reset, struct sock *sk, struct sk_buff *skb)
{
	__u8 state;

	if (!control.epoch)
		return 0;
	state = sk ? READ(sk, __sk_common.skc_state) : TCP_LISTEN;
	begin_events(sk);
	if (state != TCP_LISTEN && state != TCP_TIME_WAIT && state != TCP_NEW_SYN_RECV)
		trouble(sk, FS_TROUBLE_RESET_SENT, 0);
	else if (skb)
		trouble_of_packet(skb, FS_TROUBLE_RESET_SENT, 0);
	return end_events(ctx);
}

TRACEPOINT("tcp_receive_reset")
int BPF_PROG(on_receive_reset, struct sock *sk)
{
	return on_trouble(ctx, sk, FS_TROUBLE_RESET_RECEIVED);
}

/* A bit for each drop reason that means loss. The loader sets them by name, for the numbers move between releases. */
const volatile __u64 loss_reasons[4];

TRACEPOINT("kfree_skb")
int BPF_PROG(on_packet_dropped, struct sk_buff *skb, void *location, unsigned int reason)
{
	__u32 word = reason >> 6;

	barrier_var(word); /* or the bound is forgotten where the compiler knows better than the verifier */
	if (!control.epoch || word > 3 || !(loss_reasons[word] & 1ull << (reason & 63)))
		return 0;
	begin_events(0);
	trouble_of_packet(skb, FS_TROUBLE_PACKET_DROPPED, reason);
	return end_events(ctx);
}

static __always_inline int on_process(void *context, struct task_struct *task, __u32 kind)
{
	if (!control.epoch)
		return 0;
	begin_events(0);
	process_event(task, kind);
	return end_events(context);
}

TRACEPOINT("sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task)
{
	return on_process(ctx, task, FS_PROCESS_EXEC);
}

/* Of each thread. */
TRACEPOINT("sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	return READ(task, pid) == READ(task, tgid) ? on_process(ctx, task, FS_PROCESS_EXIT) : 0;
}

#ifdef FS_UNTYPED
TRACEPOINT("sched_process_exit")
int BPF_PROG(on_thread_exit, struct task_struct *task)
{
	forget_call(task);
	return READ(task, pid) == READ(task, tgid) ? on_process(ctx, task, FS_PROCESS_EXIT) : 0;
}
#endif
