/* SPDX-License-Identifier: Apache-2.0 */
/* A statement as a label: operation and table, and nothing of what it is about. */
#ifndef FIRESTEEL_SQL_H
#define FIRESTEEL_SQL_H

#include "../cursor.h"

enum fs_sql_dialect { FS_SQL_MYSQL, FS_SQL_POSTGRESQL };

enum fs_sql_start {
	FS_SQL_NONE, /* nothing that starts a statement */
	FS_SQL_PARTLY, /* it may become one with more bytes */
	FS_SQL_STATEMENT
};

/*
 * Appends "SELECT orders *" to `out`. Of several statements the first counts. The bytes may be cut off, which
 * `truncated` says: then a name that touches the end is not taken for a table's.
 */
void fs_sql_reduce(struct fs_cursor statement, enum fs_sql_dialect dialect, struct fs_label *out);

/* Do these bytes start with a word that starts a statement (after blanks, comments and parentheses)? */
enum fs_sql_start fs_sql_starts(struct fs_cursor bytes, enum fs_sql_dialect dialect);

#endif
