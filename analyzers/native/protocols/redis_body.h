/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Redis message that is longer than what is here, and what a side of a connection remembers:
 *
 * scratch:
 *    0      enum remembered
 *    1      open streamed aggregates
 *    2-3    confirmations of a subscription that are still to come
 *    4-19   struct fs_resp_walk: what is due, and around three streamed aggregates
 */
#ifndef FIRESTEEL_REDIS_BODY_H
#define FIRESTEEL_REDIS_BODY_H

#include "../protocol.h"
#include "resp.h"

#define FS_REDIS_ARGUMENTS_MAX (1 << 30)
#define FS_REDIS_AT_CONFIRMATIONS 2

enum fs_redis_remembered {
	FS_REDIS_IN_BODY = 1 << 0, /* the last message is not over */
	FS_REDIS_IN_STRING = 1 << 1, /* nor a streamed string in it */
	FS_REDIS_REPLY_OFF = 1 << 2, /* of the requesting side: nothing is answered */
	FS_REDIS_REPLY_SKIP = 1 << 3, /* the next one is not */
	FS_REDIS_MONITORS = 1 << 4 /* of the answering side */
};

/* A number of `bytes` bytes in the scratch. */
uint32_t fs_redis_load(const uint8_t *scratch, int at, int bytes);
void fs_redis_store(uint8_t *scratch, int at, int bytes, uint32_t value);
void fs_redis_store_walk(uint8_t *scratch, const struct fs_resp_walk *walk, bool is_over);

/* The values that belong to the message which begins here, from `bytes` on. Adds their length to out->length. */
enum fs_framed fs_redis_begin_body(struct fs_frame_input *in, struct fs_cursor bytes, struct fs_resp_walk *walk,
				   struct fs_message *out);

/* After it answered FS_BODY_PARTS: more of them. */
enum fs_framed fs_redis_go_on(struct fs_frame_input *in, struct fs_message *out);

/* The capture ended where more had to be known. What follows is taken for the rest of it, until the other side speaks. */
enum fs_framed fs_redis_cut_off(const struct fs_frame_input *in, struct fs_message *out);

/* The `frame` of what the server sends. */
enum fs_framed fs_redis_reply(struct fs_frame_input *in, struct fs_message *out);

#endif
