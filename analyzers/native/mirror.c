/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection whose two ends are both on this node is seen twice and must be counted once. Its ends are found by
 * their mirrored tuples; one end tells (the server's, unless its payload cannot be read and the client's can), the
 * other one is silenced. Until the first request bytes show which, both are followed and nothing is counted twice,
 * because whatever completes first decides.
 */
#include "state.h"

static bool is_loopback(const struct fs_tuple *t)
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	static const uint8_t one[16] = {[15] = 1};
	return memcmp(t->local, one, 16) == 0 || (memcmp(t->local, mapped, 12) == 0 && t->local[12] == 127) ||
	       memcmp(t->remote, one, 16) == 0 || (memcmp(t->remote, mapped, 12) == 0 && t->remote[12] == 127);
}

static uint8_t *address_slot(const struct fs_engine *e, const uint8_t address[16])
{
	return e->addresses[fs_hash_end(fs_mix_bytes(FS_HASH_SEED, address, 16)) % FS_ADDRESSES];
}

void fs_address_seen(struct fs_engine *e, const uint8_t address[16])
{
	memcpy(address_slot(e, address), address, 16);
}

/* Whether the other end may be told yet: its address is one of this node's. */
bool fs_may_have_other_end(const struct fs_engine *e, const struct fs_connection *c)
{
	return is_loopback(&c->tuple) || memcmp(address_slot(e, c->tuple.remote), c->tuple.remote, 16) == 0;
}

/* The same for both ends. A datagram socket may be bound to no address, so only the ports take part. */
uint32_t fs_mirror_hash(const struct fs_tuple *t)
{
	uint64_t local = fs_mix(FS_HASH_SEED, t->local_port), remote = fs_mix(FS_HASH_SEED, t->remote_port);
	if (t->l4 == FS_TCP) {
		local = fs_mix_bytes(local, t->local, 16);
		remote = fs_mix_bytes(remote, t->remote, 16);
	}
	return fs_hash_end(fs_mix(local + remote, t->l4));
}

static bool same_address(const struct fs_tuple *t, const uint8_t a[16], const uint8_t b[16])
{
	return memcmp(a, b, 16) == 0 || (t->l4 == FS_UDP && (fs_is_zero(a) || fs_is_zero(b)));
}

static bool is_mirror(const struct fs_connection *a, const struct fs_connection *b)
{
	return a != b && a->tuple.l4 == b->tuple.l4 && a->tuple.local_port == b->tuple.remote_port &&
	       a->tuple.remote_port == b->tuple.local_port &&
	       same_address(&a->tuple, a->tuple.local, b->tuple.remote) &&
	       same_address(&a->tuple, a->tuple.remote, b->tuple.local) && (!a->role || a->role != b->role);
}

/* Equal addresses in another network namespace may be somebody else's: only an only candidate is believed. */
static struct fs_connection *find_other_end(struct fs_engine *e, const struct fs_connection *c, uint32_t *listed)
{
	bool loopback = is_loopback(&c->tuple);
	struct fs_connection *elsewhere = NULL;
	uint32_t candidates = 0, probe;

	for (uint32_t i = fs_index_first(&e->by_tuple, c->mirror_hash, &probe); i;
	     i = fs_index_next(&e->by_tuple, c->mirror_hash, &probe)) {
		struct fs_connection *other = fs_connection_at(e, i);
		++*listed;
		if (other->peer || other->flags & FS_C_DYING || !is_mirror(c, other))
			continue;
		if (other->netns == c->netns)
			return other;
		elsewhere = other;
		candidates++;
	}
	return candidates == 1 && !loopback ? elsewhere : NULL;
}

static void become(struct fs_engine *e, struct fs_connection *c, uint8_t authority)
{
	c->authority = authority;
	if (authority != FS_AUTHORITY_THEIRS || c->kind != FS_KIND_STREAM)
		return;
	c->flags &= ~(uint32_t)(FS_C_EXCHANGE | FS_C_ANSWERED); /* the other end tells of it */
	fs_place_forgotten(e, c);
	fs_mode_set(e, c, FS_MODE_SILENT, 0);
}

static void decide(struct fs_engine *e, struct fs_connection *mine)
{
	struct fs_connection *theirs = mine->peer ? fs_connection_at(e, mine->peer) : NULL;
	become(e, mine, FS_AUTHORITY_MINE);
	if (theirs)
		become(e, theirs, FS_AUTHORITY_THEIRS);
}

void fs_ident_told(struct fs_engine *e, struct fs_connection *c)
{
	if (!c->peer)
		return;
	struct fs_connection *other = fs_connection_at(e, c->peer);
	fs_ident_set(e, &other->peer_ident, c->ident);
	fs_connection_key_changed(other);
	fs_mode_leave_out(e, other);
}

static void link_ends(struct fs_engine *e, struct fs_connection *a, struct fs_connection *b)
{
	a->peer = fs_index_of(e, b);
	b->peer = fs_index_of(e, a);
	a->flags |= FS_C_BOTH_ENDS;
	b->flags |= FS_C_BOTH_ENDS;
	fs_ident_told(e, a);
	fs_ident_told(e, b);
	e->table->stats.both_ends++;
	if (a->kind == FS_KIND_FLOW) {
		/* Datagrams are counted where they are served; flows settle late enough for this (outcomes.c). */
		struct fs_connection *server = a->role == FS_ROLE_SERVER || b->role == FS_ROLE_CLIENT ? a : b;
		server->authority = FS_AUTHORITY_MINE;
		(server == a ? b : a)->authority = FS_AUTHORITY_THEIRS;
		return;
	}
	a->authority = b->authority = FS_AUTHORITY_OPEN;
	/* The end that was already followed before the other one was told goes on telling. */
	if (a->flags & FS_C_PAYLOAD && a->role != FS_ROLE_CLIENT)
		decide(e, a);
	else if (b->flags & FS_C_PAYLOAD && b->role != FS_ROLE_CLIENT)
		decide(e, b);
}

void fs_mirror_add(struct fs_engine *e, struct fs_connection *c)
{
	uint32_t listed = 0;

	c->mirror_hash = fs_mirror_hash(&c->tuple);
	struct fs_connection *other = find_other_end(e, c, &listed);
	if (other)
		link_ends(e, c, other);
	/* Those of one port at both ends (NTP) have one hash: more of them would be as many steps for each, and no one's. */
	if (c->kind == FS_KIND_FLOW && listed >= FS_FLOWS_LISTED) {
		c->flags |= FS_C_UNLISTED;
		e->table->stats.flows_unlisted++;
		return;
	}
	fs_index_add(&e->by_tuple, c->mirror_hash, fs_index_of(e, c));
	c->flags |= FS_C_MIRRORED;
}

/* Its row stays one of both ends, and the silent end stays silent: closing times differ. */
void fs_mirror_remove(struct fs_engine *e, struct fs_connection *c)
{
	if (c->flags & FS_C_MIRRORED)
		fs_index_remove(&e->by_tuple, c->mirror_hash, fs_index_of(e, c));
	c->flags &= ~(uint32_t)(FS_C_MIRRORED | FS_C_UNLISTED);
	if (!c->peer)
		return;
	struct fs_connection *other = fs_connection_at(e, c->peer);
	other->peer = 0;
	c->peer = 0;
	if (c->authority == FS_AUTHORITY_OPEN && other->authority == FS_AUTHORITY_OPEN)
		other->authority = c->flags & FS_C_SEEN_BYTES && c->role != FS_ROLE_CLIENT ? FS_AUTHORITY_THEIRS
											   : FS_AUTHORITY_MINE;
}

/* Whether something that this end completed is to be counted. */
bool fs_may_count(struct fs_engine *e, struct fs_connection *c)
{
	if (c->authority == FS_AUTHORITY_OPEN)
		decide(e, c);
	return c->authority != FS_AUTHORITY_THEIRS;
}

/* The first request bytes of an end that may be silenced: can they be read here? */
void fs_authority_seen(struct fs_engine *e, struct fs_connection *c, bool has_payload)
{
	c->flags |= has_payload ? FS_C_PAYLOAD : FS_C_NO_PAYLOAD;
	if (c->authority != FS_AUTHORITY_OPEN || !c->peer)
		return;
	struct fs_connection *other = fs_connection_at(e, c->peer);
	struct fs_connection *client = c->role == FS_ROLE_CLIENT ? c : other;
	struct fs_connection *server = client == c ? other : c;

	if (server->flags & FS_C_PAYLOAD || client->flags & FS_C_NO_PAYLOAD)
		decide(e, server);
	else if (server->flags & FS_C_NO_PAYLOAD && client->flags & FS_C_PAYLOAD)
		decide(e, client);
}

/*
 * The telling end cannot be read any more (it went over to io_uring, say). The request at hand is gone, the other end
 * takes over with the next one. Once only: two unreadable ends must not take turns.
 */
void fs_authority_lost_payload(struct fs_engine *e, struct fs_connection *c, uint8_t reason)
{
	static const uint32_t lasting = 1u << FS_REASON_SYSCALL | 1u << FS_REASON_NOT_THIS_SOCKET |
					1u << FS_REASON_COMPAT | 1u << FS_REASON_KERNEL_BUFFER |
					1u << FS_REASON_MESSAGE_INDEX;

	if (c->authority != FS_AUTHORITY_MINE || !c->peer || c->flags & FS_C_SWITCHED || !(lasting >> reason & 1))
		return;
	struct fs_connection *other = fs_connection_at(e, c->peer);
	other->flags |= FS_C_SWITCHED | FS_C_MIDSTREAM;
	c->flags |= FS_C_SWITCHED;
	other->last_direction = FS_DIRECTION_UNKNOWN;
	/* Of a tunnel only the end that told saw how it was opened. */
	other->flags |= c->flags & FS_C_TUNNEL;
	if (fs_is_opaque(other->protocol) || other->protocol == FS_UNDECIDED || c->flags & FS_C_TUNNEL)
		fs_protocol_set(e, other, FS_UNDECIDED);
	decide(e, other);
	fs_mode_set(e, other, FS_MODE_STREAM, e->config.parse_bytes);
}
