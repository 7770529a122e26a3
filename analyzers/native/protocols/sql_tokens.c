/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lexical rules of SQL: MySQL Reference Manual, chapter 9 (Language Structure); PostgreSQL 15 documentation, chapter
 * 4.1 (Lexical Structure).
 *
 * Where the end of a literal depends on the server's settings (a backslash before a quote: NO_BACKSLASH_ESCAPES,
 * standard_conforming_strings) reading ends, because what follows may be the literal still. MySQL's double quotes are
 * those of a literal, as ANSI_QUOTES is rare and cannot be seen.
 */
#include "sql_tokens.h"

#define TOKENS_MAX 4096

static void skip_all(struct fs_cursor *bytes)
{
	fs_skip(bytes, fs_left(bytes));
}

static void skip_line(struct fs_cursor *bytes)
{
	struct fs_text line;
	if (!fs_take_until(bytes, '\n', (uint32_t)fs_left(bytes), &line))
		skip_all(bytes);
}

/* Behind the opening mark. PostgreSQL's comments nest. */
static void skip_block_comment(struct fs_sql_lexer *lexer)
{
	struct fs_cursor *bytes = &lexer->bytes;
	uint32_t open = 1;
	while (open && fs_left(bytes)) {
		if (fs_accept(bytes, "*/"))
			open--;
		else if (lexer->dialect == FS_SQL_POSTGRESQL && fs_accept(bytes, "/*"))
			open++;
		else
			fs_skip(bytes, 1);
	}
}

/* What stands in such a comment is executed, from the version on that it may name. */
static bool skip_live_comment(struct fs_sql_lexer *lexer)
{
	if (lexer->dialect != FS_SQL_MYSQL || (!fs_accept(&lexer->bytes, "/*!") && !fs_accept(&lexer->bytes, "/*M!")))
		return false;
	while (fs_sql_is_digit(fs_peek(&lexer->bytes, 0)))
		fs_skip(&lexer->bytes, 1);
	return true;
}

/* In MySQL "--" needs a blank: 5--1 is 6 there. */
static bool is_line_comment(const struct fs_sql_lexer *lexer)
{
	const struct fs_cursor *bytes = &lexer->bytes;
	if (lexer->dialect == FS_SQL_MYSQL && fs_peek(bytes, 0) == '#')
		return true;
	return fs_peek(bytes, 0) == '-' && fs_peek(bytes, 1) == '-' &&
	       (lexer->dialect != FS_SQL_MYSQL || fs_peek(bytes, 2) <= ' ');
}

static void skip_blanks(struct fs_sql_lexer *lexer)
{
	struct fs_cursor *bytes = &lexer->bytes;
	for (;;) {
		int byte = fs_peek(bytes, 0);
		if (byte < 0)
			return;
		if (byte <= ' ')
			fs_skip(bytes, 1);
		else if (byte == '/' && skip_live_comment(lexer))
			continue;
		else if (byte == '/' && fs_accept(bytes, "/*"))
			skip_block_comment(lexer);
		else if (byte == '*' && lexer->dialect == FS_SQL_MYSQL && fs_accept(bytes, "*/"))
			continue;
		else if ((byte == '-' || byte == '#') && is_line_comment(lexer))
			skip_line(bytes);
		else
			return;
	}
}

static bool ends_in_backslash(struct fs_text text)
{
	struct fs_cursor bytes = fs_inside(text);
	return text.length && fs_peek(&bytes, text.length - 1) == '\\';
}

/* Behind the opening quote; a doubled quote is one of the text. False if the end is not here, or not certain. */
static bool skip_quoted(struct fs_sql_lexer *lexer, uint8_t quote, bool escapes)
{
	struct fs_text text;
	for (;;) {
		if (!fs_take_until(&lexer->bytes, quote, (uint32_t)fs_left(&lexer->bytes), &text))
			return false;
		if (escapes && ends_in_backslash(text))
			return false;
		if (fs_left(&lexer->bytes) == 0)
			return !lexer->bytes.truncated;
		if (fs_peek(&lexer->bytes, 0) != quote)
			return true;
		fs_skip(&lexer->bytes, 1);
	}
}

static struct fs_sql_token end_here(struct fs_sql_lexer *lexer)
{
	skip_all(&lexer->bytes);
	return (struct fs_sql_token){.kind = FS_SQL_END};
}

static struct fs_sql_token quoted(struct fs_sql_lexer *lexer, uint8_t quote)
{
	bool literal = quote == '\'' || (quote == '"' && lexer->dialect == FS_SQL_MYSQL);
	struct fs_sql_token token = {.kind = literal ? FS_SQL_LITERAL : FS_SQL_QUOTED};
	fs_skip(&lexer->bytes, 1);
	struct fs_cursor inside = lexer->bytes;
	if (!skip_quoted(lexer, quote, literal))
		return end_here(lexer);
	fs_take(&inside, (uint32_t)(fs_left(&inside) - fs_left(&lexer->bytes) - 1), &token.text);
	return token;
}

/* $$text$$ and $tag$text$tag$; else $1 and what is no quote at all. PostgreSQL 4.1.2.4. */
static struct fs_sql_token dollar(struct fs_sql_lexer *lexer)
{
	struct fs_cursor *bytes = &lexer->bytes, opening = *bytes;
	struct fs_text tag;
	uint32_t length = 1;
	while (fs_sql_is_word_byte(fs_peek(bytes, length)) && fs_peek(bytes, length) != '$')
		length++;
	if (fs_peek(bytes, length) != '$' || fs_sql_is_digit(fs_peek(bytes, 1))) {
		fs_skip(bytes, length);
		return (struct fs_sql_token){.kind = FS_SQL_NUMBER};
	}
	fs_take(&opening, length + 1, &tag);
	fs_skip(bytes, length + 1);
	while (fs_left(bytes)) {
		struct fs_cursor mark = fs_inside(tag);
		uint32_t same = 0;
		while (same <= length && fs_peek(bytes, same) == fs_peek(&mark, same))
			same++;
		if (same > length) {
			fs_skip(bytes, same);
			return (struct fs_sql_token){.kind = FS_SQL_LITERAL};
		}
		fs_skip(bytes, same ? same : 1);
	}
	return (struct fs_sql_token){.kind = FS_SQL_END};
}

static struct fs_sql_token word(struct fs_sql_lexer *lexer, enum fs_sql_kind kind)
{
	struct fs_sql_token token = {.kind = kind};
	uint32_t length = 1;
	while (fs_sql_is_word_byte(fs_peek(&lexer->bytes, length)) ||
	       (kind == FS_SQL_NUMBER && fs_peek(&lexer->bytes, length) == '.'))
		length++;
	fs_take(&lexer->bytes, length, &token.text);
	return fs_left(&lexer->bytes) == 0 && lexer->bytes.truncated ? end_here(lexer) : token;
}

static void enter(struct fs_sql_lexer *lexer)
{
	lexer->depth++;
	if (lexer->depth < FS_SQL_LEVELS_MAX)
		lexer->selecting &= ~(1ull << lexer->depth);
}

struct fs_sql_token fs_sql_next(struct fs_sql_lexer *lexer)
{
	struct fs_sql_token token = {.kind = FS_SQL_MARK};
	skip_blanks(lexer);
	int byte = fs_peek(&lexer->bytes, 0);
	if (byte == ';' && lexer->depth == 0)
		return (struct fs_sql_token){.kind = FS_SQL_END};
	if (byte < 0 || ++lexer->tokens > TOKENS_MAX)
		return end_here(lexer);
	if (byte == '\'' || byte == '"' || (byte == '`' && lexer->dialect == FS_SQL_MYSQL))
		return quoted(lexer, (uint8_t)byte);
	if (byte == '$' && lexer->dialect == FS_SQL_POSTGRESQL)
		return dollar(lexer);
	if (fs_sql_is_word_byte(byte))
		return word(lexer, fs_sql_is_digit(byte) ? FS_SQL_NUMBER : FS_SQL_WORD);
	if (byte == '(')
		enter(lexer);
	else if (byte == ')' && lexer->depth)
		lexer->depth--;
	token.mark = byte;
	fs_skip(&lexer->bytes, 1);
	return token;
}
