/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a WebSocket conversation ends: RFC 6455. Its messages are not answered one by one, so the engine counts turns, and
 * only the frames' lengths are followed, up to a Close and its status code.
 */
#ifndef FIRESTEEL_WEBSOCKET_H
#define FIRESTEEL_WEBSOCKET_H

#include "../cursor.h"

/* Section 7.4. Two are never sent: a Close without a code, and an end without a Close. */
enum fs_websocket_code {
	FS_WEBSOCKET_NORMAL = 1000,
	FS_WEBSOCKET_GOING_AWAY = 1001,
	FS_WEBSOCKET_PROTOCOL_ERROR = 1002,
	FS_WEBSOCKET_NO_CODE = 1005,
	FS_WEBSOCKET_ABNORMAL = 1006,
	FS_WEBSOCKET_LAST = 4999 /* from 4000 on applications have their own */
};

/* Where one side of a conversation stands; zero at first. */
struct fs_websocket_side {
	uint64_t length; /* of the frame's payload, what is still to come */
	uint32_t mask;
	uint16_t code; /* of a Close, as far as it has come */
	uint8_t stage, need; /* of the frame's head: what comes next, and how many bytes of that */
	uint8_t opcode, masked;
	uint8_t lost; /* bytes are missing, or were no frames: where the next one starts is not known */
	uint8_t missed; /* that was so once, and what was there may have been a Close */
};

/*
 * Steps over the next `length` bytes of a side, of which `bytes` are the beginning. A client masks its frames, a server
 * never does (section 5.1). After a loss it goes on where frames fill one I/O to its last byte.
 */
void fs_websocket_follow(struct fs_websocket_side *side, struct fs_cursor bytes, uint64_t length, bool from_client);

/* The code of the side's Close, or 0 while none was seen. */
uint16_t fs_websocket_closed(const struct fs_websocket_side *side);

/* Whether a code tells of anything but the purpose being fulfilled or one side leaving in good order. */
bool fs_websocket_is_abnormal(uint16_t code);

#endif
