/* SPDX-License-Identifier: Apache-2.0 */
/* Names of Redis commands, and which of them are more than a question and its answer. */
#ifndef FIRESTEEL_REDIS_COMMANDS_H
#define FIRESTEEL_REDIS_COMMANDS_H

#include "../protocol.h"

#define FS_REDIS_NAME_MAX 32

enum fs_redis_kind {
	FS_REDIS_UNKNOWN = 0,
	FS_REDIS_PLAIN,
	FS_REDIS_ALONE, /* without arguments */
	FS_REDIS_WITH_SUBCOMMAND, /* its second word says what it does */
	FS_REDIS_CLIENT, /* such a one, of which CLIENT REPLY silences the server */
	FS_REDIS_SUBSCRIBE, /* these six are answered once for each channel */
	FS_REDIS_PSUBSCRIBE,
	FS_REDIS_SSUBSCRIBE,
	FS_REDIS_UNSUBSCRIBE,
	FS_REDIS_PUNSUBSCRIBE,
	FS_REDIS_SUNSUBSCRIBE,
	FS_REDIS_WHILE_SUBSCRIBED, /* its answer comes among messages of channels */
	FS_REDIS_MONITOR,
	FS_REDIS_REPLICATE, /* from its answer on the server sends what its replica has to do */
	FS_REDIS_REPLCONF
};

/* Of a word in any case; FS_REDIS_UNKNOWN if it is no command of the server itself (modules bring their own). */
enum fs_redis_kind fs_redis_command(struct fs_text word);

/* May it be a command or subcommand? Letters first, then what modules have in theirs: FT.SEARCH, EVAL_RO. */
bool fs_redis_is_name(struct fs_text word);

/* The `detect` of the protocol. */
enum fs_detected fs_redis_detect(struct fs_cursor bytes, bool datagram);

#endif
