/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Huffman code of RFC 7541, appendix B. It is canonical: codes of one length are consecutive numbers, given out in
 * the order of the symbols, and longer ones follow shorter ones. So the symbols in the order of their codes and one row
 * for each length are all of it.
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
/* clang-format on */
#define LENGTHS (sizeof(lengths) / sizeof(lengths[0]))

bool fs_huffman(struct fs_hpack_block *block, uint32_t bytes, uint32_t keep, struct fs_label *out, uint32_t *length)
{
	uint64_t window = 0; /* flush left */
	uint32_t bits = 0, count = 0, row;
	uint8_t byte;
	for (;;) {
		while (bytes && bits <= 56) {
			if (!fs_hpack_byte(block, &byte))
				return false;
			window |= (uint64_t)byte << (56 - bits);
			bits += 8;
			bytes--;
		}
		uint32_t next = (uint32_t)(window >> 32);
		for (row = 0; row < LENGTHS && next >= lengths[row].after; row++)
			;
		if (row == LENGTHS || lengths[row].length > bits)
			break;
		byte = symbols[lengths[row].symbol + ((next - lengths[row].first) >> (32 - lengths[row].length))];
		if (count < keep)
			fs_label_byte(out, (char)byte);
		count++;
		window <<= lengths[row].length;
		bits -= lengths[row].length;
	}
	*length = count;
	/* Section 5.2: less than a byte is left, and it is the beginning of EOS, which is ones only. */
	return !bytes && bits < 8 && (bits == 0 || window >> (64 - bits) == (1u << bits) - 1);
}
