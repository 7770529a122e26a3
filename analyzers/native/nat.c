/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Translations that change whom a client reaches, found by the connection's own tuple from either end. The newest
 * FS_NATS are kept, in the shared table, so that they outlive the engine: who read conntrack once may not ask again.
 */
#include "nat.h"

#include "state.h"

/* A connection that began later than that after its translation is another one with the same ports. */
#define FS_NAT_FRESH_NS 60000000000ull

struct end {
	uint8_t address[16];
	uint16_t port;
};

static struct end end_of(const uint8_t address[16], uint16_t port)
{
	struct end end = {.port = port};
	memcpy(end.address, address, 16);
	return end;
}

static bool is_end(const uint8_t address[16], uint16_t port, const struct end *end)
{
	return port == end->port && memcmp(address, end->address, 16) == 0;
}

/* A datagram socket may be bound to no address, so the local one takes no part. */
static uint32_t hash_ends(uint8_t l4, uint16_t local_port, const struct end *remote)
{
	uint64_t hash = fs_mix(FS_HASH_SEED, (uint64_t)l4 << 32 | (uint64_t)local_port << 16 | remote->port);
	return fs_hash_end(fs_mix_bytes(hash, remote->address, 16));
}

/* A translation as one of its two ends has it: an own address and port, and those of whom it seems to talk to. */
struct view {
	struct end local, remote;
};

static struct view clients_view(const struct fs_nat *nat)
{
	return (struct view){end_of(nat->client, nat->client_port), end_of(nat->dialled, nat->dialled_port)};
}

static struct view servers_view(const struct fs_nat *nat)
{
	return (struct view){end_of(nat->server, nat->server_port), end_of(nat->shown, nat->shown_port)};
}

static uint32_t hash_view(uint8_t l4, struct view view)
{
	return hash_ends(l4, view.local.port, &view.remote);
}

static bool is_local(const struct end *local, const struct fs_tuple *t)
{
	return local->port == t->local_port && (memcmp(local->address, t->local, 16) == 0 || fs_is_zero(t->local));
}

/* The newest that looks like this tuple from the end that `index` is made of; 0 if there is none. */
static uint32_t find(struct fs_engine *e, const struct fs_index *index, struct view (*view_of)(const struct fs_nat *),
		     const struct fs_tuple *t)
{
	struct end remote = end_of(t->remote, t->remote_port);
	uint32_t hash = hash_ends(t->l4, t->local_port, &remote), probe, found = 0;

	for (uint32_t i = fs_index_first(index, hash, &probe); i; i = fs_index_next(index, hash, &probe)) {
		const struct fs_nat *nat = &e->table->nats[i];
		struct view view = view_of(nat);
		if (nat->l4 == t->l4 && is_local(&view.local, t) &&
		    is_end(view.remote.address, view.remote.port, &remote) &&
		    (!found || nat->told_ns > e->table->nats[found].told_ns))
			found = i;
	}
	return found;
}

static uint32_t find_dialled(struct fs_engine *e, const struct fs_tuple *t)
{
	return find(e, &e->by_dialled, clients_view, t);
}

static uint32_t find_served(struct fs_engine *e, const struct fs_tuple *t)
{
	return find(e, &e->by_served, servers_view, t);
}

static void list(struct fs_engine *e, uint32_t index)
{
	const struct fs_nat *nat = &e->table->nats[index];

	fs_index_add(&e->by_dialled, hash_view(nat->l4, clients_view(nat)), index);
	fs_index_add(&e->by_served, hash_view(nat->l4, servers_view(nat)), index);
}

static void forget(struct fs_engine *e, uint32_t index)
{
	struct fs_nat *nat = &e->table->nats[index];

	if (!nat->l4)
		return;
	fs_index_remove(&e->by_dialled, hash_view(nat->l4, clients_view(nat)), index);
	fs_index_remove(&e->by_served, hash_view(nat->l4, servers_view(nat)), index);
	nat->l4 = 0;
}

/* A tuple that was translated once and now is not: whoever has it is somebody else. */
static void forget_same(struct fs_engine *e, const struct fs_nat *nat)
{
	struct fs_tuple tuple = {.local_port = nat->client_port, .remote_port = nat->dialled_port, .l4 = nat->l4};

	memcpy(tuple.local, nat->client, 16);
	memcpy(tuple.remote, nat->dialled, 16);
	forget(e, find_dialled(e, &tuple));
}

void fs_nat_learn(struct fs_engine *e, const struct fs_nat *told)
{
	bool is_moved = told->dialled_port != told->server_port || memcmp(told->dialled, told->server, 16) != 0;

	forget_same(e, told);
	if (!is_moved)
		return;
	uint32_t index = (uint32_t)(e->table->nat_head % (FS_NATS - 1)) + 1;
	struct fs_nat *nat = &e->table->nats[index];
	e->table->nat_head++;
	forget(e, index);
	*nat = *told;
	nat->told_ns = e->now_ns;
	list(e, index);
	e->table->stats.nat_learned++;
}

static void set_remote(struct fs_connection *c, const uint8_t address[16], uint16_t port)
{
	memcpy(c->tuple.remote, address, 16);
	c->tuple.remote_port = port;
}

void fs_nat_apply(struct fs_engine *e, struct fs_connection *c, bool is_fresh)
{
	bool is_client = true;
	uint32_t index;

	c->told_port = c->tuple.remote_port;
	memcpy(c->told, c->tuple.remote, 16);
	if (!e->table->nat_head)
		return;
	index = c->role == FS_ROLE_SERVER ? 0 : find_dialled(e, &c->tuple);
	if (!index && c->role != FS_ROLE_CLIENT) {
		index = find_served(e, &c->tuple);
		is_client = false;
	}
	const struct fs_nat *nat = &e->table->nats[index];
	if (!index || (is_fresh && c->tuple.l4 == FS_TCP && fs_since(e->now_ns, nat->told_ns) > FS_NAT_FRESH_NS))
		return;
	memcpy(c->dialled, nat->dialled, 16);
	c->dialled_port = nat->dialled_port;
	if (is_client) {
		set_remote(c, nat->server, nat->server_port);
	} else {
		set_remote(c, nat->client, nat->client_port);
		memcpy(c->tuple.local, nat->server, 16); /* that a datagram socket may not name */
	}
	e->table->stats.nat_applied++;
}

/* Entry 0 is none. */
void fs_nat_restore(struct fs_engine *e)
{
	for (uint32_t i = 1; e->table->nat_head && i < FS_NATS; i++)
		if (e->table->nats[i].l4)
			list(e, i);
}
