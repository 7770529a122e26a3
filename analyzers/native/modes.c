/* SPDX-License-Identifier: Apache-2.0 */
/* What the driver is told about a connection: how much of it to send. A slot is one 64-bit store. */
#include "state.h"

/* Which side's bytes to keep until the other one answers, and how much of the answer is wanted. */
static uint64_t added(const struct fs_engine *e, const struct fs_connection *c)
{
	const struct fs_protocol *p = fs_protocol_of(e, c->protocol);

	if (c->mode != FS_MODE_MESSAGE)
		return 0;
	return (c->requester == FS_OUT ? FS_MODE_REQUESTS_OUT : 0) | (p && p->late_outcome ? FS_MODE_LONG_ANSWERS : 0);
}

void fs_mode_set(struct fs_engine *e, struct fs_connection *c, uint8_t mode, uint32_t budget)
{
	if (fs_connection_is_unwanted(e, c)) {
		mode = FS_MODE_SILENT;
		budget = 0;
	}
	if (budget > FS_PAYLOAD_MAX * FS_LONG_EVENTS)
		budget = FS_PAYLOAD_MAX * FS_LONG_EVENTS;
	if (c->kind != FS_KIND_STREAM || (c->mode == mode && c->budget == budget))
		return;
	c->mode = mode;
	c->budget = (uint16_t)budget;
	if (e->slots)
		__atomic_store_n(&e->slots[fs_slot_of(c->id)], fs_slot_make(c->id, mode | added(e, c), budget),
				 __ATOMIC_RELEASE);
}

/* What is known of it now may be what the user left out. */
void fs_mode_leave_out(struct fs_engine *e, struct fs_connection *c)
{
	if (fs_connection_is_unwanted(e, c))
		fs_mode_set(e, c, FS_MODE_SILENT, 0);
}

/* What was told of this id, or 0. */
static uint64_t slot_told(const struct fs_engine *e, uint64_t id)
{
	uint64_t slot = e->slots ? __atomic_load_n(&e->slots[fs_slot_of(id)], __ATOMIC_RELAXED) : 0;
	return slot && fs_slot_mine(slot, id) ? slot : 0;
}

void fs_mode_clear(struct fs_engine *e, uint64_t id)
{
	if (slot_told(e, id))
		__atomic_store_n(&e->slots[fs_slot_of(id)], 0, __ATOMIC_RELEASE);
}

/* The driver tells each connection once. What was forgotten for its idleness, or was never learned, is asked for. */
void fs_mode_ask(struct fs_engine *e, uint64_t id)
{
	if (e->slots && e->connections.used < e->connections.capacity && !fs_mode_is_asked(e, id))
		__atomic_store_n(&e->slots[fs_slot_of(id)], fs_slot_make(id, FS_MODE_AGAIN, 0), __ATOMIC_RELEASE);
}

bool fs_mode_is_asked(const struct fs_engine *e, uint64_t id)
{
	return fs_slot_mode(slot_told(e, id)) == FS_MODE_AGAIN;
}

/* After a few requests that came one by one, the driver may merge each with the start of its response. */
void fs_mode_clean_exchange(struct fs_engine *e, struct fs_connection *c)
{
	if (c->mode != FS_MODE_STREAM || c->kind != FS_KIND_STREAM || c->flags & FS_C_PIPELINED || c->waiting)
		return;
	const struct fs_protocol *p = fs_protocol_of(e, c->protocol);
	if (!e->config.message_mode || !p || !p->unpipelined || c->clean >= UINT8_MAX)
		return;
	if (++c->clean >= FS_CLEAN_EXCHANGES)
		fs_mode_set(e, c, FS_MODE_MESSAGE, e->config.parse_bytes);
}

static bool is_deep(const struct fs_engine *e, const struct fs_connection *c)
{
	return c->mode == FS_MODE_STREAM && c->budget > e->config.stream_bytes;
}

/* Requests overlap, or a head did not fit into what was captured: every I/O is wanted, with more of its bytes. */
void fs_mode_need_bytes(struct fs_engine *e, struct fs_connection *c)
{
	c->clean = 0;
	if (!is_deep(e, c))
		fs_mode_set(e, c, FS_MODE_STREAM, e->config.stream_bytes);
}

static void make_shallow(struct fs_engine *e, struct fs_connection *c)
{
	fs_mode_set(e, c, FS_MODE_STREAM, e->config.stream_bytes);
}

/*
 * A head lay behind what was captured of an I/O, so what came there is lost: from now on several times as much of each is
 * wanted. Where that is cut too, again and again, it helps nobody.
 */
void fs_mode_need_more(struct fs_engine *e, struct fs_connection *c)
{
	bool may_be_deep = c->cuts < FS_CUTS_TOO_MANY && e->now_ns / FS_DEEP_NS >= c->deep_from;

	if (!may_be_deep || c->mode != FS_MODE_STREAM || c->budget < e->config.stream_bytes) {
		fs_mode_need_bytes(e, c);
	} else if (!is_deep(e, c)) {
		fs_mode_set(e, c, FS_MODE_STREAM, e->config.stream_bytes * FS_LONG_EVENTS);
	} else if (c->cuts + FS_CUT_WEIGHS < FS_CUTS_TOO_MANY) {
		c->cuts = (uint8_t)(c->cuts + FS_CUT_WEIGHS);
	} else {
		c->cuts = FS_CUTS_TOO_MANY;
		make_shallow(e, c);
	}
}

/*
 * What an event brought of a connection of which more is wanted. Where all of them together bring much of what the ring
 * holds in the time between two looks at it, those that bring most of that rest for a while.
 */
void fs_mode_weigh(struct fs_engine *e, struct fs_connection *c, uint32_t captured, uint64_t now_ns)
{
	uint64_t window = now_ns / FS_DEEP_NS;

	if (!is_deep(e, c))
		return;
	if (window != e->deep_window) {
		e->deep_window = window;
		e->deep_bytes = 0;
	}
	if (window != c->deep_from) {
		c->deep_from = window;
		c->deep_bytes = 0;
	}
	e->deep_bytes += captured;
	c->deep_bytes += captured;
	if (e->deep_bytes <= e->deep_limit ||
	    (c->deep_bytes < e->deep_limit / FS_DEEP_SHARES && e->deep_bytes <= 2 * e->deep_limit))
		return;
	c->deep_from = window + FS_DEEP_REST;
	make_shallow(e, c);
}
