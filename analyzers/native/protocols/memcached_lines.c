/* SPDX-License-Identifier: Apache-2.0 */
#include "memcached_text.h"

bool fs_memcached_next_word(struct fs_cursor *bytes, struct fs_text *word)
{
	while (fs_left(bytes)) {
		bool is_taken = fs_take_until(bytes, ' ', (uint32_t)fs_left(bytes), word) ||
				fs_take(bytes, (uint32_t)fs_left(bytes), word);
		if (is_taken && word->length)
			return true;
	}
	return false;
}

void fs_memcached_split(struct fs_text text, struct fs_memcached_line *out)
{
	*out = (struct fs_memcached_line){.text = fs_trimmed(text)};
	struct fs_cursor bytes = fs_inside(out->text);
	for (struct fs_text word; fs_memcached_next_word(&bytes, &word); out->words++) {
		if (out->words < FS_MEMCACHED_WORDS)
			out->word[out->words] = word;
		out->last = word;
	}
}

bool fs_memcached_take_line(struct fs_cursor *bytes, struct fs_memcached_line *out)
{
	struct fs_text text;
	if (!fs_take_until(bytes, '\n', (uint32_t)fs_left(bytes), &text))
		return false;
	fs_memcached_split(text, out);
	return true;
}

uint32_t fs_memcached_tag(struct fs_text line, uint32_t first, struct fs_text key)
{
	struct fs_cursor bytes = fs_inside(line);
	struct fs_text word;
	uint32_t by_key = 0;
	for (uint32_t i = 0; fs_memcached_next_word(&bytes, &word); i++) {
		struct fs_cursor flag = fs_inside(word);
		uint8_t letter = 0;
		if (i < first || !fs_u8(&flag, &letter))
			continue;
		struct fs_text value;
		(void)fs_take(&flag, (uint32_t)fs_left(&flag), &value);
		if (letter == 'O')
			return fs_memcached_hash('O', value);
		if (letter == 'k')
			by_key = fs_memcached_hash('k', value.length ? value : key);
	}
	return by_key;
}
