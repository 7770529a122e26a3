/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Trampolines on the functions through which every send and receive of an inet socket goes: each message of a sendmmsg, and
 * io_uring's, in whatever process they run. They are called by pointer (struct proto_ops), so no compiler can inline them.
 * After the function its arguments are still there: the iterator stands where the bytes ended.
 *
 * x86: since 5.5 (fec56f5890d9). arm64: since 6.4 (2aa6ac03516d).
 */
#ifndef FIRESTEEL_HOOKS_TRAMPOLINES_H
#define FIRESTEEL_HOOKS_TRAMPOLINES_H

#include "io.h"

static __always_inline int message_ended(void *context, struct socket *socket, struct msghdr *message, __u64 size,
					 int result, int flags, __u8 direction)
{
	struct operation operation = {.sk = READ(socket, sk),
				      .message = message,
				      .size = size,
				      .result = result,
				      .flags = flags,
				      .direction = direction,
				      .way = BY_ITERATOR};
	if (result <= 0)
		return 0;
	begin_events(operation.sk);
	io_ended(&operation);
	return end_events(context);
}

SEC("fexit/inet_sendmsg")
int BPF_PROG(on_inet_sendmsg, struct socket *socket, struct msghdr *message, unsigned long size, int result)
{
	return message_ended(ctx, socket, message, size, result, 0, FS_OUT);
}

/* IPv6 has functions of its own since 5.3 (68ab5d1496a3). */
SEC("fexit/inet6_sendmsg")
int BPF_PROG(on_inet6_sendmsg, struct socket *socket, struct msghdr *message, unsigned long size, int result)
{
	return message_ended(ctx, socket, message, size, result, 0, FS_OUT);
}

SEC("fexit/inet_recvmsg")
int BPF_PROG(on_inet_recvmsg, struct socket *socket, struct msghdr *message, unsigned long size, int flags, int result)
{
	return message_ended(ctx, socket, message, size, result, flags, FS_IN);
}

SEC("fexit/inet6_recvmsg")
int BPF_PROG(on_inet6_recvmsg, struct socket *socket, struct msghdr *message, unsigned long size, int flags, int result)
{
	return message_ended(ctx, socket, message, size, result, flags, FS_IN);
}

static __always_inline int pages_moved(void *context, struct socket *socket, int result, __u8 direction)
{
	struct operation operation = {
		.sk = READ(socket, sk), .result = result, .direction = direction, .way = WITHOUT_BUFFER};
	if (result <= 0)
		return 0;
	begin_events(operation.sk);
	io_ended(&operation);
	return end_events(context);
}

/*
 * sendfile and splice before 6.5, where sendpage went and they come through sendmsg (dc97391e6610). A protocol without a
 * sendpage of its own (MPTCP) calls sendmsg for it, which tells.
 */
SEC("fexit/inet_sendpage")
int BPF_PROG(on_inet_sendpage, struct socket *socket, void *page, int offset, unsigned long size, int flags, int result)
{
	struct sock *sk = READ(socket, sk);
	const struct proto *proto;

	if (!sk)
		return 0;
	proto = READ(sk, __sk_common.skc_prot);
	if (bpf_core_field_exists(proto->sendpage) && !BPF_CORE_READ(proto, sendpage))
		return 0;
	return pages_moved(ctx, socket, result, FS_OUT);
}

/* splice from a socket: the pages go into a pipe. */
SEC("fexit/tcp_splice_read")
int BPF_PROG(on_tcp_splice_read, struct socket *socket, void *position, void *pipe, unsigned long size,
	     unsigned int flags, long result)
{
	return pages_moved(ctx, socket, result, FS_IN);
}

SEC("fentry/inet_release")
int BPF_PROG(on_inet_release, struct socket *socket)
{
	return socket_released(ctx, socket);
}

#endif
