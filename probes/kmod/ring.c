// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ring, laid out for its reader like a BPF ring buffer (see include/ring.h):
 *
 *   page 0    consumer position   the reader's to write; what it says can only cause drops
 *   page 1    producer position   read-only, and a copy: `head` is what counts
 *   page 2... data, mapped twice one after the other, so that no record is ever split
 *
 * A record is reserved under a lock (its length is marked busy before the producer position moves past it), filled
 * without one, and committed by taking the mark away.
 */
#include <linux/jiffies.h>
#include <linux/log2.h>

#include "firesteel.h"
#include "ring.h"

#define FST_RING_MOST (1u << 30)
#define FST_LOCK_TRIES 100000

static struct {
	raw_spinlock_t lock;
	u64 head; /* of the next record */
	u64 size;
	unsigned long looked; /* in jiffies: at what the hooks missed */
	u64 *consumer;
	u64 *producer;
	u8 *data;
	struct page **pages; /* consumer, producer, data, data again */
	unsigned long page_count; /* of `pages` */
} ring = {.lock = __RAW_SPIN_LOCK_UNLOCKED(ring.lock)};

/*
 * A hook must not hang because of us, whatever happens: so a lock is tried, and given up after a time that is far longer
 * than anybody holds it. Interrupts are off while it is held, so nobody on this processor can want it meanwhile but a
 * non-maskable one.
 */
bool fst_lock(raw_spinlock_t *lock, unsigned long *flags)
{
	unsigned int tries;

	local_irq_save(*flags);
	for (tries = 0; tries < FST_LOCK_TRIES; tries++) {
		if (raw_spin_trylock(lock))
			return true;
		cpu_relax();
	}
	local_irq_restore(*flags);
	return false;
}

void fst_unlock(raw_spinlock_t *lock, unsigned long flags)
{
	raw_spin_unlock(lock);
	local_irq_restore(flags);
}

struct fs_cpu_counters *fst_counters(void)
{
	return &fst.counters[raw_smp_processor_id() & (FS_CPUS - 1)];
}

static void free_pages_of_ring(unsigned long count)
{
	while (count--)
		__free_page(ring.pages[count]);
	vfree(ring.pages);
	ring.pages = NULL;
}

int fst_ring_create(u32 bytes)
{
	unsigned long data_pages = bytes >> PAGE_SHIFT, i;

	if (bytes < PAGE_SIZE || bytes > FST_RING_MOST || !is_power_of_2(bytes))
		return -EINVAL;
	ring.page_count = 2 + 2 * data_pages;
	ring.pages = vmalloc(ring.page_count * sizeof(*ring.pages));
	if (!ring.pages)
		return -ENOMEM;
	for (i = 0; i < 2 + data_pages; i++) {
		ring.pages[i] = alloc_page(FST_GFP | __GFP_ZERO | __GFP_NOWARN | __GFP_NORETRY);
		if (!ring.pages[i]) {
			free_pages_of_ring(i);
			return -ENOMEM;
		}
		if (i >= 2)
			ring.pages[i + data_pages] = ring.pages[i];
		cond_resched();
	}
	ring.data = vmap(ring.pages + 2, 2 * data_pages, VM_MAP, PAGE_KERNEL);
	if (!ring.data) {
		free_pages_of_ring(2 + data_pages);
		return -ENOMEM;
	}
	ring.consumer = page_address(ring.pages[0]);
	ring.producer = page_address(ring.pages[1]);
	ring.size = bytes;
	ring.head = 0;
	ring.looked = jiffies;
	return 0;
}

/* When nothing maps it and no hook is in place. */
void fst_ring_free(void)
{
	if (!ring.pages)
		return;
	vunmap(ring.data);
	free_pages_of_ring(2 + (ring.page_count - 2) / 2);
	ring.data = NULL;
}

int fst_ring_map(struct vm_area_struct *vma)
{
	unsigned long count = (vma->vm_end - vma->vm_start) >> PAGE_SHIFT, first = vma->vm_pgoff, i;
	bool consumer = first == 0 && count == 1;
	int error;

	if (!(vma->vm_flags & VM_SHARED) || first >= ring.page_count || count > ring.page_count - first)
		return -EINVAL;
	if (vma->vm_flags & VM_WRITE && !consumer)
		return -EPERM;
	/* mprotect asks for VM_MAYWRITE, which the file's mode alone would grant. */
	fst_vma_restrict(vma, consumer);
	for (i = 0; i < count; i++) {
		error = vm_insert_page(vma, vma->vm_start + (i << PAGE_SHIFT), ring.pages[first + i]);
		if (error)
			return error;
	}
	return 0;
}

/* Room for an event, or NULL after counting the loss. */
void *fst_reserve(u16 type, u32 bytes)
{
	u64 step = ALIGN((u64)bytes + FS_RING_RECORD_HEAD, 8), filled;
	unsigned long flags;
	u32 *record = NULL;

	if (!fst_lock(&ring.lock, &flags))
		goto lost;
	filled = ring.head - smp_load_acquire(ring.consumer);
	/* A reader that claims more than there is makes this larger than the ring. */
	if (filled <= ring.size && step <= ring.size - filled) {
		record = (u32 *)(ring.data + (ring.head & (ring.size - 1)));
		record[0] = bytes | FS_RING_BUSY;
		record[1] = 0;
		ring.head += step;
		smp_store_release(ring.producer, ring.head);
	}
	fst_unlock(&ring.lock, flags);
	if (record)
		return (u8 *)record + FS_RING_RECORD_HEAD;
lost:
	fst_count(&fst_counters()->lost[type & 15]);
	return NULL;
}

void fst_commit(const void *event, u16 type)
{
	u32 *record = (u32 *)((u8 *)event - FS_RING_RECORD_HEAD);

	fst_count(&fst_counters()->written[type & 15]);
	/* The kernel counts what a hook missed in the hook's own structure, which user space cannot map. */
	if (time_after(jiffies, READ_ONCE(ring.looked) + HZ / 4)) {
		WRITE_ONCE(ring.looked, jiffies);
		WRITE_ONCE(fst.counters[0].missed, fst_hooks_missed());
	}
	smp_store_release(&record[0], record[0] & ~FS_RING_BUSY);
}

/* Gives the room back unread. */
void fst_discard(const void *event)
{
	u32 *record = (u32 *)((u8 *)event - FS_RING_RECORD_HEAD);

	smp_store_release(&record[0], (record[0] & ~FS_RING_BUSY) | FS_RING_DISCARD);
}

/* Of an event that happens in the process it is about. */
void fst_head(struct fs_head *head, u16 type, u32 size, u64 time_ns)
{
	u64 process = fst_process_of(current);

	memset(head, 0, sizeof(*head));
	head->time_ns = time_ns;
	head->pid = process >> 32;
	head->tid = (u32)process;
	head->type = type;
	head->cpu = raw_smp_processor_id();
	head->size = size;
}

/* Of one that happens in a softirq, where whoever runs has nothing to do with it. */
void fst_head_outside(struct fs_head *head, u16 type, u32 size)
{
	fst_head(head, type, size, fst_now());
	head->flags = FS_NO_PROCESS;
	head->pid = 0;
	head->tid = 0;
}

/* Process facts come from the connection where the hook does not run in the process. */
void fst_head_for(struct fs_head *head, u16 type, u32 size, u64 time_ns, struct fst_connection *c, bool in_process)
{
	fst_head(head, type, size, time_ns);
	head->conn_id = c->id;
	head->cgroup_id = c->cgroup_id;
	head->netns = c->netns;
	if (!in_process) {
		head->pid = c->pid;
		head->tid = c->tid;
		if (!c->pid)
			head->flags |= FS_NO_PROCESS;
	}
	if (c->flags & FST_LOST) {
		head->flags |= FS_LOST_BEFORE;
		c->flags &= ~FST_LOST;
	}
}
