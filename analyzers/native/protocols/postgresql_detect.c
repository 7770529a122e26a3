/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PostgreSQL, told from other protocols: a first message by its version or code, a Query or Parse by the word that its
 * statement starts with, errors by their fields, and everything else by a chain of messages whose lengths lead from one
 * possible type to the next.
 */
#include "postgresql_messages.h"
#include "sql.h"

#define STARTUP_MAX 10000 /* MAX_STARTUP_PACKET_LENGTH */
#define NAME_MAX 64
#define CHAIN 2 /* messages whose headers must be right */

struct bounds {
	uint8_t type;
	uint32_t shortest, longest; /* of the body */
};

#define ANY FS_PG_LONGEST

/* CopyData is told by no detection: it has no form. */
static const struct bounds of_client[] = {
	{'Q', 1, ANY}, {'P', 4, ANY}, {'B', 8, ANY}, {'E', 5, 1024}, {'D', 2, 1024}, {'S', 0, 0},   {'C', 2, 1024},
	{'H', 0, 0},   {'X', 0, 0},   {'d', 0, ANY}, {'c', 0, 0},    {'p', 1, ANY},  {'f', 1, ANY}, {'F', 10, ANY},
};

static const struct bounds of_server[] = {
	{'D', 2, ANY},	{'C', 2, 256},	{'Z', 1, 1},   {'T', 2, ANY},  {'2', 0, 0},   {'1', 0, 0},
	{'n', 0, 0},	{'E', 9, ANY},	{'N', 9, ANY}, {'S', 3, 8192}, {'3', 0, 0},   {'t', 2, ANY},
	{'R', 4, ANY},	{'K', 8, 300},	{'I', 0, 0},   {'s', 0, 0},    {'A', 6, ANY}, {'G', 3, 8192},
	{'H', 3, 8192}, {'W', 3, 8192}, {'d', 0, ANY}, {'c', 0, 0},    {'V', 4, ANY}, {'v', 8, 8192},
};

static bool is_within(const struct bounds *table, size_t count, const struct fs_pg_message *message)
{
	uint64_t body = message->length - FS_PG_HEADER;
	for (size_t i = 0; i < count; i++)
		if (table[i].type == message->type)
			return body >= table[i].shortest && body <= table[i].longest;
	return false;
}

bool fs_pg_client_sends(const struct fs_pg_message *message)
{
	return is_within(of_client, sizeof(of_client) / sizeof(of_client[0]), message);
}

bool fs_pg_server_sends(const struct fs_pg_message *message)
{
	return is_within(of_server, sizeof(of_server) / sizeof(of_server[0]), message);
}

static bool is_word(struct fs_text text, bool with_digits)
{
	struct fs_cursor bytes = fs_inside(text);
	uint8_t byte;
	while (fs_u8(&bytes, &byte)) {
		bool letter = (fs_lower(byte) >= 'a' && fs_lower(byte) <= 'z') || byte == '_' || byte == '.';
		if (!letter && !(with_digits && byte >= '0' && byte <= '9'))
			return false;
	}
	return text.length > 0;
}

/* Length, version 3, and names with values, of which "user" must be one but need not be the first. */
static enum fs_detected detect_startup(struct fs_cursor bytes)
{
	struct fs_text name;
	uint32_t length, code;
	bool whole = !bytes.truncated;
	if (fs_left(&bytes) < 8) {
		/* Nothing is as long as 65536. */
		bool may_be = fs_peek(&bytes, 0) <= 0 && fs_peek(&bytes, 1) <= 0 &&
			      (fs_left(&bytes) < 5 || fs_peek(&bytes, 4) == 0 || fs_peek(&bytes, 4) == 4) &&
			      (fs_left(&bytes) < 6 || fs_peek(&bytes, 5) == 3 || fs_peek(&bytes, 5) == 0xd2);
		return may_be && whole ? FS_TOO_SHORT : FS_NOT_MINE;
	}
	if (!fs_u32be(&bytes, &length) || !fs_u32be(&bytes, &code))
		return FS_NOT_MINE;
	if ((code == FS_PG_SSL || code == FS_PG_GSS) && length == 8)
		return fs_left(&bytes) ? FS_NOT_MINE : FS_MINE_REQUEST;
	if (code == FS_PG_CANCEL && length >= 16 && length <= 268)
		return FS_MINE_REQUEST;
	if (code >> 16 != 3 || (code & 0xffff) > 0xff || length < 16 || length > STARTUP_MAX ||
	    fs_left(&bytes) > length - 8)
		return FS_NOT_MINE;
	if (!fs_take_until(&bytes, 0, NAME_MAX, &name)) {
		fs_take(&bytes, fs_left(&bytes) < NAME_MAX ? (uint32_t)fs_left(&bytes) : NAME_MAX, &name);
		bool may_be = name.length < NAME_MAX && whole && (name.length == 0 || is_word(name, true));
		return may_be ? FS_TOO_SHORT : FS_NOT_MINE;
	}
	return name.length > 1 && is_word(name, true) ? FS_MINE_REQUEST : FS_NOT_MINE;
}

bool fs_pg_sqlstate(struct fs_cursor body, struct fs_text *state)
{
	uint8_t field;
	while (fs_u8(&body, &field) && field)
		if (!fs_take_until(&body, 0, (uint32_t)fs_left(&body), state))
			return false;
		else if (field == 'C')
			return state->length == 5;
	return false;
}

/* 'S', and "ERROR" or a word for it in the server's language; then 'V' since 9.6, or 'C'. */
static enum fs_detected detect_report(const struct fs_pg_message *message)
{
	struct fs_cursor bytes = message->body;
	struct fs_text severity;
	if (!fs_accept(&bytes, "S"))
		return fs_left(&bytes) || message->body.truncated == false ? FS_NOT_MINE : FS_TOO_SHORT;
	if (!fs_take_until(&bytes, 0, NAME_MAX, &severity) || fs_left(&bytes) == 0)
		return fs_left(&bytes) >= NAME_MAX || message->whole ? FS_NOT_MINE : FS_TOO_SHORT;
	return severity.length && (fs_peek(&bytes, 0) == 'V' || fs_peek(&bytes, 0) == 'C') ? FS_MINE_RESPONSE
											   : FS_NOT_MINE;
}

/* A statement, behind the name of Parse's. */
static enum fs_detected detect_statement(const struct fs_pg_message *message)
{
	struct fs_cursor bytes = message->body;
	struct fs_text name;
	if (message->type == 'P' && !fs_take_until(&bytes, 0, 2 * NAME_MAX, &name))
		return fs_left(&bytes) >= 2 * NAME_MAX || message->whole ? FS_NOT_MINE : FS_TOO_SHORT;
	bytes.truncated = false;
	if (message->type == 'Q' && message->whole && fs_peek(&bytes, fs_left(&bytes) - 1) != 0)
		return FS_NOT_MINE;
	switch (fs_sql_starts(bytes, FS_SQL_POSTGRESQL)) {
	case FS_SQL_STATEMENT: return FS_MINE_REQUEST;
	case FS_SQL_PARTLY: return message->whole ? FS_NOT_MINE : FS_TOO_SHORT;
	default: return FS_NOT_MINE;
	}
}

/* What can be told of one message by itself; TOO_SHORT also if what follows must tell. */
static enum fs_detected detect_one(const struct fs_pg_message *message, bool by_client)
{
	if (by_client)
		return message->type == 'Q' || message->type == 'P' ? detect_statement(message) : FS_TOO_SHORT;
	if (message->type == 'E' || message->type == 'N')
		return detect_report(message);
	if (message->type == 'Z' && fs_left(&message->body) && fs_peek(&message->body, 0) != 'I' &&
	    fs_peek(&message->body, 0) != 'T' && fs_peek(&message->body, 0) != 'E')
		return FS_NOT_MINE;
	/* Authentication: a request for it is answered before anything else comes. */
	if (message->type == 'R' && fs_left(&message->body) >= 4)
		return fs_peek(&message->body, 0) == 0 && fs_peek(&message->body, 1) == 0 &&
				       fs_peek(&message->body, 2) == 0 && fs_peek(&message->body, 3) <= 12
			       ? FS_MINE_RESPONSE
			       : FS_NOT_MINE;
	return FS_TOO_SHORT;
}

/* Messages that may start what a side says: an answer to a batch, rows from a portal, a Bind. */
static bool may_begin(const struct fs_pg_message *message, bool by_client)
{
	switch (message->type) {
	case 'Q':
	case 'P':
	case 'B': return by_client;
	case 'E':
	case 'D':
	case 'C': return true;
	case 'T':
	case 't':
	case '1':
	case '2':
	case 'n':
	case 'I':
	case 'N':
	case 'R': return !by_client;
	default: return false;
	}
}

static enum fs_detected detect_side(struct fs_cursor bytes, bool by_client)
{
	for (int count = 0; count < CHAIN; count++) {
		struct fs_pg_message message;
		switch (fs_pg_message(&bytes, &message)) {
		case FS_FRAME_MORE: return FS_TOO_SHORT;
		case FS_FRAME_INVALID: return FS_NOT_MINE;
		default: break;
		}
		if (!(by_client ? fs_pg_client_sends(&message) : fs_pg_server_sends(&message)) ||
		    (count == 0 && !may_begin(&message, by_client)))
			return FS_NOT_MINE;
		enum fs_detected found = detect_one(&message, by_client);
		if (found != FS_TOO_SHORT || !message.whole)
			return found;
	}
	return by_client ? FS_MINE_REQUEST : FS_MINE_RESPONSE;
}

/* A type, and the upper byte of a length. */
static bool may_be_header(const struct fs_cursor *bytes)
{
	struct fs_pg_message message = {.type = (uint8_t)fs_peek(bytes, 0)};
	return (may_begin(&message, true) || may_begin(&message, false)) && fs_peek(bytes, 1) <= 0x3f;
}

enum fs_detected fs_pg_detect(struct fs_cursor bytes, bool datagram)
{
	enum fs_detected found;
	if (datagram || fs_left(&bytes) == 0)
		return FS_NOT_MINE;
	if (fs_peek(&bytes, 0) == 0)
		return detect_startup(bytes);
	if (fs_left(&bytes) < FS_PG_HEADER)
		return may_be_header(&bytes) && !bytes.truncated ? FS_TOO_SHORT : FS_NOT_MINE;
	found = detect_side(bytes, true);
	if (found == FS_NOT_MINE)
		found = detect_side(bytes, false);
	else if (found == FS_TOO_SHORT && detect_side(bytes, false) != FS_NOT_MINE)
		found = detect_side(bytes, false);
	return found == FS_TOO_SHORT && bytes.truncated ? FS_NOT_MINE : found;
}
