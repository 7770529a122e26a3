/* SPDX-License-Identifier: Apache-2.0 */
/* What a client of memcached says in the text protocol: a line, and a value behind that of some. */
#include "memcached_text.h"

#define VALUE_MAX (1u << 30) /* an item is at most 1 GiB (memcached -I) */
#define NAME_MAX 32

enum shape {
	KEYS, /* one or more keys */
	TIME_AND_KEYS,
	STORE, /* key, flags, time, bytes */
	STORE_CAS, /* and a number */
	COUNT, /* key, number */
	TOUCH, /* key, time */
	DELETE, /* key */
	STATISTICS,
	META, /* key, flags */
	META_STORE, /* key, bytes, flags */
	ALONE,
	LEAVE, /* alone, and not answered */
	OTHER
};

static const struct command {
	const char *name;
	uint8_t shape;
	uint16_t traits;
} commands[] = {
	{"get", KEYS, FS_MEMCACHED_RETRIEVES},
	{"gets", KEYS, FS_MEMCACHED_RETRIEVES},
	{"gat", TIME_AND_KEYS, FS_MEMCACHED_RETRIEVES},
	{"gats", TIME_AND_KEYS, FS_MEMCACHED_RETRIEVES},
	{"set", STORE, 0},
	{"add", STORE, 0},
	{"replace", STORE, 0},
	{"append", STORE, 0},
	{"prepend", STORE, 0},
	{"cas", STORE_CAS, 0},
	{"incr", COUNT, 0},
	{"decr", COUNT, 0},
	{"touch", TOUCH, 0},
	{"delete", DELETE, 0},
	{"mg", META, FS_MEMCACHED_META | FS_MEMCACHED_RETRIEVES},
	{"ms", META_STORE, FS_MEMCACHED_META},
	{"md", META, FS_MEMCACHED_META},
	{"ma", META, FS_MEMCACHED_META | FS_MEMCACHED_COUNTS},
	{"me", META, FS_MEMCACHED_META},
	{"mn", ALONE, FS_MEMCACHED_META},
	{"stats", STATISTICS, 0},
	{"version", ALONE, 0},
	{"quit", LEAVE, 0},
	{"flush_all", OTHER, 0},
	{"verbosity", OTHER, 0},
	{"watch", OTHER, FS_MEMCACHED_WATCH},
	{"cache_memlimit", OTHER, 0},
	{"lru", OTHER, 0},
	{"lru_crawler", OTHER, 0},
	{"slabs", OTHER, 0},
	{"shutdown", OTHER, 0},
	{"refresh_certs", OTHER, 0},
};

static const struct command *command_of(struct fs_text word)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (fs_text_is(word, commands[i].name))
			return &commands[i];
	return NULL;
}

static bool takes_keys(const struct command *command)
{
	return command && command->shape <= TIME_AND_KEYS;
}

/* Where in the line the length of a value is; 0 if none follows. */
static uint32_t length_word(const struct command *command)
{
	switch (command->shape) {
	case STORE:
	case STORE_CAS: return 4;
	case META_STORE: return 2;
	default: return 0;
	}
}

static uint32_t least_words(const struct command *command)
{
	switch (command->shape) {
	case STORE: return 5;
	case STORE_CAS: return 6;
	case COUNT:
	case TOUCH:
	case TIME_AND_KEYS:
	case META_STORE: return 3;
	case KEYS:
	case DELETE:
	case META: return 2;
	default: return 1;
	}
}

/* A line that the server will refuse has no value behind it: it says so, and takes what follows for a command. */
static bool takes_value(const struct command *command, const struct fs_memcached_line *line, uint64_t *length)
{
	uint32_t at = length_word(command);
	return at && line->words >= least_words(command) && line->word[1].length <= FS_MEMCACHED_KEY_MAX &&
	       fs_decimal(line->word[at], length) && *length <= VALUE_MAX;
}

/* "q" among the flags, which may be many. */
static bool is_quiet(struct fs_text line, uint32_t first)
{
	struct fs_cursor bytes = fs_inside(line);
	struct fs_text word;
	for (uint32_t i = 0; fs_memcached_next_word(&bytes, &word); i++)
		if (i >= first && fs_text_is(word, "q"))
			return true;
	return false;
}

static void describe(const struct command *command, const struct fs_memcached_line *line, struct fs_message *out)
{
	if (!command) {
		fs_label_byte(&out->content, '*');
		return;
	}
	uint32_t flags_at = command->shape == META_STORE ? 3 : 2;
	bool meta = command->shape == META || command->shape == META_STORE;
	bool may_be_silent = !takes_keys(command) && !(command->traits & FS_MEMCACHED_META);
	fs_label_literal(&out->content, command->name);
	out->method = command->traits;
	if (command->shape == LEAVE || (may_be_silent && line->words > 1 && fs_text_is(line->last, "noreply")))
		out->flags |= FS_MESSAGE_NO_ANSWER;
	if (takes_keys(command) && line->text.length < FS_MEMCACHED_LINE_MAX)
		out->note = line->words - (command->shape == KEYS ? 1 : 2);
	if (meta && is_quiet(line->text, flags_at)) {
		out->flags |= FS_MESSAGE_QUIET;
		out->method |= FS_MEMCACHED_QUIET;
		out->note = fs_memcached_tag(line->text, flags_at, line->word[1]);
	}
}

/* A line of which the end is not here. */
static enum fs_framed frame_open_line(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct fs_memcached_line line;
	struct fs_text text;
	if (!in->bytes.truncated && fs_left(&bytes) <= FS_MEMCACHED_LINE_MAX)
		return FS_FRAME_MORE;
	(void)fs_take(&bytes, (uint32_t)fs_left(&bytes), &text);
	fs_memcached_split(text, &line);
	const struct command *command = command_of(line.word[0]);
	if (!takes_keys(command) || (in->bytes.truncated && line.words < 2))
		return FS_FRAME_INVALID;
	fs_message_begin(out, text.length);
	describe(command, &line, out);
	out->note = 0;
	if (in->bytes.truncated) {
		out->flags |= FS_MESSAGE_CUT;
		out->body = FS_BODY_UNTIL_FLIP;
	} else {
		out->body = FS_BODY_PARTS;
		in->scratch[0] = FS_MEMCACHED_LINE;
	}
	return FS_FRAME_MESSAGE;
}

static enum fs_framed go_on(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct fs_text rest;
	bool is_over = fs_take_until(&bytes, '\n', (uint32_t)fs_left(&bytes), &rest);
	fs_message_begin(out, is_over ? rest.length + 1u : fs_left(&in->bytes));
	if (is_over)
		in->scratch[0] = FS_MEMCACHED_NO_BODY;
	return is_over ? FS_FRAME_END : FS_FRAME_PART;
}

/* What the server answers with ERROR, if it could be meant for it: a small word, and text behind it. */
static bool is_mistake(const struct fs_memcached_line *line)
{
	struct fs_cursor bytes = fs_inside(line->text), word = fs_inside(line->word[0]);
	uint8_t byte;
	while (fs_u8(&word, &byte))
		if ((byte < 'a' || byte > 'z') && byte != '_')
			return false;
	while (fs_u8(&bytes, &byte))
		if (byte < ' ' || byte >= 0x7f)
			return false;
	return line->words && line->word[0].length <= NAME_MAX;
}

enum fs_framed fs_memcached_command(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct fs_memcached_line line;
	uint64_t length;
	if (in->scratch[0] == FS_MEMCACHED_LINE)
		return go_on(in, out);
	if (!fs_memcached_take_line(&bytes, &line))
		return frame_open_line(in, out);
	const struct command *command = command_of(line.word[0]);
	fs_message_begin(out, fs_left(&in->bytes) - fs_left(&bytes));
	if ((!command && !is_mistake(&line)) || (out->length > FS_MEMCACHED_LINE_MAX + 1 && !takes_keys(command)))
		return FS_FRAME_INVALID;
	describe(command, &line, out);
	if (command && takes_value(command, &line, &length))
		out->length += length + 2;
	return FS_FRAME_MESSAGE;
}

static bool is_key(struct fs_text key)
{
	struct fs_cursor bytes = fs_inside(key);
	uint8_t byte;
	while (fs_u8(&bytes, &byte))
		if (byte <= ' ' || byte == 0x7f)
			return false;
	return key.length > 0 && key.length <= FS_MEMCACHED_KEY_MAX;
}

/* A number of bytes, flags or seconds; the last may be negative. */
static bool is_number(struct fs_text text)
{
	struct fs_cursor bytes = fs_inside(text);
	struct fs_text digits;
	uint64_t number;
	if (fs_peek(&bytes, 0) == '-')
		(void)fs_skip(&bytes, 1);
	return fs_take(&bytes, (uint32_t)fs_left(&bytes), &digits) && fs_decimal(digits, &number);
}

/* Flags are a letter each, some with a value. */
static bool are_flags(const struct fs_memcached_line *line, uint32_t first)
{
	for (uint32_t i = first; i < line->words && i < FS_MEMCACHED_WORDS; i++) {
		struct fs_cursor flag = fs_inside(line->word[i]);
		uint8_t letter = fs_lower((uint8_t)fs_peek(&flag, 0));
		if (letter < 'a' || letter > 'z')
			return false;
	}
	return true;
}

static bool may_end_in_noreply(const struct fs_memcached_line *line, uint32_t words)
{
	return line->words == words || (line->words == words + 1 && fs_text_is(line->last, "noreply"));
}

/* beanstalkd has "delete 17" and "touch 17", of jobs. A first key that is nothing but a number is therefore no proof. */
static bool is_line(const struct command *command, const struct fs_memcached_line *line)
{
	const struct fs_text *word = line->word;
	if (line->words < least_words(command))
		return false;
	switch (command->shape) {
	case KEYS: return is_key(word[1]) && is_key(line->last);
	case TIME_AND_KEYS: return is_number(word[1]) && is_key(word[2]) && is_key(line->last);
	case STORE:
		return is_key(word[1]) && is_number(word[2]) && is_number(word[3]) && is_number(word[4]) &&
		       may_end_in_noreply(line, 5);
	case STORE_CAS:
		return is_key(word[1]) && is_number(word[2]) && is_number(word[3]) && is_number(word[4]) &&
		       is_number(word[5]) && may_end_in_noreply(line, 6);
	case COUNT:
	case TOUCH: return is_key(word[1]) && is_number(word[2]) && may_end_in_noreply(line, 3);
	case DELETE: return is_key(word[1]) && !is_number(word[1]) && may_end_in_noreply(line, 2);
	case META: return is_key(word[1]) && are_flags(line, 2);
	case META_STORE: return is_key(word[1]) && is_number(word[2]) && are_flags(line, 3);
	case STATISTICS: return line->words <= 2;
	case ALONE: return line->words == 1;
	default: return false;
	}
}

static bool may_become_command(struct fs_text start)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		struct fs_cursor bytes = fs_inside(start);
		const char *name = commands[i].name;
		size_t at = 0;
		while (name[at] && fs_peek(&bytes, at) == name[at])
			at++;
		/* All of the name, or all that is here. */
		if (at == start.length || (!name[at] && fs_peek(&bytes, at) == ' '))
			return true;
	}
	return false;
}

/* Words of servers that no other protocol of lines says. */
static bool is_reply(const struct fs_memcached_line *line)
{
	const struct fs_text *word = line->word;
	if (fs_text_is(word[0], "VALUE"))
		return (line->words == 4 || line->words == 5) && is_key(word[1]) && is_number(word[2]) &&
		       is_number(word[3]);
	if (fs_text_is(word[0], "STAT"))
		return line->words >= 2;
	if (fs_text_is(word[0], "VA"))
		return line->words >= 2 && is_number(word[1]) && are_flags(line, 2);
	return line->words == 1 && (fs_text_is(word[0], "STORED") || fs_text_is(word[0], "NOT_STORED"));
}

enum fs_detected fs_memcached_detect_text(struct fs_cursor bytes, enum fs_detected too_short)
{
	struct fs_cursor rest = bytes;
	struct fs_memcached_line line;
	struct fs_text text;
	if (fs_memcached_take_line(&rest, &line)) {
		const struct command *command = command_of(line.word[0]);
		if (command && is_line(command, &line))
			return FS_MINE_REQUEST;
		return is_reply(&line) ? FS_MINE_RESPONSE : FS_NOT_MINE;
	}
	(void)fs_take(&rest, (uint32_t)fs_left(&rest), &text);
	fs_memcached_split(text, &line);
	const struct command *command = command_of(line.word[0]);
	if (takes_keys(command) && line.words > 3 && is_line(command, &line) && text.length > FS_MEMCACHED_KEY_MAX)
		return FS_MINE_REQUEST;
	return may_become_command(line.text) ? too_short : FS_NOT_MINE;
}
