/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MongoDB, told from other protocols: a header with a length that its opcode allows, and behind it flags and documents
 * that begin as they must.
 */
#include "mongodb_messages.h"

#define DETECTED_MAX 0xffffffu /* longer ones are no first messages, and much else looks like them */
#define REQUIRED 0xffffu /* flags of an OP_MSG that a reader has to know */

static bool is_reply(const struct fs_mongodb_header *header)
{
	return header->opcode == FS_MONGODB_REPLY || (header->response_to && header->opcode >= FS_MONGODB_COMPRESSED);
}

/* The first bytes of a document and of its first element, as far as they are here. */
static bool may_be_document(struct fs_cursor bytes, uint32_t room)
{
	struct fs_cursor inside;
	struct fs_bson_element element;
	uint32_t length;
	struct fs_cursor ahead = bytes;
	if (!fs_u32le(&ahead, &length))
		return true;
	if (length < 5 || length > room || !fs_bson_document(&bytes, &inside))
		return false;
	if (length == 5)
		return fs_peek(&inside, 0) <= 0;
	if (!fs_bson_next(&inside, &element))
		return fs_left(&inside) < FS_MONGODB_COMMAND_MAX && fs_left(&inside) + 4 < length;
	return element.name.length > 0 && element.name.length <= 2 * FS_MONGODB_COMMAND_MAX;
}

static bool may_be_msg(struct fs_cursor bytes, uint32_t length)
{
	uint32_t flags;
	uint8_t kind;
	if (!fs_u32le(&bytes, &flags))
		return true;
	if (flags & REQUIRED & ~(uint32_t)(FS_MONGODB_CHECKSUM | FS_MONGODB_MORE_TO_COME))
		return false;
	if (!fs_u8(&bytes, &kind))
		return true;
	return kind == 1 || (kind == 0 && may_be_document(bytes, length - FS_MONGODB_HEADER - 5));
}

/* Bytes of a header that is not all here: a length, which may be anything once it is below 16 MiB, and an opcode. */
static bool may_be_header(const struct fs_cursor *bytes)
{
	struct fs_cursor ahead = *bytes;
	uint32_t length;
	if (fs_u32le(&ahead, &length) && (length < FS_MONGODB_HEADER || length > DETECTED_MAX))
		return false;
	return fs_peek(bytes, 14) <= 0 &&
	       (fs_left(bytes) < 14 || fs_peek(bytes, 13) == 7 || (fs_peek(bytes, 13) == 0 && fs_peek(bytes, 12) == 1));
}

enum fs_detected fs_mongodb_detect(struct fs_cursor bytes, bool datagram)
{
	struct fs_cursor rest = bytes;
	struct fs_mongodb_header header;
	if (datagram)
		return FS_NOT_MINE;
	if (!fs_mongodb_header(&rest, &header))
		return may_be_header(&bytes) && !bytes.truncated ? FS_TOO_SHORT : FS_NOT_MINE;
	if (!fs_mongodb_is_plausible(&header) ||
	    (header.opcode < FS_MONGODB_COMPRESSED && header.opcode != FS_MONGODB_REPLY && header.response_to))
		return FS_NOT_MINE;
	bool is_short = fs_left(&rest) < 5;
	if (header.opcode == FS_MONGODB_MSG) {
		if (!may_be_msg(rest, header.length))
			return FS_NOT_MINE;
	} else if (header.opcode == FS_MONGODB_COMPRESSED) {
		/* The opcode inside, and one of four ways to compress. */
		uint32_t inside, size;
		uint8_t how;
		is_short = !fs_u32le(&rest, &inside) || !fs_u32le(&rest, &size) || !fs_u8(&rest, &how);
		if (!is_short && (fs_mongodb_smallest(inside) == UINT32_MAX || size > FS_MONGODB_LONGEST || how > 3))
			return FS_NOT_MINE;
	} else if (header.opcode == FS_MONGODB_REPLY) {
		is_short = fs_left(&rest) < 20;
		if (fs_peek(&rest, 0) > 15 || fs_peek(&rest, 1) > 0 || fs_peek(&rest, 2) > 0 || fs_peek(&rest, 3) > 0)
			return FS_NOT_MINE;
		if (fs_skip(&rest, 20) && header.length > FS_MONGODB_HEADER + 20 &&
		    !may_be_document(rest, header.length - FS_MONGODB_HEADER - 20))
			return FS_NOT_MINE;
	}
	if (is_short)
		return bytes.truncated ? FS_NOT_MINE : FS_TOO_SHORT;
	return is_reply(&header) ? FS_MINE_RESPONSE : FS_MINE_REQUEST;
}
