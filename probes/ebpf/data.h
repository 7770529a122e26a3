/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* One read or write of a stream as a DATA event, or as several where more of its bytes are wanted than one can hold. */
#ifndef FIRESTEEL_DATA_H
#define FIRESTEEL_DATA_H

#include "source.h"

/* What is remembered of the payload: whether much of what follows is wanted before the engine can say so. */
static __always_inline void look_at(struct connection *connection, const void *payload, __u32 captured)
{
	if (captured >= sizeof(__u64) && *(const __u64 *)payload == FS_PREFACE)
		connection->flags |= CONNECTION_HTTP2;
}

#define DATA_EVENT(room)                                                                                   \
	static __always_inline void data_event_##room(struct connection *connection, const struct io *io,  \
						      struct source *source)                               \
	{                                                                                                  \
		struct fs_data *event = reserve(FS_EV_DATA, sizeof(*event) + (room));                      \
		__u32 captured;                                                                            \
		if (!event) {                                                                              \
			connection->flags |= CONNECTION_LOST;                                              \
			return;                                                                            \
		}                                                                                          \
		head_for(&event->head, FS_EV_DATA, sizeof(*event), io->time_ns, connection, true);         \
		event->bytes = io->bytes;                                                                  \
		event->seq = io->seq;                                                                      \
		event->peer_seq = io->peer_seq;                                                            \
		event->srtt_us = io->srtt_us;                                                              \
		event->direction = io->direction;                                                          \
		captured = copy_payload(event + 1, (room), source, io->bytes, io->budget, &event->reason); \
		look_at(connection, event + 1, captured);                                                  \
		event->captured = captured;                                                                \
		event->head.size = sizeof(*event) + captured;                                              \
		if (event->reason)                                                                         \
			__sync_fetch_and_add(&own_counters()->absent[event->reason & 15], 1);              \
		submit(event, FS_EV_DATA);                                                                 \
	}

DATA_EVENT(128)
DATA_EVENT(512)
DATA_EVENT(4096)

static __always_inline void length_event(struct connection *connection, const struct io *io, __u8 reason)
{
	struct fs_data *event = reserve(FS_EV_DATA, sizeof(*event));
	if (!event) {
		connection->flags |= CONNECTION_LOST;
		return;
	}
	head_for(&event->head, FS_EV_DATA, sizeof(*event), io->time_ns, connection, true);
	event->bytes = io->bytes;
	event->seq = io->seq;
	event->peer_seq = io->peer_seq;
	event->srtt_us = io->srtt_us;
	event->captured = 0;
	event->direction = io->direction;
	event->reason = reason;
	__sync_fetch_and_add(&own_counters()->absent[reason & 15], 1);
	submit(event, FS_EV_DATA);
}

#ifdef FS_HEADERS
/* One function holds all of a program there, and has no room for the loop. */
static __always_inline void long_event(struct connection *connection, const struct io *io, struct source *source)
{
	data_event_4096(connection, io, source);
}
#else
static __always_inline void next_piece(struct scratch *scratch)
{
	__u64 length = KEPT(scratch->source.length);

	if (scratch->source.count) {
		KEPT(scratch->source.skip) += FS_PAYLOAD_MAX;
	} else {
		KEPT(scratch->source.base) += FS_PAYLOAD_MAX;
		KEPT(scratch->source.length) = length > FS_PAYLOAD_MAX ? length - FS_PAYLOAD_MAX : 0;
	}
	KEPT(scratch->io.seq) += FS_PAYLOAD_MAX;
	KEPT(scratch->io.bytes) -= FS_PAYLOAD_MAX;
	KEPT(scratch->io.budget) -= FS_PAYLOAD_MAX;
}

/* The next piece of what the scratch tells. False: it was the last. */
static __always_inline bool tell_piece(struct connection *connection, struct scratch *scratch, __u32 index, bool last)
{
	struct fs_data *event = reserve(FS_EV_DATA, sizeof(*event) + FS_PAYLOAD_MAX);
	__u64 bytes = KEPT(scratch->io.bytes), budget = KEPT(scratch->io.budget), want;
	struct source *source = &scratch->source;
	long failed;

	last |= bytes <= FS_PAYLOAD_MAX || budget <= FS_PAYLOAD_MAX;
	if (!event) {
		connection->flags |= CONNECTION_LOST;
		next_piece(scratch);
		return !last;
	}
	if (!last)
		bytes = FS_PAYLOAD_MAX;
	head_for(&event->head, FS_EV_DATA, sizeof(*event), scratch->io.time_ns, connection, true);
	event->bytes = bytes;
	event->seq = scratch->io.seq;
	event->peer_seq = scratch->io.peer_seq;
	event->srtt_us = scratch->io.srtt_us;
	event->direction = scratch->io.direction;
	want = at_most(bytes < budget ? bytes : budget, FS_PAYLOAD_MAX);
	if (source->count) {
		want = at_most(gather(index, want), FS_PAYLOAD_MAX);
		failed = bpf_probe_read_kernel(event + 1, want, scratch->bytes);
	} else {
		want = at_most(want < KEPT(source->length) ? want : KEPT(source->length), FS_PAYLOAD_MAX);
		failed = bpf_probe_read_user(event + 1, want, (void *)source->base);
	}
	if (failed)
		want = 0;
	event->captured = want;
	event->reason = want == bytes ? FS_REASON_NONE : want ? FS_REASON_TRUNCATED : FS_REASON_NOT_RESIDENT;
	event->head.size = sizeof(*event) + want;
	if (event->reason)
		__sync_fetch_and_add(&own_counters()->absent[event->reason & 15], 1);
	submit(event, FS_EV_DATA);
	next_piece(scratch);
	return !last;
}

static __always_inline int tell_pieces(struct connection *connection, __u32 index)
{
	struct scratch *scratch = scratch_at(index);

	if (!scratch || !connection)
		return 0;
	for (__u32 i = 0; i < FS_LONG_EVENTS; i++)
		if (!tell_piece(connection, scratch, index, i + 1 == FS_LONG_EVENTS))
			break;
	return 0;
}

/* As flush() is: a function that is verified once. */
#ifdef FS_UNTYPED
__noinline int tell_long_of(__u64 socket, __u32 index)
{
	return tell_pieces(bpf_map_lookup_elem(&connections, &socket), index);
}

static __always_inline int tell_long(struct connection *connection, __u32 index)
{
	return tell_long_of(connection->socket, index);
}
#else
__noinline int tell_long(struct connection *connection, __u32 index)
{
	return tell_pieces(connection, index);
}
#endif

/* More than an event can hold: several, each with the bytes behind those of the one before. */
static __always_inline void long_event(struct connection *connection, const struct io *io, struct source *source)
{
	struct scratch *scratch;
	__u32 index;

#ifdef FS_UNTYPED
	if (!has_ring) { /* of so many, only STAGED_EVENTS have a place */
		data_event_4096(connection, io, source);
		return;
	}
#endif
	scratch = claim_scratch(&index);
	if (!scratch) {
		data_event_4096(connection, io, source);
		return;
	}
	scratch->source = *source;
	scratch->io = *io;
	if (source->length >= io->bytes)
		scratch->source.count = 0;
	tell_long(connection, index);
	release_scratch(scratch);
}
#endif

static __always_inline void data_event(struct connection *connection, const struct io *io, struct source *source)
{
	__u64 want = io->bytes < io->budget ? io->bytes : io->budget;

	if (!want)
		length_event(connection, io, FS_REASON_LENGTH_ONLY);
	else if (source->reason)
		length_event(connection, io, source->reason);
	else if (want <= 128)
		data_event_128(connection, io, source);
	else if (want <= 512)
		data_event_512(connection, io, source);
	else if (want <= FS_PAYLOAD_MAX)
		data_event_4096(connection, io, source);
	else
		long_event(connection, io, source);
}

#endif
