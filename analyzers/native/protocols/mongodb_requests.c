/* SPDX-License-Identifier: Apache-2.0 */
/* What a MongoDB client asks: the command and its collection, as a request is called. */
#include "mongodb_messages.h"

#define COLLECTION_MAX 64
#define DIGITS_KEPT 3

static bool is_command(struct fs_text name)
{
	struct fs_cursor bytes = fs_inside(name);
	uint8_t byte;
	while (fs_u8(&bytes, &byte))
		if (!(fs_lower(byte) >= 'a' && fs_lower(byte) <= 'z') && byte != '_')
			return false;
	return name.length > 0 && name.length <= FS_MONGODB_COMMAND_MAX;
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
	for (int i = 0; is_get_more && i < FS_MONGODB_ELEMENTS_MAX && fs_bson_next(&body, &element); i++) {
		if (!fs_text_is(element.name, "collection") || !fs_bson_string(&element, &collection))
			continue;
		write_collection(collection, out);
		return;
	}
}

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

enum fs_framed fs_mongodb_request(const struct fs_mongodb_header *header, struct fs_cursor bytes,
				  struct fs_message *out)
{
	struct fs_cursor body;
	uint32_t flags = 0;
	if (header->response_to)
		return FS_FRAME_INVALID;
	out->id = header->request_id;
	switch (header->opcode) {
	case FS_MONGODB_MSG:
		if (fs_u32le(&bytes, &flags) && flags & FS_MONGODB_MORE_TO_COME)
			out->flags |= FS_MESSAGE_NO_ANSWER;
		if (fs_mongodb_body(bytes, &body))
			write_command(body, &out->content);
		else
			fs_label_byte(&out->content, '*');
		return FS_FRAME_MESSAGE;
	case FS_MONGODB_QUERY: write_query(bytes, &out->content); return FS_FRAME_MESSAGE;
	case FS_MONGODB_GET_MORE: write_old(bytes, "getMore", &out->content); return FS_FRAME_MESSAGE;
	case FS_MONGODB_COMPRESSED: fs_label_literal(&out->content, "compressed"); return FS_FRAME_MESSAGE;
	case FS_MONGODB_INSERT: write_old(bytes, "insert", &out->content); break;
	case FS_MONGODB_UPDATE: write_old(bytes, "update", &out->content); break;
	case FS_MONGODB_DELETE: write_old(bytes, "delete", &out->content); break;
	case FS_MONGODB_KILL_CURSORS: fs_label_literal(&out->content, "killCursors"); break;
	default: return FS_FRAME_INVALID;
	}
	out->flags |= FS_MESSAGE_NO_ANSWER;
	return FS_FRAME_MESSAGE;
}
