/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What a socket says of itself: is it ours to watch, its addresses, its stream offsets. */
#ifndef FIRESTEEL_SOCKET_H
#define FIRESTEEL_SOCKET_H

#include "maps.h"

static __always_inline bool is_inet(const struct sock *sk)
{
	__u16 family = READ(sk, __sk_common.skc_family);
	return family == AF_INET || family == AF_INET6;
}

static __always_inline __u32 protocol_of(const struct sock *sk)
{
#ifdef FS_UNTYPED
	return READ_BITS(sk, sk_protocol);
#else
	return sk->sk_protocol;
#endif
}

static __always_inline bool is_tcp(const struct sock *sk)
{
	return protocol_of(sk) == IPPROTO_TCP;
}

/* MPTCP reports the parent socket and, through kernel sockets, its subflows: only the parent is told. */
static __always_inline bool is_stream(const struct sock *sk)
{
	__u32 protocol = protocol_of(sk);
	return protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP;
}

static __always_inline bool is_udp(const struct sock *sk)
{
	return protocol_of(sk) == IPPROTO_UDP;
}

static __always_inline bool is_kernels_own(const struct sock *sk)
{
	return READ_BITS(sk, sk_kern_sock);
}

/* NULL if it is none, as MPTCP's are that applications see. */
static __always_inline struct tcp_sock *tcp_of(struct sock *sk)
{
#ifdef FS_UNTYPED
	return is_tcp(sk) ? (struct tcp_sock *)sk : 0;
#else
	return bpf_skc_to_tcp_sock(sk);
#endif
}

/* MPTCP's own TCP connection. */
static __always_inline bool is_subflow(struct sock *sk)
{
	const struct tcp_sock *tcp = tcp_of(sk);
	return tcp && bpf_core_field_exists(tcp->is_mptcp) && READ(tcp, is_mptcp);
}

static __always_inline __u32 netns_of(const struct sock *sk)
{
	return READ(sk, __sk_common.skc_net.net, ns.inum);
}

static __always_inline bool has_fin(struct sock *sk)
{
	return READ(sk, __sk_common.skc_flags) & 1ull << bpf_core_enum_value(enum sock_flags, SOCK_DONE);
}

#ifdef FS_UNTYPED
struct tcp_head {
	__u8 skipped[4];
	__be32 seq;
	__be32 ack_seq;
	__u8 length;
	__u8 flags;
};

/*
 * kprobes see a socket let go before it has looked at what came meanwhile. On this machine that is the answer to the SYN of
 * a fast open, and says where the connection begins. 0: it has not come.
 */
static __always_inline __u32 answered_seq(const struct sock *sk)
{
	const __u8 syn_ack = 0x12;
	const struct sk_buff *answer = READ(sk, sk_backlog.head);
	struct tcp_head head;

	if (!answer ||
	    bpf_probe_read_kernel(&head, sizeof(head), READ(answer, head) + READ(answer, transport_header)) ||
	    (head.flags & syn_ack) != syn_ack)
		return 0;
	return bpf_ntohl(head.seq) + 1;
}
#endif

/* A FIN takes a sequence number once it is read: tcp_recvmsg steps copied_seq over it together with the last bytes. */
static __always_inline __u32 bytes_read(struct sock *sk, const struct tcp_sock *tcp)
{
	__u32 copied = READ(tcp, copied_seq);
#ifdef FS_UNTYPED
	if (!copied && READ(sk, __sk_common.skc_state) == TCP_SYN_SENT)
		return answered_seq(sk);
#endif
	return copied - (copied == READ(tcp, rcv_nxt) && has_fin(sk) ? 1 : 0);
}

/*
 * Our own FIN takes a number too, as soon as it is queued. A socket that closed without an error has sent one: what it
 * received may still be read.
 */
static __always_inline __u32 bytes_written(const struct sock *sk, const struct tcp_sock *tcp)
{
	const __u32 after_fin = 1 << TCP_FIN_WAIT1 | 1 << TCP_FIN_WAIT2 | 1 << TCP_LAST_ACK | 1 << TCP_CLOSING;
	__u32 state = READ(sk, __sk_common.skc_state) & 31;
	bool fin = after_fin >> state & 1 || (state == TCP_CLOSE && !READ(sk, sk_err));
	return READ(tcp, write_seq) - fin;
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
	tuple->local_port = READ(common, skc_num);
	tuple->remote_port = bpf_ntohs(READ(common, skc_dport));
	tuple->reserved = 0;
	if (READ(common, skc_family) == AF_INET6) {
		tuple->family = 6;
		BPF_CORE_READ_INTO((struct in6_addr *)tuple->local, common, skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)tuple->remote, common, skc_v6_daddr);
	} else {
		tuple->family = 4;
		map_ipv4(tuple->local, READ(common, skc_rcv_saddr));
		map_ipv4(tuple->remote, READ(common, skc_daddr));
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
	__u32 byte = port >> 3;

	barrier_var(byte); /* the verifier forgets that a number of 16 bits ends, and the compiler that this matters */
	return control.excluded_ports[byte & (sizeof(control.excluded_ports) - 1)] & (1 << (port & 7));
}

static __always_inline bool ports_excluded(const struct sock *sk)
{
	return port_excluded(READ(sk, __sk_common.skc_num)) ||
	       port_excluded(bpf_ntohs(READ(sk, __sk_common.skc_dport)));
}

#endif
