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
		else if (fs_text_is_nocase(element, "h2c"))
			head->upgrade = FS_PROTOCOL_HTTP2; /* RFC 7540, section 3.2 */
		else
			head->upgrade = FS_PROTOCOL_NOSUPPORT;
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
	case FIELD_W3C: fs_trace_read(&head->trace, FS_TRACE_W3C, value); break;
	case FIELD_B3: fs_trace_read(&head->trace, FS_TRACE_B3, value); break;
	case FIELD_B3_TRACE: fs_trace_read(&head->trace, FS_TRACE_B3_TRACE, value); break;
	case FIELD_B3_SPAN: fs_trace_read(&head->trace, FS_TRACE_B3_SPAN, value); break;
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
