/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that wait: in order or by id, until they are answered, given up, or discarded because a part was not seen. */
#include "state.h"

static const struct fs_label no_response = {11, "no response"};

void fs_request_release(struct fs_engine *e, uint32_t index)
{
	struct fs_waiting *w = fs_waiting_at(e, index);
	fs_string_release(e, w->request_content);
	fs_string_release(e, w->response_content);
	fs_pool_give(&e->waitings, index);
}

static bool is_reversed(const struct fs_waiting *w)
{
	return w->message.flags & FS_MESSAGE_REVERSED;
}

/* The direction in which its bytes go. */
static uint8_t direction_of(const struct fs_connection *c, const struct fs_waiting *w)
{
	return (c->requester == FS_OUT) != is_reversed(w);
}

static uint32_t hash_request(uint32_t connection, const struct fs_message *message)
{
	bool reversed = message->flags & FS_MESSAGE_REVERSED;
	return fs_hash_end(fs_mix(fs_mix(FS_HASH_SEED, (uint64_t)connection << 1 | reversed), message->id));
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
	c->reversed += is_reversed(w);
	w->hash = by_id ? hash_request(w->connection, &w->message) : 0;
	if (by_id)
		fs_index_add(&e->by_request, w->hash, index);
}

static void unlink_request(struct fs_engine *e, struct fs_connection *c, uint32_t index)
{
	struct fs_waiting *w = fs_waiting_at(e, index);

	if (w->hash)
		fs_index_remove(&e->by_request, w->hash, index);
	w->hash = 0;
	if (w->previous)
		fs_waiting_at(e, w->previous)->next = w->next;
	else
		c->first_waiting = w->next;
	if (w->next)
		fs_waiting_at(e, w->next)->previous = w->previous;
	else
		c->last_waiting = w->previous;
	c->waiting--;
	c->reversed -= is_reversed(w);
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

static void unanswered(struct fs_engine *e, struct fs_connection *c, struct fs_waiting *w, uint64_t now_ns);

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
	unlink_request(e, c, index);
	if (!w->counted)
		unanswered(e, c, w, now_ns);
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
	if (c->waiting - c->reversed > 1 && !is_reversed(w) && c->kind == FS_KIND_STREAM && !by_id) {
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
	unlink_request(e, c, request);
	if (!w->counted)
		unanswered(e, c, w, w->last_ns);
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

static uint32_t find(struct fs_engine *e, const struct fs_connection *c, bool is_open)
{
	const struct fs_message *wanted = &e->message;
	uint32_t connection = fs_index_of(e, c), hash = hash_request(connection, wanted), probe;

	for (uint32_t i = fs_index_first(&e->by_request, hash, &probe); i;
	     i = fs_index_next(&e->by_request, hash, &probe)) {
		const struct fs_waiting *w = fs_waiting_at(e, i);
		if (w->connection == connection && w->message.id == wanted->id && !(is_open && w->complete) &&
		    is_reversed(w) == !!(wanted->flags & FS_MESSAGE_REVERSED))
			return i;
	}
	return 0;
}

/* Which request a response, now in e->message, belongs to; 0 if none. The oldest one, if several have the same id. */
uint32_t fs_request_for(struct fs_engine *e, const struct fs_connection *c, const struct fs_protocol *p)
{
	bool reversed = e->message.flags & FS_MESSAGE_REVERSED;
	uint32_t index = c->first_waiting;

	if (p->pairs_by_id)
		return find(e, c, false);
	while (index && is_reversed(fs_waiting_at(e, index)) != reversed)
		index = fs_waiting_at(e, index)->next;
	return index;
}

/* Which request goes on with the piece that is now in e->message; 0 if none. */
uint32_t fs_request_open(struct fs_engine *e, const struct fs_connection *c)
{
	return find(e, c, true);
}

static uint8_t protocol_of(const struct fs_engine *e, const struct fs_connection *c, const struct fs_waiting *w)
{
	bool has_own = w->message.protocol && e->config.protocols_enabled >> w->message.protocol % FS_PROTOCOL_MAX & 1;
	return has_own ? w->message.protocol : c->protocol;
}

static void replace(struct fs_engine *e, uint32_t *string, uint32_t with)
{
	fs_string_release(e, *string);
	*string = with;
}

/* What the response, or a piece of it, that is now in e->message says. What it leaves empty stays as it was told. */
void fs_response_told(struct fs_engine *e, struct fs_connection *c, uint32_t request)
{
	struct fs_waiting *w = fs_waiting_at(e, request);
	const struct fs_row *hint = &e->table->rows[c->row];
	const struct fs_outcome *outcome = &e->outcome;

	if (e->message.protocol)
		w->message.protocol = e->message.protocol;
	fs_stitch(e, c->protocol, &w->message, &e->message);
	if (outcome->status)
		w->status = outcome->status;
	w->error |= outcome->error;
	if (outcome->request_content.length)
		replace(e, &w->request_content,
			fs_string_hold_content(e, c, protocol_of(e, c, w), &outcome->request_content,
					       hint->request_content));
	if (outcome->response_content.length)
		replace(e, &w->response_content, fs_string_hold(e, &outcome->response_content, hint->response_content));
}

void fs_response_begin(struct fs_engine *e, struct fs_connection *c, uint32_t request, uint64_t first_ns)
{
	struct fs_waiting *w = fs_waiting_at(e, request);

	w->answer_flags = (uint8_t)e->message.flags;
	w->next_protocol = e->message.next_protocol;
	if (e->message.flags & FS_MESSAGE_INTERIM)
		return;
	w->begun = 1;
	w->response_first_ns = w->response_last_ns = fs_max(first_ns, w->first_ns);
	fs_response_told(e, c, request);
}

static void count(struct fs_engine *e, struct fs_connection *c, const struct fs_waiting *w, uint32_t flags)
{
	struct fs_counted counted = {
		.request_content = w->request_content,
		.response_content = w->response_content,
		.flags = flags | (w->error ? FS_ROW_ERROR : 0),
		.status = w->status,
		.start_ns = w->first_ns,
		.end_ns = fs_max(w->response_last_ns, w->last_ns),
		.request_ns = fs_since(w->last_ns, w->first_ns),
		.processing_ns = fs_since(w->response_first_ns, w->last_ns),
		.response_ns = fs_since(w->response_last_ns, fs_max(w->response_first_ns, w->last_ns)),
		.request_bytes = w->bytes,
		.response_bytes = w->response_bytes,
		.request = w,
		.protocol = protocol_of(e, c, w),
		.verb = e->config.count_verbs ? w->message.verb : 0,
	};
	if (!fs_may_count(e, c))
		return;
	if (w->message.flags & FS_MESSAGE_IF_FAILED && !w->error) {
		fs_row_bytes(e, c, w->bytes, w->response_bytes);
		return;
	}
	if (!fs_row_count(e, c, &counted))
		return;
	e->table->stats.requests++;
	if (flags & FS_ROW_NO_RESPONSE)
		e->table->stats.no_response++;
}

/*
 * What a server did may be counted before the client's end is told, if events of another CPU come late: then it would
 * not be known as a request inside this node. So datagrams, and the first request of a connection, wait a moment.
 */
static bool may_settle_later(struct fs_engine *e, struct fs_connection *c, const struct fs_waiting *w)
{
	const uint32_t decided = FS_C_BOTH_ENDS | FS_C_DYING | FS_C_FIRST_SETTLED;

	if (c->role != FS_ROLE_SERVER || c->flags & decided)
		return false;
	if (c->kind == FS_KIND_FLOW)
		return true;
	c->flags |= FS_C_FIRST_SETTLED;
	return !(w->answer_flags & FS_MESSAGE_SWITCH) && fs_may_have_other_end(e, c);
}

static void settle_later(struct fs_engine *e, struct fs_connection *c, uint32_t index, struct fs_waiting *w)
{
	w->due_ns = e->now_ns + FS_SETTLE_NS;
	w->next = 0;
	if (e->last_settling)
		fs_waiting_at(e, e->last_settling)->next = index;
	else
		e->first_settling = index;
	e->last_settling = index;
	c->settling++;
}

void fs_requests_settled(struct fs_engine *e, uint64_t now_ns)
{
	while (e->first_settling && fs_waiting_at(e, e->first_settling)->due_ns <= now_ns) {
		uint32_t index = e->first_settling;
		struct fs_waiting *w = fs_waiting_at(e, index);
		struct fs_connection *c = fs_connection_at(e, w->connection);

		e->first_settling = w->next;
		if (!e->first_settling)
			e->last_settling = 0;
		count(e, c, w, 0);
		fs_request_release(e, index);
		c->settling--;
		if (!c->settling && c->flags & FS_C_DYING)
			fs_connection_free(e, c);
		else
			fs_flow_idle(e, c);
	}
}

void fs_response_piece(struct fs_engine *e, uint32_t request, uint64_t last_ns, uint64_t bytes)
{
	struct fs_waiting *w = fs_waiting_at(e, request);

	w->response_last_ns = fs_max(last_ns, w->response_first_ns);
	w->response_bytes += bytes;
}

/* Answered before its end: what follows of it is added to the row later. */
static bool end_early(struct fs_engine *e, struct fs_connection *c, uint32_t request)
{
	struct fs_stream *s = &c->stream[direction_of(c, fs_waiting_at(e, request))];

	if (s->of != request)
		return false;
	fs_request_piece(e, request, s->last_ns, s->message_bytes);
	s->message_bytes = 0;
	s->of = 0;
	return true;
}

void fs_response_end(struct fs_engine *e, struct fs_connection *c, uint32_t request, uint64_t last_ns, uint64_t bytes)
{
	struct fs_waiting *w = fs_waiting_at(e, request);

	fs_response_piece(e, request, last_ns, bytes);
	if (w->answer_flags & FS_MESSAGE_INTERIM)
		return;
	bool is_early = end_early(e, c, request);
	uint8_t next = w->answer_flags & FS_MESSAGE_SWITCH ? w->next_protocol : FS_UNDECIDED;
	unlink_request(e, c, request);
	if (w->counted == FS_NOT_TO_COUNT) {
		c->failures = 0;
		e->table->stats.discarded_exchanges++;
	} else if (w->counted) {
		e->table->stats.orphan_responses++;
	} else {
		c->failures = 0;
		fs_mode_clean_exchange(e, c);
		if (!is_early && may_settle_later(e, c, w)) {
			settle_later(e, c, request, w);
			return;
		}
		count(e, c, w, 0);
	}
	if (w->answer_flags & FS_MESSAGE_SWITCH) {
		uint32_t content = w->request_content;
		w->request_content = 0;
		fs_string_release(e, c->content);
		c->content = content;
		fs_protocol_set(e, c, next);
	}
	fs_request_release(e, request);
}

/* The piece that is now in e->message is the response of all that waits with an id up to `id`. */
void fs_requests_settle(struct fs_engine *e, struct fs_connection *c, uint64_t id, uint64_t now_ns)
{
	while (c->first_waiting && fs_waiting_at(e, c->first_waiting)->message.id <= id) {
		uint32_t index = c->first_waiting;
		fs_response_begin(e, c, index, now_ns);
		fs_response_end(e, c, index, now_ns, 0);
	}
}

/* Responses that had begun, of several messages each, ended with the connection. */
void fs_responses_over(struct fs_engine *e, struct fs_connection *c)
{
	for (uint32_t index = c->first_waiting, next; index; index = next) {
		const struct fs_waiting *w = fs_waiting_at(e, index);
		next = w->next;
		if (w->begun)
			fs_response_end(e, c, index, w->response_last_ns, 0);
	}
}

/* Half-seen exchanges: what they were is not known, so they are nothing but discarded. */
void fs_requests_discard(struct fs_engine *e, struct fs_connection *c)
{
	while (c->first_waiting) {
		uint32_t index = c->first_waiting;
		struct fs_waiting *w = fs_waiting_at(e, index);
		unlink_request(e, c, index);
		if (w->counted != FS_COUNTED_UNANSWERED && c->authority != FS_AUTHORITY_THEIRS &&
		    !(c->flags & FS_C_HANDSHAKE))
			e->table->stats.discarded_exchanges++;
		fs_request_release(e, index);
	}
	c->flags &= ~(uint32_t)FS_C_HANDSHAKE;
}

static void unanswered(struct fs_engine *e, struct fs_connection *c, struct fs_waiting *w, uint64_t now_ns)
{
	bool expected = !(w->message.flags & (FS_MESSAGE_NO_ANSWER | FS_MESSAGE_QUIET));

	fs_stitch(e, c->protocol, &w->message, NULL);
	w->request_content = fs_string_hold_content(e, c, protocol_of(e, c, w), &e->outcome.request_content, 0);
	w->response_content = fs_string_hold(
		e, expected && !e->outcome.response_content.length ? &no_response : &e->outcome.response_content, 0);
	w->error = expected || e->outcome.error;
	w->status = expected ? 0 : e->outcome.status;
	w->response_first_ns = w->response_last_ns = fs_max(now_ns, w->last_ns);
	count(e, c, w, expected ? FS_ROW_NO_RESPONSE : 0);
}

/*
 * Counts what waited for longer than `patience_ns`; 0 is for a connection that ended. In order, the request keeps its
 * place, so that a late response is not taken for the next one's.
 */
void fs_requests_unanswered(struct fs_engine *e, struct fs_connection *c, uint64_t now_ns, uint64_t patience_ns)
{
	if (c->flags & FS_C_HANDSHAKE || !c->first_waiting)
		return;
	const struct fs_protocol *p = fs_protocol_of(e, c->protocol);
	bool keeps_place = patience_ns && p && !p->pairs_by_id;

	/* Only by id does a request wait while a direction is lost: its response may have passed there. */
	if (c->stream[FS_IN].phase == FS_PHASE_LOST || c->stream[FS_OUT].phase == FS_PHASE_LOST) {
		fs_requests_discard(e, c);
		return;
	}
	for (uint32_t index = c->first_waiting, next; index; index = next) {
		struct fs_waiting *w = fs_waiting_at(e, index);
		const struct fs_stream *asks = &c->stream[direction_of(c, w)];
		next = w->next;
		uint64_t last_ns = index == asks->of ? fs_max(w->last_ns, asks->last_ns) : w->last_ns;
		if (w->begun || c->stream[!direction_of(c, w)].of == index ||
		    (patience_ns && fs_since(now_ns, last_ns) <= patience_ns))
			continue;
		if (!w->counted && fs_may_be_lost(e, w->first_ns))
			w->counted = FS_NOT_TO_COUNT;
		if (!w->counted) {
			if (index == asks->of)
				w->bytes += asks->message_bytes;
			w->last_ns = fs_max(w->last_ns, w->complete ? 0 : last_ns);
			unanswered(e, c, w, now_ns);
			w->counted = FS_COUNTED_UNANSWERED;
		}
		if (keeps_place)
			continue;
		if (w->counted == FS_NOT_TO_COUNT)
			e->table->stats.discarded_exchanges++;
		unlink_request(e, c, index);
		fs_request_release(e, index);
	}
}
