/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQL reduced to a label. The input is options and a statement; besides what the sanitizers see, labels must be bounded
 * and printable, and the same for every content of the literals: what stands between single quotes and digits that
 * start a number are exchanged for others, as a reader of its own finds them.
 */
#include <stdlib.h>
#include <string.h>

#include "../../analyzers/native/protocols/sql.h"

enum options { POSTGRESQL = 1, TRUNCATED = 2 };

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void reduce(const uint8_t *bytes, size_t size, uint8_t options, struct fs_label *out)
{
	uint8_t *copy = malloc(size ? size : 1);
	memcpy(copy, bytes, size);
	out->length = 0;
	out->text[0] = 0;
	struct fs_cursor statement = fs_cursor_over(copy, size, options & TRUNCATED);
	fs_sql_reduce(statement, options & POSTGRESQL ? FS_SQL_POSTGRESQL : FS_SQL_MYSQL, out);
	must(fs_sql_starts(statement, FS_SQL_MYSQL) <= FS_SQL_STATEMENT);
	must(out->length && out->length < sizeof(out->text) && out->text[out->length] == 0);
	for (uint32_t i = 0; i < out->length; i++)
		must(out->text[i] >= ' ' && out->text[i] < 0x7f);
	free(copy);
}

static bool is_word(uint8_t byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
	       byte == '_' || byte == '$' || byte >= 0x80;
}

static uint8_t other(uint8_t byte)
{
	if (byte >= 'a' && byte <= 'z')
		return byte == 'z' ? 'a' : (uint8_t)(byte + 1);
	if (byte >= 'A' && byte <= 'Z')
		return byte == 'Z' ? 'A' : (uint8_t)(byte + 1);
	if (byte >= '0' && byte <= '9')
		return byte == '9' ? '0' : (uint8_t)(byte + 1);
	return byte;
}

/* True if nothing but blanks, words, marks and plain literals is in it: what else there is has rules of its own. */
static bool exchange(uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (strchr("\"`$#/\\*[-", bytes[i]) && bytes[i])
			return false;
		if (bytes[i] == '\'') {
			for (i++; i < size && bytes[i] != '\''; i++) {
				if (bytes[i] == '\\')
					return false;
				bytes[i] = other(bytes[i]);
			}
			if (i + 1 < size && bytes[i + 1] == '\'')
				return false;
		} else if (is_word(bytes[i])) {
			bool number = bytes[i] >= '0' && bytes[i] <= '9';
			for (; i < size && (is_word(bytes[i]) || (number && bytes[i] == '.')); i++)
				if (number)
					bytes[i] = other(bytes[i]);
			i--;
		}
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t exchanged[4096];
	struct fs_label label, same;
	if (size < 1 || size > sizeof(exchanged))
		return 0;
	reduce(data + 1, size - 1, data[0], &label);
	memcpy(exchanged, data + 1, size - 1);
	if (!exchange(exchanged, size - 1))
		return 0;
	reduce(exchanged, size - 1, data[0], &same);
	must(label.length == same.length && memcmp(label.text, same.text, label.length) == 0);
	return 0;
}
