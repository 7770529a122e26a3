/* SPDX-License-Identifier: Apache-2.0 */
/* What the fields of an HTTP/1 head say about framing, switching and tracing. */
#ifndef FIRESTEEL_HTTP_FIELDS_H
#define FIRESTEEL_HTTP_FIELDS_H

#include "trace_context.h"

struct fs_http_fields {
	uint64_t content_length;
	bool has_length, bad_length;
	bool has_coding, chunked;
	bool has_upgrade;
	uint8_t upgrade; /* enum fs_protocol_id */
	uint8_t last; /* which field a folded line would go on with */
	struct fs_trace_context trace;
};

/* Takes a line of up to `limit` bytes without its end, which may be a bare LF (RFC 9112, section 2.2). */
bool fs_http_line(struct fs_cursor *bytes, uint32_t limit, struct fs_text *line);

/* Reads field lines up to and including the empty one. False if it is not there; `head` knows what was. */
bool fs_http_fields(struct fs_cursor *bytes, struct fs_http_fields *head);

#endif
