/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memcached (memcached.h): what both protocols share. A connection speaks the one that its first byte is of.
 *
 * Requests are answered in order. Quiet ones are answered only if there is something to say (a hit, an error), and a
 * client asks something behind them that is always answered. So an answer that is not the oldest quiet request's says
 * that this one stays without: FS_FRAME_PASSED. Which one's it is shows in the key or the opaque value that it repeats.
 */
#include "memcached.h"
#include "protocols.h"

#define REQUEST_MAGIC 0x80
#define RESPONSE_MAGIC 0x81

static const struct {
	uint8_t status;
	const char *name;
} names[] = {
	{FS_MEMCACHED_OK, "OK"},
	{FS_MEMCACHED_NOT_FOUND, "NOT_FOUND"},
	{FS_MEMCACHED_EXISTS, "EXISTS"},
	{FS_MEMCACHED_TOO_LARGE, "TOO_LARGE"},
	{FS_MEMCACHED_INVALID, "INVALID_ARGUMENTS"},
	{FS_MEMCACHED_NOT_STORED, "NOT_STORED"},
	{0x06, "NON_NUMERIC"},
	{0x07, "WRONG_SERVER"},
	{0x08, "NOT_MY_VBUCKET"},
	{0x20, "AUTH_ERROR"},
	{FS_MEMCACHED_AUTH_CONTINUE, "AUTH_CONTINUE"},
	{FS_MEMCACHED_UNKNOWN_COMMAND, "UNKNOWN_COMMAND"},
	{0x82, "OUT_OF_MEMORY"},
	{0x83, "NOT_SUPPORTED"},
	{FS_MEMCACHED_INTERNAL_ERROR, "INTERNAL_ERROR"},
	{0x85, "BUSY"},
	{0x86, "TEMPORARY_FAILURE"},
};

/* FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv. */
uint32_t fs_memcached_hash(uint32_t seed, struct fs_text text)
{
	struct fs_cursor bytes = fs_inside(text);
	uint32_t hash = 2166136261u;
	uint8_t byte;
	for (int i = 0; i < 4; i++)
		hash = (hash ^ (seed >> 8 * i & 0xff)) * 16777619u;
	while (fs_u8(&bytes, &byte))
		hash = (hash ^ byte) * 16777619u;
	return hash ? hash : 1;
}

bool fs_memcached_passes(const struct fs_frame_input *in, bool belongs)
{
	return in->waiting && in->waiting->method & FS_MEMCACHED_QUIET && !belongs;
}

static bool is_packet(const struct fs_cursor *bytes)
{
	return fs_peek(bytes, 0) == REQUEST_MAGIC || fs_peek(bytes, 0) == RESPONSE_MAGIC;
}

static enum fs_detected detect(struct fs_cursor bytes, bool datagram)
{
	enum fs_detected too_short = bytes.truncated ? FS_NOT_MINE : FS_TOO_SHORT;
	if (datagram || fs_left(&bytes) == 0)
		return datagram ? FS_NOT_MINE : too_short;
	return is_packet(&bytes) ? fs_memcached_detect_packet(bytes, too_short)
				 : fs_memcached_detect_text(bytes, too_short);
}

static enum fs_framed frame(struct fs_frame_input *in, struct fs_message *out)
{
	uint8_t body = in->scratch[0];
	if (body == FS_MEMCACHED_STATISTICS || (body == FS_MEMCACHED_NO_BODY && is_packet(&in->bytes)))
		return fs_memcached_packet(in, out);
	return in->side == FS_SIDE_REQUEST ? fs_memcached_command(in, out) : fs_memcached_reply(in, out);
}

static bool is_error(uint16_t status)
{
	switch (status) {
	case FS_MEMCACHED_OK:
	case FS_MEMCACHED_NOT_FOUND:
	case FS_MEMCACHED_EXISTS:
	case FS_MEMCACHED_NOT_STORED:
	case FS_MEMCACHED_AUTH_CONTINUE: return false;
	default: return true;
	}
}

static void write_status(uint16_t status, struct fs_label *out)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (names[i].status == status) {
			fs_label_literal(out, names[i].name);
			return;
		}
	}
	fs_label_literal(out, "status_");
	fs_label_decimal(out, status);
}

/* An end without a value is a miss only of what retrieves; of a list it is its end. */
static uint16_t status_of(const struct fs_message *request, const struct fs_message *response)
{
	bool retrieves = request->method & FS_MEMCACHED_RETRIEVES;
	if (!response)
		return retrieves && request->method & FS_MEMCACHED_QUIET ? FS_MEMCACHED_NOT_FOUND : FS_MEMCACHED_OK;
	return response->status == FS_MEMCACHED_NOT_FOUND && response->note && !retrieves ? FS_MEMCACHED_OK
											  : response->status;
}

static void stitch(const struct fs_message *request, const struct fs_message *response,
		   const struct fs_parser_options *options, struct fs_outcome *out)
{
	(void)options;
	out->status = status_of(request, response);
	out->error =
		is_error(out->status) || (!response && !(request->flags & (FS_MESSAGE_NO_ANSWER | FS_MESSAGE_QUIET)));
	out->request_content = request->content;
	out->response_content.length = 0;
	out->response_content.text[0] = 0;
	if (response && response->content.length)
		out->response_content = response->content;
	else if (response || out->status)
		write_status(out->status, &out->response_content);
}

const struct fs_protocol fs_protocol_memcached = {
	.id = FS_PROTOCOL_MEMCACHED,
	.streams = 1,
	.detect = detect,
	.frame = frame,
	.stitch = stitch,
};
