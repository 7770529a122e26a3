/* SPDX-License-Identifier: Apache-2.0 */
/* The header that every HTTP/2 frame starts with: RFC 9113, section 4.1. */
#ifndef FIRESTEEL_HTTP2_FRAME_H
#define FIRESTEEL_HTTP2_FRAME_H

#include "../cursor.h"

#define FS_HTTP2_FRAME_HEADER 9
#define FS_HTTP2_FRAME_MAX 16384 /* section 4.2: larger only where the receiver asked for it */

enum fs_http2_type {
	FS_HTTP2_DATA = 0,
	FS_HTTP2_HEADERS = 1,
	FS_HTTP2_PRIORITY = 2,
	FS_HTTP2_RST_STREAM = 3,
	FS_HTTP2_SETTINGS = 4,
	FS_HTTP2_PUSH_PROMISE = 5,
	FS_HTTP2_PING = 6,
	FS_HTTP2_GOAWAY = 7,
	FS_HTTP2_WINDOW_UPDATE = 8,
	FS_HTTP2_CONTINUATION = 9,
	FS_HTTP2_ALTSVC = 0x0a, /* RFC 7838 */
	FS_HTTP2_ORIGIN = 0x0c, /* RFC 8336 */
	FS_HTTP2_PRIORITY_UPDATE = 0x10 /* RFC 9218 */
};

enum fs_http2_flag {
	FS_HTTP2_END_STREAM = 0x01, /* of SETTINGS and PING the same bit means ACK */
	FS_HTTP2_END_HEADERS = 0x04,
	FS_HTTP2_PADDED = 0x08,
	FS_HTTP2_PRIORITY_FLAG = 0x20
};

struct fs_http2_frame {
	uint32_t length; /* of what follows this header, 24 bits */
	uint32_t stream; /* 31 bits */
	uint8_t type, flags;
};

/* False, and unmoved, if the nine bytes are not all here. */
static inline bool fs_http2_take_header(struct fs_cursor *bytes, struct fs_http2_frame *frame)
{
	uint32_t first;
	uint8_t flags;
	struct fs_cursor ahead = *bytes;
	if (!fs_u32be(&ahead, &first) || !fs_u8(&ahead, &flags) || !fs_u32be(&ahead, &frame->stream))
		return false;
	frame->length = first >> 8;
	frame->type = (uint8_t)first;
	frame->flags = flags;
	frame->stream &= 0x7fffffff; /* the first bit is reserved and to be ignored */
	*bytes = ahead;
	return true;
}

/* Whether stream, length and flags are possible for a frame of that type. */
bool fs_http2_is_frame(const struct fs_http2_frame *frame);

/* Fewer bytes than a header has, all of which fit one. */
bool fs_http2_may_be_header(const struct fs_cursor *bytes);

#endif
