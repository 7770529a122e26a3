/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dubbo 2 (https://dubbo.apache.org/en/docs/v2.7/dev/implementation, DubboCodec and ExchangeCodec of Dubbo 3.2):
 *
 *   0xdabb, flags (1), status (1), number of the request (8), length of the body (4), body
 *
 *   flags     0x80 request, 0x40 it wants an answer, 0x20 event (heartbeat), the rest says how the body is written
 *   request   texts: version of Dubbo, path of the service, its version, method, types; then arguments
 *   response  a number that says whether a value, nothing or an exception follows
 *
 * request content   "com.shop.Cart#add", of a body in Hessian 2 (http://hessian.caucho.com/doc/hessian-serialization.html)
 *                   or fastjson2; "*" in others. No argument is read.
 * response content  status, 20 if all went well; "exception" where the service threw one, which has that status too.
 * id                the number of the request. Servers ask their clients too (callbacks): reversed.
 *
 * Events belong to nobody: FS_MESSAGE_SKIP.
 */
#include "protocols.h"

#define HEADER_BYTES 16
#define MAGIC_HIGH 0xda
#define MAGIC_LOW 0xbb
#define FLAG_REQUEST 0x80u
#define FLAG_TWO_WAY 0x40u
#define FLAG_EVENT 0x20u
#define SERIALIZATION 0x1fu
#define HESSIAN2 2
#define FASTJSON2 23
#define STATUS_OK 20
#define STATUS_LAST 120 /* 100 is the highest that is given out */
#define LENGTH_MAX (256u << 20) /* 8 MiB unless dubbo.protocol.payload says otherwise */
#define REQUEST_WANTED 1024 /* as much of a body is looked at */
#define RESPONSE_WANTED 6
#define NAME_MAX 240

struct header {
	uint8_t flags, status;
	uint64_t number;
	uint32_t length; /* of the body */
};

enum fit { FIT_NO, FIT_SO_FAR, FIT_YES };

static enum fit read_header(struct fs_cursor *bytes, struct header *out)
{
	uint16_t magic;
	uint32_t high, low;
	*out = (struct header){0};
	int first = fs_peek(bytes, 0), second = fs_peek(bytes, 1), flags = fs_peek(bytes, 2);
	if ((first >= 0 && first != MAGIC_HIGH) || (second >= 0 && second != MAGIC_LOW) ||
	    (flags >= 0 && !((unsigned)flags & SERIALIZATION)))
		return FIT_NO;
	if (fs_left(bytes) < HEADER_BYTES)
		return FIT_SO_FAR;
	bool is_read = fs_u16be(bytes, &magic) && fs_u8(bytes, &out->flags) && fs_u8(bytes, &out->status) &&
		       fs_u32be(bytes, &high) && fs_u32be(bytes, &low) && fs_u32be(bytes, &out->length);
	if (!is_read || out->length > LENGTH_MAX)
		return FIT_NO;
	out->number = (uint64_t)high << 32 | low;
	if (out->flags & FLAG_REQUEST)
		return out->status == 0 ? FIT_YES : FIT_NO;
	return out->status >= STATUS_OK && out->status <= STATUS_LAST ? FIT_YES : FIT_NO;
}

/* --- the body of a request ---------------------------------------------------------------------------------------- */

/* A text of Hessian 2, section "string": its length counts characters, which are bytes in every name. */
static bool take_hessian(struct fs_cursor *bytes, struct fs_text *out)
{
	uint8_t tag, low;
	uint16_t length;
	if (!fs_u8(bytes, &tag))
		return false;
	if (tag == 'N') {
		out->length = 0;
		return true;
	}
	if (tag < 0x20)
		return fs_take(bytes, tag, out);
	if (tag >= 0x30 && tag <= 0x33)
		return fs_u8(bytes, &low) && fs_take(bytes, (uint32_t)(tag - 0x30) << 8 | low, out);
	return tag == 'S' && fs_u16be(bytes, &length) && fs_take(bytes, length, out);
}

/* Of fastjson2's JSONB: each value behind its length, a text in ASCII behind a tag with its length, or one and a number. */
static bool take_jsonb(struct fs_cursor *bytes, struct fs_text *out)
{
	enum { NOTHING = 0xaf, SHORT_ASCII = 0x49, LONG_ASCII = 0x79, BYTE_LENGTH_ZERO = 0x38 };
	struct fs_text value;
	struct fs_cursor inside;
	uint32_t size;
	uint8_t tag, length, low;
	if (!fs_u32be(bytes, &size) || !fs_take(bytes, size, &value))
		return false;
	inside = fs_inside(value);
	if (!fs_u8(&inside, &tag))
		return false;
	if (tag == NOTHING) {
		out->length = 0;
		return true;
	}
	if (tag >= SHORT_ASCII && tag < LONG_ASCII)
		return fs_take(&inside, tag - SHORT_ASCII, out);
	if (tag != LONG_ASCII || !fs_u8(&inside, &length))
		return false;
	if (length < 0x30)
		return fs_take(&inside, length, out);
	return length >= BYTE_LENGTH_ZERO && length < 0x40 && fs_u8(&inside, &low) &&
	       fs_take(&inside, (uint32_t)(length - BYTE_LENGTH_ZERO) << 8 | low, out);
}

static bool take_text(struct fs_cursor *bytes, uint8_t serialization, struct fs_text *out)
{
	switch (serialization) {
	case HESSIAN2: return take_hessian(bytes, out);
	case FASTJSON2: return take_jsonb(bytes, out);
	default: return false;
	}
}

/* Names of Java, paths of services ("group/com.shop.Cart:1.0"). */
static bool is_name(struct fs_text name)
{
	struct fs_cursor bytes = fs_inside(name);
	uint8_t byte;
	if (name.length == 0 || name.length > NAME_MAX)
		return false;
	while (fs_u8(&bytes, &byte)) {
		bool is_letter = fs_lower(byte) >= 'a' && fs_lower(byte) <= 'z';
		bool is_sign = byte == '_' || byte == '-' || byte == '$' || (byte >= '.' && byte <= ':');
		if (!is_letter && !is_sign)
			return false;
	}
	return true;
}

static void write_name(struct fs_text name, struct fs_label *out)
{
	if (is_name(name))
		fs_label_text(out, name);
	else
		fs_label_byte(out, '*');
}

static void write_called(struct fs_cursor body, uint8_t serialization, struct fs_label *out)
{
	struct fs_text dubbo = {0}, path = {0}, version = {0}, method = {0};
	bool has_path = take_text(&body, serialization, &dubbo) && take_text(&body, serialization, &path);
	bool has_method =
		has_path && take_text(&body, serialization, &version) && take_text(&body, serialization, &method);
	if (!has_path) {
		fs_label_byte(out, '*');
		return;
	}
	write_name(path, out);
	fs_label_byte(out, '#');
	if (has_method)
		write_name(method, out);
	else
		fs_label_byte(out, '*');
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

/* Of a response, RESPONSE_WITH_EXCEPTION or the same with attachments: the small number that its body begins with. */
static bool is_exception(const struct header *header, struct fs_cursor body)
{
	struct fs_text value;
	uint32_t size;
	if (header->status != STATUS_OK)
		return false;
	int kind = fs_peek(&body, 0);
	switch (header->flags & SERIALIZATION) {
	case HESSIAN2: return kind == 0x90 || kind == 0x93;
	case FASTJSON2: /* a tag that says it is a byte may stand before it */
		if (!fs_u32be(&body, &size) || size == 0 || size > 2 || !fs_take(&body, size, &value))
			return false;
		body = fs_inside(value);
		kind = fs_peek(&body, size - 1);
		return kind == 0 || kind == 3;
	default: return false;
	}
}

static uint32_t wanted_of(const struct header *header)
{
	if (header->flags & FLAG_EVENT)
		return 0;
	uint32_t most = header->flags & FLAG_REQUEST ? REQUEST_WANTED : RESPONSE_WANTED;
	return header->length < most ? header->length : most;
}

static enum fs_framed frame(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct fs_text text = {0};
	struct header header;
	enum fit fit = read_header(&bytes, &header);
	if (fit == FIT_NO || (fit == FIT_SO_FAR && bytes.truncated))
		return FS_FRAME_INVALID;
	if (fit == FIT_SO_FAR)
		return FS_FRAME_MORE;
	uint32_t wanted = wanted_of(&header), here = fs_left(&bytes) < wanted ? (uint32_t)fs_left(&bytes) : wanted;
	if (here < wanted && !bytes.truncated)
		return FS_FRAME_MORE;
	fs_message_begin(out, HEADER_BYTES + (uint64_t)header.length);
	out->id = header.number;
	if (header.flags & FLAG_EVENT) {
		out->flags = FS_MESSAGE_SKIP;
		return FS_FRAME_MESSAGE;
	}
	bool is_request = header.flags & FLAG_REQUEST;
	out->flags = here < wanted ? FS_MESSAGE_CUT : 0;
	if (is_request != (in->side == FS_SIDE_REQUEST))
		out->flags |= FS_MESSAGE_REVERSED;
	(void)fs_take(&bytes, here, &text);
	if (!is_request) {
		out->status = header.status;
		out->note = is_exception(&header, fs_inside(text));
		return FS_FRAME_MESSAGE;
	}
	if (!(header.flags & FLAG_TWO_WAY))
		out->flags |= FS_MESSAGE_NO_ANSWER;
	write_called(fs_inside(text), header.flags & SERIALIZATION, &out->content);
	return FS_FRAME_MESSAGE;
}

/* Clients send heartbeats; the event that wants no answer is a server's, which is about to stop. */
static enum fs_detected detect(struct fs_cursor bytes, bool datagram)
{
	struct header header;
	if (datagram)
		return FS_NOT_MINE;
	enum fit fit = read_header(&bytes, &header);
	if (fit == FIT_SO_FAR)
		return bytes.truncated ? FS_NOT_MINE : FS_TOO_SHORT;
	if (fit == FIT_NO)
		return FS_NOT_MINE;
	if (!(header.flags & FLAG_REQUEST))
		return FS_MINE_RESPONSE;
	return header.flags & FLAG_EVENT && !(header.flags & FLAG_TWO_WAY) ? FS_MINE_GREETING : FS_MINE_REQUEST;
}

static void stitch(const struct fs_message *request, const struct fs_message *response,
		   const struct fs_parser_options *options, struct fs_outcome *out)
{
	(void)options;
	out->status = response ? response->status : 0;
	out->error =
		response ? response->status != STATUS_OK || response->note : !(request->flags & FS_MESSAGE_NO_ANSWER);
	out->request_content = request->content;
	out->response_content.length = 0;
	out->response_content.text[0] = 0;
	if (response && response->note)
		fs_label_literal(&out->response_content, "exception");
	else if (response)
		fs_label_decimal(&out->response_content, response->status);
}

const struct fs_protocol fs_protocol_dubbo = {
	.id = FS_PROTOCOL_DUBBO,
	.pairs_by_id = 1,
	.streams = 1,
	.detect = detect,
	.frame = frame,
	.stitch = stitch,
};
