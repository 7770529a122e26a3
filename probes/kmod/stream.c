// SPDX-License-Identifier: GPL-2.0-only
/*
 * A read or write of a stream becomes an event, or part of one.
 *
 *   stream   every I/O is a DATA event
 *   message  a request waits for the first chunk of its response: one EXCHANGE event. What does not fit (a long request,
 *            later chunks of a response) goes out as DATA, so nothing is merged unseen
 *   lengths  DATA without payload
 *   flips    lengths only, one DATA per direction change
 *   silent   nothing: the other end is on this node and tells
 */
#include "firesteel.h"

#define FST_FLIP_BYTES (4 << 20) /* told at the latest after this much in one direction */
#define FST_EARLY_IOS 64
#define FST_MORE_BYTES 128 /* a later chunk of a request may have this much, or goes out by itself */

/* One I/O, as the hook found it. */
struct io {
	u64 bytes;
	u64 time_ns;
	u32 seq;
	u32 peer_seq;
	u32 srtt_us;
	u32 budget;
	u8 direction;
	u8 mode; /* enum fs_mode */
	u8 request_direction;
	bool long_answers;
};

static void data_event(struct fst_connection *c, const struct io *io, const struct fst_source *source)
{
	u32 room = min_t(u64, min_t(u64, io->bytes, io->budget), FS_PAYLOAD_MAX);
	struct fs_data *event;

	if (source && source->reason)
		room = 0;
	event = fst_reserve(FS_EV_DATA, sizeof(*event) + room);
	if (!event) {
		c->flags |= FST_LOST;
		return;
	}
	fst_head_for(&event->head, FS_EV_DATA, sizeof(*event), io->time_ns, c, true);
	event->bytes = io->bytes;
	event->seq = io->seq;
	event->peer_seq = io->peer_seq;
	event->srtt_us = io->srtt_us;
	event->direction = io->direction;
	event->captured = 0;
	if (!source || !io->budget)
		event->reason = FS_REASON_LENGTH_ONLY;
	else
		event->captured = fst_copy(event + 1, room, source, io->bytes, &event->reason);
	if (event->captured >= sizeof(u64) && *(const u64 *)(event + 1) == FS_PREFACE)
		c->flags |= FST_HTTP2;
	event->head.size += event->captured;
	fst_count_absent(event->reason);
	fst_commit(event, FS_EV_DATA);
}

/* More than an event can hold: several, each with the bytes behind those of the one before. */
static void data_events(struct fst_connection *c, const struct io *io, struct fst_source *source)
{
	struct io piece = *io;
	int i;

	for (i = 1;
	     i < FS_LONG_EVENTS && !source->reason && piece.bytes > FS_PAYLOAD_MAX && piece.budget > FS_PAYLOAD_MAX;
	     i++) {
		u64 left = piece.bytes - FS_PAYLOAD_MAX;

		piece.bytes = FS_PAYLOAD_MAX;
		data_event(c, &piece, source);
		source->skip += FS_PAYLOAD_MAX;
		piece.bytes = left;
		piece.budget -= FS_PAYLOAD_MAX;
		piece.seq += FS_PAYLOAD_MAX;
	}
	data_event(c, &piece, source);
}

/* The waiting request, then up to FS_ANSWER_MAX of its answer (`io`); `source` NULL: no answer came. */
static void exchange_event(struct fst_connection *c, const struct io *io, const struct fst_source *source)
{
	struct fst_pending *pending = &c->pending;
	u32 second = source && !source->reason ? min_t(u64, io->bytes, FS_ANSWER_MAX) : 0;
	u32 first = min_t(u32, pending->captured, FS_MESSAGE_MAX);
	struct fs_exchange *event = fst_reserve(FS_EV_EXCHANGE, sizeof(*event) + first + second);

	if (!event) {
		c->flags |= FST_LOST;
		return;
	}
	memset(event, 0, sizeof(*event));
	fst_head_for(&event->head, FS_EV_EXCHANGE, sizeof(*event), io->time_ns, c, source != NULL);
	event->first_start_ns = pending->start_ns;
	event->first_end_ns = pending->end_ns;
	event->first_bytes = pending->bytes;
	event->first_seq = pending->seq;
	event->first_captured = first;
	event->first_reason = pending->reason;
	event->direction = pending->direction;
	event->srtt_us = io->srtt_us;
	event->second_seq = pending->peer_seq;
	memcpy(event + 1, c->text, first);
	if (source) {
		event->second_bytes = io->bytes;
		event->second_seq = io->seq;
		event->second_captured =
			fst_copy((u8 *)(event + 1) + first, second, source, io->bytes, &event->second_reason);
	}
	event->head.size += first + event->second_captured;
	fst_commit(event, FS_EV_EXCHANGE);
}

/* Tells what waits, without an answer. Safe outside of the process. */
void fst_flush(struct fst_connection *c)
{
	struct fst_pending *pending = &c->pending;
	struct io io = {.time_ns = pending->end_ns};
	u8 waiting = pending->waiting;

	pending->waiting = FST_WAITING_NOTHING;
	if (waiting == FST_WAITING_FLIP) {
		io.bytes = pending->bytes;
		io.seq = pending->seq;
		io.peer_seq = pending->peer_seq;
		io.direction = pending->direction;
		data_event(c, &io, NULL);
	} else if (waiting == FST_WAITING_ANSWER) {
		exchange_event(c, &io, NULL);
	}
}

/* The text of an I/O that is no longer than `room`, whole or not at all. */
static bool copy_whole(u8 *out, u32 room, const struct io *io, const struct fst_source *source)
{
	u8 reason;

	return io->bytes <= room && fst_copy(out, room, source, io->bytes, &reason) == io->bytes;
}

/* More of a request that waits. False: it does not fit, or the answer has moved meanwhile without being seen. */
static bool keep_more(struct fst_connection *c, const struct io *io, const struct fst_source *source)
{
	struct fst_pending *pending = &c->pending;
	u32 at = pending->captured;

	if (at > FS_MESSAGE_MAX - FST_MORE_BYTES || pending->seq + at != io->seq || pending->peer_seq != io->peer_seq)
		return false;
	if (!copy_whole(c->text + at, FST_MORE_BYTES, io, source))
		return false;
	pending->end_ns = io->time_ns;
	pending->bytes += io->bytes;
	pending->captured = at + io->bytes;
	return true;
}

static void wait_from(struct fst_pending *pending, const struct io *io, u8 waiting)
{
	pending->waiting = waiting;
	pending->direction = io->direction;
	pending->start_ns = pending->end_ns = io->time_ns;
	pending->bytes = io->bytes;
	pending->seq = io->seq;
	pending->peer_seq = io->peer_seq;
}

static bool keep(struct fst_connection *c, const struct io *io, const struct fst_source *source)
{
	if (!fst_text(c) || !copy_whole(c->text, FS_MESSAGE_MAX, io, source))
		return false;
	wait_from(&c->pending, io, FST_WAITING_ANSWER);
	c->pending.captured = io->bytes;
	c->pending.reason = FS_REASON_NONE;
	return true;
}

/* True: the I/O was kept or told as part of an exchange. False: tell it as it is. */
static bool message_io(struct fst_connection *c, const struct io *io, const struct fst_source *source)
{
	bool waits = c->pending.waiting == FST_WAITING_ANSWER;

	if (io->direction == io->request_direction) {
		if (waits ? keep_more(c, io, source) : keep(c, io, source)) {
			fst_count(&fst_counters()->merged);
			return true;
		}
		if (waits)
			fst_flush(c);
		return false;
	}
	if (!waits)
		return false;
	if (io->long_answers && io->bytes > FS_ANSWER_MAX) {
		fst_flush(c);
		return false;
	}
	c->pending.waiting = FST_WAITING_NOTHING;
	exchange_event(c, io, source);
	return true;
}

static void flips_io(struct fst_connection *c, const struct io *io)
{
	struct fst_pending *pending = &c->pending;

	if (pending->waiting == FST_WAITING_FLIP && pending->direction == io->direction &&
	    pending->bytes < FST_FLIP_BYTES && pending->seq + (u32)pending->bytes == io->seq) {
		pending->bytes += io->bytes;
		pending->end_ns = io->time_ns;
		fst_count(&fst_counters()->merged);
		return;
	}
	if (pending->waiting)
		fst_flush(c);
	wait_from(pending, io, FST_WAITING_FLIP);
	pending->captured = 0;
	pending->reason = FS_REASON_LENGTH_ONLY;
}

/*
 * The engine asks for more once it has seen requests overlap; then the rest of the first ones is gone for good, and with
 * it what HTTP/2's header compression refers to from then on. So what is not long comes whole from the start, of HTTP/2
 * the long as well, and in message mode a request that is too long to wait for its response. After many only where the
 * direction turns: the pieces of a long body are no beginnings, and would fill the ring.
 */
static void capture_policy(struct fst_connection *c, struct io *io)
{
	bool turned = c->spoke != io->direction + 1;
	u64 slot = fst_slot_of(c);
	u32 whole = READ_ONCE(fst.control->whole_bytes);
	bool deep = c->flags & FST_HTTP2;

	c->spoke = io->direction + 1;
	io->mode = FS_MODE_STREAM;
	io->budget = READ_ONCE(fst.control->stream_budget);
	if (!slot || fs_slot_mode(slot) == FS_MODE_AGAIN) {
		if (io->bytes <= io->budget)
			return;
		if ((turned || c->early < FST_EARLY_IOS) && (deep || io->bytes <= whole))
			io->budget = deep ? whole * FS_LONG_EVENTS : whole;
		if (c->early < FST_EARLY_IOS)
			c->early++;
		return;
	}
	io->mode = fs_slot_mode(slot) & ~FS_MODE_ADDED;
	io->budget = fs_slot_budget(slot);
	io->request_direction = fs_slot_mode(slot) & FS_MODE_REQUESTS_OUT ? FS_OUT : FS_IN;
	io->long_answers = fs_slot_mode(slot) & FS_MODE_LONG_ANSWERS;
	if (turned && io->mode == FS_MODE_MESSAGE && io->direction == io->request_direction && !c->pending.waiting &&
	    io->bytes > FS_MESSAGE_MAX && io->bytes <= whole)
		io->budget = whole;
}

/*
 * The clock that the socket keeps says when the bytes came or went. Where it has not moved since our last event (corked,
 * or waiting for the window), and where the kernel keeps none, the time is now.
 */
static u64 time_of(struct fst_connection *c, const struct tcp_sock *tcp)
{
	u64 time_ns = tcp ? fst_tcp_clock(tcp) : 0;

	if (time_ns <= c->last_ns)
		time_ns = fst_now();
	c->last_ns = time_ns;
	return time_ns;
}

static void locate_io(struct fst_connection *c, const struct sock *sk, const struct tcp_sock *tcp, struct io *io)
{
	u32 offsets[2];

	if (io->direction == FS_OUT)
		c->sent += io->bytes;
	else
		c->received += io->bytes;
	offsets[FS_OUT] = tcp ? fst_bytes_written(sk, tcp) : (u32)c->sent;
	offsets[FS_IN] = tcp ? fst_bytes_read(sk, tcp) : (u32)c->received;
	io->srtt_us = tcp ? fst_srtt_us(tcp) : 0;
	io->seq = offsets[io->direction] - (u32)io->bytes;
	io->peer_seq = offsets[!io->direction];
}

void fst_stream_io(struct sock *sk, struct fst_source *source, int result, u8 direction)
{
	struct io io = {.bytes = result, .direction = direction};
	const struct tcp_sock *tcp = fst_tcp(sk);
	struct fst_connection *c;
	bool done = false;

	if (result <= 0)
		return;
	c = fst_connection_of(sk);
	if (!c || !fst_ensure_told(c, sk, FS_EV_DATA, result, direction))
		return;
	capture_policy(c, &io);
	if (io.mode == FS_MODE_SILENT) {
		c->pending.waiting = FST_WAITING_NOTHING;
		return;
	}
	io.time_ns = time_of(c, tcp);
	locate_io(c, sk, tcp, &io);
	if (io.mode == FS_MODE_LENGTHS || io.mode == FS_MODE_FLIPS)
		io.budget = 0;
	/* A socket may be read by one thread and written by another. Who comes second does not wait. */
	if (io.mode == FS_MODE_FLIPS || io.mode == FS_MODE_MESSAGE) {
		if (!test_and_set_bit_lock(0, &c->pending.claimed)) {
			if (io.mode == FS_MODE_MESSAGE && c->pending.waiting == FST_WAITING_FLIP)
				fst_flush(c);
			if (io.mode == FS_MODE_FLIPS) {
				flips_io(c, &io);
				done = true;
			} else {
				done = message_io(c, &io, source);
			}
			clear_bit_unlock(0, &c->pending.claimed);
		}
	} else if (c->pending.waiting) {
		fst_flush(c);
	}
	if (!done)
		data_events(c, &io, source);
}
