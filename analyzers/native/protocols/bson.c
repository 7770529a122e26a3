/* SPDX-License-Identifier: Apache-2.0 */
#include "bson.h"

#define SMALLEST 5 /* a length and a zero */
#define NAME_MAX 256
#define UNKNOWN UINT64_MAX

/* Of a value that begins with a length: what it has besides. */
static uint64_t sized(const struct fs_cursor *value, uint32_t besides)
{
	struct fs_cursor bytes = *value;
	uint32_t length;
	return fs_u32le(&bytes, &length) && length <= INT32_MAX ? (uint64_t)length + besides : UNKNOWN;
}

/* How many bytes a regular expression and its options have. */
static uint64_t size_of_pattern(const struct fs_cursor *value)
{
	struct fs_cursor bytes = *value;
	struct fs_text text;
	for (int i = 0; i < 2; i++)
		if (!fs_take_until(&bytes, 0, (uint32_t)fs_left(&bytes), &text))
			return UNKNOWN;
	return fs_left(value) - fs_left(&bytes);
}

static uint64_t size_of(uint8_t type, const struct fs_cursor *value)
{
	switch (type) {
	case 0x06: /* undefined */
	case 0x0a: /* null */
	case 0x7f: /* the greatest key and the smallest */
	case 0xff: return 0;
	case FS_BSON_BOOL: return 1;
	case FS_BSON_INT32: return 4;
	case FS_BSON_DOUBLE:
	case FS_BSON_INT64:
	case 0x09: /* time */
	case 0x11: return 8; /* timestamp */
	case 0x07: return 12; /* ObjectId */
	case 0x13: return 16; /* decimal */
	case FS_BSON_STRING:
	case 0x0d: /* code */
	case 0x0e: return sized(value, 4); /* symbol */
	case FS_BSON_DOCUMENT:
	case FS_BSON_ARRAY:
	case 0x0f: return sized(value, 0); /* code with its scope */
	case 0x05: return sized(value, 5); /* bytes of a kind */
	case 0x0c: return sized(value, 16); /* pointer */
	case 0x0b: return size_of_pattern(value);
	default: return UNKNOWN;
	}
}

bool fs_bson_document(struct fs_cursor *bytes, struct fs_cursor *inside)
{
	struct fs_cursor ahead = *bytes;
	struct fs_text text = {0};
	uint32_t length;
	if (!fs_u32le(&ahead, &length) || length < SMALLEST || length > INT32_MAX)
		return false;
	length -= 4;
	fs_take(&ahead, length < fs_left(&ahead) ? length : (uint32_t)fs_left(&ahead), &text);
	*inside = fs_inside(text);
	*bytes = ahead;
	return true;
}

bool fs_bson_next(struct fs_cursor *inside, struct fs_bson_element *out)
{
	struct fs_cursor ahead = *inside;
	struct fs_text value = {0};
	if (!fs_u8(&ahead, &out->type) || !out->type || !fs_take_until(&ahead, 0, NAME_MAX, &out->name))
		return false;
	uint64_t size = size_of(out->type, &ahead);
	if (size == UNKNOWN)
		return false;
	fs_take(&ahead, size < fs_left(&ahead) ? (uint32_t)size : (uint32_t)fs_left(&ahead), &value);
	out->value = fs_inside(value);
	*inside = ahead;
	return true;
}

/* IEEE 754, of whole numbers below 2^31 only. */
static bool whole_of_double(uint64_t bits, int32_t *out)
{
	int exponent = (int)(bits >> 52 & 0x7ff) - 1023;
	uint64_t mantissa = (bits & 0xfffffffffffffull) | 1ull << 52;
	if (bits << 1 == 0) {
		*out = 0;
		return true;
	}
	if (exponent < 0 || exponent > 30)
		return false;
	*out = (int32_t)(mantissa >> (52 - exponent));
	if (bits >> 63)
		*out = -*out;
	return true;
}

bool fs_bson_number(const struct fs_bson_element *element, int32_t *out)
{
	struct fs_cursor bytes = element->value;
	uint64_t value;
	switch (element->type) {
	case FS_BSON_BOOL: return fs_little(&bytes, 1, &value) && ((*out = value != 0), true);
	case FS_BSON_INT32: return fs_little(&bytes, 4, &value) && ((*out = (int32_t)(uint32_t)value), true);
	case FS_BSON_INT64:
		if (!fs_little(&bytes, 8, &value) || value > INT32_MAX)
			return false;
		*out = (int32_t)value;
		return true;
	case FS_BSON_DOUBLE: return fs_little(&bytes, 8, &value) && whole_of_double(value, out);
	default: return false;
	}
}

bool fs_bson_string(const struct fs_bson_element *element, struct fs_text *out)
{
	struct fs_cursor bytes = element->value;
	uint32_t length;
	if (element->type != FS_BSON_STRING || !fs_u32le(&bytes, &length) || length == 0)
		return false;
	return fs_take(&bytes, length - 1 < fs_left(&bytes) ? length - 1 : (uint32_t)fs_left(&bytes), out);
}
