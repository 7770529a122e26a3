/* SPDX-License-Identifier: Apache-2.0 */
/* What memcached says in the text protocol: a line, a value behind a line, or a list of these that ends with END. */
#include "memcached_text.h"

#define VALUE_MAX (1u << 30)
#define END_LENGTH 5 /* "END\r\n" */
/* Of a line while quiet requests wait: a key of 250 bytes and some flags. It is read once for each that it does not answer. */
#define QUIET_LINE_MAX 512

enum kind { NOT_ONE, ANSWER, FAILURE, VALUES, LINES, NUMBER, END_OF_LIST };

static const struct reply {
	const char *word;
	uint8_t kind;
	uint8_t status;
} replies[] = {
	{"VALUE", VALUES, FS_MEMCACHED_OK},
	{"END", END_OF_LIST, FS_MEMCACHED_NOT_FOUND},
	{"STORED", ANSWER, FS_MEMCACHED_OK},
	{"HD", ANSWER, FS_MEMCACHED_OK},
	{"VA", ANSWER, FS_MEMCACHED_OK},
	{"EN", ANSWER, FS_MEMCACHED_NOT_FOUND},
	{"NF", ANSWER, FS_MEMCACHED_NOT_FOUND},
	{"NS", ANSWER, FS_MEMCACHED_NOT_STORED},
	{"EX", ANSWER, FS_MEMCACHED_EXISTS},
	{"MN", ANSWER, FS_MEMCACHED_OK},
	{"ME", ANSWER, FS_MEMCACHED_OK},
	{"NOT_FOUND", ANSWER, FS_MEMCACHED_NOT_FOUND},
	{"NOT_STORED", ANSWER, FS_MEMCACHED_NOT_STORED},
	{"EXISTS", ANSWER, FS_MEMCACHED_EXISTS},
	{"DELETED", ANSWER, FS_MEMCACHED_OK},
	{"TOUCHED", ANSWER, FS_MEMCACHED_OK},
	{"OK", ANSWER, FS_MEMCACHED_OK},
	{"RESET", ANSWER, FS_MEMCACHED_OK},
	{"VERSION", ANSWER, FS_MEMCACHED_OK},
	{"STAT", LINES, FS_MEMCACHED_OK},
	{"ITEM", LINES, FS_MEMCACHED_OK},
	{"PREFIX", LINES, FS_MEMCACHED_OK},
	{"ERROR", FAILURE, FS_MEMCACHED_UNKNOWN_COMMAND},
	{"ERROR:", FAILURE, FS_MEMCACHED_UNKNOWN_COMMAND},
	{"CLIENT_ERROR", FAILURE, FS_MEMCACHED_INVALID},
	{"SERVER_ERROR", FAILURE, FS_MEMCACHED_INTERNAL_ERROR},
	{"BUSY", FAILURE, FS_MEMCACHED_INTERNAL_ERROR},
	{"BADCLASS", FAILURE, FS_MEMCACHED_INVALID},
	{"NOSPARE", FAILURE, FS_MEMCACHED_INTERNAL_ERROR},
	{"NOTFULL", FAILURE, FS_MEMCACHED_INTERNAL_ERROR},
	{"UNSAFE", FAILURE, FS_MEMCACHED_INTERNAL_ERROR},
	{"SAME", FAILURE, FS_MEMCACHED_INVALID},
};

/* What the crawler lists: "key=... exp=...", or "mg ..." where that was asked for, which "EN" ends. */
static bool is_dumped(struct fs_text word)
{
	struct fs_cursor bytes = fs_inside(word);
	return fs_accept(&bytes, "key=") || fs_text_is(word, "mg");
}

static struct reply reply_of(const struct fs_memcached_line *line)
{
	uint64_t number;
	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++)
		if (fs_text_is(line->word[0], replies[i].word))
			return replies[i];
	if (line->words == 1 && fs_decimal(line->word[0], &number))
		return (struct reply){"", NUMBER, FS_MEMCACHED_OK};
	return (struct reply){"", is_dumped(line->word[0]) ? LINES : NOT_ONE, FS_MEMCACHED_OK};
}

/* The length of the value behind a line, with its end; 0 if there is none. False if that cannot be. */
static bool value_behind(const struct fs_memcached_line *line, uint64_t *length)
{
	bool is_meta = fs_text_is(line->word[0], "VA");
	*length = 0;
	if (!is_meta && !fs_text_is(line->word[0], "VALUE"))
		return true;
	if (line->words < (is_meta ? 2u : 4u) || !fs_decimal(line->word[is_meta ? 1 : 3], length) ||
	    *length > VALUE_MAX)
		return false;
	*length += 2;
	return true;
}

enum walked { GOES_ON, IS_OVER, NONE };

/*
 * As many members of a list as begin here, and its end; `passed` may be more than is here. Behind as many `values` as there
 * are `keys` nothing but the end can follow: long values hide it. An error is left where it is.
 */
static enum walked walk(struct fs_cursor bytes, uint32_t keys, uint32_t *values, uint64_t *passed)
{
	struct fs_memcached_line line;
	for (*passed = 0; fs_left(&bytes);) {
		size_t before = fs_left(&bytes);
		uint64_t value;
		if (!fs_memcached_take_line(&bytes, &line))
			return before > FS_MEMCACHED_LINE_MAX ? NONE : GOES_ON;
		if (before - fs_left(&bytes) > FS_MEMCACHED_LINE_MAX + 1)
			return NONE;
		struct reply reply = reply_of(&line);
		bool is_end = reply.kind == END_OF_LIST || fs_text_is(line.word[0], "EN");
		if (reply.kind == FAILURE)
			return GOES_ON;
		if ((!is_end && reply.kind != VALUES && reply.kind != LINES) || !value_behind(&line, &value))
			return NONE;
		*passed += before - fs_left(&bytes) + value;
		if (reply.kind == VALUES && ++*values == keys) {
			*passed += END_LENGTH;
			return IS_OVER;
		}
		if (is_end)
			return IS_OVER;
		if (!fs_skip(&bytes, value))
			return GOES_ON;
	}
	return GOES_ON;
}

/* How many keys the list is an answer to; 0 if that is not known. */
static uint32_t keys_of(const struct fs_frame_input *in)
{
	return in->waiting && in->waiting->method & FS_MEMCACHED_RETRIEVES ? in->waiting->note : 0;
}

static uint32_t load_values(const uint8_t *scratch)
{
	return (uint32_t)scratch[1] | (uint32_t)scratch[2] << 8 | (uint32_t)scratch[3] << 16 |
	       (uint32_t)scratch[4] << 24;
}

/* Nothing is remembered of what is over. */
static void store_values(uint8_t *scratch, enum walked walked, uint32_t values)
{
	bool goes_on = walked == GOES_ON;
	scratch[0] = goes_on ? FS_MEMCACHED_LIST : FS_MEMCACHED_NO_BODY;
	for (int i = 0; i < 4; i++)
		scratch[1 + i] = (uint8_t)(goes_on ? values >> 8 * i : 0);
}

static void tell_failure(const struct reply *reply, struct fs_message *out)
{
	out->status = reply->status;
	fs_label_literal(&out->content, reply->status == FS_MEMCACHED_UNKNOWN_COMMAND ? "ERROR" : reply->word);
}

static enum fs_framed go_on(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct fs_memcached_line line;
	uint64_t passed;
	uint32_t values = load_values(in->scratch);
	enum walked walked = walk(in->bytes, keys_of(in), &values, &passed);
	if (walked == NONE)
		return FS_FRAME_INVALID;
	if (walked == GOES_ON && passed == 0) {
		/* An error instead of the end, or a line that is not all here. */
		if (!fs_memcached_take_line(&bytes, &line))
			return in->bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
		struct reply reply = reply_of(&line);
		fs_message_begin(out, fs_left(&in->bytes) - fs_left(&bytes));
		out->flags = FS_MESSAGE_TELLS;
		tell_failure(&reply, out);
		store_values(in->scratch, IS_OVER, 0);
		return FS_FRAME_END;
	}
	fs_message_begin(out, passed);
	store_values(in->scratch, walked, values);
	return walked == IS_OVER ? FS_FRAME_END : FS_FRAME_PART;
}

/* What a quiet meta command still says: a value that it found, or why it did nothing. */
static bool may_say(uint16_t method, struct fs_text word)
{
	if (fs_text_is(word, "VA"))
		return method & (FS_MEMCACHED_RETRIEVES | FS_MEMCACHED_COUNTS);
	if (fs_text_is(word, "HD"))
		return method & FS_MEMCACHED_RETRIEVES;
	return !(method & FS_MEMCACHED_RETRIEVES) &&
	       (fs_text_is(word, "NS") || fs_text_is(word, "EX") || fs_text_is(word, "NF"));
}

static bool belongs(const struct fs_message *waiting, const struct fs_memcached_line *line, struct reply reply)
{
	if (reply.kind == FAILURE)
		return true;
	if (!may_say(waiting->method, line->word[0]))
		return false;
	struct fs_text no_key = {0};
	uint32_t first = fs_text_is(line->word[0], "VA") ? 2 : 1;
	return !waiting->note || fs_memcached_tag(line->text, first, no_key) == waiting->note;
}

static enum fs_framed frame_list(struct fs_frame_input *in, struct fs_message *out)
{
	uint64_t passed;
	uint32_t values = 0;
	enum walked walked = walk(in->bytes, keys_of(in), &values, &passed);
	if (walked == NONE || passed == 0)
		return FS_FRAME_INVALID;
	fs_message_begin(out, passed);
	store_values(in->scratch, walked, values);
	if (walked == GOES_ON)
		out->body = FS_BODY_PARTS;
	return FS_FRAME_MESSAGE;
}

/* Of a line that is here to its end. */
static bool is_too_long_for_quiet(const struct fs_frame_input *in)
{
	struct fs_cursor bytes = in->bytes;
	struct fs_text line;
	return in->waiting && in->waiting->method & FS_MEMCACHED_QUIET &&
	       fs_take_until(&bytes, '\n', (uint32_t)fs_left(&bytes), &line) && line.length > QUIET_LINE_MAX;
}

enum fs_framed fs_memcached_reply(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct fs_memcached_line line;
	uint64_t value;
	if (in->scratch[0] == FS_MEMCACHED_LIST)
		return go_on(in, out);
	if (is_too_long_for_quiet(in))
		return FS_FRAME_INVALID;
	if (!fs_memcached_take_line(&bytes, &line))
		return in->bytes.truncated || fs_left(&bytes) > FS_MEMCACHED_LINE_MAX ? FS_FRAME_INVALID
										      : FS_FRAME_MORE;
	struct reply reply = reply_of(&line);
	size_t length = fs_left(&in->bytes) - fs_left(&bytes);
	if (length > FS_MEMCACHED_LINE_MAX + 1 || reply.kind == NOT_ONE || (reply.kind == NUMBER && !in->waiting) ||
	    !value_behind(&line, &value) || (in->waiting && in->waiting->method & FS_MEMCACHED_BINARY))
		return FS_FRAME_INVALID;
	if (in->waiting && fs_memcached_passes(in, belongs(in->waiting, &line, reply)))
		return FS_FRAME_PASSED;
	if (reply.kind == VALUES || reply.kind == LINES)
		return frame_list(in, out);
	fs_message_begin(out, length + value);
	out->status = reply.status;
	if (reply.kind == FAILURE)
		tell_failure(&reply, out);
	out->note = reply.kind == END_OF_LIST;
	if (in->waiting && in->waiting->method & FS_MEMCACHED_WATCH && reply.kind == ANSWER) {
		out->flags = FS_MESSAGE_SWITCH;
		out->next_protocol = FS_PROTOCOL_NOSUPPORT;
	}
	return FS_FRAME_MESSAGE;
}
