/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of HTTP/2 and the header blocks that they carry: RFC 9113, sections 4 and 6. */
#include "hpack.h"

#define SETTINGS_MAX 64

/* What section 6 says of a frame of that type: its stream, its length, and flags that mean something. */
bool fs_http2_is_frame(const struct fs_http2_frame *frame)
{
	uint8_t flags = frame->flags;
	switch (frame->type) {
	case FS_HTTP2_DATA: return frame->stream && !(flags & ~0x09u);
	case FS_HTTP2_HEADERS: return frame->stream && frame->length && !(flags & ~0x2du);
	case FS_HTTP2_PRIORITY: return frame->stream && frame->length == 5 && !flags;
	case FS_HTTP2_RST_STREAM: return frame->stream && frame->length == 4 && !flags;
	case FS_HTTP2_SETTINGS:
		return !frame->stream && frame->length % 6 == 0 && frame->length <= 6 * SETTINGS_MAX &&
		       !(flags & ~0x01u) && (!flags || !frame->length);
	case FS_HTTP2_PUSH_PROMISE: return frame->stream && frame->length > 4 && !(flags & ~0x0cu);
	case FS_HTTP2_PING: return !frame->stream && frame->length == 8 && !(flags & ~0x01u);
	case FS_HTTP2_GOAWAY: return !frame->stream && frame->length >= 8 && !flags;
	case FS_HTTP2_WINDOW_UPDATE: return frame->length == 4 && !flags;
	case FS_HTTP2_CONTINUATION: return frame->stream && !(flags & ~0x04u);
	/* Extensions that are in use; section 5.5 has others ignored, but who sends one has asked for it. */
	case FS_HTTP2_ALTSVC: return frame->length >= 2 && frame->length <= FS_HTTP2_FRAME_MAX && !flags;
	case FS_HTTP2_ORIGIN: return !frame->stream && frame->length <= FS_HTTP2_FRAME_MAX && !flags;
	case FS_HTTP2_PRIORITY_UPDATE:
		return !frame->stream && frame->length >= 4 && frame->length <= FS_HTTP2_FRAME_MAX && !flags;
	default: return false;
	}
}

/*
 * Finds the block that starts with `frame`, whose header was just taken. Sets `length` to that of all frames that are
 * known to be of it. False if it goes on behind what is here.
 */
bool fs_http2_block(struct fs_cursor bytes, const struct fs_http2_frame *frame, struct fs_hpack_block *block,
		    uint64_t *length)
{
	struct fs_http2_frame next = *frame;
	struct fs_text part;
	uint8_t padding = 0, promised = frame->type == FS_HTTP2_PUSH_PROMISE ? 4 : 0;
	uint32_t skipped = promised + (promised == 0 && frame->flags & FS_HTTP2_PRIORITY_FLAG ? 5u : 0u);
	bool is_whole = fs_left(&bytes) >= frame->length;
	uint32_t here = is_whole ? frame->length : (uint32_t)fs_left(&bytes);
	*length = FS_HTTP2_FRAME_HEADER + (uint64_t)frame->length;
	(void)fs_take(&bytes, here, &part);
	block->part = fs_inside(part);
	block->rest = bytes;
	if (frame->flags & FS_HTTP2_PADDED && fs_u8(&block->part, &padding) && is_whole) {
		/* The padding stands behind the block. */
		uint32_t rest = (uint32_t)fs_left(&block->part);
		if (fs_take(&block->part, padding < rest ? rest - padding : 0, &part))
			block->part = fs_inside(part);
	}
	(void)fs_skip(&block->part, skipped);
	while (is_whole && !(next.flags & FS_HTTP2_END_HEADERS)) {
		if (!fs_http2_take_header(&bytes, &next)) {
			is_whole = false;
			break;
		}
		if (next.type != FS_HTTP2_CONTINUATION || next.stream != frame->stream)
			break; /* no proper block: what was of it is all of it */
		*length += FS_HTTP2_FRAME_HEADER + (uint64_t)next.length;
		is_whole = fs_skip(&bytes, next.length);
	}
	/* What follows may look like more of it. */
	uint64_t rest = *length - FS_HTTP2_FRAME_HEADER - frame->length;
	if (rest < fs_left(&block->rest) && fs_take(&block->rest, (uint32_t)rest, &part))
		block->rest = fs_inside(part);
	return is_whole;
}

/* Fewer bytes than a header has, all of which fit one. */
bool fs_http2_may_be_header(const struct fs_cursor *bytes)
{
	int high = fs_peek(bytes, 0), middle = fs_peek(bytes, 1), low = fs_peek(bytes, 2), type = fs_peek(bytes, 3);
	if (high > 0 || (middle >= 0 && middle << 8 > FS_HTTP2_FRAME_MAX))
		return false;
	if (type < 0)
		return true;
	struct fs_http2_frame frame = {
		.length = (uint32_t)(middle << 8 | low),
		.type = (uint8_t)type,
		.flags = fs_peek(bytes, 4) < 0 ? 0 : (uint8_t)fs_peek(bytes, 4),
		.stream = 1,
	};
	if (fs_http2_is_frame(&frame))
		return true;
	frame.stream = 0;
	return fs_http2_is_frame(&frame);
}
