/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header compression of HTTP/2: RFC 7541. Reads a header block as it lies in HEADERS, PUSH_PROMISE and CONTINUATION
 * frames and keeps the dynamic table that its sender builds up with it.
 *
 * Only the values of a few fields are kept, shortened; of all others it is their sizes, because they decide when an
 * entry falls out of the table. Where the table cannot be known (joined in the middle, a block that was not captured
 * whole) references to what is missing are `unknown`; entries that are added later are known again, because an index
 * counts from the newest one.
 */
#ifndef FIRESTEEL_HPACK_H
#define FIRESTEEL_HPACK_H

#include "http2_frame.h"
#include "trace_context.h"

#define FS_HPACK_ENTRIES 256
#define FS_HPACK_VALUES 4096

/* Of an entry whose bytes are not kept, `kept` is 0. */
struct fs_hpack_entry {
	uint16_t name_length, value_length; /* as they were, at most 65535 */
	uint16_t place; /* of the value, in fs_hpack_table.values */
	uint8_t field;
	uint8_t kept;
};

/* One direction's dynamic table: two rings, of entries and of the values of those that matter. All zero at first. */
struct fs_hpack_table {
	uint32_t capacity; /* as its sender said last: RFC 7541, section 4.2 */
	uint32_t used; /* by the entries that are kept here, by the RFC's measure */
	uint8_t limited; /* `capacity` is known; otherwise entries are dropped for want of room only */
	uint8_t was_read; /* a block, at any time */
	uint16_t newest, count; /* of `entries` */
	uint16_t tail, stored; /* of `values`: where the next one goes, how many bytes are in use */
	struct fs_hpack_entry entries[FS_HPACK_ENTRIES];
	uint8_t values[FS_HPACK_VALUES];
};

/* What a header block said. */
struct fs_hpack_head {
	uint16_t status; /* :status; 0 if there was none */
	uint16_t grpc_status; /* plus 1; 0 if there was none */
	bool is_request; /* it has pseudo-header fields of requests: RFC 9113, section 8.3.1 */
	bool is_connect;
	uint8_t verb; /* enum fs_verb */
	bool is_grpc; /* content-type */
	bool has_unknown; /* one field or more could not be told */
	bool begins_unknown; /* the first: pseudo-header fields come before all others */
	bool any; /* a field was read */
	struct fs_trace_context trace;
	struct fs_label
		path; /* :path without query; one that is too long ends in a star in place of its last segment */
};

/* A header block: what is left of the current frame's part of it, and the CONTINUATION frames that follow. */
struct fs_hpack_block {
	struct fs_cursor part, rest;
};

static inline bool fs_hpack_next_part(struct fs_hpack_block *block)
{
	struct fs_http2_frame frame;
	struct fs_text part;
	if (!fs_http2_take_header(&block->rest, &frame) || frame.type != FS_HTTP2_CONTINUATION)
		return false;
	uint32_t here = fs_left(&block->rest) < frame.length ? (uint32_t)fs_left(&block->rest) : frame.length;
	if (!fs_take(&block->rest, here, &part))
		return false;
	block->part = fs_inside(part);
	return true;
}

static inline bool fs_hpack_byte(struct fs_hpack_block *block, uint8_t *out)
{
	while (!fs_u8(&block->part, out))
		if (!fs_hpack_next_part(block))
			return false;
	return true;
}

/*
 * Finds the block that starts with `frame`, a HEADERS or PUSH_PROMISE whose header was just taken from `bytes`. Sets
 * `length` to that of all frames that are known to be of it. False if it goes on behind what is here.
 */
bool fs_http2_block(struct fs_cursor bytes, const struct fs_http2_frame *frame, struct fs_hpack_block *block,
		    uint64_t *length);

/*
 * Decodes a Huffman string of `bytes` bytes: its first `keep` bytes go to `out`, its length to `length`. False if it
 * is not all here, or no such string.
 */
bool fs_huffman(struct fs_hpack_block *block, uint32_t bytes, uint32_t keep, struct fs_label *out, uint32_t *length);

/*
 * Reads a block into `head`, which is all zero, and its additions into `table`, which may be NULL. False if it could not
 * be read to its end: then `head` has what came before, and the table is empty.
 */
bool fs_hpack_read(struct fs_hpack_block *block, struct fs_hpack_table *table, struct fs_hpack_head *head);

/* A block was missed: what was in the table cannot be addressed any more. */
void fs_hpack_forget(struct fs_hpack_table *table);

#endif
