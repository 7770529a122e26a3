/* SPDX-License-Identifier: Apache-2.0 */
/* Who owns a socket: (network namespace, cgroup, command), found at once or with the first event of a process. */
#include "state.h"

static uint32_t hash_ident(uint32_t netns, uint64_t cgroup_id, const char comm[16])
{
	return fs_hash_end(fs_mix_bytes(fs_mix(fs_mix(FS_HASH_SEED, netns), cgroup_id), comm, 16));
}

/* By hash: two that share a place share the room, which is seldom and no harm. */
static uint16_t *idents_of(struct fs_engine *e, uint64_t cgroup_id)
{
	return &e->cgroup_idents[fs_hash_end(fs_mix(FS_HASH_SEED, cgroup_id)) % FS_IDENTS];
}

/* A name of fixed width: what follows its end is zero, so that it can be compared and hashed as a whole. */
static void copy_comm(char to[16], const char from[16])
{
	memset(to, 0, 16);
	const char *end = memchr(from, 0, 15);
	memcpy(to, from, end ? (size_t)(end - from) : 15);
}

void fs_identity_restore(struct fs_engine *e)
{
	struct fs_ident *idents = e->table->idents;

	idents[0].generation = idents[0].generation ? idents[0].generation : fs_new_generation(e);
	e->table->idents_used = 1;
	for (uint32_t i = FS_IDENTS - 1; e->table->starts && i > 0; i--) {
		if (idents[i].generation && idents[i].comm[15])
			fs_entry_damaged(e, &idents[i].generation);
		if (idents[i].generation) {
			e->idents.highest = e->idents.highest ? e->idents.highest : i;
			e->idents.used++;
			e->table->idents_used++;
			++*idents_of(e, idents[i].cgroup_id);
			fs_index_add(&e->by_ident, hash_ident(idents[i].netns, idents[i].cgroup_id, idents[i].comm), i);
		} else if (e->idents.highest) {
			e->idents.used++;
			fs_pool_give(&e->idents, i);
		}
	}
}

static uint32_t find(struct fs_engine *e, const struct fs_head *head, const char name[16], uint32_t hash)
{
	uint32_t probe;

	for (uint32_t i = fs_index_first(&e->by_ident, hash, &probe); i;
	     i = fs_index_next(&e->by_ident, hash, &probe)) {
		struct fs_ident *ident = &e->table->idents[i];
		if (ident->netns == head->netns && ident->cgroup_id == head->cgroup_id &&
		    !memcmp(ident->comm, name, 16)) {
			ident->updated_ns = e->now_ns;
			return i;
		}
	}
	return 0;
}

uint32_t fs_ident(struct fs_engine *e, const struct fs_head *head, const char comm[16])
{
	char name[16];

	copy_comm(name, comm);
	uint32_t hash = hash_ident(head->netns, head->cgroup_id, name), index = find(e, head, name, hash);
	if (index)
		return index;
	/* Who names his processes anew each time gets no more of the table; what is left out is, by whatever name. */
	if (name[0] && *idents_of(e, head->cgroup_id) >= FS_IDENTS_PER_CGROUP && !fs_comm_is_unwanted(e, name)) {
		e->table->stats.comms_overflow++;
		memset(name, 0, sizeof(name));
		hash = hash_ident(head->netns, head->cgroup_id, name);
		index = find(e, head, name, hash);
		if (index)
			return index;
	}
	index = fs_pool_take(&e->idents);
	if (!index) {
		e->table->stats.idents_overflow++;
		return 0;
	}
	struct fs_ident *ident = &e->table->idents[index];
	ident->netns = head->netns;
	ident->cgroup_id = head->cgroup_id;
	ident->pid = head->flags & FS_NO_PROCESS ? 0 : head->pid;
	ident->flags = head->flags & FS_NO_PROCESS ? FS_IDENT_FROM_SOFTIRQ : 0;
	ident->updated_ns = e->now_ns;
	memcpy(ident->comm, name, 16);
	fs_ident_scope(e, ident);
	__atomic_store_n(&ident->generation, fs_new_generation(e), __ATOMIC_RELEASE);
	fs_index_add(&e->by_ident, hash, index);
	e->table->idents_used++;
	++*idents_of(e, head->cgroup_id);
	return index;
}

/* `*where` takes part in the count of what refers to an identity, so that none is reused while a row names it. */
void fs_ident_set(struct fs_engine *e, uint32_t *where, uint32_t ident)
{
	e->ident_refs[ident]++;
	e->ident_refs[*where]--;
	*where = ident;
}

/* Identities that nothing refers to any more make room once they have been idle as long as rows may be. */
void fs_identity_sweep(struct fs_engine *e, uint32_t count)
{
	uint64_t limit = fs_idle_limit(e, e->table->idents_used, FS_IDENTS);

	if (limit != e->config.row_idle_ns)
		count *= FS_PRESSED_SWEEPS;
	for (; count && e->idents.highest; count--) {
		uint32_t i = e->ident_sweep_at = e->ident_sweep_at >= e->idents.highest ? 1 : e->ident_sweep_at + 1;
		struct fs_ident *ident = &e->table->idents[i];
		if (!ident->generation || e->ident_refs[i] || fs_since(e->now_ns, ident->updated_ns) <= limit)
			continue;
		fs_index_remove(&e->by_ident, hash_ident(ident->netns, ident->cgroup_id, ident->comm), i);
		fs_entry_end(&ident->generation);
		fs_pool_give(&e->idents, i);
		--*idents_of(e, ident->cgroup_id);
		e->table->idents_used--;
	}
}

static struct fs_process_name *process_slot(struct fs_engine *e, uint32_t pid)
{
	return &e->processes[fs_hash_end(fs_mix(FS_HASH_SEED, pid)) % FS_PROCESSES];
}

void fs_process_named(struct fs_engine *e, uint32_t pid, const char comm[16])
{
	struct fs_process_name *process = process_slot(e, pid);
	if (!pid || !comm[0])
		return;
	process->pid = pid;
	copy_comm(process->comm, comm);
}

const char *fs_process_comm(struct fs_engine *e, uint32_t pid)
{
	struct fs_process_name *process = process_slot(e, pid);
	return pid && process->pid == pid ? process->comm : NULL;
}

void fs_process_event(struct fs_engine *e, const struct fs_process *event)
{
	struct fs_process_name *process = process_slot(e, event->head.pid);

	if (event->kind == FS_PROCESS_EXEC)
		fs_process_named(e, event->head.pid, event->comm);
	else if (process->pid == event->head.pid)
		memset(process, 0, sizeof(*process));
}

/*
 * An event of a process on a connection that was told outside of any. The name comes from what that process was seen
 * doing before, else from the listening socket: a server's workers are named as the one that listened.
 */
void fs_identify(struct fs_engine *e, struct fs_connection *c, const struct fs_head *head)
{
	static const char nobody[16];

	if (head->flags & FS_NO_PROCESS)
		return;
	const char *comm = fs_process_comm(e, head->pid);
	if (!comm) {
		const struct fs_listener *l = fs_listener_find(e, c->netns, c->tuple.local_port, c->tuple.l4);
		comm = l ? e->table->idents[l->ident].comm : nobody;
	}
	c->flags &= ~(uint32_t)FS_C_IDENT_PENDING;
	c->pid = head->pid;
	fs_ident_set(e, &c->ident, fs_ident(e, head, comm));
	fs_connection_key_changed(c);
	fs_ident_told(e, c);
	fs_mode_leave_out(e, c);
}
