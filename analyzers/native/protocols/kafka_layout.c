/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka_layout.h"

#define ARRAY_MAX (1 << 24)
#define TAGS_MAX 64

bool fs_kafka_varint(struct fs_cursor *bytes, uint32_t *value)
{
	struct fs_cursor ahead = *bytes;
	uint32_t sum = 0;
	uint8_t byte;
	for (int shift = 0; shift < 35; shift += 7) {
		if (!fs_u8(&ahead, &byte))
			return false;
		sum |= (uint32_t)(byte & 0x7f) << shift;
		if (byte & 0x80)
			continue;
		*bytes = ahead;
		*value = sum;
		return true;
	}
	return false;
}

bool fs_kafka_tags(struct fs_cursor *bytes)
{
	uint32_t count, tag, length;
	if (!fs_kafka_varint(bytes, &count) || count > TAGS_MAX)
		return false;
	while (count--)
		if (!fs_kafka_varint(bytes, &tag) || !fs_kafka_varint(bytes, &length) || !fs_skip(bytes, length))
			return false;
	return true;
}

/* The length of a string (two bytes) or of bytes and arrays (four); -1 is null. False if it is not here, or broken. */
static bool read_length(struct fs_kafka_walk *walk, int width, int64_t *length)
{
	uint32_t compact;
	uint16_t narrow;
	if (walk->flexible) {
		if (!fs_kafka_varint(&walk->bytes, &compact)) {
			walk->is_broken |= fs_left(&walk->bytes) >= 5;
			return false;
		}
		*length = (int64_t)compact - 1;
		return true;
	}
	if (width == 2 ? !fs_u16be(&walk->bytes, &narrow) : !fs_u32be(&walk->bytes, &compact))
		return false;
	*length = width == 2 ? (int16_t)narrow : (int32_t)compact;
	walk->is_broken |= *length < -1;
	return *length >= -1;
}

static bool read_string(struct fs_kafka_walk *walk, struct fs_text *text)
{
	int64_t length;
	if (!read_length(walk, 2, &length))
		return false;
	text->length = 0;
	if (length > INT16_MAX) {
		walk->is_broken = true;
		return false;
	}
	return length <= 0 || fs_take(&walk->bytes, (uint32_t)length, text);
}

static bool skip_bytes(struct fs_kafka_walk *walk)
{
	int64_t length;
	return read_length(walk, 4, &length) && (length < 0 || fs_skip(&walk->bytes, (uint64_t)length));
}

/* Behind the bracket that closes what was opened before `at`. */
static const char *behind(const char *at)
{
	for (int open = 1; open && *at; at++)
		open += *at == '[' || *at == '(' ? 1 : *at == ']' || *at == ')' ? -1 : 0;
	return at;
}

static unsigned read_number(const char **at)
{
	unsigned value = 0;
	for (; **at >= '0' && **at <= '9'; (*at)++)
		value = value * 10 + (unsigned)(**at - '0');
	return value;
}

/* "3+:" or "0-7:", behind its parenthesis. */
static bool is_in_version(const char **at, uint16_t version)
{
	unsigned first = read_number(at), last = UINT16_MAX;
	if (**at == '-') {
		(*at)++;
		last = read_number(at);
	} else {
		(*at)++;
	}
	(*at)++;
	return version >= first && version <= last;
}

static bool read_topic(struct fs_kafka_walk *walk)
{
	struct fs_text name = {0};
	if (!read_string(walk, &name))
		return false;
	if (name.length)
		walk->topic = name;
	return walk->goes_on || !name.length;
}

static bool is_zero(struct fs_text text)
{
	struct fs_cursor bytes = fs_inside(text);
	uint8_t byte;
	while (fs_u8(&bytes, &byte))
		if (byte)
			return false;
	return true;
}

static bool read_topic_id(struct fs_kafka_walk *walk)
{
	struct fs_text id;
	if (!fs_take(&walk->bytes, FS_KAFKA_ID_BYTES, &id))
		return false;
	if (is_zero(id))
		return true; /* none */
	walk->topic_id = id;
	if (walk->learn && walk->topic.length)
		walk->learn(walk->memory, walk->topic, id);
	return true;
}

static bool read_error(struct fs_kafka_walk *walk)
{
	uint16_t code;
	if (!fs_u16be(&walk->bytes, &code))
		return false;
	walk->has_error = true;
	if (!walk->error)
		walk->error = (int16_t)code;
	return walk->goes_on || !walk->error;
}

static bool read_acks(struct fs_kafka_walk *walk)
{
	uint16_t acks;
	if (!fs_u16be(&walk->bytes, &acks))
		return false;
	walk->acks = (int16_t)acks;
	walk->has_acks = true;
	walk->is_broken |= walk->acks < -1 || walk->acks > 1;
	return true;
}

/* One field that is neither array nor condition. */
static bool read_field(struct fs_kafka_walk *walk, char kind)
{
	struct fs_text text;
	switch (kind) {
	case '1':
	case '2':
	case '4':
	case '8': return fs_skip(&walk->bytes, (uint64_t)(kind - '0'));
	case 's': return read_string(walk, &text);
	case 'b': return skip_bytes(walk);
	case 'u': return fs_skip(&walk->bytes, FS_KAFKA_ID_BYTES);
	case 'A': return read_acks(walk);
	case 'T': return read_topic(walk);
	case 'I': return read_topic_id(walk);
	case 'E': return read_error(walk);
	default: return false; /* '!' */
	}
}

static bool read_fields(struct fs_kafka_walk *walk, const char **at);

static bool read_array(struct fs_kafka_walk *walk, const char *element)
{
	bool is_tagged = walk->flexible && element[1] != ']'; /* a struct is: numbers and strings are none */
	int64_t count;
	if (!read_length(walk, 4, &count))
		return false;
	if (count > ARRAY_MAX) {
		walk->is_broken = true;
		return false;
	}
	for (; count > 0 && fs_left(&walk->bytes); count--) {
		const char *at = element;
		if (!read_fields(walk, &at) || (is_tagged && !fs_kafka_tags(&walk->bytes)))
			return false;
	}
	return count <= 0;
}

/* Up to the end of a struct or condition. False: no more is to be read. The depth is that of the layout. */
static bool read_fields(struct fs_kafka_walk *walk, const char **at) // NOLINT(misc-no-recursion)
{
	while (**at && **at != ']' && **at != ')') {
		char kind = *(*at)++;
		if (kind == '[') {
			if (!read_array(walk, *at))
				return false;
			*at = behind(*at);
		} else if (kind == '(') {
			bool reads = is_in_version(at, walk->version);
			if (reads && !read_fields(walk, at))
				return false;
			*at = reads ? *at + (**at == ')') : behind(*at);
		} else if (!read_field(walk, kind)) {
			return false;
		}
	}
	return true;
}

void fs_kafka_walk(struct fs_kafka_walk *walk, const char *layout)
{
	(void)read_fields(walk, &layout);
}

bool fs_kafka_is_topic(struct fs_text name)
{
	struct fs_cursor bytes = fs_inside(name);
	uint8_t byte;
	while (fs_u8(&bytes, &byte))
		if (!(fs_lower(byte) >= 'a' && fs_lower(byte) <= 'z') && !(byte >= '0' && byte <= '9') && byte != '.' &&
		    byte != '_' && byte != '-')
			return false;
	return name.length > 0 && name.length <= FS_KAFKA_TOPIC_MAX;
}
