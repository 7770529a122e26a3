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

static void append(struct fs_engine *e, struct fs_connection *c, uint32_t index)
{
	if (c->last_waiting)
		fs_waiting_at(e, c->last_waiting)->next = index;
	else
		c->first_waiting = index;
	c->last_waiting = index;
	c->waiting++;
}

static void unlink_request(struct fs_engine *e, struct fs_connection *c, uint32_t index)
{
	uint32_t before = 0, at = c->first_waiting;

	while (at && at != index) {
		before = at;
		at = fs_waiting_at(e, at)->next;
	}
	if (!at)
		return;
	uint32_t after = fs_waiting_at(e, index)->next;
	if (before)
		fs_waiting_at(e, before)->next = after;
	else
		c->first_waiting = after;
	if (c->last_waiting == index)
		c->last_waiting = before;
	c->waiting--;
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

/* e->message starts a request. NULL if there is no room to wait: then nothing on this connection can be paired. */
struct fs_waiting *fs_request_begin(struct fs_engine *e, struct fs_connection *c, uint64_t first_ns, uint32_t pid)
{
	uint32_t limit = c->kind == FS_KIND_FLOW ? 4 * FS_WAITING_PER_CONNECTION : FS_WAITING_PER_CONNECTION;

	if (c->waiting >= limit) {
		e->table->stats.pending_overflow++;
		return NULL;
	}
	uint32_t index = fs_pool_take(&e->waitings);
	if (!index) {
		e->table->stats.pending_exhausted++;
		return NULL;
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
	w->complete = w->counted = w->error = w->answer_flags = w->next_protocol = 0;
	copy_message(&w->message, &e->message);
	append(e, c, index);
	c->receiving = index;
	if (c->waiting > 1 && c->kind == FS_KIND_STREAM && !fs_protocol_by_id(c->protocol)->pairs_by_id) {
		c->flags |= FS_C_PIPELINED;
		fs_mode_need_bytes(e, c);
	}
	return w;
}

void fs_request_end(struct fs_engine *e, struct fs_connection *c, struct fs_waiting *w, uint64_t last_ns,
		    uint64_t bytes)
{
	w->last_ns = fs_max(last_ns, w->first_ns);
	w->bytes = bytes;
	w->complete = 1;
	if (!(w->message.flags & FS_MESSAGE_NO_ANSWER))
		return;
	uint32_t index = c->receiving;
	unlink_request(e, c, index);
	unanswered(e, c, w, w->last_ns);
	fs_request_release(e, index);
}

/* The beginning of a message for a sample, if the user asked for payload at all. */
void fs_text_keep(struct fs_engine *e, uint32_t request, enum fs_side side, struct fs_cursor bytes)
{
	uint64_t length = e->message.length < fs_left(&bytes) ? e->message.length : fs_left(&bytes);

	if (e->config.capture_bytes)
		fs_waiting_at(e, request)->text_length[side] =
			fs_redacted(bytes.at, (uint32_t)length, e->config.capture_bytes, e->texts[request].text[side]);
}

/* Which request a response, now in e->message, belongs to; 0 if none. */
uint32_t fs_request_for(struct fs_engine *e, struct fs_connection *c, const struct fs_protocol *p, uint64_t id)
{
	uint32_t index = c->first_waiting;
	while (p->pairs_by_id && index && fs_waiting_at(e, index)->message.id != id)
		index = fs_waiting_at(e, index)->next;
	return index;
}

void fs_response_begin(struct fs_engine *e, struct fs_connection *c, uint32_t request, uint64_t first_ns)
{
	struct fs_waiting *w = fs_waiting_at(e, request);
	const struct fs_row *hint = &e->table->rows[c->row];

	c->answering = request;
	w->answer_flags = (uint8_t)e->message.flags;
	w->next_protocol = e->message.next_protocol;
	if (e->message.flags & FS_MESSAGE_INTERIM)
		return;
	fs_stitch(e, c->protocol, &w->message, &e->message);
	fs_string_release(e, w->request_content);
	fs_string_release(e, w->response_content);
	w->response_first_ns = fs_max(first_ns, w->first_ns);
	w->status = e->outcome.status;
	w->error = e->outcome.error;
	w->request_content = fs_string_hold_content(e, c, &e->outcome.request_content, hint->request_content);
	w->response_content = fs_string_hold(e, &e->outcome.response_content, hint->response_content);
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
	};
	if (!fs_may_count(e, c))
		return;
	fs_row_count(e, c, &counted);
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

void fs_response_end(struct fs_engine *e, struct fs_connection *c, uint64_t last_ns, uint64_t bytes)
{
	uint32_t index = c->answering;
	struct fs_waiting *w = fs_waiting_at(e, index);

	c->answering = 0;
	w->response_last_ns = fs_max(last_ns, w->response_first_ns);
	w->response_bytes += bytes;
	if (w->answer_flags & FS_MESSAGE_INTERIM)
		return;
	bool is_early = c->receiving == index;
	if (is_early) {
		/* Answered before its end: what follows of it is added to the row later. */
		struct fs_stream *s = &c->stream[c->requester];
		fs_request_end(e, c, w, s->last_ns, s->message_bytes);
		s->message_bytes = 0;
		c->receiving = 0;
	}
	uint8_t next = w->answer_flags & FS_MESSAGE_SWITCH ? w->next_protocol : FS_UNDECIDED;
	unlink_request(e, c, index);
	if (w->counted) {
		e->table->stats.orphan_responses++;
	} else {
		c->failures = 0;
		fs_mode_clean_exchange(e, c);
		if (!is_early && may_settle_later(e, c, w)) {
			settle_later(e, c, index, w);
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
	fs_request_release(e, index);
}

/* Half-seen exchanges: what they were is not known, so they are nothing but discarded. */
void fs_requests_discard(struct fs_engine *e, struct fs_connection *c)
{
	while (c->first_waiting) {
		uint32_t index = c->first_waiting;
		struct fs_waiting *w = fs_waiting_at(e, index);
		c->first_waiting = w->next;
		if (!w->counted && c->authority != FS_AUTHORITY_THEIRS && !(c->flags & FS_C_HANDSHAKE))
			e->table->stats.discarded_exchanges++;
		fs_request_release(e, index);
	}
	c->last_waiting = c->answering = c->receiving = 0;
	c->waiting = 0;
	c->flags &= ~(uint32_t)FS_C_HANDSHAKE;
}

static void unanswered(struct fs_engine *e, struct fs_connection *c, struct fs_waiting *w, uint64_t now_ns)
{
	bool expected = !(w->message.flags & FS_MESSAGE_NO_ANSWER);

	fs_stitch(e, c->protocol, &w->message, NULL);
	w->request_content = fs_string_hold_content(e, c, &e->outcome.request_content, 0);
	w->response_content = fs_string_hold(
		e, expected && !e->outcome.response_content.length ? &no_response : &e->outcome.response_content, 0);
	w->error = expected || e->outcome.error;
	w->status = 0;
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
	const struct fs_protocol *p = fs_protocol_by_id(c->protocol);
	bool keeps_place = patience_ns && p && !p->pairs_by_id;

	for (uint32_t index = c->first_waiting, next; index; index = next) {
		struct fs_waiting *w = fs_waiting_at(e, index);
		next = w->next;
		uint64_t last_ns =
			index == c->receiving ? fs_max(w->last_ns, c->stream[c->requester].last_ns) : w->last_ns;
		if (index == c->answering || (patience_ns && fs_since(now_ns, last_ns) <= patience_ns))
			continue;
		if (index == c->receiving && c->requester <= FS_OUT)
			w->bytes = c->stream[c->requester].message_bytes;
		if (!w->counted) {
			w->last_ns = fs_max(w->last_ns, w->complete ? 0 : last_ns);
			unanswered(e, c, w, now_ns);
		}
		w->counted = 1;
		if (keeps_place)
			continue;
		if (c->receiving == index)
			c->receiving = 0;
		unlink_request(e, c, index);
		fs_request_release(e, index);
	}
}
