/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of WebSocket (RFC 6455, section 5.2), as far as they say where the next one starts and why a side closes. */
#include "websocket.h"

#define FINAL 0x80
#define RESERVED 0x30 /* the third reserved bit says that a message is compressed: RFC 7692, section 6 */
#define CONTROL_MAX 125

enum stage { STAGE_FIRST = 0, STAGE_SECOND, STAGE_LENGTH, STAGE_MASK, STAGE_CODE, STAGE_PAYLOAD };
enum opcode { OPCODE_BINARY = 2, OPCODE_CLOSE = 8, OPCODE_PONG = 10 };

static bool is_control(uint8_t opcode)
{
	return opcode >= OPCODE_CLOSE;
}

static void begin_payload(struct fs_websocket_side *side)
{
	side->stage = side->length ? STAGE_PAYLOAD : STAGE_FIRST;
	if (side->opcode != OPCODE_CLOSE)
		return;
	side->code = side->length ? 0 : FS_WEBSOCKET_NO_CODE;
	side->need = 2;
	side->stage = side->length ? STAGE_CODE : STAGE_FIRST;
}

static void begin_mask(struct fs_websocket_side *side)
{
	side->need = 4;
	side->mask = 0;
	if (side->masked)
		side->stage = STAGE_MASK;
	else
		begin_payload(side);
}

static void take_first(struct fs_websocket_side *side, uint8_t byte)
{
	side->opcode = byte & 0x0f;
	side->stage = STAGE_SECOND;
	if (byte & RESERVED || side->opcode > OPCODE_PONG ||
	    (side->opcode > OPCODE_BINARY && !is_control(side->opcode)) ||
	    (is_control(side->opcode) && !(byte & FINAL)))
		side->lost = 1;
}

static void take_second(struct fs_websocket_side *side, uint8_t byte, bool from_client)
{
	uint8_t length = byte & 0x7f;
	side->masked = byte >> 7;
	if (side->masked != from_client || (is_control(side->opcode) && length > CONTROL_MAX) ||
	    (side->opcode == OPCODE_CLOSE && length == 1)) {
		side->lost = 1;
		return;
	}
	side->length = length > CONTROL_MAX ? 0 : length;
	side->need = length == 126 ? 2 : 8;
	if (length > CONTROL_MAX)
		side->stage = STAGE_LENGTH;
	else
		begin_mask(side);
}

/* The mask's first two bytes are over it. A code that nobody may send breaks the protocol: section 7.4.2. */
static void take_code(struct fs_websocket_side *side, uint8_t byte)
{
	side->code = (uint16_t)((uint32_t)side->code << 8 | (byte ^ (side->mask >> 8 * (side->need + 1u) & 0xff)));
	side->length--;
	if (--side->need)
		return;
	if (side->code < FS_WEBSOCKET_NORMAL || side->code > FS_WEBSOCKET_LAST)
		side->code = FS_WEBSOCKET_PROTOCOL_ERROR;
	side->stage = side->length ? STAGE_PAYLOAD : STAGE_FIRST;
}

static void take_byte(struct fs_websocket_side *side, uint8_t byte, bool from_client)
{
	switch (side->stage) {
	case STAGE_FIRST: take_first(side, byte); break;
	case STAGE_SECOND: take_second(side, byte, from_client); break;
	case STAGE_LENGTH:
		side->length = side->length << 8 | byte;
		side->lost = side->length >> 62 != 0;
		if (--side->need == 0)
			begin_mask(side);
		break;
	case STAGE_MASK:
		side->mask = side->mask << 8 | byte;
		if (--side->need == 0)
			begin_payload(side);
		break;
	default: take_code(side, byte); /* STAGE_CODE */
	}
}

static void step(struct fs_websocket_side *side, struct fs_cursor bytes, uint64_t length, bool from_client)
{
	uint8_t byte;
	while (length && !side->lost) {
		if (side->stage == STAGE_PAYLOAD) {
			uint64_t count = side->length < length ? side->length : length;
			length -= count;
			side->length -= count;
			if (!side->length)
				side->stage = STAGE_FIRST;
			(void)fs_skip(&bytes, count < fs_left(&bytes) ? count : fs_left(&bytes));
		} else if (fs_u8(&bytes, &byte)) {
			take_byte(side, byte, from_client);
			length--;
		} else {
			side->lost = 1;
		}
	}
}

void fs_websocket_follow(struct fs_websocket_side *side, struct fs_cursor bytes, uint64_t length, bool from_client)
{
	struct fs_websocket_side fresh = {0};
	if (!side->lost) {
		step(side, bytes, length, from_client);
		side->missed |= side->lost;
		return;
	}
	step(&fresh, bytes, length, from_client);
	if (!fresh.lost && fresh.stage == STAGE_FIRST)
		*side = fresh;
	side->missed = 1;
}

uint16_t fs_websocket_closed(const struct fs_websocket_side *side)
{
	return side->stage == STAGE_CODE ? 0 : side->code;
}

bool fs_websocket_is_abnormal(uint16_t code)
{
	return code != FS_WEBSOCKET_NORMAL && code != FS_WEBSOCKET_GOING_AWAY && code != FS_WEBSOCKET_NO_CODE;
}
