/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of a message as a sample may show it, if the user asked for that at all (payload.capture_bytes): the head of a
 * message of HTTP/1.x, in which what identifies or admits somebody is blanked. Bodies and every other protocol have their
 * secrets anywhere (literals of statements, keys, logins), so of these nothing is shown.
 */
#include "state.h"

/*
 * What is in the names of fields that admit somebody: Authorization, X-Auth-Token, Set-Cookie, X-Api-Key, X-Csrf-Token and
 * whatever else programs agreed on. The last one is none by its name, but browsers have no other place for a token.
 */
static const char *const secret_words[] = {"auth",
					   "cookie",
					   "token",
					   "secret",
					   "key",
					   "passw",
					   "credential",
					   "session",
					   "signature",
					   "jwt",
					   "sec-websocket-protocol"};

static bool starts_with(const uint8_t *bytes, uint32_t length, const char *lower)
{
	uint32_t i = 0;
	for (; lower[i]; i++)
		if (i >= length || fs_lower(bytes[i]) != (uint8_t)lower[i])
			return false;
	return true;
}

/* Of a field's line; `name_length` is that of its name with the colon. */
static bool is_secret(const uint8_t *line, uint32_t length, uint32_t *name_length)
{
	const uint8_t *colon = memchr(line, ':', length);
	uint32_t name = colon ? (uint32_t)(colon - line) : 0;

	for (uint32_t at = 0; at < name && at < FS_SAMPLE_TEXT; at++)
		for (size_t i = 0; i < sizeof(secret_words) / sizeof(secret_words[0]); i++)
			if (starts_with(line + at, name - at, secret_words[i])) {
				*name_length = name + 1;
				return true;
			}
	return false;
}

/* What was seen of a line so far. */
struct blanks {
	bool in_query, after_colon;
	uint32_t user_end; /* where an '@' ends somebody's name */
	uint32_t scanned;
};

/*
 * In a request line or a header's value: from a '?' or a '#' to the next blank, for tokens come in fragments too, and the
 * user before an '@' of an address.
 */
static bool is_blanked(const uint8_t *line, uint32_t at, uint32_t length, struct blanks *seen)
{
	if (at >= seen->scanned) {
		uint32_t end = at;
		for (seen->user_end = 0; end < length && line[end] != ' ' && line[end] != '/'; end++)
			if (line[end] == '@')
				seen->user_end = end;
		seen->scanned = end + 1;
	}
	bool user = at < seen->user_end && seen->after_colon;
	seen->after_colon |= line[at] == ':';
	if (line[at] == ' ')
		seen->in_query = false;
	if (seen->in_query)
		return true;
	seen->in_query = line[at] == '?' || line[at] == '#';
	return user;
}

struct blank_text {
	char *out;
	uint32_t used, limit;
};

static void put(struct blank_text *text, uint8_t byte)
{
	if (text->used < text->limit)
		text->out[text->used++] = (byte >= 0x20 && byte < 0x7f) || byte == '\n' ? (char)byte
					  : byte == '\r'				? ' '
											: '.';
}

/* True if it is a field that is not shown. */
static bool put_line(struct blank_text *text, const uint8_t *line, uint32_t length, bool is_field)
{
	uint32_t shown = length;
	/* What CONNECT asks for is an authority, in which a user stands first. */
	struct blanks seen = {.after_colon = !is_field && starts_with(line, length, "connect ")};
	bool was_blanked = false, secret = is_field && is_secret(line, length, &shown);

	for (uint32_t i = 0; i < shown && text->used < text->limit; i++) {
		bool blanked = is_blanked(line, i, length, &seen);
		if (!blanked)
			put(text, line[i]);
		else if (!was_blanked)
			put(text, '*');
		was_blanked = blanked;
	}
	if (secret) {
		put(text, ' ');
		put(text, '*');
	}
	return secret;
}

/* Whether these bytes begin with a whole request line or status line (RFC 9112, 3 and 4). */
static bool is_head(const uint8_t *bytes, uint32_t length)
{
	const uint8_t *end = length ? memchr(bytes, '\n', length) : NULL;
	uint32_t line = end ? (uint32_t)(end - bytes) : 0;

	if (line && bytes[line - 1] == '\r')
		line--;
	return starts_with(bytes, line, "http/1.") || (line > 9 && starts_with(bytes + line - 9, 9, " http/1."));
}

uint16_t fs_redacted(const uint8_t *bytes, uint32_t length, uint32_t limit, char *out)
{
	struct blank_text text = {out, 0, limit < FS_SAMPLE_TEXT ? limit : FS_SAMPLE_TEXT};
	bool is_field = false, secret = false;

	if (!is_head(bytes, length))
		return 0;
	while (length && text.used < text.limit) {
		const uint8_t *end = memchr(bytes, '\n', length);
		uint32_t line = end ? (uint32_t)(end - bytes) : length;
		if (!line || (line == 1 && bytes[0] == '\r'))
			break; /* what follows is the body */
		/* A folded line goes on with the value of the one before (RFC 9112, section 5.2). */
		bool is_folded = is_field && (bytes[0] == ' ' || bytes[0] == '\t');
		if (is_folded && secret) {
			put(&text, ' ');
			put(&text, '*');
		} else {
			secret = put_line(&text, bytes, line, is_field);
		}
		is_field = true;
		if (end)
			put(&text, '\n');
		bytes += end ? line + 1 : line;
		length -= end ? line + 1 : line;
	}
	return (uint16_t)text.used;
}
