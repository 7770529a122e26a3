/* SPDX-License-Identifier: Apache-2.0 */
#include "statements.h"

static uint32_t find(const struct fs_statements *statements, uint64_t key)
{
	uint32_t place = 0;
	while (place < FS_STATEMENTS && statements->key[place] != key)
		place++;
	return place;
}

static uint32_t oldest(const struct fs_statements *statements)
{
	uint32_t place = 0;
	for (uint32_t i = 1; i < FS_STATEMENTS; i++)
		if (statements->used[i] < statements->used[place])
			place = i;
	return place;
}

void fs_statement_keep(struct fs_statements *statements, uint64_t key, const struct fs_label *label, uint32_t from)
{
	uint32_t place = find(statements, key), length = 0;
	if (place == FS_STATEMENTS)
		place = find(statements, 0);
	if (place == FS_STATEMENTS)
		place = oldest(statements);
	statements->key[place] = key;
	statements->used[place] = ++statements->clock;
	for (; from + length < label->length && length < FS_STATEMENT_TEXT; length++)
		statements->text[place][length] = label->text[from + length];
	if (from + length < label->length)
		statements->text[place][FS_STATEMENT_TEXT - 1] = '*';
	statements->length[place] = (uint8_t)length;
}

bool fs_statement_recall(struct fs_statements *statements, uint64_t key, struct fs_label *out)
{
	uint32_t place = find(statements, key);
	if (place == FS_STATEMENTS)
		return false;
	statements->used[place] = ++statements->clock;
	for (uint32_t i = 0; i < statements->length[place] && i < FS_STATEMENT_TEXT; i++)
		fs_label_byte(out, statements->text[place][i]);
	return true;
}

void fs_statement_forget(struct fs_statements *statements, uint64_t key)
{
	uint32_t place = find(statements, key);
	if (place == FS_STATEMENTS)
		return;
	statements->key[place] = 0;
	statements->used[place] = 0;
}

/* FNV-1a. */
uint64_t fs_statement_key(struct fs_text name, uint8_t space)
{
	struct fs_cursor bytes = fs_inside(name);
	uint64_t hash = 0xcbf29ce484222325ull ^ space;
	uint8_t byte;
	while (fs_u8(&bytes, &byte))
		hash = (hash ^ byte) * 0x100000001b3ull;
	hash = (hash ^ hash >> 32) * 0x100000001b3ull;
	return hash ? hash : 1;
}
