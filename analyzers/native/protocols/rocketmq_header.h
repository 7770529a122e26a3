/* SPDX-License-Identifier: Apache-2.0 */
/* The header of a message of RocketMQ, in either way of writing it: see rocketmq_header.c. */
#ifndef FIRESTEEL_ROCKETMQ_HEADER_H
#define FIRESTEEL_ROCKETMQ_HEADER_H

#include "../cursor.h"

enum fs_rocketmq_code {
	FS_ROCKETMQ_CHECK_TRANSACTION_STATE = 39,
	FS_ROCKETMQ_NOTIFY_CONSUMER_IDS_CHANGED = 40,
	FS_ROCKETMQ_RESET_CONSUMER_CLIENT_OFFSET = 220,
	FS_ROCKETMQ_GET_CONSUMER_STATUS_FROM_CLIENT = 221,
	FS_ROCKETMQ_GET_CONSUMER_RUNNING_INFO = 307,
	FS_ROCKETMQ_CONSUME_MESSAGE_DIRECTLY = 309,
	FS_ROCKETMQ_SEND_MESSAGE_V2 = 310,
	FS_ROCKETMQ_SEND_BATCH_MESSAGE = 320,
	FS_ROCKETMQ_SEND_REPLY_MESSAGE_V2 = 325,
	FS_ROCKETMQ_PUSH_REPLY_MESSAGE_TO_CLIENT = 326
};

enum fs_rocketmq_kind { FS_ROCKETMQ_JSON = 0, FS_ROCKETMQ_BINARY = 1 };

struct fs_rocketmq_header {
	uint32_t code; /* of a request what is asked, of a response what came of it */
	uint32_t opaque; /* the number that a response repeats */
	bool is_response, is_oneway;
	bool has_code, has_opaque, has_flag;
	bool has_topic, has_short_topic;
	struct fs_text topic; /* the field "topic"; empty where it is not plain text */
	struct fs_text short_topic; /* the field "b", which is the topic's short name where messages are sent */
};

enum fs_rocketmq_reading {
	FS_ROCKETMQ_BROKEN, /* this is no header */
	FS_ROCKETMQ_PARTLY, /* it goes on behind what is here */
	FS_ROCKETMQ_WHOLE
};

/* Reads what is here of a header of `length` bytes. */
enum fs_rocketmq_reading fs_rocketmq_header(struct fs_cursor bytes, enum fs_rocketmq_kind kind, uint32_t length,
					    struct fs_rocketmq_header *out);

/* The name of a request code, NULL if it is not known. */
const char *fs_rocketmq_request(uint32_t code);

#endif
