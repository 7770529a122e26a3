/* SPDX-License-Identifier: Apache-2.0 */
/* Header blocks and their dynamic table: RFC 7541; see hpack.h. */
#include "hpack.h"
#include "../protocol.h"

#define STATIC_ENTRIES 61
#define ENTRY_OVERHEAD 32u /* RFC 7541, section 4.1 */
#define INTEGER_MAX 0x1000000

enum field {
	FIELD_OTHER = 0,
	FIELD_UNKNOWN,
	FIELD_METHOD,
	FIELD_PATH,
	FIELD_STATUS,
	FIELD_OF_REQUEST, /* :scheme, :authority, :protocol */
	FIELD_CONTENT_TYPE,
	FIELD_GRPC_STATUS,
	FIELD_W3C,
	FIELD_B3,
	FIELD_B3_TRACE,
	FIELD_B3_SPAN
};

/* The fields that are read, by name. */
static const struct {
	const char *name;
	uint8_t length, field;
} fields[] = {
	{":path", 5, FIELD_PATH},
	{":method", 7, FIELD_METHOD},
	{":status", 7, FIELD_STATUS},
	{":scheme", 7, FIELD_OF_REQUEST},
	{":authority", 10, FIELD_OF_REQUEST},
	{":protocol", 9, FIELD_OF_REQUEST},
	{"content-type", 12, FIELD_CONTENT_TYPE},
	{"grpc-status", 11, FIELD_GRPC_STATUS},
	{"traceparent", 11, FIELD_W3C},
	{"b3", 2, FIELD_B3},
	{"x-b3-traceid", 12, FIELD_B3_TRACE},
	{"x-b3-spanid", 11, FIELD_B3_SPAN},
};
/* How many bytes of their values are worth keeping. */
static const uint8_t kept[] = {
	[FIELD_METHOD] = 8,	   [FIELD_PATH] = 240,	    [FIELD_STATUS] = 4,
	[FIELD_CONTENT_TYPE] = 17, [FIELD_GRPC_STATUS] = 6, [FIELD_W3C] = 64,
	[FIELD_B3] = 80,	   [FIELD_B3_TRACE] = 33,   [FIELD_B3_SPAN] = 17,
};
#define FIELDS (sizeof(fields) / sizeof(fields[0]))
#define NAME_MAX 12

/* RFC 7541, appendix A: how long the names of the static table are, from index 1 on. */
static const uint8_t static_names[STATIC_ENTRIES] = {
	10, 7, 7, 5, 5, 7, 7, 7, 7,  7,	 7, 7,	7,  7, 14, 15, 15, 13, 6, 27, 3, 5,  13, 13, 19, 16, 16, 14, 16, 13, 12,
	6,  4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8,  12, 18, 19, 5, 7,  7, 11, 6,	 10, 25, 17, 10, 4,  3,	 16,
};
static const uint16_t static_statuses[] = {200, 204, 206, 304, 400, 404, 500}; /* from index 8 on */

/* A name, whether spelt out or given as an index. */
struct name {
	uint32_t length;
	enum field field;
};

static enum field static_field(uint32_t index)
{
	switch (index) {
	case 2:
	case 3: return FIELD_METHOD;
	case 4:
	case 5: return FIELD_PATH;
	case 1:
	case 6:
	case 7: return FIELD_OF_REQUEST;
	case 31: return FIELD_CONTENT_TYPE;
	default: return index >= 8 && index <= 14 ? FIELD_STATUS : FIELD_OTHER;
	}
}

static enum field field_of(struct fs_text name)
{
	for (size_t i = 0; i < FIELDS; i++)
		if (fields[i].length == name.length && fs_text_is(name, fields[i].name))
			return (enum field)fields[i].field;
	return FIELD_OTHER;
}

/* --- the table --- */

static struct fs_hpack_entry *entry_at(struct fs_hpack_table *table, uint32_t age)
{
	return &table->entries[(table->newest - age) % FS_HPACK_ENTRIES];
}

void fs_hpack_forget(struct fs_hpack_table *table)
{
	table->count = table->stored = 0;
	table->used = 0;
	table->limited = 0;
}

static void drop_oldest(struct fs_hpack_table *table)
{
	const struct fs_hpack_entry *oldest = entry_at(table, table->count - 1u);
	table->used -= ENTRY_OVERHEAD + (uint32_t)oldest->name_length + oldest->value_length;
	table->stored = (uint16_t)(table->stored - oldest->kept);
	table->count--;
}

static void resize(struct fs_hpack_table *table, uint32_t capacity)
{
	table->limited = 1;
	table->capacity = capacity;
	while (table->count && table->used > capacity)
		drop_oldest(table);
}

static uint16_t at_most_16_bits(uint32_t length)
{
	return (uint16_t)(length < UINT16_MAX ? length : UINT16_MAX);
}

/* RFC 7541, section 4.4. What finds no room in the rings is forgotten, oldest first: an index to it is unknown then. */
static void insert(struct fs_hpack_table *table, struct name name, uint32_t value_length, const struct fs_label *value)
{
	uint32_t size = ENTRY_OVERHEAD + at_most_16_bits(name.length) + at_most_16_bits(value_length);
	struct fs_cursor bytes = fs_inside(fs_label_read(value));
	uint8_t byte;
	while (table->count && ((table->limited && table->used + size > table->capacity) ||
				table->count == FS_HPACK_ENTRIES || table->stored + value->length > FS_HPACK_VALUES))
		drop_oldest(table);
	if (table->limited && size > table->capacity)
		return;
	table->newest = (uint16_t)((table->newest + 1u) % FS_HPACK_ENTRIES);
	*entry_at(table, 0) = (struct fs_hpack_entry){
		.name_length = at_most_16_bits(name.length),
		.value_length = at_most_16_bits(value_length),
		.place = table->tail,
		.field = (uint8_t)name.field,
		.kept = (uint8_t)value->length,
	};
	table->count++;
	table->used += size;
	table->stored = (uint16_t)(table->stored + value->length);
	while (fs_u8(&bytes, &byte)) {
		table->values[table->tail] = byte;
		table->tail = (uint16_t)((table->tail + 1u) % FS_HPACK_VALUES);
	}
}

static void value_of(const struct fs_hpack_table *table, const struct fs_hpack_entry *entry, struct fs_label *out)
{
	uint32_t to_the_end = FS_HPACK_VALUES - entry->place;
	uint32_t first = entry->kept < to_the_end ? entry->kept : to_the_end;
	fs_label_bytes(out, &table->values[entry->place], first);
	fs_label_bytes(out, table->values, entry->kept - first);
}

/* --- what the fields say --- */

/* application/grpc, application/grpc+proto; grpc-web is another protocol. */
static bool is_grpc(struct fs_text content_type)
{
	struct fs_cursor bytes = fs_inside(content_type);
	if (!fs_accept(&bytes, "application/grpc"))
		return false;
	int next = fs_peek(&bytes, 0);
	return next < 0 || next == '+' || next == ';' || next == ' ';
}

static uint8_t verb_of(struct fs_text method)
{
#define FS_VERB_NAME(number, name) [number] = #name,
	static const char *const names[] = {FS_VERBS(FS_VERB_NAME)};
#undef FS_VERB_NAME
	for (uint8_t i = 1; i < FS_VERB_COUNT; i++)
		if (fs_text_is(method, names[i]))
			return i;
	return 0;
}

static void tell(struct fs_hpack_head *head, enum field field, const struct fs_label *value)
{
	struct fs_text text = fs_label_read(value);
	uint64_t number;
	head->begins_unknown |= !head->any && field == FIELD_UNKNOWN;
	head->any = true;
	switch (field) {
	case FIELD_UNKNOWN: head->has_unknown = true; break;
	case FIELD_METHOD:
		head->verb = verb_of(text);
		head->is_connect = head->verb == FS_VERB_CONNECT;
		head->is_request = true;
		break;
	case FIELD_PATH:
		head->path.length = 0;
		fs_label_text(&head->path, text);
		head->is_request = true;
		break;
	case FIELD_OF_REQUEST: head->is_request = true; break;
	case FIELD_STATUS:
		if (text.length == 3 && fs_decimal(text, &number) && number >= 100)
			head->status = (uint16_t)number;
		break;
	case FIELD_CONTENT_TYPE: head->is_grpc = is_grpc(text); break;
	case FIELD_GRPC_STATUS:
		if (fs_decimal(text, &number) && number < 1000)
			head->grpc_status = (uint16_t)(number + 1);
		break;
	case FIELD_W3C: fs_trace_read(&head->trace, FS_TRACE_W3C, text); break;
	case FIELD_B3: fs_trace_read(&head->trace, FS_TRACE_B3, text); break;
	case FIELD_B3_TRACE: fs_trace_read(&head->trace, FS_TRACE_B3_TRACE, text); break;
	case FIELD_B3_SPAN: fs_trace_read(&head->trace, FS_TRACE_B3_SPAN, text); break;
	case FIELD_OTHER: break;
	}
}

/* Leaves of a :path what may be kept: no query, and no piece of a segment whose end is not here. */
static void shorten_path(struct fs_label *path, bool is_whole)
{
	struct fs_cursor bytes = fs_inside(fs_label_read(path));
	uint16_t slash = 0;
	for (uint16_t i = 0; i < path->length; i++) {
		int byte = fs_peek(&bytes, i);
		if (byte == '?' || byte == '#') {
			path->length = i;
			path->text[i] = 0;
			return;
		}
		if (byte == '/')
			slash = (uint16_t)(i + 1);
	}
	if (is_whole)
		return;
	path->length = slash;
	fs_label_byte(path, '*');
}

/* --- the block --- */

/* RFC 7541, section 5.1: `first` without the bits in front of the prefix. */
static bool take_integer(struct fs_hpack_block *block, uint8_t first, uint8_t prefix, uint32_t *out)
{
	uint64_t value = first & prefix;
	uint8_t byte;
	if (value == prefix) {
		for (uint32_t shift = 0;; shift += 7) {
			if (shift > 28 || !fs_hpack_byte(block, &byte))
				return false;
			value += (uint64_t)(byte & 0x7f) << shift;
			if (!(byte & 0x80))
				break;
		}
	}
	*out = (uint32_t)value;
	return value <= INTEGER_MAX;
}

static bool skip(struct fs_hpack_block *block, uint32_t count)
{
	while (count > fs_left(&block->part)) {
		count -= (uint32_t)fs_left(&block->part);
		if (!fs_hpack_next_part(block))
			return false;
	}
	return fs_skip(&block->part, count);
}

/* Section 5.2. Keeps at most `keep` bytes; `length` is not asked for where nothing is to be measured. */
static bool take_string(struct fs_hpack_block *block, uint32_t keep, bool measure, struct fs_label *out,
			uint32_t *length)
{
	uint8_t first, byte;
	uint32_t bytes;
	if (!fs_hpack_byte(block, &first) || !take_integer(block, first, 0x7f, &bytes))
		return false;
	*length = bytes;
	if (first & 0x80 && (keep || measure))
		return fs_huffman(block, bytes, keep, out, length);
	for (; bytes && keep; bytes--, keep--) {
		if (!fs_hpack_byte(block, &byte))
			return false;
		fs_label_byte(out, (char)byte);
	}
	return skip(block, bytes);
}

static bool read_indexed(struct fs_hpack_table *table, uint32_t index, struct fs_hpack_head *head)
{
	FS_UNSET struct fs_label value;
	value.length = 0;
	value.text[0] = 0;
	if (index == 0)
		return false;
	if (index > STATIC_ENTRIES) {
		index -= STATIC_ENTRIES + 1;
		if (!table || index >= table->count) {
			tell(head, FIELD_UNKNOWN, &value);
			return true;
		}
		const struct fs_hpack_entry *entry = entry_at(table, index);
		value_of(table, entry, &value);
		tell(head, (enum field)entry->field, &value);
		return true;
	}
	if (index >= 8 && index <= 14)
		fs_label_decimal(&value, static_statuses[index - 8]);
	else if (index == 2 || index == 3)
		fs_label_literal(&value, index == 2 ? "GET" : "POST");
	else if (index == 4 || index == 5)
		fs_label_literal(&value, index == 4 ? "/" : "/index.html");
	tell(head, static_field(index), &value);
	return true;
}

static bool read_name(struct fs_hpack_block *block, struct fs_hpack_table *table, uint32_t index, struct name *name)
{
	FS_UNSET struct fs_label spelt;
	if (index == 0) {
		spelt.length = 0;
		spelt.text[0] = 0;
		if (!take_string(block, NAME_MAX + 1, true, &spelt, &name->length))
			return false;
		name->field = field_of(fs_label_read(&spelt));
	} else if (index <= STATIC_ENTRIES) {
		name->length = static_names[index - 1];
		name->field = static_field(index);
	} else if (!table || index - STATIC_ENTRIES - 1 >= table->count) {
		name->length = 0;
		name->field = FIELD_UNKNOWN;
	} else {
		const struct fs_hpack_entry *entry = entry_at(table, index - STATIC_ENTRIES - 1);
		name->length = entry->name_length;
		name->field = (enum field)entry->field;
	}
	return true;
}

static bool read_literal(struct fs_hpack_block *block, struct fs_hpack_table *table, uint32_t index, bool adds,
			 struct fs_hpack_head *head)
{
	FS_UNSET struct fs_label value;
	struct name name;
	uint32_t length, keep;
	value.length = 0;
	value.text[0] = 0;
	if (!read_name(block, table, index, &name))
		return false;
	keep = kept[name.field];
	if (!take_string(block, keep, adds && table, &value, &length))
		return false;
	if (name.field == FIELD_PATH)
		shorten_path(&value, length <= keep);
	tell(head, name.field, &value);
	if (adds && table)
		insert(table, name, length, &value);
	return true;
}

/* Section 6. */
static bool read_field(struct fs_hpack_block *block, struct fs_hpack_table *table, uint8_t first,
		       struct fs_hpack_head *head)
{
	uint32_t number;
	if (first & 0x80)
		return take_integer(block, first, 0x7f, &number) && read_indexed(table, number, head);
	if (first & 0x40)
		return take_integer(block, first, 0x3f, &number) && read_literal(block, table, number, true, head);
	if (!(first & 0x20))
		return take_integer(block, first, 0x0f, &number) && read_literal(block, table, number, false, head);
	if (!take_integer(block, first, 0x1f, &number))
		return false;
	if (table)
		resize(table, number);
	return true;
}

bool fs_hpack_read(struct fs_hpack_block *block, struct fs_hpack_table *table, struct fs_hpack_head *head)
{
	uint8_t first;
	if (table)
		table->was_read = 1;
	while (fs_hpack_byte(block, &first)) {
		if (!read_field(block, table, first, head)) {
			if (table)
				fs_hpack_forget(table);
			return false;
		}
	}
	return true;
}
