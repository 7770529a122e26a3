/* SPDX-License-Identifier: Apache-2.0 */
/* The lines of an HTTP/1 head after its first one: RFC 9112, section 5. */
#include "http_fields.h"

#include "../protocol.h"

#define LINE_MAX 65536

enum field {
	FIELD_OTHER,
	FIELD_LENGTH,
	FIELD_CODING,
	FIELD_UPGRADE,
	FIELD_B3,
	FIELD_B3_TRACE,
	FIELD_B3_SPAN,
	FIELD_W3C
};

static const struct {
	const char *name; /* lower case */
	uint8_t length;
	uint8_t field;
} field_names[] = {
	{"content-length", 14, FIELD_LENGTH},
	{"transfer-encoding", 17, FIELD_CODING},
	{"upgrade", 7, FIELD_UPGRADE},
	{"traceparent", 11, FIELD_W3C},
	{"b3", 2, FIELD_B3},
	{"x-b3-traceid", 12, FIELD_B3_TRACE},
	{"x-b3-spanid", 11, FIELD_B3_SPAN},
};

/* A line without its end, which may be a bare LF (RFC 9112, section 2.2). */
bool fs_http_line(struct fs_cursor *bytes, uint32_t limit, struct fs_text *line)
{
	if (!fs_take_until(bytes, '\n', limit, line))
		return false;
	struct fs_cursor inside = fs_inside(*line);
	if (line->length && fs_peek(&inside, line->length - 1) == '\r')
		line->length--;
	return true;
}

/* Writes `count` bytes; false if there are not twice as many digits, or if they are all zero. */
static bool take_id(struct fs_cursor *bytes, uint8_t *id, uint32_t count)
{
	bool any = false;
	for (uint32_t i = 0; i < count; i++) {
		int high = fs_hex_digit(fs_peek(bytes, 0)), low = fs_hex_digit(fs_peek(bytes, 1));
		if (high < 0 || low < 0)
			return false;
		id[i] = (uint8_t)(high << 4 | low);
		any = any || id[i];
		fs_skip(bytes, 2);
	}
	return any;
}

/* B3 allows ids of 64 bits, which stand in the low half. */
static bool take_b3_trace(struct fs_cursor *bytes, uint8_t *id)
{
	bool wide = fs_hex_digit(fs_peek(bytes, 16)) >= 0;
	return take_id(bytes, wide ? id : id + 8, wide ? 16 : 8);
}

static void keep_trace(struct fs_http_fields *head, uint8_t rank, const uint8_t *trace, const uint8_t *parent)
{
	if (rank < head->trace_rank)
		return;
	head->trace_rank = rank;
	for (int i = 0; trace && i < 16; i++)
		head->trace_id[i] = trace[i];
	for (int i = 0; parent && i < 8; i++)
		head->parent_id[i] = parent[i];
}

/* W3C Trace Context, section 3.2: version "-" trace-id "-" parent-id "-" flags. Later versions may append. */
static void read_traceparent(struct fs_http_fields *head, struct fs_text value)
{
	struct fs_cursor bytes = fs_inside(value);
	uint8_t version[1], trace[16], parent[8];
	bool zero = fs_accept(&bytes, "00");
	if (!zero && !(take_id(&bytes, version, 1) && version[0] != 0xff))
		return;
	if (fs_accept(&bytes, "-") && take_id(&bytes, trace, 16) && fs_accept(&bytes, "-") &&
	    take_id(&bytes, parent, 8) && fs_accept(&bytes, "-"))
		keep_trace(head, 3, trace, parent);
}

/* b3: {TraceId}-{SpanId}[-{SamplingState}[-{ParentSpanId}]]; the sender's span is our parent. */
static void read_b3(struct fs_http_fields *head, struct fs_text value)
{
	struct fs_cursor bytes = fs_inside(value);
	uint8_t trace[16] = {0}, parent[8];
	if (take_b3_trace(&bytes, trace) && fs_accept(&bytes, "-") && take_id(&bytes, parent, 8))
		keep_trace(head, 2, trace, parent);
}

static void read_b3_part(struct fs_http_fields *head, struct fs_text value, enum field field)
{
	struct fs_cursor bytes = fs_inside(value);
	uint8_t trace[16] = {0}, parent[8];
	if (field == FIELD_B3_TRACE && take_b3_trace(&bytes, trace))
		keep_trace(head, 1, trace, NULL);
	if (field == FIELD_B3_SPAN && take_id(&bytes, parent, 8))
		keep_trace(head, 1, NULL, parent);
}

/* The next element of a comma separated list, without its parameters. */
static bool next_element(struct fs_cursor *list, struct fs_text *element)
{
	uint32_t rest = (uint32_t)fs_left(list);
	struct fs_text name;
	if (rest == 0)
		return false;
	if (!fs_take_until(list, ',', rest, element) && !fs_take(list, rest, element))
		return false;
	struct fs_cursor inside = fs_inside(*element);
	if (fs_take_until(&inside, ';', element->length, &name))
		*element = name;
	*element = fs_trimmed(*element);
	return true;
}

/* RFC 9112, section 6.3: repeated equal values are one, different ones are an error. */
static void read_length(struct fs_http_fields *head, struct fs_text value)
{
	struct fs_cursor list = fs_inside(value);
	struct fs_text element;
	uint64_t length;
	while (next_element(&list, &element)) {
		if (element.length == 0)
			continue;
		if (!fs_decimal(element, &length) || (head->has_length && length != head->content_length)) {
			head->bad_length = true;
			return;
		}
		head->has_length = true;
		head->content_length = length;
	}
}

/* Only the last coding matters: if it is not chunked, the end of the body is the end of the connection. */
static void read_coding(struct fs_http_fields *head, struct fs_text value)
{
	struct fs_cursor list = fs_inside(value);
	struct fs_text element;
	while (next_element(&list, &element)) {
		if (element.length == 0 || fs_text_is_nocase(element, "identity"))
			continue;
		head->has_coding = true;
		head->chunked = fs_text_is_nocase(element, "chunked");
	}
}

static void read_upgrade(struct fs_http_fields *head, struct fs_text value)
{
	struct fs_cursor list = fs_inside(value);
	struct fs_text element;
	while (!head->has_upgrade && next_element(&list, &element)) {
		if (element.length == 0)
			continue;
		head->has_upgrade = true;
		if (fs_text_is_nocase(element, "websocket"))
			head->upgrade = FS_PROTOCOL_WEBSOCKET;
		else if (fs_text_is_nocase(element, "tls/1.0") || fs_text_is_nocase(element, "tls/1.2"))
			head->upgrade = FS_PROTOCOL_TLS;
		else
			head->upgrade = FS_PROTOCOL_NOSUPPORT; /* h2c and what else there is */
	}
}

static enum field field_of(struct fs_text name)
{
	for (size_t i = 0; i < sizeof(field_names) / sizeof(field_names[0]); i++)
		if (field_names[i].length == name.length && fs_text_is_nocase(name, field_names[i].name))
			return (enum field)field_names[i].field;
	return FIELD_OTHER;
}

/* A cheap look at a line, for most lines are none of ours: the first letter, and a name's end where it would have to be. */
static bool may_be_field(const struct fs_cursor *line)
{
	int first = fs_peek(line, 0);
	if (first < 0)
		return false;
	for (size_t i = 0; i < sizeof(field_names) / sizeof(field_names[0]); i++) {
		if ((fs_lower((uint8_t)first)) != (uint8_t)field_names[i].name[0])
			continue;
		int end = fs_peek(line, field_names[i].length);
		if (end == ':' || end == ' ' || end == '\t')
			return true;
	}
	return false;
}

static void read_field(struct fs_http_fields *head, enum field field, struct fs_text value)
{
	value = fs_trimmed(value);
	switch (field) {
	case FIELD_LENGTH: read_length(head, value); break;
	case FIELD_CODING: read_coding(head, value); break;
	case FIELD_UPGRADE: read_upgrade(head, value); break;
	case FIELD_W3C: read_traceparent(head, value); break;
	case FIELD_B3: read_b3(head, value); break;
	case FIELD_B3_TRACE:
	case FIELD_B3_SPAN: read_b3_part(head, value, field); break;
	case FIELD_OTHER: break;
	}
}

/* Reads field lines up to the empty one. False if it did not come. */
bool fs_http_fields(struct fs_cursor *bytes, struct fs_http_fields *head)
{
	struct fs_text line, name;
	while (fs_http_line(bytes, LINE_MAX, &line)) {
		struct fs_cursor inside = fs_inside(line);
		if (line.length == 0)
			return true;
		/* A folded line goes on with the value of the one before (RFC 9112, section 5.2). */
		if (fs_peek(&inside, 0) != ' ' && fs_peek(&inside, 0) != '\t') {
			head->last = may_be_field(&inside) && fs_take_until(&inside, ':', line.length, &name)
					     ? (uint8_t)field_of(fs_trimmed(name))
					     : FIELD_OTHER;
		}
		if (head->last != FIELD_OTHER && fs_take(&inside, (uint32_t)fs_left(&inside), &line))
			read_field(head, (enum field)head->last, line);
	}
	return false;
}
