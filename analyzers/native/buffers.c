/* SPDX-License-Identifier: Apache-2.0 */
/* A head that comes in several chunks is kept until it is whole; nothing else of a stream is. */
#include "state.h"

uint8_t *fs_buffer(struct fs_engine *e, const struct fs_stream *s)
{
	return fs_pool_at(&e->buffers, s->buffer);
}

void fs_unbuffer(struct fs_engine *e, struct fs_stream *s)
{
	if (s->buffer)
		fs_pool_give(&e->buffers, s->buffer);
	s->buffer = 0;
	s->buffered = 0;
}

/* How many of the bytes were taken: fewer if the buffer is full or there is none. */
uint32_t fs_buffer_append(struct fs_engine *e, struct fs_stream *s, const uint8_t *bytes, uint32_t length)
{
	if (!s->buffer) {
		s->buffer = fs_pool_take(&e->buffers);
		s->buffered = 0;
	}
	uint32_t room = s->buffer ? FS_BUFFER_BYTES - s->buffered : 0;
	uint32_t taken = length < room ? length : room;
	if (taken < length)
		e->table->stats.buffer_exhausted += length - taken;
	if (taken)
		memcpy(fs_buffer(e, s) + s->buffered, bytes, taken);
	s->buffered = (uint16_t)(s->buffered + taken);
	return taken;
}

struct fs_piece fs_piece_at(struct fs_engine *e, struct fs_stream *s, const struct fs_chunk *k, uint64_t at)
{
	uint32_t captured = at < k->captured ? k->captured - (uint32_t)at : 0;
	const uint8_t *bytes = k->payload + (captured ? at : 0);
	struct fs_piece piece = {.before = s->buffered, .cut = k->captured < k->bytes};

	if (s->buffered) {
		piece.cut |= fs_buffer_append(e, s, bytes, captured) < captured;
		piece.bytes = fs_cursor_over(fs_buffer(e, s), s->buffered, piece.cut);
	} else {
		piece.bytes = fs_cursor_over(bytes, captured, piece.cut);
	}
	return piece;
}

/* Keeps an incomplete head until more of it comes. False if there is no room for it. */
bool fs_piece_keep(struct fs_engine *e, struct fs_stream *s, const struct fs_piece *piece)
{
	uint32_t length = (uint32_t)fs_left(&piece->bytes);
	return piece->before || fs_buffer_append(e, s, piece->bytes.at, length) == length;
}
