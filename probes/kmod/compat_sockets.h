/* SPDX-License-Identifier: GPL-2.0-only */
/* What stands where in sockets. A part of compat.h. */
#ifndef FIRESTEEL_KMOD_COMPAT_SOCKETS_H
#define FIRESTEEL_KMOD_COMPAT_SOCKETS_H

/*
 * A socket that the kernel made for itself. 4.11, cdfbabfb2f0c: sk_kern_sock; until then what has a socket structure but
 * no file is one.
 */
static inline bool fst_is_kernels_own(const struct sock *sk)
{
#ifdef HAVE_SK_KERN_SOCK
	return sk->sk_kern_sock;
#else
	const struct socket *socket = READ_ONCE(sk->sk_socket);
	return socket && !socket->file;
#endif
}

/* 3.19, 435d5f4bb2cc: namespaces have a common part; 3.8 (98f842e675f9) to 3.18 the number was in struct net itself. */
static inline u32 fst_netns_of(const struct net *net)
{
#ifdef HAVE_NS_COMMON
	return net->ns.inum;
#else
	return net->proc_inum;
#endif
}

/* 4.1, 33cf7c90fe2f: cookies stand in the socket; before, they were its address. */
static inline u64 fst_cookie_of(const struct sock *sk)
{
#ifdef HAVE_SKC_COOKIE
	return atomic64_read(&((struct sock *)sk)->__sk_common.skc_cookie);
#else
	return 0;
#endif
}

/* 3.13, efe4208f47f9: IPv6 addresses moved from struct ipv6_pinfo into what all sockets have in common. */
static inline void fst_ipv6_addresses(const struct sock *sk, u8 local[16], u8 remote[16])
{
#if IS_ENABLED(CONFIG_IPV6)
#ifdef HAVE_SKC_V6
	memcpy(local, &sk->__sk_common.skc_v6_rcv_saddr, 16);
	memcpy(remote, &sk->__sk_common.skc_v6_daddr, 16);
#else
	const struct ipv6_pinfo *ipv6 = inet_sk(sk)->pinet6;
	if (ipv6) {
		memcpy(local, &ipv6->rcv_saddr, 16);
		memcpy(remote, &ipv6->daddr, 16);
	}
#endif
#endif
}

struct fst_half_open {
	__be32 local;
	__be32 remote;
	u8 local6[16];
	u8 remote6[16];
	u16 family;
	u16 local_port;
	u16 remote_port;
};

/*
 * Addresses of a connection of which only a SYN has come. 3.13, 634fb979e8f3: its fields were named after those of
 * sockets (ir_*) and the local port was kept (4.4 for the listener's sake, 4bdc3d66147b).
 */
static inline void fst_request_addresses(const struct sock *listener, const struct request_sock *request,
					 struct fst_half_open *half)
{
	const struct inet_request_sock *ireq = inet_rsk(request);

	memset(half, 0, sizeof(*half));
	half->family = listener->sk_family;
#ifdef HAVE_REQUEST_IR_V6
	half->local = ireq->ir_loc_addr;
	half->remote = ireq->ir_rmt_addr;
	half->remote_port = ntohs(ireq->ir_rmt_port);
#ifdef HAVE_REQUEST_IR_NUM
	half->local_port = ireq->ir_num;
	half->family = ireq->ireq_family;
#else
	half->local_port = inet_sk(listener)->inet_num;
#endif
#if IS_ENABLED(CONFIG_IPV6)
	memcpy(half->local6, &ireq->ir_v6_loc_addr, 16);
	memcpy(half->remote6, &ireq->ir_v6_rmt_addr, 16);
#endif
#else
	half->local = ireq->loc_addr;
	half->remote = ireq->rmt_addr;
	half->remote_port = ntohs(ireq->rmt_port);
	half->local_port = inet_sk(listener)->inet_num;
#if IS_ENABLED(CONFIG_IPV6)
	if (half->family == AF_INET6) {
		memcpy(half->local6, &inet6_rsk(request)->loc_addr, 16);
		memcpy(half->remote6, &inet6_rsk(request)->rmt_addr, 16);
	}
#endif
#endif
}

/* 4.1, 10feb428a504: the state of a connection of which only a SYN has come. */
#ifdef HAVE_NEW_SYN_RECV
#define FST_NEW_SYN_RECV TCP_NEW_SYN_RECV
#else
#define FST_NEW_SYN_RECV 12
#endif

/* 3.15, 740b0f1841f6: the smoothed round trip is kept in microseconds; before, in ticks. Both times eight. */
static inline u32 fst_srtt_us(const struct tcp_sock *tcp)
{
#ifdef HAVE_SRTT_US
	return READ_ONCE(tcp->srtt_us) >> 3;
#else
	return jiffies_to_usecs(READ_ONCE(tcp->srtt)) >> 3;
#endif
}

/* The clock that a TCP socket keeps, in nanoseconds; 0 where there is none. 4.20, 9799ccb0e984 and its neighbours. */
static inline u64 fst_tcp_clock(const struct tcp_sock *tcp)
{
#ifdef HAVE_TCP_CLOCK_CACHE
	return READ_ONCE(tcp->tcp_clock_cache);
#else
	return 0;
#endif
}

/*
 * Bytes that a connection sent, what was sent again counted once; what was read is given by `counted` where the kernel
 * keeps no account.
 *   4.1,  bdd1f9edacb5   bytes_received (with the FIN)
 *   4.19, ba113c3aa79a and fb31c9b9f6c8   bytes_sent, bytes_retrans
 */
static inline u64 fst_tcp_bytes_sent(const struct tcp_sock *tcp, u64 counted)
{
#ifdef HAVE_TCP_BYTES_SENT
	return tcp->bytes_sent - tcp->bytes_retrans;
#else
	return counted;
#endif
}

static inline u64 fst_tcp_bytes_received(const struct tcp_sock *tcp, bool fin, u64 counted)
{
#ifdef HAVE_TCP_BYTES_RECEIVED
	return tcp->bytes_received - (fin ? 1 : 0);
#else
	return counted;
#endif
}

/* 5.6, eda7acddf808: MPTCP, and the subflows that it is made of. Its protocol number needs 16 bits (bf9765145b85). */
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static inline bool fst_is_subflow(const struct tcp_sock *tcp)
{
#if defined(HAVE_TCP_IS_MPTCP) && IS_ENABLED(CONFIG_MPTCP)
	return tcp && tcp->is_mptcp;
#else
	return false;
#endif
}

#endif
