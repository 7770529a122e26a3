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

#endif
