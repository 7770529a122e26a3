/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that wait, in order or by id: from their first byte until the response is found that belongs to them. */
#include "state.h"

void fs_request_release(struct fs_engine *e, uint32_t index)
{
	struct fs_waiting *w = fs_waiting_at(e, index);
	fs_string_release(e, w->request_content);
	fs_string_release(e, w->response_content);
	fs_pool_give(&e->waitings, index);
}

static uint32_t hash_request(uint32_t connection, const struct fs_message *message)
{
	bool reversed = message->flags & FS_MESSAGE_REVERSED;
	return fs_hash_end(fs_mix(fs_mix(FS_HASH_SEED, (uint64_t)connection << 1 | reversed), message->id));
}

/* The oldest that waits with this id, 0 if none does. */
static uint32_t oldest_of_id(struct fs_engine *e, uint32_t connection, const struct fs_message *wanted, uint32_t hash)
{
	uint32_t probe;

	for (uint32_t i = fs_index_first(&e->by_request, hash, &probe); i;
	     i = fs_index_next(&e->by_request, hash, &probe)) {
		const struct fs_waiting *w = fs_waiting_at(e, i);
		if (w->connection == connection && w->message.id == wanted->id &&
		    fs_is_reversed(w) == !!(wanted->flags & FS_MESSAGE_REVERSED))
			return i;
	}
	return 0;
}

/*
 * A peer chooses its ids, and may choose one for thousands. Each of them in the index would be a run of slots, through
 * which all that comes and goes is looked for: so only the oldest is there, and leads to the others.
 */
static void join_id(struct fs_engine *e, uint32_t index)
{
	struct fs_waiting *w = fs_waiting_at(e, index);
	uint32_t hash = hash_request(w->connection, &w->message);
	uint32_t oldest = oldest_of_id(e, w->connection, &w->message, hash);

	if (!oldest) {
		w->older = w->newer = index;
		w->hash = hash;
		fs_index_add(&e->by_request, hash, index);
		return;
	}
	struct fs_waiting *first = fs_waiting_at(e, oldest);
	w->older = first->older;
	w->newer = oldest;
	fs_waiting_at(e, first->older)->newer = index;
	first->older = index;
}

static void leave_id(struct fs_engine *e, uint32_t index)
{
	struct fs_waiting *w = fs_waiting_at(e, index), *next = fs_waiting_at(e, w->newer);

	if (w->newer == index) {
		fs_index_remove(&e->by_request, w->hash, index);
	} else {
		if (w->hash) {
			fs_index_replace(&e->by_request, w->hash, index, w->newer);
			next->hash = w->hash;
		}
		next->older = w->older;
		fs_waiting_at(e, w->older)->newer = w->newer;
	}
	w->hash = w->older = w->newer = 0;
}

static void append(struct fs_engine *e, struct fs_connection *c, uint32_t index, bool by_id)
{
	struct fs_waiting *w = fs_waiting_at(e, index);

	w->previous = c->last_waiting;
	if (c->last_waiting)
		fs_waiting_at(e, c->last_waiting)->next = index;
	else
		c->first_waiting = index;
	c->last_waiting = index;
	c->waiting++;
	c->reversed += fs_is_reversed(w);
	w->hash = w->older = w->newer = 0;
	if (by_id)
		join_id(e, index);
}

void fs_request_unlink(struct fs_engine *e, struct fs_connection *c, uint32_t index)
{
	struct fs_waiting *w = fs_waiting_at(e, index);

	if (w->newer)
		leave_id(e, index);
	if (w->previous)
		fs_waiting_at(e, w->previous)->next = w->next;
	else
		c->first_waiting = w->next;
	if (w->next)
		fs_waiting_at(e, w->next)->previous = w->previous;
	else
		c->last_waiting = w->previous;
	c->waiting--;
	c->reversed -= fs_is_reversed(w);
	for (int direction = FS_IN; direction <= FS_OUT; direction++)
		if (c->stream[direction].of == index)
			c->stream[direction].of = 0;
}

/* The parser's message, without the unused part of its text. */
static void copy_message(struct fs_message *to, const struct fs_message *from)
{
	size_t text = from->content.length < sizeof(from->content.text) ? from->content.length
									: sizeof(from->content.text) - 1;
	memcpy(to, from, offsetof(struct fs_message, content.text) + text);
	to->content.length = (uint16_t)text;
	to->content.text[text] = 0;
}

static uint32_t most_waiting(const struct fs_connection *c, bool by_id)
{
	return c->kind == FS_KIND_FLOW ? FS_WAITING_PER_FLOW : by_id ? FS_WAITING_BY_ID : FS_WAITING_PER_CONNECTION;
}

/* The oldest request stays without an answer, as a quiet one may. False if it is none. */
bool fs_request_passed(struct fs_engine *e, struct fs_connection *c, uint64_t now_ns)
{
	uint32_t index = c->first_waiting;
	struct fs_waiting *w = index ? fs_waiting_at(e, index) : NULL;

	if (!w || !(w->message.flags & FS_MESSAGE_QUIET) || w->begun)
		return false;
	fs_request_unlink(e, c, index);
	if (!w->counted)
		fs_request_unanswered(e, c, w, now_ns);
	fs_request_release(e, index);
	return true;
}

/* Many quiet requests may wait for the one behind them; where there is no room for more, the oldest was not answered. */
static bool is_room(struct fs_engine *e, struct fs_connection *c, bool by_id)
{
	bool is_quiet = e->message.flags & FS_MESSAGE_QUIET;

	return c->waiting < most_waiting(c, by_id || is_quiet) || fs_request_passed(e, c, e->now_ns);
}

/* e->message starts a request. 0 if there is no room to wait: then nothing on this connection can be paired. */
uint32_t fs_request_begin(struct fs_engine *e, struct fs_connection *c, uint64_t first_ns, uint32_t pid)
{
	bool by_id = fs_protocol_of(e, c->protocol)->pairs_by_id;

	if (!is_room(e, c, by_id)) {
		e->table->stats.pending_overflow++;
		return 0;
	}
	uint32_t index = fs_pool_take(&e->waitings);
	if (!index) {
		e->table->stats.pending_exhausted++;
		return 0;
	}
	struct fs_waiting *w = fs_waiting_at(e, index);
	/* Field by field: a memset of this size is the slowest part of a request. */
	w->next = 0;
	w->connection = fs_index_of(e, c);
	w->first_ns = w->last_ns = first_ns;
	w->bytes = w->response_bytes = 0;
	w->response_first_ns = w->response_last_ns = w->due_ns = 0;
	w->request_content = w->response_content = 0;
	w->pid = pid ? pid : c->pid;
	w->status = 0;
	w->text_length[FS_SIDE_REQUEST] = w->text_length[FS_SIDE_RESPONSE] = 0;
	w->complete = w->begun = w->error = w->answer_flags = w->next_protocol = 0;
	w->counted = c->flags & FS_C_TRIAL ? FS_NOT_TO_COUNT : FS_NOT_COUNTED;
	copy_message(&w->message, &e->message);
	append(e, c, index, by_id);
	c->cuts = (uint8_t)(c->cuts - (c->cuts && c->cuts < FS_CUTS_TOO_MANY));
	if (c->waiting - c->reversed > 1 && !fs_is_reversed(w) && c->kind == FS_KIND_STREAM && !by_id) {
		c->flags |= FS_C_PIPELINED;
		fs_mode_need_bytes(e, c);
	}
	return index;
}

/* A piece of the request, which may be its last: e->message says more of it than its beginning did. */
void fs_request_told(struct fs_engine *e, uint32_t request)
{
	struct fs_message *told = &fs_waiting_at(e, request)->message;
	const struct fs_message *more = &e->message;

	told->flags |= more->flags & FS_MESSAGE_NO_ANSWER;
	told->status = more->status ? more->status : told->status;
	told->method = more->method ? more->method : told->method;
	told->note = more->note ? more->note : told->note;
	told->protocol = more->protocol ? more->protocol : told->protocol;
	if (more->content.length)
		memcpy(&told->content, &more->content, sizeof(told->content));
}

void fs_request_piece(struct fs_engine *e, uint32_t request, uint64_t last_ns, uint64_t bytes)
{
	struct fs_waiting *w = fs_waiting_at(e, request);

	w->last_ns = fs_max(last_ns, w->last_ns);
	w->bytes += bytes;
}

void fs_request_end(struct fs_engine *e, struct fs_connection *c, uint32_t request, uint64_t last_ns, uint64_t bytes)
{
	struct fs_waiting *w = fs_waiting_at(e, request);

	fs_request_piece(e, request, last_ns, bytes);
	w->complete = 1;
	if (!(w->message.flags & FS_MESSAGE_NO_ANSWER))
		return;
	fs_request_unlink(e, c, request);
	if (!w->counted)
		fs_request_unanswered(e, c, w, w->last_ns);
	fs_request_release(e, request);
}

/* The beginning of a message for a sample, if the user asked for payload at all. */
void fs_text_keep(struct fs_engine *e, uint32_t request, enum fs_side side, struct fs_cursor bytes)
{
	uint64_t length = e->message.length < fs_left(&bytes) ? e->message.length : fs_left(&bytes);

	if (e->config.capture_bytes)
		fs_waiting_at(e, request)->text_length[side] =
			fs_redacted(bytes.at, (uint32_t)length, e->config.capture_bytes, e->texts[request].text[side]);
}

static uint32_t oldest_with_this_id(struct fs_engine *e, const struct fs_connection *c)
{
	uint32_t connection = fs_index_of(e, c);
	return oldest_of_id(e, connection, &e->message, hash_request(connection, &e->message));
}

/* Which request a response, now in e->message, belongs to; 0 if none. The oldest one, if several have the same id. */
uint32_t fs_request_for(struct fs_engine *e, const struct fs_connection *c, const struct fs_protocol *p)
{
	bool reversed = e->message.flags & FS_MESSAGE_REVERSED;
	uint32_t index = c->first_waiting;

	if (p->pairs_by_id)
		return oldest_with_this_id(e, c);
	while (index && fs_is_reversed(fs_waiting_at(e, index)) != reversed)
		index = fs_waiting_at(e, index)->next;
	return index;
}

/* Which request goes on with the piece that is now in e->message; 0 if none. Of several with its id the newest. */
uint32_t fs_request_open(struct fs_engine *e, const struct fs_connection *c)
{
	uint32_t oldest = oldest_with_this_id(e, c), newest = oldest ? fs_waiting_at(e, oldest)->older : 0;

	return newest && !fs_waiting_at(e, newest)->complete ? newest : 0;
}
