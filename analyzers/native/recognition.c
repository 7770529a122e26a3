/* SPDX-License-Identifier: Apache-2.0 */
/* Where messages begin, while that is not known: which protocol it is, and, after a loss, from where it is followed again. */
#include "state.h"

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

/* From here on the connection is a tunnel to somewhere else: what is said there is as little known as on a new one. */
void fs_recognise_anew(struct fs_engine *e, struct fs_connection *c)
{
	fs_requests_discard(e, c); /* what was said after the CONNECT and before its answer */
	c->flags |= FS_C_TUNNEL;
	c->flags &= ~(uint32_t)(FS_C_PIPELINED | FS_C_OVERLAPS);
	c->tries = c->clean = c->drained = c->run = 0;
	fs_protocol_set(e, c, FS_UNDECIDED);
	fs_mode_set(e, c, FS_MODE_STREAM, e->config.parse_bytes);
}

/*
 * First bytes of a message, `at` their place in the chunk, on a connection whose protocol is not known. True if it is
 * now, or may be with more bytes.
 */
bool fs_recognise(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k, uint64_t at)
{
	struct fs_stream *s = &c->stream[k->direction];
	struct fs_piece piece = fs_piece_at(e, s, k, at);
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
	if (how == FS_TOO_SHORT && !piece.cut && fs_piece_keep(e, s, &piece)) {
		s->last_ns = k->end_ns;
		return true;
	}
	if (++c->tries >= FS_DETECT_TRIES)
		fs_protocol_set(e, c, FS_PROTOCOL_NOSUPPORT);
	fs_opaque_bytes(e, c, k->direction, piece.before + k->bytes - at, s->first_ns, k->end_ns);
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
void fs_asks_again(struct fs_engine *e, struct fs_connection *c, uint8_t direction)
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
void fs_resynchronise(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k, bool flipped)
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
