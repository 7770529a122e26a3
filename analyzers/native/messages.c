/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ordered bytes into messages. Each direction is in a phase: at a head that a parser must see, in a body that is only
 * counted, or lost. Whatever cannot be followed is given up: in order for both directions together, because pairing
 * needs both, and is taken up again where the client is seen to ask after the server has spoken; by id for the one
 * direction, until a message can be recognised in it.
 */
#include "state.h"

static enum fs_side side_of(const struct fs_connection *c, uint8_t direction)
{
	return direction == c->requester ? FS_SIDE_REQUEST : FS_SIDE_RESPONSE;
}

/* Which part a message of this side plays: the roles of a reversed one are exchanged. */
static enum fs_side part_of(enum fs_side side, uint32_t flags)
{
	return flags & FS_MESSAGE_REVERSED ? (enum fs_side) !side : side;
}

static bool pairs_by_id(const struct fs_engine *e, const struct fs_connection *c)
{
	const struct fs_protocol *p = fs_protocol_of(e, c->protocol);
	return p && p->pairs_by_id;
}

uint8_t *fs_buffer(struct fs_engine *e, const struct fs_stream *s)
{
	return fs_pool_at(&e->buffers, s->buffer);
}

void fs_unbuffer(struct fs_engine *e, struct fs_stream *s)
{
	if (s->buffer)
		fs_pool_give(&e->buffers, s->buffer);
	s->buffer = 0;
	s->buffered = 0;
}

/* How many of the bytes were taken: fewer if the buffer is full or there is none. */
uint32_t fs_buffer_append(struct fs_engine *e, struct fs_stream *s, const uint8_t *bytes, uint32_t length)
{
	if (!s->buffer) {
		s->buffer = fs_pool_take(&e->buffers);
		s->buffered = 0;
	}
	uint32_t room = s->buffer ? FS_BUFFER_BYTES - s->buffered : 0;
	uint32_t taken = length < room ? length : room;
	if (taken < length)
		e->table->stats.buffer_exhausted += length - taken;
	if (taken)
		memcpy(fs_buffer(e, s) + s->buffered, bytes, taken);
	s->buffered = (uint16_t)(s->buffered + taken);
	return taken;
}

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
	if (!pairs_by_id(e, c))
		lose(e, c, (uint8_t)!direction);
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
	enum fs_side part = part_of(side_of(c, direction), s->piece);
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
	bool alone = side_of(c, direction) == FS_SIDE_REQUEST ? s->of && c->waiting == 1 : c->waiting <= 1;

	if (s->phase == FS_PHASE_HEAD || c->flags & FS_C_PIPELINED || !alone || pairs_by_id(e, c))
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

/* The bytes of one side from where a message, or a part of one, starts. */
struct piece {
	struct fs_cursor bytes;
	uint32_t before; /* of them were buffered earlier */
	bool cut; /* what comes next was not captured */
};

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
static bool start_message(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k,
			  struct fs_cursor bytes)
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
	if (part_of(side_of(c, k->direction), s->piece) == FS_SIDE_REQUEST)
		return start_request(e, c, k, bytes);
	return start_response(e, c, k, bytes);
}

/* A part of the message in progress says more of it than its head did. */
static void tell_more(struct fs_engine *e, struct fs_connection *c, uint8_t direction)
{
	const struct fs_stream *s = &c->stream[direction];

	if (!s->of || !(e->message.flags & FS_MESSAGE_TELLS))
		return;
	if (part_of(side_of(c, direction), s->piece) == FS_SIDE_REQUEST)
		fs_request_told(e, s->of);
	else
		fs_response_told(e, c, s->of);
}

/* What a parser could not take. */
static void give_up(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k, const struct piece *piece)
{
	struct fs_stream *s = &c->stream[k->direction];

	if (body_until_flip(e, c, s, k->direction)) {
		s->message_bytes += piece->before;
		fs_unbuffer(e, s);
		return;
	}
	if (piece->cut)
		fs_mode_need_bytes(e, c);
	fs_lost(e, c, k->direction);
	fs_authority_lost_payload(e, c, k->reason);
}

static struct piece piece_at(struct fs_engine *e, struct fs_stream *s, const struct fs_chunk *k, uint64_t at)
{
	uint32_t captured = at < k->captured ? k->captured - (uint32_t)at : 0;
	const uint8_t *bytes = k->payload + (captured ? at : 0);
	struct piece piece = {.before = s->buffered, .cut = k->captured < k->bytes};

	if (s->buffered) {
		piece.cut |= fs_buffer_append(e, s, bytes, captured) < captured;
		piece.bytes = fs_cursor_over(fs_buffer(e, s), s->buffered, piece.cut);
	} else {
		piece.bytes = fs_cursor_over(bytes, captured, piece.cut);
	}
	return piece;
}

/* Keeps an incomplete head until more of it comes. False if there is no room for it. */
static bool keep(struct fs_engine *e, struct fs_stream *s, const struct piece *piece)
{
	uint32_t length = (uint32_t)fs_left(&piece->bytes);
	return piece->before || fs_buffer_append(e, s, piece->bytes.at, length) == length;
}

/* The oldest request that a message of this side may answer. */
static const struct fs_message *oldest_waiting(struct fs_engine *e, const struct fs_connection *c, enum fs_side side)
{
	uint32_t index = c->first_waiting;

	if (side == FS_SIDE_REQUEST && !c->reversed)
		return NULL;
	while (index && part_of(side, fs_waiting_at(e, index)->message.flags) == FS_SIDE_REQUEST)
		index = fs_waiting_at(e, index)->next;
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
		if (!waiting || pairs_by_id(e, c) || !fs_request_passed(e, c, c->stream[k->direction].first_ns))
			return FS_FRAME_INVALID;
	}
}

/* Parses what starts `at` and returns how many bytes of the chunk were used; 0 if the connection's phase changed. */
static uint64_t parse(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k, uint64_t at)
{
	struct fs_stream *s = &c->stream[k->direction];
	enum fs_side side = side_of(c, k->direction);
	struct piece piece = piece_at(e, s, k, at);
	enum fs_framed framed = FS_FRAME_INVALID;

	if (fs_left(&piece.bytes))
		framed = frame_next(e, c, k, side, piece.bytes);
	if (framed == FS_FRAME_MORE && !piece.cut && keep(e, s, &piece))
		return k->bytes - at;
	bool has_length = framed == FS_FRAME_END ? e->message.length >= piece.before : e->message.length > piece.before;
	if (framed < FS_FRAME_MESSAGE || !has_length || (s->phase == FS_PHASE_HEAD) != (framed == FS_FRAME_MESSAGE)) {
		give_up(e, c, k, &piece);
		return 0;
	}
	/* A head that was cut lasts until the other side speaks, but then it hides the responses to later requests. */
	bool hides = e->message.body == FS_BODY_UNTIL_FLIP || e->message.flags & FS_MESSAGE_SWITCH;
	if (side == FS_SIDE_RESPONSE && e->message.flags & FS_MESSAGE_CUT && hides && c->waiting > 1) {
		give_up(e, c, k, &piece);
		return 0;
	}
	uint64_t length = e->message.length - piece.before, here = k->bytes - at;
	uint64_t used = length < here ? length : here;
	uint8_t then = framed == FS_FRAME_MESSAGE ? e->message.body
		       : framed == FS_FRAME_PART  ? FS_BODY_PARTS
						  : FS_BODY_DONE;
	s->remaining = length - used;
	s->then = then;
	if (framed != FS_FRAME_MESSAGE) {
		tell_more(e, c, k->direction);
	} else if (!start_message(e, c, k, piece.bytes)) {
		fs_lost(e, c, k->direction);
		return 0;
	}
	s->message_bytes += piece.before + used;
	fs_unbuffer(e, s);
	boundary(e, c, k->direction);
	return used;
}

/* What was said before a protocol showed: a greeting, or the rest of a message that had begun before anybody looked. */
static void settle_before(struct fs_engine *e, struct fs_connection *c, bool is_complete)
{
	if (is_complete)
		fs_opaque_settle(e, c);
	if (!is_complete || c->flags & FS_C_MIDSTREAM)
		fs_opaque_drop(e, c);
	else
		fs_opaque_flush(e, c);
}

/* First bytes of a message on a connection whose protocol is not known. True if it is now, or may be with more bytes. */
static bool recognise(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k)
{
	struct fs_stream *s = &c->stream[k->direction];
	struct piece piece = piece_at(e, s, k, 0);
	enum fs_detected how = FS_NOT_MINE;
	const struct fs_protocol *p = NULL;

	if (fs_left(&piece.bytes))
		p = fs_detect_any(e, c, k->direction, piece.bytes, false, &how);
	if (p) {
		uint8_t requester = how == FS_MINE_REQUEST ? k->direction : !k->direction;
		if (piece.before) /* parse() appends this chunk itself */
			s->buffered = (uint16_t)piece.before;
		settle_before(e, c, how != FS_MINE_RESPONSE || fs_is_opaque(p->id));
		fs_protocol_set(e, c, p->id);
		if (fs_is_opaque(p->id)) {
			if (c->requester == FS_DIRECTION_UNKNOWN)
				fs_role_spoke(e, c, requester);
			if (piece.before)
				fs_opaque_bytes(e, c, k->direction, piece.before, s->first_ns, s->last_ns);
			fs_unbuffer(e, s);
			return true;
		}
		fs_role_spoke(e, c, requester);
		if (how == FS_MINE_RESPONSE && !p->pairs_by_id) {
			e->table->stats.orphan_responses++;
			fs_lost(e, c, k->direction);
		}
		return true;
	}
	if (how == FS_TOO_SHORT && !piece.cut && keep(e, s, &piece)) {
		s->last_ns = k->end_ns;
		return true;
	}
	if (++c->tries >= FS_DETECT_TRIES)
		fs_protocol_set(e, c, FS_PROTOCOL_NOSUPPORT);
	fs_opaque_bytes(e, c, k->direction, piece.before + k->bytes, s->first_ns, k->end_ns);
	fs_opaque_text(e, c, k->direction, piece.bytes);
	fs_unbuffer(e, s);
	s->phase = FS_PHASE_OPAQUE;
	return false;
}

/* A message that ended before anybody could tell what it is. */
void fs_give_up_short(struct fs_engine *e, struct fs_connection *c, uint8_t direction)
{
	struct fs_stream *s = &c->stream[direction];
	uint64_t bytes = s->buffered;

	if (!bytes || c->protocol != FS_UNDECIDED)
		return;
	fs_unbuffer(e, s);
	s->phase = FS_PHASE_OPAQUE;
	if (++c->tries >= FS_DETECT_TRIES)
		fs_protocol_set(e, c, FS_PROTOCOL_NOSUPPORT);
	fs_opaque_bytes(e, c, direction, bytes, s->first_ns, s->last_ns);
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

/*
 * A pipelining client may have asked for more than was answered, and then every response would be taken for that of a
 * later request. Where a silence came before, it has not. One that always waited for all of its answers before it asked
 * again will have done so here too; then what it asks now gets as many answers before it speaks once more, and until
 * that was seen nothing is counted (asks_again). One that asks while it waits gives no such proof.
 */
static void resynchronise_in_order(struct fs_engine *e, struct fs_connection *c, const struct fs_protocol *p,
				   const struct fs_chunk *k, struct fs_cursor bytes)
{
	bool may_wait = c->flags & FS_C_PIPELINED &&
			fs_since(k->start_ns, c->stream[!k->direction].last_ns) < FS_PIPELINE_QUIET_NS;
	bool is_steady = !(c->flags & FS_C_OVERLAPS) && c->drained >= FS_DRAINED_OFTEN;

	if (k->direction != c->requester || (may_wait && !is_steady) ||
	    fs_detect(e, p, bytes, false) != FS_MINE_REQUEST)
		return;
	if (may_wait)
		c->flags |= FS_C_TRIAL;
	for (int direction = FS_IN; direction <= FS_OUT; direction++)
		c->stream[direction].phase = FS_PHASE_HEAD;
}

/*
 * Each direction on its own. The responses of some protocols are nothing but a number and a length: those are taken up
 * where the client asks after the server spoke, and lost again if no response starts there.
 */
static void resynchronise_by_id(struct fs_engine *e, struct fs_connection *c, const struct fs_protocol *p,
				const struct fs_chunk *k, struct fs_cursor bytes, bool flipped)
{
	struct fs_stream *s = &c->stream[k->direction], *other = &c->stream[!k->direction];
	bool at_boundary = s->phase == FS_PHASE_LOST || (s->phase == FS_PHASE_HEAD && !s->buffered);
	enum fs_detected how = at_boundary ? fs_detect(e, p, bytes, false) : FS_NOT_MINE;

	if (how != FS_MINE_REQUEST && how != FS_MINE_RESPONSE)
		return;
	s->phase = FS_PHASE_HEAD;
	if (other->phase == FS_PHASE_LOST && flipped && how == FS_MINE_REQUEST && k->direction == c->requester)
		other->phase = FS_PHASE_HEAD;
	fs_requests_discard(e, c);
}

/* The requesting side begins a message after the other one spoke. */
static void asks_again(struct fs_engine *e, struct fs_connection *c, uint8_t direction)
{
	if (c->waiting == c->reversed) {
		c->flags &= ~(uint32_t)FS_C_TRIAL;
		if (c->drained < UINT8_MAX)
			c->drained = (uint8_t)(c->drained + 1);
		return;
	}
	if (c->flags & FS_C_TRIAL)
		fs_lost(e, c, direction);
	c->flags |= FS_C_OVERLAPS;
}

/* A direction is lost, or the other one is and messages are paired by id: what comes may be the start of a message. */
static void resynchronise(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k, bool flipped)
{
	const struct fs_protocol *p = fs_protocol_of(e, c->protocol);
	struct fs_cursor bytes = fs_cursor_over(k->payload, k->captured, k->captured < k->bytes);
	uint8_t before = (uint8_t)(c->stream[FS_IN].phase ^ c->stream[FS_OUT].phase << 4);

	if (!p || !k->captured)
		return;
	if (p->pairs_by_id)
		resynchronise_by_id(e, c, p, k, bytes, flipped);
	else if (flipped)
		resynchronise_in_order(e, c, p, k, bytes);
	if (before == (c->stream[FS_IN].phase ^ c->stream[FS_OUT].phase << 4))
		return;
	e->table->stats.resyncs++;
	if (++c->failures > FS_FAILURES_IN_A_ROW)
		fs_protocol_doubt(e, c);
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
			return recognise(e, c, k) && (c->protocol != FS_UNDECIDED) ? 0 : here;
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

	if (!(c->flags & (FS_C_PAYLOAD | FS_C_NO_PAYLOAD)))
		see_payload(e, c, k);
	if (flipped)
		flip(e, c, k->direction);
	if (s->phase == FS_PHASE_LOST || c->stream[!k->direction].phase == FS_PHASE_LOST)
		resynchronise(e, c, k, flipped);
	else if (flipped && k->direction == c->requester && s->phase == FS_PHASE_HEAD && !s->buffered)
		asks_again(e, c, k->direction);
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
