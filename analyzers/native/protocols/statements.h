/* SPDX-License-Identifier: Apache-2.0 */
/* What the prepared statements of a connection are about: bounded, and the longest unused goes first. */
#ifndef FIRESTEEL_STATEMENTS_H
#define FIRESTEEL_STATEMENTS_H

#include "../cursor.h"

#define FS_STATEMENTS 120
#define FS_STATEMENT_TEXT 52

/* Zero at first. */
struct fs_statements {
	uint64_t key[FS_STATEMENTS]; /* 0: free */
	uint32_t used[FS_STATEMENTS]; /* when, by `clock` */
	uint32_t clock;
	uint8_t length[FS_STATEMENTS];
	char text[FS_STATEMENTS][FS_STATEMENT_TEXT];
};

/* Keeps what `label` says from its byte `from` on, under a key that is not 0; a text that does not fit ends in a star. */
void fs_statement_keep(struct fs_statements *statements, uint64_t key, const struct fs_label *label, uint32_t from);

/* Appends what was kept. False, and nothing appended, if there is none. */
bool fs_statement_recall(struct fs_statements *statements, uint64_t key, struct fs_label *out);

void fs_statement_forget(struct fs_statements *statements, uint64_t key);

/* A key for a name, of one of several spaces of names; never 0. */
uint64_t fs_statement_key(struct fs_text name, uint8_t space);

#endif
