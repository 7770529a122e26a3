/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams: one socket may talk to many, so a conversation is a socket and one peer. It is found by both, lives as
 * long as something waits in it and a moment longer, and gives its place up when the table is full.
 */
#include "state.h"

static bool is_group(const uint8_t address[16])
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	static const uint8_t all[4] = {255, 255, 255, 255};

	if (memcmp(address, mapped, sizeof(mapped)) == 0)
		return (address[12] & 0xf0) == 0xe0 || memcmp(address + 12, all, sizeof(all)) == 0;
	return address[0] == 0xff;
}

static struct fs_connection *find_flow(struct fs_engine *e, const struct fs_datagram *event, uint32_t hash)
{
	uint32_t probe;
	for (uint32_t i = fs_index_first(&e->by_id, hash, &probe); i; i = fs_index_next(&e->by_id, hash, &probe)) {
		struct fs_connection *c = fs_connection_at(e, i);
		if (c->kind == FS_KIND_FLOW && c->id == event->head.conn_id &&
		    c->told_port == event->tuple.remote_port && memcmp(c->told, event->tuple.remote, 16) == 0)
			return c;
	}
	return NULL;
}

static void join_socket(struct fs_engine *e, struct fs_connection *flow, struct fs_connection *socket)
{
	uint32_t index = fs_index_of(e, flow);

	flow->socket = fs_index_of(e, socket);
	flow->next_flow = socket->first_flow;
	if (socket->first_flow)
		fs_connection_at(e, socket->first_flow)->previous_flow = index;
	socket->first_flow = index;
	fs_ident_set(e, &flow->ident, socket->ident);
	flow->pid = socket->pid;
}

/* A datagram may be told right before the kernel has looked for its translation; the next one is not. */
static void translate_late(struct fs_engine *e, struct fs_connection *c)
{
	if (!e->table->nat_head || c->dialled_port || c->peer || c->flags & FS_C_NAT_ASKED)
		return;
	c->flags |= FS_C_NAT_ASKED;
	fs_mirror_remove(e, c);
	fs_nat_apply(e, c, false);
	fs_connection_key_changed(c);
}

/*
 * Its server was reached, so its translation is known by now. Found here rather than with the answer, both ends are known
 * for one conversation before it is counted.
 */
static void translate_client(struct fs_engine *e, const struct fs_connection *server)
{
	struct fs_tuple asked = {
		.local_port = server->tuple.remote_port, .remote_port = server->dialled_port, .l4 = FS_UDP};
	uint32_t hash = fs_mirror_hash(&asked), probe;

	for (uint32_t i = fs_index_first(&e->by_tuple, hash, &probe); i;
	     i = fs_index_next(&e->by_tuple, hash, &probe)) {
		struct fs_connection *c = fs_connection_at(e, i);
		if (c->kind != FS_KIND_FLOW || c->dialled_port || c->peer || c->tuple.local_port != asked.local_port ||
		    c->tuple.remote_port != asked.remote_port || memcmp(c->tuple.remote, server->dialled, 16) != 0)
			continue;
		translate_late(e, c);
		fs_mirror_add(e, c);
		return;
	}
}

/* Who sent the first datagram asked, where nothing else is known. */
static void settle_role(struct fs_engine *e, struct fs_connection *c, uint8_t request_direction, bool is_certain)
{
	uint8_t role = request_direction == FS_OUT ? FS_ROLE_CLIENT : FS_ROLE_SERVER;

	if (c->role == FS_ROLE_UNKNOWN || (is_certain && c->role != role)) {
		c->role = role;
		fs_connection_key_changed(c);
	}
	c->requester = c->role == FS_ROLE_CLIENT ? FS_OUT : FS_IN;
	if (c->role == FS_ROLE_SERVER && c->socket)
		fs_connection_at(e, c->socket)->role = FS_ROLE_SERVER;
}

/* A flow is in one of two lists, of which the head is what was silent for longest. */
void fs_flow_unlist(struct fs_engine *e, struct fs_connection *c)
{
	bool is_idle = c->flags & FS_C_IDLE_LISTED;

	if (!(c->flags & (FS_C_IDLE_LISTED | FS_C_BUSY_LISTED)))
		return;
	if (c->previous_idle)
		fs_connection_at(e, c->previous_idle)->link = c->link;
	else
		*(is_idle ? &e->first_idle : &e->first_busy) = c->link;
	if (c->link)
		fs_connection_at(e, c->link)->previous_idle = c->previous_idle;
	else
		*(is_idle ? &e->last_idle : &e->last_busy) = c->previous_idle;
	c->link = c->previous_idle = 0;
	c->flags &= ~(uint32_t)(FS_C_IDLE_LISTED | FS_C_BUSY_LISTED);
}

static void list_last(struct fs_engine *e, struct fs_connection *c, uint32_t *first, uint32_t *last)
{
	uint32_t index = fs_index_of(e, c);

	c->link = 0;
	c->previous_idle = *last;
	if (*last)
		fs_connection_at(e, *last)->link = index;
	else
		*first = index;
	*last = index;
}

void fs_flow_busy(struct fs_engine *e, struct fs_connection *c)
{
	fs_flow_unlist(e, c);
	c->flags |= FS_C_BUSY_LISTED;
	list_last(e, c, &e->first_busy, &e->last_busy);
}

/* Nothing waits in it any more: it goes soon, and at once if its place is needed. */
void fs_flow_idle(struct fs_engine *e, struct fs_connection *c)
{
	if (c->kind != FS_KIND_FLOW || fs_is_opaque(c->protocol) || c->protocol == FS_UNDECIDED || c->waiting ||
	    c->settling || c->flags & (FS_C_IDLE_LISTED | FS_C_DYING))
		return;
	fs_flow_unlist(e, c);
	c->flags |= FS_C_IDLE_LISTED;
	list_last(e, c, &e->first_idle, &e->last_idle);
}

/* What has nothing to lose goes first, then what was silent for a while: what it was in the middle of is half-seen. */
static bool make_room(struct fs_engine *e)
{
	uint32_t index = e->first_idle;

	if (!index) {
		index = e->first_busy;
		if (!index || fs_since(e->now_ns, fs_connection_at(e, index)->last_ns) < FS_FLOW_LINGER_NS)
			return false;
		e->table->stats.flows_evicted++;
		fs_connection_settle(e, fs_connection_at(e, index), e->now_ns, UINT64_MAX);
	}
	fs_connection_free(e, fs_connection_at(e, index));
	return true;
}

/*
 * Whoever sends datagrams can make as many conversations as he likes, with addresses that need not be his: they have a
 * share of the connections' places, and the connections keep theirs.
 */
static bool has_room(struct fs_engine *e)
{
	if (e->flows < e->config.max_connections / FS_FLOWS_SHARE + 1)
		return true;
	if (make_room(e))
		return true;
	e->table->stats.connections_rejected++;
	return false;
}

/* With UINT64_MAX at least one goes, if there is any that may. */
void fs_flows_expire(struct fs_engine *e, uint64_t now_ns)
{
	if (now_ns == UINT64_MAX) {
		(void)make_room(e);
		return;
	}
	while (e->first_idle) {
		struct fs_connection *c = fs_connection_at(e, e->first_idle);
		if (fs_since(now_ns, c->last_ns) < FS_FLOW_LINGER_NS)
			return;
		fs_connection_free(e, c);
	}
}

static struct fs_connection *new_flow(struct fs_engine *e, const struct fs_datagram *event, uint32_t hash)
{
	struct fs_connection *c = has_room(e) ? fs_connection_new(e, event->head.conn_id, hash, FS_KIND_FLOW) : NULL;
	if (!c)
		return NULL;
	e->flows++;
	struct fs_connection *socket = fs_connection_find(e, event->head.conn_id);
	c->tuple = event->tuple;
	c->netns = event->head.netns;
	c->flags |= FS_C_IDENT_PENDING;
	if (socket && socket->kind != FS_KIND_SOCKET)
		socket = NULL;
	if (!socket)
		fs_mode_ask(e, event->head.conn_id);
	if (socket) {
		if (socket->flags & FS_C_IDENT_PENDING)
			fs_identify(e, socket, &event->head);
		socket->last_ns = event->head.time_ns;
		join_socket(e, c, socket);
		c->flags = (c->flags & ~(uint32_t)FS_C_IDENT_PENDING) | (socket->flags & FS_C_IDENT_PENDING);
	}
	/* A socket that serves stays a server, also where it happens to speak first. */
	if (event->tuple.role)
		c->role = event->tuple.role;
	else if ((socket && socket->role == FS_ROLE_SERVER) ||
		 fs_listener_find(e, c->netns, c->tuple.local_port, FS_UDP))
		c->role = FS_ROLE_SERVER;
	fs_nat_apply(e, c, false);
	if (c->dialled_port && c->role != FS_ROLE_CLIENT)
		translate_client(e, c);
	return c;
}

/* A whole message. False if it is none: then the conversation is not what it seemed. */
static bool message(struct fs_engine *e, struct fs_connection *c, const struct fs_datagram *event, enum fs_side side)
{
	const struct fs_protocol *p = fs_protocol_of(e, c->protocol);
	struct fs_cursor bytes = fs_cursor_over(event + 1, event->captured, event->captured < event->bytes);
	uint64_t now_ns = event->head.time_ns;

	const struct fs_message *oldest = c->first_waiting ? &fs_waiting_at(e, c->first_waiting)->message : NULL;

	if (fs_frame(e, c, event->direction, side, bytes, side == FS_SIDE_RESPONSE ? oldest : NULL, true) !=
	    FS_FRAME_MESSAGE)
		return false;
	if (e->message.flags & FS_MESSAGE_SKIP) {
		fs_row_bytes(e, c, side == FS_SIDE_REQUEST ? event->bytes : 0,
			     side == FS_SIDE_REQUEST ? 0 : event->bytes);
		return true;
	}
	if (side == FS_SIDE_REQUEST) {
		uint32_t asked = fs_request_begin(e, c, now_ns, event->head.pid);
		if (asked) {
			fs_text_keep(e, asked, side, bytes);
			fs_request_end(e, c, asked, now_ns, event->bytes);
		}
		return true;
	}
	uint32_t request = fs_request_for(e, c, p);
	if (!request) {
		e->table->stats.orphan_responses++;
		return true;
	}
	fs_text_keep(e, request, side, bytes);
	fs_response_begin(e, c, request, now_ns);
	fs_response_end(e, c, request, now_ns, event->bytes);
	return true;
}

#define FLOWS_SEARCHED 256

/*
 * Who sent it was not seen, because the program did not ask (a receive without an address). A response to a question
 * names its question; anything else is taken for the peer that was talked to last.
 */
static struct fs_connection *flow_of_nobody(struct fs_engine *e, const struct fs_datagram *event,
					    struct fs_cursor bytes)
{
	struct fs_connection *socket = fs_connection_find(e, event->head.conn_id), *newest = NULL;
	uint32_t searched = 0;

	for (uint32_t i = socket ? socket->first_flow : 0; i && searched++ < FLOWS_SEARCHED;) {
		struct fs_connection *c = fs_connection_at(e, i);
		const struct fs_protocol *p =
			c->waiting && event->direction == FS_IN ? fs_protocol_of(e, c->protocol) : NULL;
		if (p && fs_detect(e, p, bytes, true) == FS_MINE_RESPONSE &&
		    fs_frame(e, c, event->direction, FS_SIDE_RESPONSE, bytes,
			     &fs_waiting_at(e, c->first_waiting)->message, true) == FS_FRAME_MESSAGE &&
		    fs_request_for(e, c, p))
			return c;
		if (!newest || c->last_ns > newest->last_ns)
			newest = c;
		i = c->next_flow;
	}
	return newest;
}

static void opaque(struct fs_engine *e, struct fs_connection *c, const struct fs_datagram *event)
{
	if (!fs_is_opaque(c->protocol)) {
		fs_requests_discard(e, c);
		fs_flow_busy(e, c);
		c->protocol = FS_PROTOCOL_NOSUPPORT;
		fs_connection_key_changed(c);
	}
	settle_role(e, c, event->direction, false);
	fs_opaque_bytes(e, c, event->direction, event->bytes, event->head.time_ns, event->head.time_ns);
}

static void connect_mirror(struct fs_engine *e, struct fs_connection *c)
{
	if (!(c->flags & (FS_C_MIRRORED | FS_C_UNLISTED)) && !c->peer)
		fs_mirror_add(e, c);
}

void fs_datagram_event(struct fs_engine *e, const struct fs_datagram *event)
{
	struct fs_cursor bytes = fs_cursor_over(event + 1, event->captured, event->captured < event->bytes);
	uint32_t hash = fs_connection_hash(event->head.conn_id, &event->tuple);
	bool has_peer = !(event->head.flags & FS_PEER_UNKNOWN) || !fs_is_zero(event->tuple.remote);
	struct fs_connection *c = has_peer ? find_flow(e, event, hash) : flow_of_nobody(e, event, bytes);
	enum fs_detected how = FS_NOT_MINE;

	if (!c && !has_peer)
		c = find_flow(e, event, hash);

	if (c)
		translate_late(e, c);
	else if (!(c = new_flow(e, event, hash)))
		return;
	fs_flow_busy(e, c);
	c->last_ns = event->head.time_ns;
	if (c->flags & FS_C_IDENT_PENDING)
		fs_identify(e, c, &event->head);
	if (c->protocol == FS_UNDECIDED && event->captured && !is_group(event->tuple.remote)) {
		const struct fs_protocol *p = fs_detect_any(e, c, event->direction, bytes, true, &how);
		if (p)
			c->protocol = p->id;
	} else if (!fs_is_opaque(c->protocol) && c->protocol != FS_UNDECIDED) {
		how = fs_detect(e, fs_protocol_of(e, c->protocol), bytes, true);
	}
	if (how != FS_MINE_REQUEST && how != FS_MINE_RESPONSE) {
		opaque(e, c, event);
		connect_mirror(e, c);
		return;
	}
	settle_role(e, c, how == FS_MINE_REQUEST ? event->direction : !event->direction, true);
	connect_mirror(e, c);
	if (!message(e, c, event, how == FS_MINE_REQUEST ? FS_SIDE_REQUEST : FS_SIDE_RESPONSE))
		opaque(e, c, event);
	else
		fs_flow_idle(e, c);
}
