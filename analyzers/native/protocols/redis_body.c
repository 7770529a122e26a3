/* SPDX-License-Identifier: Apache-2.0 */
#include "redis_body.h"

uint32_t fs_redis_load(const uint8_t *scratch, int at, int bytes)
{
	uint32_t value = 0;
	for (int i = 0; i < bytes; i++)
		value |= (uint32_t)scratch[at + i] << 8 * i;
	return value;
}

void fs_redis_store(uint8_t *scratch, int at, int bytes, uint32_t value)
{
	for (int i = 0; i < bytes; i++)
		scratch[at + i] = (uint8_t)(value >> 8 * i);
}

static struct fs_resp_walk load_walk(const uint8_t *scratch)
{
	struct fs_resp_walk walk = {.due = fs_redis_load(scratch, 4, 4),
				    .streams = scratch[1],
				    .in_string = scratch[0] & FS_REDIS_IN_STRING};
	for (int i = 0; i < FS_RESP_STREAMS; i++)
		walk.outer[i] = fs_redis_load(scratch, 8 + 4 * i, 4);
	return walk;
}

void fs_redis_store_walk(uint8_t *scratch, const struct fs_resp_walk *walk, bool is_over)
{
	scratch[0] = (uint8_t)((scratch[0] & ~(FS_REDIS_IN_BODY | FS_REDIS_IN_STRING)) |
			       (is_over ? 0 : FS_REDIS_IN_BODY) | (walk->in_string ? FS_REDIS_IN_STRING : 0));
	scratch[1] = walk->streams;
	fs_redis_store(scratch, 4, 4, walk->due);
	for (int i = 0; i < FS_RESP_STREAMS; i++)
		fs_redis_store(scratch, 8 + 4 * i, 4, is_over ? 0 : walk->outer[i]);
}

/* The values that belong to the message which begins here, from `bytes` on. */
enum fs_framed fs_redis_begin_body(struct fs_frame_input *in, struct fs_cursor bytes, struct fs_resp_walk *walk,
				   struct fs_message *out)
{
	enum fs_resp answer = fs_resp_walk(bytes, walk, &out->length);
	if (answer == FS_RESP_INVALID)
		return FS_FRAME_INVALID;
	if (answer == FS_RESP_MORE) {
		out->body = FS_BODY_PARTS;
		fs_redis_store_walk(in->scratch, walk, false);
	}
	return FS_FRAME_MESSAGE;
}

enum fs_framed fs_redis_go_on(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_resp_walk walk = load_walk(in->scratch);
	uint64_t passed = 0;
	enum fs_resp answer = fs_resp_walk(in->bytes, &walk, &passed);
	if (answer == FS_RESP_INVALID)
		return FS_FRAME_INVALID;
	if (answer == FS_RESP_MORE && passed == 0)
		return FS_FRAME_MORE;
	fs_message_begin(out, passed);
	fs_redis_store_walk(in->scratch, &walk, answer == FS_RESP_DONE);
	return answer == FS_RESP_DONE ? FS_FRAME_END : FS_FRAME_PART;
}

/* The capture ended where more had to be known. What follows is taken for the rest of it, until the other side speaks. */
enum fs_framed fs_redis_cut_off(const struct fs_frame_input *in, struct fs_message *out)
{
	out->length = fs_left(&in->bytes);
	out->flags |= FS_MESSAGE_CUT;
	out->body = FS_BODY_UNTIL_FLIP;
	return FS_FRAME_MESSAGE;
}
