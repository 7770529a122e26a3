/* SPDX-License-Identifier: Apache-2.0 */
/* SQL as words, names in quotes, literals, numbers and marks. Only sql.c needs it. */
#ifndef FIRESTEEL_SQL_TOKENS_H
#define FIRESTEEL_SQL_TOKENS_H

#include "sql.h"

#define FS_SQL_LEVELS_MAX 64

enum fs_sql_kind { FS_SQL_END, FS_SQL_WORD, FS_SQL_QUOTED, FS_SQL_LITERAL, FS_SQL_NUMBER, FS_SQL_MARK };

struct fs_sql_token {
	enum fs_sql_kind kind;
	int mark; /* of FS_SQL_MARK: the byte */
	struct fs_text text; /* of words and names in quotes, without the quotes */
};

struct fs_sql_lexer {
	struct fs_cursor bytes;
	enum fs_sql_dialect dialect;
	uint32_t tokens;
	uint32_t depth; /* of parentheses */
	uint64_t selecting; /* a bit for each level: has it a SELECT or DELETE? */
};

/* FS_SQL_END at the end, at a semicolon, and where it is not certain what comes next. */
struct fs_sql_token fs_sql_next(struct fs_sql_lexer *lexer);

static inline bool fs_sql_is_letter(int byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_' || byte >= 0x80;
}

static inline bool fs_sql_is_digit(int byte)
{
	return byte >= '0' && byte <= '9';
}

static inline bool fs_sql_is_word_byte(int byte)
{
	return fs_sql_is_letter(byte) || fs_sql_is_digit(byte) || byte == '$';
}

/* `literal` is lower case. */
static inline bool fs_sql_is_word(const struct fs_sql_token *token, const char *literal)
{
	return token->kind == FS_SQL_WORD && fs_text_is_nocase(token->text, literal);
}

static inline bool fs_sql_is_mark(const struct fs_sql_token *token, int mark)
{
	return token->kind == FS_SQL_MARK && token->mark == mark;
}

#endif
