/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the MongoDB parser share. "MongoDB Wire Protocol" of its manual. */
#ifndef FIRESTEEL_MONGODB_MESSAGES_H
#define FIRESTEEL_MONGODB_MESSAGES_H

#include "../protocol.h"
#include "bson.h"

#define FS_MONGODB_HEADER 16
#define FS_MONGODB_LONGEST 48000000u /* maxMessageSizeBytes */
#define FS_MONGODB_COMMAND_MAX 32
#define FS_MONGODB_ELEMENTS_MAX 64

enum fs_mongodb_opcode {
	FS_MONGODB_REPLY = 1,
	FS_MONGODB_UPDATE = 2001,
	FS_MONGODB_INSERT = 2002,
	FS_MONGODB_QUERY = 2004,
	FS_MONGODB_GET_MORE = 2005,
	FS_MONGODB_DELETE = 2006,
	FS_MONGODB_KILL_CURSORS = 2007,
	FS_MONGODB_COMPRESSED = 2012,
	FS_MONGODB_MSG = 2013
};

/* Of an OP_MSG. */
enum fs_mongodb_flag { FS_MONGODB_CHECKSUM = 1, FS_MONGODB_MORE_TO_COME = 2 };

struct fs_mongodb_header {
	uint32_t length, request_id, response_to, opcode;
};

static inline bool fs_mongodb_header(struct fs_cursor *bytes, struct fs_mongodb_header *header)
{
	return fs_u32le(bytes, &header->length) && fs_u32le(bytes, &header->request_id) &&
	       fs_u32le(bytes, &header->response_to) && fs_u32le(bytes, &header->opcode);
}

/* The document of an OP_MSG, behind its flags: the section of kind 0. */
static inline bool fs_mongodb_body(struct fs_cursor bytes, struct fs_cursor *body)
{
	for (int sections = 0; sections < 8; sections++) {
		uint8_t kind;
		uint32_t size;
		struct fs_cursor ahead;
		if (!fs_u8(&bytes, &kind) || kind > 1)
			return false;
		if (kind == 0)
			return fs_bson_document(&bytes, body);
		ahead = bytes;
		if (!fs_u32le(&ahead, &size) || !fs_skip(&bytes, size))
			return false;
	}
	return false;
}

/* The smallest message of a kind. */
static inline uint32_t fs_mongodb_smallest(uint32_t opcode)
{
	switch (opcode) {
	case FS_MONGODB_MSG: return FS_MONGODB_HEADER + 4 + 1 + 5;
	case FS_MONGODB_REPLY: return FS_MONGODB_HEADER + 20;
	case FS_MONGODB_COMPRESSED: return FS_MONGODB_HEADER + 9 + 1;
	case FS_MONGODB_QUERY: return FS_MONGODB_HEADER + 4 + 2 + 8 + 5;
	case FS_MONGODB_GET_MORE: return FS_MONGODB_HEADER + 4 + 2 + 12;
	case FS_MONGODB_INSERT:
	case FS_MONGODB_UPDATE:
	case FS_MONGODB_DELETE: return FS_MONGODB_HEADER + 4 + 2 + 4;
	case FS_MONGODB_KILL_CURSORS: return FS_MONGODB_HEADER + 8;
	default: return UINT32_MAX;
	}
}

static inline bool fs_mongodb_is_plausible(const struct fs_mongodb_header *header)
{
	return header->length >= fs_mongodb_smallest(header->opcode) && header->length <= FS_MONGODB_LONGEST &&
	       (header->opcode != FS_MONGODB_REPLY || header->response_to);
}

enum fs_detected fs_mongodb_detect(struct fs_cursor bytes, bool datagram);
/* `bytes` are what is behind the header, and not beyond the message; `out` has its length. */
enum fs_framed fs_mongodb_request(const struct fs_mongodb_header *header, struct fs_cursor bytes,
				  struct fs_message *out);
enum fs_framed fs_mongodb_response(struct fs_frame_input *in, const struct fs_mongodb_header *header,
				   struct fs_cursor bytes, struct fs_message *out);

#endif
