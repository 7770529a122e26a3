/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is it Redis? Values of RESP are unlike anything else, but single lines are not: POP3 and NATS say +OK and -ERR, and
 * memcached has get and set. Such lines are left to what comes next on the connection.
 */
#include "redis_commands.h"
#include "resp.h"

#define COUNT_LINE_MAX 16
#define ARGUMENTS_MAX (1 << 30)

/* What health checks and people type first, and no other protocol of lines begins with. */
static const char *const typed[] = {"PING\r\n", "INFO\r\n", "INFO ", "ROLE\r\n", "DBSIZE\r\n"};
/* Errors of this protocol alone: POP3 and NATS have -ERR, and +OK. */
static const char *const told[] = {"+PONG\r\n",	   "+QUEUED\r\n",  "-WRONGTYPE ", "-NOAUTH ",	   "-NOPERM ",
				   "-WRONGPASS ",  "-MOVED ",	   "-ASK ",	  "-LOADING ",	   "-READONLY ",
				   "-NOSCRIPT ",   "-EXECABORT ",  "-MISCONF ",	  "-CLUSTERDOWN ", "-MASTERDOWN ",
				   "-UNKILLABLE ", "-NOREPLICAS ", "-BUSYKEY ",	  "-BUSYGROUP ",   "-NOGROUP "};
static const char *const modules[] = {"ft.", "json.", "bf.", "cf.", "cms.", "topk.", "ts.", "tdigest.", "graph."};

enum match { MATCH_NO, MATCH_PARTLY, MATCH_WHOLE };

/* Without regard to case; `literal` is in upper case where it has letters. */
static enum match match(struct fs_cursor bytes, const char *literal)
{
	for (size_t i = 0; literal[i]; i++) {
		int byte = fs_peek(&bytes, i);
		if (byte < 0)
			return MATCH_PARTLY;
		if (byte != literal[i] && (byte < 'a' || byte > 'z' || byte - 0x20 != literal[i]))
			return MATCH_NO;
	}
	return MATCH_WHOLE;
}

/* "INFO replication" is a question to Redis, "INFO {...}" the greeting of NATS, and SIP's has an address. */
static bool is_inline(struct fs_cursor bytes)
{
	struct fs_text line;
	uint8_t byte;
	if (!fs_take_until(&bytes, '\n', 64, &line))
		return false;
	struct fs_cursor inside = fs_inside(fs_trimmed(line));
	fs_skip(&inside, 4);
	while (fs_u8(&inside, &byte))
		if (byte != ' ' && (fs_lower(byte) < 'a' || fs_lower(byte) > 'z'))
			return false;
	return true;
}

static enum fs_detected detect_line(struct fs_cursor bytes, enum fs_detected too_short)
{
	enum fs_detected answer = FS_NOT_MINE;
	for (size_t i = 0; i < sizeof(typed) / sizeof(typed[0]); i++) {
		enum match found = match(bytes, typed[i]);
		if (found == MATCH_WHOLE && is_inline(bytes))
			return FS_MINE_REQUEST;
		if (found == MATCH_PARTLY)
			answer = too_short;
	}
	return answer;
}

static bool is_module_command(struct fs_text word)
{
	struct fs_cursor bytes = fs_inside(word);
	struct fs_text prefix;
	if (!fs_redis_is_name(word) || !fs_take_until(&bytes, '.', FS_REDIS_NAME_MAX, &prefix))
		return false;
	for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++) {
		struct fs_cursor start = fs_inside(word);
		bool is_same = true;
		for (size_t at = 0; modules[i][at]; at++)
			is_same = is_same && fs_lower((uint8_t)fs_peek(&start, at)) == (uint8_t)modules[i][at];
		if (is_same)
			return true;
	}
	return false;
}

/* After an array's first string: commands have nothing but strings, and confirm no subscription ("subscribe", a, 1). */
static bool is_command(struct fs_cursor bytes, struct fs_text word, int64_t count)
{
	enum fs_redis_kind kind = fs_redis_command(word);
	struct fs_text channel;
	uint64_t passed = 0;
	bool confirms = kind >= FS_REDIS_SUBSCRIBE && kind <= FS_REDIS_SUNSUBSCRIBE &&
			fs_resp_string(&bytes, 0, &channel, &passed) == FS_RESP_DONE;
	if (count > 1 && !confirms && fs_left(&bytes) && fs_peek(&bytes, 0) != '$')
		return false;
	if (confirms && fs_peek(&bytes, 0) == ':')
		return false;
	return (kind && (kind != FS_REDIS_ALONE || count == 1)) || is_module_command(word);
}

/* An array of strings is a request if its first is a command; other values are only sent by servers. */
static enum fs_detected detect_array(struct fs_cursor bytes, enum fs_detected too_short)
{
	struct fs_text line, word = {0};
	int64_t count;
	uint64_t passed = 0;
	switch (fs_resp_line(&bytes, COUNT_LINE_MAX, &line)) {
	case FS_RESP_MORE: {
		/* Digits so far, as in no line of words. */
		for (size_t i = 1; i < fs_left(&bytes); i++)
			if (fs_hex_digit(fs_peek(&bytes, i)) > 9 || fs_hex_digit(fs_peek(&bytes, i)) < 0)
				return fs_peek(&bytes, i) == '\r' && i > 1 ? too_short : FS_NOT_MINE;
		return too_short;
	}
	case FS_RESP_INVALID: return FS_NOT_MINE;
	default: break;
	}
	if (!fs_resp_count(line, &count) || count < 1 || count > ARGUMENTS_MAX)
		return FS_NOT_MINE;
	int type = fs_peek(&bytes, 0);
	if (type < 0)
		return too_short;
	if (type == '$') {
		switch (fs_resp_string(&bytes, FS_REDIS_NAME_MAX, &word, &passed)) {
		case FS_RESP_MORE: return too_short;
		case FS_RESP_INVALID: return FS_NOT_MINE;
		default: break;
		}
		return is_command(bytes, word, count) ? FS_MINE_REQUEST : FS_MINE_RESPONSE;
	}
	struct fs_resp_walk walk = {.due = 1};
	return fs_resp_walk(bytes, &walk, &passed) == FS_RESP_DONE ? FS_MINE_RESPONSE : FS_NOT_MINE;
}

static enum fs_detected detect_response(struct fs_cursor bytes, enum fs_detected too_short)
{
	struct fs_text line;
	int64_t number;
	int type = fs_peek(&bytes, 0);
	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++)
		if (match(bytes, told[i]) == MATCH_WHOLE)
			return FS_MINE_RESPONSE;
	if ((type != '$' && type != '%') || fs_resp_line(&bytes, COUNT_LINE_MAX, &line) != FS_RESP_DONE ||
	    !fs_resp_count(line, &number))
		return FS_NOT_MINE;
	if (type == '%')
		return fs_peek(&bytes, 0) == '$' || fs_peek(&bytes, 0) == '+' ? FS_MINE_RESPONSE : FS_NOT_MINE;
	if (number < 0)
		return fs_left(&bytes) == 0 ? FS_MINE_RESPONSE : FS_NOT_MINE;
	if (fs_left(&bytes) >= (uint64_t)number + 2)
		return fs_skip(&bytes, (uint64_t)number) && fs_accept(&bytes, "\r\n") ? FS_MINE_RESPONSE : FS_NOT_MINE;
	return fs_left(&bytes) ? FS_MINE_RESPONSE : too_short;
}

enum fs_detected fs_redis_detect(struct fs_cursor bytes, bool datagram)
{
	enum fs_detected too_short = bytes.truncated ? FS_NOT_MINE : FS_TOO_SHORT;
	int first = fs_peek(&bytes, 0);
	if (datagram || first < 0)
		return datagram ? FS_NOT_MINE : too_short;
	if (first == '*')
		return detect_array(bytes, too_short);
	if (first == '+' || first == '-' || first == '$' || first == '%')
		return detect_response(bytes, too_short);
	return detect_line(bytes, too_short);
}
