/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Redis, RESP2 and RESP3 (resp.c), inline commands included: redis.io/docs/latest/develop/reference/protocol-spec.
 *
 * request content   the command in upper case, with its subcommand where that says what is done: "GET", "CONFIG SET",
 *                   "FT.SEARCH". Never an argument. `*` where the name was not captured or is no name.
 * response content  "error" for an error reply (status 1), else "noerror". A failed command inside of EXEC's answer is
 *                   none: EXEC did what it was asked.
 *
 * Answers come in order. Besides them come messages of channels, pushes and what MONITOR shows: FS_MESSAGE_SKIP. A
 * subscription is answered once for each channel, of which the first counts. After CLIENT REPLY OFF or SKIP nothing is
 * answered. A replica's connection is given up to its stream (NOSUPPORT) once PSYNC was answered.
 *
 * method: enum fs_redis_kind of a request.  note: its arguments.
 */
#include "protocols.h"
#include "redis_body.h"
#include "redis_commands.h"

struct command {
	struct fs_text words[3]; /* empty: implausibly long */
	uint32_t count; /* of words read */
	uint32_t arguments;
};

static void write_name(struct fs_text word, struct fs_label *out)
{
	struct fs_cursor bytes = fs_inside(word);
	uint8_t byte;
	while (fs_u8(&bytes, &byte))
		fs_label_byte(out, (char)(byte >= 'a' && byte <= 'z' ? byte - 0x20 : byte));
}

/* CLIENT REPLY ON, OFF or SKIP: the last two are not answered themselves. */
static void hear_reply_mode(uint8_t *scratch, struct fs_text mode, struct fs_message *out)
{
	if (fs_text_is_nocase(mode, "off"))
		scratch[0] |= FS_REDIS_REPLY_OFF;
	else if (fs_text_is_nocase(mode, "skip"))
		scratch[0] |= FS_REDIS_REPLY_SKIP;
	else if (fs_text_is_nocase(mode, "on"))
		scratch[0] &= (uint8_t)~FS_REDIS_REPLY_OFF;
	out->flags &= ~(uint32_t)FS_MESSAGE_NO_ANSWER;
	if (scratch[0] & (FS_REDIS_REPLY_OFF | FS_REDIS_REPLY_SKIP))
		out->flags |= FS_MESSAGE_NO_ANSWER;
}

static bool is_acknowledgement(const struct command *command, enum fs_redis_kind kind)
{
	return kind == FS_REDIS_REPLCONF && command->count > 1 && fs_text_is_nocase(command->words[1], "ack");
}

/* What a command says about itself, once it is known to be framed. */
static void describe(struct fs_frame_input *in, const struct command *command, enum fs_redis_kind kind,
		     struct fs_message *out)
{
	uint8_t *scratch = in->scratch;
	bool has_subcommand = kind == FS_REDIS_WITH_SUBCOMMAND || kind == FS_REDIS_CLIENT;
	out->method = (uint16_t)kind;
	out->note = command->arguments;
	if (fs_redis_is_name(command->words[0]))
		write_name(command->words[0], &out->content);
	else
		fs_label_byte(&out->content, '*');
	if (has_subcommand && command->count > 1 && fs_redis_is_name(command->words[1])) {
		fs_label_byte(&out->content, ' ');
		write_name(command->words[1], &out->content);
	}
	if (is_acknowledgement(command, kind))
		out->flags |= FS_MESSAGE_SKIP;
	if (scratch[0] & (FS_REDIS_REPLY_OFF | FS_REDIS_REPLY_SKIP))
		out->flags |= FS_MESSAGE_NO_ANSWER;
	scratch[0] &= (uint8_t)~FS_REDIS_REPLY_SKIP;
	if (kind == FS_REDIS_CLIENT && command->count > 2 && fs_text_is_nocase(command->words[1], "reply"))
		hear_reply_mode(scratch, command->words[2], out);
}

/* How many words have to be known. */
static uint32_t words_of(enum fs_redis_kind kind)
{
	switch (kind) {
	case FS_REDIS_CLIENT: return 3;
	case FS_REDIS_WITH_SUBCOMMAND:
	case FS_REDIS_REPLCONF: return 2;
	default: return 1;
	}
}

/* The first words of an array of `total` strings. */
static enum fs_resp read_words(struct fs_cursor *bytes, uint32_t total, struct command *command,
			       enum fs_redis_kind *kind, uint64_t *passed)
{
	uint32_t wanted = 1;
	*kind = FS_REDIS_UNKNOWN;
	for (command->count = 0; command->count < wanted; command->count++) {
		enum fs_resp answer = fs_resp_string(bytes, FS_REDIS_NAME_MAX, &command->words[command->count], passed);
		if (answer != FS_RESP_DONE)
			return answer;
		if (command->count == 0) {
			*kind = fs_redis_command(command->words[0]);
			wanted = words_of(*kind) < total ? words_of(*kind) : total;
		}
	}
	return FS_RESP_DONE;
}

static enum fs_framed frame_array(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct fs_text line;
	struct command command = {.count = 0};
	enum fs_redis_kind kind;
	int64_t total;
	uint64_t passed;
	enum fs_resp answer = fs_resp_line(&bytes, FS_RESP_NUMBER_MAX, &line);
	if (answer == FS_RESP_MORE)
		return in->bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
	if (answer == FS_RESP_INVALID || !fs_resp_count(line, &total) || total > FS_REDIS_ARGUMENTS_MAX)
		return FS_FRAME_INVALID;
	fs_message_begin(out, line.length + 2u);
	if (total <= 0) {
		out->flags = FS_MESSAGE_SKIP; /* the server takes no notice of it */
		return FS_FRAME_MESSAGE;
	}
	passed = out->length;
	answer = read_words(&bytes, (uint32_t)total, &command, &kind, &passed);
	if (answer == FS_RESP_INVALID)
		return FS_FRAME_INVALID;
	if (answer == FS_RESP_MORE && !in->bytes.truncated)
		return FS_FRAME_MORE;
	command.arguments = (uint32_t)total - 1;
	if (answer == FS_RESP_MORE) {
		describe(in, &command, kind, out);
		return fs_redis_cut_off(in, out);
	}
	struct fs_resp_walk walk = {.due = (uint32_t)total - command.count};
	out->length = passed;
	if (passed > fs_left(&in->bytes) && walk.due) {
		out->body = FS_BODY_PARTS;
		fs_redis_store_walk(in->scratch, &walk, false);
	} else if (fs_redis_begin_body(in, bytes, &walk, out) == FS_FRAME_INVALID) {
		return FS_FRAME_INVALID;
	}
	describe(in, &command, kind, out);
	return FS_FRAME_MESSAGE;
}

/* Words of a line, as telnet and health checks send them. Quotes are the arguments', which are not looked at. */
static void split(struct fs_text line, struct command *command)
{
	struct fs_cursor bytes = fs_inside(line);
	struct fs_text word;
	uint32_t words = 0;
	while (fs_left(&bytes)) {
		bool is_taken = fs_take_until(&bytes, ' ', (uint32_t)fs_left(&bytes), &word) ||
				fs_take(&bytes, (uint32_t)fs_left(&bytes), &word);
		if (!is_taken || !word.length)
			continue;
		if (words < 3)
			command->words[command->count++] = word;
		words++;
	}
	command->arguments = words ? words - 1 : 0;
}

/* "GET /path HTTP/1.1": a server closes such a connection, because somebody was lured to it. */
static bool is_http(struct fs_text line)
{
	struct fs_cursor bytes = fs_inside(fs_trimmed(line));
	return fs_left(&bytes) > 9 && fs_skip(&bytes, fs_left(&bytes) - 9) && fs_accept(&bytes, " HTTP/1.");
}

/* Only what is a command: too much else is a line of words. */
static enum fs_framed frame_inline(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct fs_text line;
	struct command command = {.count = 0};
	bool is_whole = fs_take_until(&bytes, '\n', FS_RESP_LINE_MAX, &line);
	if (!is_whole) {
		if (!in->bytes.truncated && fs_left(&bytes) < FS_RESP_LINE_MAX)
			return FS_FRAME_MORE;
		if (!in->bytes.truncated)
			return FS_FRAME_INVALID;
		fs_take(&bytes, (uint32_t)fs_left(&bytes), &line);
	}
	fs_message_begin(out, fs_left(&in->bytes) - fs_left(&bytes));
	split(fs_trimmed(line), &command);
	if (command.count == 0) {
		out->flags = FS_MESSAGE_SKIP;
		return FS_FRAME_MESSAGE;
	}
	enum fs_redis_kind kind = fs_redis_command(command.words[0]);
	if (kind == FS_REDIS_UNKNOWN || is_http(line))
		return FS_FRAME_INVALID;
	describe(in, &command, kind, out);
	return is_whole ? FS_FRAME_MESSAGE : fs_redis_cut_off(in, out);
}

static enum fs_framed frame(struct fs_frame_input *in, struct fs_message *out)
{
	if (in->scratch[0] & FS_REDIS_IN_BODY)
		return fs_redis_go_on(in, out);
	if (in->side == FS_SIDE_RESPONSE)
		return fs_redis_reply(in, out);
	return fs_peek(&in->bytes, 0) == '*' ? frame_array(in, out) : frame_inline(in, out);
}

static void stitch(const struct fs_message *request, const struct fs_message *response,
		   const struct fs_parser_options *options, struct fs_outcome *out)
{
	(void)options;
	fs_outcome_begin(request, response, out);
	if (response)
		fs_label_literal(&out->response_content, response->status ? "error" : "noerror");
}

const struct fs_protocol fs_protocol_redis = {
	.id = FS_PROTOCOL_REDIS,
	.streams = 1,
	.detect = fs_redis_detect,
	.frame = frame,
	.stitch = stitch,
};
