/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS 1.0 to 1.3: RFC 8446, RFC 5246. Nothing is decrypted; the engine counts the exchanges of an encrypted connection
 * by direction flips. What it gets from here is
 *
 *   detect  a record header, at the start of a connection or in the middle of one. Which side sent an encrypted record
 *           cannot be seen, so that is told as a request's; the engine knows the sides from elsewhere.
 *   frame   request: the record of a ClientHello, with the server name as content and the highest version that is
 *           offered as note. Response: the record of a ServerHello with the version in note, or of an alert with its
 *           number as status and its level in method. Other records are messages without content. Each goes on until
 *           the other side speaks.
 *   stitch  server name; name of the alert, or the version that the server chose; an error if the alert is fatal.
 *
 * Many programs read a record's header and its body in two calls. So a hello may also come without its record header,
 * and an alert if its header, which came alone, was answered with FS_FRAME_MORE (scratch[0] remembers that).
 */
#include "protocols.h"

#define RECORD_MAX (16384 + 2048) /* RFC 5246, section 6.2.3 */
#define ALERT_FATAL 2

enum record_type { RECORD_CHANGE_CIPHER = 20, RECORD_ALERT = 21, RECORD_HANDSHAKE = 22, RECORD_DATA = 23 };
enum handshake_type { HANDSHAKE_CLIENT_HELLO = 1, HANDSHAKE_SERVER_HELLO = 2 };
enum extension { EXTENSION_SERVER_NAME = 0, EXTENSION_SUPPORTED_VERSIONS = 43 };

struct record {
	uint8_t type;
	uint16_t version, length;
};

struct hello {
	uint16_t version;
	struct fs_text server_name;
};

/* RFC 8446, section 6, and the older ones of RFC 5246, RFC 6066, RFC 7301. */
static const struct {
	uint8_t number;
	const char *name;
} alerts[] = {
	{0, "close_notify"},
	{10, "unexpected_message"},
	{20, "bad_record_mac"},
	{21, "decryption_failed"},
	{22, "record_overflow"},
	{30, "decompression_failure"},
	{40, "handshake_failure"},
	{41, "no_certificate"},
	{42, "bad_certificate"},
	{43, "unsupported_certificate"},
	{44, "certificate_revoked"},
	{45, "certificate_expired"},
	{46, "certificate_unknown"},
	{47, "illegal_parameter"},
	{48, "unknown_ca"},
	{49, "access_denied"},
	{50, "decode_error"},
	{51, "decrypt_error"},
	{60, "export_restriction"},
	{70, "protocol_version"},
	{71, "insufficient_security"},
	{80, "internal_error"},
	{86, "inappropriate_fallback"},
	{90, "user_canceled"},
	{100, "no_renegotiation"},
	{109, "missing_extension"},
	{110, "unsupported_extension"},
	{111, "certificate_unobtainable"},
	{112, "unrecognized_name"},
	{113, "bad_certificate_status_response"},
	{114, "bad_certificate_hash_value"},
	{115, "unknown_psk_identity"},
	{116, "certificate_required"},
	{120, "no_application_protocol"},
	{121, "ech_required"},
};

static bool take_u24be(struct fs_cursor *c, uint32_t *out)
{
	uint8_t high;
	uint16_t low;
	if (fs_left(c) < 3 || !fs_u8(c, &high) || !fs_u16be(c, &low))
		return false;
	*out = (uint32_t)high << 16 | low;
	return true;
}

static bool is_version(uint16_t version)
{
	return version >= 0x0300 && version <= 0x0304;
}

static bool read_record(struct fs_cursor *bytes, struct record *out)
{
	struct record record;
	struct fs_cursor ahead = *bytes;
	if (!fs_u8(&ahead, &record.type) || !fs_u16be(&ahead, &record.version) || !fs_u16be(&ahead, &record.length) ||
	    record.type < RECORD_CHANGE_CIPHER || record.type > RECORD_DATA || !is_version(record.version) ||
	    record.length == 0 || record.length > RECORD_MAX)
		return false;
	if ((record.type == RECORD_CHANGE_CIPHER && record.length != 1) ||
	    (record.type == RECORD_ALERT && record.length < 2))
		return false;
	*bytes = ahead;
	*out = record;
	return true;
}

/* Fewer bytes than a record header has, all of which fit one. */
static bool may_be_record(const struct fs_cursor *bytes)
{
	int type = fs_peek(bytes, 0), major = fs_peek(bytes, 1), minor = fs_peek(bytes, 2), high = fs_peek(bytes, 3);
	return fs_left(bytes) < 5 && (type < 0 || (type >= RECORD_CHANGE_CIPHER && type <= RECORD_DATA)) &&
	       (major < 0 || major == 3) && (minor < 0 || minor <= 4) && (high < 0 || high <= RECORD_MAX >> 8);
}

/* A hello's type, length and version: RFC 8446, section 4. */
static bool read_hello_start(struct fs_cursor *bytes, uint8_t *type, uint16_t *version)
{
	uint32_t length;
	struct fs_cursor ahead = *bytes;
	if (!fs_u8(&ahead, type) || (*type != HANDSHAKE_CLIENT_HELLO && *type != HANDSHAKE_SERVER_HELLO) ||
	    !take_u24be(&ahead, &length) || length < 2 + 32 + 1 + 2 + 1 || !fs_u16be(&ahead, version) ||
	    !is_version(*version))
		return false;
	*bytes = ahead;
	return true;
}

/* RFC 6066, section 3: a list of names, of which only host names (type 0) were ever defined. */
static void read_server_name(struct fs_cursor extension, struct hello *hello)
{
	uint16_t list, length;
	uint8_t type;
	struct fs_text name;
	if (fs_u16be(&extension, &list) && fs_u8(&extension, &type) && type == 0 && fs_u16be(&extension, &length) &&
	    fs_take(&extension, length, &name))
		hello->server_name = name;
}

/* A ClientHello lists what it offers, a ServerHello says what it chose. RFC 8446, section 4.2.1. */
static void read_versions(struct fs_cursor extension, uint8_t type, struct hello *hello)
{
	uint8_t bytes;
	uint16_t version;
	if (type == HANDSHAKE_CLIENT_HELLO && !fs_u8(&extension, &bytes))
		return;
	while (fs_u16be(&extension, &version))
		if (is_version(version) && version > hello->version)
			hello->version = version;
}

/* Steps over what is in front of the extensions. */
static bool skip_to_extensions(struct fs_cursor *bytes, uint8_t type)
{
	uint8_t length;
	uint16_t suites, extensions;
	if (!fs_skip(bytes, 32) || !fs_u8(bytes, &length) || !fs_skip(bytes, length))
		return false;
	if (type == HANDSHAKE_SERVER_HELLO)
		return fs_skip(bytes, 3) && fs_u16be(bytes, &extensions);
	return fs_u16be(bytes, &suites) && fs_skip(bytes, suites) && fs_u8(bytes, &length) && fs_skip(bytes, length) &&
	       fs_u16be(bytes, &extensions);
}

/* As far as the bytes go. */
static void read_extensions(struct fs_cursor bytes, uint8_t type, struct hello *hello)
{
	uint16_t number, length;
	struct fs_text value;
	if (!skip_to_extensions(&bytes, type))
		return;
	while (fs_u16be(&bytes, &number) && fs_u16be(&bytes, &length) && fs_take(&bytes, length, &value)) {
		if (number == EXTENSION_SERVER_NAME && type == HANDSHAKE_CLIENT_HELLO)
			read_server_name(fs_inside(value), hello);
		else if (number == EXTENSION_SUPPORTED_VERSIONS)
			read_versions(fs_inside(value), type, hello);
	}
}

/* Host names are letters, digits, hyphens, underscores and dots; whatever else is no name to show. */
static void write_server_name(struct fs_text name, struct fs_label *out)
{
	struct fs_cursor bytes = fs_inside(name);
	uint8_t byte;
	while (fs_u8(&bytes, &byte)) {
		byte = fs_lower(byte);
		if (!(byte >= 'a' && byte <= 'z') && !(byte >= '0' && byte <= '9') && byte != '-' && byte != '_' &&
		    byte != '.') {
			out->length = 0;
			out->text[0] = 0;
			return;
		}
		fs_label_byte(out, (char)byte);
	}
}

/* An alert that can be read: RFC 8446, section 6. */
static bool is_plain_alert(struct fs_cursor bytes, const struct record *record)
{
	int level = fs_peek(&bytes, 0), number = fs_peek(&bytes, 1);
	if (record->length != 2 || level < 1 || level > ALERT_FATAL)
		return false;
	for (size_t i = 0; i < sizeof(alerts) / sizeof(alerts[0]); i++)
		if (alerts[i].number == number)
			return true;
	return false;
}

/*
 * In the middle of a connection five bytes are all that can be known of a record, and a length in little endian may look
 * the same (a reply of MongoDB with 0x315 bytes). So SSL 3.0, which RFC 7568 forbids, does not count here, and behind a
 * record that is here whole the next one has to begin.
 */
static bool goes_on_as_records(struct fs_cursor bytes, const struct record *record)
{
	struct record next;
	if (record->version < 0x0301)
		return false;
	if (record->type == RECORD_CHANGE_CIPHER && fs_left(&bytes) && fs_peek(&bytes, 0) != 1)
		return false;
	if (!fs_skip(&bytes, record->length) || fs_left(&bytes) == 0)
		return true;
	return may_be_record(&bytes) || read_record(&bytes, &next);
}

/* It comes alone, and has at least a tag of 16 bytes beside its two (RFC 5246, section 6.2.3.3). */
static bool is_sealed_alert(struct fs_cursor bytes, const struct record *record)
{
	return record->length >= 18 && fs_left(&bytes) >= record->length && goes_on_as_records(bytes, record);
}

static enum fs_detected detect(struct fs_cursor bytes, bool datagram)
{
	struct record record;
	uint16_t version;
	uint8_t type;
	if (datagram)
		return FS_NOT_MINE;
	if (may_be_record(&bytes))
		return bytes.truncated ? FS_NOT_MINE : FS_TOO_SHORT;
	if (!read_record(&bytes, &record))
		return FS_NOT_MINE;
	switch (record.type) {
	case RECORD_HANDSHAKE:
		/* Encrypted handshake records exist too, but a connection does not start with one. */
		if (fs_left(&bytes) < 6 && !bytes.truncated &&
		    (fs_left(&bytes) == 0 || fs_peek(&bytes, 0) == HANDSHAKE_CLIENT_HELLO ||
		     fs_peek(&bytes, 0) == HANDSHAKE_SERVER_HELLO))
			return FS_TOO_SHORT;
		if (!read_hello_start(&bytes, &type, &version))
			return FS_NOT_MINE;
		return type == HANDSHAKE_CLIENT_HELLO ? FS_MINE_REQUEST : FS_MINE_RESPONSE;
	case RECORD_ALERT:
		if (record.length == 2 && fs_left(&bytes) < 2 && !bytes.truncated)
			return FS_TOO_SHORT;
		if (record.length == 2)
			return is_plain_alert(bytes, &record) ? FS_MINE_RESPONSE : FS_NOT_MINE;
		return is_sealed_alert(bytes, &record) ? FS_MINE_REQUEST : FS_NOT_MINE;
	default: return goes_on_as_records(bytes, &record) ? FS_MINE_REQUEST : FS_NOT_MINE;
	}
}

static void frame_hello(struct fs_cursor bytes, uint8_t type, uint16_t version, struct fs_message *out)
{
	struct hello hello = {.version = version};
	read_extensions(bytes, type, &hello);
	out->note = hello.version;
	write_server_name(hello.server_name, &out->content);
}

static bool frame_alert(struct fs_cursor bytes, struct fs_message *out)
{
	uint8_t level, number;
	if (!fs_u8(&bytes, &level) || !fs_u8(&bytes, &number))
		return false;
	out->status = number;
	out->method = level;
	return true;
}

/* What was read behind a header that came alone is all of it; a piece of something else may begin like a hello. */
static bool is_all_here(struct fs_cursor bytes)
{
	uint32_t length;
	return bytes.truncated || (fs_skip(&bytes, 1) && take_u24be(&bytes, &length) && length <= fs_left(&bytes));
}

/* What follows a record header that was read by a call of its own. */
static enum fs_framed frame_headless(struct fs_frame_input *in, uint8_t expected, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	bool is_alert = in->scratch[0] == RECORD_ALERT && fs_left(&bytes) == 2;
	uint16_t version;
	uint8_t type;
	in->scratch[0] = 0;
	fs_message_begin(out, fs_left(&bytes));
	out->body = FS_BODY_UNTIL_FLIP;
	if (is_alert && frame_alert(bytes, out))
		return FS_FRAME_MESSAGE;
	if (!is_all_here(bytes) || !read_hello_start(&bytes, &type, &version) || type != expected)
		return FS_FRAME_INVALID;
	frame_hello(bytes, type, version, out);
	return FS_FRAME_MESSAGE;
}

static enum fs_framed frame(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct record record;
	struct fs_text content;
	uint8_t expected = in->side == FS_SIDE_REQUEST ? HANDSHAKE_CLIENT_HELLO : HANDSHAKE_SERVER_HELLO, type;
	uint16_t version;
	if (!read_record(&bytes, &record)) {
		if (in->scratch[0] == 0 && may_be_record(&bytes))
			return bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
		return frame_headless(in, expected, out);
	}
	bool whole = fs_take(&bytes, record.length, &content);
	in->scratch[0] = 0;
	if (!whole && record.type != RECORD_DATA && !bytes.truncated) {
		if (record.type == RECORD_ALERT && record.length == 2 && fs_left(&bytes) == 0)
			in->scratch[0] = RECORD_ALERT;
		return FS_FRAME_MORE;
	}
	fs_message_begin(out, 5u + (uint64_t)record.length);
	out->body = FS_BODY_UNTIL_FLIP;
	if (whole)
		bytes = fs_inside(content);
	else if (bytes.truncated)
		out->flags = FS_MESSAGE_CUT;
	if (record.type == RECORD_ALERT && record.length == 2)
		(void)frame_alert(bytes, out);
	if (record.type == RECORD_HANDSHAKE && read_hello_start(&bytes, &type, &version)) {
		if (type != expected)
			return FS_FRAME_INVALID;
		frame_hello(bytes, type, version, out);
	}
	return FS_FRAME_MESSAGE;
}

static void write_alert(uint16_t number, struct fs_label *out)
{
	for (size_t i = 0; i < sizeof(alerts) / sizeof(alerts[0]); i++) {
		if (alerts[i].number == number) {
			fs_label_literal(out, alerts[i].name);
			return;
		}
	}
	fs_label_literal(out, "alert_");
	fs_label_decimal(out, number);
}

static void write_version(uint32_t version, struct fs_label *out)
{
	switch (version) {
	case 0x0300: fs_label_literal(out, "SSLv3"); break;
	case 0x0301: fs_label_literal(out, "TLSv1"); break;
	case 0x0302: fs_label_literal(out, "TLSv1.1"); break;
	case 0x0303: fs_label_literal(out, "TLSv1.2"); break;
	case 0x0304: fs_label_literal(out, "TLSv1.3"); break;
	default: break; /* the response was no ServerHello */
	}
}

static void stitch(const struct fs_message *request, const struct fs_message *response,
		   const struct fs_parser_options *options, struct fs_outcome *out)
{
	const struct fs_message *alert = response && response->method ? response : request;
	(void)options;
	out->status = response ? response->status : 0;
	out->error = alert->method >= ALERT_FATAL;
	out->request_content = request->content;
	out->response_content.length = 0;
	out->response_content.text[0] = 0;
	if (alert->method)
		write_alert(alert->status, &out->response_content);
	else if (response)
		write_version(response->note, &out->response_content);
}

const struct fs_protocol fs_protocol_tls = {
	.id = FS_PROTOCOL_TLS,
	.streams = 1,
	.detect = detect,
	.frame = frame,
	.stitch = stitch,
};
