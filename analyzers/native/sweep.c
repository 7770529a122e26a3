/* SPDX-License-Identifier: Apache-2.0 */
/* Time passes: every connection is looked at once in FS_SWEEP_NS, a part of them with each tick. */
#include "state.h"

/* An end that no byte marks is taken from silence. What still comes is added to the row's bytes. */
static void settle_quiet(struct fs_engine *e, struct fs_connection *c, uint64_t now_ns)
{
	struct fs_stream *response = c->requester <= FS_OUT ? &c->stream[!c->requester] : NULL;

	for (uint8_t direction = FS_IN; direction <= FS_OUT; direction++)
		if (c->stream[direction].buffered && fs_since(now_ns, c->stream[direction].last_ns) >= FS_QUIET_NS)
			fs_give_up_short(e, c, direction);
	if (response && response->of && !(response->piece & FS_MESSAGE_REVERSED) && response->phase == FS_PHASE_FLIP &&
	    fs_since(now_ns, response->last_ns) >= FS_QUIET_NS) {
		fs_response_end(e, c, response->of, response->last_ns, response->message_bytes);
		response->message_bytes = 0;
	}
	if (c->flags & FS_C_ANSWERED && fs_since(now_ns, c->exchange_last_ns[FS_SIDE_RESPONSE]) >= FS_QUIET_NS)
		fs_opaque_settle(e, c);
}

/* Bytes that need not wait for an exchange to end, or for a protocol to be recognised. */
static bool is_lasting(const struct fs_connection *c, uint64_t now_ns)
{
	return (c->exchange_bytes[FS_SIDE_REQUEST] || c->exchange_bytes[FS_SIDE_RESPONSE]) &&
	       c->authority != FS_AUTHORITY_OPEN &&
	       (fs_is_opaque(c->protocol) || (c->protocol == FS_UNDECIDED &&
					      fs_since(now_ns, c->exchange_first_ns[FS_SIDE_REQUEST]) >= FS_QUIET_NS));
}

static uint64_t idle_limit(const struct fs_engine *e, const struct fs_connection *c)
{
	uint64_t limit = e->config.connection_idle_ns ? e->config.connection_idle_ns : UINT64_MAX;
	if (c->flags & FS_C_ANNOUNCED)
		return limit < FS_ANNOUNCED_IDLE_NS ? limit : FS_ANNOUNCED_IDLE_NS;
	if (c->kind == FS_KIND_FLOW)
		return limit < FS_FLOW_IDLE_NS ? limit : FS_FLOW_IDLE_NS;
	/* A listener is idle by nature: it goes when it is closed. */
	return c->kind == FS_KIND_LISTENER ? UINT64_MAX : limit;
}

static void look_at(struct fs_engine *e, struct fs_connection *c, uint64_t now_ns)
{
	if (c->kind == 0 || c->flags & FS_C_DYING)
		return;
	if (c->first_waiting && e->config.no_response_ns) {
		fs_requests_unanswered(e, c, now_ns, e->config.no_response_ns);
		fs_flow_idle(e, c);
	}
	if (c->flags & FS_C_EXCHANGE && e->config.no_response_ns)
		fs_opaque_unanswered(e, c, now_ns);
	settle_quiet(e, c, now_ns);
	if (is_lasting(c, now_ns))
		fs_opaque_flush(e, c);
	if (fs_tcp_is_attempt(c) && !c->row && fs_since(now_ns, c->last_ns) >= FS_QUIET_NS)
		fs_row_exists(e, c);
	if (c->flags & FS_C_SRTT_NEW)
		fs_tcp_health(e, c);
	if (c->mode == FS_MODE_FLIPS && c->authority != FS_AUTHORITY_THEIRS) {
		/* One event tells the offsets of a transfer that goes on in one direction. */
		c->run = FS_RUN_BEFORE_FLIPS;
		fs_mode_set(e, c, FS_MODE_LENGTHS, 0);
	}
	if (fs_since(now_ns, c->last_ns) > idle_limit(e, c)) {
		bool is_told = !(c->flags & FS_C_ANNOUNCED) && c->kind != FS_KIND_FLOW;
		uint64_t id = c->id;
		fs_connection_settle(e, c, now_ns, 0);
		if (!(c->flags & FS_C_ANNOUNCED))
			e->table->stats.connections_expired++;
		fs_connection_free(e, c);
		if (is_told)
			fs_mode_ask(e, id);
	}
}

void fs_sweep(struct fs_engine *e, uint64_t now_ns)
{
	uint64_t passed = e->sweep_ns ? fs_since(now_ns, e->sweep_ns) : FS_SWEEP_NS;
	uint64_t part = passed < FS_SWEEP_NS ? passed : FS_SWEEP_NS;
	uint32_t count = (uint32_t)((double)e->connections.highest * (double)part / (double)FS_SWEEP_NS) + 1;

	e->sweep_ns = now_ns;
	for (; count && e->connections.highest; count--) {
		e->sweep_at = e->sweep_at >= e->connections.highest ? 1 : e->sweep_at + 1;
		look_at(e, fs_connection_at(e, e->sweep_at), now_ns);
	}
	fs_flows_expire(e, now_ns);
	fs_rows_sweep(e, (uint32_t)(FS_ROWS / 16 * part / FS_SWEEP_NS) + 1);
	fs_tcp_rows_sweep(e, (uint32_t)(FS_TCP_ROWS / 16 * part / FS_SWEEP_NS) + 1);
	fs_identity_sweep(e, 1);
}

/* The end of a recording. A request for which there was not time enough is neither answered nor unanswered. */
void fs_sweep_everything(struct fs_engine *e)
{
	for (uint32_t i = 1; i <= e->connections.highest; i++) {
		struct fs_connection *c = fs_connection_at(e, i);
		if (c->kind == 0 || c->flags & FS_C_DYING)
			continue;
		fs_connection_settle(e, c, e->now_ns, FS_QUIET_NS);
		fs_requests_discard(e, c);
		if (c->kind == FS_KIND_STREAM && c->flags & FS_C_SRTT_NEW)
			fs_tcp_health(e, c);
	}
}
