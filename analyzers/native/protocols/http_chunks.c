/* SPDX-License-Identifier: Apache-2.0 */
/* The chunked transfer coding: RFC 9112, section 7.1. Its place is kept in the first byte of the parser's scratch. */
#include "http_chunks.h"

#include "http_fields.h"

#define SIZE_LINE_MAX 4096
#define TRAILER_MAX 65536

enum chunk_state { CHUNK_NONE = 0, CHUNK_SIZE, CHUNK_DATA_END, CHUNK_TRAILERS };

enum step { STEP_DONE, STEP_SHORT, STEP_BAD };

/* "1a;name=value": false if there is no number, or one that no body has. */
static bool read_chunk_size(struct fs_text line, uint64_t *size)
{
	struct fs_cursor bytes = fs_inside(line);
	struct fs_text digits = line;
	uint64_t value = 0;
	uint8_t byte;
	if (fs_hex_digit(fs_peek(&bytes, 0)) < 0)
		return false;
	fs_take_until(&bytes, ';', line.length, &digits);
	digits = fs_trimmed(digits);
	if (digits.length > 15)
		return false;
	bytes = fs_inside(digits);
	while (fs_u8(&bytes, &byte)) {
		int digit = fs_hex_digit(byte);
		if (digit < 0)
			return false;
		value = value << 4 | (uint64_t)digit;
	}
	*size = value;
	return true;
}

/* A field, and not the start of the next message because the end of this one was lost. */
static bool is_trailer(struct fs_text line)
{
	struct fs_cursor bytes = fs_inside(line);
	struct fs_text name, word;
	bool folded = fs_peek(&bytes, 0) == ' ' || fs_peek(&bytes, 0) == '\t';
	if (folded || !fs_take_until(&bytes, ':', line.length, &name))
		return folded;
	bytes = fs_inside(fs_trimmed(name));
	return !fs_take_until(&bytes, ' ', name.length, &word);
}

/* One step through a chunked body (RFC 9112, section 7.1). STEP_SHORT: the bytes for it are not here. */
static enum step step_chunk(struct fs_cursor *bytes, uint8_t *state, uint64_t *beyond)
{
	struct fs_text line;
	uint64_t size;
	switch (*state) {
	case CHUNK_SIZE:
		if (!fs_http_line(bytes, SIZE_LINE_MAX, &line)) {
			bool begun = fs_left(bytes) == 0 || fs_hex_digit(fs_peek(bytes, 0)) >= 0;
			return begun && fs_left(bytes) < SIZE_LINE_MAX ? STEP_SHORT : STEP_BAD;
		}
		if (!read_chunk_size(line, &size))
			return STEP_BAD;
		*state = size ? CHUNK_DATA_END : CHUNK_TRAILERS;
		if (!fs_skip(bytes, size)) {
			*beyond = size - fs_left(bytes);
			fs_skip(bytes, fs_left(bytes));
		}
		return STEP_DONE;
	case CHUNK_DATA_END:
		*state = CHUNK_SIZE;
		if (fs_accept(bytes, "\r\n") || fs_accept(bytes, "\n"))
			return STEP_DONE;
		*state = CHUNK_DATA_END;
		return fs_left(bytes) == 0 || (fs_left(bytes) == 1 && fs_peek(bytes, 0) == '\r') ? STEP_SHORT
												 : STEP_BAD;
	default:
		if (!fs_http_line(bytes, TRAILER_MAX, &line))
			return fs_left(bytes) < TRAILER_MAX ? STEP_SHORT : STEP_BAD;
		if (line.length && !is_trailer(line))
			return STEP_BAD;
		*state = line.length ? CHUNK_TRAILERS : CHUNK_NONE;
		return STEP_DONE;
	}
}

enum fs_framed fs_http_chunks(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes, ahead = in->bytes;
	uint8_t state = in->scratch[0];
	uint64_t beyond = 0;
	enum step step = STEP_DONE;
	while (step == STEP_DONE && state != CHUNK_NONE && !beyond) {
		step = step_chunk(&ahead, &state, &beyond);
		if (step == STEP_DONE)
			bytes = ahead;
	}
	out->length = fs_left(&in->bytes) - fs_left(&bytes) + beyond;
	in->scratch[0] = state;
	if (step == STEP_DONE && state == CHUNK_NONE)
		return FS_FRAME_END;
	if (out->length)
		return FS_FRAME_PART;
	if (step == STEP_BAD)
		return FS_FRAME_INVALID;
	if (bytes.truncated)
		in->scratch[0] = CHUNK_NONE; /* nobody will find the end: the next call is for another message */
	return FS_FRAME_MORE;
}

void fs_http_chunks_begin(struct fs_frame_input *in)
{
	in->scratch[0] = CHUNK_SIZE;
}
