/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ordered bytes into messages. Each direction is in a phase: at a head that a parser must see, in a body that is only
 * counted, or lost. Whatever cannot be followed is given up: in order for both directions together, because pairing
 * needs both, and is taken up again where the client is seen to ask after the server has spoken; by id for the one
 * direction, until a message can be recognised in it.
 */
#include "state.h"

static void lose(struct fs_engine *e, struct fs_connection *c, uint8_t direction)
{
	struct fs_stream *s = &c->stream[direction];

	fs_unbuffer(e, s);
	memset(c->scratch[direction], 0, FS_SCRATCH);
	s->phase = FS_PHASE_LOST;
	s->message_bytes = 0;
}

void fs_lost(struct fs_engine *e, struct fs_connection *c, uint8_t direction)
{
	fs_requests_discard(e, c);
	c->flags &= ~(uint32_t)FS_C_TRIAL;
	lose(e, c, direction);
	if (!fs_pairs_by_id(e, c))
		lose(e, c, (uint8_t)!direction);
}

/* What passed unseen may have been anything: nothing is known any more of where the streams stand, or what they refer to. */
void fs_place_forgotten(struct fs_engine *e, struct fs_connection *c)
{
	fs_drop_held(e, c);
	fs_requests_discard(e, c);
	fs_opaque_drop(e, c);
	fs_state_give(e, c);
	c->flags &= ~(uint32_t)FS_C_TRIAL;
	for (uint8_t direction = FS_IN; direction <= FS_OUT; direction++) {
		lose(e, c, direction);
		c->stream[direction].known = 0;
		c->stream[direction].of = 0;
	}
}

static void boundary(struct fs_engine *e, struct fs_connection *c, uint8_t direction)
{
	struct fs_stream *s = &c->stream[direction];

	if (s->remaining) {
		s->phase = FS_PHASE_BODY;
		return;
	}
	switch (s->then) {
	case FS_BODY_PARTS: s->phase = FS_PHASE_PARTS; break;
	case FS_BODY_UNTIL_FLIP: s->phase = FS_PHASE_FLIP; break;
	case FS_BODY_UNTIL_CLOSE: s->phase = FS_PHASE_CLOSE; break;
	default: fs_message_over(e, c, direction);
	}
}

/* A chunked body whose next length was not captured ends, at the latest, where the other side speaks again. */
static bool body_until_flip(const struct fs_engine *e, struct fs_connection *c, struct fs_stream *s, uint8_t direction)
{
	bool alone = fs_side_of(c, direction) == FS_SIDE_REQUEST ? s->of && c->waiting == 1 : c->waiting <= 1;

	if (s->phase == FS_PHASE_HEAD || c->flags & FS_C_PIPELINED || !alone || fs_pairs_by_id(e, c))
		return false;
	s->phase = FS_PHASE_FLIP;
	s->remaining = 0;
	memset(c->scratch[direction], 0, FS_SCRATCH);
	return true;
}

void fs_gap(struct fs_engine *e, struct fs_connection *c, uint8_t direction, uint64_t bytes, uint64_t now_ns)
{
	struct fs_stream *s = &c->stream[direction];

	e->table->stats.stream_gaps++;
	s->next += bytes;
	if (c->protocol == FS_UNDECIDED) {
		fs_opaque_bytes(e, c, direction, bytes + s->buffered, now_ns, now_ns);
		fs_unbuffer(e, s);
		s->phase = FS_PHASE_OPAQUE;
		return;
	}
	if (s->phase == FS_PHASE_BODY && s->remaining >= bytes) {
		s->remaining -= bytes;
		s->message_bytes += bytes;
		s->last_ns = fs_max(s->last_ns, now_ns);
		boundary(e, c, direction);
		return;
	}
	if (s->phase == FS_PHASE_PARTS && body_until_flip(e, c, s, direction)) {
		bytes += s->buffered;
		fs_unbuffer(e, s);
	}
	if (s->phase == FS_PHASE_FLIP || s->phase == FS_PHASE_CLOSE)
		s->message_bytes += bytes;
	else if (s->phase != FS_PHASE_LOST)
		fs_lost(e, c, direction);
}

/* What a parser could not take. */
static void give_up(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k,
		    const struct fs_piece *piece)
{
	struct fs_stream *s = &c->stream[k->direction];

	if (body_until_flip(e, c, s, k->direction)) {
		s->message_bytes += piece->before;
		fs_unbuffer(e, s);
		return;
	}
	if (piece->cut)
		fs_mode_need_more(e, c);
	fs_lost(e, c, k->direction);
	fs_authority_lost_payload(e, c, k->reason);
}

/*
 * The oldest request that a message of this side may answer. By id thousands of the other side's may wait before it, and
 * this is asked for each message: so few are looked at, for no parser that pairs by id hangs on what is behind them.
 */
static const struct fs_message *oldest_waiting(struct fs_engine *e, const struct fs_connection *c, enum fs_side side)
{
	uint32_t index = c->first_waiting, passed = 0;

	if (side == FS_SIDE_REQUEST ? !c->reversed : c->reversed == c->waiting)
		return NULL;
	while (index && fs_part_of(side, fs_waiting_at(e, index)->message.flags) == FS_SIDE_REQUEST) {
		if (++passed > FS_WAITING_LOOKED_AT && fs_pairs_by_id(e, c))
			return NULL;
		index = fs_waiting_at(e, index)->next;
	}
	return index ? &fs_waiting_at(e, index)->message : NULL;
}

/* What the parser says of these bytes, once quiet requests that they do not answer are out of the way. */
static enum fs_framed frame_next(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k,
				 enum fs_side side, struct fs_cursor bytes)
{
	for (;;) {
		const struct fs_message *waiting = oldest_waiting(e, c, side);
		enum fs_framed framed = fs_frame(e, c, k->direction, side, bytes, waiting, false);

		if (framed != FS_FRAME_PASSED)
			return framed;
		if (!waiting || fs_pairs_by_id(e, c) || !fs_request_passed(e, c, c->stream[k->direction].first_ns))
			return FS_FRAME_INVALID;
	}
}

/* Parses what starts `at` and returns how many bytes of the chunk were used; 0 if the connection's phase changed. */
static uint64_t parse(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k, uint64_t at)
{
	struct fs_stream *s = &c->stream[k->direction];
	enum fs_side side = fs_side_of(c, k->direction);
	struct fs_piece piece = fs_piece_at(e, s, k, at);
	enum fs_framed framed = FS_FRAME_INVALID;

	if (fs_left(&piece.bytes))
		framed = frame_next(e, c, k, side, piece.bytes);
	if (framed == FS_FRAME_MORE && !piece.cut && fs_piece_keep(e, s, &piece))
		return k->bytes - at;
	bool has_length = framed == FS_FRAME_END ? e->message.length >= piece.before : e->message.length > piece.before;
	if (framed < FS_FRAME_MESSAGE || !has_length || (s->phase == FS_PHASE_HEAD) != (framed == FS_FRAME_MESSAGE)) {
		give_up(e, c, k, &piece);
		return 0;
	}
	/* A head that was cut lasts until the other side speaks, but then it hides the messages behind it. */
	bool hides = e->message.flags & FS_MESSAGE_CUT &&
		     (e->message.body == FS_BODY_UNTIL_FLIP || e->message.flags & FS_MESSAGE_SWITCH);
	if (hides && side == FS_SIDE_RESPONSE && c->waiting > 1) {
		give_up(e, c, k, &piece);
		return 0;
	}
	if (hides && side == FS_SIDE_REQUEST && c->waiting)
		fs_mode_need_more(e, c);
	uint64_t length = e->message.length - piece.before, here = k->bytes - at;
	uint64_t used = length < here ? length : here;
	uint8_t then = framed == FS_FRAME_MESSAGE ? e->message.body
		       : framed == FS_FRAME_PART  ? FS_BODY_PARTS
						  : FS_BODY_DONE;
	s->remaining = length - used;
	s->then = then;
	if (framed != FS_FRAME_MESSAGE) {
		fs_message_tells(e, c, k->direction);
	} else if (!fs_message_starts(e, c, k, piece.bytes)) {
		fs_lost(e, c, k->direction);
		return 0;
	}
	s->message_bytes += piece.before + used;
	fs_unbuffer(e, s);
	boundary(e, c, k->direction);
	return used;
}

static void flip(struct fs_engine *e, struct fs_connection *c, uint8_t direction)
{
	struct fs_stream *s = &c->stream[direction], *other = &c->stream[!direction];

	if (other->phase == FS_PHASE_FLIP)
		fs_message_over(e, c, (uint8_t)!direction);
	if (c->protocol != FS_UNDECIDED)
		return;
	fs_give_up_short(e, c, (uint8_t)!direction);
	if (s->phase == FS_PHASE_OPAQUE)
		s->phase = FS_PHASE_HEAD;
}

static uint64_t advance(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k, uint64_t at)
{
	struct fs_stream *s = &c->stream[k->direction];
	uint64_t here = k->bytes - at;

	switch (s->phase) {
	case FS_PHASE_HEAD:
		if (!s->buffered)
			s->first_ns = k->start_ns;
		if (c->protocol == FS_UNDECIDED)
			return fs_recognise(e, c, k, at) && (c->protocol != FS_UNDECIDED) ? 0 : here;
		return parse(e, c, k, at);
	case FS_PHASE_PARTS: return parse(e, c, k, at);
	case FS_PHASE_BODY:
		here = s->remaining < here ? s->remaining : here;
		s->remaining -= here;
		s->message_bytes += here;
		s->last_ns = k->end_ns;
		if (!s->remaining)
			boundary(e, c, k->direction);
		return here;
	case FS_PHASE_FLIP:
	case FS_PHASE_CLOSE: s->message_bytes += here; return here;
	case FS_PHASE_OPAQUE: fs_opaque_bytes(e, c, k->direction, here, k->start_ns, k->end_ns); return here;
	default: return here;
	}
}

static void see_payload(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k)
{
	if (c->requester == k->direction || c->requester == FS_DIRECTION_UNKNOWN)
		fs_authority_seen(e, c, k->captured || k->reason <= FS_REASON_LENGTH_ONLY);
}

void fs_deliver(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k)
{
	struct fs_stream *s = &c->stream[k->direction];
	bool flipped = c->last_direction != k->direction;

	fs_protocol_check(e, c);
	if (!(c->flags & (FS_C_PAYLOAD | FS_C_NO_PAYLOAD)))
		see_payload(e, c, k);
	if (flipped)
		flip(e, c, k->direction);
	if (s->phase == FS_PHASE_LOST || c->stream[!k->direction].phase == FS_PHASE_LOST)
		fs_resynchronise(e, c, k, flipped);
	else if (flipped && k->direction == c->requester && s->phase == FS_PHASE_HEAD && !s->buffered)
		fs_asks_again(e, c, k->direction);
	for (uint64_t at = 0; at < k->bytes && c->authority != FS_AUTHORITY_THEIRS;) {
		s->last_ns = fs_max(s->last_ns, k->end_ns);
		if (fs_is_opaque(c->protocol)) {
			if (at == 0)
				fs_opaque_handshake(e, c, k);
			fs_opaque_bytes(e, c, k->direction, k->bytes - at, k->start_ns, k->end_ns);
			if (at == 0)
				fs_opaque_text(e, c, k->direction, fs_cursor_over(k->payload, k->captured, true));
			fs_closing_chunk(e, c, k, at, true);
			break;
		}
		at += advance(e, c, k, at);
	}
	s->last_ns = fs_max(s->last_ns, k->end_ns);
	c->last_direction = k->direction;
}
