// SPDX-License-Identifier: GPL-2.0-only
/*
 * Connections by socket: drawn, told to the engine, told again when the engine changed, forgotten.
 *
 * All memory is reserved when a reader comes, for nothing can be reserved in a hook. The table is looked through without
 * a lock; a search that finds nothing is repeated under the chain's lock, for an entry may have moved meanwhile.
 */
#include <linux/hash.h>
#include <linux/log2.h>
#include <linux/moduleparam.h>

#include "firesteel.h"

#define FST_CHAIN_LOCKS 256
#define FST_CHAIN_STEPS 64

static unsigned int max_connections = 65536;
module_param(max_connections, uint, 0644);
MODULE_PARM_DESC(max_connections, "sockets that are known at a time (164 bytes each), from the next reader on");

static unsigned int max_texts = 8192;
module_param(max_texts, uint, 0644);
MODULE_PARM_DESC(max_texts, "connections that may keep a request until its answer (512 bytes each)");

static struct {
	struct fst_connection *entries; /* [0] is nobody */
	u32 *chains; /* first entry of each */
	u32 *free; /* a queue */
	u8 *texts;
	u32 capacity;
	u32 chain_bits;
	u32 free_first;
	u32 free_count;
	u32 text_capacity;
	atomic_t texts_used;
	raw_spinlock_t free_lock;
	raw_spinlock_t chain_locks[FST_CHAIN_LOCKS];
} table;

/* Never the same number twice while the machine is up, even if the module is loaded anew: it starts at the clock. */
static atomic64_t last_id;

static u32 wanted_capacity(void)
{
	return clamp_t(u32, READ_ONCE(max_connections), 1024, 1u << 22);
}

static u32 wanted_texts(u32 capacity)
{
	return clamp_t(u32, READ_ONCE(max_texts), 64, capacity);
}

/* What the next reader takes, by the parameters of this moment. */
u64 fst_connections_bytes(void)
{
	u64 capacity = wanted_capacity();

	return capacity * (sizeof(struct fst_connection) + 3 * sizeof(u32)) +
	       (u64)wanted_texts((u32)capacity) * FS_MESSAGE_MAX;
}

int fst_connections_create(void)
{
	u32 capacity = wanted_capacity(), texts = wanted_texts(capacity), i;

	table.chain_bits = ilog2(roundup_pow_of_two(capacity));
	table.entries = vzalloc((capacity + 1) * sizeof(*table.entries));
	table.chains = vzalloc(sizeof(u32) << table.chain_bits);
	table.free = vmalloc(capacity * sizeof(u32));
	table.texts = vmalloc((unsigned long)texts * FS_MESSAGE_MAX);
	if (!table.entries || !table.chains || !table.free || !table.texts) {
		fst_connections_free();
		return -ENOMEM;
	}
	for (i = 0; i < capacity; i++)
		table.free[i] = i + 1;
	table.capacity = table.free_count = capacity;
	table.free_first = 0;
	table.text_capacity = texts;
	atomic_set(&table.texts_used, 0);
	raw_spin_lock_init(&table.free_lock);
	for (i = 0; i < FST_CHAIN_LOCKS; i++)
		raw_spin_lock_init(&table.chain_locks[i]);
	if (!atomic64_read(&last_id))
		atomic64_set(&last_id, fst_now() >> 10);
	return 0;
}

void fst_connections_free(void)
{
	vfree(table.entries);
	vfree(table.chains);
	vfree(table.free);
	vfree(table.texts);
	table.entries = NULL;
	table.chains = table.free = NULL;
	table.texts = NULL;
}

static u32 chain_of(const struct sock *sk)
{
	return hash_ptr((void *)sk, table.chain_bits);
}

static struct fst_connection *search(const struct sock *sk, u32 chain, u32 steps)
{
	u32 index = READ_ONCE(table.chains[chain]);

	for (; index && steps; steps--) {
		struct fst_connection *c = &table.entries[index];
		if (READ_ONCE(c->sk) == sk)
			return c;
		index = READ_ONCE(c->next);
	}
	return NULL;
}

static struct fst_connection *take_free(void)
{
	struct fst_connection *c = NULL;
	unsigned long flags;

	if (!fst_lock(&table.free_lock, &flags))
		return NULL;
	if (table.free_count) {
		c = &table.entries[table.free[table.free_first]];
		table.free_first = table.free_first + 1 == table.capacity ? 0 : table.free_first + 1;
		table.free_count--;
	}
	fst_unlock(&table.free_lock, flags);
	return c;
}

static void give_free(struct fst_connection *c)
{
	unsigned long flags;
	u32 end;

	if (!fst_lock(&table.free_lock, &flags))
		return; /* lost until the next reader */
	end = table.free_first + table.free_count;
	table.free[end >= table.capacity ? end - table.capacity : end] = c - table.entries;
	table.free_count++;
	fst_unlock(&table.free_lock, flags);
}

struct fst_connection *fst_find(const struct sock *sk)
{
	u32 chain = chain_of(sk);
	struct fst_connection *c = search(sk, chain, FST_CHAIN_STEPS);
	unsigned long flags;

	if (c || !READ_ONCE(table.chains[chain]))
		return c;
	if (!fst_lock(&table.chain_locks[chain % FST_CHAIN_LOCKS], &flags))
		return NULL;
	c = search(sk, chain, table.capacity);
	fst_unlock(&table.chain_locks[chain % FST_CHAIN_LOCKS], flags);
	return c;
}

/* The connection of a socket; a new one gets these facts. NULL: no room, counted. */
struct fst_connection *fst_find_or_begin(const struct sock *sk, u8 role, u64 now, u8 flags_of_new)
{
	u32 chain = chain_of(sk);
	raw_spinlock_t *lock = &table.chain_locks[chain % FST_CHAIN_LOCKS];
	struct fst_connection *c = search(sk, chain, FST_CHAIN_STEPS), *fresh;
	unsigned long flags;

	if (c)
		return c;
	fresh = take_free();
	if (!fresh)
		goto failed;
	fst_begin(fresh, sk, role, now);
	fresh->flags |= flags_of_new;
	if (!fst_lock(lock, &flags)) {
		give_free(fresh);
		goto failed;
	}
	c = search(sk, chain, table.capacity);
	if (!c) {
		fresh->next = table.chains[chain];
		WRITE_ONCE(fresh->sk, sk);
		smp_store_release(&table.chains[chain], (u32)(fresh - table.entries));
	}
	fst_unlock(lock, flags);
	if (!c)
		return fresh;
	give_free(fresh);
	return c;
failed:
	fst_count(&fst_counters()->storage_failed);
	return NULL;
}

void fst_forget(struct fst_connection *c)
{
	const struct sock *sk = READ_ONCE(c->sk);
	u32 chain = chain_of(sk), index = c - table.entries, *link;
	unsigned long flags;
	bool found = false;

	if (!sk || !fst_lock(&table.chain_locks[chain % FST_CHAIN_LOCKS], &flags))
		return;
	for (link = &table.chains[chain]; *link; link = &table.entries[*link].next) {
		if (*link != index)
			continue;
		WRITE_ONCE(*link, c->next);
		WRITE_ONCE(c->sk, NULL);
		found = true;
		break;
	}
	fst_unlock(&table.chain_locks[chain % FST_CHAIN_LOCKS], flags);
	if (found)
		give_free(c);
}

/* A text stays with its entry until the reader goes: connections that end hand it to whoever gets the entry next. */
bool fst_text(struct fst_connection *c)
{
	u32 number;

	if (c->text)
		return true;
	if ((u32)atomic_read(&table.texts_used) >= table.text_capacity)
		return false;
	number = atomic_inc_return(&table.texts_used) - 1;
	if (number >= table.text_capacity)
		return false;
	c->text = table.texts + (unsigned long)number * FS_MESSAGE_MAX;
	return true;
}

/* A new connection on this socket: another id, nothing of the old one. */
void fst_begin(struct fst_connection *c, const struct sock *sk, u8 role, u64 now)
{
	c->id = atomic64_inc_return(&last_id) << 8 | (raw_smp_processor_id() & (FS_CPUS - 1));
	c->epoch = 0;
	c->cgroup_id = 0;
	c->start_ns = now;
	c->last_ns = 0;
	c->sent = c->received = 0;
	c->netns = fst_netns_of(sock_net(sk));
	c->pid = c->tid = 0;
	c->role = role;
	c->flags = fst_ports_excluded(sk) ? FST_EXCLUDED : 0;
	if (sk->sk_protocol == IPPROTO_MPTCP)
		c->flags |= FST_NO_SEQ;
	c->spoke = 0;
	c->early = 0;
	memset(c->comm, 0, sizeof(c->comm));
	memset(&c->pending, 0, sizeof(c->pending));
}

void fst_adopt(struct fst_connection *c, struct task_struct *task)
{
	u64 process = fst_process_of(task);

	c->pid = process >> 32;
	c->tid = (u32)process;
	c->cgroup_id = fst_cgroup_of(task);
	memcpy(c->comm, task->group_leader->comm, sizeof(c->comm));
	if (fst_is_left_out(c->pid))
		c->flags |= FST_EXCLUDED;
}

/* The connection of a socket that is used now; one older than the hooks is begun here. */
struct fst_connection *fst_connection_of(const struct sock *sk)
{
	/* A TCP fast open request is read before the handshake ends. */
	bool accepting = sk->sk_protocol == IPPROTO_TCP && sk->sk_state == TCP_SYN_RECV;
	struct fst_connection *c = fst_find(sk);

	if (c)
		return c;
	return fst_find_or_begin(sk, accepting ? FS_ROLE_SERVER : FS_ROLE_UNKNOWN, accepting ? fst_now() : 0, 0);
}

/*
 * Tells the engine what the connection is, once for each engine. `sending` and `reading` are bytes of the I/O that goes
 * on and will be told next: the offsets are those before it. False: the ring is full, so it is told later.
 */
bool fst_tell(struct fst_connection *c, const struct sock *sk, u32 sending, u32 reading)
{
	const struct tcp_sock *tcp = fst_tcp(sk);
	u32 epoch = READ_ONCE(fst.control->epoch);
	struct fs_open *event = fst_reserve(FS_EV_OPEN, sizeof(*event));

	if (!event)
		return false;
	fst_head_for(&event->head, FS_EV_OPEN, sizeof(*event), fst_now(), c, false);
	fst_tuple(sk, c->role, &event->tuple);
	event->sock = (u64)(unsigned long)sk;
	event->cookie = fst_cookie_of(sk);
	event->start_ns = c->start_ns;
	event->send_seq = tcp ? fst_bytes_written(sk, tcp) - sending : (u32)c->sent;
	event->recv_seq = tcp ? fst_bytes_read(sk, tcp) - reading : (u32)c->received;
	event->srtt_us = tcp ? fst_srtt_us(tcp) : 0;
	event->open_flags = (c->epoch ? FS_OPEN_REPEATED : 0) | (c->start_ns ? 0 : FS_OPEN_LATE) |
			    (c->flags & FST_SEEDED ? FS_OPEN_SEEDED : 0) | (c->flags & FST_NO_SEQ ? FS_OPEN_MPTCP : 0);
	memcpy(event->comm, c->comm, sizeof(event->comm));
	fst_commit(event, FS_EV_OPEN);
	c->epoch = epoch;
	return true;
}

/* What the engine wants of this connection, or 0. */
u64 fst_slot_of(const struct fst_connection *c)
{
	u64 slot = READ_ONCE(fst.modes[fs_slot_of(c->id)]);

	return fs_slot_mine(slot, c->id) ? slot : 0;
}

/*
 * Makes sure that the engine knows the connection, in the process that uses it. False: leave this event out; one of
 * `type` that would have been told is counted as lost.
 */
bool fst_ensure_told(struct fst_connection *c, const struct sock *sk, u8 type, int result, u8 direction)
{
	u32 epoch = READ_ONCE(fst.control->epoch);

	if (c->epoch == epoch) {
		if (c->flags & FST_EXCLUDED)
			return false;
		if (fs_slot_mode(fst_slot_of(c)) != FS_MODE_AGAIN)
			return true;
		c->epoch = FS_EPOCH_ASKED;
	}
	if (!c->pid)
		fst_adopt(c, current);
	if (fst_ports_excluded(sk)) /* MPTCP has them only now */
		c->flags |= FST_EXCLUDED;
	if (c->flags & FST_EXCLUDED) {
		c->epoch = epoch;
		return false;
	}
	c->pending.waiting = FST_WAITING_NOTHING;
	if (fst_tell(c, sk, direction == FS_OUT ? result : 0, direction == FS_IN ? result : 0))
		return true;
	c->flags |= FST_LOST;
	if (epoch)
		fst_count(&fst_counters()->lost[type & 15]);
	return false;
}
