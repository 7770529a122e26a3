/* SPDX-License-Identifier: Apache-2.0 */
/* Responses: what their pieces say of the request that they belong to, until it is answered and counted. */
#include "state.h"

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
			fs_string_hold_content(e, c, fs_protocol_counted(e, c, w), &outcome->request_content,
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

void fs_response_piece(struct fs_engine *e, uint32_t request, uint64_t last_ns, uint64_t bytes)
{
	struct fs_waiting *w = fs_waiting_at(e, request);

	w->response_last_ns = fs_max(last_ns, w->response_first_ns);
	w->response_bytes += bytes;
}

/* Answered before its end: what follows of it is added to the row later. */
static bool end_early(struct fs_engine *e, struct fs_connection *c, uint32_t request)
{
	struct fs_stream *s = &c->stream[fs_direction_of(c, fs_waiting_at(e, request))];

	if (s->of != request)
		return false;
	fs_request_piece(e, request, s->last_ns, s->message_bytes);
	s->message_bytes = 0;
	s->of = 0;
	return true;
}

/* An interim answer ends nothing of a request that lasts until the other side speaks, where nothing else was said since. */
static void go_on_asking(struct fs_engine *e, struct fs_connection *c, uint32_t request)
{
	const struct fs_waiting *w = fs_waiting_at(e, request);
	struct fs_stream *s = &c->stream[fs_direction_of(c, w)];

	if (w->message.body != FS_BODY_UNTIL_FLIP || c->waiting > 1 || s->phase != FS_PHASE_HEAD || s->buffered)
		return;
	s->phase = FS_PHASE_FLIP;
	s->of = request;
}

void fs_response_end(struct fs_engine *e, struct fs_connection *c, uint32_t request, uint64_t last_ns, uint64_t bytes)
{
	struct fs_waiting *w = fs_waiting_at(e, request);

	fs_response_piece(e, request, last_ns, bytes);
	if (w->answer_flags & FS_MESSAGE_INTERIM) {
		go_on_asking(e, c, request);
		return;
	}
	bool is_early = end_early(e, c, request);
	uint8_t next = w->answer_flags & FS_MESSAGE_SWITCH ? w->next_protocol : FS_UNDECIDED;
	fs_request_unlink(e, c, request);
	if (w->counted == FS_NOT_TO_COUNT) {
		c->failures = 0;
		e->table->stats.discarded_exchanges++;
	} else if (w->counted) {
		e->table->stats.orphan_responses++;
	} else {
		c->failures = 0;
		fs_mode_clean_exchange(e, c);
		if (!is_early && fs_request_settles_later(e, c, request))
			return;
		fs_request_count(e, c, w, 0);
	}
	if (w->answer_flags & FS_MESSAGE_SWITCH) {
		uint32_t content = w->request_content;
		w->request_content = 0;
		fs_string_release(e, c->content);
		c->content = content;
		if (next == FS_UNDECIDED)
			fs_recognise_anew(e, c);
		else
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
