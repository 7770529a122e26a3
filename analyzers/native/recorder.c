/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "process.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

bool fs_recording_open(struct fs_recording *recording, int fd)
{
	recording->fd = fd;
	recording->filled = 0;
	recording->bytes = NULL;
	if (fd < 0)
		return true;
	void *bytes = mmap(NULL, FS_RECORD_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (bytes == MAP_FAILED)
		return false;
	recording->bytes = bytes;
	return true;
}

void fs_recording_flush(struct fs_recording *recording)
{
	uint32_t done = 0;
	while (done < recording->filled) {
		ssize_t written = write(recording->fd, recording->bytes + done, recording->filled - done);
		if (written <= 0)
			break;
		done += (uint32_t)written;
	}
	if (done && done < recording->filled)
		memmove(recording->bytes, recording->bytes + done, recording->filled - done);
	recording->filled -= done;
}

void fs_recording_add(struct fs_recording *recording, struct fs_stats *stats, const void *event, uint32_t record_bytes)
{
	const struct fs_head *head = event;
	if (recording->fd < 0)
		return;
	/* What is not an event would make the file unreadable from there on. */
	if (record_bytes < sizeof(*head) || head->size < sizeof(*head) || head->size > record_bytes ||
	    head->size > FS_EVENT_MAX) {
		stats->recording_failed++;
		return;
	}
	uint32_t size = head->size, padded = (size + 7) & ~7u;
	if (recording->filled + padded > FS_RECORD_BYTES)
		fs_recording_flush(recording);
	if (recording->filled + padded > FS_RECORD_BYTES) {
		stats->recording_failed++;
		return;
	}
	memcpy(recording->bytes + recording->filled, event, size);
	memset(recording->bytes + recording->filled + size, 0, padded - size);
	recording->filled += padded;
	stats->recording_written++;
}
