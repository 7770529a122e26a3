/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two protocols in which a test spells out what a parser would say, so that the engine is tested without one:
 *
 *   kind, id (4 hexadecimal digits), flags (3), status (2), protocol (1), body (1), length of the text (4), the text
 *
 * `?` asks and `!` answers by id, `~` greets; `<` asks and `>` answers in order, where `+` and `.` are a part of the body
 * and its end. `=` asks in both: it is of the one that is asked first. In the text of a message by id `#` stands for how
 * many messages the connection's state has seen, and `@` for the oldest request that the message may answer.
 */
#include "../analyzers/native/protocol.h"

#define HEAD 16
#define LABEL 32 /* of a text that must be there before it is read */

struct toy_state {
	uint32_t messages;
	uint8_t rest[FS_STATE_BYTES - 4]; /* the largest block, of which there are the fewest */
};

static bool number(struct fs_cursor *c, uint32_t digits, uint32_t *out)
{
	*out = 0;
	for (uint8_t byte; digits; digits--) {
		if (!fs_u8(c, &byte) || fs_hex_digit(byte) < 0)
			return false;
		*out = *out << 4 | (uint32_t)fs_hex_digit(byte);
	}
	return true;
}

static bool is_one_of(int byte, const char *kinds)
{
	for (; *kinds; kinds++)
		if (*kinds == byte)
			return true;
	return false;
}

static enum fs_framed frame(struct fs_frame_input *in, struct fs_message *out, const char *kinds)
{
	struct fs_cursor c = in->bytes;
	uint32_t id, flags, status, protocol, body, length;
	uint8_t kind;

	if (!is_one_of(fs_peek(&c, 0), kinds))
		return FS_FRAME_INVALID;
	if (!fs_u8(&c, &kind) || !number(&c, 4, &id) || !number(&c, 3, &flags) || !number(&c, 2, &status) ||
	    !number(&c, 1, &protocol) || !number(&c, 1, &body) || !number(&c, 4, &length))
		return fs_left(&in->bytes) < HEAD ? FS_FRAME_MORE : FS_FRAME_INVALID;
	if (fs_left(&c) < (length < LABEL ? length : LABEL) && !c.truncated)
		return FS_FRAME_MORE;
	struct toy_state *state = in->state;
	if (state)
		state->messages++;
	out->length = HEAD + length;
	out->id = id;
	out->flags = flags;
	out->status = (uint16_t)status;
	out->protocol = (uint8_t)protocol;
	out->body = (uint8_t)body;
	for (uint8_t byte; length && fs_u8(&c, &byte) && byte != ';'; length--) {
		if (byte == '#' && state)
			fs_label_decimal(&out->content, state->messages);
		else if (byte == '@' && in->waiting)
			fs_label_text(&out->content, fs_label_read(&in->waiting->content));
		else
			fs_label_byte(&out->content, (char)byte);
	}
	return kind == '+' ? FS_FRAME_PART : kind == '.' ? FS_FRAME_END : FS_FRAME_MESSAGE;
}

static enum fs_detected detect_by_id(struct fs_cursor bytes, bool datagram)
{
	(void)datagram;
	switch (fs_peek(&bytes, 0)) {
	case '?':
	case '=': return FS_MINE_REQUEST;
	case '!': return FS_MINE_RESPONSE;
	case '~': return FS_MINE_GREETING;
	default: return FS_NOT_MINE;
	}
}

static enum fs_detected detect_in_order(struct fs_cursor bytes, bool datagram)
{
	(void)datagram;
	switch (fs_peek(&bytes, 0)) {
	case '<':
	case '=': return FS_MINE_REQUEST;
	case '>': return FS_MINE_RESPONSE;
	default: return FS_NOT_MINE;
	}
}

static enum fs_framed frame_by_id(struct fs_frame_input *in, struct fs_message *out)
{
	return frame(in, out, "?!~=");
}

static enum fs_framed frame_in_order(struct fs_frame_input *in, struct fs_message *out)
{
	return frame(in, out, "<>+.=");
}

static void stitch(const struct fs_message *request, const struct fs_message *response,
		   const struct fs_parser_options *options, struct fs_outcome *out)
{
	(void)options;
	out->request_content = request->content;
	if (!response)
		return;
	out->status = response->status;
	out->error = response->status >= 0x80;
	out->response_content = response->content;
}

static const struct fs_protocol by_id = {
	.id = FS_PROTOCOL_HTTP2,
	.pairs_by_id = 1,
	.streams = 1,
	.state_bytes = sizeof(struct toy_state),
	.detect = detect_by_id,
	.frame = frame_by_id,
	.stitch = stitch,
};

static const struct fs_protocol in_order = {
	.id = FS_PROTOCOL_REDIS,
	.streams = 1,
	.detect = detect_in_order,
	.frame = frame_in_order,
	.stitch = stitch,
};

const struct fs_protocol *const fs_protocols[] = {&by_id, &in_order, NULL};

const struct fs_protocol *fs_protocol_by_id(uint8_t id)
{
	return id == by_id.id ? &by_id : id == in_order.id ? &in_order : NULL;
}

const char *fs_protocol_name(uint8_t id)
{
	switch (id) {
#define TOY_NAME(number, symbol, name) \
	case number: return name;
		FS_PROTOCOLS(TOY_NAME)
#undef TOY_NAME
	default: return "NOSUPPORT";
	}
}
