/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The path of a request target, made fit to be a label: few values, no secrets, printable ASCII, bounded.
 *
 *   origin-form     /a/b?q#f           the path
 *   absolute-form   http://u:p@h/a     the path, "/" if there is none; scheme and authority go
 *   authority-form  h:443              "*": there is no path; what CONNECT asks for, fs_cluster_authority writes
 *   asterisk-form   *                  "*"
 *
 * Query and fragment never come out. `alphabet` keeps segments of ASCII letters, `_` and `-` up to 25 bytes and makes
 * the rest `*`; empty segments stay ("/a//b/"). `noparam` keeps segments, less path parameters (";jsessionid=..."),
 * with bytes that are not printable ASCII percent-encoded; a segment that looks like user:password@host is `*`.
 * `learn` starts from what `alphabet` leaves. A path that does not fit ends in `*`.
 */
#include "../protocol.h"

#define SEGMENT_MAX 25

/* Room that is kept for the terminator and for a closing slash and star. */
static bool has_room(const struct fs_label *label, uint32_t bytes)
{
	return label->length + bytes + 3u <= sizeof(label->text);
}

static bool is_scheme_byte(int byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
	       byte == '+' || byte == '-' || byte == '.';
}

/* Leaves `text` at what stands before the first `stop`. */
static void cut_at(struct fs_text *text, uint8_t stop)
{
	struct fs_cursor bytes = fs_inside(*text);
	struct fs_text before;
	if (fs_take_until(&bytes, stop, text->length, &before))
		*text = before;
}

/* Steps over "scheme://" if it comes next. RFC 3986, section 3.1. */
static bool skip_scheme(struct fs_cursor *bytes)
{
	struct fs_cursor ahead = *bytes;
	size_t length = 0;
	while (is_scheme_byte(fs_peek(&ahead, length)))
		length++;
	if (length == 0 || !fs_skip(&ahead, length) || !fs_accept(&ahead, "://"))
		return false;
	*bytes = ahead;
	return true;
}

/* Takes what stands before the next slash. False for the last segment. */
static bool next_segment(struct fs_cursor *path, struct fs_text *segment)
{
	uint32_t rest = (uint32_t)fs_left(path);
	if (fs_take_until(path, '/', rest, segment))
		return true;
	fs_take(path, rest, segment);
	return false;
}

static bool is_alphabetic(struct fs_text segment)
{
	struct fs_cursor bytes = fs_inside(segment);
	uint8_t byte;
	if (segment.length > SEGMENT_MAX)
		return false;
	while (fs_u8(&bytes, &byte))
		if (!(fs_lower(byte) >= 'a' && fs_lower(byte) <= 'z') && byte != '_' && byte != '-')
			return false;
	return true;
}

static bool has_user_info(struct fs_text segment)
{
	struct fs_text before = segment, user;
	cut_at(&before, '@');
	user = before;
	cut_at(&user, ':');
	return before.length < segment.length && user.length < before.length;
}

/* False when the label is full; it then ends in a star. */
static bool write_readable(struct fs_label *out, struct fs_text segment)
{
	static const char digits[] = "0123456789ABCDEF";
	struct fs_cursor bytes = fs_inside(segment);
	uint8_t byte;
	while (fs_u8(&bytes, &byte)) {
		if (!has_room(out, 3)) {
			fs_label_byte(out, '*');
			return false;
		}
		if (byte > 0x20 && byte < 0x7f) {
			fs_label_byte(out, (char)byte);
		} else {
			fs_label_byte(out, '%');
			fs_label_byte(out, digits[byte >> 4]);
			fs_label_byte(out, digits[byte & 15]);
		}
	}
	return true;
}

/* The same. Whatever was written, there is room for another slash and star as long as this answers true. */
static bool write_segment(struct fs_label *out, struct fs_text segment, enum fs_clustering how)
{
	if (!has_room(out, 0)) {
		fs_label_byte(out, '*');
		return false;
	}
	if (how == FS_CLUSTER_NOPARAM) {
		cut_at(&segment, ';');
		if (!has_user_info(segment))
			return write_readable(out, segment);
	} else if (is_alphabetic(segment) && has_room(out, segment.length)) {
		fs_label_text(out, segment);
		return true;
	}
	fs_label_byte(out, '*');
	return has_room(out, 0);
}

/* Steps over scheme and authority. False if `target` has no path at all. */
static bool find_path(struct fs_cursor *target)
{
	if (fs_peek(target, 0) == '/')
		return true;
	if (!skip_scheme(target))
		return false;
	while (fs_left(target) && fs_peek(target, 0) != '/')
		fs_skip(target, 1);
	return true;
}

void fs_cluster_path(struct fs_text target, enum fs_clustering how, struct fs_label *out)
{
	struct fs_cursor path;
	struct fs_text segment = {0};
	bool more, written;
	out->length = 0;
	out->text[0] = 0;
	if (how == FS_CLUSTER_BLANK || target.length == 0)
		return;
	cut_at(&target, '?');
	cut_at(&target, '#');
	path = fs_inside(target);
	if (!find_path(&path)) {
		fs_label_byte(out, '*');
		return;
	}
	fs_accept(&path, "/");
	do {
		more = next_segment(&path, &segment);
		fs_label_byte(out, '/');
		written = write_segment(out, segment, how);
	} while (more && written);
}

/* Letters, digits, hyphens, underscores and dots, with a letter in the last label, which an address has not. */
static bool is_host_name(struct fs_text host)
{
	struct fs_cursor bytes = fs_inside(host);
	bool has_letter = false;
	uint8_t byte;
	while (fs_u8(&bytes, &byte)) {
		bool is_letter = fs_lower(byte) >= 'a' && fs_lower(byte) <= 'z';
		if (!is_letter && !(byte >= '0' && byte <= '9') && byte != '-' && byte != '_' && byte != '.')
			return false;
		has_letter = is_letter || (has_letter && byte != '.');
	}
	return has_letter;
}

/* An address of either kind, IPv6 in brackets: RFC 3986, section 3.2.2. */
static bool is_address(struct fs_text host)
{
	struct fs_cursor bytes = fs_inside(host);
	uint8_t byte;
	fs_accept(&bytes, "[");
	while (fs_u8(&bytes, &byte)) {
		uint8_t lower = fs_lower(byte);
		if (!(lower >= 'a' && lower <= 'f') && !(byte >= '0' && byte <= '9') && byte != '.' && byte != ':' &&
		    !(byte == ']' && fs_left(&bytes) == 0))
			return false;
	}
	return host.length > 0;
}

/* Leaves `text` at what stands before its last `stop`, and in `after` what stands behind it. False if there is none. */
static bool cut_at_last(struct fs_text *text, uint8_t stop, struct fs_text *after)
{
	struct fs_cursor bytes = fs_inside(*text);
	struct fs_text before;
	uint32_t place = text->length;
	while (place && fs_peek(&bytes, place - 1) != stop)
		place--;
	if (place == 0 || !fs_take(&bytes, place - 1, &before) || !fs_skip(&bytes, 1) ||
	    !fs_take(&bytes, (uint32_t)fs_left(&bytes), after))
		return false;
	*text = before;
	return true;
}

void fs_cluster_authority(struct fs_text target, enum fs_clustering how, struct fs_label *out)
{
	struct fs_text host = target, before = target, port = {0};
	uint64_t number;
	uint8_t byte;
	out->length = 0;
	out->text[0] = 0;
	if (how == FS_CLUSTER_BLANK || target.length == 0)
		return;
	if (cut_at_last(&before, '@', &target))
		host = target;
	before = host;
	bool has_port = cut_at_last(&before, ':', &port) && fs_decimal(port, &number) && number <= UINT16_MAX;
	if (has_port)
		host = before;
	before = host;
	if (cut_at_last(&before, '.', &target) && target.length == 0)
		host = before; /* the name of the same host: RFC 1034, section 3.1 */
	if (is_host_name(host) || (how == FS_CLUSTER_NOPARAM && is_address(host))) {
		struct fs_cursor bytes = fs_inside(host);
		while (has_room(out, 6) && fs_u8(&bytes, &byte))
			fs_label_byte(out, (char)fs_lower(byte));
		if (fs_left(&bytes))
			out->length = 0; /* longer than a name may be */
	}
	if (out->length == 0)
		fs_label_byte(out, '*');
	if (has_port) {
		fs_label_byte(out, ':');
		fs_label_decimal(out, (uint32_t)number);
	}
}

static bool begins_with(const struct fs_cursor *path, const struct fs_path_rule *rule)
{
	for (uint8_t i = 0; i < rule->length; i++)
		if (fs_peek(path, i) != (uint8_t)rule->text[i])
			return false;
	return true;
}

bool fs_path_is_unwanted(struct fs_text target, bool whole, const struct fs_parser_options *options)
{
	const struct fs_path_rules *rules = options->unwanted;
	uint32_t length = target.length;
	struct fs_cursor path;
	if (!rules)
		return false;
	cut_at(&target, '?');
	cut_at(&target, '#');
	path = fs_inside(target);
	if (!find_path(&path))
		return false;
	for (uint32_t i = 0; i < rules->count; i++) {
		const struct fs_path_rule *rule = &rules->rule[i];
		bool ends = rule->is_prefix || (fs_left(&path) == rule->length && (whole || target.length < length));
		if (ends && begins_with(&path, rule))
			return true;
	}
	return false;
}
