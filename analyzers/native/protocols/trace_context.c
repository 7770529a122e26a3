/* SPDX-License-Identifier: Apache-2.0 */
/* W3C Trace Context (https://www.w3.org/TR/trace-context/) and B3 (https://github.com/openzipkin/b3-propagation). */
#include "trace_context.h"

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

static void keep_trace(struct fs_trace_context *context, uint8_t rank, const uint8_t *trace, const uint8_t *parent)
{
	if (rank < context->rank)
		return;
	context->rank = rank;
	for (int i = 0; trace && i < 16; i++)
		context->trace_id[i] = trace[i];
	for (int i = 0; parent && i < 8; i++)
		context->parent_id[i] = parent[i];
}

/* W3C Trace Context, section 3.2: version "-" trace-id "-" parent-id "-" flags. Later versions may append. */
static void read_traceparent(struct fs_trace_context *context, struct fs_text value)
{
	struct fs_cursor bytes = fs_inside(value);
	uint8_t version[1], trace[16], parent[8];
	bool zero = fs_accept(&bytes, "00");
	if (!zero && !(take_id(&bytes, version, 1) && version[0] != 0xff))
		return;
	if (fs_accept(&bytes, "-") && take_id(&bytes, trace, 16) && fs_accept(&bytes, "-") &&
	    take_id(&bytes, parent, 8) && fs_accept(&bytes, "-"))
		keep_trace(context, 3, trace, parent);
}

/* b3: {TraceId}-{SpanId}[-{SamplingState}[-{ParentSpanId}]]; the sender's span is our parent. */
static void read_b3(struct fs_trace_context *context, struct fs_text value)
{
	struct fs_cursor bytes = fs_inside(value);
	uint8_t trace[16] = {0}, parent[8];
	if (take_b3_trace(&bytes, trace) && fs_accept(&bytes, "-") && take_id(&bytes, parent, 8))
		keep_trace(context, 2, trace, parent);
}

static void read_b3_part(struct fs_trace_context *context, struct fs_text value, enum fs_trace_field field)
{
	struct fs_cursor bytes = fs_inside(value);
	uint8_t trace[16] = {0}, parent[8];
	if (field == FS_TRACE_B3_TRACE && take_b3_trace(&bytes, trace))
		keep_trace(context, 1, trace, NULL);
	if (field == FS_TRACE_B3_SPAN && take_id(&bytes, parent, 8))
		keep_trace(context, 1, NULL, parent);
}

void fs_trace_read(struct fs_trace_context *context, enum fs_trace_field field, struct fs_text value)
{
	switch (field) {
	case FS_TRACE_W3C: read_traceparent(context, value); break;
	case FS_TRACE_B3: read_b3(context, value); break;
	case FS_TRACE_B3_TRACE:
	case FS_TRACE_B3_SPAN: read_b3_part(context, value, field); break;
	}
}
