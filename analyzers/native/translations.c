/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The netlink socket on which conntrack tells translations: first its table, which the agent asked for while it might,
 * then each new entry. Read before the events that came meanwhile: an entry is told before its first packet leaves.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <string.h>
#include <unistd.h>

#include "process.h"

#define FS_DUMP_NS 2000000000ull /* a table that takes longer goes on being read beside the events */
#define FS_READS 65536 /* at a time */

/* False once the dump has ended. */
static bool messages(struct fs_run *run, const uint8_t *at, size_t bytes)
{
	struct nlmsghdr head;
	bool goes_on = true;

	while (bytes >= sizeof(head)) {
		memcpy(&head, at, sizeof(head));
		if (head.nlmsg_len < sizeof(head) || head.nlmsg_len > bytes)
			break;
		if (head.nlmsg_type == NLMSG_DONE || head.nlmsg_type == NLMSG_ERROR)
			goes_on = false;
		else
			fs_engine_conntrack(run->engine, at, head.nlmsg_len);
		size_t step = NLMSG_ALIGN(head.nlmsg_len);
		step = step < bytes ? step : bytes;
		at += step;
		bytes -= step;
	}
	return goes_on;
}

/* One datagram. False if there is none now. */
static bool read_one(struct fs_run *run, bool *dumping)
{
	static _Alignas(8) uint8_t bytes[FS_EVENT_MAX];
	ssize_t length = read(run->conntrack, bytes, sizeof(bytes));

	if (length > 0) {
		*dumping = messages(run, bytes, (size_t)length) && *dumping;
		return true;
	}
	if (length < 0 && errno == ENOBUFS)
		run->table->stats.nat_lost++;
	return length < 0 && (errno == ENOBUFS || errno == EINTR);
}

void fs_translations_read(struct fs_run *run)
{
	bool dumping = true;

	for (uint32_t reads = 0; run->conntrack >= 0 && reads < FS_READS && read_one(run, &dumping); reads++)
		;
}

void fs_translations_first(struct fs_run *run)
{
	uint64_t begin = fs_now_ns();

	/* The kernel makes the next part of a dump as this one is read, so there is nothing to wait for. */
	for (bool dumping = run->conntrack >= 0 && !run->table->nat_head; dumping && read_one(run, &dumping);)
		if (fs_now_ns() - begin > FS_DUMP_NS)
			break;
}
