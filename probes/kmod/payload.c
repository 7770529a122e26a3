// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where the bytes of a call are, and a copy of the first of them. The message that the kernel made of the call says so for
 * every way in (read, recvmmsg, io_uring, 32-bit calls), so nothing has to be guessed from registers. What is not in the
 * user's memory (sendfile, splice, kernel sockets) is told by its length.
 */
#include "firesteel.h"

void fst_find_source(struct fst_source *source, const struct msghdr *msg, const struct sock *sk, int flags)
{
	source->count = 0;
	source->reason = FS_REASON_NONE;
	if (fst_is_stream(sk) && flags & MSG_TRUNC) {
		source->reason = FS_REASON_DISCARDED;
		return;
	}
	source->vector = fst_user_vector(msg, source->own, FST_IOVECS, &source->skip, &source->count);
	if (!source->vector)
		source->reason = FS_REASON_KERNEL_BUFFER;
}

/*
 * Copies up to `limit` of the `bytes` that moved, in the process whose memory it is. Returns how many, and the reason if
 * that is less than what moved. A page that is not there ends it.
 */
u32 fst_copy(void *out, u32 limit, const struct fst_source *source, u64 bytes, u8 *reason)
{
	u32 want = min_t(u64, bytes, limit), at = 0;
	size_t skip = source->skip;
	u16 i;

	*reason = source->reason;
	if (source->reason)
		return 0;
	for (i = 0; i < source->count && at < want; i++) {
		const struct iovec *entry = &source->vector[i];
		u32 part, missing;

		if (skip >= entry->iov_len) {
			skip -= entry->iov_len;
			continue;
		}
		part = min_t(size_t, entry->iov_len - skip, want - at);
		missing = fst_copy_from_user((u8 *)out + at, (const char __user *)entry->iov_base + skip, part);
		skip = 0;
		at += part - missing;
		if (missing)
			break;
	}
	if (!at && bytes)
		*reason = FS_REASON_NOT_RESIDENT;
	else if (at < bytes)
		*reason = FS_REASON_TRUNCATED;
	return at;
}
