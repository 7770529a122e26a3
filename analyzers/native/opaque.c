/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conversations that are not decoded: encrypted, unknown, datagrams. An exchange is one message of the requesting side
 * and one of the other; it is over when the requesting side speaks again, after a silence, or with the connection.
 * Bytes are taken from the offsets, so those that had no event of their own are counted too.
 */
#include "state.h"

/* What was kept of the exchange in progress. */
void fs_opaque_forget(struct fs_engine *e, struct fs_connection *c)
{
	if (c->text)
		fs_pool_give(&e->exchange_texts, c->text);
	c->text = 0;
}

/* Keeps the first bytes that a side says in an exchange, if a plugin is to look at them. */
void fs_opaque_text(struct fs_engine *e, struct fs_connection *c, uint8_t direction, struct fs_cursor bytes)
{
	bool is_undecoded = c->protocol == FS_PROTOCOL_NOSUPPORT || c->protocol == FS_UNDECIDED;
	uint32_t limit = e->config.undecoded_bytes, side = fs_side_of(c, direction);
	uint32_t length = fs_left(&bytes) < limit ? (uint32_t)fs_left(&bytes) : limit;

	if (!length || !is_undecoded || !(c->flags & FS_C_EXCHANGE))
		return;
	if (!c->text) {
		c->text = fs_pool_take(&e->exchange_texts);
		if (!c->text)
			return;
		struct fs_exchange_text *fresh = fs_pool_at(&e->exchange_texts, c->text);
		fresh->length[FS_SIDE_REQUEST] = fresh->length[FS_SIDE_RESPONSE] = 0;
	}
	struct fs_exchange_text *kept = fs_pool_at(&e->exchange_texts, c->text);
	if (kept->length[side])
		return;
	memcpy(kept->text[side], bytes.at, length);
	kept->length[side] = (uint16_t)length;
}

void fs_opaque_drop(struct fs_engine *e, struct fs_connection *c)
{
	if (c->flags & FS_C_EXCHANGE)
		e->table->stats.discarded_exchanges++;
	fs_opaque_forget(e, c);
	c->flags &= ~(uint32_t)(FS_C_EXCHANGE | FS_C_ANSWERED | FS_C_EXCHANGE_FAILED);
	c->exchange_bytes[FS_SIDE_REQUEST] = c->exchange_bytes[FS_SIDE_RESPONSE] = 0;
	fs_string_release(e, c->answer_content);
	c->answer_content = 0;
	c->answer_status = 0;
}

static void count(struct fs_engine *e, struct fs_connection *c, uint64_t end_ns, uint32_t flags)
{
	const uint64_t *first_ns = c->exchange_first_ns, *last_ns = c->exchange_last_ns;
	struct fs_counted counted = {
		.request_content = c->content,
		.response_content = c->answer_content,
		.flags = flags | (c->flags & FS_C_EXCHANGE_FAILED ? FS_ROW_ERROR : 0),
		.status = c->answer_status,
		.start_ns = first_ns[FS_SIDE_REQUEST],
		.end_ns = end_ns,
		.request_ns = fs_since(last_ns[FS_SIDE_REQUEST], first_ns[FS_SIDE_REQUEST]),
		.processing_ns = fs_since(first_ns[FS_SIDE_RESPONSE], last_ns[FS_SIDE_REQUEST]),
		.response_ns = fs_since(end_ns, fs_max(first_ns[FS_SIDE_RESPONSE], last_ns[FS_SIDE_REQUEST])),
		.request_bytes = c->exchange_bytes[FS_SIDE_REQUEST],
		.response_bytes = c->exchange_bytes[FS_SIDE_RESPONSE],
	};
	c->flags &= ~(uint32_t)(FS_C_EXCHANGE | FS_C_ANSWERED | FS_C_EXCHANGE_FAILED);
	c->exchange_bytes[FS_SIDE_REQUEST] = c->exchange_bytes[FS_SIDE_RESPONSE] = 0;
	if (fs_may_count(e, c) && fs_row_count(e, c, &counted)) {
		e->table->stats.exchanges++;
		if (flags & FS_ROW_NO_RESPONSE)
			e->table->stats.no_response++;
	}
	fs_opaque_forget(e, c);
	fs_string_release(e, c->answer_content);
	c->answer_content = 0;
	c->answer_status = 0;
}

/* The exchange in progress has its response; what follows belongs to the next one. */
void fs_opaque_settle(struct fs_engine *e, struct fs_connection *c)
{
	if (!(c->flags & FS_C_ANSWERED))
		return;
	count(e, c, fs_max(c->exchange_last_ns[FS_SIDE_RESPONSE], c->exchange_last_ns[FS_SIDE_REQUEST]), 0);
	if (c->protocol == FS_PROTOCOL_TLS && c->kind == FS_KIND_STREAM && c->mode == FS_MODE_STREAM)
		fs_mode_set(e, c, FS_MODE_LENGTHS, 0);
}

/* Bytes of which no exchange has ended yet: long transfers show while they last. */
void fs_opaque_flush(struct fs_engine *e, struct fs_connection *c)
{
	uint64_t *bytes = c->exchange_bytes;

	if ((bytes[FS_SIDE_REQUEST] || bytes[FS_SIDE_RESPONSE]) && fs_may_count(e, c)) {
		fs_row_exists(e, c);
		fs_row_bytes(e, c, bytes[FS_SIDE_REQUEST], bytes[FS_SIDE_RESPONSE]);
	}
	bytes[FS_SIDE_REQUEST] = bytes[FS_SIDE_RESPONSE] = 0;
}

/*
 * A peer that always answered and then does not, on a connection that stays open. Protocols in which only one side
 * speaks (logs, metrics) and the last words of an encrypted connection are no failures.
 */
void fs_opaque_unanswered(struct fs_engine *e, struct fs_connection *c, uint64_t now_ns)
{
	const uint32_t state = FS_C_EXCHANGE | FS_C_ANSWERED | FS_C_EVER_ANSWERED;

	if (c->protocol != FS_PROTOCOL_NOSUPPORT || c->kind != FS_KIND_STREAM ||
	    (c->flags & state) != (FS_C_EXCHANGE | FS_C_EVER_ANSWERED) ||
	    fs_since(now_ns, c->exchange_last_ns[FS_SIDE_REQUEST]) <= e->config.no_response_ns)
		return;
	if (fs_may_be_lost(e, c->exchange_first_ns[FS_SIDE_REQUEST])) {
		fs_opaque_drop(e, c);
		return;
	}
	c->exchange_first_ns[FS_SIDE_RESPONSE] = now_ns;
	count(e, c, now_ns, FS_ROW_NO_RESPONSE | FS_ROW_ERROR);
}

void fs_opaque_bytes(struct fs_engine *e, struct fs_connection *c, uint8_t direction, uint64_t bytes, uint64_t first_ns,
		     uint64_t last_ns)
{
	if (c->requester == FS_DIRECTION_UNKNOWN)
		c->requester = direction;
	enum fs_side side = fs_side_of(c, direction);

	c->flags |= FS_C_SEEN_BYTES;
	if (side == FS_SIDE_REQUEST) {
		fs_opaque_settle(e, c);
		if (!(c->flags & FS_C_EXCHANGE)) {
			c->flags |= FS_C_EXCHANGE;
			c->exchange_first_ns[side] = first_ns;
			c->exchange_last_ns[side] = last_ns;
		}
	} else if ((c->flags & (FS_C_EXCHANGE | FS_C_ANSWERED)) == FS_C_EXCHANGE) {
		c->flags |= FS_C_ANSWERED | FS_C_EVER_ANSWERED;
		c->exchange_first_ns[side] = first_ns;
		c->exchange_last_ns[side] = last_ns;
	}
	c->exchange_bytes[side] += bytes;
	c->exchange_last_ns[side] = fs_max(c->exchange_last_ns[side], last_ns);
	c->stream[direction].last_ns = fs_max(c->stream[direction].last_ns, last_ns);
	c->run = direction != c->last_direction ? 0 : c->run < UINT8_MAX ? (uint8_t)(c->run + 1) : c->run;
	c->last_direction = direction;
	if (c->run >= FS_RUN_BEFORE_FLIPS && c->protocol == FS_UNDECIDED && !(c->flags & FS_C_MIDSTREAM))
		fs_protocol_set(e, c, FS_PROTOCOL_NOSUPPORT);
	if (c->run >= FS_RUN_BEFORE_FLIPS && (c->mode == FS_MODE_LENGTHS || c->protocol == FS_PROTOCOL_TLS) &&
	    c->kind == FS_KIND_STREAM && fs_is_opaque(c->protocol))
		fs_mode_set(e, c, FS_MODE_FLIPS, 0);
}

/* What the response, or an alert in its place, says of the exchange in progress. */
static void answer_told(struct fs_engine *e, struct fs_connection *c)
{
	fs_string_release(e, c->answer_content);
	c->answer_content = fs_string_hold(e, &e->outcome.response_content, 0);
	c->answer_status = e->outcome.status;
	c->flags |= e->outcome.error ? FS_C_EXCHANGE_FAILED : 0;
}

/*
 * A client that does not trust what it was shown says so before it has sealed anything: its handshake failed. True if
 * this is but the header of such a record, which servers read by a call of its own.
 */
static bool see_refusal(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k)
{
	const uint32_t shaken = FS_C_HANDSHAKE_OVER | FS_C_EXCHANGE | FS_C_ANSWERED;
	struct fs_cursor bytes = fs_cursor_over(k->payload, k->captured, k->captured < k->bytes);

	if (c->protocol != FS_PROTOCOL_TLS || (c->flags & shaken) != shaken || !c->answer_content || !k->captured ||
	    k->direction != c->requester)
		return false;
	enum fs_framed framed = fs_frame(e, c, k->direction, FS_SIDE_REQUEST, bytes, NULL, false);
	if (framed != FS_FRAME_MESSAGE)
		return framed == FS_FRAME_MORE && c->scratch[k->direction][0]; /* as tls.c remembers it */
	fs_stitch(e, c->protocol, &e->message, NULL);
	if (e->outcome.error) {
		e->outcome.status = e->message.status;
		answer_told(e, c);
	}
	return false;
}

/* The first message of each side of an encrypted connection is readable: whom it was for, and whether it was refused. */
void fs_opaque_handshake(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k)
{
	struct fs_cursor bytes = fs_cursor_over(k->payload, k->captured, k->captured < k->bytes);
	enum fs_side side = fs_side_of(c, k->direction);

	if (c->protocol != FS_PROTOCOL_TLS || c->flags & FS_C_HANDSHAKE_OVER || !k->captured)
		return;
	if (side == FS_SIDE_REQUEST && !(c->flags & FS_C_HANDSHAKE)) {
		if (fs_frame(e, c, k->direction, side, bytes, NULL, false) == FS_FRAME_MESSAGE &&
		    fs_request_begin(e, c, k->start_ns, k->pid))
			c->flags |= FS_C_HANDSHAKE;
		else
			c->flags |= FS_C_HANDSHAKE_OVER;
	} else if (side == FS_SIDE_RESPONSE && c->flags & FS_C_HANDSHAKE) {
		const struct fs_message *hello = &fs_waiting_at(e, c->first_waiting)->message;
		enum fs_framed framed = fs_frame(e, c, k->direction, side, bytes, hello, false);

		fs_stitch(e, c->protocol, hello, framed == FS_FRAME_MESSAGE ? &e->message : NULL);
		fs_string_release(e, c->content);
		c->content = fs_string_hold_content(e, c, c->protocol, &e->outcome.request_content, 0);
		/* A record read in two calls, its header first: the parser remembers it. */
		if (framed == FS_FRAME_MORE && k->captured == k->bytes)
			return;
		if (framed == FS_FRAME_MESSAGE)
			answer_told(e, c);
		c->flags |= FS_C_HANDSHAKE_OVER;
		fs_requests_discard(e, c);
	}
}

static uint64_t advance(struct fs_stream *s, uint64_t to)
{
	uint64_t fresh = to > s->next && s->known ? to - s->next : 0;
	s->next = s->known ? fs_max(s->next, to) : to;
	s->known = 1;
	return fresh;
}

static void see_fresh(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k, uint64_t fresh)
{
	if (see_refusal(e, c, k)) {
		c->exchange_bytes[FS_SIDE_REQUEST] += fresh;
		return;
	}
	fs_opaque_handshake(e, c, k);
	fs_opaque_bytes(e, c, k->direction, fresh, k->start_ns, k->end_ns);
	if (fresh == k->bytes)
		fs_opaque_text(e, c, k->direction, fs_cursor_over(k->payload, k->captured, true));
}

void fs_opaque_chunk(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k)
{
	uint8_t other_direction = (uint8_t)!k->direction;
	struct fs_stream *s = &c->stream[k->direction], *other = &c->stream[other_direction];

	if (k->has_peer_seq) {
		uint64_t fresh =
			advance(other, other->known ? fs_extend(other, k->peer_seq) : (1ull << 32) + k->peer_seq);
		/* Either more of what the other side was saying, or all of a message whose event comes late. */
		uint64_t when = c->last_direction == other_direction ? other->last_ns : k->start_ns;
		if (fresh)
			fs_opaque_bytes(e, c, other_direction, fresh, when, when);
	}
	if (!s->known)
		(void)advance(s, (1ull << 32) + k->seq);
	uint64_t fresh = advance(s, fs_extend(s, k->seq) + k->bytes);
	if (fresh)
		see_fresh(e, c, k, fresh);
	/* What comes late may still tell how the conversation ends. */
	fs_closing_chunk(e, c, k, 0, fresh == k->bytes);
}
