/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What PostgreSQL's clients send. Parse, Bind, Describe and Execute are parts of one request, which ends with Execute;
 * without one it ends with the Sync or Flush that the client waits behind. Sync, Flush, Close, passwords and what COPY
 * brings are nobody's: only their bytes count.
 */
#include "postgresql_messages.h"
#include "sql.h"

#define LOOKED_AT 4096u /* of a statement, however it arrives */
#define NAMES_LOOKED_AT 160u /* of a message of which only names count */
#define STARTUP_MAX 10000

enum space { STATEMENTS = 1, PORTALS = 2 };

enum has { OPEN = 1, PARSE = 2, BIND = 4 };

/* Kept in the scratch. */
struct unit {
	uint32_t syncs; /* so far */
	uint8_t has; /* enum has, of the request that is being sent */
	uint16_t confirmations; /* that the server will send for it */
	uint64_t key; /* of what it is about: the statement parsed last, else what was bound or described first */
};

static struct unit load(const uint8_t *scratch)
{
	struct unit unit = {.has = scratch[4], .confirmations = (uint16_t)(scratch[5] | scratch[6] << 8)};
	for (int i = 0; i < 4; i++)
		unit.syncs |= (uint32_t)scratch[i] << 8 * i;
	for (int i = 0; i < 8; i++)
		unit.key |= (uint64_t)scratch[8 + i] << 8 * i;
	return unit;
}

static void save(uint8_t *scratch, const struct unit *unit)
{
	for (int i = 0; i < 4; i++)
		scratch[i] = (uint8_t)(unit->syncs >> 8 * i);
	scratch[4] = unit->has;
	scratch[5] = (uint8_t)unit->confirmations;
	scratch[6] = (uint8_t)(unit->confirmations >> 8);
	for (int i = 0; i < 8; i++)
		scratch[8 + i] = (uint8_t)(unit->key >> 8 * i);
}

static void recall(struct fs_pg_state *state, uint64_t key, struct fs_label *out)
{
	if (!state || !key || !fs_statement_recall(&state->statements, key, out))
		fs_label_byte(out, '*');
}

static void keep(struct fs_pg_state *state, uint64_t key, const struct fs_label *label)
{
	if (state && key)
		fs_statement_keep(&state->statements, key, label, 0);
}

/* The next name, as a key; 0 if its end is not here. */
static uint64_t take_key(struct fs_cursor *bytes, enum space space)
{
	struct fs_text name;
	if (!fs_take_until(bytes, 0, NAMES_LOOKED_AT, &name))
		return 0;
	return fs_statement_key(name, (uint8_t)space);
}

/* 'S' or 'P', and the name of a statement or portal. */
static uint64_t take_target(struct fs_cursor *bytes)
{
	uint8_t what = 0;
	fs_u8(bytes, &what);
	return take_key(bytes, what == 'P' ? PORTALS : STATEMENTS);
}

/* Gives `out` its content if the message says more of it than is known, and that as FS_MESSAGE_TELLS. */
static void hear_parse(struct fs_pg_state *state, struct fs_cursor bytes, struct unit *unit, struct fs_message *out)
{
	unit->key = take_key(&bytes, STATEMENTS);
	if (unit->key)
		fs_sql_reduce(bytes, FS_SQL_POSTGRESQL, &out->content);
	else
		fs_label_byte(&out->content, '*');
	keep(state, unit->key, &out->content);
	out->flags |= FS_MESSAGE_TELLS;
	unit->has |= PARSE;
	unit->confirmations++;
}

static void hear_bind(struct fs_pg_state *state, struct fs_cursor bytes, struct unit *unit, struct fs_message *out)
{
	uint64_t portal = take_key(&bytes, PORTALS), statement = take_key(&bytes, STATEMENTS);
	struct fs_label label = {0};
	recall(state, statement, &label);
	keep(state, portal, &label);
	if (!(unit->has & PARSE) || statement != unit->key) {
		out->content = label;
		out->flags |= FS_MESSAGE_TELLS;
	}
	if (!(unit->has & PARSE))
		unit->key = statement;
	unit->has |= BIND;
	unit->confirmations++;
}

static void hear_describe(struct fs_pg_state *state, struct fs_cursor bytes, struct unit *unit, struct fs_message *out)
{
	uint64_t key = take_target(&bytes);
	if (!(unit->has & (PARSE | BIND))) {
		unit->key = key;
		recall(state, key, &out->content);
		out->flags |= FS_MESSAGE_TELLS;
	}
	unit->confirmations++;
}

/* The portal is that of the Bind before, or one that has more rows. */
static void hear_execute(struct fs_pg_state *state, struct fs_cursor bytes, const struct unit *unit,
			 struct fs_message *out)
{
	if (unit->has & BIND)
		return;
	recall(state, take_key(&bytes, PORTALS), &out->content);
	out->flags |= FS_MESSAGE_TELLS;
}

/* Nothing was executed. */
static void tell_batch(struct fs_pg_state *state, const struct unit *unit, struct fs_message *out)
{
	out->flags |= FS_MESSAGE_TELLS;
	out->method = FS_PG_BATCH;
	out->note = unit->confirmations;
	fs_label_literal(&out->content, unit->has & PARSE ? "PREPARE " : unit->has & BIND ? "BIND " : "DESCRIBE ");
	recall(state, unit->key, &out->content);
}

static void forget(struct fs_pg_state *state, struct fs_cursor bytes)
{
	uint64_t key = take_target(&bytes);
	if (state && key)
		fs_statement_forget(&state->statements, key);
}

/* The next message of a request that began, or a first one: Parse, Bind, Describe, Execute. */
static enum fs_framed frame_unit(struct fs_frame_input *in, const struct fs_pg_message *message, struct unit *unit,
				 struct fs_message *out)
{
	bool is_first = !(unit->has & OPEN);
	bool is_over = false;
	switch (message->type) {
	case 'P': hear_parse(in->state, message->body, unit, out); break;
	case 'B': hear_bind(in->state, message->body, unit, out); break;
	case 'D': hear_describe(in->state, message->body, unit, out); break;
	case 'C': forget(in->state, message->body); break;
	case 'E':
		hear_execute(in->state, message->body, unit, out);
		is_over = true;
		break;
	case 'S':
		unit->syncs++;
		tell_batch(in->state, unit, out);
		is_over = true;
		break;
	case 'H':
		tell_batch(in->state, unit, out);
		is_over = true;
		break;
	default: return FS_FRAME_INVALID;
	}
	unit->has |= OPEN;
	if (is_over)
		*unit = (struct unit){.syncs = unit->syncs};
	save(in->scratch, unit);
	if (!is_first)
		return is_over ? FS_FRAME_END : FS_FRAME_PART;
	out->flags &= ~(uint32_t)FS_MESSAGE_TELLS;
	out->method = FS_PG_EXECUTE;
	out->body = is_over ? FS_BODY_DONE : FS_BODY_PARTS;
	return FS_FRAME_MESSAGE;
}

/* A message that is a request by itself, or none. */
static enum fs_framed frame_single(struct fs_frame_input *in, const struct fs_pg_message *message, struct unit *unit,
				   struct fs_message *out)
{
	switch (message->type) {
	case 'Q':
		out->method = FS_PG_SIMPLE;
		fs_sql_reduce(message->body, FS_SQL_POSTGRESQL, &out->content);
		unit->syncs++;
		break;
	case 'F':
		out->method = FS_PG_SIMPLE;
		fs_label_literal(&out->content, "FUNCTION CALL");
		unit->syncs++;
		break;
	case 'C':
		forget(in->state, message->body);
		out->flags |= FS_MESSAGE_SKIP;
		break;
	case 'S':
		unit->syncs++;
		out->flags |= FS_MESSAGE_SKIP;
		break;
	default:
		out->flags |= FS_MESSAGE_SKIP;
		/* Rows of which not all is captured: where the next one begins is not known either. */
		if (message->type == 'd' && in->bytes.truncated && message->length >= fs_left(&in->bytes))
			out->body = FS_BODY_UNTIL_FLIP;
		break;
	}
	save(in->scratch, unit);
	return FS_FRAME_MESSAGE;
}

/* How much of a message must be here. */
static uint32_t needed_of(const struct fs_pg_message *message)
{
	uint64_t body = message->length - FS_PG_HEADER;
	uint32_t looked_at = 0;
	switch (message->type) {
	case 'Q':
	case 'P': looked_at = LOOKED_AT; break;
	case 'B': looked_at = 2 * NAMES_LOOKED_AT; break;
	case 'D':
	case 'E':
	case 'C': looked_at = NAMES_LOOKED_AT; break;
	default: break;
	}
	return body < looked_at ? (uint32_t)body : looked_at;
}

/* The first message of a connection, which has no type. Who logs in and where is not looked at. */
static enum fs_framed frame_startup(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	uint32_t length, code;
	if (!fs_u32be(&bytes, &length) || !fs_u32be(&bytes, &code))
		return in->bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
	fs_message_begin(out, length);
	if (length == 8 && (code == FS_PG_SSL || code == FS_PG_GSS)) {
		out->flags = FS_MESSAGE_IF_FAILED;
		out->method = FS_PG_NEGOTIATE;
		fs_label_literal(&out->content, code == FS_PG_SSL ? "SSL REQUEST" : "GSS REQUEST");
	} else if (length >= 16 && length <= 268 && code == FS_PG_CANCEL) {
		out->flags = FS_MESSAGE_NO_ANSWER;
		fs_label_literal(&out->content, "CANCEL");
	} else if (length >= 9 && length <= STARTUP_MAX && code >> 16 == 3) {
		if (fs_peek(&bytes, 0) < 0 && !in->bytes.truncated)
			return FS_FRAME_MORE;
		if (fs_peek(&bytes, 0) == 0 &&
		    length > 9) /* the name of a parameter: Kafka's header is like this one */
			return FS_FRAME_INVALID;
		out->flags = FS_MESSAGE_IF_FAILED;
		out->method = FS_PG_LOGIN;
		fs_label_literal(&out->content, "LOGIN");
	} else {
		return FS_FRAME_INVALID;
	}
	return FS_FRAME_MESSAGE;
}

/* The capture ended inside the header of a row to be copied: what follows is rows too, until the server answers. */
static enum fs_framed frame_cut_row(const struct fs_frame_input *in, const struct unit *unit, struct fs_message *out)
{
	if (fs_peek(&in->bytes, 0) != 'd' || fs_peek(&in->bytes, 1) > (int)(FS_PG_LONGEST >> 24) || unit->has)
		return FS_FRAME_INVALID;
	fs_message_begin(out, fs_left(&in->bytes));
	out->flags = FS_MESSAGE_SKIP;
	out->body = FS_BODY_UNTIL_FLIP;
	return FS_FRAME_MESSAGE;
}

enum fs_framed fs_pg_request(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct fs_pg_message message;
	struct unit unit = load(in->scratch);
	if (fs_peek(&bytes, 0) == 0)
		return unit.has ? FS_FRAME_INVALID : frame_startup(in, out);
	enum fs_framed framed = fs_pg_message(&bytes, &message);
	if (framed == FS_FRAME_MORE)
		return in->bytes.truncated ? frame_cut_row(in, &unit, out) : FS_FRAME_MORE;
	if (framed == FS_FRAME_INVALID || !fs_pg_client_sends(&message))
		return FS_FRAME_INVALID;
	bool is_cut = fs_left(&message.body) < needed_of(&message);
	if (is_cut && !in->bytes.truncated)
		return FS_FRAME_MORE;
	fs_message_begin(out, message.length);
	out->id = unit.syncs;
	/* However much of it is here, no more is looked at: what is said of it must not depend on that. */
	struct fs_text looked_at = {0};
	uint32_t needed = is_cut ? (uint32_t)fs_left(&message.body) : needed_of(&message);
	fs_take(&message.body, needed, &looked_at);
	message.body = fs_inside(looked_at);
	message.body.truncated = FS_PG_HEADER + (uint64_t)needed < message.length;
	if (unit.has)
		return frame_unit(in, &message, &unit, out);
	if (is_cut)
		out->flags = FS_MESSAGE_CUT;
	switch (message.type) {
	case 'P':
	case 'B':
	case 'D':
	case 'E': return frame_unit(in, &message, &unit, out);
	default: return frame_single(in, &message, &unit, out);
	}
}
