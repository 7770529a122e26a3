/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What PostgreSQL's servers send. How a response ends is the request's to say (enum fs_pg_kind). After an error a server
 * skips everything up to the next Sync; the ReadyForQuery that answers it settles the requests that were skipped.
 */
#include "postgresql_messages.h"

#define FIELDS_LOOKED_AT 128u /* of an error: its severity twice, and its SQLSTATE */

enum step { GOES_ON, OVER, BAD };

/* Kept in the scratch. */
struct progress {
	uint8_t kind; /* enum fs_pg_kind of the response that has begun; 0: none has */
	bool failed; /* what follows up to ReadyForQuery is skipped */
	uint16_t confirmations; /* to come */
	uint64_t id; /* of the request that failed, or has its response begun */
};

static struct progress load(const uint8_t *scratch)
{
	struct progress progress = {
		.kind = scratch[0], .failed = scratch[1], .confirmations = (uint16_t)(scratch[2] | scratch[3] << 8)};
	for (int i = 0; i < 8; i++)
		progress.id |= (uint64_t)scratch[8 + i] << 8 * i;
	return progress;
}

static void save(uint8_t *scratch, const struct progress *progress)
{
	scratch[0] = progress->kind;
	scratch[1] = progress->failed;
	scratch[2] = (uint8_t)progress->confirmations;
	scratch[3] = (uint8_t)(progress->confirmations >> 8);
	for (int i = 0; i < 8; i++)
		scratch[8 + i] = (uint8_t)(progress->id >> 8 * i);
}

static void tell_error(const struct fs_pg_message *message, struct fs_message *out)
{
	struct fs_cursor bytes;
	struct fs_text state;
	out->status = 1;
	out->flags |= FS_MESSAGE_TELLS;
	if (!fs_pg_sqlstate(message->body, &state)) {
		fs_label_byte(&out->content, '*');
		return;
	}
	bytes = fs_inside(state);
	for (uint8_t byte; fs_u8(&bytes, &byte);) {
		bool is_one = (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z');
		fs_label_byte(&out->content, is_one ? (char)byte : '*');
	}
}

static enum step step_error(const struct fs_pg_message *message, struct progress *progress, struct fs_message *out)
{
	tell_error(message, out);
	if (progress->kind == FS_PG_SIMPLE)
		return GOES_ON;
	progress->failed = progress->kind != FS_PG_LOGIN;
	return OVER;
}

/* Does the message confirm Parse, Bind or Describe? */
static bool confirms(uint8_t type)
{
	return type == '1' || type == '2' || type == 'T' || type == 'n';
}

static enum step step_batch(uint8_t type, struct progress *progress)
{
	if (type == 'Z')
		return BAD;
	if (!confirms(type))
		return GOES_ON;
	if (progress->confirmations > 1) {
		progress->confirmations--;
		return GOES_ON;
	}
	return OVER;
}

static enum step step(const struct fs_pg_message *message, struct progress *progress, struct fs_message *out)
{
	uint8_t type = message->type;
	if (type == 'E')
		return step_error(message, progress, out);
	switch (progress->kind) {
	case FS_PG_SIMPLE:
	case FS_PG_LOGIN: return type == 'Z' ? OVER : GOES_ON;
	case FS_PG_EXECUTE:
		if (type == 'Z')
			return BAD;
		return type == 'C' || type == 'I' || type == 's' ? OVER : GOES_ON;
	case FS_PG_BATCH: return step_batch(type, progress);
	default: return BAD;
	}
}

/* The next message, if so much of it is here as is looked at. */
static enum fs_framed next_message(struct fs_frame_input *in, struct fs_cursor *bytes, struct fs_pg_message *message)
{
	enum fs_framed framed = fs_pg_message(bytes, message);
	if (framed == FS_FRAME_MORE)
		return in->bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
	if (framed == FS_FRAME_INVALID || !fs_pg_server_sends(message))
		return FS_FRAME_INVALID;
	uint64_t body = message->length - FS_PG_HEADER;
	uint32_t needed = message->type != 'E' ? 0 : body < FIELDS_LOOKED_AT ? (uint32_t)body : FIELDS_LOOKED_AT;
	if (fs_left(&message->body) < needed && !in->bytes.truncated)
		return FS_FRAME_MORE;
	struct fs_text looked_at = {0};
	if (fs_left(&message->body) > needed && fs_take(&message->body, needed, &looked_at))
		message->body = fs_inside(looked_at);
	return FS_FRAME_MESSAGE;
}

/* As many messages of the response as are here; an error is told by itself. */
static enum fs_framed frame_rest(struct fs_frame_input *in, struct progress *progress, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	uint64_t length = 0, here = fs_left(&bytes);
	enum fs_framed framed = FS_FRAME_MESSAGE;
	enum step how = GOES_ON;
	fs_message_begin(out, 0);
	while (how == GOES_ON && length < here && !(out->flags & FS_MESSAGE_TELLS)) {
		struct fs_pg_message message;
		framed = next_message(in, &bytes, &message);
		if (framed != FS_FRAME_MESSAGE || (message.type == 'E' && length))
			break;
		how = step(&message, progress, out);
		if (how != BAD)
			length += message.length;
	}
	if (length == 0) {
		if (how == BAD || framed == FS_FRAME_INVALID)
			save(in->scratch, &(struct progress){0});
		return how == BAD ? FS_FRAME_INVALID : framed;
	}
	out->length = length;
	if (how == OVER)
		progress->kind = 0;
	save(in->scratch, progress);
	return how == OVER ? FS_FRAME_END : FS_FRAME_PART;
}

/* One byte: 'S' or 'G' for yes, 'N' for no. Very old servers give an error. */
static enum fs_framed frame_negotiation(struct fs_frame_input *in, struct fs_message *out)
{
	fs_message_begin(out, 1);
	switch (fs_peek(&in->bytes, 0)) {
	case 'N': return FS_FRAME_MESSAGE;
	case 'S':
		out->flags = FS_MESSAGE_SWITCH;
		out->next_protocol = FS_PROTOCOL_TLS;
		return FS_FRAME_MESSAGE;
	case 'G':
		out->flags = FS_MESSAGE_SWITCH;
		out->next_protocol = FS_PROTOCOL_NOSUPPORT;
		return FS_FRAME_MESSAGE;
	default: return FS_FRAME_INVALID;
	}
}

/* Notices, notifications, settings, ReadyForQuery, CloseComplete: no response begins with them. */
static bool is_nobodys(const struct fs_pg_message *message, const struct fs_message *waiting)
{
	switch (message->type) {
	case 'N':
	case 'S':
	case 'A':
	case 'K':
	case 'Z':
	case '3': return true;
	case 'E': return !waiting; /* a server that shuts down */
	default: return false;
	}
}

static enum fs_framed frame_nobodys(struct fs_frame_input *in, const struct fs_pg_message *message,
				    struct progress *progress, struct fs_message *out)
{
	fs_message_begin(out, message->length);
	out->flags = FS_MESSAGE_SKIP;
	if (message->type == 'Z') {
		if (progress->failed) {
			out->flags |= FS_MESSAGE_SETTLES;
			out->id = progress->id;
			out->status = 1;
		}
		progress->failed = false;
		save(in->scratch, progress);
	}
	return FS_FRAME_MESSAGE;
}

enum fs_framed fs_pg_response(struct fs_frame_input *in, struct fs_message *out)
{
	struct progress progress = load(in->scratch);
	struct fs_cursor bytes = in->bytes;
	struct fs_pg_message message;
	if (progress.kind)
		return frame_rest(in, &progress, out);
	if (in->waiting && in->waiting->method == FS_PG_NEGOTIATE && fs_peek(&bytes, 0) != 'E')
		return frame_negotiation(in, out);
	enum fs_framed framed = next_message(in, &bytes, &message);
	if (framed != FS_FRAME_MESSAGE)
		return framed;
	if (is_nobodys(&message, in->waiting))
		return frame_nobodys(in, &message, &progress, out);
	if (!in->waiting || message.type == 'd' || message.type == 'c')
		return FS_FRAME_INVALID;
	fs_message_begin(out, message.length);
	progress.kind = in->waiting->method == FS_PG_NEGOTIATE ? FS_PG_LOGIN : (uint8_t)in->waiting->method;
	progress.confirmations = (uint16_t)in->waiting->note;
	progress.id = in->waiting->id;
	if (message.type == 'W') {
		/* START_REPLICATION: the log of the database, until the end. */
		out->flags = FS_MESSAGE_SWITCH;
		out->next_protocol = FS_PROTOCOL_NOSUPPORT;
		progress.kind = 0;
	} else {
		switch (step(&message, &progress, out)) {
		case GOES_ON: out->body = FS_BODY_PARTS; break;
		case OVER: progress.kind = 0; break;
		default: return FS_FRAME_INVALID;
		}
	}
	save(in->scratch, &progress);
	return FS_FRAME_MESSAGE;
}
