/* SPDX-License-Identifier: Apache-2.0 */
/* The table of what is open: streams, datagram sockets, their conversations with one peer each, listeners. */
#include "state.h"

uint32_t fs_connection_hash(uint64_t id, const struct fs_tuple *peer)
{
	uint64_t hash = fs_mix(FS_HASH_SEED, id);
	if (peer) {
		hash = fs_mix_bytes(hash, peer->remote, 16);
		hash = fs_mix(hash, peer->remote_port);
	}
	return fs_hash_end(hash);
}

struct fs_connection *fs_connection_find(struct fs_engine *e, uint64_t id)
{
	uint32_t hash = fs_connection_hash(id, NULL), probe;
	for (uint32_t i = fs_index_first(&e->by_id, hash, &probe); i; i = fs_index_next(&e->by_id, hash, &probe)) {
		struct fs_connection *c = fs_connection_at(e, i);
		if (c->id == id && c->kind != FS_KIND_FLOW)
			return c;
	}
	return NULL;
}

struct fs_connection *fs_connection_new(struct fs_engine *e, uint64_t id, uint32_t hash, uint8_t kind)
{
	uint32_t index = fs_pool_take(&e->connections);
	if (!index) {
		fs_flows_expire(e, UINT64_MAX);
		index = fs_pool_take(&e->connections);
	}
	if (!index) {
		e->table->stats.connections_rejected++;
		return NULL;
	}
	struct fs_connection *c = fs_connection_at(e, index);
	memset(c, 0, sizeof(*c));
	c->id = id;
	c->hash = hash;
	c->kind = kind;
	c->protocol = FS_UNDECIDED;
	c->requester = FS_DIRECTION_UNKNOWN;
	c->last_direction = FS_DIRECTION_UNKNOWN;
	c->last_ns = e->now_ns;
	fs_index_add(&e->by_id, hash, index);
	return c;
}

void fs_connection_key_changed(struct fs_connection *c)
{
	c->row = 0;
	c->key_hash = 0;
	c->tcp_row_generation = 0;
}

/* The offsets at which the streams stand, as far as the socket knew them: right after a connect it knows neither. */
static void anchor(struct fs_connection *c, const struct fs_open *event)
{
	const uint32_t raw[2] = {[FS_IN] = event->recv_seq, [FS_OUT] = event->send_seq};

	if (event->open_flags & (FS_OPEN_SEEDED | FS_OPEN_REPEATED | FS_OPEN_LATE) ||
	    event->head.flags & FS_LOST_BEFORE)
		c->flags |= FS_C_MIDSTREAM;
	for (int direction = FS_IN; direction <= FS_OUT; direction++) {
		c->stream[direction].next = (1ull << 32) + raw[direction];
		c->stream[direction].known = raw[FS_IN] && raw[FS_OUT];
	}
}

static void refresh(struct fs_engine *e, struct fs_connection *c, const struct fs_open *event)
{
	if (c->role == FS_ROLE_UNKNOWN && event->tuple.role) {
		c->role = event->tuple.role;
		fs_connection_key_changed(c);
	}
	bool is_nameless = c->flags & FS_C_IDENT_PENDING || !e->table->idents[c->ident].comm[0];
	if (!(event->head.flags & FS_NO_PROCESS) && is_nameless) {
		c->pid = event->head.pid;
		c->flags &= ~(uint32_t)FS_C_IDENT_PENDING;
		fs_ident_set(e, &c->ident, fs_ident(e, &event->head, event->comm));
		fs_connection_key_changed(c);
		fs_ident_told(e, c);
		fs_mode_leave_out(e, c);
	}
	if (event->srtt_us)
		c->srtt_us = event->srtt_us;
}

static void begin(struct fs_engine *e, struct fs_connection *c, const struct fs_open *event)
{
	bool has_process = !(event->head.flags & FS_NO_PROCESS);

	e->table->stats.connections_opened++;
	c->flags &= ~(uint32_t)FS_C_ANNOUNCED;
	fs_mode_clear(e, c->id); /* it may have been asked for */
	c->tuple = event->tuple;
	c->role = event->tuple.role;
	c->netns = event->head.netns;
	c->pid = has_process ? event->head.pid : 0;
	c->srtt_us = event->srtt_us;
	if (has_process)
		fs_ident_set(e, &c->ident, fs_ident(e, &event->head, event->comm));
	else
		c->flags |= FS_C_IDENT_PENDING;
	if (c->kind != FS_KIND_STREAM)
		return;
	fs_nat_apply(e, c, !(event->open_flags & (FS_OPEN_SEEDED | FS_OPEN_REPEATED)));
	anchor(c, event);
	fs_address_seen(e, c->tuple.local);
	fs_mirror_add(e, c);
	fs_mode_leave_out(e, c);
}

void fs_connection_open(struct fs_engine *e, const struct fs_open *event)
{
	uint64_t id = event->head.conn_id;
	struct fs_connection *c = fs_connection_find(e, id);

	if (!(event->head.flags & FS_NO_PROCESS))
		fs_process_named(e, event->head.pid, event->comm);
	if (!c) {
		c = fs_connection_new(e, id, fs_connection_hash(id, NULL),
				      event->tuple.l4 == FS_TCP ? FS_KIND_STREAM : FS_KIND_SOCKET);
		if (c)
			begin(e, c, event);
	} else if (c->flags & FS_C_ANNOUNCED) {
		begin(e, c, event);
	} else if (c->kind != FS_KIND_LISTENER) {
		refresh(e, c, event);
	}
}

/* What waits on this connection has an end now: it closed, was idle for too long, or the recording ended. */
void fs_connection_settle(struct fs_engine *e, struct fs_connection *c, uint64_t now_ns, uint64_t patience_ns)
{
	fs_release_held(e, c);
	for (uint8_t direction = FS_IN; direction <= FS_OUT; direction++) {
		fs_give_up_short(e, c, direction);
		fs_unbuffer(e, &c->stream[direction]);
	}
	if (c->requester <= FS_OUT && c->stream[!c->requester].of)
		fs_message_over(e, c, (uint8_t)!c->requester);
	fs_responses_over(e, c);
	fs_opaque_settle(e, c);
	fs_opaque_flush(e, c);
	fs_requests_unanswered(e, c, now_ns, patience_ns);
}

void fs_connection_free(struct fs_engine *e, struct fs_connection *c)
{
	uint32_t index = fs_index_of(e, c);

	fs_drop_held(e, c);
	fs_flow_unlist(e, c);
	fs_requests_discard(e, c);
	if (c->settling) {
		c->flags |= FS_C_DYING;
		return;
	}
	while (c->first_flow) {
		struct fs_connection *flow = fs_connection_at(e, c->first_flow);
		c->first_flow = flow->next_flow;
		flow->socket = 0;
		flow->previous_flow = flow->next_flow = 0;
		if (c->first_flow)
			fs_connection_at(e, c->first_flow)->previous_flow = 0;
		fs_connection_free(e, flow);
	}
	if (c->socket) {
		if (c->previous_flow)
			fs_connection_at(e, c->previous_flow)->next_flow = c->next_flow;
		else
			fs_connection_at(e, c->socket)->first_flow = c->next_flow;
		if (c->next_flow)
			fs_connection_at(e, c->next_flow)->previous_flow = c->previous_flow;
		c->socket = 0;
	}
	e->flows -= c->kind == FS_KIND_FLOW;
	fs_mirror_remove(e, c);
	if (c->kind == FS_KIND_STREAM)
		fs_mode_clear(e, c->id);
	fs_listener_forget(e, c);
	for (int direction = FS_IN; direction <= FS_OUT; direction++)
		fs_unbuffer(e, &c->stream[direction]);
	fs_opaque_forget(e, c);
	fs_state_give(e, c);
	fs_string_release(e, c->content);
	fs_string_release(e, c->answer_content);
	fs_ident_set(e, &c->ident, 0);
	fs_ident_set(e, &c->peer_ident, 0);
	fs_index_remove(&e->by_id, c->hash, index);
	c->kind = 0;
	fs_pool_give(&e->connections, index);
}

void fs_connection_close(struct fs_engine *e, const struct fs_close *event)
{
	struct fs_connection *c = fs_connection_find(e, event->head.conn_id);
	if (!c) {
		/* Nothing is missing of one that was let go for its idleness and said nothing since. */
		if (fs_mode_is_asked(e, event->head.conn_id))
			fs_mode_clear(e, event->head.conn_id);
		else
			e->table->stats.connections_unknown++;
		return;
	}
	/* What was lost last may have been the answer: then what waits is half-seen, not unanswered. */
	uint64_t patience_ns = event->head.flags & FS_LOST_BEFORE ? UINT64_MAX : 0;
	e->table->stats.connections_closed++;
	if (event->srtt_us)
		c->srtt_us = event->srtt_us;
	if (c->kind == FS_KIND_STREAM) {
		fs_release_held(e, c);
		if (!(event->head.flags & FS_LOST_BEFORE))
			fs_closing_end(e, c, event->head.time_ns);
		fs_connection_settle(e, c, event->head.time_ns, patience_ns);
		if (!(c->flags & FS_C_SEEN_BYTES) && c->role == FS_ROLE_CLIENT && fs_may_count(e, c))
			fs_row_exists(e, c);
		fs_tcp_closed(e, c);
	}
	for (uint32_t flow = c->first_flow; flow; flow = fs_connection_at(e, flow)->next_flow)
		fs_connection_settle(e, fs_connection_at(e, flow), event->head.time_ns, patience_ns);
	fs_connection_free(e, c);
}
