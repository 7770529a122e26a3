/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From a hook to a stream's or a datagram's event: what all ways of seeing a read or write have in common. */
#ifndef FIRESTEEL_IO_H
#define FIRESTEEL_IO_H

#include "datagram.h"
#include "lifecycle.h"

/* What is only looked at, and what is no data of the stream. A send with MSG_OOB is part of its stream, and says so. */
static __always_inline int io_ended(const struct operation *operation)
{
	struct sock *sk = operation->sk;

	if (!control.epoch || !sk || !is_inet(sk) || is_kernels_own(sk))
		return 0;
	if (operation->flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB)) {
#ifndef FS_UNTYPED
		if (operation->way == BY_REGISTERS && is_udp(sk))
			forget_peer();
#endif
		return 0;
	}
	if (is_stream(sk))
		return stream_io(operation);
	if (is_udp(sk))
		return datagram_io(operation);
	return 0;
}

/* Datagram sockets have no destroy hook of their own, and that of MPTCP is called for its subflows only. */
static __always_inline int socket_released(void *context, struct socket *socket)
{
	struct sock *sk = READ(socket, sk);

	if (!sk || is_kernels_own(sk) || !(is_udp(sk) || protocol_of(sk) == IPPROTO_MPTCP))
		return 0;
	begin_events(sk);
	if (control.epoch)
		released(find_connection(sk));
	forget_connection(sk);
	return end_events(context);
}

#endif
