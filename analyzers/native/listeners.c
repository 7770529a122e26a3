/* SPDX-License-Identifier: Apache-2.0 */
/* Which ports are listened on, and what that says about the side a connection's local end is on. */
#include "state.h"

static uint32_t hash_listener(uint32_t netns, uint16_t port, uint8_t l4)
{
	return fs_hash_end(fs_mix(fs_mix(FS_HASH_SEED, netns), (uint64_t)port << 8 | l4));
}

struct fs_listener *fs_listener_find(struct fs_engine *e, uint32_t netns, uint16_t port, uint8_t l4)
{
	uint32_t hash = hash_listener(netns, port, l4), probe;
	for (uint32_t i = fs_index_first(&e->by_listener, hash, &probe); i;
	     i = fs_index_next(&e->by_listener, hash, &probe)) {
		struct fs_listener *l = fs_pool_at(&e->listeners, i);
		if (l->netns == netns && l->port == port && l->l4 == l4)
			return l;
	}
	return NULL;
}

/*
 * A stream that was told before it began to listen: connected, let go (connect(2) with AF_UNSPEC) and used again. What
 * it was in the middle of is over.
 */
static void stream_over(struct fs_engine *e, struct fs_connection *c, uint64_t now_ns)
{
	fs_connection_settle(e, c, now_ns, UINT64_MAX);
	fs_drop_held(e, c);
	fs_requests_discard(e, c);
	fs_state_give(e, c);
	for (int direction = FS_IN; direction <= FS_OUT; direction++)
		fs_unbuffer(e, &c->stream[direction]);
	fs_mirror_remove(e, c);
	fs_mode_clear(e, c->id);
	c->flags &= ~(uint32_t)(FS_C_SRTT_NEW | FS_C_EXCHANGE | FS_C_ANSWERED);
	c->kind = FS_KIND_LISTENER;
}

/* The socket is kept among the connections as well, so that its close ends the listener. */
static struct fs_connection *listening_socket(struct fs_engine *e, const struct fs_listen *event)
{
	uint64_t id = event->head.conn_id;
	struct fs_connection *c = fs_connection_find(e, id);

	if (!c)
		c = fs_connection_new(e, id, fs_connection_hash(id, NULL), FS_KIND_LISTENER);
	if (c && c->kind == FS_KIND_STREAM)
		stream_over(e, c, event->head.time_ns);
	if (!c || c->kind == FS_KIND_FLOW)
		return NULL;
	c->tuple = event->tuple;
	c->netns = event->head.netns;
	if (c->kind == FS_KIND_SOCKET)
		c->role = FS_ROLE_SERVER;
	return c;
}

void fs_listen_event(struct fs_engine *e, const struct fs_listen *event)
{
	uint16_t port = event->tuple.local_port;
	bool has_process = !(event->head.flags & FS_NO_PROCESS);

	if (has_process)
		fs_process_named(e, event->head.pid, event->comm);
	struct fs_listener *l = fs_listener_find(e, event->head.netns, port, event->tuple.l4);
	if (!l) {
		uint32_t index = fs_pool_take(&e->listeners);
		if (!index) {
			e->table->stats.connections_rejected++;
			return;
		}
		l = fs_pool_at(&e->listeners, index);
		*l = (struct fs_listener){
			.hash = hash_listener(event->head.netns, port, event->tuple.l4),
			.netns = event->head.netns,
			.port = port,
			.l4 = event->tuple.l4,
		};
		fs_index_add(&e->by_listener, l->hash, index);
	}
	if (has_process || !l->ident)
		fs_ident_set(e, &l->ident, fs_ident(e, &event->head, event->comm));
	/* The newest socket of several (SO_REUSEPORT) keeps the port: it is the one that is closed last. */
	if (event->head.conn_id && listening_socket(e, event))
		l->conn_id = event->head.conn_id;
}

void fs_listener_forget(struct fs_engine *e, struct fs_connection *c)
{
	if (c->kind != FS_KIND_LISTENER && c->kind != FS_KIND_SOCKET)
		return;
	struct fs_listener *l = fs_listener_find(e, c->netns, c->tuple.local_port, c->tuple.l4);
	if (!l || l->conn_id != c->id)
		return;
	uint32_t index = (uint32_t)((size_t)((uint8_t *)l - e->listeners.base) / e->listeners.stride);
	fs_index_remove(&e->by_listener, l->hash, index);
	fs_ident_set(e, &l->ident, 0);
	fs_pool_give(&e->listeners, index);
}

/*
 * The local end's side where connect or accept did not show it. An accepted socket shares its port with a listener in
 * the same network namespace; one that does not was most likely connected, which whoever asks first may refute.
 */
void fs_role_settle(struct fs_engine *e, struct fs_connection *c)
{
	if (c->role == FS_ROLE_UNKNOWN && c->kind == FS_KIND_STREAM) {
		bool listened = fs_listener_find(e, c->netns, c->tuple.local_port, c->tuple.l4) != NULL;
		if (listened) {
			c->role = FS_ROLE_SERVER;
		} else if (e->listeners.used) {
			c->role = FS_ROLE_CLIENT;
			c->flags |= FS_C_ROLE_GUESSED;
		}
		fs_connection_key_changed(c);
		if (c->role && (c->protocol == FS_UNDECIDED || fs_is_opaque(c->protocol)))
			c->requester = FS_DIRECTION_UNKNOWN; /* who spoke first is no evidence any more */
	}
	if (c->role && c->requester == FS_DIRECTION_UNKNOWN)
		c->requester = c->role == FS_ROLE_CLIENT ? FS_OUT : FS_IN;
}

void fs_role_spoke(struct fs_engine *e, struct fs_connection *c, uint8_t request_direction)
{
	uint8_t role = request_direction == FS_OUT ? FS_ROLE_CLIENT : FS_ROLE_SERVER;

	(void)e;
	c->requester = request_direction;
	if (c->role == role || (c->role != FS_ROLE_UNKNOWN && !(c->flags & FS_C_ROLE_GUESSED)))
		return;
	c->role = role;
	c->flags &= ~(uint32_t)FS_C_ROLE_GUESSED;
	fs_connection_key_changed(c);
}
