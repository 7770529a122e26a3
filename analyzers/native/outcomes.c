/* SPDX-License-Identifier: Apache-2.0 */
/* How a request ends: counted with its response, at once or once both of its ends were told, without one, or not at all. */
#include "state.h"

static const struct fs_label no_response = {11, "no response"};

/* A request may be of a protocol of its own within its connection's. */
uint8_t fs_protocol_counted(const struct fs_engine *e, const struct fs_connection *c, const struct fs_waiting *w)
{
	bool has_own = w->message.protocol && e->config.protocols_enabled >> w->message.protocol % FS_PROTOCOL_MAX & 1;
	return has_own ? w->message.protocol : c->protocol;
}

void fs_request_count(struct fs_engine *e, struct fs_connection *c, const struct fs_waiting *w, uint32_t flags)
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
		.protocol = fs_protocol_counted(e, c, w),
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

/* Counts it in a moment, if it may not be counted now; false if it may. */
bool fs_request_settles_later(struct fs_engine *e, struct fs_connection *c, uint32_t index)
{
	struct fs_waiting *w = fs_waiting_at(e, index);

	if (!may_settle_later(e, c, w))
		return false;
	w->due_ns = e->now_ns + FS_SETTLE_NS;
	w->next = 0;
	if (e->last_settling)
		fs_waiting_at(e, e->last_settling)->next = index;
	else
		e->first_settling = index;
	e->last_settling = index;
	c->settling++;
	return true;
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
		fs_request_count(e, c, w, 0);
		fs_request_release(e, index);
		c->settling--;
		if (!c->settling && c->flags & FS_C_DYING)
			fs_connection_free(e, c);
		else
			fs_flow_idle(e, c);
	}
}

/* Half-seen exchanges: what they were is not known, so they are nothing but discarded. */
void fs_requests_discard(struct fs_engine *e, struct fs_connection *c)
{
	while (c->first_waiting) {
		uint32_t index = c->first_waiting;
		struct fs_waiting *w = fs_waiting_at(e, index);
		fs_request_unlink(e, c, index);
		if (w->counted != FS_COUNTED_UNANSWERED && c->authority != FS_AUTHORITY_THEIRS &&
		    !(c->flags & FS_C_HANDSHAKE))
			e->table->stats.discarded_exchanges++;
		fs_request_release(e, index);
	}
	c->flags &= ~(uint32_t)FS_C_HANDSHAKE;
}

void fs_request_unanswered(struct fs_engine *e, struct fs_connection *c, struct fs_waiting *w, uint64_t now_ns)
{
	bool expected = !(w->message.flags & (FS_MESSAGE_NO_ANSWER | FS_MESSAGE_QUIET));

	fs_stitch(e, c->protocol, &w->message, NULL);
	w->request_content = fs_string_hold_content(e, c, fs_protocol_counted(e, c, w), &e->outcome.request_content, 0);
	w->response_content = fs_string_hold(
		e, expected && !e->outcome.response_content.length ? &no_response : &e->outcome.response_content, 0);
	w->error = expected || e->outcome.error;
	w->status = expected ? 0 : e->outcome.status;
	w->response_first_ns = w->response_last_ns = fs_max(now_ns, w->last_ns);
	fs_request_count(e, c, w, expected ? FS_ROW_NO_RESPONSE : 0);
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
		const struct fs_stream *asks = &c->stream[fs_direction_of(c, w)];
		next = w->next;
		uint64_t last_ns = index == asks->of ? fs_max(w->last_ns, asks->last_ns) : w->last_ns;
		if (w->begun || c->stream[!fs_direction_of(c, w)].of == index ||
		    (patience_ns && fs_since(now_ns, last_ns) <= patience_ns))
			continue;
		if (!w->counted && fs_may_be_lost(e, w->first_ns))
			w->counted = FS_NOT_TO_COUNT;
		if (!w->counted) {
			if (index == asks->of)
				w->bytes += asks->message_bytes;
			w->last_ns = fs_max(w->last_ns, w->complete ? 0 : last_ns);
			fs_request_unanswered(e, c, w, now_ns);
			w->counted = FS_COUNTED_UNANSWERED;
		}
		if (keeps_place)
			continue;
		if (w->counted == FS_NOT_TO_COUNT)
			e->table->stats.discarded_exchanges++;
		fs_request_unlink(e, c, index);
		fs_request_release(e, index);
	}
}
