/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frames of one side of a WebSocket conversation. The input is options, where to cut (2 bytes) and the side's bytes:
 * cut in two or not, the same has to come of them, unless they are lost and found again.
 */
#include <stdlib.h>
#include <string.h>

#include "../../analyzers/native/protocols/websocket.h"

enum options { CLIENT = 1, LOST = 2, LONGER = 4 };

/* From memory of exactly that size. */
static void follow(struct fs_websocket_side *side, const uint8_t *bytes, size_t size, uint8_t options)
{
	uint8_t *copy = malloc(size ? size : 1);
	memcpy(copy, bytes, size);
	/* More than was captured. */
	uint64_t length = size + (options & LONGER ? 1000u : 0);
	fs_websocket_follow(side, fs_cursor_over(copy, size, true), length, options & CLIENT);
	free(copy);
	if (side->lost && !side->missed)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fs_websocket_side whole = {0}, cut = {0};
	if (size < 4)
		return 0;
	uint8_t options = data[0];
	size_t where = (size_t)(data[1] << 8 | data[2]) % (size - 3);
	data += 3;
	size -= 3;
	whole.lost = whole.missed = options & LOST ? 1 : 0;
	follow(&whole, data, size, options);
	(void)fs_websocket_is_abnormal(fs_websocket_closed(&whole));
	if (options & (LOST | LONGER))
		return 0;
	follow(&cut, data, where, options);
	if (cut.lost)
		return 0;
	follow(&cut, data + where, size - where, options);
	if (cut.lost != whole.lost || (!whole.lost && fs_websocket_closed(&cut) != fs_websocket_closed(&whole)) ||
	    (!whole.lost && (cut.length != whole.length || cut.stage != whole.stage)))
		abort();
	return 0;
}
