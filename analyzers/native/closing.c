/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a WebSocket conversation ends. Its turns are counted as those of an undecoded one; the turn with the first Close
 * has its code as response content, and a connection that ends without any has one turn more, with 1006 (RFC 6455,
 * section 7.1.5).
 */
#include "protocols/websocket.h"
#include "state.h"

_Static_assert(sizeof(struct fs_websocket_side) <= FS_SCRATCH, "it is kept where a parser has its scratch");

static struct fs_websocket_side load(const struct fs_connection *c, uint8_t direction)
{
	struct fs_websocket_side side;
	memcpy(&side, c->scratch[direction], sizeof(side));
	return side;
}

static void told(struct fs_engine *e, struct fs_connection *c, uint16_t code)
{
	struct fs_label label = {0};

	fs_label_decimal(&label, code);
	fs_string_release(e, c->answer_content);
	c->answer_content = fs_string_hold(e, &label, 0);
	c->answer_status = code;
	if (fs_websocket_is_abnormal(code))
		c->flags |= FS_C_EXCHANGE_FAILED;
}

/* A turn of its own, of what one side says unasked. */
static void begin(struct fs_connection *c, uint64_t now_ns)
{
	if (c->flags & FS_C_EXCHANGE)
		return;
	c->exchange_first_ns[FS_SIDE_REQUEST] = c->exchange_last_ns[FS_SIDE_REQUEST] = now_ns;
	c->flags |= FS_C_EXCHANGE;
}

static void answered(struct fs_connection *c, uint64_t now_ns)
{
	if (!(c->flags & FS_C_ANSWERED))
		c->exchange_first_ns[FS_SIDE_RESPONSE] = c->exchange_last_ns[FS_SIDE_RESPONSE] = now_ns;
	c->flags |= FS_C_ANSWERED;
}

/* Nobody looks at what follows a Close, and where both sides are lost nothing tells where a frame starts. */
static void spare(struct fs_engine *e, struct fs_connection *c, const struct fs_websocket_side *one,
		  const struct fs_websocket_side *other)
{
	bool is_over = fs_websocket_closed(one) || fs_websocket_closed(other) || (one->lost && other->lost);

	if (is_over && c->mode == FS_MODE_STREAM)
		fs_mode_set(e, c, FS_MODE_LENGTHS, 0);
}

/* Follows the chunk's bytes from `at` on, once they are counted. Those out of order are followed only if they fit. */
void fs_closing_chunk(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *k, uint64_t at,
		      bool in_order)
{
	if (c->protocol != FS_PROTOCOL_WEBSOCKET || c->kind != FS_KIND_STREAM || k->bytes <= at)
		return;
	struct fs_websocket_side side = load(c, k->direction), other = load(c, !k->direction);
	struct fs_cursor bytes = fs_cursor_over(k->payload, k->captured, true);

	spare(e, c, &side, &other);
	if (fs_websocket_closed(&side))
		return;
	side.lost |= !in_order;
	(void)fs_skip(&bytes, at < k->captured ? at : k->captured);
	fs_websocket_follow(&side, bytes, k->bytes - at, k->direction == c->requester);
	memcpy(c->scratch[k->direction], &side, sizeof(side));
	spare(e, c, &side, &other);
	if (!fs_websocket_closed(&side) || fs_websocket_closed(&other))
		return;
	told(e, c, fs_websocket_closed(&side));
	if (k->direction != c->requester) {
		begin(c, k->start_ns);
		answered(c, k->end_ns);
	}
}

/* Bytes passed unseen: where frames start is not known, and a Close may have been among them. */
void fs_closing_missed(struct fs_connection *c)
{
	const struct fs_websocket_side missed = {.lost = 1, .missed = 1};

	if (c->protocol != FS_PROTOCOL_WEBSOCKET || c->kind != FS_KIND_STREAM)
		return;
	for (int direction = FS_IN; direction <= FS_OUT; direction++)
		memcpy(c->scratch[direction], &missed, sizeof(missed));
}

/* The connection is over: a Close that nobody answered counts, and so does that there was none, if that is sure. */
void fs_closing_end(struct fs_engine *e, struct fs_connection *c, uint64_t now_ns)
{
	if (c->protocol != FS_PROTOCOL_WEBSOCKET || c->kind != FS_KIND_STREAM)
		return;
	struct fs_websocket_side in = load(c, FS_IN), out = load(c, FS_OUT);

	if (fs_websocket_closed(&in) || fs_websocket_closed(&out)) {
		if (c->answer_content && c->flags & FS_C_EXCHANGE)
			answered(c, now_ns);
		return;
	}
	if (in.missed || out.missed)
		return;
	fs_opaque_settle(e, c);
	told(e, c, FS_WEBSOCKET_ABNORMAL);
	begin(c, now_ns);
	answered(c, now_ns);
}
