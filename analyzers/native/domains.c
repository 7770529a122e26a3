/* SPDX-License-Identifier: Apache-2.0 */
/*
 * By what name an address was asked for. Each network namespace has its own: what one pod was told says nothing about
 * what another one meant.
 */
#include "state.h"

#define SECOND 1000000000ull

static uint32_t hash_of(uint32_t netns, const uint8_t address[16])
{
	return fs_hash_end(fs_mix_bytes(fs_mix(FS_HASH_SEED, netns), address, 16));
}

static uint32_t find(struct fs_engine *e, uint32_t netns, const uint8_t address[16], uint32_t hash)
{
	uint32_t probe;

	for (uint32_t i = fs_index_first(&e->by_address, hash, &probe); i;
	     i = fs_index_next(&e->by_address, hash, &probe))
		if (e->table->domains[i].netns == netns && memcmp(e->table->domains[i].address, address, 16) == 0)
			return i;
	return 0;
}

static void forget(struct fs_engine *e, uint32_t index)
{
	struct fs_domain *domain = &e->table->domains[index];

	if (!domain->generation)
		return;
	fs_entry_end(&domain->generation);
	fs_index_remove(&e->by_address, hash_of(domain->netns, domain->address), index);
}

static bool is_named(const struct fs_domain *domain, const struct fs_label *name)
{
	return domain->length == name->length && memcmp(domain->text, name->text, name->length) == 0;
}

static void learn(struct fs_engine *e, uint32_t netns, const uint8_t address[16], const struct fs_label *name,
		  uint64_t expires_ns)
{
	uint32_t hash = hash_of(netns, address), index = find(e, netns, address, hash);
	struct fs_domain *domain = &e->table->domains[index];

	if (index && is_named(domain, name) && e->now_ns < domain->expires_ns) {
		domain->expires_ns = fs_max(domain->expires_ns, expires_ns);
		return;
	}
	if (!index)
		index = (uint32_t)(e->table->domain_head++ % (FS_DOMAINS - 1)) + 1;
	forget(e, index);
	domain = &e->table->domains[index];
	domain->netns = netns;
	memcpy(domain->address, address, 16);
	domain->expires_ns = expires_ns;
	domain->length = name->length;
	memcpy(domain->text, name->text, name->length);
	fs_index_add(&e->by_address, hash, index);
	__atomic_store_n(&domain->generation, fs_new_generation(e), __ATOMIC_RELEASE);
	e->table->stats.domains_learned++;
}

/* Of an answer that somebody here asked for. */
void fs_domains_learn(struct fs_engine *e, const struct fs_connection *c, struct fs_cursor bytes, bool datagram)
{
	const struct fs_protocol *p = fs_protocol_of(e, c->protocol);
	FS_UNSET struct fs_resolved resolved;

	if (!p || !p->resolve || c->role != FS_ROLE_CLIENT || !p->resolve(bytes, datagram, &resolved) ||
	    resolved.name.length > FS_DOMAIN_BYTES)
		return;
	for (uint32_t i = 0; i < resolved.count; i++)
		learn(e, c->netns, resolved.address[i], &resolved.name, e->now_ns + resolved.ttl * SECOND);
}

/* Entry 0 is none. */
void fs_domains_restore(struct fs_engine *e)
{
	for (uint32_t i = 1; e->table->domain_head && i < FS_DOMAINS; i++) {
		struct fs_domain *domain = &e->table->domains[i];
		if (domain->generation && domain->length > FS_DOMAIN_BYTES)
			fs_entry_damaged(e, &domain->generation);
		if (domain->generation)
			fs_index_add(&e->by_address, hash_of(domain->netns, domain->address), i);
	}
}
