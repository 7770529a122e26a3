/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A read or write of a stream becomes an event, or part of one.
 *
 *   stream   every I/O is a DATA event
 *   message  a request waits in socket storage for the first chunk of its response: one EXCHANGE event. What does not
 *            fit (a long request, later chunks of a response, a long one where all of it is wanted) goes out as DATA,
 *            so nothing is merged unseen
 *   lengths  DATA without payload
 *   flips    lengths only, one DATA per direction change
 *   silent   nothing: the other end is on this node and tells
 */
#ifndef FIRESTEEL_STREAM_H
#define FIRESTEEL_STREAM_H

#include "data.h"

#define FLIP_BYTES (4 << 20) /* told at the latest after this much in one direction */

enum waiting { WAITING_NOTHING = 0, WAITING_ANSWER = 1, WAITING_FLIP = 2 };

/* The waiting request in `room` bytes, then up to FS_ANSWER_MAX of its answer (`io`; none if source is NULL). */
#define EXCHANGE_EVENT(room)                                                                                  \
	static __always_inline void exchange_event_##room(struct connection *connection, const struct io *io, \
							  struct source *source)                              \
	{                                                                                                     \
		struct pending *pending = &connection->pending;                                               \
		struct fs_exchange *event = reserve(FS_EV_EXCHANGE, sizeof(*event) + (room) + FS_ANSWER_MAX); \
		__u64 first = pending->captured;                                                              \
		__u32 second = 0;                                                                             \
		if (!event) {                                                                                 \
			connection->flags |= CONNECTION_LOST;                                                 \
			return;                                                                               \
		}                                                                                             \
		head_for(&event->head, FS_EV_EXCHANGE, sizeof(*event), io->time_ns, connection, source != 0); \
		event->first_start_ns = pending->start_ns;                                                    \
		event->first_end_ns = pending->end_ns;                                                        \
		event->first_bytes = pending->bytes;                                                          \
		event->first_seq = pending->seq;                                                              \
		event->first_reason = pending->reason;                                                        \
		event->direction = pending->direction;                                                        \
		event->srtt_us = io->srtt_us;                                                                 \
		event->second_bytes = 0;                                                                      \
		event->second_seq = pending->peer_seq;                                                        \
		event->second_reason = FS_REASON_NONE;                                                        \
		__builtin_memset(event->reserved, 0, sizeof(event->reserved));                                \
		first = at_most(first, (room));                                                               \
		if (bpf_probe_read_kernel(event + 1, first, connection->text))                                \
			event->first_reason = FS_REASON_NOT_RESIDENT;                                         \
		event->first_captured = first;                                                                \
		if (source) {                                                                                 \
			event->second_bytes = io->bytes;                                                      \
			event->second_seq = io->seq;                                                          \
			second = copy_payload((void *)(event + 1) + first, FS_ANSWER_MAX, source, io->bytes,  \
					      FS_ANSWER_MAX, &event->second_reason);                          \
		}                                                                                             \
		event->second_captured = second;                                                              \
		event->head.size = sizeof(*event) + first + second;                                           \
		submit(event, FS_EV_EXCHANGE);                                                                \
	}

EXCHANGE_EVENT(128)
EXCHANGE_EVENT(512)

static __always_inline int flush_waiting(struct connection *connection)
{
	struct pending *pending;
	struct io io = {};
	__u8 waiting;

	if (!HAS_MODES || !connection)
		return 0;
	pending = &connection->pending;
	waiting = pending->waiting;
	pending->waiting = WAITING_NOTHING;
	io.time_ns = pending->end_ns;
	if (waiting == WAITING_FLIP) {
		io.bytes = pending->bytes;
		io.seq = pending->seq;
		io.peer_seq = pending->peer_seq;
		io.direction = pending->direction;
		length_event(connection, &io, FS_REASON_LENGTH_ONLY);
	} else if (waiting == WAITING_ANSWER) {
		exchange_event_512(connection, &io, 0);
	}
	return 0;
}

/* Tells what waits, without an answer. Safe outside of the process. */
#ifdef FS_UNTYPED
__noinline int flush_socket(__u64 socket)
{
	return flush_waiting(bpf_map_lookup_elem(&connections, &socket));
}

static __always_inline int flush(struct connection *connection)
{
	return flush_socket(connection->socket);
}
#else
__noinline int flush(struct connection *connection)
{
	return flush_waiting(connection);
}
#endif

#define MESSAGE_MORE 128 /* a later chunk of a request may have this much, or goes out by itself */

/* More of a request that waits. False: it does not fit, or the answer has moved meanwhile without being seen. */
static __always_inline bool keep_more(struct connection *connection, const struct io *io, struct source *source)
{
	struct pending *pending = &connection->pending;
	__u32 at = pending->captured;
	__u8 reason;

	if (at > FS_MESSAGE_MAX - MESSAGE_MORE || io->bytes > MESSAGE_MORE || pending->seq + at != io->seq ||
	    pending->peer_seq != io->peer_seq)
		return false;
	if (copy_payload(connection->text + at, MESSAGE_MORE, source, io->bytes, MESSAGE_MORE, &reason) != io->bytes)
		return false;
	pending->end_ns = io->time_ns;
	pending->bytes += io->bytes;
	pending->captured = at + io->bytes;
	return true;
}

static __always_inline bool keep(struct connection *connection, const struct io *io, struct source *source)
{
	struct pending *pending = &connection->pending;
	__u8 reason;

	if (io->bytes > FS_MESSAGE_MAX ||
	    copy_payload(connection->text, FS_MESSAGE_MAX, source, io->bytes, FS_MESSAGE_MAX, &reason) != io->bytes)
		return false;
	pending->waiting = WAITING_ANSWER;
	pending->direction = io->direction;
	pending->start_ns = pending->end_ns = io->time_ns;
	pending->bytes = io->bytes;
	pending->seq = io->seq;
	pending->peer_seq = io->peer_seq;
	pending->captured = io->bytes;
	pending->reason = FS_REASON_NONE;
	return true;
}

/* A socket may be read by one thread and written by another. Who comes second does not wait. */
static __always_inline bool claim_pending(struct connection *connection)
{
#ifdef FS_UNTYPED
	__u64 id = connection->id;
	__u8 claimed = 1;
	return bpf_map_update_elem(&claims, &id, &claimed, BPF_NOEXIST) == 0;
#else
	return __sync_val_compare_and_swap(&connection->pending.claimed, 0, 1) == 0;
#endif
}

static __always_inline void release_pending(struct connection *connection)
{
#ifdef FS_UNTYPED
	__u64 id = connection->id;
	bpf_map_delete_elem(&claims, &id);
#else
	__sync_lock_test_and_set(&connection->pending.claimed, 0);
#endif
}

/* True: the I/O was kept or told as part of an exchange. False: tell it as it is. */
static __always_inline bool message_io(struct connection *connection, const struct io *io, struct source *source)
{
	bool waits = connection->pending.waiting == WAITING_ANSWER;

	if (io->direction == io->request_direction) {
		if (waits ? keep_more(connection, io, source) : keep(connection, io, source)) {
			__sync_fetch_and_add(&own_counters()->merged, 1);
			return true;
		}
		if (waits)
			flush(connection);
		return false;
	}
	if (!waits)
		return false;
	if (io->long_answers && io->bytes > FS_ANSWER_MAX) {
		flush(connection);
		return false;
	}
	connection->pending.waiting = WAITING_NOTHING;
	if (connection->pending.captured <= 128)
		exchange_event_128(connection, io, source);
	else
		exchange_event_512(connection, io, source);
	return true;
}

static __always_inline void flips_io(struct connection *connection, const struct io *io)
{
	struct pending *pending = &connection->pending;

	if (pending->waiting == WAITING_FLIP && pending->direction == io->direction && pending->bytes < FLIP_BYTES &&
	    pending->seq + (__u32)pending->bytes == io->seq) {
		pending->bytes += io->bytes;
		pending->end_ns = io->time_ns;
		__sync_fetch_and_add(&own_counters()->merged, 1);
		return;
	}
	if (pending->waiting)
		flush(connection);
	pending->waiting = WAITING_FLIP;
	pending->direction = io->direction;
	pending->start_ns = pending->end_ns = io->time_ns;
	pending->bytes = io->bytes;
	pending->seq = io->seq;
	pending->peer_seq = io->peer_seq;
	pending->captured = 0;
	pending->reason = FS_REASON_LENGTH_ONLY;
}

#define EARLY_IOS 64

/*
 * The engine asks for more once it has seen requests overlap; then the rest of the first ones is gone for good, and with
 * it what HTTP/2's header compression refers to from then on. So what is not long comes whole from the start, of HTTP/2
 * the long as well, and in message mode a request that is too long to wait for its response. After many only where the
 * direction turns: the pieces of a long body are no beginnings, and would fill the ring.
 */
static __always_inline void capture_policy(struct connection *connection, struct io *io)
{
	bool turned = connection->spoke != io->direction + 1;
	__u64 slot = slot_of(connection);
	__u32 whole = control.whole_bytes;
	bool deep = connection->flags & CONNECTION_HTTP2;
	connection->spoke = io->direction + 1;
	io->mode = FS_MODE_STREAM;
	io->budget = control.stream_budget;
	if (!slot || fs_slot_mode(slot) == FS_MODE_AGAIN) {
		if (io->bytes <= io->budget)
			return;
		if ((turned || connection->early < EARLY_IOS) && (deep || io->bytes <= whole))
			io->budget = deep ? whole * FS_LONG_EVENTS : whole;
		if (connection->early < EARLY_IOS)
			connection->early++;
		return;
	}
	io->mode = fs_slot_mode(slot) & ~FS_MODE_ADDED;
	io->budget = fs_slot_budget(slot);
	io->request_direction = fs_slot_mode(slot) & FS_MODE_REQUESTS_OUT ? FS_OUT : FS_IN;
	io->long_answers = !!(fs_slot_mode(slot) & FS_MODE_LONG_ANSWERS);
	if (turned && io->mode == FS_MODE_MESSAGE && io->direction == io->request_direction &&
	    !connection->pending.waiting && io->bytes > FS_MESSAGE_MAX && io->bytes <= whole)
		io->budget = whole;
}

/*
 * The clock that the socket keeps says when the bytes came or went, and costs nothing. Where it has not moved since our
 * last event (corked, or waiting for the window) the time is now.
 */
static __always_inline __u64 socket_time(struct connection *connection, const struct tcp_sock *tcp)
{
	__u64 now = tcp ? READ(tcp, tcp_clock_cache) : 0;
	if (now <= connection->last_ns)
		now = bpf_ktime_get_ns();
	connection->last_ns = now;
	return now;
}

/* The barriers: the verifier allows no load that reads a kernel struct on one path and ours on another. */
static __always_inline void locate_io(struct connection *connection, struct sock *sk, const struct tcp_sock *tcp,
				      struct io *io)
{
	__u32 offsets[2];
	if (tcp) {
		offsets[FS_OUT] = bytes_written(sk, tcp);
		offsets[FS_IN] = bytes_read(sk, tcp);
		io->srtt_us = READ(tcp, srtt_us) >> 3;
		asm volatile("" ::: "memory");
	} else {
		__u32 bytes = io->bytes;
		if (io->direction == FS_OUT)
			__sync_fetch_and_add(&connection->sent, bytes);
		else
			__sync_fetch_and_add(&connection->received, bytes);
		asm volatile("" ::: "memory");
		offsets[FS_OUT] = connection->sent;
		offsets[FS_IN] = connection->received;
	}
	io->seq = (io->direction == FS_OUT ? offsets[FS_OUT] : offsets[FS_IN]) - (__u32)io->bytes;
	io->peer_seq = io->direction == FS_OUT ? offsets[FS_IN] : offsets[FS_OUT];
}

/*
 * What comes out of memory is any number to the verifier. Else it looks at all that follows once for each way that led here,
 * which in one function is more than 6.12 lets pass.
 */
static __always_inline bool forget_ways(struct io *io)
{
#if defined(FS_HEADERS) && !defined(FS_SHORT)
	struct scratch *scratch = scratch_at(0);

	if (!scratch)
		return false;
	scratch->io = *io;
	asm volatile("" ::: "memory");
	*io = scratch->io;
#endif
	return true;
}

static __always_inline int stream_io(const struct operation *operation)
{
	struct connection *connection;
	struct io io = {.bytes = operation->result, .direction = operation->direction};
	struct sock *sk = operation->sk;
	struct source source = {};
	struct tcp_sock *tcp;
	bool done = false;

	if (operation->result <= 0)
		return 0;
	connection = connection_of(sk);
	if (!connection || !ensure_told(connection, sk, FS_EV_DATA, operation->result, operation->direction))
		return 0;
	capture_policy(connection, &io);
	if (io.mode == FS_MODE_SILENT) {
		connection->pending.waiting = WAITING_NOTHING;
		return 0;
	}
	tcp = tcp_of(sk);
	io.time_ns = socket_time(connection, tcp);
	locate_io(connection, sk, tcp, &io);
	if (io.mode == FS_MODE_FLIPS) {
		if (claim_pending(connection)) {
			flips_io(connection, &io);
			release_pending(connection);
		} else {
			length_event(connection, &io, FS_REASON_LENGTH_ONLY);
		}
		return 0;
	}
	if (io.mode == FS_MODE_LENGTHS)
		io.budget = 0;
	if (!forget_ways(&io))
		return 0;
	if (io.budget)
		find_source(&source, operation);
	if (io.mode == FS_MODE_MESSAGE) {
		if (claim_pending(connection)) {
			if (connection->pending.waiting == WAITING_FLIP)
				flush(connection);
			done = message_io(connection, &io, &source);
			release_pending(connection);
		}
		if (done)
			return 0;
	} else if (connection->pending.waiting) {
		flush(connection);
	}
	data_event(connection, &io, &source);
	return 0;
}

#endif
