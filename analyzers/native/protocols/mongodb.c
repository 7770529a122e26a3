/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MongoDB: "MongoDB Wire Protocol" of its manual. OP_MSG, the older OP_QUERY and its kin with OP_REPLY, and
 * OP_COMPRESSED, of which only the header can be read.
 *
 * request content   the command and its collection: "find orders"; the command alone where it is about none; "compressed"
 *                   where it cannot be read, "*" where it was not captured.
 * response content  the error's code, 0 if there is none; nothing where it cannot be read.
 *
 * An error is a reply with `ok: 0`, or one that names an error of a write (writeErrors, writeConcernError). The reply to
 * a command that failed is short; of a long one the end, where `ok` stands, need not be here.
 *
 * id: requestID and responseTo. Where a server goes on answering one request (moreToCome) its first reply counts, and
 * those that answer the reply before them are skipped. scratch of the server's side: see struct chain.
 */
#include "bson.h"
#include "protocols.h"

#define HEADER 16
#define LONGEST 48000000u /* maxMessageSizeBytes */
#define DETECTED_MAX 0xffffffu /* longer ones are no first messages, and much else looks like them */
#define LOOKED_AT 4096u /* of a message, however it arrives */
#define COMMAND_MAX 32
#define COLLECTION_MAX 64
#define DIGITS_KEPT 3
#define ELEMENTS_MAX 64

enum opcode {
	OP_REPLY = 1,
	OP_UPDATE = 2001,
	OP_INSERT = 2002,
	OP_QUERY = 2004,
	OP_GET_MORE = 2005,
	OP_DELETE = 2006,
	OP_KILL_CURSORS = 2007,
	OP_COMPRESSED = 2012,
	OP_MSG = 2013
};

enum msg_flag { CHECKSUM = 1, MORE_TO_COME = 2, REQUIRED = 0xffff };
enum reply_flag { CURSOR_NOT_FOUND = 1, QUERY_FAILURE = 2 };
enum code { CODE_UNKNOWN = 8, CODE_CURSOR_NOT_FOUND = 43 }; /* of MongoDB's own list of errors */

struct header {
	uint32_t length, request_id, response_to, opcode;
};

static bool read_header(struct fs_cursor *bytes, struct header *header)
{
	return fs_u32le(bytes, &header->length) && fs_u32le(bytes, &header->request_id) &&
	       fs_u32le(bytes, &header->response_to) && fs_u32le(bytes, &header->opcode);
}

/* --- documents ----------------------------------------------------------------------------------------------------- */

/* The document of an OP_MSG, behind its flags: the section of kind 0. */
static bool find_body(struct fs_cursor bytes, struct fs_cursor *body)
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

static bool is_command(struct fs_text name)
{
	struct fs_cursor bytes = fs_inside(name);
	uint8_t byte;
	while (fs_u8(&bytes, &byte))
		if (!(fs_lower(byte) >= 'a' && fs_lower(byte) <= 'z') && byte != '_')
			return false;
	return name.length > 0 && name.length <= COMMAND_MAX;
}

static void write_star(struct fs_label *out)
{
	if (!out->length || out->text[out->length - 1] != '*')
		fs_label_byte(out, '*');
}

/* A collection's name; long numbers in it (dates, shards) and what names rarely have become a star. */
static void write_collection(struct fs_text name, struct fs_label *out)
{
	struct fs_cursor bytes = fs_inside(name);
	fs_label_byte(out, ' ');
	while (fs_left(&bytes)) {
		int byte = fs_peek(&bytes, 0);
		uint32_t digits = 0;
		struct fs_text run = {0};
		if (name.length - fs_left(&bytes) >= COLLECTION_MAX) {
			write_star(out);
			return;
		}
		while (fs_peek(&bytes, digits) >= '0' && fs_peek(&bytes, digits) <= '9')
			digits++;
		if (digits > DIGITS_KEPT) {
			write_star(out);
			fs_skip(&bytes, digits);
		} else if (digits) {
			fs_take(&bytes, digits, &run);
			fs_label_text(out, run);
		} else {
			bool is_kept = (fs_lower((uint8_t)byte) >= 'a' && fs_lower((uint8_t)byte) <= 'z') ||
				       byte == '_' || byte == '-' || byte == '.' || byte == '$';
			if (is_kept)
				fs_label_byte(out, (char)byte);
			else
				write_star(out);
			fs_skip(&bytes, 1);
		}
	}
}

/* What the value of a command says, where it is a name of a collection and not a word of the user's. */
static bool names_collection(struct fs_text command)
{
	static const char *const words[] = {
		"find",
		"insert",
		"update",
		"delete",
		"aggregate",
		"count",
		"distinct",
		"findandmodify",
		"createindexes",
		"listindexes",
		"dropindexes",
		"create",
		"drop",
		"collstats",
		"mapreduce",
		"validate",
		"collmod",
		"killcursors",
		"deleteindexes",
		"reindex",
		"compact",
		"parallelcollectionscan",
		"converttocapped",
		"geosearch",
	};
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (fs_text_is_nocase(command, words[i]))
			return true;
	return false;
}

/* "find orders", from the inside of a command's document. */
static void write_command(struct fs_cursor body, struct fs_label *out)
{
	struct fs_bson_element element;
	struct fs_text collection;
	if (!fs_bson_next(&body, &element) || !is_command(element.name)) {
		fs_label_byte(out, '*');
		return;
	}
	fs_label_text(out, element.name);
	bool is_get_more = fs_text_is(element.name, "getMore");
	if (names_collection(element.name) && fs_bson_string(&element, &collection))
		write_collection(collection, out);
	for (int i = 0; is_get_more && i < ELEMENTS_MAX && fs_bson_next(&body, &element); i++) {
		if (!fs_text_is(element.name, "collection") || !fs_bson_string(&element, &collection))
			continue;
		write_collection(collection, out);
		return;
	}
}

/* The `code` of a document that is about an error. */
static int32_t code_of(struct fs_cursor inside)
{
	struct fs_bson_element element;
	int32_t code;
	for (int i = 0; i < ELEMENTS_MAX && fs_bson_next(&inside, &element); i++)
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
	for (int i = 0; i < ELEMENTS_MAX && fs_bson_next(&body, &element); i++) {
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

/* --- requests ------------------------------------------------------------------------------------------------------ */

/* Behind the first dot of "database.collection". */
static bool read_namespace(struct fs_cursor *bytes, struct fs_text *collection)
{
	struct fs_text name, database;
	if (!fs_take_until(bytes, 0, 2 * COLLECTION_MAX, &name))
		return false;
	struct fs_cursor inside = fs_inside(name);
	return fs_take_until(&inside, '.', name.length, &database) &&
	       fs_take(&inside, (uint32_t)fs_left(&inside), collection);
}

static void write_old(struct fs_cursor bytes, const char *command, struct fs_label *out)
{
	struct fs_text collection;
	fs_label_literal(out, command);
	if (fs_skip(&bytes, 4) && read_namespace(&bytes, &collection))
		write_collection(collection, out);
}

/* A command where the collection is "$cmd", else a query. */
static void write_query(struct fs_cursor bytes, struct fs_label *out)
{
	struct fs_text collection;
	struct fs_cursor ahead = bytes, document, wrapped;
	struct fs_bson_element element;
	if (!fs_skip(&ahead, 4) || !read_namespace(&ahead, &collection) || !fs_text_is(collection, "$cmd")) {
		write_old(bytes, "find", out);
		return;
	}
	if (!fs_skip(&ahead, 8) || !fs_bson_document(&ahead, &document)) {
		fs_label_byte(out, '*');
		return;
	}
	wrapped = document;
	if (fs_bson_next(&wrapped, &element) && element.type == FS_BSON_DOCUMENT &&
	    (fs_text_is(element.name, "$query") || fs_text_is(element.name, "query")))
		fs_bson_document(&element.value, &document);
	write_command(document, out);
}

static enum fs_framed frame_request(const struct header *header, struct fs_cursor bytes, struct fs_message *out)
{
	struct fs_cursor body;
	uint32_t flags = 0;
	if (header->response_to)
		return FS_FRAME_INVALID;
	out->id = header->request_id;
	switch (header->opcode) {
	case OP_MSG:
		if (fs_u32le(&bytes, &flags) && flags & MORE_TO_COME)
			out->flags |= FS_MESSAGE_NO_ANSWER;
		if (find_body(bytes, &body))
			write_command(body, &out->content);
		else
			fs_label_byte(&out->content, '*');
		return FS_FRAME_MESSAGE;
	case OP_QUERY: write_query(bytes, &out->content); return FS_FRAME_MESSAGE;
	case OP_GET_MORE: write_old(bytes, "getMore", &out->content); return FS_FRAME_MESSAGE;
	case OP_COMPRESSED: fs_label_literal(&out->content, "compressed"); return FS_FRAME_MESSAGE;
	case OP_INSERT: write_old(bytes, "insert", &out->content); break;
	case OP_UPDATE: write_old(bytes, "update", &out->content); break;
	case OP_DELETE: write_old(bytes, "delete", &out->content); break;
	case OP_KILL_CURSORS: fs_label_literal(&out->content, "killCursors"); break;
	default: return FS_FRAME_INVALID;
	}
	out->flags |= FS_MESSAGE_NO_ANSWER;
	return FS_FRAME_MESSAGE;
}

/* --- responses ----------------------------------------------------------------------------------------------------- */

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

static enum fs_framed frame_response(struct fs_frame_input *in, const struct header *header, struct fs_cursor bytes,
				     struct fs_message *out)
{
	struct chain chain = load(in->scratch);
	struct fs_cursor body;
	uint32_t flags = 0;
	int32_t error = 0;
	out->id = header->response_to;
	switch (header->opcode) {
	case OP_MSG:
		if (fs_u32le(&bytes, &flags) && find_body(bytes, &body))
			error = error_of(body);
		break;
	case OP_REPLY: error = error_of_reply(bytes); break;
	case OP_COMPRESSED: out->method = OP_COMPRESSED; break;
	default: return FS_FRAME_INVALID;
	}
	if (error) {
		out->status = error > 0 && error <= UINT16_MAX ? (uint16_t)error : 1;
		fs_label_decimal(&out->content, error > 0 ? (uint32_t)error : 1);
	}
	if (chain.goes_on && chain.reply == header->response_to)
		out->flags |= FS_MESSAGE_SKIP;
	save(in->scratch, flags & MORE_TO_COME, header->request_id);
	return FS_FRAME_MESSAGE;
}

/* --- the three functions ------------------------------------------------------------------------------------------- */

static bool is_reply(const struct header *header)
{
	return header->opcode == OP_REPLY || (header->response_to && header->opcode >= OP_COMPRESSED);
}

/* The smallest message of a kind. */
static uint32_t smallest(uint32_t opcode)
{
	switch (opcode) {
	case OP_MSG: return HEADER + 4 + 1 + 5;
	case OP_REPLY: return HEADER + 20;
	case OP_COMPRESSED: return HEADER + 9 + 1;
	case OP_QUERY: return HEADER + 4 + 2 + 8 + 5;
	case OP_GET_MORE: return HEADER + 4 + 2 + 12;
	case OP_INSERT:
	case OP_UPDATE:
	case OP_DELETE: return HEADER + 4 + 2 + 4;
	case OP_KILL_CURSORS: return HEADER + 8;
	default: return UINT32_MAX;
	}
}

static bool is_plausible(const struct header *header)
{
	return header->length >= smallest(header->opcode) && header->length <= LONGEST &&
	       (header->opcode != OP_REPLY || header->response_to);
}

static enum fs_framed frame(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct fs_text looked_at = {0};
	struct header header;
	if (!read_header(&bytes, &header))
		return in->bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
	if (!is_plausible(&header))
		return FS_FRAME_INVALID;
	uint32_t needed = (header.length < LOOKED_AT ? header.length : LOOKED_AT) - HEADER;
	bool is_cut = fs_left(&bytes) < needed;
	if (is_cut && !in->bytes.truncated)
		return FS_FRAME_MORE;
	*out = (struct fs_message){.length = header.length, .flags = is_cut ? FS_MESSAGE_CUT : 0};
	fs_take(&bytes, is_cut ? (uint32_t)fs_left(&bytes) : needed, &looked_at);
	bytes = fs_inside(looked_at);
	return in->side == FS_SIDE_REQUEST ? frame_request(&header, bytes, out)
					   : frame_response(in, &header, bytes, out);
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
		return fs_left(&inside) < COMMAND_MAX && fs_left(&inside) + 4 < length;
	return element.name.length > 0 && element.name.length <= 2 * COMMAND_MAX;
}

static bool may_be_msg(struct fs_cursor bytes, uint32_t length)
{
	uint32_t flags;
	uint8_t kind;
	if (!fs_u32le(&bytes, &flags))
		return true;
	if (flags & REQUIRED & ~(uint32_t)(CHECKSUM | MORE_TO_COME))
		return false;
	if (!fs_u8(&bytes, &kind))
		return true;
	return kind == 1 || (kind == 0 && may_be_document(bytes, length - HEADER - 5));
}

/* Bytes of a header that is not all here: a length, which may be anything once it is below 16 MiB, and an opcode. */
static bool may_be_header(const struct fs_cursor *bytes)
{
	struct fs_cursor ahead = *bytes;
	uint32_t length;
	if (fs_u32le(&ahead, &length) && (length < HEADER || length > DETECTED_MAX))
		return false;
	return fs_peek(bytes, 14) <= 0 &&
	       (fs_left(bytes) < 14 || fs_peek(bytes, 13) == 7 || (fs_peek(bytes, 13) == 0 && fs_peek(bytes, 12) == 1));
}

static enum fs_detected detect(struct fs_cursor bytes, bool datagram)
{
	struct fs_cursor rest = bytes;
	struct header header;
	if (datagram)
		return FS_NOT_MINE;
	if (!read_header(&rest, &header))
		return may_be_header(&bytes) && !bytes.truncated ? FS_TOO_SHORT : FS_NOT_MINE;
	if (!is_plausible(&header) ||
	    (header.opcode < OP_COMPRESSED && header.opcode != OP_REPLY && header.response_to))
		return FS_NOT_MINE;
	bool is_short = fs_left(&rest) < 5;
	if (header.opcode == OP_MSG) {
		if (!may_be_msg(rest, header.length))
			return FS_NOT_MINE;
	} else if (header.opcode == OP_COMPRESSED) {
		/* The opcode inside, and one of four ways to compress. */
		uint32_t inside, size;
		uint8_t how;
		is_short = !fs_u32le(&rest, &inside) || !fs_u32le(&rest, &size) || !fs_u8(&rest, &how);
		if (!is_short && (smallest(inside) == UINT32_MAX || size > LONGEST || how > 3))
			return FS_NOT_MINE;
	} else if (header.opcode == OP_REPLY) {
		is_short = fs_left(&rest) < 20;
		if (fs_peek(&rest, 0) > 15 || fs_peek(&rest, 1) > 0 || fs_peek(&rest, 2) > 0 || fs_peek(&rest, 3) > 0)
			return FS_NOT_MINE;
		if (fs_skip(&rest, 20) && header.length > HEADER + 20 &&
		    !may_be_document(rest, header.length - HEADER - 20))
			return FS_NOT_MINE;
	}
	if (is_short)
		return bytes.truncated ? FS_NOT_MINE : FS_TOO_SHORT;
	return is_reply(&header) ? FS_MINE_RESPONSE : FS_MINE_REQUEST;
}

static void stitch(const struct fs_message *request, const struct fs_message *response,
		   const struct fs_parser_options *options, struct fs_outcome *out)
{
	(void)options;
	fs_outcome_begin(request, response, out);
	if (!response || response->method == OP_COMPRESSED)
		return;
	if (response->status)
		out->response_content = response->content;
	else
		fs_label_literal(&out->response_content, "0");
}

const struct fs_protocol fs_protocol_mongodb = {
	.id = FS_PROTOCOL_MONGODB,
	.pairs_by_id = 1,
	.streams = 1,
	.unpipelined = 1,
	.detect = detect,
	.frame = frame,
	.stitch = stitch,
};
