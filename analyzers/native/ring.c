/* SPDX-License-Identifier: Apache-2.0 */
#include "process.h"

#include <sys/mman.h>
#include <unistd.h>

/* 32-bit lengths and the doubled mapping bound it; the kernel itself refuses other sizes. */
static bool size_fits(uint64_t bytes, size_t page)
{
	return bytes >= page && bytes <= 1u << 30 && !(bytes & (bytes - 1));
}

bool fs_ring_map(struct fs_ring *ring, int fd, uint64_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	if (!size_fits(bytes, page))
		return false;
	void *consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (consumer == MAP_FAILED)
		return false;
	void *producer = mmap(NULL, page + 2 * (size_t)bytes, PROT_READ, MAP_SHARED, fd, (off_t)page);
	if (producer == MAP_FAILED)
		return false;
	ring->consumer = consumer;
	ring->producer = producer;
	ring->data = (const __u8 *)producer + page;
	ring->size = bytes;
	ring->position = __atomic_load_n(ring->consumer, __ATOMIC_ACQUIRE);
	ring->limit = ring->position;
	ring->contradictions = 0;
	return true;
}

bool fs_perf_map(struct fs_perf_rings *rings, int fd, uint64_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	if (rings->count == FS_CPUS || !size_fits(bytes, page))
		return false;
	/* Writable, or the kernel overwrites what was not read; its own head it keeps elsewhere. */
	uint8_t *mapped = mmap(NULL, page + (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mapped == MAP_FAILED)
		return false;
	struct fs_perf_ring *ring = &rings->rings[rings->count++];
	ring->head = (const __u64 *)(mapped + FS_PERF_HEAD_OFFSET);
	ring->tail = (__u64 *)(mapped + FS_PERF_HEAD_OFFSET) + 1;
	ring->data = mapped + page;
	ring->size = bytes;
	ring->position = __atomic_load_n(ring->tail, __ATOMIC_ACQUIRE);
	ring->limit = ring->position;
	return true;
}
