/* SPDX-License-Identifier: Apache-2.0 */
#include "process.h"

#include <string.h>
#include <unistd.h>

#define FS_TICK_NS 10000000ull
#define FS_BEAT_EVENTS 4096
#define FS_PACE_SLEEP_NS 50000000ull /* between looks at config->stop */

/* A recording as a run of bytes of which some are here: [offset, offset + filled) of the file, `used` of them done. */
struct reader {
	struct fs_run *run;
	uint64_t offset;
	uint32_t used;
	uint32_t filled;
	bool unreadable;
	uint16_t schema;
};

uint32_t fs_event_size(uint16_t type)
{
	static const uint32_t sizes[FS_EV_COUNT] = {
#define FS_EVENT_BYTES(number, name, suffix, help) [number] = sizeof(struct fs_##suffix),
		FS_EVENTS(FS_EVENT_BYTES)
#undef FS_EVENT_BYTES
	};
	return type < FS_EV_COUNT ? sizes[type] : 0;
}

/* The next `bytes` of the file, or NULL if it ends before, or cannot be read. FS_EVENT_MAX bounds `bytes`. */
static const uint8_t *peek(struct reader *in, uint32_t bytes)
{
	uint8_t *buffer = in->run->file_bytes;

	if (in->filled - in->used < bytes) {
		memmove(buffer, buffer + in->used, in->filled - in->used);
		in->offset += in->used;
		in->filled -= in->used;
		in->used = 0;
	}
	while (in->filled < bytes) {
		ssize_t got = read(in->run->file, buffer + in->filled, FS_READ_BYTES - in->filled);
		if (got < 0)
			in->unreadable = true;
		if (got <= 0)
			return NULL;
		in->filled += (uint32_t)got;
	}
	return buffer + in->used;
}

static uint64_t position(const struct reader *in)
{
	return in->offset + in->used;
}

static void ended_early(struct reader *in)
{
	unsigned long long at = position(in);

	if (in->unreadable)
		fs_run_fail(in->run, "byte %llu: the file cannot be read on; copy it to a local disk and try again",
			    at);
	else
		fs_run_fail(in->run,
			    "byte %llu: the file ends inside an event (truncated); everything before was counted; "
			    "record again",
			    at);
}

static bool read_head(struct reader *in)
{
	struct fs_file_head head;
	const uint8_t *bytes = peek(in, sizeof(head));

	if (!bytes) {
		fs_run_fail(in->run,
			    "byte 0: shorter than the head of a recording; make one with: firesteel record FILE");
		return false;
	}
	memcpy(&head, bytes, sizeof(head));
	if (head.magic != FS_MAGIC) {
		fs_run_fail(in->run, "byte 0: not a recording of firesteel; make one with: firesteel record FILE");
		return false;
	}
	if (head.contract > FS_CONTRACT_VERSION) {
		fs_run_fail(
			in->run,
			"byte 4: recorded by a newer version (contract %u, this one reads up to %u); update firesteel",
			head.contract, FS_CONTRACT_VERSION);
		return false;
	}
	if (head.contract == 0 || head.head_size < sizeof(head) || head.head_size > FS_EVENT_MAX ||
	    head.head_size % 8) {
		fs_run_fail(in->run, "byte 4: the head is damaged (contract %u, head of %u bytes); record again",
			    head.contract, head.head_size);
		return false;
	}
	in->schema = head.schema;
	if (!peek(in, head.head_size)) {
		ended_early(in);
		return false;
	}
	in->used += head.head_size;
	return true;
}

static uint32_t payload_of(const uint8_t *event, uint16_t type)
{
	if (type == FS_EV_DATA)
		return ((const struct fs_data *)event)->captured;
	if (type == FS_EV_DATAGRAM)
		return ((const struct fs_datagram *)event)->captured;
	if (type == FS_EV_EXCHANGE)
		return (uint32_t)((const struct fs_exchange *)event)->first_captured +
		       ((const struct fs_exchange *)event)->second_captured;
	return 0;
}

/* The next whole event; NULL at the end of the file and, with *damaged, where it makes no sense. */
static const uint8_t *next_event(struct reader *in, bool *damaged)
{
	struct fs_head head;
	const uint8_t *bytes = peek(in, sizeof(head));
	unsigned long long at = position(in);

	*damaged = bytes || in->filled || in->unreadable;
	if (!bytes) {
		if (*damaged)
			ended_early(in);
		return NULL;
	}
	memcpy(&head, bytes, sizeof(head));
	uint32_t smallest = fs_event_size(head.type);
	/* A newer schema may have types that this version does not know: the engine counts and skips them. */
	if (head.size < sizeof(head) || head.size > FS_EVENT_MAX || head.size < smallest ||
	    (!smallest && in->schema <= FS_SCHEMA_VERSION)) {
		fs_run_fail(
			in->run,
			"byte %llu: no event (type %u, %u bytes): damaged; everything before was counted; record again",
			at, head.type, head.size);
		return NULL;
	}
	bytes = peek(in, (head.size + 7) & ~7u);
	if (!bytes) {
		ended_early(in);
		return NULL;
	}
	if (smallest && smallest + payload_of(bytes, head.type) > head.size) {
		fs_run_fail(
			in->run,
			"byte %llu: payload exceeds its event: damaged; everything before was counted; record again",
			at);
		return NULL;
	}
	in->used += (head.size + 7) & ~7u;
	*damaged = false;
	return bytes;
}

/* Sleeps until it is as long after `begin_ns` as the event is after the first. False when asked to stop. */
static bool keep_pace(struct fs_run *run, uint64_t begin_ns, uint64_t since_first_ns)
{
	for (;;) {
		uint64_t now = fs_now_ns();
		if (run->config->stop)
			return false;
		if (now - begin_ns >= since_first_ns)
			return true;
		uint64_t due = begin_ns + since_first_ns;
		fs_run_beat(run, now);
		fs_sleep_until(due - now < FS_PACE_SLEEP_NS ? due : now + FS_PACE_SLEEP_NS);
	}
}

bool fs_replay(struct fs_run *run)
{
	struct reader in = {.run = run};
	uint64_t begin_ns = fs_now_ns(), first = 0, newest = 0, ticked = 0, count = 0;
	const uint8_t *event;
	bool damaged = false;

	if (!read_head(&in))
		return false;
	while ((event = next_event(&in, &damaged)) != NULL) {
		const struct fs_head *head = (const struct fs_head *)event;
		/* CPUs write into one ring: times may step back a little, the clock does not. */
		if (head->time_ns > newest)
			newest = head->time_ns;
		if (!first)
			first = newest;
		if (newest - ticked >= FS_TICK_NS) {
			ticked = newest;
			fs_engine_tick(run->engine, newest);
			if (run->paced && !keep_pace(run, begin_ns, newest - first))
				break;
		}
		fs_engine_event(run->engine, event, head->size);
		if (++count % FS_BEAT_EVENTS == 0) {
			fs_run_beat(run, fs_now_ns());
			if (run->config->stop)
				break;
		}
	}
	fs_engine_tick(run->engine, newest);
	fs_engine_finish(run->engine);
	return !damaged;
}
