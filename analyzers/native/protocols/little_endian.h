/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers with the low byte first. As in cursor.h, a failed read leaves the cursor where it was. */
#ifndef FIRESTEEL_LITTLE_ENDIAN_H
#define FIRESTEEL_LITTLE_ENDIAN_H

#include "../cursor.h"

static inline bool fs_little(struct fs_cursor *c, uint32_t size, uint64_t *out)
{
	uint64_t value = 0;
	if (size > 8 || fs_left(c) < size)
		return false;
	for (uint32_t i = 0; i < size; i++)
		value |= (uint64_t)fs_peek(c, i) << 8 * i;
	*out = value;
	return fs_skip(c, size);
}

static inline bool fs_u16le(struct fs_cursor *c, uint16_t *out)
{
	uint64_t value;
	if (!fs_little(c, 2, &value))
		return false;
	*out = (uint16_t)value;
	return true;
}

static inline bool fs_u24le(struct fs_cursor *c, uint32_t *out)
{
	uint64_t value;
	if (!fs_little(c, 3, &value))
		return false;
	*out = (uint32_t)value;
	return true;
}

static inline bool fs_u32le(struct fs_cursor *c, uint32_t *out)
{
	uint64_t value;
	if (!fs_little(c, 4, &value))
		return false;
	*out = (uint32_t)value;
	return true;
}

#endif
