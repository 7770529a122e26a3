/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a message is to the requests that wait: it begins one, goes on with one, answers one, settles several, or is
 * nobody's. Where it begins and ends is for messages.c to say.
 */
#include "state.h"

static bool start_request(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k,
			  struct fs_cursor bytes)
{
	struct fs_stream *s = &c->stream[k->direction];
	const uint32_t flags = e->message.flags;

	if (!(flags & FS_MESSAGE_MORE)) {
		s->of = fs_request_begin(e, c, s->first_ns, k->pid);
		if (s->of)
			fs_text_keep(e, s->of, FS_SIDE_REQUEST, bytes);
		return s->of;
	}
	/* It may be called off when it has all been sent, too. */
	bool calls_off = e->message.status && !(flags & FS_MESSAGE_OPEN);
	s->of = calls_off ? fs_request_for(e, c, fs_protocol_by_id(c->protocol)) : fs_request_open(e, c);
	if (!s->of)
		return true; /* it was answered before its end, or not seen to begin */
	if (flags & FS_MESSAGE_TELLS)
		fs_request_told(e, s->of);
	if (calls_off) {
		s->piece |= FS_PIECE_CALLS_OFF;
		if (fs_waiting_at(e, s->of)->begun)
			fs_response_told(e, c, s->of);
		else
			fs_response_begin(e, c, s->of, s->first_ns);
	}
	return true;
}

static bool start_response(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k,
			   struct fs_cursor bytes)
{
	struct fs_stream *s = &c->stream[k->direction];
	const struct fs_protocol *p = fs_protocol_of(e, c->protocol);
	const uint32_t flags = e->message.flags;

	s->of = fs_request_for(e, c, p);
	if (!s->of) {
		e->table->stats.orphan_responses += !(flags & FS_MESSAGE_MORE);
		/* More was waiting than was seen: asked before anybody looked, or before bytes were lost. */
		if (!p->pairs_by_id && (!p->unpipelined || c->flags & FS_C_TRIAL))
			c->flags |= FS_C_PIPELINED | FS_C_OVERLAPS;
		return p->pairs_by_id;
	}
	if (fs_waiting_at(e, s->of)->begun) {
		if (flags & FS_MESSAGE_TELLS || !(flags & FS_MESSAGE_MORE))
			fs_response_told(e, c, s->of);
		return true;
	}
	fs_text_keep(e, s->of, FS_SIDE_RESPONSE, bytes);
	fs_response_begin(e, c, s->of, s->first_ns);
	return true;
}

/* A message begins. False if nothing on this connection can be paired any more. */
bool fs_message_starts(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k, struct fs_cursor bytes)
{
	struct fs_stream *s = &c->stream[k->direction];

	s->of = 0;
	s->piece = (uint16_t)e->message.flags;
	s->next_protocol = e->message.next_protocol;
	if (s->piece & FS_MESSAGE_SKIP) {
		if (s->piece & FS_MESSAGE_SETTLES)
			fs_requests_settle(e, c, e->message.id, s->first_ns);
		return true;
	}
	if (fs_part_of(fs_side_of(c, k->direction), s->piece) == FS_SIDE_REQUEST)
		return start_request(e, c, k, bytes);
	return start_response(e, c, k, bytes);
}

/* A part of the message in progress says more of it than its head did. */
void fs_message_tells(struct fs_engine *e, struct fs_connection *c, uint8_t direction)
{
	const struct fs_stream *s = &c->stream[direction];

	if (!s->of || !(e->message.flags & FS_MESSAGE_TELLS))
		return;
	if (fs_part_of(fs_side_of(c, direction), s->piece) == FS_SIDE_REQUEST)
		fs_request_told(e, s->of);
	else
		fs_response_told(e, c, s->of);
}

static void bytes_of_nobody(struct fs_engine *e, struct fs_connection *c, enum fs_side part, uint64_t bytes)
{
	fs_row_bytes(e, c, part == FS_SIDE_REQUEST ? bytes : 0, part == FS_SIDE_REQUEST ? 0 : bytes);
}

/* What a request that was called off leaves to say was told when the piece that does so began. */
static bool is_called_off(const struct fs_stream *s)
{
	return s->piece & FS_PIECE_CALLS_OFF;
}

static bool switches(const struct fs_stream *s)
{
	return s->piece & FS_MESSAGE_SKIP && s->piece & FS_MESSAGE_SWITCH;
}

void fs_message_over(struct fs_engine *e, struct fs_connection *c, uint8_t direction)
{
	struct fs_stream *s = &c->stream[direction];
	enum fs_side part = fs_part_of(fs_side_of(c, direction), s->piece);
	bool goes_on = s->piece & FS_MESSAGE_OPEN;
	uint64_t bytes = s->message_bytes;
	uint32_t request = s->of;

	s->phase = FS_PHASE_HEAD;
	s->message_bytes = 0;
	s->of = 0;
	if (!request) {
		/* Skipped, or of a request that was answered before its end, or after a silence taken for the end. */
		bytes_of_nobody(e, c, part, bytes);
		if (switches(s))
			fs_protocol_set(e, c, s->next_protocol);
	} else if (part == FS_SIDE_REQUEST) {
		if (goes_on || is_called_off(s))
			fs_request_piece(e, request, s->last_ns, bytes);
		else
			fs_request_end(e, c, request, s->last_ns, bytes);
		if (is_called_off(s))
			fs_response_end(e, c, request, s->last_ns, 0);
	} else if (goes_on) {
		fs_response_piece(e, request, s->last_ns, bytes);
	} else {
		fs_response_end(e, c, request, s->last_ns, bytes);
	}
}
