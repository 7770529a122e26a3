/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The path of a request target, made fit to be a label: few values, no secrets, printable ASCII, bounded.
 *
 *   origin-form     /a/b?q#f           the path
 *   absolute-form   http://u:p@h/a     the path, "/" if there is none; scheme and authority go
 *   authority-form  h:443              "*": there is no path
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
