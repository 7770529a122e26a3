/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What MySQL's servers send. A response is one packet (OK, ERR, EOF) or a result set: the number of columns, their
 * definitions, an EOF packet unless CLIENT_DEPRECATE_EOF was agreed, rows, and an EOF, OK or ERR packet; and more of
 * these as long as the status says so. Whether EOF packets are used shows in the first result set that is seen, so
 * the greetings need not be.
 */
#include "mysql_packets.h"

#define HEAD_NEEDED 32u /* what is read of a packet, from its start */

enum status { MORE_RESULTS = 0x0008, CURSOR_EXISTS = 0x0040 };
enum first { FIRST_OK = 0x00, FIRST_FILE = 0xfb, FIRST_EOF = 0xfe, FIRST_ERROR = 0xff };

enum stage {
	STAGE_HEAD = 0, /* the first packet of a response */
	STAGE_DEFINITIONS,
	STAGE_DEFINED, /* an EOF packet, or what follows where there is none */
	STAGE_ROWS,
	STAGE_NEXT /* the first packet of the next result */
};

/* Kept in the scratch between packets of one response. */
struct progress {
	uint8_t stage;
	bool prepares; /* definitions are those of a prepared statement */
	bool continued; /* the packet goes on one of the longest that there are */
	uint8_t sequence; /* of the next packet */
	uint16_t definitions; /* to come */
	uint16_t more_definitions; /* and behind the next EOF */
};

enum step { GOES_ON, OVER, MORE_NEEDED, BAD };

static struct progress load(const uint8_t *scratch)
{
	return (struct progress){
		.stage = scratch[0],
		.prepares = scratch[1] & 1,
		.continued = scratch[1] & 2,
		.sequence = scratch[6],
		.definitions = (uint16_t)(scratch[2] | scratch[3] << 8),
		.more_definitions = (uint16_t)(scratch[4] | scratch[5] << 8),
	};
}

static void save(uint8_t *scratch, const struct progress *progress)
{
	scratch[0] = progress->stage;
	scratch[1] = (uint8_t)(progress->prepares | progress->continued << 1);
	scratch[2] = (uint8_t)progress->definitions;
	scratch[3] = (uint8_t)(progress->definitions >> 8);
	scratch[4] = (uint8_t)progress->more_definitions;
	scratch[5] = (uint8_t)(progress->more_definitions >> 8);
	scratch[6] = progress->sequence;
}

static bool is_eof(const struct fs_mysql_packet *packet)
{
	return packet->length == 5 && fs_peek(&packet->body, 0) == FIRST_EOF;
}

/* The status in an OK or EOF packet; 0 if it is not here. */
static uint16_t status_of(const struct fs_mysql_packet *packet)
{
	struct fs_cursor bytes = packet->body;
	uint64_t number;
	uint16_t status = 0;
	fs_skip(&bytes, 1);
	if (is_eof(packet))
		fs_skip(&bytes, 2);
	else if (!fs_mysql_number(&bytes, &number) || !fs_mysql_number(&bytes, &number))
		return 0;
	return fs_u16le(&bytes, &status) ? status : 0;
}

static enum step frame_error(const struct fs_mysql_packet *packet, struct fs_message *out)
{
	struct fs_cursor bytes = packet->body;
	uint16_t code;
	fs_skip(&bytes, 1);
	if (!fs_u16le(&bytes, &code))
		return BAD;
	out->status = code ? code : 1;
	out->flags |= FS_MESSAGE_TELLS;
	return OVER;
}

static enum step after_result(struct progress *progress, uint16_t status)
{
	progress->stage = STAGE_NEXT;
	return status & MORE_RESULTS ? GOES_ON : OVER;
}

/*
 * The number of columns. Where definitions can be left out because the client has them, a byte says whether they are:
 * behind the number in MariaDB, and before it in MySQL.
 */
static enum step begin_result(const struct fs_mysql_packet *packet, const struct fs_mysql_state *state,
			      struct progress *progress)
{
	struct fs_cursor bytes = packet->body;
	uint64_t columns;
	uint8_t follow = 1;
	if (state && state->agreed & FS_MYSQL_CAN_OPTIONAL_METADATA && packet->length > 1 && fs_peek(&bytes, 0) <= 1)
		fs_u8(&bytes, &follow);
	if (!fs_mysql_number(&bytes, &columns) || columns == 0 || columns > UINT16_MAX || fs_left(&bytes) > 1)
		return BAD;
	fs_u8(&bytes, &follow);
	progress->definitions = follow ? (uint16_t)columns : 0;
	progress->stage = follow ? STAGE_DEFINITIONS : STAGE_DEFINED;
	return GOES_ON;
}

static enum step begin_next(const struct fs_mysql_packet *packet, const struct fs_mysql_state *state,
			    struct progress *progress, struct fs_message *out)
{
	switch (fs_peek(&packet->body, 0)) {
	case FIRST_OK:
	case FIRST_EOF: return after_result(progress, status_of(packet));
	case FIRST_ERROR: return frame_error(packet, out);
	default: return begin_result(packet, state, progress);
	}
}

/* Statement number, columns, parameters; definitions of the parameters come first. */
static enum step begin_prepared(const struct fs_mysql_packet *packet, const struct fs_message *request,
				struct fs_mysql_state *state, struct progress *progress, struct fs_message *out)
{
	struct fs_cursor bytes = packet->body;
	uint32_t statement;
	uint16_t columns, parameters;
	if (fs_peek(&bytes, 0) == FIRST_ERROR)
		return frame_error(packet, out);
	if (!fs_skip(&bytes, 1) || !fs_u32le(&bytes, &statement) || !fs_u16le(&bytes, &columns) ||
	    !fs_u16le(&bytes, &parameters) || fs_peek(&packet->body, 0) != FIRST_OK)
		return BAD;
	if (state)
		fs_statement_keep(&state->statements, (uint64_t)statement + 1, &request->content,
				  sizeof("PREPARE ") - 1);
	progress->prepares = true;
	progress->definitions = parameters ? parameters : columns;
	progress->more_definitions = parameters ? columns : 0;
	progress->stage = STAGE_DEFINITIONS;
	return progress->definitions && fs_peek(&packet->body, 12) != 0 ? GOES_ON : OVER;
}

/* The next group of a prepared statement's definitions. */
static enum step next_group(struct progress *progress)
{
	progress->definitions = progress->more_definitions;
	progress->more_definitions = 0;
	progress->stage = STAGE_DEFINITIONS;
	return progress->definitions ? GOES_ON : OVER;
}

static enum step step_definition(const struct fs_mysql_packet *packet, struct fs_mysql_state *state,
				 struct progress *progress)
{
	if (is_eof(packet) && progress->prepares) {
		/* Of the group before: now it is known. */
		if (state)
			state->framing = FS_MYSQL_WITH_EOF;
		return GOES_ON;
	}
	if (--progress->definitions)
		return GOES_ON;
	progress->stage = STAGE_DEFINED;
	/* If it is not known, a packet that was not waited for is skipped. */
	if (progress->prepares && (!state || state->framing != FS_MYSQL_WITH_EOF))
		return next_group(progress);
	return GOES_ON;
}

static enum step step_row(const struct fs_mysql_packet *packet, struct progress *progress, struct fs_message *out)
{
	int first = fs_peek(&packet->body, 0);
	if (!progress->continued && first == FIRST_EOF && packet->length < FS_MYSQL_LONGEST)
		return after_result(progress, status_of(packet));
	if (!progress->continued && first == FIRST_ERROR)
		return frame_error(packet, out);
	progress->continued = packet->length == FS_MYSQL_LONGEST;
	return GOES_ON;
}

static enum step step_behind_definitions(const struct fs_mysql_packet *packet, struct fs_mysql_state *state,
					 struct progress *progress, struct fs_message *out)
{
	if (!is_eof(packet)) {
		if (progress->prepares)
			return BAD;
		if (state && state->framing == FS_MYSQL_FRAMING_UNKNOWN)
			state->framing = FS_MYSQL_WITHOUT_EOF;
		progress->stage = STAGE_ROWS;
		return step_row(packet, progress, out);
	}
	if (progress->prepares)
		return next_group(progress);
	if (state)
		state->framing = FS_MYSQL_WITH_EOF;
	progress->stage = STAGE_ROWS;
	/* Rows behind a cursor are fetched by commands of their own. */
	return status_of(packet) & CURSOR_EXISTS ? after_result(progress, status_of(packet)) : GOES_ON;
}

static enum step step(const struct fs_mysql_packet *packet, struct fs_mysql_state *state, struct progress *progress,
		      struct fs_message *out)
{
	switch (progress->stage) {
	case STAGE_DEFINITIONS: return step_definition(packet, state, progress);
	case STAGE_DEFINED: return step_behind_definitions(packet, state, progress, out);
	case STAGE_ROWS: return step_row(packet, progress, out);
	case STAGE_NEXT: return begin_next(packet, state, progress, out);
	default: return BAD;
	}
}

/* Is so much of the packet here that a step can be made of it? Rows and definitions may go on beyond the capture. */
static bool is_readable(const struct fs_mysql_packet *packet, const struct progress *progress)
{
	uint32_t needed = packet->length < HEAD_NEEDED ? packet->length : HEAD_NEEDED;
	int first = fs_peek(&packet->body, 0);
	if (progress->continued || packet->length == 0 || (progress->stage == STAGE_DEFINITIONS && packet->length != 5))
		return true;
	if (progress->stage == STAGE_ROWS && first >= 0 && first < FIRST_EOF)
		return true;
	return fs_left(&packet->body) >= needed;
}

/* As many packets of the response as are here. */
static enum fs_framed frame_rest(struct fs_frame_input *in, struct fs_message *out)
{
	struct progress progress = load(in->scratch);
	struct fs_cursor bytes = in->bytes;
	uint64_t length = 0, here = fs_left(&bytes);
	enum step how = GOES_ON;
	fs_message_begin(out, 0);
	while (how == GOES_ON && length < here) {
		struct fs_cursor ahead = bytes;
		struct fs_mysql_packet packet;
		struct progress next = progress;
		if (!fs_mysql_packet(&ahead, &packet) || !is_readable(&packet, &next))
			break;
		how = packet.sequence == next.sequence++ ? step(&packet, in->state, &next, out) : BAD;
		if (how == BAD)
			break;
		progress = next;
		bytes = ahead;
		length += FS_MYSQL_HEADER + (uint64_t)packet.length;
	}
	if (how == BAD && length == 0) {
		save(in->scratch, &(struct progress){0});
		return FS_FRAME_INVALID;
	}
	if (length == 0)
		return in->bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
	out->length = length;
	if (how == OVER)
		progress = (struct progress){0};
	save(in->scratch, &progress);
	return how == OVER ? FS_FRAME_END : FS_FRAME_PART;
}

/* Nobody asked: a greeting, a shutdown, an EOF packet that frame_rest did not wait for. */
static enum fs_framed frame_unasked(struct fs_frame_input *in, const struct fs_mysql_packet *packet,
				    struct fs_message *out)
{
	struct fs_mysql_state *state = in->state;
	int first = fs_peek(&packet->body, 0);
	if (packet->sequence == 0 && first == 0x0a) {
		if (!packet->whole)
			return in->bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
		if (!fs_mysql_is_greeting(packet))
			return FS_FRAME_INVALID;
		if (state) {
			state->offered = fs_mysql_offered(packet->body);
			state->greeted = 1;
		}
	} else if (!is_eof(packet) && !fs_mysql_is_error(packet->body)) {
		return FS_FRAME_INVALID;
	} else if (state) {
		state->sends_file = 0; /* it took longer than a request is waited for, and failed */
	}
	out->flags = FS_MESSAGE_SKIP;
	return FS_FRAME_MESSAGE;
}

/* Until it is OK or ERR, both sides may say more. */
static enum step begin_login(const struct fs_mysql_packet *packet, const struct fs_mysql_state *state,
			     struct fs_message *out)
{
	const uint32_t compression = FS_MYSQL_CAN_COMPRESS | FS_MYSQL_CAN_COMPRESS_ZSTD;
	switch (fs_peek(&packet->body, 0)) {
	case FIRST_ERROR: return frame_error(packet, out);
	case FIRST_OK:
		if (state && state->agreed & compression) {
			out->flags = FS_MESSAGE_SWITCH;
			out->next_protocol = FS_PROTOCOL_NOSUPPORT;
		}
		return OVER;
	case 0x01:
	case FIRST_EOF: out->flags = FS_MESSAGE_INTERIM; return OVER;
	default: return BAD;
	}
}

static enum step begin(const struct fs_mysql_packet *packet, const struct fs_message *request,
		       struct fs_mysql_state *state, struct progress *progress, struct fs_message *out)
{
	int first = fs_peek(&packet->body, 0);
	switch (request->method) {
	case FS_MYSQL_QUERY:
	case FS_MYSQL_EXECUTE:
	case FS_MYSQL_BULK_EXECUTE:
	case FS_MYSQL_PROCESS_INFO:
		if (first != FIRST_FILE)
			return begin_next(packet, state, progress, out);
		out->flags = FS_MESSAGE_INTERIM; /* the client sends a file, then this side says how it went */
		return OVER;
	case FS_MYSQL_PREPARE: return begin_prepared(packet, request, state, progress, out);
	case FS_MYSQL_FETCH:
	case FS_MYSQL_FIELD_LIST:
	case FS_MYSQL_TABLE_DUMP: progress->stage = STAGE_ROWS; return step_row(packet, progress, out);
	case FS_MYSQL_STATISTICS: return first == FIRST_ERROR ? frame_error(packet, out) : OVER;
	case FS_MYSQL_BINLOG_DUMP:
	case FS_MYSQL_BINLOG_DUMP_GTID:
		if (first == FIRST_ERROR)
			return frame_error(packet, out);
		out->body = FS_BODY_UNTIL_CLOSE;
		return OVER;
	case FS_MYSQL_CHANGE_USER:
	case FS_MYSQL_LOGIN: return begin_login(packet, request->method == FS_MYSQL_LOGIN ? state : NULL, out);
	default:
		if (first == FIRST_ERROR)
			return frame_error(packet, out);
		return first == FIRST_OK || first == FIRST_EOF ? OVER : BAD;
	}
}

/* An EOF packet of definitions that was not waited for: see step_definition. */
static bool is_stray(const struct fs_mysql_packet *packet, const struct fs_message *request)
{
	return is_eof(packet) && packet->sequence > 2 && request->method < FS_MYSQL_LOGIN &&
	       request->method != FS_MYSQL_CHANGE_USER;
}

enum fs_framed fs_mysql_response(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct fs_mysql_packet packet;
	struct progress progress = {.stage = STAGE_HEAD};
	if (in->scratch[0] != STAGE_HEAD) {
		struct fs_mysql_state *state = in->state;
		uint8_t framing = state ? state->framing : 0;
		enum fs_framed framed = frame_rest(in, out);
		/* The same packets come again. */
		if (state && framed < FS_FRAME_MESSAGE)
			state->framing = framing;
		return framed;
	}
	if (!fs_mysql_packet(&bytes, &packet) || !is_readable(&packet, &progress))
		return in->bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
	fs_message_begin(out, FS_MYSQL_HEADER + (uint64_t)packet.length);
	if (packet.length == 0)
		return FS_FRAME_INVALID;
	if (!in->waiting || is_stray(&packet, in->waiting))
		return frame_unasked(in, &packet, out);
	progress.sequence = (uint8_t)(packet.sequence + 1);
	switch (begin(&packet, in->waiting, in->state, &progress, out)) {
	case GOES_ON: out->body = FS_BODY_PARTS; break;
	case OVER: progress = (struct progress){0}; break;
	default: return FS_FRAME_INVALID;
	}
	struct fs_mysql_state *state = in->state;
	if (state)
		state->sends_file = out->flags & FS_MESSAGE_INTERIM && fs_peek(&packet.body, 0) == FIRST_FILE;
	save(in->scratch, &progress);
	return FS_FRAME_MESSAGE;
}
