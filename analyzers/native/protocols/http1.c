/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.0 and HTTP/1.1: RFC 9110 (methods, fields), RFC 9112 (framing).
 *
 * A message is its head; the body is only counted. After a chunked head `frame` is called with the bytes that follow:
 * FS_FRAME_PART says how many of them (maybe more than are here) belong to the body, FS_FRAME_END that it ends there.
 * Where the next chunk's header was not captured it is FS_FRAME_MORE with a truncated cursor: no END will be found, and
 * the body is what this side sends until the other one speaks.
 *
 * A head that was cut off by the capture ends, as far as anybody can tell, where the other side speaks. The exception is
 * an interim response: its final one would be taken for the rest of it, so it is FS_FRAME_MORE, which asks for more bytes.
 *
 * scratch: the first byte is kept by http_chunks.c, zero outside of a chunked body; the rest is unused.
 * method:  place in the table of methods, from 1; 0 is any other token.
 * note:    of a request, the protocol that it offers to switch to (enum fs_protocol_id).
 */
#include "http_chunks.h"
#include "http_fields.h"
#include "protocols.h"

#define METHOD_MAX 24
#define LINE_MAX 65536
#define BLANK_LINES_MAX 4

/* RFC 9110; RFC 5789; WebDAV and its kin: RFC 4918, 3253, 3648, 3744, 5323, 5842, 4437, 4791. The usual ones first. */
/* clang-format off */
static const char *const methods[] = {
	"GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "PROPFIND",
	"PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH", "CHECKOUT", "CHECKIN",
	"UNCHECKOUT", "MERGE", "UPDATE", "LABEL", "MKACTIVITY", "MKWORKSPACE", "MKCALENDAR", "VERSION-CONTROL",
	"ORDERPATCH", "ACL", "BIND", "UNBIND", "REBIND", "MKREDIRECTREF", "UPDATEREDIRECTREF",
	"BASELINE-CONTROL",
};
/* clang-format on */
#define METHOD_COUNT (sizeof(methods) / sizeof(methods[0]))
/* Those that enum fs_verb knows come first, with its numbers. */
enum { METHOD_OTHER = 0, METHOD_GET = FS_VERB_GET, METHOD_HEAD = FS_VERB_HEAD, METHOD_CONNECT = FS_VERB_CONNECT };

enum match { MATCH_NO, MATCH_PARTLY, MATCH_WHOLE };

static enum match match_literal(struct fs_cursor bytes, const char *literal)
{
	for (size_t i = 0; literal[i]; i++) {
		int byte = fs_peek(&bytes, i);
		if (byte < 0)
			return MATCH_PARTLY;
		if (byte != literal[i])
			return MATCH_NO;
	}
	return MATCH_WHOLE;
}

/* Servers must ignore an empty line before a request line; some clients send one after a body. */
static void skip_blank_lines(struct fs_cursor *bytes)
{
	for (int i = 0; i < 2 * BLANK_LINES_MAX && (fs_peek(bytes, 0) == '\r' || fs_peek(bytes, 0) == '\n'); i++)
		fs_skip(bytes, 1);
}

static uint16_t method_of(struct fs_text token)
{
	for (uint16_t i = 0; i < METHOD_COUNT; i++)
		if (fs_text_is(token, methods[i]))
			return (uint16_t)(i + 1);
	return METHOD_OTHER;
}

static bool is_method_token(struct fs_text token)
{
	struct fs_cursor bytes = fs_inside(token);
	uint8_t byte;
	while (fs_u8(&bytes, &byte))
		if (!(byte >= 'A' && byte <= 'Z') && byte != '-' && byte != '_')
			return false;
	return token.length > 0;
}

/* One of the four forms of RFC 9112, section 3.2, without control characters. */
static bool is_target(struct fs_text target, uint16_t method)
{
	struct fs_cursor bytes = fs_inside(target);
	size_t scheme = 0;
	uint8_t byte;
	int first = fs_peek(&bytes, 0);
	while (fs_u8(&bytes, &byte))
		if (byte < 0x20 || byte == 0x7f)
			return false;
	if (first == '/' || method == METHOD_CONNECT || fs_text_is(target, "*"))
		return target.length > 0;
	bytes = fs_inside(target);
	while (fs_lower((uint8_t)fs_peek(&bytes, scheme)) >= 'a' && fs_lower((uint8_t)fs_peek(&bytes, scheme)) <= 'z')
		scheme++;
	return scheme > 0 && fs_skip(&bytes, scheme) && fs_accept(&bytes, "://");
}

/* "GET /path HTTP/1.1"; of a line that the capture cut off, the version is not asked for, nor the second half of its end. */
static bool read_request_line(struct fs_text line, bool whole, uint16_t *method, struct fs_text *target)
{
	struct fs_cursor bytes = fs_inside(line);
	struct fs_text token;
	if (!fs_take_until(&bytes, ' ', METHOD_MAX + 1, &token) || !is_method_token(token))
		return false;
	*method = method_of(token);
	if (!whole) {
		size_t left = fs_left(&bytes);
		left -= left && fs_peek(&bytes, left - 1) == '\r';
		return *method != METHOD_OTHER && fs_take(&bytes, (uint32_t)left, target) &&
		       is_target(*target, *method);
	}
	if (fs_left(&bytes) < sizeof(" HTTP/1.1") || !fs_take(&bytes, (uint32_t)(fs_left(&bytes) - 9), target))
		return false;
	return fs_accept(&bytes, " HTTP/1.") && (fs_peek(&bytes, 0) == '0' || fs_peek(&bytes, 0) == '1') &&
	       is_target(*target, *method);
}

/* "HTTP/1.1 200 OK"; the reason may be missing, and the byte after the status may not be captured. */
static enum match read_status(struct fs_cursor bytes, uint16_t *status)
{
	struct fs_text digits;
	uint64_t value;
	enum match prefix = match_literal(bytes, "HTTP/1.");
	if (prefix != MATCH_WHOLE || !fs_skip(&bytes, 7))
		return prefix;
	if (!fs_accept(&bytes, "0 ") && !fs_accept(&bytes, "1 ")) {
		bool begun = fs_left(&bytes) == 0 || match_literal(bytes, "0 ") == MATCH_PARTLY ||
			     match_literal(bytes, "1 ") == MATCH_PARTLY;
		return begun ? MATCH_PARTLY : MATCH_NO;
	}
	if (!fs_take(&bytes, 3, &digits))
		return MATCH_PARTLY;
	if (!fs_decimal(digits, &value) || value < 100)
		return MATCH_NO;
	*status = (uint16_t)value;
	switch (fs_peek(&bytes, 0)) {
	case ' ':
	case '\r':
	case '\n': return MATCH_WHOLE;
	case -1: return bytes.truncated ? MATCH_WHOLE : MATCH_PARTLY;
	default: return MATCH_NO;
	}
}

/* Could these bytes, in which no line ends, become a request line? */
static bool may_be_request(struct fs_cursor bytes, bool any_method)
{
	struct fs_cursor start = bytes;
	struct fs_text token;
	if (fs_take_until(&bytes, ' ', METHOD_MAX + 1, &token))
		return is_method_token(token) && (any_method || method_of(token) != METHOD_OTHER);
	if (fs_left(&bytes) > METHOD_MAX || !fs_take(&bytes, (uint32_t)fs_left(&bytes), &token))
		return false;
	if (any_method)
		return is_method_token(token);
	for (size_t i = 0; i < METHOD_COUNT; i++)
		if (match_literal(start, methods[i]) == MATCH_PARTLY || fs_text_is(token, methods[i]))
			return true;
	return false;
}

static enum fs_detected detect(struct fs_cursor bytes, bool datagram)
{
	struct fs_text line, target;
	uint16_t value;
	if (datagram)
		return FS_NOT_MINE;
	skip_blank_lines(&bytes);
	if (fs_left(&bytes) == 0)
		return bytes.truncated ? FS_NOT_MINE : FS_TOO_SHORT;
	switch (read_status(bytes, &value)) {
	case MATCH_WHOLE: return FS_MINE_RESPONSE;
	case MATCH_PARTLY: return bytes.truncated ? FS_NOT_MINE : FS_TOO_SHORT;
	case MATCH_NO: break;
	}
	if (fs_http_line(&bytes, LINE_MAX, &line))
		return read_request_line(line, true, &value, &target) ? FS_MINE_REQUEST : FS_NOT_MINE;
	if (!bytes.truncated)
		return fs_left(&bytes) < LINE_MAX && may_be_request(bytes, false) ? FS_TOO_SHORT : FS_NOT_MINE;
	return fs_take(&bytes, (uint32_t)fs_left(&bytes), &line) && read_request_line(line, false, &value, &target)
		       ? FS_MINE_REQUEST
		       : FS_NOT_MINE;
}

/* The content of a request line that was cut off: a path whose end is not here loses its last segment to a star. */
static void write_cut_target(struct fs_text target, enum fs_clustering how, struct fs_label *out)
{
	struct fs_cursor bytes = fs_inside(target);
	struct fs_text path;
	uint32_t keep = 0;
	if (fs_take_until(&bytes, ' ', target.length, &path) || fs_take_until(&bytes, '?', target.length, &path)) {
		fs_cluster_path(path, how, out);
		return;
	}
	for (uint32_t i = 0; i < target.length; i++)
		if (fs_peek(&bytes, i) == '/')
			keep = i + 1;
	if (!fs_take(&bytes, keep, &path))
		return;
	fs_cluster_path(path, how, out);
	if (out->length && out->text[out->length - 1] == '/')
		fs_label_byte(out, '*');
}

/* CONNECT's target is an authority: RFC 9112, section 3.2.3. Of one that was cut off nothing is known. */
static void write_authority(struct fs_text target, bool whole, enum fs_clustering how, struct fs_label *out)
{
	struct fs_cursor bytes = fs_inside(target);
	if (!whole && !fs_take_until(&bytes, ' ', target.length, &target))
		target.length = 0;
	fs_cluster_authority(target, how, out);
	if (out->length == 0 && how != FS_CLUSTER_BLANK)
		fs_label_byte(out, '*');
}

/* Where the message ends, from a head that is all here. RFC 9112, section 6.3. */
static void frame_body(struct fs_frame_input *in, const struct fs_http_fields *head, bool empty, struct fs_message *out)
{
	bool request = in->side == FS_SIDE_REQUEST;
	if (empty)
		return;
	if (head->has_coding) {
		if (head->chunked) {
			out->body = FS_BODY_PARTS;
			fs_http_chunks_begin(in);
		} else {
			out->body = request ? FS_BODY_UNTIL_FLIP : FS_BODY_UNTIL_CLOSE;
		}
	} else if (head->bad_length) {
		out->body = FS_BODY_UNTIL_FLIP;
	} else if (head->has_length) {
		out->length += head->content_length;
	} else if (!request) {
		out->body = FS_BODY_UNTIL_CLOSE;
	}
}

/* A head of which only the beginning was captured: its length is not known, so neither is the body's. */
static void frame_cut(const struct fs_frame_input *in, struct fs_message *out)
{
	out->length = fs_left(&in->bytes);
	out->flags |= FS_MESSAGE_CUT;
	out->body = out->flags & FS_MESSAGE_SWITCH ? FS_BODY_DONE : FS_BODY_UNTIL_FLIP;
}

static enum fs_framed frame_request(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct fs_http_fields head = {0};
	struct fs_text line, target;
	enum fs_clustering how = (enum fs_clustering)in->options->url_clustering;
	bool whole, complete;
	uint16_t method;
	skip_blank_lines(&bytes);
	whole = fs_http_line(&bytes, LINE_MAX, &line);
	if (!whole && !bytes.truncated)
		return fs_left(&bytes) == 0 || may_be_request(bytes, true) ? FS_FRAME_MORE : FS_FRAME_INVALID;
	if (!whole)
		fs_take(&bytes, (uint32_t)fs_left(&bytes), &line);
	if (!read_request_line(line, whole, &method, &target))
		return FS_FRAME_INVALID;
	complete = whole && fs_http_fields(&bytes, &head);
	if (!complete && !bytes.truncated)
		return FS_FRAME_MORE;
	fs_message_begin(out, 0);
	out->method = method;
	out->note = head.upgrade;
	out->verb = method < FS_VERB_COUNT ? (uint8_t)method : 0;
	if (fs_path_is_unwanted(target, whole, in->options))
		out->flags |= FS_MESSAGE_UNWANTED;
	if (method == METHOD_CONNECT)
		write_authority(target, whole, how, &out->content);
	else if (whole)
		fs_cluster_path(target, how, &out->content);
	else
		write_cut_target(target, how, &out->content);
	for (int i = 0; i < 16; i++)
		out->trace_id[i] = head.trace.trace_id[i];
	for (int i = 0; i < 8; i++)
		out->parent_id[i] = head.trace.parent_id[i];
	out->length = fs_left(&in->bytes) - fs_left(&bytes);
	if (!complete)
		frame_cut(in, out);
	else if (method == METHOD_CONNECT)
		/* It has no body (RFC 9110, section 9.3.6): what comes before the answer is meant for the tunnel already. */
		out->body = FS_BODY_UNTIL_FLIP;
	else
		frame_body(in, &head, false, out);
	return FS_FRAME_MESSAGE;
}

static enum fs_framed frame_response(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct fs_http_fields head = {0};
	struct fs_text line;
	uint16_t status = 0, asked = in->waiting ? in->waiting->method : METHOD_GET;
	bool complete;
	switch (read_status(bytes, &status)) {
	case MATCH_NO: return FS_FRAME_INVALID;
	case MATCH_PARTLY: return bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
	case MATCH_WHOLE: break;
	}
	complete = fs_http_line(&bytes, LINE_MAX, &line) && fs_http_fields(&bytes, &head);
	if (!complete && (!bytes.truncated || (status < 200 && status != 101)))
		return FS_FRAME_MORE;
	fs_message_begin(out, 0);
	out->status = status;
	if (status == 101) {
		out->flags = FS_MESSAGE_SWITCH;
		out->next_protocol = head.has_upgrade ? head.upgrade : in->waiting ? (uint8_t)in->waiting->note : 0;
	} else if (status < 200) {
		out->flags = FS_MESSAGE_INTERIM;
	} else if (asked == METHOD_CONNECT && status < 300) {
		out->flags = FS_MESSAGE_SWITCH;
		out->next_protocol = FS_UNDECIDED;
	}
	out->length = fs_left(&in->bytes) - fs_left(&bytes);
	if (complete)
		frame_body(in, &head, out->flags || asked == METHOD_HEAD || status == 204 || status == 304, out);
	else
		frame_cut(in, out);
	return FS_FRAME_MESSAGE;
}

static enum fs_framed frame(struct fs_frame_input *in, struct fs_message *out)
{
	if (in->scratch[0] != 0) {
		enum fs_framed framed = fs_http_chunks(in, out);
		if (framed != FS_FRAME_INVALID)
			return framed;
		/* Not where the last body left off: its end was lost, and a new message may start here. */
		in->scratch[0] = 0;
	}
	return in->side == FS_SIDE_REQUEST ? frame_request(in, out) : frame_response(in, out);
}

static void stitch(const struct fs_message *request, const struct fs_message *response,
		   const struct fs_parser_options *options, struct fs_outcome *out)
{
	(void)options;
	out->status = response ? response->status : 0;
	out->error = !response || response->status >= 400;
	out->request_content = request->content;
	out->response_content.length = 0;
	out->response_content.text[0] = 0;
	if (response)
		fs_label_decimal(&out->response_content, response->status);
}

const struct fs_protocol fs_protocol_http1 = {
	.id = FS_PROTOCOL_HTTP,
	.streams = 1,
	.unpipelined = 1,
	.detect = detect,
	.frame = frame,
	.stitch = stitch,
};
