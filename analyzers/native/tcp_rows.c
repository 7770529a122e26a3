/* SPDX-License-Identifier: Apache-2.0 */
/* TCP itself: attempts to connect by their result, round trip times, retransmits, resets, drops. */
#include "state.h"

#define KEY_BYTES (offsetof(struct fs_tcp_row, error) + sizeof(int32_t) - offsetof(struct fs_tcp_row, flags))

static uint32_t hash_key(const struct fs_tcp_row *key)
{
	return fs_hash_end(fs_mix_bytes(FS_HASH_SEED, &key->flags, KEY_BYTES));
}

static uint32_t find(struct fs_engine *e, const struct fs_tcp_row *key, uint32_t hash)
{
	uint32_t probe;
	for (uint32_t i = fs_index_first(&e->by_tcp_row, hash, &probe); i;
	     i = fs_index_next(&e->by_tcp_row, hash, &probe))
		if (memcmp(&e->table->tcp_rows[i].flags, &key->flags, KEY_BYTES) == 0)
			return i;
	return 0;
}

static struct fs_tcp_row *overflow_row(struct fs_engine *e)
{
	struct fs_tcp_row *row = &e->table->tcp_rows[0];
	if (!row->generation) {
		row->flags = FS_ROW_OVERFLOW;
		row->kind = FS_TCP_HEALTH;
		row->created_ns = e->now_ns;
		__atomic_store_n(&row->generation, fs_new_generation(e), __ATOMIC_RELEASE);
		e->table->tcp_rows_used++;
	}
	e->table->stats.tcp_rows_overflow++;
	return row;
}

static struct fs_tcp_row *row_for(struct fs_engine *e, struct fs_tcp_row *key)
{
	uint32_t hash = hash_key(key), index = find(e, key, hash);
	if (!index) {
		index = e->table->tcp_rows_used < e->config.tcp_row_limit ? fs_pool_take(&e->tcp_rows) : 0;
		if (!index)
			return overflow_row(e);
		struct fs_tcp_row *row = &e->table->tcp_rows[index];
		key->created_ns = e->now_ns;
		*row = *key;
		e->tcp_row_hash[index] = hash;
		e->ident_refs[row->ident]++;
		e->ident_refs[row->peer_ident]++;
		fs_index_add(&e->by_tcp_row, hash, index);
		e->table->tcp_rows_used++;
		__atomic_store_n(&row->generation, fs_new_generation(e), __ATOMIC_RELEASE);
	}
	struct fs_tcp_row *row = &e->table->tcp_rows[index];
	row->updated_ns = e->now_ns;
	return row;
}

static void make_key(const struct fs_tuple *tuple, uint8_t role, uint8_t kind, int32_t error, struct fs_tcp_row *key)
{
	memset(key, 0, sizeof(*key));
	memcpy(key->local, tuple->local, 16);
	memcpy(key->remote, tuple->remote, 16);
	/* The client's port names one connection only; where no side is known, so does one from 32768 on. */
	if (role == FS_ROLE_SERVER || (role == FS_ROLE_UNKNOWN && tuple->local_port < 32768))
		key->local_port = tuple->local_port;
	if (role == FS_ROLE_CLIENT || (role == FS_ROLE_UNKNOWN && tuple->remote_port < 32768))
		key->remote_port = tuple->remote_port;
	key->role = role;
	key->kind = kind;
	key->error = error;
}

static void make_key_of_nobody(const uint8_t local[16], struct fs_tcp_row *key)
{
	memset(key, 0, sizeof(*key));
	memcpy(key->local, local, 16);
	key->kind = FS_TCP_HEALTH;
}

static void set_dialled(const struct fs_connection *c, struct fs_tcp_row *key)
{
	memcpy(key->dialled, c->dialled, 16);
	key->dialled_port = c->dialled_port;
}

static struct fs_tcp_row *health_of(struct fs_engine *e, struct fs_connection *c)
{
	struct fs_tcp_row key;
	struct fs_tcp_row *row = &e->table->tcp_rows[c->tcp_row];

	if (c->tcp_row && c->tcp_row_generation && row->generation == c->tcp_row_generation) {
		row->updated_ns = e->now_ns;
		return row;
	}
	fs_role_settle(e, c);
	make_key(&c->tuple, c->role, FS_TCP_HEALTH, 0, &key);
	set_dialled(c, &key);
	key.ident = c->ident;
	if (c->flags & FS_C_BOTH_ENDS) {
		key.flags = FS_ROW_BOTH_ENDS;
		key.peer_ident = c->peer_ident;
	}
	row = row_for(e, &key);
	c->tcp_row = (uint32_t)(row - e->table->tcp_rows);
	c->tcp_row_generation = row->generation;
	return row;
}

/* What a socket of its own measures is told by nobody else. */
static bool is_aside(const struct fs_engine *e, const struct fs_connection *c)
{
	return e->table->idents[c->ident].flags & FS_IDENT_ASIDE;
}

void fs_tcp_health(struct fs_engine *e, struct fs_connection *c)
{
	c->flags &= ~(uint32_t)FS_C_SRTT_NEW;
	if (is_aside(e, c))
		return;
	health_of(e, c)->srtt_us = c->srtt_us;
}

/* An attempt to connect that has no result yet. */
bool fs_tcp_is_attempt(const struct fs_connection *c)
{
	return c->kind == FS_KIND_STREAM && c->role == FS_ROLE_CLIENT && !c->connect_ns && !c->srtt_us &&
	       !(c->flags & (FS_C_SEEN_BYTES | FS_C_MIDSTREAM | FS_C_ANNOUNCED));
}

/* A connection that never came about is no closed connection: its CONNECT row tells. */
void fs_tcp_closed(struct fs_engine *e, struct fs_connection *c)
{
	if ((!c->srtt_us && !(c->flags & FS_C_SEEN_BYTES)) || is_aside(e, c))
		return;
	struct fs_tcp_row *row = health_of(e, c);
	row->closed++;
	if (c->srtt_us)
		row->srtt_us = c->srtt_us;
}

void fs_connect_event(struct fs_engine *e, const struct fs_connect *event)
{
	struct fs_connection *c = event->head.conn_id ? fs_connection_find(e, event->head.conn_id) : NULL;
	struct fs_connection unknown = {
		.kind = FS_KIND_STREAM,
		.protocol = FS_UNDECIDED,
		.requester = FS_OUT,
		.role = FS_ROLE_CLIENT,
		.tuple = event->tuple,
		.netns = event->head.netns,
		.last_ns = event->head.time_ns,
	};
	struct fs_tcp_row key;

	if (!(event->head.flags & FS_NO_PROCESS))
		fs_process_named(e, event->head.pid, event->comm);
	/* A connection is told with its first byte, so this comes before: it is kept for the time it took. */
	if (!c && event->head.conn_id && !event->error) {
		c = fs_connection_new(e, event->head.conn_id, fs_connection_hash(event->head.conn_id, NULL),
				      FS_KIND_STREAM);
		if (c) {
			c->flags |= FS_C_ANNOUNCED;
			c->tuple = event->tuple;
			c->netns = event->head.netns;
			c->role = FS_ROLE_CLIENT;
			fs_nat_apply(e, c, true);
			fs_ident_set(e, &c->ident, fs_ident(e, &event->head, event->comm));
		}
	}
	if (!c || c->kind != FS_KIND_STREAM) {
		c = &unknown;
		fs_nat_apply(e, c, true);
		c->ident = fs_ident(e, &event->head, event->comm);
	} else if (c->flags & FS_C_IDENT_PENDING) {
		fs_identify(e, c, &event->head);
	}
	if (c->role != FS_ROLE_CLIENT) {
		c->role = FS_ROLE_CLIENT;
		fs_connection_key_changed(c);
	}
	c->connect_ns = event->duration_ns;
	if (is_aside(e, c))
		return;
	make_key(&c->tuple, FS_ROLE_CLIENT, FS_TCP_CONNECT, event->error, &key);
	set_dialled(c, &key);
	key.ident = c->ident;
	struct fs_tcp_row *row = row_for(e, &key);
	row->connects++;
	row->connect_ns += event->duration_ns;
	if (event->error)
		fs_row_exists(e, c);
}

/*
 * What is sent again was sent by a connection, whose owner its row misses. A reset or a drop misses nobody where nobody
 * listens: connections are refused and closed all the time.
 */
static bool misses_connection(uint32_t kind)
{
	return kind == FS_TROUBLE_RETRANSMIT || kind == FS_TROUBLE_SYNACK_RETRANSMIT;
}

void fs_trouble_event(struct fs_engine *e, const struct fs_trouble *event)
{
	struct fs_connection *c = event->head.conn_id ? fs_connection_find(e, event->head.conn_id) : NULL;
	struct fs_tcp_row *row, key;

	if (c && c->kind == FS_KIND_STREAM) {
		if (is_aside(e, c))
			return;
		row = health_of(e, c);
	} else {
		const struct fs_listener *l =
			fs_listener_find(e, event->head.netns, event->tuple.local_port, event->tuple.l4);
		bool has_row = event->tuple.l4 == FS_TCP && !fs_is_zero(event->tuple.remote);
		if (!l && (!has_row || misses_connection(event->kind)))
			e->table->stats.retransmits_unmatched++;
		if (!has_row)
			return;
		/*
		 * A connection that is not accepted yet (a SYN-ACK sent again) belongs to who listens. What belongs to
		 * nobody may have a quarter of the rows, and then is told of the local address only: whoever scans it
		 * chooses ports and addresses as he likes.
		 */
		if (l || e->table->tcp_rows_used < e->config.tcp_row_limit / 4)
			make_key(&event->tuple, l ? FS_ROLE_SERVER : event->tuple.role, FS_TCP_HEALTH, 0, &key);
		else
			make_key_of_nobody(event->tuple.local, &key);
		key.ident = l ? l->ident : 0;
		row = row_for(e, &key);
	}
	switch (event->kind) {
	case FS_TROUBLE_RETRANSMIT: row->retransmits++; break;
	case FS_TROUBLE_SYNACK_RETRANSMIT: row->synack_retransmits++; break;
	case FS_TROUBLE_RESET_SENT: row->resets_sent++; break;
	case FS_TROUBLE_RESET_RECEIVED: row->resets_received++; break;
	case FS_TROUBLE_PACKET_DROPPED: row->drops++; break;
	default: e->table->stats.events_invalid++;
	}
}

void fs_tcp_rows_sweep(struct fs_engine *e, uint32_t count)
{
	uint64_t limit = fs_row_idle_limit(e, e->table->tcp_rows_used, e->config.tcp_row_limit);

	if (limit != e->config.row_idle_ns)
		count *= FS_PRESSED_SWEEPS;
	for (; count && e->tcp_rows.highest && limit; count--) {
		uint32_t i = e->tcp_row_sweep_at =
			e->tcp_row_sweep_at >= e->tcp_rows.highest ? 1 : e->tcp_row_sweep_at + 1;
		struct fs_tcp_row *row = &e->table->tcp_rows[i];
		uint64_t idle_ns = fs_since(e->now_ns, row->updated_ns);
		if (!row->generation || idle_ns <= limit)
			continue;
		fs_entry_end(&row->generation);
		fs_index_remove(&e->by_tcp_row, e->tcp_row_hash[i], i);
		e->ident_refs[row->ident]--;
		e->ident_refs[row->peer_ident]--;
		fs_pool_give(&e->tcp_rows, i);
		e->table->tcp_rows_used--;
		if (e->config.row_idle_ns && idle_ns > e->config.row_idle_ns)
			e->table->stats.rows_expired++;
		else
			e->table->stats.rows_ended_early++;
		limit = fs_row_idle_limit(e, e->table->tcp_rows_used, e->config.tcp_row_limit);
	}
}

void fs_tcp_rows_restore(struct fs_engine *e)
{
	e->table->tcp_rows_used = e->table->tcp_rows[0].generation ? 1 : 0;
	for (uint32_t i = FS_TCP_ROWS - 1; e->table->starts && i > 0; i--) {
		struct fs_tcp_row *row = &e->table->tcp_rows[i];
		if (row->generation && !(fs_ident_stands(e, row->ident) && fs_ident_stands(e, row->peer_ident)))
			fs_entry_damaged(e, &row->generation);
		if (!row->generation) {
			if (e->tcp_rows.highest) {
				e->tcp_rows.used++;
				fs_pool_give(&e->tcp_rows, i);
			}
			continue;
		}
		e->tcp_rows.highest = e->tcp_rows.highest ? e->tcp_rows.highest : i;
		e->tcp_rows.used++;
		e->table->tcp_rows_used++;
		e->tcp_row_hash[i] = hash_key(row);
		e->ident_refs[row->ident]++;
		e->ident_refs[row->peer_ident]++;
		fs_index_add(&e->by_tcp_row, e->tcp_row_hash[i], i);
	}
}
