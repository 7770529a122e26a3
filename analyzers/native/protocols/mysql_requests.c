/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What MySQL's clients send: commands, which have sequence number 0, and what belongs to the command or login before. The
 * latter is believed only behind one (scratch[1]), because there is nothing in it to recognise.
 *
 * scratch[0]: a command goes on in the next packet.
 */
#include "mysql_packets.h"
#include "sql.h"

#define LOOKED_AT 4096 /* of a packet, however it arrives */
#define ATTRIBUTES_MAX 32
#define LOGIN_MIN 32
#define STATEMENT_START 3

enum action { COUNT, SKIP }; /* SKIP: commands that nobody answers */

/* Those whose content says more than their name are written by write_content. */
static const struct command {
	uint16_t number;
	uint8_t action;
	uint32_t shortest, longest; /* with the command's byte */
	const char *content;
} commands[] = {
	{FS_MYSQL_QUERY, COUNT, 1, UINT32_MAX, ""},
	{FS_MYSQL_EXECUTE, COUNT, 10, UINT32_MAX, ""},
	{FS_MYSQL_PREPARE, COUNT, 1, UINT32_MAX, "PREPARE "},
	{FS_MYSQL_CLOSE, SKIP, 5, 5, ""},
	{FS_MYSQL_PING, COUNT, 1, 1, "PING"},
	{FS_MYSQL_QUIT, SKIP, 1, 1, ""},
	{FS_MYSQL_INIT_DB, COUNT, 1, 1024, "USE *"},
	{FS_MYSQL_FETCH, COUNT, 9, 9, "FETCH "},
	{FS_MYSQL_RESET, COUNT, 5, 5, "RESET "},
	{FS_MYSQL_SEND_LONG_DATA, SKIP, 7, UINT32_MAX, ""},
	{FS_MYSQL_BULK_EXECUTE, COUNT, 7, UINT32_MAX, ""},
	{FS_MYSQL_FIELD_LIST, COUNT, 2, 1024, "FIELD_LIST *"},
	{FS_MYSQL_STATISTICS, COUNT, 1, 1, "STATISTICS"},
	{FS_MYSQL_CHANGE_USER, COUNT, 3, UINT32_MAX, "CHANGE_USER"},
	{FS_MYSQL_SET_OPTION, COUNT, 3, 3, "SET_OPTION"},
	{0x1f, COUNT, 1, 1, "RESET_CONNECTION"},
	{0x05, COUNT, 2, 1024, "CREATE DATABASE *"},
	{0x06, COUNT, 2, 1024, "DROP DATABASE *"},
	{0x07, COUNT, 2, 2, "REFRESH"},
	{0x08, COUNT, 1, 2, "SHUTDOWN"},
	{FS_MYSQL_PROCESS_INFO, COUNT, 1, 1, "PROCESS_INFO"},
	{0x0c, COUNT, 5, 5, "PROCESS_KILL"},
	{0x0d, COUNT, 1, 1, "DEBUG"},
	{FS_MYSQL_BINLOG_DUMP, COUNT, 11, 1024, "BINLOG_DUMP"},
	{FS_MYSQL_TABLE_DUMP, COUNT, 3, 1024, "TABLE_DUMP"},
	{0x15, COUNT, 18, 2048, "REGISTER_REPLICA"},
	{FS_MYSQL_BINLOG_DUMP_GTID, COUNT, 19, UINT32_MAX, "BINLOG_DUMP_GTID"},
};

static const struct command *command_of(uint8_t number, uint32_t length)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (commands[i].number == number)
			return length >= commands[i].shortest && length <= commands[i].longest ? &commands[i] : NULL;
	return NULL;
}

/* Sizes of the values of types with a fixed one; 0: a length comes first; -1: unknown. */
static int size_of_type(uint16_t type)
{
	switch (type & 0xff) {
	case 0x01: return 1;
	case 0x02:
	case 0x0d: return 2;
	case 0x03:
	case 0x04:
	case 0x09: return 4;
	case 0x05:
	case 0x08: return 8;
	case 0x06: return -1;
	case 0x07:
	case 0x0a:
	case 0x0b:
	case 0x0c: return 0;
	default: return (type & 0xff) >= 0xf5 || (type & 0xff) == 0x0f || (type & 0xff) == 0x00 ? 0 : -1;
	}
}

static bool skip_text(struct fs_cursor *bytes)
{
	uint64_t length;
	return fs_mysql_number(bytes, &length) && fs_skip(bytes, length);
}

/*
 * With CLIENT_QUERY_ATTRIBUTES their number, the number of their sets (always 1), and if there are any a bitmap of those
 * that are NULL, a 1, types and names, and values. A statement does not start with a byte below a blank and a 1.
 */
bool fs_mysql_skip_attributes(struct fs_cursor *bytes)
{
	struct fs_cursor ahead = *bytes;
	uint16_t types[ATTRIBUTES_MAX];
	struct fs_text nulls;
	int count = fs_peek(bytes, 0);
	if (count < 0 || count > ATTRIBUTES_MAX || fs_peek(bytes, 1) != 1)
		return true;
	fs_skip(&ahead, 2);
	if (count) {
		if (!fs_take(&ahead, (uint32_t)(count + 7) / 8, &nulls) || !fs_accept(&ahead, "\1"))
			return false;
		for (int i = 0; i < count; i++)
			if (!fs_u16le(&ahead, &types[i]) || !skip_text(&ahead))
				return false;
		struct fs_cursor bits = fs_inside(nulls);
		for (int i = 0; i < count; i++) {
			int size = size_of_type(types[i]);
			if (fs_peek(&bits, (size_t)i / 8) >> i % 8 & 1)
				continue;
			if (size < 0 || !(size ? fs_skip(&ahead, (uint64_t)size) : skip_text(&ahead)))
				return false;
		}
	}
	*bytes = ahead;
	return true;
}

static void write_statement(struct fs_cursor bytes, struct fs_label *out)
{
	if (fs_mysql_skip_attributes(&bytes))
		fs_sql_reduce(bytes, FS_SQL_MYSQL, out);
	else
		fs_label_byte(out, '*');
}

/* Statements are known by a number, and the one prepared last also by the highest one (MariaDB). */
static uint64_t key_of(uint32_t statement)
{
	return (uint64_t)statement + 1;
}

static void write_prepared(struct fs_cursor bytes, struct fs_mysql_state *state, struct fs_label *out)
{
	uint32_t statement;
	if (!state || !fs_u32le(&bytes, &statement) || !fs_statement_recall(&state->statements, key_of(statement), out))
		fs_label_byte(out, '*');
}

static void write_content(const struct command *command, struct fs_cursor bytes, struct fs_mysql_state *state,
			  struct fs_label *out)
{
	uint32_t before;
	fs_label_literal(out, command->content);
	before = out->length;
	switch (command->number) {
	case FS_MYSQL_QUERY: write_statement(bytes, out); break;
	case FS_MYSQL_PREPARE:
		write_statement(bytes, out);
		if (state)
			fs_statement_keep(&state->statements, key_of(UINT32_MAX), out, before);
		break;
	case FS_MYSQL_EXECUTE:
	case FS_MYSQL_BULK_EXECUTE:
	case FS_MYSQL_FETCH:
	case FS_MYSQL_RESET: write_prepared(bytes, state, out); break;
	default: break;
	}
}

static void forget(struct fs_cursor bytes, struct fs_mysql_state *state)
{
	uint32_t statement;
	if (state && fs_u32le(&bytes, &statement))
		fs_statement_forget(&state->statements, key_of(statement));
}

/* COM_BINLOG_DUMP_GTID: flags and server's id, then a file's name behind its length, a position and the set's size. */
static bool fits_file_name(const struct fs_cursor *body, uint32_t length)
{
	uint32_t name = 0;
	for (size_t i = 0; i < 4; i++) {
		int byte = fs_peek(body, 7 + i);
		if (byte < 0)
			return true;
		name |= (uint32_t)byte << (8 * i);
	}
	return length >= 19 && name <= length - 19;
}

/* Any language's letters may stand in a statement, but not where it starts. */
static bool is_plausible(const struct fs_mysql_packet *packet, uint8_t number)
{
	struct fs_cursor bytes = packet->body;
	if (number == FS_MYSQL_EXECUTE)
		return fs_mysql_is_execute(packet) != FS_FRAME_INVALID;
	if (number == FS_MYSQL_BINLOG_DUMP_GTID)
		return fits_file_name(&bytes, packet->length);
	if ((number != FS_MYSQL_QUERY && number != FS_MYSQL_PREPARE) || fs_peek(&bytes, 2) == 1)
		return true;
	for (size_t i = 1; i <= STATEMENT_START; i++) {
		int byte = fs_peek(&bytes, i);
		if (byte >= 0 && (byte < '\t' || (byte > '\r' && byte < ' ') || byte > 0x7e))
			return false;
	}
	return true;
}

static enum fs_framed frame_command(struct fs_frame_input *in, const struct fs_mysql_packet *packet,
				    struct fs_message *out)
{
	struct fs_mysql_state *state = in->state;
	struct fs_cursor bytes = packet->body;
	uint32_t needed = packet->length < LOOKED_AT ? packet->length : LOOKED_AT;
	struct fs_text looked_at = {0};
	uint8_t number;
	const struct command *command;
	if (packet->length == 0)
		return FS_FRAME_INVALID;
	if (!fs_u8(&bytes, &number))
		return in->bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
	command = command_of(number, packet->length);
	if (!command)
		return FS_FRAME_INVALID;
	bool is_short = command->longest != UINT32_MAX || packet->length < FS_MYSQL_SHORT;
	if (is_short && !packet->whole && in->bytes.truncated)
		return FS_FRAME_INVALID;
	/* First all that is looked at, or the answer would hang on how the bytes were cut. */
	if (fs_left(&packet->body) < needed && !in->bytes.truncated)
		return FS_FRAME_MORE;
	if (!is_plausible(packet, number))
		return FS_FRAME_INVALID;
	bool whole = fs_left(&packet->body) >= needed;
	fs_take(&bytes, whole ? needed - 1 : (uint32_t)fs_left(&bytes), &looked_at);
	bytes = fs_inside(looked_at);
	bytes.truncated = looked_at.length + 1 < packet->length;
	fs_message_begin(out, FS_MYSQL_HEADER + (uint64_t)packet->length);
	out->method = number;
	if (!whole)
		out->flags = FS_MESSAGE_CUT;
	if (packet->length == FS_MYSQL_LONGEST) {
		out->body = FS_BODY_PARTS;
		in->scratch[0] = 1;
	}
	if (command->action == SKIP)
		out->flags |= FS_MESSAGE_SKIP;
	if (number == FS_MYSQL_CLOSE)
		forget(bytes, state);
	write_content(command, bytes, state, &out->content);
	if (state)
		state->greeted = state->sends_file = 0;
	in->scratch[1] = 1;
	return FS_FRAME_MESSAGE;
}

/*
 * A piece of a file, whose packets are numbered from 0 again behind 255. Of one that was not captured whole it is not known
 * where the next begins: that lasts until the server says how it went.
 */
static enum fs_framed frame_file(struct fs_frame_input *in, struct fs_mysql_state *state, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct fs_mysql_packet packet;
	bool is_read = fs_mysql_packet(&bytes, &packet);
	if (!is_read && !in->bytes.truncated)
		return FS_FRAME_MORE;
	fs_message_begin(out, is_read ? FS_MYSQL_HEADER + (uint64_t)packet.length : fs_left(&in->bytes));
	out->flags = FS_MESSAGE_SKIP;
	if (in->bytes.truncated && out->length >= fs_left(&in->bytes))
		out->body = FS_BODY_UNTIL_FLIP;
	if (is_read && packet.length == 0)
		state->sends_file = 0;
	return FS_FRAME_MESSAGE;
}

/* The rest of a command of more than 16 MiB. */
static enum fs_framed frame_rest(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct fs_mysql_packet packet;
	if (!fs_mysql_packet(&bytes, &packet))
		return in->bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
	if (packet.sequence == 0) {
		in->scratch[0] = 0;
		return FS_FRAME_INVALID;
	}
	fs_message_begin(out, FS_MYSQL_HEADER + (uint64_t)packet.length);
	if (packet.length == FS_MYSQL_LONGEST)
		return FS_FRAME_PART;
	in->scratch[0] = 0;
	return FS_FRAME_END;
}

/* Its user and password are not looked at. */
static enum fs_framed frame_login(struct fs_frame_input *in, const struct fs_mysql_packet *packet,
				  struct fs_message *out)
{
	struct fs_mysql_state *state = in->state;
	struct fs_cursor bytes = packet->body;
	enum fs_framed framed = fs_mysql_is_login(packet);
	uint32_t capabilities;
	if (framed == FS_FRAME_MORE && in->bytes.truncated)
		return FS_FRAME_INVALID;
	if (framed != FS_FRAME_MESSAGE)
		return framed;
	fs_u32le(&bytes, &capabilities);
	if (capabilities & FS_MYSQL_CAN_SSL && packet->length == LOGIN_MIN) {
		out->flags = FS_MESSAGE_SKIP | FS_MESSAGE_SWITCH;
		out->next_protocol = FS_PROTOCOL_TLS;
		return FS_FRAME_MESSAGE;
	}
	if (state && state->greeted) {
		state->agreed = capabilities & state->offered;
		state->framing = state->agreed & FS_MYSQL_CAN_DEPRECATE_EOF ? FS_MYSQL_WITHOUT_EOF : FS_MYSQL_WITH_EOF;
		state->greeted = 0;
	}
	in->scratch[1] = 1;
	out->flags = FS_MESSAGE_IF_FAILED;
	out->method = FS_MYSQL_LOGIN;
	fs_label_literal(&out->content, "LOGIN");
	return FS_FRAME_MESSAGE;
}

enum fs_framed fs_mysql_request(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_mysql_state *state = in->state;
	struct fs_cursor bytes = in->bytes;
	struct fs_mysql_packet packet;
	if (in->scratch[0])
		return frame_rest(in, out);
	if (state && state->sends_file && in->scratch[1])
		return frame_file(in, state, out);
	if (!fs_mysql_packet(&bytes, &packet))
		return in->bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
	if (packet.sequence == 0)
		return frame_command(in, &packet, out);
	fs_message_begin(out, FS_MYSQL_HEADER + (uint64_t)packet.length);
	if (!in->scratch[1])
		return packet.sequence <= 2 ? frame_login(in, &packet, out) : FS_FRAME_INVALID;
	/* Passwords, and the content of files that LOAD DATA LOCAL asked for. */
	out->flags = FS_MESSAGE_SKIP;
	return FS_FRAME_MESSAGE;
}
