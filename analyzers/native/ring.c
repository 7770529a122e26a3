/* SPDX-License-Identifier: Apache-2.0 */
#include "process.h"

#include <sys/mman.h>
#include <unistd.h>

bool fs_ring_map(struct fs_ring *ring, int fd, uint64_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	/* 32-bit lengths and the doubled mapping bound it; the kernel itself refuses other sizes. */
	if (bytes < page || bytes > 1u << 30 || (bytes & (bytes - 1)))
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
