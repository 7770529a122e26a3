/* SPDX-License-Identifier: Apache-2.0 */
/* memcached's binary protocol: packets of 24 bytes, extras, key and value. Of the last two nothing is shown. */
#include "memcached.h"

#define HEADER 24
#define REQUEST_MAGIC 0x80
#define BODY_MAX (1u << 30) /* an item is at most 1 GiB (memcached -I) */
#define STAT 0x10
#define SAID_MAX 0xffff /* of an answer without a value, for detection */

enum trait {
	QUIET = FS_MEMCACHED_QUIET,
	RETRIEVES = FS_MEMCACHED_RETRIEVES,
	HAS_KEY = 1, /* always */
	MAY_HAVE_KEY = 2,
	HAS_VALUE = 4,
	RETURNS_KEY = 8,
	NEVER_ANSWERED = 16
};

/* `extras`: bytes that a request has, -1 where they may be missing. */
static const struct opcode {
	const char *name; /* NULL: there is none */
	int8_t extras;
	uint8_t most_extras;
	uint16_t traits;
} opcodes[] = {
	[0x00] = {"get", 0, 0, HAS_KEY | RETRIEVES},
	[0x01] = {"set", 8, 8, HAS_KEY | HAS_VALUE},
	[0x02] = {"add", 8, 8, HAS_KEY | HAS_VALUE},
	[0x03] = {"replace", 8, 8, HAS_KEY | HAS_VALUE},
	[0x04] = {"delete", 0, 0, HAS_KEY},
	[0x05] = {"incr", 20, 20, HAS_KEY},
	[0x06] = {"decr", 20, 20, HAS_KEY},
	[0x07] = {"quit", 0, 0, 0},
	[0x08] = {"flush_all", -1, 4, 0},
	[0x09] = {"getq", 0, 0, HAS_KEY | RETRIEVES | QUIET},
	[0x0a] = {"noop", 0, 0, 0},
	[0x0b] = {"version", 0, 0, 0},
	[0x0c] = {"getk", 0, 0, HAS_KEY | RETRIEVES},
	[0x0d] = {"getkq", 0, 0, HAS_KEY | RETRIEVES | QUIET | RETURNS_KEY},
	[0x0e] = {"append", 0, 0, HAS_KEY | HAS_VALUE},
	[0x0f] = {"prepend", 0, 0, HAS_KEY | HAS_VALUE},
	[STAT] = {"stats", 0, 0, MAY_HAVE_KEY},
	[0x11] = {"setq", 8, 8, HAS_KEY | HAS_VALUE | QUIET},
	[0x12] = {"addq", 8, 8, HAS_KEY | HAS_VALUE | QUIET},
	[0x13] = {"replaceq", 8, 8, HAS_KEY | HAS_VALUE | QUIET},
	[0x14] = {"deleteq", 0, 0, HAS_KEY | QUIET},
	[0x15] = {"incrq", 20, 20, HAS_KEY | QUIET},
	[0x16] = {"decrq", 20, 20, HAS_KEY | QUIET},
	[0x17] = {"quitq", 0, 0, NEVER_ANSWERED},
	[0x18] = {"flush_allq", -1, 4, QUIET},
	[0x19] = {"appendq", 0, 0, HAS_KEY | HAS_VALUE | QUIET},
	[0x1a] = {"prependq", 0, 0, HAS_KEY | HAS_VALUE | QUIET},
	[0x1b] = {"verbosity", 4, 4, MAY_HAVE_KEY},
	[0x1c] = {"touch", 4, 4, HAS_KEY},
	[0x1d] = {"gat", 4, 4, HAS_KEY | RETRIEVES},
	[0x1e] = {"gatq", 4, 4, HAS_KEY | RETRIEVES | QUIET},
	[0x20] = {"sasl_list_mechs", 0, 0, 0},
	[0x21] = {"sasl_auth", 0, 0, HAS_KEY | HAS_VALUE},
	[0x22] = {"sasl_step", 0, 0, HAS_KEY | HAS_VALUE},
	[0x23] = {"gatk", 4, 4, HAS_KEY | RETRIEVES},
	[0x24] = {"gatkq", 4, 4, HAS_KEY | RETRIEVES | QUIET | RETURNS_KEY},
};

struct packet {
	uint8_t magic, opcode, extras, type;
	uint16_t key, status; /* of a request the status is a number of a partition, 0 */
	uint32_t body, opaque;
};

static const struct opcode *opcode_of(uint8_t number)
{
	bool is_known = number < sizeof(opcodes) / sizeof(opcodes[0]) && opcodes[number].name;
	return is_known ? &opcodes[number] : NULL;
}

static bool read_packet(struct fs_cursor *bytes, struct packet *out)
{
	return fs_left(bytes) >= HEADER && fs_u8(bytes, &out->magic) && fs_u8(bytes, &out->opcode) &&
	       fs_u16be(bytes, &out->key) && fs_u8(bytes, &out->extras) && fs_u8(bytes, &out->type) &&
	       fs_u16be(bytes, &out->status) && fs_u32be(bytes, &out->body) && fs_u32be(bytes, &out->opaque) &&
	       fs_skip(bytes, 8);
}

static bool fits(const struct packet *packet)
{
	return packet->type == 0 && packet->key <= FS_MEMCACHED_KEY_MAX && packet->body <= BODY_MAX &&
	       packet->body >= (uint32_t)packet->key + packet->extras;
}

/* What a request with this code has, no more and no less. */
static bool is_request(const struct packet *packet)
{
	const struct opcode *opcode = opcode_of(packet->opcode);
	bool has_value = packet->body > (uint32_t)packet->key + packet->extras;
	if (!opcode || !fits(packet) || packet->extras > opcode->most_extras ||
	    (opcode->extras >= 0 && packet->extras != opcode->extras) || (has_value && !(opcode->traits & HAS_VALUE)))
		return false;
	return packet->key ? opcode->traits & (HAS_KEY | MAY_HAVE_KEY) : !(opcode->traits & HAS_KEY);
}

/* Extras come with values (4 bytes of flags) and nothing else; errors have a text. */
static bool is_response(const struct packet *packet)
{
	return opcode_of(packet->opcode) && fits(packet) && (packet->extras == 0 || packet->extras == 4) &&
	       packet->status <= 0x86;
}

enum fs_detected fs_memcached_detect_packet(struct fs_cursor bytes, enum fs_detected too_short)
{
	struct packet packet;
	int opcode = fs_peek(&bytes, 1), type = fs_peek(&bytes, 5);
	if (!read_packet(&bytes, &packet))
		return (opcode >= 0 && !opcode_of((uint8_t)opcode)) || type > 0 ? FS_NOT_MINE : too_short;
	if (packet.magic == REQUEST_MAGIC)
		return is_request(&packet) && packet.status == 0 ? FS_MINE_REQUEST : FS_NOT_MINE;
	return is_response(&packet) && (packet.extras || packet.body <= SAID_MAX) ? FS_MINE_RESPONSE : FS_NOT_MINE;
}

/* By what a quiet request and its answer know each other: the opaque value, and the key where that is returned. */
static bool hash_of(struct fs_cursor rest, const struct packet *packet, const struct opcode *opcode, uint32_t *hash)
{
	struct fs_text key = {0};
	if (opcode->traits & RETURNS_KEY && (!fs_skip(&rest, packet->extras) || !fs_take(&rest, packet->key, &key)))
		return false;
	*hash = fs_memcached_hash(packet->opaque, key);
	return true;
}

static enum fs_framed frame_request(struct fs_frame_input *in, struct fs_cursor rest, const struct packet *packet,
				    struct fs_message *out)
{
	const struct opcode *opcode = opcode_of(packet->opcode);
	uint32_t hash = 0;
	if (!fits(packet))
		return FS_FRAME_INVALID;
	fs_message_begin(out, HEADER + (uint64_t)packet->body);
	out->method = (uint16_t)(FS_MEMCACHED_BINARY | packet->opcode);
	fs_label_literal(&out->content, opcode ? opcode->name : "*");
	if (!opcode)
		return FS_FRAME_MESSAGE;
	if (opcode->traits & QUIET) {
		if (!hash_of(rest, packet, opcode, &hash) && !in->bytes.truncated)
			return FS_FRAME_MORE;
		out->flags = FS_MESSAGE_QUIET;
		out->note = hash;
	}
	if (opcode->traits & NEVER_ANSWERED)
		out->flags = FS_MESSAGE_NO_ANSWER;
	out->method |= opcode->traits & (FS_MEMCACHED_QUIET | FS_MEMCACHED_RETRIEVES);
	return FS_FRAME_MESSAGE;
}

/* Statistics come in packets of their own, the last of which has no key. */
static enum fs_framed go_on(struct fs_frame_input *in, const struct packet *packet, struct fs_message *out)
{
	bool is_last = packet->key == 0;
	if (packet->opcode != STAT)
		return FS_FRAME_INVALID;
	fs_message_begin(out, HEADER + (uint64_t)packet->body);
	if (is_last)
		in->scratch[0] = FS_MEMCACHED_NO_BODY;
	return is_last ? FS_FRAME_END : FS_FRAME_PART;
}

static enum fs_framed frame_response(struct fs_frame_input *in, struct fs_cursor rest, const struct packet *packet,
				     struct fs_message *out)
{
	const struct opcode *opcode = opcode_of(packet->opcode);
	const struct fs_message *waiting = in->waiting;
	bool is_quiet = opcode && opcode->traits & QUIET;
	struct fs_text no_key = {0};
	uint32_t hash = 0;
	if (!fits(packet))
		return FS_FRAME_INVALID;
	if (in->scratch[0])
		return go_on(in, packet, out);
	/* A value of which the key was not captured may be any's. */
	if (is_quiet && packet->status == FS_MEMCACHED_OK && !hash_of(rest, packet, opcode, &hash)) {
		if (!in->bytes.truncated)
			return FS_FRAME_MORE;
	} else if (is_quiet && packet->status != FS_MEMCACHED_OK) {
		hash = fs_memcached_hash(packet->opaque, no_key);
	}
	bool is_same = waiting && (waiting->method & FS_MEMCACHED_OPCODE) == packet->opcode;
	bool belongs = is_same && (!hash || !waiting->note || hash == waiting->note ||
				   (opcode->traits & RETURNS_KEY && packet->status != FS_MEMCACHED_OK));
	if (fs_memcached_passes(in, belongs))
		return FS_FRAME_PASSED;
	if (waiting && (!(waiting->method & FS_MEMCACHED_BINARY) || (!is_same && !is_quiet)))
		return FS_FRAME_INVALID;
	fs_message_begin(out, HEADER + (uint64_t)packet->body);
	out->status = packet->status;
	if (is_quiet && !is_same)
		out->flags = FS_MESSAGE_SKIP; /* of a request that was not seen */
	if (packet->opcode == STAT && packet->key) {
		in->scratch[0] = FS_MEMCACHED_STATISTICS;
		out->body = FS_BODY_PARTS;
	}
	return FS_FRAME_MESSAGE;
}

enum fs_framed fs_memcached_packet(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor rest = in->bytes;
	struct packet packet;
	bool is_request_side = in->side == FS_SIDE_REQUEST;
	if (!read_packet(&rest, &packet))
		return in->bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
	if ((packet.magic == REQUEST_MAGIC) != is_request_side)
		return FS_FRAME_INVALID;
	return is_request_side ? frame_request(in, rest, &packet, out) : frame_response(in, rest, &packet, out);
}
