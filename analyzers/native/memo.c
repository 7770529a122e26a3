/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads that were parsed before. Programs repeat themselves: health checks, keep-alive clients, answers without a body
 * that changes. A parser's answer depends on nothing but its input, so the same bytes, asked in the same way, need not be
 * parsed again: comparing them costs a tenth of it. Left out are parsers that keep something in their scratch or have
 * state, and those that pair by id, whose framing may look at the whole request.
 */
#include "state.h"

#define FS_MEMO_BYTES_MIN 16

struct fs_memo {
	uint32_t hash; /* 0: empty */
	uint16_t length;
	uint16_t asked; /* method and note of the waiting request: framing of a response looks at them */
	uint32_t note;
	uint8_t protocol, side, truncated, waits;
	struct fs_parser_options options;
	struct fs_message message;
	uint8_t bytes[FS_MEMO_BYTES];
};

size_t fs_memo_size(void)
{
	return sizeof(struct fs_memo);
}

static bool is_zero(const uint8_t scratch[FS_SCRATCH])
{
	uint64_t words[FS_SCRATCH / 8];
	memcpy(words, scratch, sizeof(words));
	return (words[0] | words[1] | words[2] | words[3]) == 0;
}

static struct fs_memo *place_of(struct fs_engine *e, uint32_t hash)
{
	return &e->memos[hash % FS_MEMOS];
}

/* The hash of the question, 0 if its answer is not to be remembered. */
uint32_t fs_memo_hash(const struct fs_frame_input *in, const struct fs_protocol *protocol)
{
	size_t length = fs_left(&in->bytes);
	if (protocol->pairs_by_id || protocol->state_bytes || protocol->shared_bytes || in->datagram ||
	    length < FS_MEMO_BYTES_MIN || length > FS_MEMO_BYTES || !is_zero(in->scratch))
		return 0;
	return fs_hash_end(
		fs_mix(fs_mix_bytes(FS_HASH_SEED, in->bytes.at, length), (uint64_t)protocol->id << 8 | in->side));
}

static bool is_same(const struct fs_memo *memo, const struct fs_frame_input *in, uint8_t protocol)
{
	const struct fs_message *waiting = in->waiting;
	return memo->length == fs_left(&in->bytes) && memo->protocol == protocol && memo->side == in->side &&
	       memo->truncated == in->bytes.truncated && memo->waits == (waiting != NULL) &&
	       memo->asked == (waiting ? waiting->method : 0) && memo->note == (waiting ? waiting->note : 0) &&
	       memcmp(&memo->options, in->options, sizeof(memo->options)) == 0 &&
	       memcmp(memo->bytes, in->bytes.at, memo->length) == 0;
}

/* True: e->message is what the parser would say. */
bool fs_memo_recall(struct fs_engine *e, const struct fs_frame_input *in, uint8_t protocol, uint32_t hash)
{
	const struct fs_memo *memo = place_of(e, hash);

	if (hash == 0 || memo->hash != hash || !is_same(memo, in, protocol))
		return false;
	memcpy(&e->message, &memo->message,
	       offsetof(struct fs_message, content.text) + memo->message.content.length + 1);
	return true;
}

/* After a parser said FS_FRAME_MESSAGE. `in` is as it was asked. */
void fs_memo_keep(struct fs_engine *e, const struct fs_frame_input *in, uint8_t protocol, uint32_t hash)
{
	struct fs_memo *memo = place_of(e, hash);

	if (hash == 0 || e->message.body == FS_BODY_PARTS || !is_zero(in->scratch))
		return;
	memo->hash = hash;
	memo->length = (uint16_t)fs_left(&in->bytes);
	memo->asked = in->waiting ? in->waiting->method : 0;
	memo->note = in->waiting ? in->waiting->note : 0;
	memo->protocol = protocol;
	memo->side = in->side;
	memo->truncated = in->bytes.truncated;
	memo->waits = in->waiting != NULL;
	memo->options = *in->options;
	memcpy(&memo->message, &e->message, sizeof(memo->message));
	memcpy(memo->bytes, in->bytes.at, memo->length);
}
