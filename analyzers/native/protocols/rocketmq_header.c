/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Headers of RocketMQ's remoting protocol (RemotingCommand and RocketMQSerializable of rocketmq-remoting 5.1.4).
 *
 *   JSON     {"code":310,"extFields":{"b":"orders"},"flag":0,"language":"JAVA","opaque":7,...}, in any order
 *   binary   code (2), language (1), version (2), opaque (4), flag (4), remark (4 + n), fields (4 + n), where a field is
 *            a name (2 + n) and a value (4 + n)
 *
 * flag: bit 0 makes it a response, bit 1 a request that gets no answer. All numbers are big-endian.
 */
#include "rocketmq_header.h"

#define FLAG_RESPONSE 1u
#define FLAG_ONEWAY 2u
#define LANGUAGES 32 /* 13 are known */
#define BINARY_BYTES 21 /* with an empty remark and no field */
#define NAME_MAX 25 /* of a field of the header itself: serializeTypeCurrentRPC has 23 */

static void set_flag(struct fs_rocketmq_header *out, uint32_t flag)
{
	out->is_response = flag & FLAG_RESPONSE;
	out->is_oneway = flag & FLAG_ONEWAY;
	out->has_flag = true;
}

static void note_field(struct fs_rocketmq_header *out, struct fs_text name, struct fs_text value)
{
	if (fs_text_is(name, "topic")) {
		out->topic = value;
		out->has_topic = true;
	} else if (fs_text_is(name, "b")) {
		out->short_topic = value;
		out->has_short_topic = true;
	}
}

/* --- JSON --------------------------------------------------------------------------------------------------------- */

static inline bool accept_byte(struct fs_cursor *bytes, int wanted)
{
	return fs_peek(bytes, 0) == wanted && fs_skip(bytes, 1);
}

static inline void skip_space(struct fs_cursor *bytes)
{
	for (int byte = fs_peek(bytes, 0); byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
	     byte = fs_peek(bytes, 0))
		(void)fs_skip(bytes, 1);
}

/* Whether a quote behind these bytes is part of the string: an odd number of backslashes stands before it. */
static bool is_escaped(struct fs_text before)
{
	struct fs_cursor bytes = fs_inside(before);
	uint32_t slashes = 0;
	while (slashes < before.length && fs_peek(&bytes, before.length - 1 - slashes) == '\\')
		slashes++;
	return slashes % 2 == 1;
}

/* A string, of which `out` has the text if it needs no unescaping, else nothing. */
static enum fs_rocketmq_reading take_string(struct fs_cursor *bytes, struct fs_text *out)
{
	struct fs_text piece = {0};
	bool is_plain = true;
	if (!accept_byte(bytes, '"'))
		return fs_left(bytes) ? FS_ROCKETMQ_BROKEN : FS_ROCKETMQ_PARTLY;
	while (fs_take_until(bytes, '"', (uint32_t)fs_left(bytes), &piece)) {
		if (is_escaped(piece)) {
			is_plain = false;
			continue;
		}
		*out = piece;
		if (!is_plain)
			out->length = 0;
		return FS_ROCKETMQ_WHOLE;
	}
	return FS_ROCKETMQ_PARTLY;
}

/* A whole number. Numbers of requests grow beyond 2^31 into the negative ones. */
static enum fs_rocketmq_reading take_number(struct fs_cursor *bytes, uint32_t *out)
{
	uint64_t value = 0;
	uint32_t digits = 0;
	bool is_negative = accept_byte(bytes, '-');
	for (int byte = fs_peek(bytes, 0); byte >= '0' && byte <= '9'; byte = fs_peek(bytes, 0)) {
		value = value * 10 + (uint64_t)(byte - '0');
		if (++digits > 10)
			return FS_ROCKETMQ_BROKEN;
		(void)fs_skip(bytes, 1);
	}
	*out = is_negative ? 0u - (uint32_t)value : (uint32_t)value;
	if (!fs_left(bytes))
		return FS_ROCKETMQ_PARTLY;
	return digits ? FS_ROCKETMQ_WHOLE : FS_ROCKETMQ_BROKEN;
}

/* Any value but a string: a word or a number, or what is in brackets. */
static enum fs_rocketmq_reading skip_other(struct fs_cursor *bytes)
{
	uint32_t depth = 0;
	struct fs_text text;
	for (int byte = fs_peek(bytes, 0); byte >= 0; byte = fs_peek(bytes, 0)) {
		if (byte == '"') {
			enum fs_rocketmq_reading read = take_string(bytes, &text);
			if (read != FS_ROCKETMQ_WHOLE)
				return read;
			continue;
		}
		if (depth == 0 && (byte == ',' || byte == '}' || byte == ']'))
			return FS_ROCKETMQ_WHOLE;
		if (byte < ' ' || byte > '~')
			return FS_ROCKETMQ_BROKEN;
		depth += byte == '{' || byte == '[' ? 1 : 0;
		depth -= byte == '}' || byte == ']' ? 1 : 0;
		(void)fs_skip(bytes, 1);
	}
	return FS_ROCKETMQ_PARTLY;
}

static enum fs_rocketmq_reading take_name(struct fs_cursor *bytes, struct fs_text *name)
{
	skip_space(bytes);
	enum fs_rocketmq_reading read = take_string(bytes, name);
	if (read != FS_ROCKETMQ_WHOLE)
		return read;
	skip_space(bytes);
	if (!accept_byte(bytes, ':'))
		return fs_left(bytes) ? FS_ROCKETMQ_BROKEN : FS_ROCKETMQ_PARTLY;
	skip_space(bytes);
	return fs_left(bytes) ? FS_ROCKETMQ_WHOLE : FS_ROCKETMQ_PARTLY;
}

/* Behind a value: whether another follows. */
static enum fs_rocketmq_reading take_end(struct fs_cursor *bytes, bool *goes_on)
{
	skip_space(bytes);
	*goes_on = accept_byte(bytes, ',');
	if (*goes_on || accept_byte(bytes, '}'))
		return FS_ROCKETMQ_WHOLE;
	return fs_left(bytes) ? FS_ROCKETMQ_BROKEN : FS_ROCKETMQ_PARTLY;
}

static enum fs_rocketmq_reading read_fields(struct fs_cursor *bytes, struct fs_rocketmq_header *out)
{
	bool goes_on = true;
	if (!accept_byte(bytes, '{'))
		return skip_other(bytes); /* null */
	skip_space(bytes);
	if (accept_byte(bytes, '}'))
		return FS_ROCKETMQ_WHOLE;
	while (goes_on) {
		struct fs_text name = {0}, value = {0};
		enum fs_rocketmq_reading read = take_name(bytes, &name);
		if (read == FS_ROCKETMQ_WHOLE)
			read = fs_peek(bytes, 0) == '"' ? take_string(bytes, &value) : skip_other(bytes);
		if (read == FS_ROCKETMQ_WHOLE) {
			note_field(out, name, value);
			read = take_end(bytes, &goes_on);
		}
		if (read != FS_ROCKETMQ_WHOLE)
			return read;
	}
	return FS_ROCKETMQ_WHOLE;
}

static enum fs_rocketmq_reading read_member(struct fs_cursor *bytes, struct fs_text name,
					    struct fs_rocketmq_header *out)
{
	struct fs_text text;
	uint32_t flag;
	enum fs_rocketmq_reading read;
	if (fs_text_is(name, "extFields"))
		return read_fields(bytes, out);
	if (fs_text_is(name, "code")) {
		read = take_number(bytes, &out->code);
		out->has_code = read == FS_ROCKETMQ_WHOLE;
		return read;
	}
	if (fs_text_is(name, "opaque")) {
		read = take_number(bytes, &out->opaque);
		out->has_opaque = read == FS_ROCKETMQ_WHOLE;
		return read;
	}
	if (fs_text_is(name, "flag")) {
		read = take_number(bytes, &flag);
		if (read == FS_ROCKETMQ_WHOLE)
			set_flag(out, flag);
		return read;
	}
	return fs_peek(bytes, 0) == '"' ? take_string(bytes, &text) : skip_other(bytes);
}

static enum fs_rocketmq_reading read_json(struct fs_cursor bytes, struct fs_rocketmq_header *out)
{
	bool goes_on = true;
	skip_space(&bytes);
	if (!accept_byte(&bytes, '{'))
		return fs_left(&bytes) ? FS_ROCKETMQ_BROKEN : FS_ROCKETMQ_PARTLY;
	while (goes_on) {
		struct fs_text name = {0};
		enum fs_rocketmq_reading read = take_name(&bytes, &name);
		if (read == FS_ROCKETMQ_WHOLE && (name.length == 0 || name.length > NAME_MAX))
			return FS_ROCKETMQ_BROKEN;
		if (read == FS_ROCKETMQ_WHOLE)
			read = read_member(&bytes, name, out);
		if (read == FS_ROCKETMQ_WHOLE)
			read = take_end(&bytes, &goes_on);
		if (read != FS_ROCKETMQ_WHOLE)
			return read;
	}
	return FS_ROCKETMQ_WHOLE;
}

/* --- binary ------------------------------------------------------------------------------------------------------- */

static enum fs_rocketmq_reading read_binary_fields(struct fs_cursor *bytes, uint32_t length,
						   struct fs_rocketmq_header *out)
{
	uint64_t left = length;
	while (left) {
		struct fs_text name, value;
		uint16_t name_length;
		uint32_t value_length;
		if (!fs_u16be(bytes, &name_length))
			return FS_ROCKETMQ_PARTLY;
		if (left < (uint64_t)name_length + 6)
			return FS_ROCKETMQ_BROKEN;
		left -= (uint64_t)name_length + 6;
		if (!fs_take(bytes, name_length, &name) || !fs_u32be(bytes, &value_length))
			return FS_ROCKETMQ_PARTLY;
		if (value_length > left)
			return FS_ROCKETMQ_BROKEN;
		left -= value_length;
		if (!fs_take(bytes, value_length, &value))
			return FS_ROCKETMQ_PARTLY;
		note_field(out, name, value);
	}
	return FS_ROCKETMQ_WHOLE;
}

static enum fs_rocketmq_reading read_binary(struct fs_cursor bytes, uint32_t length, struct fs_rocketmq_header *out)
{
	uint16_t code, version;
	uint8_t language;
	uint32_t flag, remark, fields;
	if (!fs_u16be(&bytes, &code) || !fs_u8(&bytes, &language))
		return FS_ROCKETMQ_PARTLY;
	if (language >= LANGUAGES)
		return FS_ROCKETMQ_BROKEN;
	out->code = code;
	out->has_code = true;
	if (!fs_u16be(&bytes, &version) || !fs_u32be(&bytes, &out->opaque))
		return FS_ROCKETMQ_PARTLY;
	out->has_opaque = true;
	if (!fs_u32be(&bytes, &flag))
		return FS_ROCKETMQ_PARTLY;
	if (flag > (FLAG_RESPONSE | FLAG_ONEWAY))
		return FS_ROCKETMQ_BROKEN;
	set_flag(out, flag);
	if (!fs_u32be(&bytes, &remark))
		return FS_ROCKETMQ_PARTLY;
	if (remark > length - BINARY_BYTES)
		return FS_ROCKETMQ_BROKEN;
	if (!fs_skip(&bytes, remark) || !fs_u32be(&bytes, &fields))
		return FS_ROCKETMQ_PARTLY;
	if (fields != length - BINARY_BYTES - remark)
		return FS_ROCKETMQ_BROKEN;
	return read_binary_fields(&bytes, fields, out);
}

enum fs_rocketmq_reading fs_rocketmq_header(struct fs_cursor bytes, enum fs_rocketmq_kind kind, uint32_t length,
					    struct fs_rocketmq_header *out)
{
	*out = (struct fs_rocketmq_header){0};
	if (length < BINARY_BYTES)
		return FS_ROCKETMQ_BROKEN;
	return kind == FS_ROCKETMQ_JSON ? read_json(bytes, out) : read_binary(bytes, length, out);
}
