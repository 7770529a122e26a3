/* SPDX-License-Identifier: Apache-2.0 */
/* BSON documents of which the start is here: bsonspec.org, version 1.1. Nothing is copied, and nothing recurses. */
#ifndef FIRESTEEL_BSON_H
#define FIRESTEEL_BSON_H

#include "little_endian.h"

enum fs_bson_type {
	FS_BSON_DOUBLE = 0x01,
	FS_BSON_STRING = 0x02,
	FS_BSON_DOCUMENT = 0x03,
	FS_BSON_ARRAY = 0x04,
	FS_BSON_BOOL = 0x08,
	FS_BSON_INT32 = 0x10,
	FS_BSON_INT64 = 0x12
};

struct fs_bson_element {
	uint8_t type;
	struct fs_text name;
	struct fs_cursor value; /* as far as it is here */
};

/* The inside of the document that starts here, as far as it is here; steps over it. False if it can be none. */
bool fs_bson_document(struct fs_cursor *bytes, struct fs_cursor *inside);

/* The next element inside a document; false at its end, where it is cut off, or where there is none. */
bool fs_bson_next(struct fs_cursor *inside, struct fs_bson_element *out);

/* A number or truth value as a whole number, of either sign; false for other types and for what no int32 holds. */
bool fs_bson_number(const struct fs_bson_element *element, int32_t *out);

/* A string without its terminator, as far as it is here. */
bool fs_bson_string(const struct fs_bson_element *element, struct fs_text *out);

#endif
