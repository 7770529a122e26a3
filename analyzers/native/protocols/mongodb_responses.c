/* SPDX-License-Identifier: Apache-2.0 */
/* How a MongoDB server answers: the error that a reply tells of, and replies that go on without a request. */
#include "mongodb_messages.h"

enum reply_flag { CURSOR_NOT_FOUND = 1, QUERY_FAILURE = 2 };
enum code { CODE_UNKNOWN = 8, CODE_CURSOR_NOT_FOUND = 43 }; /* of MongoDB's own list of errors */

/* The `code` of a document that is about an error. */
static int32_t code_of(struct fs_cursor inside)
{
	struct fs_bson_element element;
	int32_t code;
	for (int i = 0; i < FS_MONGODB_ELEMENTS_MAX && fs_bson_next(&inside, &element); i++)
		if (fs_text_is(element.name, "code") && fs_bson_number(&element, &code))
			return code;
	return CODE_UNKNOWN;
}

/* Of the first of the writes that failed; 0 if none did. */
static int32_t code_of_first(struct fs_cursor array)
{
	struct fs_bson_element element;
	struct fs_cursor inside, document;
	if (!fs_bson_document(&array, &inside) || !fs_bson_next(&inside, &element))
		return 0;
	return element.type == FS_BSON_DOCUMENT && fs_bson_document(&element.value, &document) ? code_of(document)
											       : CODE_UNKNOWN;
}

/* The error that a reply tells of, 0 if there is none. */
static int32_t error_of(struct fs_cursor body)
{
	struct fs_bson_element element;
	struct fs_cursor inside;
	int32_t code = CODE_UNKNOWN, number, of_write = 0;
	bool failed = false;
	for (int i = 0; i < FS_MONGODB_ELEMENTS_MAX && fs_bson_next(&body, &element); i++) {
		if (fs_text_is(element.name, "ok") && fs_bson_number(&element, &number))
			failed = number == 0;
		else if (fs_text_is(element.name, "code") && fs_bson_number(&element, &number))
			code = number;
		else if (fs_text_is(element.name, "writeErrors") && element.type == FS_BSON_ARRAY)
			of_write = code_of_first(element.value);
		else if (fs_text_is(element.name, "writeConcernError") && !of_write &&
			 element.type == FS_BSON_DOCUMENT && fs_bson_document(&element.value, &inside))
			of_write = code_of(inside);
	}
	return failed ? code : of_write;
}

static int32_t error_of_reply(struct fs_cursor bytes)
{
	struct fs_cursor document;
	uint32_t flags;
	if (!fs_u32le(&bytes, &flags))
		return 0;
	if (flags & CURSOR_NOT_FOUND)
		return CODE_CURSOR_NOT_FOUND;
	if (!fs_skip(&bytes, 16) || !fs_bson_document(&bytes, &document))
		return flags & QUERY_FAILURE ? CODE_UNKNOWN : 0;
	return flags & QUERY_FAILURE ? code_of(document) : error_of(document);
}

/* In the scratch: the reply after which another one comes without a request. */
struct chain {
	bool goes_on;
	uint32_t reply;
};

static struct chain load(const uint8_t *scratch)
{
	struct chain chain = {.goes_on = scratch[0]};
	for (int i = 0; i < 4; i++)
		chain.reply |= (uint32_t)scratch[1 + i] << 8 * i;
	return chain;
}

static void save(uint8_t *scratch, bool goes_on, uint32_t reply)
{
	scratch[0] = goes_on;
	for (int i = 0; i < 4; i++)
		scratch[1 + i] = (uint8_t)(reply >> 8 * i);
}

enum fs_framed fs_mongodb_response(struct fs_frame_input *in, const struct fs_mongodb_header *header,
				   struct fs_cursor bytes, struct fs_message *out)
{
	struct chain chain = load(in->scratch);
	struct fs_cursor body;
	uint32_t flags = 0;
	int32_t error = 0;
	out->id = header->response_to;
	switch (header->opcode) {
	case FS_MONGODB_MSG:
		if (fs_u32le(&bytes, &flags) && fs_mongodb_body(bytes, &body))
			error = error_of(body);
		break;
	case FS_MONGODB_REPLY: error = error_of_reply(bytes); break;
	case FS_MONGODB_COMPRESSED: out->method = FS_MONGODB_COMPRESSED; break;
	default: return FS_FRAME_INVALID;
	}
	if (error) {
		out->status = error > 0 && error <= UINT16_MAX ? (uint16_t)error : 1;
		fs_label_decimal(&out->content, error > 0 ? (uint32_t)error : 1);
	}
	if (chain.goes_on && chain.reply == header->response_to)
		out->flags |= FS_MESSAGE_SKIP;
	save(in->scratch, flags & FS_MONGODB_MORE_TO_COME, header->request_id);
	return FS_FRAME_MESSAGE;
}
