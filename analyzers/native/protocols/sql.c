/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQL, reduced to "OPERATION table *": the operation in upper case out of the table below, the first table as written
 * (less its quotes, with its schema), and a star for the rest.
 *
 * Only a name where a table must stand comes out: never a literal, a number, a column, a variable or a user. FROM is
 * believed at the level of a SELECT or DELETE only: in EXTRACT(YEAR FROM "x") and a IS DISTINCT FROM "x" it names no
 * table.
 *
 * In names, bytes that identifiers rarely have, and runs of four or more digits (dates, shards), become a star.
 */
#include "sql_tokens.h"
#include "sql_words.h"

#define NAME_MAX 64
#define PARTS_MAX 3 /* catalog.schema.table */
#define DIGITS_KEPT 3

/* --- names --------------------------------------------------------------------------------------------------------- */

static void write_star(struct fs_label *out)
{
	if (!out->length || out->text[out->length - 1] != '*')
		fs_label_byte(out, '*');
}

static void write_digits(struct fs_cursor *bytes, uint32_t run, struct fs_label *out)
{
	struct fs_text digits;
	if (run > DIGITS_KEPT) {
		fs_skip(bytes, run);
		write_star(out);
	} else if (fs_take(bytes, run, &digits)) {
		fs_label_text(out, digits);
	}
}

static void write_name(struct fs_text name, struct fs_label *out)
{
	struct fs_cursor bytes = fs_inside(name);
	while (fs_left(&bytes)) {
		int byte = fs_peek(&bytes, 0);
		uint32_t run = 0;
		if (name.length - fs_left(&bytes) >= NAME_MAX) {
			write_star(out);
			return;
		}
		while (fs_sql_is_digit(fs_peek(&bytes, run)))
			run++;
		if (run) {
			write_digits(&bytes, run, out);
			continue;
		}
		if ((fs_sql_is_letter(byte) && byte < 0x80) || byte == '$' || byte == '-' || byte == '#')
			fs_label_byte(out, (char)byte);
		else
			write_star(out);
		fs_skip(&bytes, 1);
	}
}

/* [name], behind the bracket: letters, digits and blanks only, so that it is no array of anything. */
static bool read_bracketed(struct fs_sql_lexer *lexer, struct fs_text *name)
{
	uint32_t length = 0;
	while (fs_sql_is_word_byte(fs_peek(&lexer->bytes, length)) || fs_peek(&lexer->bytes, length) == ' ')
		length++;
	return fs_sql_is_letter(fs_peek(&lexer->bytes, 0)) && fs_peek(&lexer->bytes, length) == ']' &&
	       fs_take(&lexer->bytes, length, name) && fs_skip(&lexer->bytes, 1);
}

static bool read_part(struct fs_sql_lexer *lexer, const struct fs_sql_token *token, struct fs_text *name)
{
	if (fs_sql_is_mark(token, '['))
		return read_bracketed(lexer, name);
	*name = token->text;
	return (token->kind == FS_SQL_WORD || token->kind == FS_SQL_QUOTED) && name->length;
}

static bool is_modifier(const struct fs_sql_token *token)
{
	if (token->kind != FS_SQL_WORD)
		return false;
	for (size_t i = 0; i < sizeof(modifiers) / sizeof(modifiers[0]); i++)
		if (fs_text_is_nocase(token->text, modifiers[i]))
			return true;
	return false;
}

/* Writes " schema.table" if a name comes next; else the lexer stays where it was. */
static bool write_table(struct fs_sql_lexer *lexer, bool after_modifiers, struct fs_label *out)
{
	struct fs_sql_lexer ahead = *lexer;
	struct fs_sql_token token = fs_sql_next(&ahead);
	struct fs_text name;
	while (after_modifiers ? is_modifier(&token)
			       : fs_sql_is_word(&token, "only") || fs_sql_is_word(&token, "lateral"))
		token = fs_sql_next(&ahead);
	if (!read_part(&ahead, &token, &name))
		return false;
	*lexer = ahead;
	fs_label_byte(out, ' ');
	write_name(name, out);
	for (int parts = 1; parts < PARTS_MAX; parts++) {
		struct fs_sql_token dot = fs_sql_next(&ahead);
		if (!fs_sql_is_mark(&dot, '.'))
			return true;
		token = fs_sql_next(&ahead);
		if (!read_part(&ahead, &token, &name))
			return true;
		*lexer = ahead;
		fs_label_byte(out, '.');
		write_name(name, out);
	}
	return true;
}

/* --- statements ---------------------------------------------------------------------------------------------------- */

static const struct verb *one_of(const struct fs_sql_token *token, size_t count)
{
	for (size_t i = 0; token->kind == FS_SQL_WORD && i < count; i++)
		if (fs_text_is_nocase(token->text, verbs[i].word))
			return &verbs[i];
	return NULL;
}

static const struct verb *verb_of(const struct fs_sql_token *token)
{
	return one_of(token, VERBS);
}

static void note_select(struct fs_sql_lexer *lexer, const struct fs_sql_token *token)
{
	if (lexer->depth < FS_SQL_LEVELS_MAX && (fs_sql_is_word(token, "select") || fs_sql_is_word(token, "delete")))
		lexer->selecting |= 1ull << lexer->depth;
}

static bool is_from(const struct fs_sql_lexer *lexer, const struct fs_sql_token *token, bool distinct)
{
	return fs_sql_is_word(token, "from") && !distinct && lexer->depth < FS_SQL_LEVELS_MAX &&
	       lexer->selecting >> lexer->depth & 1;
}

static void write_after_from(struct fs_sql_lexer *lexer, struct fs_label *out)
{
	bool distinct = false;
	for (struct fs_sql_token token = fs_sql_next(lexer); token.kind != FS_SQL_END; token = fs_sql_next(lexer)) {
		if (is_from(lexer, &token, distinct) && write_table(lexer, false, out))
			return;
		note_select(lexer, &token);
		distinct = fs_sql_is_word(&token, "distinct");
	}
}

static void write_after_word(struct fs_sql_lexer *lexer, const char *literal, struct fs_label *out)
{
	for (struct fs_sql_token token = fs_sql_next(lexer); token.kind != FS_SQL_END; token = fs_sql_next(lexer)) {
		if (!fs_sql_is_word(&token, literal))
			continue;
		write_table(lexer, true, out);
		return;
	}
}

/* Of CREATE UNIQUE INDEX i ON t, DROP TABLE IF EXISTS t, ALTER DEFINER=... VIEW v: the first word that is an object. */
static bool write_object(struct fs_sql_lexer *lexer, struct fs_label *out)
{
	for (struct fs_sql_token token = fs_sql_next(lexer); token.kind != FS_SQL_END; token = fs_sql_next(lexer)) {
		for (size_t i = 0; token.kind == FS_SQL_WORD && i < sizeof(objects) / sizeof(objects[0]); i++) {
			if (!fs_text_is_nocase(token.text, objects[i].word))
				continue;
			fs_label_byte(out, ' ');
			fs_label_literal(out, objects[i].shown);
			if (objects[i].naming == NAMED)
				write_table(lexer, true, out);
			else if (objects[i].naming == NAMED_AFTER_ON)
				write_after_word(lexer, "on", out);
			return objects[i].naming != NOTHING_FOLLOWS;
		}
	}
	return true;
}

/* After the verb of a query: the first QUERIES of the table. */
static void write_query(struct fs_sql_lexer *lexer, const struct verb *verb, struct fs_label *out)
{
	if (verb->shape == TARGET) {
		write_table(lexer, true, out);
		return;
	}
	lexer->selecting |= lexer->depth < FS_SQL_LEVELS_MAX ? 1ull << lexer->depth : 0;
	write_after_from(lexer, out);
}

static const struct verb *query_of(const struct fs_sql_token *token)
{
	return one_of(token, QUERIES);
}

/*
 * The operation is that of the query behind the list. What a SELECT reads there may have its name from the list, so the
 * first table of the list is shown.
 */
static void write_with(struct fs_sql_lexer *lexer, struct fs_label *out)
{
	struct fs_sql_lexer listed = *lexer;
	const struct verb *query = NULL;
	while (!query) {
		struct fs_sql_token token = fs_sql_next(lexer);
		if (token.kind == FS_SQL_END)
			break;
		query = lexer->depth == 0 ? query_of(&token) : NULL;
	}
	fs_label_literal(out, query ? query->shown : "WITH");
	if (query && query != verbs)
		write_query(lexer, query, out);
	else
		write_after_from(&listed, out);
}

/* EXPLAIN and DESCRIBE of a query or, in MySQL, of a table. */
static void write_explained(struct fs_sql_lexer *lexer, struct fs_label *out)
{
	struct fs_sql_lexer ahead = *lexer;
	for (struct fs_sql_token token = fs_sql_next(&ahead); token.kind != FS_SQL_END; token = fs_sql_next(&ahead)) {
		const struct verb *query = query_of(&token);
		if (!query)
			continue;
		write_query(&ahead, query, out);
		return;
	}
	write_table(lexer, true, out);
}

/* False if there is nothing that a star would stand for. */
static bool write_operand(struct fs_sql_lexer *lexer, const struct verb *verb, struct fs_label *out)
{
	switch (verb->shape) {
	case BARE: return false;
	case REST: return true;
	case FROM:
	case TARGET: write_query(lexer, verb, out); return true;
	case COPY:
		if (!write_table(lexer, false, out))
			write_after_from(lexer, out);
		return true;
	case OBJECT: return write_object(lexer, out);
	case WITH: write_with(lexer, out); return true;
	case EXPLAIN: write_explained(lexer, out); return true;
	case LOAD: write_after_word(lexer, "into", out); return true;
	}
	return true;
}

/* Behind what may stand in front of it: parentheses, and statements without a word. */
static struct fs_sql_token first_word(struct fs_sql_lexer *lexer)
{
	struct fs_sql_token token = fs_sql_next(lexer);
	while (fs_sql_is_mark(&token, '(') || (token.kind == FS_SQL_END && fs_accept(&lexer->bytes, ";"))) {
		lexer->depth = 0;
		token = fs_sql_next(lexer);
	}
	return token;
}

void fs_sql_reduce(struct fs_cursor statement, enum fs_sql_dialect dialect, struct fs_label *out)
{
	struct fs_sql_lexer lexer = {.bytes = statement, .dialect = dialect};
	struct fs_sql_token token = first_word(&lexer);
	const struct verb *verb = verb_of(&token);
	if (!verb) {
		fs_label_byte(out, '*');
		return;
	}
	if (verb->shape != WITH)
		fs_label_literal(out, verb->shown);
	if (write_operand(&lexer, verb, out))
		fs_label_literal(out, " *");
}

/* Does some verb begin with this word? */
static bool may_become_verb(struct fs_text text)
{
	for (size_t i = 0; i < VERBS; i++) {
		struct fs_cursor bytes = fs_inside(text);
		size_t same = 0;
		while (verbs[i].word[same] && fs_peek(&bytes, same) >= 0 &&
		       fs_lower((uint8_t)fs_peek(&bytes, same)) == (uint8_t)verbs[i].word[same])
			same++;
		if (same == text.length)
			return true;
	}
	return false;
}

enum fs_sql_start fs_sql_starts(struct fs_cursor bytes, enum fs_sql_dialect dialect)
{
	struct fs_sql_lexer lexer = {.bytes = bytes, .dialect = dialect};
	lexer.bytes.truncated = false;
	struct fs_sql_token token = first_word(&lexer);
	if (token.kind == FS_SQL_END)
		return bytes.truncated ? FS_SQL_NONE : FS_SQL_PARTLY;
	if (verb_of(&token))
		return FS_SQL_STATEMENT;
	return token.kind == FS_SQL_WORD && fs_left(&lexer.bytes) == 0 && !bytes.truncated &&
			       may_become_verb(token.text)
		       ? FS_SQL_PARTLY
		       : FS_SQL_NONE;
}
