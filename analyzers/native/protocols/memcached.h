/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memcached, both of its protocols: https://github.com/memcached/memcached/blob/master/doc/protocol.txt and
 * https://github.com/memcached/memcached/wiki/BinaryProtocolRevamped. What they have in common:
 *
 * request content   the command as it is written ("get", "getkq", "mg"); `*` for one that is not known. Never a key.
 * response content  OK, NOT_FOUND, EXISTS, NOT_STORED; of an error its word or the name of its status; nothing where
 *                   nothing was said.
 * status            that of the binary protocol; the words of the text protocol have the same numbers.
 *
 * method: of a request its command, and what of its answer is not as usual (enum fs_memcached_method).
 * note:   of a quiet request what its answer is known by (a hash), 0 if by nothing; of one for keys how many, 0 if unknown.
 */
#ifndef FIRESTEEL_MEMCACHED_H
#define FIRESTEEL_MEMCACHED_H

#include "../protocol.h"

#define FS_MEMCACHED_KEY_MAX 250

enum fs_memcached_method {
	FS_MEMCACHED_OPCODE = 0xff, /* of the binary protocol */
	FS_MEMCACHED_BINARY = 1 << 8,
	FS_MEMCACHED_QUIET = 1 << 9, /* answered only if there is something to say */
	FS_MEMCACHED_RETRIEVES = 1 << 10, /* silence, or nothing but an end, means that there is no such key */
	FS_MEMCACHED_META = 1 << 11,
	FS_MEMCACHED_WATCH = 1 << 12, /* its answer goes on for good */
	FS_MEMCACHED_COUNTS = 1 << 13 /* a meta command that may answer with a number */
};

enum fs_memcached_status {
	FS_MEMCACHED_OK = 0x00,
	FS_MEMCACHED_NOT_FOUND = 0x01,
	FS_MEMCACHED_EXISTS = 0x02,
	FS_MEMCACHED_TOO_LARGE = 0x03,
	FS_MEMCACHED_INVALID = 0x04,
	FS_MEMCACHED_NOT_STORED = 0x05,
	FS_MEMCACHED_AUTH_CONTINUE = 0x21,
	FS_MEMCACHED_UNKNOWN_COMMAND = 0x81,
	FS_MEMCACHED_INTERNAL_ERROR = 0x84
};

/* What a side is in the middle of: its scratch[0]. Of a list scratch[1] to [4] is how many values of it there were. */
enum fs_memcached_body {
	FS_MEMCACHED_NO_BODY = 0,
	FS_MEMCACHED_LINE, /* of keys, too long to wait for its end */
	FS_MEMCACHED_LIST, /* values or lines up to END */
	FS_MEMCACHED_STATISTICS /* packets up to one without a key */
};

enum fs_detected fs_memcached_detect_text(struct fs_cursor bytes, enum fs_detected too_short);
enum fs_detected fs_memcached_detect_packet(struct fs_cursor bytes, enum fs_detected too_short);
enum fs_framed fs_memcached_command(struct fs_frame_input *in, struct fs_message *out);
enum fs_framed fs_memcached_reply(struct fs_frame_input *in, struct fs_message *out);
enum fs_framed fs_memcached_packet(struct fs_frame_input *in, struct fs_message *out);

/* What an answer and the request that it belongs to are known by; never 0. */
uint32_t fs_memcached_hash(uint32_t seed, struct fs_text text);

/* True if the response that starts here is not that of the oldest request, which then is answered by silence. */
bool fs_memcached_passes(const struct fs_frame_input *in, bool belongs);

#endif
