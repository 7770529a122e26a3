/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Socket tracepoints: what moved, at the end of each send and receive (since 6.3, 6e6eda44b939). Who a datagram is from or
 * to, the cgroup hooks know; where the bytes are, the registers of the system call.
 */
#ifndef FIRESTEEL_HOOKS_TRACEPOINTS_H
#define FIRESTEEL_HOOKS_TRACEPOINTS_H

#include "io.h"

SEC("tp_btf/sock_send_length")
int BPF_PROG(on_send, struct sock *sk, int result, int flags)
{
	struct operation operation = {
		.sk = sk, .result = result, .flags = flags, .direction = FS_OUT, .way = BY_REGISTERS};
	return io_ended(&operation);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_receive, struct sock *sk, int result, int flags)
{
	struct operation operation = {
		.sk = sk, .result = result, .flags = flags, .direction = FS_IN, .way = BY_REGISTERS};
	return io_ended(&operation);
}

static __always_inline int on_peer(struct bpf_sock_addr *context, bool ipv6, __u8 direction)
{
	struct datagram_peer peer = {};
	if (!control.epoch)
		return 1;
	if (ipv6) {
		*(__u32 *)(peer.address + 0) = context->user_ip6[0];
		*(__u32 *)(peer.address + 4) = context->user_ip6[1];
		*(__u32 *)(peer.address + 8) = context->user_ip6[2];
		*(__u32 *)(peer.address + 12) = context->user_ip6[3];
	} else {
		map_ipv4(peer.address, context->user_ip4);
	}
	peer.port = bpf_ntohs(context->user_port);
	remember_peer(&peer, context->sk, direction);
	return 1;
}

SEC("cgroup/sendmsg4")
int on_sendmsg4(struct bpf_sock_addr *context)
{
	return on_peer(context, false, FS_OUT);
}

SEC("cgroup/sendmsg6")
int on_sendmsg6(struct bpf_sock_addr *context)
{
	return on_peer(context, true, FS_OUT);
}

SEC("cgroup/recvmsg4")
int on_recvmsg4(struct bpf_sock_addr *context)
{
	return on_peer(context, false, FS_IN);
}

SEC("cgroup/recvmsg6")
int on_recvmsg6(struct bpf_sock_addr *context)
{
	return on_peer(context, true, FS_IN);
}

SEC("cgroup/sock_release")
int on_release(struct bpf_sock *socket)
{
	if (control.epoch && (socket->protocol == IPPROTO_UDP || socket->protocol == IPPROTO_MPTCP))
		released(bpf_sk_storage_get(&connections, socket, 0, 0));
	return 1;
}

#endif
