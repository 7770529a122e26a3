/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of memcached's text protocol, for both directions. */
#ifndef FIRESTEEL_MEMCACHED_TEXT_H
#define FIRESTEEL_MEMCACHED_TEXT_H

#include "memcached.h"

#define FS_MEMCACHED_LINE_MAX \
	2048 /* memcached waits no longer for the end of a command; of those with many keys it does */
#define FS_MEMCACHED_WORDS 7 /* as many as a "cas" has, without its last */

struct fs_memcached_line {
	struct fs_text text; /* without its end */
	struct fs_text word[FS_MEMCACHED_WORDS];
	struct fs_text last;
	uint32_t words; /* all of them */
};

/* A line up to its end, which may lack the carriage return. False if that is not here. */
bool fs_memcached_take_line(struct fs_cursor *bytes, struct fs_memcached_line *out);

/* The next word of a line; false at its end. */
bool fs_memcached_next_word(struct fs_cursor *bytes, struct fs_text *word);

/* Its words, of what is here of it. */
void fs_memcached_split(struct fs_text text, struct fs_memcached_line *out);

/*
 * By what a quiet meta command and its answer know each other, from the word `first` on: the opaque value (O), else the
 * key (k; a request only asks for it, so that is handed in). 0 if by neither.
 */
uint32_t fs_memcached_tag(struct fs_text line, uint32_t first, struct fs_text key);

#endif
