/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What a socket says of itself: is it ours to watch, its addresses, its stream offsets. */
#ifndef FIRESTEEL_SOCKET_H
#define FIRESTEEL_SOCKET_H

#include "maps.h"

static __always_inline bool is_inet(const struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;
	return family == AF_INET || family == AF_INET6;
}

static __always_inline bool is_tcp(const struct sock *sk)
{
	return sk->sk_protocol == IPPROTO_TCP;
}

/* MPTCP reports the parent socket and, through kernel sockets, its subflows: only the parent is told. */
static __always_inline bool is_stream(const struct sock *sk)
{
	return sk->sk_protocol == IPPROTO_TCP || sk->sk_protocol == IPPROTO_MPTCP;
}

static __always_inline bool is_udp(const struct sock *sk)
{
	return sk->sk_protocol == IPPROTO_UDP;
}

static __always_inline bool is_kernels_own(const struct sock *sk)
{
	return BPF_CORE_READ_BITFIELD(sk, sk_kern_sock);
}

/* MPTCP's own TCP connection. */
static __always_inline bool is_subflow(struct sock *sk)
{
	const struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	return tcp && bpf_core_field_exists(tcp->is_mptcp) && tcp->is_mptcp;
}

static __always_inline __u32 netns_of(const struct sock *sk)
{
	return sk->__sk_common.skc_net.net->ns.inum;
}

static __always_inline bool has_fin(struct sock *sk)
{
	return sk->__sk_common.skc_flags & 1ull << bpf_core_enum_value(enum sock_flags, SOCK_DONE);
}

/* A FIN takes a sequence number once it is read: tcp_recvmsg steps copied_seq over it together with the last bytes. */
static __always_inline __u32 bytes_read(struct sock *sk, const struct tcp_sock *tcp)
{
	__u32 copied = tcp->copied_seq;
	return copied - (copied == tcp->rcv_nxt && has_fin(sk) ? 1 : 0);
}

/*
 * Our own FIN takes a number too, as soon as it is queued. A socket that closed without an error has sent one: what it
 * received may still be read.
 */
static __always_inline __u32 bytes_written(const struct sock *sk, const struct tcp_sock *tcp)
{
	const __u32 after_fin = 1 << TCP_FIN_WAIT1 | 1 << TCP_FIN_WAIT2 | 1 << TCP_LAST_ACK | 1 << TCP_CLOSING;
	__u32 state = sk->__sk_common.skc_state & 31;
	bool fin = after_fin >> state & 1 || (state == TCP_CLOSE && !sk->sk_err);
	return tcp->write_seq - fin;
}

static __always_inline void map_ipv4(__u8 out[16], __be32 address)
{
	__builtin_memset(out, 0, 16);
	if (!address)
		return;
	out[10] = 0xff;
	out[11] = 0xff;
	*(__be32 *)(out + 12) = address;
}

/* Half-open connections (request sockets) have this part too, and nothing more. */
static __always_inline void addresses_of(const struct sock_common *common, struct fs_tuple *tuple)
{
	tuple->local_port = common->skc_num;
	tuple->remote_port = bpf_ntohs(common->skc_dport);
	tuple->reserved = 0;
	if (common->skc_family == AF_INET6) {
		tuple->family = 6;
		BPF_CORE_READ_INTO((struct in6_addr *)tuple->local, common, skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)tuple->remote, common, skc_v6_daddr);
	} else {
		tuple->family = 4;
		map_ipv4(tuple->local, common->skc_rcv_saddr);
		map_ipv4(tuple->remote, common->skc_daddr);
	}
}

static __always_inline void tuple_of(const struct sock *sk, __u8 role, struct fs_tuple *tuple)
{
	addresses_of(&sk->__sk_common, tuple);
	tuple->l4 = is_udp(sk) ? FS_UDP : FS_TCP;
	tuple->role = role;
}

static __always_inline bool port_excluded(__u16 port)
{
	return control.excluded_ports[port >> 3] & (1 << (port & 7));
}

static __always_inline bool ports_excluded(const struct sock *sk)
{
	return port_excluded(sk->__sk_common.skc_num) || port_excluded(bpf_ntohs(sk->__sk_common.skc_dport));
}

#endif
