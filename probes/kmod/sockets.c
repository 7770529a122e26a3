// SPDX-License-Identifier: GPL-2.0-only
/* What a socket says of itself: is it ours to watch, its addresses, its stream offsets. */
#include "firesteel.h"

bool fst_is_inet(const struct sock *sk)
{
	return sk->sk_family == AF_INET || sk->sk_family == AF_INET6;
}

/* MPTCP reports the parent socket and, through kernel sockets, its subflows: only the parent is told. */
bool fst_is_stream(const struct sock *sk)
{
	u16 protocol = sk->sk_protocol;
	return protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP;
}

bool fst_is_udp(const struct sock *sk)
{
	return sk->sk_protocol == IPPROTO_UDP;
}

/* NULL for everything else, MPTCP included: its parent has no sequence numbers of its own. */
const struct tcp_sock *fst_tcp(const struct sock *sk)
{
	return sk->sk_protocol == IPPROTO_TCP ? tcp_sk(sk) : NULL;
}

/* A FIN takes a sequence number once it is read: tcp_recvmsg steps copied_seq over it together with the last bytes. */
u32 fst_bytes_read(const struct sock *sk, const struct tcp_sock *tcp)
{
	u32 copied = READ_ONCE(tcp->copied_seq);
	return copied - (copied == READ_ONCE(tcp->rcv_nxt) && sock_flag(sk, SOCK_DONE) ? 1 : 0);
}

/*
 * Our own FIN takes a number too, as soon as it is queued. A socket that closed without an error has sent one: what it
 * received may still be read.
 */
u32 fst_bytes_written(const struct sock *sk, const struct tcp_sock *tcp)
{
	const u32 after_fin = 1 << TCP_FIN_WAIT1 | 1 << TCP_FIN_WAIT2 | 1 << TCP_LAST_ACK | 1 << TCP_CLOSING;
	u32 state = sk->sk_state & 31;
	bool fin = after_fin >> state & 1 || (state == TCP_CLOSE && !sk->sk_err);
	return READ_ONCE(tcp->write_seq) - fin;
}

void fst_map_ipv4(u8 out[16], __be32 address)
{
	memset(out, 0, 16);
	if (!address)
		return;
	out[10] = 0xff;
	out[11] = 0xff;
	memcpy(out + 12, &address, 4);
}

void fst_tuple(const struct sock *sk, u8 role, struct fs_tuple *tuple)
{
	const struct inet_sock *inet = inet_sk(sk);

	memset(tuple, 0, sizeof(*tuple));
	tuple->local_port = inet->inet_num;
	tuple->remote_port = ntohs(inet->inet_dport);
	if (sk->sk_family == AF_INET6) {
		tuple->family = 6;
		fst_ipv6_addresses(sk, tuple->local, tuple->remote);
	} else {
		tuple->family = 4;
		fst_map_ipv4(tuple->local, inet->inet_rcv_saddr);
		fst_map_ipv4(tuple->remote, inet->inet_daddr);
	}
	tuple->l4 = fst_is_udp(sk) ? FS_UDP : FS_TCP;
	tuple->role = role;
}

bool fst_port_excluded(u16 port)
{
	return READ_ONCE(fst.control->excluded_ports[port >> 3]) & (1 << (port & 7));
}

bool fst_ports_excluded(const struct sock *sk)
{
	return fst_port_excluded(inet_sk(sk)->inet_num) || fst_port_excluded(ntohs(inet_sk(sk)->inet_dport));
}
