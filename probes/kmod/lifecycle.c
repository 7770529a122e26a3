// SPDX-License-Identifier: GPL-2.0-only
/* Connections come and go: attempts and their results, listening sockets, the end. */
#include "firesteel.h"

static void connect_ended(struct fst_connection *c, const struct sock *sk, int error)
{
	u64 now = fst_now();
	struct fs_connect *event;

	if (c->role != FS_ROLE_CLIENT || !c->start_ns || c->flags & FST_EXCLUDED)
		return;
	event = fst_reserve(FS_EV_CONNECT, sizeof(*event));
	if (!event)
		return;
	fst_head_for(&event->head, FS_EV_CONNECT, sizeof(*event), now, c, false);
	fst_tuple(sk, FS_ROLE_CLIENT, &event->tuple);
	event->duration_ns = now - c->start_ns;
	event->error = error;
	event->reserved = 0;
	memcpy(event->comm, c->comm, sizeof(event->comm));
	fst_commit(event, FS_EV_CONNECT);
}

void fst_listening(struct fst_connection *c, const struct sock *sk)
{
	struct fs_listen *event;

	if (c->flags & FST_EXCLUDED)
		return;
	event = fst_reserve(FS_EV_LISTEN, sizeof(*event));
	if (!event)
		return;
	fst_head_for(&event->head, FS_EV_LISTEN, sizeof(*event), fst_now(), c, false);
	fst_tuple(sk, FS_ROLE_SERVER, &event->tuple);
	memcpy(event->comm, c->comm, sizeof(event->comm));
	fst_commit(event, FS_EV_LISTEN);
	c->epoch = READ_ONCE(fst.control->epoch);
}

static struct fs_close *close_event(struct fst_connection *c)
{
	struct fs_close *event;

	if (c->epoch != READ_ONCE(fst.control->epoch) || c->flags & FST_EXCLUDED)
		return NULL;
	if (c->pending.waiting)
		fst_flush(c);
	event = fst_reserve(FS_EV_CLOSE, sizeof(*event));
	if (!event)
		return NULL;
	memset(event, 0, sizeof(*event));
	fst_head_for(&event->head, FS_EV_CLOSE, sizeof(*event), fst_now(), c, false);
	return event;
}

/* The last word: what still waits, then the close. Connections that were never told end untold. `gone`: with the socket. */
void fst_closed(const struct sock *sk, bool gone)
{
	struct fst_connection *c = fst_find(sk);
	const struct tcp_sock *tcp = fst_tcp(sk);
	struct fs_close *event;

	if (!c)
		return;
	event = close_event(c);
	if (event) {
		if (tcp) {
			/* The kernel counts a FIN that came as a byte received. */
			event->bytes_sent = fst_tcp_bytes_sent(tcp, c->sent);
			event->bytes_received = fst_tcp_bytes_received(tcp, sock_flag(sk, SOCK_DONE), c->received);
			event->srtt_us = fst_srtt_us(tcp);
			event->retransmits = tcp->total_retrans;
		}
		event->error = sk->sk_err;
		fst_commit(event, FS_EV_CLOSE);
		c->epoch = 0;
		c->start_ns = 0;
	}
	if (gone)
		fst_forget(c);
}

/* Datagram sockets have no destroy hook of their own, and that of MPTCP is called for its subflows only. */
void fst_released(const struct sock *sk)
{
	struct fst_connection *c;
	struct fs_close *event;

	if (!fst_is_udp(sk) && sk->sk_protocol != IPPROTO_MPTCP)
		return;
	c = fst_find(sk);
	if (!c)
		return;
	event = close_event(c);
	if (event) {
		event->bytes_sent = c->sent; /* counted where there are no sequence numbers, of streams only */
		event->bytes_received = c->received;
		fst_commit(event, FS_EV_CLOSE);
	}
	fst_forget(c);
}

/*
 * CLOSE->SYN_SENT draws a new id: one socket may connect, be refused (or dissolved by connect to AF_UNSPEC) and connect
 * again. SYN_RECV->ESTABLISHED runs in softirq, where only the server's role and the time are known; its process shows at
 * the first I/O, which TCP fast open has before that. A client gets there when both ends connected at once. A server that
 * goes 10->3->1 has no handshake time of its own; one of MPTCP goes 10->1. What a listener of MPTCP accepts from a client
 * that does not speak it is the kernel's own socket until the application takes it. One that it listens on is said to do so
 * twice.
 */
static void begun(const struct sock *sk, int to, bool accepted)
{
	u8 role = to == TCP_SYN_SENT ? FS_ROLE_CLIENT : FS_ROLE_SERVER;
	struct fst_connection *c = fst_find(sk);

	if (c && accepted) {
		connect_ended(c, sk, 0);
		return;
	}
	if (c) {
		if (to == TCP_SYN_SENT)
			fst_closed(sk, false);
		fst_begin(c, sk, role, fst_now());
	} else {
		c = fst_find_or_begin(sk, role, fst_now(), 0);
		if (!c)
			return;
	}
	if (!accepted)
		fst_adopt(c, current);
	if (to == TCP_LISTEN)
		fst_listening(c, sk);
}

void fst_state_changed(const struct sock *sk, int from, int to)
{
	bool accepted = to == TCP_ESTABLISHED && (from == TCP_SYN_RECV || from == TCP_LISTEN);
	struct fst_connection *c;

	if (from == to || !fst_is_inet(sk) || !fst_is_stream(sk))
		return;
	if (fst_is_kernels_own(sk) && (!accepted || fst_is_subflow(fst_tcp(sk))))
		return;
	if (to == TCP_SYN_SENT || to == TCP_LISTEN || accepted) {
		begun(sk, to, accepted);
		return;
	}
	if (from != TCP_SYN_SENT)
		return;
	c = fst_find(sk);
	if (!c)
		return;
	if (to == TCP_ESTABLISHED)
		connect_ended(c, sk, 0);
	else if (to == TCP_CLOSE)
		connect_ended(c, sk, sk->sk_err ? sk->sk_err : ECANCELED);
}
