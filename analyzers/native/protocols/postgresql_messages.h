/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the PostgreSQL parser share. "Frontend/Backend Protocol" of PostgreSQL's documentation. */
#ifndef FIRESTEEL_POSTGRESQL_MESSAGES_H
#define FIRESTEEL_POSTGRESQL_MESSAGES_H

#include "../protocol.h"
#include "statements.h"

#define FS_PG_HEADER 5 /* type, and a length that counts itself */
#define FS_PG_LONGEST 0x40000000u

/* A request's `method`: how its response ends. */
enum fs_pg_kind {
	FS_PG_SIMPLE = 1, /* with ReadyForQuery */
	FS_PG_EXECUTE, /* with CommandComplete and its like */
	FS_PG_BATCH, /* with as many confirmations as `note` says */
	FS_PG_LOGIN, /* with ReadyForQuery or an error */
	FS_PG_NEGOTIATE /* a byte */
};

/* Codes that stand where a first message has its protocol's version. */
enum fs_pg_code { FS_PG_CANCEL = 80877102, FS_PG_SSL = 80877103, FS_PG_GSS = 80877104 };

/* What is known of a connection, from both of its sides. */
struct fs_pg_state {
	struct fs_statements statements; /* and portals: names of two spaces */
};

struct fs_pg_message {
	uint8_t type;
	bool whole; /* all of it is here */
	uint64_t length; /* with the header */
	struct fs_cursor body; /* as far as it is here, and not beyond the message */
};

/* A message with a type, if so much is here; its length is only believed if it can be one. */
static inline enum fs_framed fs_pg_message(struct fs_cursor *bytes, struct fs_pg_message *out)
{
	struct fs_cursor ahead = *bytes;
	struct fs_text body = {0};
	uint32_t length;
	if (!fs_u8(&ahead, &out->type) || !fs_u32be(&ahead, &length))
		return FS_FRAME_MORE;
	if (length < 4 || length > FS_PG_LONGEST)
		return FS_FRAME_INVALID;
	length -= 4;
	out->length = FS_PG_HEADER + (uint64_t)length;
	out->whole = length <= fs_left(&ahead);
	fs_take(&ahead, out->whole ? length : (uint32_t)fs_left(&ahead), &body);
	out->body = fs_inside(body);
	out->body.truncated = !out->whole;
	*bytes = ahead;
	return FS_FRAME_MESSAGE;
}

/* Is this length possible for a message that this side sends? False for types that it does not send. */
bool fs_pg_client_sends(const struct fs_pg_message *message);
bool fs_pg_server_sends(const struct fs_pg_message *message);

/* The SQLSTATE of an ErrorResponse; false if it is not here. */
bool fs_pg_sqlstate(struct fs_cursor body, struct fs_text *state);

enum fs_detected fs_pg_detect(struct fs_cursor bytes, bool datagram);
enum fs_framed fs_pg_request(struct fs_frame_input *in, struct fs_message *out);
enum fs_framed fs_pg_response(struct fs_frame_input *in, struct fs_message *out);

#endif
