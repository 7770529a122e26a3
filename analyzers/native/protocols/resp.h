/* SPDX-License-Identifier: Apache-2.0 */
/* Values of the Redis serialization protocol, RESP2 and RESP3: where they end, however deep they are nested. */
#ifndef FIRESTEEL_RESP_H
#define FIRESTEEL_RESP_H

#include "../cursor.h"

#define FS_RESP_LINE_MAX 4096
#define FS_RESP_NUMBER_MAX 48 /* of lines that are a number, as counts and lengths are */
#define FS_RESP_STREAMS 3 /* streamed aggregates that may lie within each other; servers send none */

/*
 * What is still to come. The nesting of counted aggregates does not matter for that: each one takes the place of one
 * value and adds as many as it holds.
 */
struct fs_resp_walk {
	uint32_t due; /* values */
	uint32_t outer[FS_RESP_STREAMS]; /* of those around streamed aggregates, which end by a mark */
	uint8_t streams; /* how many of these are open */
	bool in_string; /* streamed, in chunks */
};

enum fs_resp { FS_RESP_DONE, FS_RESP_MORE, FS_RESP_INVALID };

/*
 * Steps over what is due. `passed` is how many bytes that took, which may be more than are here: strings have a declared
 * length. FS_RESP_MORE: what comes next is not here, or only a part of it.
 */
enum fs_resp fs_resp_walk(struct fs_cursor bytes, struct fs_resp_walk *walk, uint64_t *passed);

/* A line without its CRLF, which is to come within `limit` bytes. FS_RESP_MORE: not here yet. */
enum fs_resp fs_resp_line(struct fs_cursor *bytes, uint32_t limit, struct fs_text *line);

/* A string of declared length, "$3\r\nGET\r\n", up to `limit` long. A longer one is FS_RESP_DONE and empty. */
enum fs_resp fs_resp_string(struct fs_cursor *bytes, uint32_t limit, struct fs_text *text, uint64_t *passed);

/* A type's byte and all other values of a RESP line ("*3"): false unless it is a number, -1 included, of null. */
bool fs_resp_count(struct fs_text line, int64_t *count);

#endif
