/* SPDX-License-Identifier: Apache-2.0 */
/* Requests into rows: one per key, found through the connection's newest one or a hash, bounded, ended when idle. */
#include "state.h"

#define KEY_BYTES (offsetof(struct fs_row, created_ns) - offsetof(struct fs_row, ident))
#define OTHER 1
#define FS_PRESSED_IDLE_NS 3600000000000ull /* from here down, where the user allows more or sets no end */

static uint8_t row_protocol(const struct fs_connection *c, const struct fs_counted *counted)
{
	uint8_t protocol = counted->protocol ? counted->protocol : c->protocol;

	return protocol == FS_UNDECIDED ? FS_PROTOCOL_NOSUPPORT : protocol;
}

/* A port that only names one connection is in no key; where no side is known, those from 32768 on are such. */
static uint16_t key_port(uint16_t port, uint8_t role, uint8_t role_of_port)
{
	if (role == FS_ROLE_UNKNOWN)
		return port < 32768 ? port : 0;
	return role == role_of_port ? port : 0;
}

static void make_key(const struct fs_connection *c, const struct fs_counted *counted, uint32_t flags,
		     struct fs_row *key)
{
	memset(key, 0, offsetof(struct fs_row, created_ns));
	key->flags = flags;
	key->ident = c->ident;
	key->peer_ident = c->flags & FS_C_BOTH_ENDS ? c->peer_ident : 0;
	memcpy(key->local, c->tuple.local, 16);
	memcpy(key->remote, c->tuple.remote, 16);
	key->local_port = key_port(c->tuple.local_port, c->role, FS_ROLE_SERVER);
	key->remote_port = key_port(c->tuple.remote_port, c->role, FS_ROLE_CLIENT);
	key->role = c->role;
	key->protocol = row_protocol(c, counted);
	key->l4 = c->tuple.l4;
	key->verb = counted->verb;
	key->request_content = counted->request_content;
	key->response_content = counted->response_content;
	key->status = counted->status;
	memcpy(key->dialled, c->dialled, 16);
	key->dialled_port = c->dialled_port;
}

static uint32_t hash_parties(const struct fs_row *key)
{
	uint64_t hash = fs_mix(FS_HASH_SEED, (uint64_t)key->ident << 32 | key->peer_ident);
	hash = fs_mix_bytes(hash, key->local, sizeof(key->local));
	hash = fs_mix_bytes(hash, key->remote, sizeof(key->remote));
	hash = fs_mix(hash, (uint64_t)key->local_port << 48 | (uint64_t)key->remote_port << 32 |
				    (uint32_t)key->role << 16 | key->l4);
	if (key->dialled_port)
		hash = fs_mix(fs_mix_bytes(hash, key->dialled, sizeof(key->dialled)), key->dialled_port);
	return fs_hash_end(hash);
}

static uint32_t hash_key(const struct fs_row *key, uint32_t parties)
{
	uint64_t hash = fs_mix(parties + key->verb, (uint64_t)key->request_content << 32 | key->response_content);
	return fs_hash_end(fs_mix(hash, (uint64_t)key->protocol << 48 | (uint64_t)key->status << 32 | key->flags));
}

static uint32_t find(struct fs_engine *e, const struct fs_row *key, uint32_t hash)
{
	uint32_t probe;
	for (uint32_t i = fs_index_first(&e->by_row, hash, &probe); i; i = fs_index_next(&e->by_row, hash, &probe)) {
		const struct fs_row *row = &e->table->rows[i];
		if (row->flags == key->flags && memcmp(&row->ident, &key->ident, KEY_BYTES) == 0)
			return i;
	}
	return 0;
}

/* Row 0 holds what found no row of its own. */
static uint32_t overflow_row(struct fs_engine *e)
{
	struct fs_row *row = &e->table->rows[0];
	if (!row->generation) {
		row->flags = FS_ROW_OVERFLOW;
		row->created_ns = e->now_ns;
		__atomic_store_n(&row->generation, fs_new_generation(e), __ATOMIC_RELEASE);
		e->table->rows_used++;
	}
	return 0;
}

static void refer(struct fs_engine *e, uint32_t index)
{
	const struct fs_row *row = &e->table->rows[index];
	e->ident_refs[row->ident]++;
	e->ident_refs[row->peer_ident]++;
	fs_string_keep(e, row->request_content);
	fs_string_keep(e, row->response_content);
}

static uint32_t create(struct fs_engine *e, struct fs_row *key, uint32_t parties, bool *new_edge)
{
	uint32_t contents[2];

	if (!fs_contents_admit(e, key, contents)) {
		uint32_t found = find(e, key, hash_key(key, parties));
		if (found) {
			fs_contents_gone(e, contents);
			return found;
		}
	}
	uint32_t index = e->table->rows_used < e->config.row_limit ? fs_pool_take(&e->rows) : 0;
	if (!index) {
		fs_contents_gone(e, contents);
		return overflow_row(e);
	}
	struct fs_row *row = &e->table->rows[index];
	memset(row, 0, sizeof(*row));
	memcpy(row, key, offsetof(struct fs_row, created_ns));
	row->created_ns = row->updated_ns = e->now_ns;
	if (e->table->fine_used)
		memset(&e->table->fine[index], 0, sizeof(e->table->fine[index]));
	e->row_hash[index] = hash_key(key, parties);
	memcpy(e->row_contents[index], contents, sizeof(contents));
	e->row_touched_ns[index] = e->now_ns;
	refer(e, index);
	fs_edge_row_added(e, index, new_edge);
	fs_index_add(&e->by_row, e->row_hash[index], index);
	e->table->rows_used++;
	__atomic_store_n(&row->generation, fs_new_generation(e), __ATOMIC_RELEASE);
	return index;
}

/* The row of this connection with these contents and flags. */
static uint32_t row_for(struct fs_engine *e, struct fs_connection *c, const struct fs_counted *counted, uint32_t flags,
			bool *new_edge)
{
	const struct fs_row *newest = &e->table->rows[c->row];
	FS_UNSET struct fs_row key; /* what stands before created_ns */

	if (c->flags & FS_C_BOTH_ENDS)
		flags |= FS_ROW_BOTH_ENDS;
	if (c->row && newest->generation == c->row_generation && newest->request_content == counted->request_content &&
	    newest->response_content == counted->response_content && newest->status == counted->status &&
	    newest->flags == flags && newest->protocol == row_protocol(c, counted) && newest->verb == counted->verb)
		return c->row;
	fs_role_settle(e, c);
	make_key(c, counted, flags, &key);
	if (!c->key_hash)
		c->key_hash = hash_parties(&key);
	uint32_t index = find(e, &key, hash_key(&key, c->key_hash));
	if (!index)
		index = create(e, &key, c->key_hash, new_edge);
	c->row = index;
	c->row_generation = e->table->rows[index].generation;
	return index;
}

static uint32_t bucket_of(const struct fs_engine *e, uint64_t duration_ns)
{
	uint32_t bucket = 0;
	while (bucket < FS_BUCKETS - 1 && duration_ns > e->config.bucket_ns[bucket])
		bucket++;
	return bucket;
}

/* Nanoseconds in 2**(i / 2 - 17) seconds: durations are whole, so what is left behind the point decides nothing. */
/* clang-format off */
static const uint64_t fine_ns[FS_FINE_BUCKETS - 1] = {
	7629u, 10789u, 15258u, 21579u, 30517u, 43158u, 61035u, 86316u, 122070u, 172633u, 244140u, 345266u,
	488281u, 690533u, 976562u, 1381067u, 1953125u, 2762135u, 3906250u, 5524271u, 7812500u, 11048543u,
	15625000u, 22097086u, 31250000u, 44194173u, 62500000u, 88388347u, 125000000u, 176776695u, 250000000u,
	353553390u, 500000000u, 707106781u, 1000000000u, 1414213562u, 2000000000u, 2828427124u, 4000000000u,
	5656854249ull, 8000000000ull, 11313708498ull, 16000000000ull, 22627416997ull, 32000000000ull,
	45254833995ull, 64000000000ull, 90509667991ull, 128000000000ull, 181019335983ull, 256000000000ull,
	362038671967ull, 512000000000ull, 724077343935ull, 1024000000000ull, 1448154687870ull,
	2048000000000ull, 2896309375740ull, 4096000000000ull,
};
/* clang-format on */

static uint32_t fine_bucket_of(uint64_t duration_ns)
{
	uint32_t low = 0, high = FS_FINE_BUCKETS - 1;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (duration_ns > fine_ns[middle])
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Bytes of a request that is left out are not anybody's. */
static void leave_out(struct fs_engine *e, struct fs_connection *c)
{
	e->table->stats.requests_unwanted++;
	c->exchange_bytes[FS_SIDE_REQUEST] = c->exchange_bytes[FS_SIDE_RESPONSE] = 0;
}

/* False if the user left it out. */
bool fs_row_count(struct fs_engine *e, struct fs_connection *c, const struct fs_counted *counted)
{
	uint64_t duration_ns = fs_since(counted->end_ns, counted->start_ns);
	uint64_t slow_ns = e->config.slow_ns[row_protocol(c, counted) % FS_PROTOCOL_MAX];

	if (fs_request_is_unwanted(e, c, counted, row_protocol(c, counted))) {
		leave_out(e, c);
		return false;
	}
	uint32_t flags = counted->flags | (slow_ns && duration_ns > slow_ns ? FS_ROW_SLOW : 0);
	bool new_edge = false;
	uint32_t index = row_for(e, c, counted, flags, &new_edge);
	struct fs_row *row = &e->table->rows[index];

	if (!index)
		e->table->stats.rows_overflow++;
	row->count++;
	row->duration_ns += duration_ns;
	row->request_bytes += counted->request_bytes + c->exchange_bytes[FS_SIDE_REQUEST];
	row->response_bytes += counted->response_bytes + c->exchange_bytes[FS_SIDE_RESPONSE];
	c->exchange_bytes[FS_SIDE_REQUEST] = c->exchange_bytes[FS_SIDE_RESPONSE] = 0;
	row->buckets[bucket_of(e, duration_ns)]++;
	if (e->config.count_fine) {
		e->table->fine_used = 1;
		e->table->fine[index].buckets[fine_bucket_of(duration_ns)]++;
	}
	row->updated_ns = fs_max(row->updated_ns, counted->end_ns);
	e->row_touched_ns[index] = e->now_ns;
	row->last_duration_ns = duration_ns;
	row->last_request_ns = counted->request_ns;
	row->last_processing_ns = counted->processing_ns;
	row->last_response_ns = counted->response_ns;
	row->last_connect_ns = c->flags & FS_C_CONNECT_USED ? 0 : c->connect_ns;
	fs_sample_offer(e, c, counted, flags, index, new_edge);
	c->flags |= FS_C_CONNECT_USED;
	return true;
}

/* Bytes that belong to no exchange of their own go to the connection's newest row, or wait for its first one. */
void fs_row_bytes(struct fs_engine *e, struct fs_connection *c, uint64_t request_bytes, uint64_t response_bytes)
{
	struct fs_row *row = &e->table->rows[c->row];

	if (!(request_bytes | response_bytes) || c->authority == FS_AUTHORITY_THEIRS ||
	    fs_connection_counts_nothing(e, c))
		return;
	if (!row->generation || row->generation != c->row_generation) {
		c->exchange_bytes[FS_SIDE_REQUEST] += request_bytes;
		c->exchange_bytes[FS_SIDE_RESPONSE] += response_bytes;
		return;
	}
	row->request_bytes += request_bytes;
	row->response_bytes += response_bytes;
	row->updated_ns = fs_max(row->updated_ns, c->last_ns);
	e->row_touched_ns[c->row] = e->now_ns;
}

/* It was told that it has none of its own, and there is still none to be had. */
static bool is_in_overflow(const struct fs_engine *e, const struct fs_connection *c)
{
	return !c->row && c->row_generation && c->row_generation == e->table->rows[0].generation &&
	       e->table->rows_used >= e->config.row_limit;
}

/* An edge without an exchange yet: bytes in one direction, or an attempt to connect. */
void fs_row_exists(struct fs_engine *e, struct fs_connection *c)
{
	const struct fs_counted nothing = {.request_content = c->content};
	bool new_edge;
	const struct fs_row *row = &e->table->rows[c->row];

	if ((!c->row || row->generation != c->row_generation) && !is_in_overflow(e, c) &&
	    !fs_connection_counts_nothing(e, c))
		(void)row_for(e, c, &nothing, 0, &new_edge);
}

static void expire(struct fs_engine *e, uint32_t index)
{
	struct fs_row *row = &e->table->rows[index];

	fs_entry_end(&row->generation);
	fs_index_remove(&e->by_row, e->row_hash[index], index);
	fs_edge_row_gone(e, index);
	fs_contents_gone(e, e->row_contents[index]);
	e->ident_refs[row->ident]--;
	e->ident_refs[row->peer_ident]--;
	fs_string_release(e, row->request_content);
	fs_string_release(e, row->response_content);
	fs_pool_give(&e->rows, index);
	e->table->rows_used--;
}

/*
 * How long what is in a table may be idle: as long as the user said while there is room, and in its last quarter less
 * and less, down to early_idle_ns. So the longest idle end first, and as many as come: who sends from ever new
 * addresses shortens the memory, but does not take the rows away from everybody else. What was counted stays in the
 * agent's accounts (analyzers/accounts.py), which have been given it long before.
 */
uint64_t fs_idle_limit(const struct fs_engine *e, uint32_t used, uint32_t room)
{
	uint64_t most = e->config.row_idle_ns, least = e->config.early_idle_ns;
	uint32_t pressed = room / 4, left = used < room ? room - used : 0;

	if (!least || left >= pressed || (most && most <= least))
		return most;
	if (!most || most > FS_PRESSED_IDLE_NS)
		most = FS_PRESSED_IDLE_NS;
	double share = (double)left / (double)pressed;
	return least + (uint64_t)((double)(most - least) * share * share * share);
}

/* Of rows: they keep the owners that they name from ending. */
uint64_t fs_row_idle_limit(const struct fs_engine *e, uint32_t used, uint32_t room)
{
	uint64_t mine = fs_idle_limit(e, used, room), owners = fs_idle_limit(e, e->table->idents_used, FS_IDENTS);
	return mine && (!owners || mine < owners) ? mine : owners;
}

static uint64_t idle_limit(const struct fs_engine *e)
{
	uint64_t limit = fs_row_idle_limit(e, e->table->rows_used, e->config.row_limit);
	uint64_t texts = fs_idle_limit(e, e->table->strings_used, FS_STRINGS);
	return texts < limit ? texts : limit;
}

void fs_rows_sweep(struct fs_engine *e, uint32_t count)
{
	uint64_t limit = idle_limit(e);

	if (limit != e->config.row_idle_ns)
		count *= FS_PRESSED_SWEEPS;
	for (; count && e->rows.highest && limit; count--) {
		uint32_t i = e->row_sweep_at = e->row_sweep_at >= e->rows.highest ? 1 : e->row_sweep_at + 1;
		uint64_t idle_ns = fs_since(e->now_ns, e->row_touched_ns[i]);
		if (idle_ns <= limit || !e->table->rows[i].generation)
			continue;
		expire(e, i);
		if (e->config.row_idle_ns && idle_ns > e->config.row_idle_ns)
			e->table->stats.rows_expired++;
		else
			e->table->stats.rows_ended_early++;
		limit = idle_limit(e);
	}
}

/* Of what an engine before this one wrote. Parties and contents were restored before. */
static bool is_whole(const struct fs_engine *e, const struct fs_row *row)
{
	return fs_ident_stands(e, row->ident) && fs_ident_stands(e, row->peer_ident) &&
	       fs_string_stands(e, row->request_content) && fs_string_stands(e, row->response_content) &&
	       row->protocol < FS_PROTOCOL_MAX;
}

void fs_rows_restore(struct fs_engine *e)
{
	bool new_edge;

	e->table->rows_used = e->table->rows[0].generation ? 1 : 0;
	for (uint32_t i = FS_ROWS - 1; e->table->starts && i > 0; i--) {
		struct fs_row *row = &e->table->rows[i];
		if (row->generation && !is_whole(e, row))
			fs_entry_damaged(e, &row->generation);
		if (!row->generation) {
			if (e->rows.highest) {
				e->rows.used++;
				fs_pool_give(&e->rows, i);
			}
			continue;
		}
		e->rows.highest = e->rows.highest ? e->rows.highest : i;
		e->rows.used++;
		e->table->rows_used++;
		e->row_touched_ns[i] = e->table->clock_ns; /* nobody knows: as late as can be */
		e->row_hash[i] = hash_key(row, hash_parties(row));
		fs_index_add(&e->by_row, e->row_hash[i], i);
		refer(e, i);
		(void)fs_contents_take(e, row, e->row_contents[i]);
		fs_edge_row_added(e, i, &new_edge);
	}
	/* Texts that were written right before the crash, and that no row refers to. */
	for (uint32_t i = OTHER + 1; i <= e->strings.highest; i++)
		if (e->table->strings[i].generation && !e->string_refs[i]) {
			fs_string_keep(e, i);
			fs_string_release(e, i);
		}
}
