/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole requests for people to look at, from one bucket of tokens per node and a ration per edge and second. What
 * matters more may empty the bucket further: a new edge wholly, errors and slow requests down to a reserve, the rest
 * to half.
 */
#include "state.h"

#define SECOND 1000000000ull

static uint64_t edge_key(const struct fs_row *row)
{
	uint64_t key = fs_mix(FS_HASH_SEED, (uint64_t)row->ident << 32 | row->peer_ident);
	key = fs_mix_bytes(key, row->local, sizeof(row->local));
	key = fs_mix_bytes(key, row->remote, sizeof(row->remote));
	return fs_mix(key, (uint64_t)row->local_port << 32 | (uint64_t)row->remote_port << 16 | row->role);
}

void fs_edge_row_added(struct fs_engine *e, uint32_t row, bool *is_new)
{
	uint64_t key = edge_key(&e->table->rows[row]);
	uint32_t hash = fs_hash_end(key), probe;
	uint32_t index = fs_index_first(&e->by_edge, hash, &probe);

	while (index && ((const struct fs_edge *)fs_pool_at(&e->edges, index))->key != key)
		index = fs_index_next(&e->by_edge, hash, &probe);
	*is_new = !index;
	if (!index) {
		index = fs_pool_take(&e->edges); /* there are as many as rows */
		*(struct fs_edge *)fs_pool_at(&e->edges, index) = (struct fs_edge){.hash = hash, .key = key};
		fs_index_add(&e->by_edge, hash, index);
	}
	((struct fs_edge *)fs_pool_at(&e->edges, index))->rows++;
	e->row_edge[row] = index;
}

void fs_edge_row_gone(struct fs_engine *e, uint32_t row)
{
	struct fs_edge *edge = fs_pool_at(&e->edges, e->row_edge[row]);

	if (--edge->rows)
		return;
	fs_index_remove(&e->by_edge, edge->hash, e->row_edge[row]);
	fs_pool_give(&e->edges, e->row_edge[row]);
}

/* Tokens in thousandths, at most one second's worth. */
static void refill(struct fs_engine *e)
{
	uint64_t most = (uint64_t)e->config.sample_rate * 1000;
	uint64_t passed = fs_since(e->now_ns, e->tokens_ns);

	if (!e->tokens_ns || passed >= SECOND) {
		e->tokens = most;
		e->tokens_ns = e->now_ns;
	} else if (passed >= SECOND / 1000) {
		uint64_t more = passed / (SECOND / 1000) * e->config.sample_rate;
		e->tokens = e->tokens + more < most ? e->tokens + more : most;
		e->tokens_ns += passed / (SECOND / 1000) * (SECOND / 1000);
	}
}

/* How full the bucket must be, in thousandths of a second's worth. */
static uint32_t reserve(enum fs_sample_why why)
{
	static const uint16_t reserves[] = {
		[FS_WHY_NEW_EDGE] = 0, [FS_WHY_ERROR] = 100, [FS_WHY_SLOW] = 250, [FS_WHY_NORMAL] = 500};
	return reserves[why];
}

static bool roll(struct fs_engine *e)
{
	e->dice ^= e->dice << 13;
	e->dice ^= e->dice >> 7;
	e->dice ^= e->dice << 17;
	return e->dice % 1000 < e->config.sample_normal_permille;
}

static bool take_token(struct fs_engine *e, struct fs_edge *edge, enum fs_sample_why why)
{
	uint32_t second = (uint32_t)(e->now_ns / SECOND);

	refill(e);
	if (edge->window != second) {
		edge->window = second;
		edge->taken = 0;
	}
	if (e->tokens < 1000 || e->tokens < (uint64_t)e->config.sample_rate * reserve(why) ||
	    (edge->taken >= e->config.sample_per_edge && why != FS_WHY_NEW_EDGE))
		return false;
	e->tokens -= 1000;
	edge->taken++;
	return true;
}

static void copy_text(char *to, uint32_t room, const char *from, uint32_t length)
{
	length = length < room ? length : room - 1;
	memcpy(to, from, length);
	to[length] = 0;
}

/* As it was sent: only protocols that are plugins of the agent look at it. */
static void write_undecoded(struct fs_engine *e, const struct fs_connection *c, struct fs_sample *sample)
{
	const struct fs_exchange_text *kept = fs_pool_at(&e->exchange_texts, c->text);

	sample->request_text_length = kept->length[FS_SIDE_REQUEST];
	sample->response_text_length = kept->length[FS_SIDE_RESPONSE];
	memcpy(sample->request_text, kept->text[FS_SIDE_REQUEST], sample->request_text_length);
	memcpy(sample->response_text, kept->text[FS_SIDE_RESPONSE], sample->response_text_length);
}

static void write_contents(struct fs_engine *e, const struct fs_connection *c, struct fs_sample *sample,
			   const struct fs_counted *counted)
{
	const struct fs_string *request = &e->table->strings[counted->request_content];
	const struct fs_string *response = &e->table->strings[counted->response_content];
	const struct fs_waiting *w = counted->request;

	copy_text(sample->request_content, sizeof(sample->request_content), request->text, request->length);
	copy_text(sample->response_content, sizeof(sample->response_content), response->text, response->length);
	if (!w && c->text)
		write_undecoded(e, c, sample);
	if (!w)
		return;
	sample->verb = w->message.verb;
	memcpy(sample->trace_id, w->message.trace_id, sizeof(sample->trace_id));
	memcpy(sample->parent_id, w->message.parent_id, sizeof(sample->parent_id));
	const struct fs_texts *texts =
		&e->texts[(uint32_t)((const uint8_t *)w - e->waitings.base) / e->waitings.stride];
	sample->request_text_length = w->text_length[FS_SIDE_REQUEST];
	sample->response_text_length = w->text_length[FS_SIDE_RESPONSE];
	memcpy(sample->request_text, texts->text[FS_SIDE_REQUEST], sample->request_text_length);
	memcpy(sample->response_text, texts->text[FS_SIDE_RESPONSE], sample->response_text_length);
}

void fs_sample_offer(struct fs_engine *e, const struct fs_connection *c, const struct fs_counted *counted,
		     uint32_t flags, uint32_t row, bool new_edge)
{
	enum fs_sample_why why = new_edge		? FS_WHY_NEW_EDGE
				 : flags & FS_ROW_ERROR ? FS_WHY_ERROR
				 : flags & FS_ROW_SLOW	? FS_WHY_SLOW
							: FS_WHY_NORMAL;
	struct fs_edge *edge = fs_pool_at(&e->edges, e->row_edge[row]); /* entry 0 is the overflow row's */

	if (why == FS_WHY_NORMAL && !roll(e))
		return;
	if (!take_token(e, edge, why)) {
		e->table->stats.samples_shed++;
		return;
	}
	uint64_t sequence = e->table->sample_head + 1;
	struct fs_sample *sample = &e->table->samples[sequence % FS_SAMPLES];

	__atomic_store_n(&sample->sequence, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	memset((uint8_t *)sample + sizeof(sample->sequence), 0, sizeof(*sample) - sizeof(sample->sequence));
	sample->start_ns = counted->start_ns;
	sample->duration_ns = fs_since(counted->end_ns, counted->start_ns);
	sample->connect_ns = c->flags & FS_C_CONNECT_USED ? 0 : c->connect_ns;
	sample->request_ns = counted->request_ns;
	sample->processing_ns = counted->processing_ns;
	sample->response_ns = counted->response_ns;
	sample->request_bytes = counted->request_bytes;
	sample->response_bytes = counted->response_bytes;
	sample->conn_id = c->id;
	sample->row = row;
	sample->row_generation = e->table->rows[row].generation;
	sample->ident = c->ident;
	sample->peer_ident = c->flags & FS_C_BOTH_ENDS ? c->peer_ident : 0;
	sample->pid = counted->request ? counted->request->pid : c->pid;
	sample->flags = flags | (c->flags & FS_C_BOTH_ENDS ? FS_ROW_BOTH_ENDS : 0);
	memcpy(sample->local, c->tuple.local, sizeof(sample->local));
	memcpy(sample->remote, c->tuple.remote, sizeof(sample->remote));
	sample->local_port = c->tuple.local_port;
	sample->remote_port = c->tuple.remote_port;
	memcpy(sample->dialled, c->dialled, sizeof(sample->dialled));
	sample->dialled_port = c->dialled_port;
	sample->status = counted->status;
	sample->role = c->role;
	sample->protocol = counted->protocol		 ? counted->protocol
			   : c->protocol == FS_UNDECIDED ? FS_PROTOCOL_NOSUPPORT
							 : c->protocol;
	sample->why = (uint8_t)why;
	sample->l4 = c->tuple.l4;
	write_contents(e, c, sample, counted);
	__atomic_store_n(&sample->sequence, sequence, __ATOMIC_RELEASE);
	__atomic_store_n(&e->table->sample_head, sequence, __ATOMIC_RELEASE);
	e->table->stats.samples_written++;
}
