/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Huffman code of RFC 7541, appendix B. It is canonical: codes of one length are consecutive numbers, given out in
 * the order of the symbols, and longer ones follow shorter ones. So the symbols in the order of their codes and one row
 * for each length are all of it; the short codes are written out besides, as most of what is sent is made of them.
 */
#include "hpack.h"

#define SYMBOLS 256 /* the 257th, EOS, never comes; its first bits are the padding */
#define LONGEST 30

/* clang-format off */
static const uint8_t symbols[SYMBOLS] = {
	48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51,
	52, 53, 54, 55, 56, 57, 61, 65, 95, 98, 100, 102, 103, 104, 108, 109,
	110, 112, 114, 117, 58, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76,
	77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89, 106, 107, 113, 118,
	119, 120, 121, 122, 38, 42, 44, 59, 88, 90, 33, 34, 40, 41, 63, 39,
	43, 124, 35, 62, 0, 36, 64, 91, 93, 126, 94, 125, 60, 96, 123, 92,
	195, 208, 128, 130, 131, 162, 184, 194, 224, 226, 153, 161, 167, 172, 176, 177,
	179, 209, 216, 217, 227, 229, 230, 129, 132, 133, 134, 136, 146, 154, 156, 160,
	163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198, 228, 232,
	233, 1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157,
	158, 165, 166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239, 9, 142,
	144, 145, 148, 159, 171, 206, 215, 225, 236, 237, 199, 207, 234, 235, 192, 193,
	200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255, 203, 204, 211,
	212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254,
	2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20,
	21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127, 220, 249, 10, 13, 22,
};

/* Of the codes of one length, flush left in 32 bits: the first one that is longer, and the first one. */
static const struct {
	uint32_t after, first;
	uint16_t symbol;
	uint8_t length;
} lengths[] = {
	{0x50000000, 0x00000000, 0, 5},
	{0xb8000000, 0x50000000, 10, 6},
	{0xf8000000, 0xb8000000, 36, 7},
	{0xfe000000, 0xf8000000, 68, 8},
	{0xff400000, 0xfe000000, 74, 10},
	{0xffa00000, 0xff400000, 79, 11},
	{0xffc00000, 0xffa00000, 82, 12},
	{0xfff00000, 0xffc00000, 84, 13},
	{0xfff80000, 0xfff00000, 90, 14},
	{0xfffe0000, 0xfff80000, 92, 15},
	{0xfffe6000, 0xfffe0000, 95, 19},
	{0xfffee000, 0xfffe6000, 98, 20},
	{0xffff4800, 0xfffee000, 106, 21},
	{0xffffb000, 0xffff4800, 119, 22},
	{0xffffea00, 0xffffb000, 145, 23},
	{0xfffff600, 0xffffea00, 174, 24},
	{0xfffff800, 0xfffff600, 186, 25},
	{0xfffffbc0, 0xfffff800, 190, 26},
	{0xfffffe20, 0xfffffbc0, 205, 27},
	{0xfffffff0, 0xfffffe20, 224, 28},
	{0xfffffffc, 0xfffffff0, 253, 30},
};

/* By the next eight bits, for codes of no more: the length and, below it, the symbol. Nearly all of what is sent. */
static const uint16_t short_codes[256] = {
	0x530, 0x530, 0x530, 0x530, 0x530, 0x530, 0x530, 0x530, 0x531, 0x531, 0x531, 0x531,
	0x531, 0x531, 0x531, 0x531, 0x532, 0x532, 0x532, 0x532, 0x532, 0x532, 0x532, 0x532,
	0x561, 0x561, 0x561, 0x561, 0x561, 0x561, 0x561, 0x561, 0x563, 0x563, 0x563, 0x563,
	0x563, 0x563, 0x563, 0x563, 0x565, 0x565, 0x565, 0x565, 0x565, 0x565, 0x565, 0x565,
	0x569, 0x569, 0x569, 0x569, 0x569, 0x569, 0x569, 0x569, 0x56f, 0x56f, 0x56f, 0x56f,
	0x56f, 0x56f, 0x56f, 0x56f, 0x573, 0x573, 0x573, 0x573, 0x573, 0x573, 0x573, 0x573,
	0x574, 0x574, 0x574, 0x574, 0x574, 0x574, 0x574, 0x574, 0x620, 0x620, 0x620, 0x620,
	0x625, 0x625, 0x625, 0x625, 0x62d, 0x62d, 0x62d, 0x62d, 0x62e, 0x62e, 0x62e, 0x62e,
	0x62f, 0x62f, 0x62f, 0x62f, 0x633, 0x633, 0x633, 0x633, 0x634, 0x634, 0x634, 0x634,
	0x635, 0x635, 0x635, 0x635, 0x636, 0x636, 0x636, 0x636, 0x637, 0x637, 0x637, 0x637,
	0x638, 0x638, 0x638, 0x638, 0x639, 0x639, 0x639, 0x639, 0x63d, 0x63d, 0x63d, 0x63d,
	0x641, 0x641, 0x641, 0x641, 0x65f, 0x65f, 0x65f, 0x65f, 0x662, 0x662, 0x662, 0x662,
	0x664, 0x664, 0x664, 0x664, 0x666, 0x666, 0x666, 0x666, 0x667, 0x667, 0x667, 0x667,
	0x668, 0x668, 0x668, 0x668, 0x66c, 0x66c, 0x66c, 0x66c, 0x66d, 0x66d, 0x66d, 0x66d,
	0x66e, 0x66e, 0x66e, 0x66e, 0x670, 0x670, 0x670, 0x670, 0x672, 0x672, 0x672, 0x672,
	0x675, 0x675, 0x675, 0x675, 0x73a, 0x73a, 0x742, 0x742, 0x743, 0x743, 0x744, 0x744,
	0x745, 0x745, 0x746, 0x746, 0x747, 0x747, 0x748, 0x748, 0x749, 0x749, 0x74a, 0x74a,
	0x74b, 0x74b, 0x74c, 0x74c, 0x74d, 0x74d, 0x74e, 0x74e, 0x74f, 0x74f, 0x750, 0x750,
	0x751, 0x751, 0x752, 0x752, 0x753, 0x753, 0x754, 0x754, 0x755, 0x755, 0x756, 0x756,
	0x757, 0x757, 0x759, 0x759, 0x76a, 0x76a, 0x76b, 0x76b, 0x771, 0x771, 0x776, 0x776,
	0x777, 0x777, 0x778, 0x778, 0x779, 0x779, 0x77a, 0x77a, 0x826, 0x82a, 0x82c, 0x83b,
	0x858, 0x85a, 0, 0,
};
/* clang-format on */
#define LENGTHS (sizeof(lengths) / sizeof(lengths[0]))
#define LONGER 4 /* the first row of codes of more than eight bits */

/* The code at the beginning of these bits, as in short_codes; 0 if none begins so. */
static uint32_t long_code(uint32_t next)
{
	uint32_t row = LONGER;
	while (row < LENGTHS && next >= lengths[row].after)
		row++;
	if (row == LENGTHS)
		return 0;
	uint8_t length = lengths[row].length;
	return (uint32_t)length << 8 | symbols[lengths[row].symbol + ((next - lengths[row].first) >> (32 - length))];
}

/* The bits that come next, flush left, and how many of them are no padding of ours. */
struct window {
	uint64_t next;
	uint32_t bits;
};

/* At least 33 bits, unless fewer are left of the string. Frames end anywhere: four bytes at once are not always there. */
static bool refill(struct window *window, struct fs_hpack_block *block, uint32_t *bytes)
{
	uint32_t four;
	uint8_t byte;
	while (*bytes && window->bits <= 32) {
		if (*bytes >= 4 && fs_u32be(&block->part, &four)) {
			window->next |= (uint64_t)four << (32 - window->bits);
			window->bits += 32;
			*bytes -= 4;
			continue;
		}
		if (!fs_hpack_byte(block, &byte))
			return false;
		window->next |= (uint64_t)byte << (56 - window->bits);
		window->bits += 8;
		*bytes -= 1;
	}
	return true;
}

bool fs_huffman(struct fs_hpack_block *block, uint32_t bytes, uint32_t keep, struct fs_label *out, uint32_t *length)
{
	struct window window = {0, 0};
	uint32_t count = 0;
	for (;;) {
		if (!refill(&window, block, &bytes))
			return false;
		uint32_t code = short_codes[window.next >> 56];
		if (!code)
			code = long_code((uint32_t)(window.next >> 32));
		if (!code || code >> 8 > window.bits)
			break;
		/* Most codes are short: as many of them as are surely here. */
		do {
			if (count < keep)
				fs_label_byte(out, (char)(code & 0xff));
			count++;
			window.next <<= code >> 8;
			window.bits -= code >> 8;
			code = short_codes[window.next >> 56];
		} while (code && window.bits >= 8);
	}
	*length = count;
	/* Section 5.2: less than a byte is left, and it is the beginning of EOS, which is ones only. */
	return !bytes && window.bits < 8 &&
	       (window.bits == 0 || window.next >> (64 - window.bits) == (1u << window.bits) - 1);
}
