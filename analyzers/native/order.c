/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events into the order in which their bytes moved. CPUs write to the ring independently, so a response's event can be
 * before its request's. The offsets tell: an event before which there are bytes that were not seen yet is held until
 * they come, for at most FS_HOLD_NS; then they count as a gap.
 */
#include "state.h"

uint64_t fs_extend(const struct fs_stream *s, uint32_t raw)
{
	return s->next + (uint64_t)(int64_t)(int32_t)(raw - (uint32_t)s->next);
}

static void anchor(struct fs_stream *s, uint32_t raw)
{
	s->next = (1ull << 32) + raw;
	s->known = 1;
}

/* Bytes that are missing here, inside of what needs no parsing: not worth waiting for. */
static bool is_covered(const struct fs_stream *s, uint32_t missing)
{
	switch (s->phase) {
	case FS_PHASE_BODY: return s->remaining > missing;
	case FS_PHASE_HEAD:
	case FS_PHASE_PARTS: return false;
	default: return true;
	}
}

static bool is_complete_before(const struct fs_stream *s, uint32_t raw)
{
	int32_t missing = (int32_t)(raw - (uint32_t)s->next);
	return !s->known || missing <= 0 || is_covered(s, (uint32_t)missing);
}

/* Steps over bytes that no event will bring any more. */
static void close_gap(struct fs_engine *e, struct fs_connection *c, uint8_t direction, uint32_t raw, uint64_t now_ns)
{
	struct fs_stream *s = &c->stream[direction];
	int32_t missing = (int32_t)(raw - (uint32_t)s->next);

	if (!s->known) {
		anchor(s, raw);
	} else if (missing > 0) {
		/* The offset that a socket gave before its handshake may not count the SYN: nothing is missing then. */
		if (missing == 1 && !(c->flags & FS_C_SEEN_BYTES))
			anchor(s, raw);
		else
			fs_gap(e, c, direction, (uint32_t)missing, now_ns);
	}
}

static bool is_in_order(const struct fs_connection *c, const struct fs_chunk *k)
{
	const struct fs_stream *mine = &c->stream[k->direction], *other = &c->stream[!k->direction];
	return is_complete_before(mine, k->seq) && (!k->has_peer_seq || is_complete_before(other, k->peer_seq));
}

static void hand_on(struct fs_engine *e, struct fs_connection *c, struct fs_chunk *k)
{
	if (k->has_peer_seq)
		close_gap(e, c, (uint8_t)!k->direction, k->peer_seq, k->start_ns);
	close_gap(e, c, k->direction, k->seq, k->start_ns);
	if (!k->bytes)
		return;
	struct fs_stream *s = &c->stream[k->direction];
	uint64_t behind = s->next - fs_extend(s, k->seq);
	if (behind && (behind > FS_BELIEVABLE_JUMP || !(c->flags & FS_C_SEEN_BYTES))) {
		/* The offset at hand leads nowhere: this one is as good as any. */
		if (c->flags & FS_C_SEEN_BYTES)
			fs_lost(e, c, k->direction);
		anchor(s, k->seq);
	} else if (behind) {
		/* Its place was already stepped over. */
		e->table->stats.stream_late += behind < k->bytes ? behind : k->bytes;
		if (behind >= k->bytes)
			return;
		k->bytes -= behind;
		k->payload += behind < k->captured ? behind : k->captured;
		k->captured -= behind < k->captured ? (uint32_t)behind : k->captured;
	}
	c->flags |= FS_C_SEEN_BYTES;
	s->next += k->bytes;
	fs_deliver(e, c, k);
}

static struct fs_chunk chunk_of_data(const struct fs_data *event)
{
	return (struct fs_chunk){
		.payload = (const uint8_t *)(event + 1),
		.start_ns = event->head.time_ns,
		.end_ns = event->head.time_ns,
		.bytes = event->bytes,
		.seq = event->seq,
		.peer_seq = event->peer_seq,
		.has_peer_seq = true,
		.captured = event->captured,
		.pid = event->head.pid,
		.direction = event->direction,
		.reason = event->reason,
	};
}

static struct fs_chunk first_chunk(const struct fs_exchange *event)
{
	return (struct fs_chunk){
		.payload = (const uint8_t *)(event + 1),
		.start_ns = event->first_start_ns,
		.end_ns = event->first_end_ns,
		.bytes = event->first_bytes,
		.seq = event->first_seq,
		.peer_seq = event->second_seq,
		.has_peer_seq = event->second_bytes != 0,
		.captured = event->first_captured,
		.pid = event->head.pid,
		.direction = event->direction,
		.reason = event->first_reason,
	};
}

static struct fs_chunk second_chunk(const struct fs_exchange *event)
{
	return (struct fs_chunk){
		.payload = (const uint8_t *)(event + 1) + event->first_captured,
		.start_ns = event->head.time_ns,
		.end_ns = event->head.time_ns,
		.bytes = event->second_bytes,
		.seq = event->second_seq,
		.peer_seq = event->first_seq + (uint32_t)event->first_bytes,
		.has_peer_seq = true,
		.captured = event->second_captured,
		.pid = event->head.pid,
		.direction = !event->direction,
		.reason = event->second_reason,
	};
}

/* False if the event must wait, which it never must when `now_or_never`. */
static bool take(struct fs_engine *e, struct fs_connection *c, const struct fs_head *head, bool now_or_never)
{
	bool is_exchange = head->type == FS_EV_EXCHANGE;
	struct fs_chunk k = is_exchange ? first_chunk((const void *)head) : chunk_of_data((const void *)head);

	/* What a fast open sends with its SYN is told before the answer says where the other direction begins. */
	if (!k.peer_seq && !c->stream[!k.direction].known)
		k.has_peer_seq = false;
	if (fs_is_opaque(c->protocol)) {
		fs_opaque_chunk(e, c, &k);
	} else {
		if (!now_or_never && !is_in_order(c, &k))
			return false;
		hand_on(e, c, &k);
	}
	if (is_exchange && c->authority != FS_AUTHORITY_THEIRS) {
		k = second_chunk((const void *)head);
		if (fs_is_opaque(c->protocol))
			fs_opaque_chunk(e, c, &k);
		else
			hand_on(e, c, &k);
	}
	return true;
}

static void list_held(struct fs_engine *e, struct fs_connection *c, uint32_t index)
{
	c->previous_held = e->last_held;
	c->next_held = 0;
	if (e->last_held)
		fs_connection_at(e, e->last_held)->next_held = index;
	else
		e->first_held = index;
	e->last_held = index;
}

static void unlist_held(struct fs_engine *e, struct fs_connection *c)
{
	if (c->previous_held)
		fs_connection_at(e, c->previous_held)->next_held = c->next_held;
	else
		e->first_held = c->next_held;
	if (c->next_held)
		fs_connection_at(e, c->next_held)->previous_held = c->previous_held;
	else
		e->last_held = c->previous_held;
	c->previous_held = c->next_held = 0;
}

static bool hold(struct fs_engine *e, struct fs_connection *c, const struct fs_head *head)
{
	uint32_t index = c->held < FS_HELD_PER_CONNECTION ? fs_pool_take(&e->helds) : 0;
	if (!index)
		return false;
	struct fs_held *held = fs_pool_at(&e->helds, index);
	held->size = head->size;
	held->since_ns = e->now_ns;
	held->next = 0;
	memcpy(held->event, head, head->size);
	uint32_t *end = &c->first_held;
	while (*end)
		end = &((struct fs_held *)fs_pool_at(&e->helds, *end))->next;
	*end = index;
	if (!c->held++)
		list_held(e, c, fs_index_of(e, c));
	return true;
}

static void forget_held(struct fs_engine *e, struct fs_connection *c, uint32_t *from)
{
	uint32_t index = *from;
	*from = ((struct fs_held *)fs_pool_at(&e->helds, index))->next;
	fs_pool_give(&e->helds, index);
	if (!--c->held)
		unlist_held(e, c);
}

void fs_drop_held(struct fs_engine *e, struct fs_connection *c)
{
	while (c->first_held)
		forget_held(e, c, &c->first_held);
}

/* Whatever the last bytes made possible. A held event is taken off the list first: it may silence its connection. */
static void retry_held(struct fs_engine *e, struct fs_connection *c)
{
	FS_UNSET uint8_t copy[FS_HELD_BYTES] __attribute__((aligned(8)));

	for (uint32_t *at = &c->first_held; *at;) {
		const struct fs_held *held = fs_pool_at(&e->helds, *at);
		const struct fs_head *head = (const void *)held->event;
		struct fs_chunk k = head->type == FS_EV_EXCHANGE ? first_chunk((const void *)head)
								 : chunk_of_data((const void *)head);
		if (!fs_is_opaque(c->protocol) && !is_in_order(c, &k)) {
			at = &((struct fs_held *)fs_pool_at(&e->helds, *at))->next;
			continue;
		}
		memcpy(copy, held->event, held->size);
		forget_held(e, c, at);
		(void)take(e, c, (const void *)copy, true);
		at = &c->first_held;
	}
}

/* Of those that wait, the one that happened first goes on although bytes before it are missing. */
static void release_oldest(struct fs_engine *e, struct fs_connection *c)
{
	FS_UNSET uint8_t copy[FS_HELD_BYTES] __attribute__((aligned(8)));
	uint32_t *oldest = &c->first_held;
	uint64_t oldest_ns = UINT64_MAX;

	for (uint32_t *at = &c->first_held; *at;) {
		struct fs_held *held = fs_pool_at(&e->helds, *at);
		const struct fs_head *head = (const void *)held->event;
		if (head->time_ns < oldest_ns) {
			oldest_ns = head->time_ns;
			oldest = at;
		}
		at = &held->next;
	}
	const struct fs_held *held = fs_pool_at(&e->helds, *oldest);
	memcpy(copy, held->event, held->size);
	forget_held(e, c, oldest);
	(void)take(e, c, (const void *)copy, true);
	retry_held(e, c);
}

void fs_release_held(struct fs_engine *e, struct fs_connection *c)
{
	while (c->first_held)
		release_oldest(e, c);
}

void fs_release_overdue(struct fs_engine *e, uint64_t now_ns)
{
	while (e->first_held) {
		struct fs_connection *c = fs_connection_at(e, e->first_held);
		const struct fs_held *held = fs_pool_at(&e->helds, c->first_held);
		if (now_ns != UINT64_MAX && fs_since(now_ns, held->since_ns) < FS_HOLD_NS)
			break;
		release_oldest(e, c);
		if (c->held) {
			/* What is left waits on, behind the others. */
			unlist_held(e, c);
			list_held(e, c, fs_index_of(e, c));
			((struct fs_held *)fs_pool_at(&e->helds, c->first_held))->since_ns =
				now_ns == UINT64_MAX ? 0 : now_ns;
		}
	}
}

/*
 * A driver reads the offsets when a call is over. A thread that was held up before that reads those of later calls: its
 * bytes then seem to lie where another call's do, or behind what answers them. Beside the events that wait both show: no
 * two calls move the same bytes, and nothing waits for what came after it. True if `event` had to be put right.
 */
static bool put_right(struct fs_engine *e, const struct fs_connection *c, struct fs_data *event)
{
	const struct fs_stream *mine = &c->stream[event->direction], *other = &c->stream[!event->direction];
	uint32_t next = (uint32_t)mine->next, end = event->seq + (uint32_t)event->bytes, hole = 0;
	bool overlaps = false, awaited = false;

	if (!mine->known || !other->known)
		return false;
	for (uint32_t at = c->first_held; at; at = ((struct fs_held *)fs_pool_at(&e->helds, at))->next) {
		const struct fs_data *one = (const void *)((struct fs_held *)fs_pool_at(&e->helds, at))->event;
		if (one->head.type != FS_EV_DATA)
			continue;
		if (one->direction != event->direction) {
			awaited |= one->seq == (uint32_t)other->next && (int32_t)(one->peer_seq - next) > 0;
			continue;
		}
		uint32_t before = one->seq - next;
		if ((int32_t)before > 0 && (!hole || before < hole))
			hole = before;
		overlaps |=
			(int32_t)(one->seq - end) < 0 && (int32_t)(event->seq - one->seq - (uint32_t)one->bytes) < 0;
	}
	bool moves = overlaps && hole == event->bytes;
	if (moves)
		event->seq = next;
	if (event->seq != next || !(moves || awaited) || (int32_t)(event->peer_seq - (uint32_t)other->next) <= 0)
		return moves;
	event->peer_seq = (uint32_t)other->next;
	return true;
}

void fs_stream_event(struct fs_engine *e, struct fs_connection *c, const void *event)
{
	FS_UNSET uint8_t copy[FS_HELD_BYTES] __attribute__((aligned(8)));
	const struct fs_head *head = event;
	uint32_t srtt_us = head->type == FS_EV_EXCHANGE ? ((const struct fs_exchange *)event)->srtt_us
							: ((const struct fs_data *)event)->srtt_us;

	c->last_ns = head->time_ns;
	if (head->type == FS_EV_DATA)
		fs_mode_weigh(e, c, ((const struct fs_data *)event)->captured, head->time_ns);
	if (srtt_us && srtt_us != c->srtt_us) {
		c->srtt_us = srtt_us;
		c->flags |= FS_C_SRTT_NEW;
	}
	if (c->flags & FS_C_IDENT_PENDING)
		fs_identify(e, c, head);
	if (c->authority == FS_AUTHORITY_THEIRS)
		return;
	if (!(c->flags & FS_C_SEEN_BYTES))
		fs_role_settle(e, c);
	if (c->first_held && head->type == FS_EV_DATA) {
		struct fs_data right = *(const struct fs_data *)event;
		if (put_right(e, c, &right)) {
			memcpy(copy, event, head->size);
			memcpy(copy, &right, sizeof(right));
			head = (const void *)copy;
			e->table->stats.stream_replaced++;
		}
	}
	/* After a loss the missing bytes will not come: nothing is gained by waiting. */
	if (!take(e, c, head, head->flags & FS_LOST_BEFORE) && !hold(e, c, head)) {
		if (c->first_held)
			release_oldest(e, c);
		(void)take(e, c, head, true);
	}
	if (c->first_held)
		retry_held(e, c);
}
