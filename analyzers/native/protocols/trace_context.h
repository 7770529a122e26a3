/* SPDX-License-Identifier: Apache-2.0 */
/* Which trace a request belongs to, from the header fields that say so: W3C Trace Context and B3. */
#ifndef FIRESTEEL_TRACE_CONTEXT_H
#define FIRESTEEL_TRACE_CONTEXT_H

#include "../cursor.h"

enum fs_trace_field {
	FS_TRACE_W3C, /* traceparent */
	FS_TRACE_B3, /* b3 */
	FS_TRACE_B3_TRACE, /* x-b3-traceid */
	FS_TRACE_B3_SPAN /* x-b3-spanid */
};

struct fs_trace_context {
	uint8_t rank; /* of what it came from: 0 none, 1 X-B3-*, 2 b3, 3 traceparent */
	uint8_t trace_id[16];
	uint8_t parent_id[8];
};

/* Takes the value of such a field; a lesser one never replaces a better one, and what cannot be read changes nothing. */
void fs_trace_read(struct fs_trace_context *context, enum fs_trace_field field, struct fs_text value);

#endif
