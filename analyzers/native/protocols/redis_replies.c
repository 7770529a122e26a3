/* SPDX-License-Identifier: Apache-2.0 */
/* What a Redis server sends: answers, and what nobody asked for just now. See redis.c. */
#include "redis_body.h"
#include "redis_commands.h"

#define KIND_MAX 16 /* of a message that is pushed: the longest name is punsubscribe */

static bool subscribes(uint16_t kind)
{
	return kind >= FS_REDIS_SUBSCRIBE && kind <= FS_REDIS_SUNSUBSCRIBE;
}

/* The first value of what may be pushed. Messages carry their kind there, and confirmations the command. */
static enum fs_resp read_kind(struct fs_cursor bytes, struct fs_text *kind)
{
	uint64_t passed = 0;
	enum fs_resp answer = fs_resp_string(&bytes, KIND_MAX, kind, &passed);
	if (answer == FS_RESP_INVALID)
		kind->length = 0; /* of another type: nothing that is pushed begins so */
	return answer == FS_RESP_MORE ? FS_RESP_MORE : FS_RESP_DONE;
}

static bool is_message(struct fs_text kind)
{
	return fs_text_is(kind, "message") || fs_text_is(kind, "pmessage") || fs_text_is(kind, "smessage");
}

/* Is it nobody's answer? `type` is '*' in RESP2 and '>' in RESP3. */
static bool is_pushed(struct fs_frame_input *in, int type, struct fs_text kind)
{
	enum fs_redis_kind confirmed = fs_redis_command(kind);
	uint32_t due = fs_redis_load(in->scratch, FS_REDIS_AT_CONFIRMATIONS, 2);
	if (!subscribes((uint16_t)confirmed))
		return type == '>' || is_message(kind);
	if (due) {
		fs_redis_store(in->scratch, FS_REDIS_AT_CONFIRMATIONS, 2, due - 1);
		return true;
	}
	if (!in->waiting || in->waiting->method != confirmed)
		return true; /* UNSUBSCRIBE without arguments, or a channel that moved away */
	uint32_t channels = in->waiting->note < 0xffff ? in->waiting->note : 0xffff;
	fs_redis_store(in->scratch, FS_REDIS_AT_CONFIRMATIONS, 2, channels > 1 ? channels - 1 : 0);
	return false;
}

/* An array that answers an ordinary command needs no closer look, whatever it holds. */
static bool may_be_pushed(const struct fs_frame_input *in, int type)
{
	uint16_t kind = in->waiting ? in->waiting->method : FS_REDIS_UNKNOWN;
	return type == '>' ||
	       (type == '*' && (!in->waiting || fs_redis_load(in->scratch, FS_REDIS_AT_CONFIRMATIONS, 2) ||
				subscribes(kind) || kind == FS_REDIS_WHILE_SUBSCRIBED));
}

/* "+1339518083.107412 [0 127.0.0.1:60866] \"keys\" \"*\"" */
static bool is_monitored(struct fs_text line)
{
	struct fs_cursor bytes = fs_inside(line);
	struct fs_text seconds;
	uint64_t value;
	return fs_skip(&bytes, 1) && fs_take_until(&bytes, '.', 20, &seconds) && fs_decimal(seconds, &value);
}

/* A line that goes on beyond the capture: text at least. */
static bool is_printable(struct fs_cursor bytes)
{
	uint8_t byte;
	while (fs_u8(&bytes, &byte))
		if (byte < 0x20 || byte > 0x7e)
			return false;
	return true;
}

static bool is_string_or_aggregate(int type)
{
	return type == '$' || type == '=' || type == '!' || type == '*' || type == '~' || type == '>' || type == '%';
}

static bool is_one_line(int type)
{
	return type == '+' || type == '-' || type == ':' || type == ',' || type == '(' || type == '#' || type == '_';
}

/* What the type says of the answer as a whole. */
static void answer_of(const struct fs_frame_input *in, int type, struct fs_message *out)
{
	out->status = type == '-' || type == '!';
	if (in->waiting && in->waiting->method == FS_REDIS_REPLICATE && !out->status) {
		out->flags |= FS_MESSAGE_SWITCH;
		out->next_protocol = FS_PROTOCOL_NOSUPPORT;
	}
}

static enum fs_framed frame_line(struct fs_frame_input *in, int type, uint64_t before, struct fs_cursor bytes,
				 struct fs_message *out)
{
	struct fs_text line;
	enum fs_resp answer = fs_resp_line(&bytes, FS_RESP_LINE_MAX, &line);
	if (answer == FS_RESP_INVALID)
		return FS_FRAME_INVALID;
	if (answer == FS_RESP_MORE && !in->bytes.truncated)
		return FS_FRAME_MORE;
	if (answer == FS_RESP_MORE && !is_printable(bytes))
		return FS_FRAME_INVALID;
	if (answer == FS_RESP_MORE) {
		answer_of(in, type, out);
		return fs_redis_cut_off(in, out);
	}
	out->length = before + line.length + 2u;
	if (type == '+' && in->scratch[0] & FS_REDIS_MONITORS && is_monitored(line)) {
		out->flags = FS_MESSAGE_SKIP;
		return FS_FRAME_MESSAGE;
	}
	answer_of(in, type, out);
	if (in->waiting && in->waiting->method == FS_REDIS_MONITOR && !out->status)
		in->scratch[0] |= FS_REDIS_MONITORS;
	return FS_FRAME_MESSAGE;
}

/* Steps over attributes, which come before the value that is the answer. */
static enum fs_resp skip_attributes(struct fs_cursor *bytes, uint64_t *before)
{
	while (fs_peek(bytes, 0) == '|') {
		struct fs_resp_walk walk = {0};
		struct fs_cursor ahead = *bytes;
		struct fs_text line;
		uint64_t passed = 0;
		int64_t pairs;
		enum fs_resp answer = fs_resp_line(&ahead, FS_RESP_NUMBER_MAX, &line);
		if (answer != FS_RESP_DONE)
			return answer;
		if (!fs_resp_count(line, &pairs) || pairs < 0 || pairs > FS_REDIS_ARGUMENTS_MAX)
			return FS_RESP_INVALID;
		walk.due = (uint32_t)pairs * 2;
		answer = fs_resp_walk(ahead, &walk, &passed);
		if (answer != FS_RESP_DONE)
			return answer;
		if (!fs_skip(bytes, line.length + 2u + passed))
			return FS_RESP_MORE;
		*before += line.length + 2u + passed;
	}
	return FS_RESP_DONE;
}

static enum fs_framed frame_values(struct fs_frame_input *in, int type, struct fs_cursor bytes, struct fs_message *out)
{
	struct fs_resp_walk walk = {.due = 1};
	struct fs_cursor ahead = bytes;
	struct fs_text line, kind = {0};
	if (may_be_pushed(in, type)) {
		enum fs_resp answer = fs_resp_line(&ahead, FS_RESP_NUMBER_MAX, &line);
		if (answer == FS_RESP_DONE)
			answer = read_kind(ahead, &kind);
		if (answer == FS_RESP_INVALID)
			return FS_FRAME_INVALID;
		if (answer == FS_RESP_MORE)
			return in->bytes.truncated ? fs_redis_cut_off(in, out) : FS_FRAME_MORE;
		if (fs_redis_begin_body(in, bytes, &walk, out) == FS_FRAME_INVALID)
			return FS_FRAME_INVALID;
		if (is_pushed(in, type, kind))
			out->flags = FS_MESSAGE_SKIP;
		return FS_FRAME_MESSAGE;
	}
	answer_of(in, type, out);
	if (fs_resp_line(&ahead, FS_RESP_NUMBER_MAX, &line) == FS_RESP_MORE)
		return in->bytes.truncated && is_printable(bytes) ? fs_redis_cut_off(in, out) : FS_FRAME_MORE;
	return fs_redis_begin_body(in, bytes, &walk, out);
}

enum fs_framed fs_redis_reply(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	uint64_t before = 0;
	enum fs_resp answer = skip_attributes(&bytes, &before);
	int type = fs_peek(&bytes, 0);
	if (answer == FS_RESP_INVALID)
		return FS_FRAME_INVALID;
	fs_message_begin(out, before);
	if (answer == FS_RESP_MORE || type < 0)
		return in->bytes.truncated && before ? fs_redis_cut_off(in, out) : FS_FRAME_MORE;
	if (type == '\n' && in->waiting && in->waiting->method == FS_REDIS_REPLICATE) {
		out->length = 1; /* a master that prepares its snapshot shows that it is alive */
		out->flags = FS_MESSAGE_SKIP;
		return FS_FRAME_MESSAGE;
	}
	if (is_one_line(type))
		return frame_line(in, type, before, bytes, out);
	return is_string_or_aggregate(type) ? frame_values(in, type, bytes, out) : FS_FRAME_INVALID;
}
