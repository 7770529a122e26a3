/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the MySQL parser share. "Client/Server Protocol" of the MySQL and of the MariaDB documentation. */
#ifndef FIRESTEEL_MYSQL_PACKETS_H
#define FIRESTEEL_MYSQL_PACKETS_H

#include "../protocol.h"
#include "little_endian.h"
#include "statements.h"

#define FS_MYSQL_HEADER 4
#define FS_MYSQL_SHORT 256 /* of a packet shorter than this all is captured */
#define FS_MYSQL_LONGEST 0xffffffu /* a packet of this length goes on in the next one */

/* A request's `method`: its command, and two numbers that are none. */
enum fs_mysql_command {
	FS_MYSQL_QUIT = 0x01,
	FS_MYSQL_INIT_DB = 0x02,
	FS_MYSQL_QUERY = 0x03,
	FS_MYSQL_FIELD_LIST = 0x04,
	FS_MYSQL_STATISTICS = 0x09,
	FS_MYSQL_PROCESS_INFO = 0x0a,
	FS_MYSQL_PING = 0x0e,
	FS_MYSQL_CHANGE_USER = 0x11,
	FS_MYSQL_BINLOG_DUMP = 0x12,
	FS_MYSQL_TABLE_DUMP = 0x13,
	FS_MYSQL_PREPARE = 0x16,
	FS_MYSQL_EXECUTE = 0x17,
	FS_MYSQL_SEND_LONG_DATA = 0x18,
	FS_MYSQL_CLOSE = 0x19,
	FS_MYSQL_RESET = 0x1a,
	FS_MYSQL_SET_OPTION = 0x1b,
	FS_MYSQL_FETCH = 0x1c,
	FS_MYSQL_BINLOG_DUMP_GTID = 0x1e,
	FS_MYSQL_BULK_EXECUTE = 0xfa, /* MariaDB */
	FS_MYSQL_LOGIN = 0x100
};

enum fs_mysql_capability {
	FS_MYSQL_CAN_COMPRESS = 1 << 5,
	FS_MYSQL_CAN_PROTOCOL_41 = 1 << 9,
	FS_MYSQL_CAN_SSL = 1 << 11,
	FS_MYSQL_CAN_SECURE = 1 << 15,
	FS_MYSQL_CAN_DEPRECATE_EOF = 1 << 24,
	FS_MYSQL_CAN_OPTIONAL_METADATA = 1 << 25, /* MySQL only */
	FS_MYSQL_CAN_COMPRESS_ZSTD = 1 << 26
};

enum fs_mysql_framing { FS_MYSQL_FRAMING_UNKNOWN, FS_MYSQL_WITH_EOF, FS_MYSQL_WITHOUT_EOF };

/* What is known of a connection, from both of its sides. */
struct fs_mysql_state {
	uint32_t offered; /* by the server; of a connection that was joined later, 0 */
	uint32_t agreed; /* what both can do */
	uint8_t greeted; /* a greeting was seen and no login yet */
	uint8_t framing; /* enum fs_mysql_framing: do EOF packets follow definitions? */
	uint8_t sends_file; /* the client does, because the server asked for it */
	uint8_t reserved;
	struct fs_statements statements;
};

struct fs_mysql_packet {
	uint32_t length; /* without the header */
	uint8_t sequence;
	bool whole; /* all of it is here */
	struct fs_cursor body; /* as far as it is here, and not beyond the packet */
};

/* False if not even the header is here. */
static inline bool fs_mysql_packet(struct fs_cursor *bytes, struct fs_mysql_packet *out)
{
	struct fs_text body = {0};
	if (fs_left(bytes) < FS_MYSQL_HEADER || !fs_u24le(bytes, &out->length) || !fs_u8(bytes, &out->sequence))
		return false;
	out->whole = out->length <= fs_left(bytes);
	fs_take(bytes, out->whole ? out->length : (uint32_t)fs_left(bytes), &body);
	out->body = fs_inside(body);
	out->body.truncated = !out->whole;
	return true;
}

/* A number of 1, 3, 4 or 9 bytes. */
static inline bool fs_mysql_number(struct fs_cursor *bytes, uint64_t *out)
{
	struct fs_cursor ahead = *bytes;
	uint8_t first;
	if (!fs_u8(&ahead, &first))
		return false;
	*out = first;
	if (first > 0xfa &&
	    !(first >= 0xfc && first <= 0xfe && fs_little(&ahead, first == 0xfe ? 8 : first - 0xfau, out)))
		return false;
	*bytes = ahead;
	return true;
}

bool fs_mysql_is_greeting(const struct fs_mysql_packet *packet);
/* An ERR packet's start: a mark, a code that servers give, and text. */
bool fs_mysql_is_error(struct fs_cursor bytes);
/* The client's half of the greetings, by what is in it; MORE if it cannot be told yet. */
enum fs_framed fs_mysql_is_login(const struct fs_mysql_packet *packet);
/* Is this COM_STMT_EXECUTE believable? MORE if it cannot be told yet. */
enum fs_framed fs_mysql_is_execute(const struct fs_mysql_packet *packet);
uint32_t fs_mysql_offered(struct fs_cursor greeting);

/* Steps over what may stand between COM_QUERY's command and its statement. */
bool fs_mysql_skip_attributes(struct fs_cursor *bytes);

enum fs_framed fs_mysql_request(struct fs_frame_input *in, struct fs_message *out);
enum fs_framed fs_mysql_response(struct fs_frame_input *in, struct fs_message *out);
enum fs_detected fs_mysql_detect(struct fs_cursor bytes, bool datagram);

#endif
