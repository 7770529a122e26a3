/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads that were parsed before. Programs repeat themselves: health checks, keep-alive clients, answers without a body
 * that changes. A parser's answer depends on nothing but its input, so the same bytes, asked in the same way, need not be
 * parsed again: comparing them costs a tenth of it. A parser that keeps something in its scratch is not remembered.
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

static void describe(struct fs_memo *memo, const struct fs_frame_input *in, uint8_t protocol)
{
	memo->length = (uint16_t)fs_left(&in->bytes);
	memo->asked = in->waiting ? in->waiting->method : 0;
	memo->note = in->waiting ? in->waiting->note : 0;
	memo->protocol = protocol;
	memo->side = in->side;
	memo->truncated = in->bytes.truncated;
	memo->waits = in->waiting != NULL;
	memo->options = *in->options;
}

static struct fs_memo *place_of(struct fs_engine *e, uint32_t hash)
{
	return &e->memos[hash % FS_MEMOS];
}

/* The hash of the question, 0 if its answer is not to be remembered. */
uint32_t fs_memo_hash(const struct fs_frame_input *in, uint8_t protocol)
{
	size_t length = fs_left(&in->bytes);
	if (in->datagram || length < FS_MEMO_BYTES_MIN || length > FS_MEMO_BYTES || !is_zero(in->scratch))
		return 0;
	return fs_hash_end(
		fs_mix(fs_mix_bytes(FS_HASH_SEED, in->bytes.at, length), (uint64_t)protocol << 8 | in->side));
}

/* True: e->message is what the parser would say. */
bool fs_memo_recall(struct fs_engine *e, const struct fs_frame_input *in, uint8_t protocol, uint32_t hash)
{
	struct fs_memo asked, *memo = place_of(e, hash);

	if (hash == 0 || memo->hash != hash)
		return false;
	describe(&asked, in, protocol);
	if (memo->length != asked.length || memo->asked != asked.asked || memo->note != asked.note ||
	    memo->protocol != asked.protocol || memo->side != asked.side || memo->truncated != asked.truncated ||
	    memo->waits != asked.waits || memcmp(&memo->options, &asked.options, sizeof(asked.options)) != 0 ||
	    memcmp(memo->bytes, in->bytes.at, asked.length) != 0)
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
	describe(memo, in, protocol);
	memcpy(&memo->message, &e->message, sizeof(memo->message));
	memcpy(memo->bytes, in->bytes.at, memo->length);
}
