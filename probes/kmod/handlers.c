// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where the module looks, and what it takes from there. Tracepoints where the kernel has them, for they cost least;
 * functions by kprobe elsewhere. The functions that move bytes by kretprobe: what was given is known at the call, how much
 * moved at the return. The table of all of them stands at the end.
 */
#include "hooks.h"

/* --- bytes ------------------------------------------------------------------------------------------------------- */

static bool is_watched(const struct sock *sk)
{
	return sk && fst_is_listening() && fst_is_inet(sk) && (fst_is_stream(sk) || fst_is_udp(sk)) &&
	       !fst_is_kernels_own(sk);
}

static int io_begins(struct kretprobe_instance *instance, struct pt_regs *regs, bool receives)
{
	const struct socket *socket = (const struct socket *)fst_argument(regs, FST_ARGUMENT_SOCKET);
	const struct msghdr *msg = (const struct msghdr *)fst_argument(regs, FST_ARGUMENT_MESSAGE);
	int flags = receives ? (int)fst_argument(regs, FST_ARGUMENT_RECEIVE_FLAGS) : (int)msg->msg_flags;
	struct fst_call *call = (struct fst_call *)instance->data;

	/* What is only looked at, or lies beside the stream, is no data. */
	if (flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB) || !is_watched(socket->sk))
		return 1;
	call->sk = socket->sk;
	call->msg = msg;
	fst_find_source(&call->source, msg, call->sk, receives ? flags : 0);
	return 0;
}

static int on_send(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	return io_begins(instance, regs, false);
}

static int on_receive(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	return io_begins(instance, regs, true);
}

static int io_ended(struct kretprobe_instance *instance, struct pt_regs *regs, u8 direction)
{
	struct fst_call *call = (struct fst_call *)instance->data; /* what is read of it moves on as it is told */
	int result = (int)regs_return_value(regs);

	if (!fst_is_listening())
		return 0;
	if (fst_is_udp(call->sk))
		fst_datagram_io(call->sk, call->msg, &call->source, result, direction);
	else
		fst_stream_io(call->sk, &call->source, result, direction);
	return 0;
}

static int on_sent(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	return io_ended(instance, regs, FS_OUT);
}

static int on_received(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	return io_ended(instance, regs, FS_IN);
}

/* Bytes that are moved without a buffer of the user's: (socket, ...) in both functions. */
static int pages_begin(struct kretprobe_instance *instance, const struct socket *socket)
{
	struct fst_call *call = (struct fst_call *)instance->data;

	if (!is_watched(socket->sk))
		return 1;
	call->sk = socket->sk;
	call->msg = NULL;
	call->source.count = 0;
	call->source.reason = FS_REASON_KERNEL_BUFFER;
	return 0;
}

#ifdef HAVE_SENDPAGE
/* What has no way of its own to send pages (UDP over IPv6) goes on to the function that sends messages. */
static int on_send_pages(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	const struct socket *socket = (const struct socket *)fst_argument(regs, 0);

	return socket->sk && !socket->sk->sk_prot->sendpage ? 1 : pages_begin(instance, socket);
}
#endif

static int on_splice(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	return pages_begin(instance, (const struct socket *)fst_argument(regs, 0));
}

/* --- connections ------------------------------------------------------------------------------------------------- */

static void __maybe_unused state_event(void *data, const struct sock *sk, const int from, const int to)
{
	preempt_disable_notrace();
	if (fst_is_listening())
		fst_state_changed(sk, from, to);
	preempt_enable_notrace();
}

static int on_set_state(struct kprobe *probe, struct pt_regs *regs)
{
	const struct sock *sk = (const struct sock *)fst_argument(regs, 0);

	if (fst_is_listening())
		fst_state_changed(sk, sk->sk_state, (int)fst_argument(regs, 1));
	return 0;
}

/* Until 4.16 (563e0bb0dc74) a socket that began to listen had its state written without tcp_set_state. */
static int on_listen(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	((struct fst_call *)instance->data)->sk = (struct sock *)fst_argument(regs, 0);
	return !fst_is_listening();
}

static int on_listens(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	if (fst_is_listening() && !regs_return_value(regs))
		fst_state_changed(((struct fst_call *)instance->data)->sk, TCP_CLOSE, TCP_LISTEN);
	return 0;
}

static void __maybe_unused destroy_event(void *data, struct sock *sk)
{
	preempt_disable_notrace();
	if (fst_is_listening())
		fst_closed(sk, true);
	preempt_enable_notrace();
}

static int on_destroy(struct kprobe *probe, struct pt_regs *regs)
{
	if (fst_is_listening())
		fst_closed((const struct sock *)fst_argument(regs, 0), true);
	return 0;
}

static int on_release(struct kprobe *probe, struct pt_regs *regs)
{
	const struct socket *socket = (const struct socket *)fst_argument(regs, 0);

	if (socket->sk && fst_is_listening())
		fst_released(socket->sk);
	return 0;
}

/* --- trouble ----------------------------------------------------------------------------------------------------- */

static void __maybe_unused trouble_event(const struct sock *sk, u32 kind)
{
	preempt_disable_notrace();
	if (fst_is_listening())
		fst_trouble(sk, kind);
	preempt_enable_notrace();
}

static void __maybe_unused retransmit_event(FST_RETRANSMIT_ARGUMENTS)
{
	if (!FST_RETRANSMIT_ERROR)
		trouble_event(sk, FS_TROUBLE_RETRANSMIT);
}

static int on_retransmit(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	((struct fst_call *)instance->data)->sk = (struct sock *)fst_argument(regs, 0);
	return !fst_is_listening();
}

static int on_retransmitted(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	if (!regs_return_value(regs) && fst_is_listening())
		fst_trouble(((struct fst_call *)instance->data)->sk, FS_TROUBLE_RETRANSMIT);
	return 0;
}

static void __maybe_unused synack_event(void *data, const struct sock *listener, const struct request_sock *request)
{
	preempt_disable_notrace();
	if (fst_is_listening())
		fst_trouble_of_request(listener, request);
	preempt_enable_notrace();
}

static int on_synack(struct kprobe *probe, struct pt_regs *regs)
{
	if (fst_is_listening())
		fst_trouble_of_request((const struct sock *)fst_argument(regs, 0),
				       (const struct request_sock *)fst_argument(regs, 1));
	return 0;
}

/* Without a socket of its own (a closed port) the packet that is answered says who it is about. */
static void reset_sent(const struct sock *sk, const struct sk_buff *skb)
{
	if (!fst_is_listening())
		return;
	if (sk && sk->sk_state != TCP_LISTEN && sk->sk_state != TCP_TIME_WAIT && sk->sk_state != FST_NEW_SYN_RECV)
		fst_trouble(sk, FS_TROUBLE_RESET_SENT);
	else if (skb)
		fst_trouble_of_packet(skb, FS_TROUBLE_RESET_SENT, 0);
}

static void __maybe_unused send_reset_event(FST_SEND_RESET_ARGUMENTS)
{
	preempt_disable_notrace();
	reset_sent(sk, skb);
	preempt_enable_notrace();
}

static int on_send_reset(struct kprobe *probe, struct pt_regs *regs)
{
	reset_sent((const struct sock *)fst_argument(regs, 0), (const struct sk_buff *)fst_argument(regs, 1));
	return 0;
}

/* The second argument is not a packet here. */
static int on_active_reset(struct kprobe *probe, struct pt_regs *regs)
{
	reset_sent((const struct sock *)fst_argument(regs, 0), NULL);
	return 0;
}

static void __maybe_unused receive_reset_event(void *data, struct sock *sk)
{
	trouble_event(sk, FS_TROUBLE_RESET_RECEIVED);
}

static int on_receive_reset(struct kprobe *probe, struct pt_regs *regs)
{
	if (fst_is_listening())
		fst_trouble((const struct sock *)fst_argument(regs, 0), FS_TROUBLE_RESET_RECEIVED);
	return 0;
}

#ifdef HAVE_DROP
/* Before there was a reason, every packet that a busy connection throws away looked like a loss. */
static void drop_event(FST_DROP_ARGUMENTS)
{
	preempt_disable_notrace();
	if (fst_is_listening())
		fst_dropped(skb, reason);
	preempt_enable_notrace();
}
#endif

/* --- processes --------------------------------------------------------------------------------------------------- */

static void exec_event(void *data, struct task_struct *task, pid_t old, struct linux_binprm *program)
{
	preempt_disable_notrace();
	if (fst_is_listening())
		fst_process(task, FS_PROCESS_EXEC);
	preempt_enable_notrace();
}

static void exit_event(FST_EXIT_ARGUMENTS)
{
	preempt_disable_notrace();
	if (fst_is_listening() && task->pid == task->tgid)
		fst_process(task, FS_PROCESS_EXIT);
	preempt_enable_notrace();
}

/* --- the table --------------------------------------------------------------------------------------------------- */

/* clang-format off */
#define CALLED(function, begins, ends) .name = function, .kind = FST_KRETPROBE, .on_entry = begins, .on_return = ends
#define HIT(function, hits) .name = function, .kind = FST_KPROBE, .on_hit = hits
#define EVENT(tracepoint, handler) .name = #tracepoint, .kind = FST_TRACEPOINT, .on_event = handler

/* In the order in which they are put in place: what stands in for something else comes after it. */
struct fst_hook fst_hooks[] = {
	{CALLED("inet_sendmsg", on_send, on_sent), .required = true},
	{CALLED("inet_recvmsg", on_receive, on_received), .required = true},
	/* 5.3, a648a592dcba: until then IPv6 went through the two above. */
	{CALLED("inet6_sendmsg", on_send, on_sent)},
	{CALLED("inet6_recvmsg", on_receive, on_received)},
#ifdef HAVE_SENDPAGE
	/* 6.5, dc97391e6610: gone, sendfile became a sendmsg of pages. */
	{CALLED("inet_sendpage", on_send_pages, on_sent)},
#endif
	{CALLED("tcp_splice_read", on_splice, on_received)},
#ifdef HAVE_TRACE_SET_STATE
	/* 4.16, 563e0bb0dc74 */
	{EVENT(inet_sock_set_state, state_event), .required = true},
#endif
	{HIT("tcp_set_state", on_set_state), .required = true, .instead_of = "inet_sock_set_state"},
	{CALLED("inet_csk_listen_start", on_listen, on_listens), .required = true, .instead_of = "inet_sock_set_state"},
#ifdef HAVE_TRACE_DESTROY
	/* 4.15, e1a4aa50f427 */
	{EVENT(tcp_destroy_sock, destroy_event), .required = true},
#endif
	{HIT("tcp_v4_destroy_sock", on_destroy), .required = true, .instead_of = "tcp_destroy_sock"},
	{HIT("inet_release", on_release)},
#ifdef HAVE_RETRANSMIT
	/* 4.15, e086101b150a */
	{EVENT(tcp_retransmit_skb, retransmit_event)},
#endif
	{CALLED("tcp_retransmit_skb", on_retransmit, on_retransmitted), .instead_of = "tcp_retransmit_skb"},
#ifdef HAVE_TRACE_SYNACK
	/* 4.15, cf34ce3da1e4 */
	{EVENT(tcp_retransmit_synack, synack_event)},
#endif
	{HIT("inet_rtx_syn_ack", on_synack), .instead_of = "tcp_retransmit_synack"},
#ifdef HAVE_SEND_RESET
	/* 4.15, c24b14c46bb8 */
	{EVENT(tcp_send_reset, send_reset_event)},
#endif
	{HIT("tcp_v4_send_reset", on_send_reset), .instead_of = "tcp_send_reset"},
	{HIT("tcp_v6_send_reset", on_send_reset), .instead_of = "tcp_send_reset"},
	{HIT("tcp_send_active_reset", on_active_reset), .instead_of = "tcp_send_reset"},
#ifdef HAVE_TRACE_RECEIVE_RESET
	/* 4.15, 5941521c05d6 */
	{EVENT(tcp_receive_reset, receive_reset_event)},
#endif
	{HIT("tcp_reset", on_receive_reset), .instead_of = "tcp_receive_reset"},
#ifdef HAVE_DROP
	{EVENT(kfree_skb, drop_event)},
#endif
	{EVENT(sched_process_exec, exec_event)},
	{EVENT(sched_process_exit, exit_event)},
};
/* clang-format on */
const unsigned int fst_hook_count = ARRAY_SIZE(fst_hooks);
/* Negative where the room of hooks.c does not do. (_Static_assert is not known to the compilers of 3.10.) */
typedef char fst_hooks_fit[1 - 2 * (ARRAY_SIZE(fst_hooks) > FST_MOST_HOOKS)];

/*
 * The kernel calls a tracepoint's handler as it has declared it, whatever that takes; only the compiler can tell whether
 * these are still the arguments that are handed over.
 */
static void __maybe_unused check_declarations(void)
{
#ifdef HAVE_TRACE_SET_STATE
	check_trace_callback_type_inet_sock_set_state(state_event);
#endif
#ifdef HAVE_TRACE_DESTROY
	check_trace_callback_type_tcp_destroy_sock(destroy_event);
#endif
#ifdef HAVE_RETRANSMIT
	check_trace_callback_type_tcp_retransmit_skb(retransmit_event);
#endif
#ifdef HAVE_TRACE_SYNACK
	check_trace_callback_type_tcp_retransmit_synack(synack_event);
#endif
#ifdef HAVE_SEND_RESET
	check_trace_callback_type_tcp_send_reset(send_reset_event);
#endif
#ifdef HAVE_TRACE_RECEIVE_RESET
	check_trace_callback_type_tcp_receive_reset(receive_reset_event);
#endif
#ifdef HAVE_DROP
	check_trace_callback_type_kfree_skb(drop_event);
#endif
	check_trace_callback_type_sched_process_exec(exec_event);
	check_trace_callback_type_sched_process_exit(exit_event);
}
