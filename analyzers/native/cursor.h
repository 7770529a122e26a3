/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only way to read bytes that strangers sent. Every read is bounded; a failed one leaves the cursor where it was.
 * `scripts/lint-protocols.py` forbids pointer arithmetic, indexing of payload, memcpy and str* in protocols/.
 */
#ifndef FIRESTEEL_CURSOR_H
#define FIRESTEEL_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * Of a large variable that is set before it is read, on the way of every request: the compiler is told to clear all
 * others first, which takes longer than what is done with such a one.
 */
#if defined(__has_attribute)
#if __has_attribute(uninitialized)
#define FS_UNSET __attribute__((uninitialized))
#endif
#endif
#ifndef FS_UNSET
#define FS_UNSET
#endif

/* A piece of payload: not terminated, and only valid until the call that got it returns. */
struct fs_text {
	const uint8_t *start;
	uint32_t length;
};

struct fs_cursor {
	const uint8_t *at;
	const uint8_t *end;
	bool truncated; /* the bytes after `end` were not captured: waiting for more will not help */
};

static inline struct fs_cursor fs_cursor_over(const void *bytes, size_t length, bool truncated)
{
	const uint8_t *start = bytes;
	return (struct fs_cursor){start, start + length, truncated};
}

static inline size_t fs_left(const struct fs_cursor *c)
{
	return (size_t)(c->end - c->at);
}

static inline bool fs_skip(struct fs_cursor *c, uint64_t count)
{
	if (count > fs_left(c))
		return false;
	c->at += count;
	return true;
}

/* The byte `ahead` of the cursor, or -1. Does not move. */
static inline int fs_peek(const struct fs_cursor *c, size_t ahead)
{
	return ahead < fs_left(c) ? c->at[ahead] : -1;
}

static inline bool fs_u8(struct fs_cursor *c, uint8_t *out)
{
	if (fs_left(c) < 1)
		return false;
	*out = c->at[0];
	c->at += 1;
	return true;
}

static inline bool fs_u16be(struct fs_cursor *c, uint16_t *out)
{
	if (fs_left(c) < 2)
		return false;
	*out = (uint16_t)(c->at[0] << 8 | c->at[1]);
	c->at += 2;
	return true;
}

static inline bool fs_u32be(struct fs_cursor *c, uint32_t *out)
{
	if (fs_left(c) < 4)
		return false;
	*out = (uint32_t)c->at[0] << 24 | (uint32_t)c->at[1] << 16 | (uint32_t)c->at[2] << 8 | c->at[3];
	c->at += 4;
	return true;
}

static inline bool fs_take(struct fs_cursor *c, uint32_t count, struct fs_text *out)
{
	if (fs_left(c) < count)
		return false;
	*out = (struct fs_text){c->at, count};
	c->at += count;
	return true;
}

/* Takes the bytes before the next `stop` and steps over it. False, and unmoved, if there is none within `limit`. */
static inline bool fs_take_until(struct fs_cursor *c, uint8_t stop, uint32_t limit, struct fs_text *out)
{
	size_t span = fs_left(c) < limit ? fs_left(c) : limit;
	const uint8_t *hit = span ? memchr(c->at, stop, span) : NULL;
	if (!hit)
		return false;
	*out = (struct fs_text){c->at, (uint32_t)(hit - c->at)};
	c->at = hit + 1;
	return true;
}

/* Steps over `literal` if it comes next, byte for byte. */
static inline bool fs_accept(struct fs_cursor *c, const char *literal)
{
	size_t length = strlen(literal);
	if (fs_left(c) < length || memcmp(c->at, literal, length) != 0)
		return false;
	c->at += length;
	return true;
}

static inline struct fs_cursor fs_inside(struct fs_text text)
{
	/* An empty text may be NULL, to which C does not allow to add even 0. */
	return (struct fs_cursor){text.start, text.length ? text.start + text.length : text.start, false};
}

static inline bool fs_text_is(struct fs_text text, const char *literal)
{
	return text.length == strlen(literal) && memcmp(text.start, literal, text.length) == 0;
}

static inline uint8_t fs_lower(uint8_t byte)
{
	return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte | 0x20) : byte;
}

/* Compares without regard to ASCII case; `literal` is lower case. */
static inline bool fs_text_is_nocase(struct fs_text text, const char *literal)
{
	if (text.length != strlen(literal))
		return false;
	for (uint32_t i = 0; i < text.length; i++)
		if (fs_lower(text.start[i]) != (uint8_t)literal[i])
			return false;
	return true;
}

static inline struct fs_text fs_trimmed(struct fs_text text)
{
	while (text.length && (text.start[0] == ' ' || text.start[0] == '\t')) {
		text.start++;
		text.length--;
	}
	while (text.length && (text.start[text.length - 1] == ' ' || text.start[text.length - 1] == '\t' ||
			       text.start[text.length - 1] == '\r'))
		text.length--;
	return text;
}

/* Decimal digits only; false on anything else, on emptiness and on overflow. */
static inline bool fs_decimal(struct fs_text text, uint64_t *out)
{
	uint64_t value = 0;
	if (text.length == 0 || text.length > 19)
		return false;
	for (uint32_t i = 0; i < text.length; i++) {
		if (text.start[i] < '0' || text.start[i] > '9')
			return false;
		value = value * 10 + (uint64_t)(text.start[i] - '0');
	}
	*out = value;
	return true;
}

/* The value of a hexadecimal digit, or -1. Takes what fs_peek gives. */
static inline int fs_hex_digit(int byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	if (byte >= 'a' && byte <= 'f')
		return byte - 'a' + 10;
	if (byte >= 'A' && byte <= 'F')
		return byte - 'A' + 10;
	return -1;
}

/* What a parser writes for a label or a sample: bounded, always terminated. */
struct fs_label {
	uint16_t length;
	char text[254];
};

static inline void fs_label_byte(struct fs_label *label, char byte)
{
	if (label->length + 1u < sizeof(label->text)) {
		label->text[label->length++] = byte;
		label->text[label->length] = 0;
	}
}

/* As much of these bytes as there is room for. */
static inline void fs_label_bytes(struct fs_label *label, const void *bytes, size_t count)
{
	size_t room = sizeof(label->text) - 1 - label->length;
	if (count > room)
		count = room;
	if (count == 0)
		return;
	memcpy(label->text + label->length, bytes, count);
	label->length = (uint16_t)(label->length + count);
	label->text[label->length] = 0;
}

static inline void fs_label_literal(struct fs_label *label, const char *literal)
{
	fs_label_bytes(label, literal, strlen(literal));
}

static inline void fs_label_text(struct fs_label *label, struct fs_text text)
{
	fs_label_bytes(label, text.start, text.length);
}

/* What was written so far, to be read again. */
static inline struct fs_text fs_label_read(const struct fs_label *label)
{
	return (struct fs_text){(const uint8_t *)label->text, label->length};
}

static inline void fs_label_decimal(struct fs_label *label, uint32_t value)
{
	if (value >= 10)
		fs_label_decimal(label, value / 10);
	fs_label_byte(label, (char)('0' + value % 10));
}

#endif
