/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MySQL and MariaDB: "Client/Server Protocol" of both documentations.
 *
 * One request is one command that the server answers: COM_QUERY with all its results, COM_STMT_PREPARE,
 * COM_STMT_EXECUTE, COM_PING and so on. COM_QUIT, COM_STMT_CLOSE and COM_STMT_SEND_LONG_DATA are not answered and only
 * their bytes count. A login is counted if it fails.
 *
 * request content   the statement as "SELECT orders *" (sql.h), of COM_STMT_EXECUTE the one that was prepared, else the
 *                   command's name; "*" if the statement is not known.
 * response content  the error code, 0 if there is none. Each ERR packet is an error, also behind rows.
 * method            the command, for the response's framing.
 *
 * Whoever asked for TLS speaks TLS from there on. Where compression was agreed nothing can be decoded: the connection is
 * then counted by direction flips, with "mysql compressed" for its content.
 *
 * scratch: of the client's side, mysql_requests.c; of the server's, mysql_responses.c.
 */
#include "mysql_packets.h"
#include "protocols.h"
#include "sql.h"

#define GREETING_MIN 40
#define GREETING_MAX 512
#define VERSION_MAX 128
#define PROTOCOL_VERSION 0x0a
#define ERROR_MIN 1000
#define ERROR_MAX 4999

static bool is_printable(struct fs_text text)
{
	struct fs_cursor bytes = fs_inside(text);
	uint8_t byte;
	while (fs_u8(&bytes, &byte))
		if (byte < 0x20 || byte > 0x7e)
			return false;
	return text.length > 0;
}

bool fs_mysql_is_error(struct fs_cursor bytes)
{
	struct fs_text text;
	uint16_t code;
	return fs_accept(&bytes, "\xff") && fs_u16le(&bytes, &code) && code >= ERROR_MIN && code <= ERROR_MAX &&
	       fs_left(&bytes) > 5 && fs_take(&bytes, 6, &text) && is_printable(text);
}

/* Version of the server, connection's number, half of a salt, a zero; more follows in every version since 4.1. */
bool fs_mysql_is_greeting(const struct fs_mysql_packet *packet)
{
	struct fs_cursor bytes = packet->body;
	struct fs_text version;
	uint8_t protocol;
	if (packet->length < GREETING_MIN || packet->length > GREETING_MAX || !fs_u8(&bytes, &protocol) ||
	    protocol != PROTOCOL_VERSION || !fs_take_until(&bytes, 0, VERSION_MAX, &version) || !is_printable(version))
		return false;
	return fs_peek(&packet->body, 1) >= '0' && fs_peek(&packet->body, 1) <= '9' && fs_peek(&bytes, 12) <= 0;
}

uint32_t fs_mysql_offered(struct fs_cursor greeting)
{
	struct fs_text version;
	uint16_t low = 0, high = 0;
	fs_skip(&greeting, 1);
	if (!fs_take_until(&greeting, 0, VERSION_MAX, &version) || !fs_skip(&greeting, 13) ||
	    !fs_u16le(&greeting, &low))
		return 0;
	if (fs_skip(&greeting, 3))
		fs_u16le(&greeting, &high);
	return low | (uint32_t)high << 16;
}

/* A statement, by its first word. */
static enum fs_detected detect_statement(struct fs_cursor bytes)
{
	bool whole = !bytes.truncated;
	bytes.truncated = false;
	fs_skip(&bytes, 1);
	if (!fs_mysql_skip_attributes(&bytes))
		return FS_NOT_MINE;
	switch (fs_sql_starts(bytes, FS_SQL_MYSQL)) {
	case FS_SQL_STATEMENT: return FS_MINE_REQUEST;
	case FS_SQL_PARTLY: return whole ? FS_NOT_MINE : FS_TOO_SHORT;
	default: return FS_NOT_MINE;
	}
}

/* The statement's number, flags, and a count that is always 1. */
enum fs_framed fs_mysql_is_execute(const struct fs_mysql_packet *packet)
{
	struct fs_cursor bytes = packet->body;
	uint32_t statement, iterations;
	uint8_t command, flags;
	if (packet->length < 10)
		return FS_FRAME_INVALID;
	if (!fs_u8(&bytes, &command) || !fs_u32le(&bytes, &statement) || !fs_u8(&bytes, &flags) ||
	    !fs_u32le(&bytes, &iterations))
		return FS_FRAME_MORE;
	return flags <= 0x0f && iterations == 1 ? FS_FRAME_MESSAGE : FS_FRAME_INVALID;
}

/* Servers count statements from 1; a Bind of PostgreSQL may have all but that. */
static enum fs_detected detect_execute(const struct fs_mysql_packet *packet)
{
	struct fs_cursor number = packet->body;
	uint32_t statement;
	if (fs_skip(&number, 1) && fs_u32le(&number, &statement) && statement == 0)
		return FS_NOT_MINE;
	switch (fs_mysql_is_execute(packet)) {
	case FS_FRAME_MESSAGE: return FS_MINE_REQUEST;
	case FS_FRAME_MORE: return FS_TOO_SHORT;
	default: return FS_NOT_MINE;
	}
}

static enum fs_detected detect_greeting(const struct fs_mysql_packet *packet)
{
	struct fs_cursor bytes = packet->body;
	if (packet->length < GREETING_MIN || packet->length > GREETING_MAX)
		return FS_NOT_MINE;
	if (!packet->whole && fs_left(&bytes) < GREETING_MIN)
		return FS_TOO_SHORT;
	return fs_mysql_is_greeting(packet) ? FS_MINE_GREETING : FS_NOT_MINE;
}

/* Sequence number 0: a command, or the server's first word. `rest` is what follows the packet. */
static enum fs_detected detect_first(const struct fs_mysql_packet *packet, const struct fs_cursor *rest)
{
	int first = fs_peek(&packet->body, 0);
	enum fs_detected found;
	switch (first) {
	case FS_MYSQL_QUERY:
	case FS_MYSQL_PREPARE:
		if (packet->length <= 1)
			return FS_NOT_MINE;
		/* A Query of PostgreSQL looks like the start of a PREPARE, but it ends before this would. */
		found = detect_statement(packet->body);
		return found == FS_MINE_REQUEST && !packet->whole && packet->length < FS_MYSQL_SHORT ? FS_TOO_SHORT
												     : found;
	case FS_MYSQL_EXECUTE: return detect_execute(packet);
	case FS_MYSQL_PING: return packet->length == 1 && fs_left(rest) == 0 ? FS_MINE_REQUEST : FS_NOT_MINE;
	case PROTOCOL_VERSION: return detect_greeting(packet);
	case 0xff:
		if (packet->length < 9 || packet->length > GREETING_MAX)
			return FS_NOT_MINE;
		return fs_left(&packet->body) < 9	 ? FS_TOO_SHORT
		       : fs_mysql_is_error(packet->body) ? FS_MINE_GREETING
							 : FS_NOT_MINE;
	default: return FS_NOT_MINE;
	}
}

/* Capabilities, longest packet, character set, and 19 zeros. */
enum fs_framed fs_mysql_is_login(const struct fs_mysql_packet *packet)
{
	const uint32_t needed = FS_MYSQL_CAN_PROTOCOL_41 | FS_MYSQL_CAN_SECURE;
	struct fs_cursor bytes = packet->body;
	uint32_t capabilities, longest;
	if (packet->length < 32)
		return FS_FRAME_INVALID;
	if (!fs_u32le(&bytes, &capabilities))
		return FS_FRAME_MORE;
	if ((capabilities & needed) != needed)
		return FS_FRAME_INVALID;
	if (!fs_u32le(&bytes, &longest) || !fs_skip(&bytes, 1) || fs_left(&bytes) < 19)
		return FS_FRAME_MORE;
	for (uint32_t i = 0; i < 19; i++)
		if (fs_peek(&bytes, i) != 0)
			return FS_FRAME_INVALID;
	return FS_FRAME_MESSAGE;
}

static enum fs_detected detect_login(const struct fs_mysql_packet *packet)
{
	switch (fs_mysql_is_login(packet)) {
	case FS_FRAME_MESSAGE: return FS_MINE_REQUEST;
	case FS_FRAME_MORE: return FS_TOO_SHORT;
	default: return FS_NOT_MINE;
	}
}

static bool is_ok(const struct fs_mysql_packet *packet)
{
	struct fs_cursor bytes = packet->body;
	uint64_t number;
	uint16_t status, warnings;
	return packet->whole && fs_skip(&bytes, 1) && fs_mysql_number(&bytes, &number) &&
	       fs_mysql_number(&bytes, &number) && fs_u16le(&bytes, &status) && fs_u16le(&bytes, &warnings) &&
	       (status & 0x8002) == 2 && fs_left(&bytes) == 0;
}

/* The number of columns and the first definition, whose catalog is always "def". */
static enum fs_detected detect_result(struct fs_cursor rest)
{
	struct fs_mysql_packet definition;
	if (!fs_mysql_packet(&rest, &definition) || fs_left(&definition.body) < 4)
		return FS_TOO_SHORT;
	return definition.sequence == 2 && fs_accept(&definition.body, "\3def") ? FS_MINE_RESPONSE : FS_NOT_MINE;
}

/* Sequence number 1: the first packet of a response, or a login. */
static enum fs_detected detect_second(const struct fs_mysql_packet *packet, const struct fs_cursor *rest)
{
	int first = fs_peek(&packet->body, 0);
	if (packet->length <= 3 && first > 0 && first < 0xfb)
		return packet->whole ? detect_result(*rest) : FS_TOO_SHORT;
	if (first == 0 && packet->length >= 7 && packet->length <= 23) {
		if (!packet->whole)
			return FS_TOO_SHORT;
		if (is_ok(packet))
			return FS_MINE_RESPONSE;
	}
	if (first == 0xff && packet->length >= 9 && packet->length <= GREETING_MAX)
		return fs_left(&packet->body) < 9	 ? FS_TOO_SHORT
		       : fs_mysql_is_error(packet->body) ? FS_MINE_RESPONSE
							 : FS_NOT_MINE;
	return detect_login(packet);
}

/* The upper byte of a length and a sequence number that starts something. */
static bool may_be_header(const struct fs_cursor *bytes)
{
	return fs_left(bytes) <= FS_MYSQL_HEADER && fs_peek(bytes, 2) <= 0 && fs_peek(bytes, 3) <= 1;
}

static enum fs_detected detect(struct fs_cursor bytes, bool datagram)
{
	struct fs_cursor rest = bytes;
	struct fs_mysql_packet packet;
	enum fs_detected found;
	if (datagram)
		return FS_NOT_MINE;
	if (fs_left(&bytes) <= FS_MYSQL_HEADER)
		return may_be_header(&bytes) && !bytes.truncated ? FS_TOO_SHORT : FS_NOT_MINE;
	if (!fs_mysql_packet(&rest, &packet) || packet.sequence > 1 || packet.length == 0)
		return FS_NOT_MINE;
	found = packet.sequence ? detect_second(&packet, &rest) : detect_first(&packet, &rest);
	return found == FS_TOO_SHORT && bytes.truncated ? FS_NOT_MINE : found;
}

static enum fs_framed frame(struct fs_frame_input *in, struct fs_message *out)
{
	return in->side == FS_SIDE_REQUEST ? fs_mysql_request(in, out) : fs_mysql_response(in, out);
}

static void stitch(const struct fs_message *request, const struct fs_message *response,
		   const struct fs_parser_options *options, struct fs_outcome *out)
{
	(void)options;
	out->status = response ? response->status : 0;
	out->error = !response || response->status;
	out->request_content = request->content;
	out->response_content.length = 0;
	out->response_content.text[0] = 0;
	if (!response)
		return;
	if (response->flags & FS_MESSAGE_SWITCH) {
		out->request_content.length = 0;
		fs_label_literal(&out->request_content, "mysql compressed");
	}
	fs_label_decimal(&out->response_content, response->status);
}

const struct fs_protocol fs_protocol_mysql = {
	.id = FS_PROTOCOL_MYSQL,
	.streams = 1,
	.unpipelined = 1,
	.late_outcome = 1,
	.state_bytes = sizeof(struct fs_mysql_state),
	.detect = detect,
	.frame = frame,
	.stitch = stitch,
};
