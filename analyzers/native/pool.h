/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two shapes that all of the engine's memory has: a pool of entries known by index, and a hash from a key to an index.
 * Both live in memory that was reserved at the start and that the kernel backs only once it is touched.
 */
#ifndef FIRESTEEL_POOL_H
#define FIRESTEEL_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Entries 1 .. capacity; 0 means none. A free entry keeps the next free one's index in its first four bytes. */
struct fs_pool {
	uint8_t *base;
	uint32_t stride;
	uint32_t capacity;
	uint32_t highest; /* index ever given */
	uint32_t first_free;
	uint32_t used;
};

static inline void *fs_pool_at(const struct fs_pool *pool, uint32_t index)
{
	return pool->base + (size_t)index * pool->stride;
}

/* The last one given back comes first, because it is still in the cache. */
static inline uint32_t fs_pool_take(struct fs_pool *pool)
{
	uint32_t index = pool->first_free;
	if (index)
		memcpy(&pool->first_free, fs_pool_at(pool, index), sizeof(uint32_t));
	else if (pool->highest < pool->capacity)
		index = ++pool->highest;
	else
		return 0;
	pool->used++;
	return index;
}

static inline void fs_pool_give(struct fs_pool *pool, uint32_t index)
{
	memcpy(fs_pool_at(pool, index), &pool->first_free, sizeof(uint32_t));
	pool->first_free = index;
	pool->used--;
}

/*
 * Open addressing with linear probing. A slot is hash << 32 | index, and 0 is empty; as the whole hash is kept, a
 * probe touches an entry only when it is most likely the right one, and an entry can be removed by shifting back.
 * Of entries with one hash the oldest is found first. There are slots of each size from the smallest to that of all
 * entries, one size behind the other, and those in use grow with the entries: what is in use stays in the cache.
 */
struct fs_index {
	uint64_t *slots; /* those in use; all others are empty */
	uint32_t mask;
	uint32_t used;
	uint64_t *smallest;
	uint32_t least, most; /* slots */
};

/* Slots of all sizes. `most` is a power of two, and twice the entries that there will be at most. */
static inline size_t fs_index_bytes(uint32_t least, uint32_t most)
{
	return (2 * (size_t)most - least) * sizeof(uint64_t);
}

static inline void fs_index_use(struct fs_index *index, uint32_t slots)
{
	index->slots = index->smallest + (slots - index->least);
	index->mask = slots - 1;
}

static inline uint32_t fs_index_first(const struct fs_index *index, uint32_t hash, uint32_t *probe)
{
	*probe = hash & index->mask;
	for (uint64_t slot; (slot = index->slots[*probe]) != 0; *probe = (*probe + 1) & index->mask)
		if (slot >> 32 == hash)
			return (uint32_t)slot;
	return 0;
}

static inline uint32_t fs_index_next(const struct fs_index *index, uint32_t hash, uint32_t *probe)
{
	*probe = (*probe + 1) & index->mask;
	for (uint64_t slot; (slot = index->slots[*probe]) != 0; *probe = (*probe + 1) & index->mask)
		if (slot >> 32 == hash)
			return (uint32_t)slot;
	return 0;
}

static inline void fs_index_put(struct fs_index *index, uint64_t slot)
{
	uint32_t probe = (uint32_t)(slot >> 32) & index->mask;
	while (index->slots[probe])
		probe = (probe + 1) & index->mask;
	index->slots[probe] = slot;
}

/* Into twice as many slots, in the order in which a probe finds them: from behind an empty one on. */
static inline void fs_index_grow(struct fs_index *index)
{
	uint64_t *old = index->slots;
	uint32_t mask = index->mask, start = 0;

	while (old[start])
		start++;
	fs_index_use(index, 2 * (mask + 1));
	for (uint32_t i = 1; i <= mask; i++) {
		uint64_t *slot = &old[(start + i) & mask];
		if (*slot)
			fs_index_put(index, *slot);
		*slot = 0;
	}
}

/* The caller keeps the number of entries at or below half of the most slots. */
static inline void fs_index_add(struct fs_index *index, uint32_t hash, uint32_t entry)
{
	if (2 * ++index->used > index->mask + 1 && index->mask + 1 < index->most)
		fs_index_grow(index);
	fs_index_put(index, (uint64_t)hash << 32 | entry);
}

static inline void fs_index_remove(struct fs_index *index, uint32_t hash, uint32_t entry)
{
	uint64_t wanted = (uint64_t)hash << 32 | entry;
	uint32_t hole = hash & index->mask;

	while (index->slots[hole] != wanted) {
		if (!index->slots[hole])
			return;
		hole = (hole + 1) & index->mask;
	}
	for (uint32_t probe = (hole + 1) & index->mask; index->slots[probe]; probe = (probe + 1) & index->mask) {
		uint32_t home = (uint32_t)(index->slots[probe] >> 32) & index->mask;
		/* Whoever lives at or before the hole, seen from his home, moves into it. */
		if (((probe - home) & index->mask) >= ((probe - hole) & index->mask)) {
			index->slots[hole] = index->slots[probe];
			hole = probe;
		}
	}
	index->slots[hole] = 0;
	if (--index->used == 0)
		fs_index_use(index, index->least);
}

/* Another entry takes the place of one that is there; nothing happens if it is not. */
static inline void fs_index_replace(struct fs_index *index, uint32_t hash, uint32_t entry, uint32_t with)
{
	uint32_t probe = hash & index->mask;

	while (index->slots[probe] && index->slots[probe] != ((uint64_t)hash << 32 | entry))
		probe = (probe + 1) & index->mask;
	if (index->slots[probe])
		index->slots[probe] = (uint64_t)hash << 32 | with;
}

#define FS_HASH_SEED 0x2545f4914f6cdd1dull

static inline uint64_t fs_mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
	return hash ^ hash >> 32;
}

static inline uint64_t fs_mix_bytes(uint64_t hash, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;
	uint64_t word;
	for (; length >= 8; length -= 8, at += 8) {
		memcpy(&word, at, 8);
		hash = fs_mix(hash, word);
	}
	word = length;
	for (size_t i = 0; i < length; i++)
		word = word << 8 | at[i];
	return fs_mix(hash, word);
}

/* Never 0, so that a slot of the index is never 0 either. */
static inline uint32_t fs_hash_end(uint64_t hash)
{
	uint32_t folded = (uint32_t)((hash * 0xff51afd7ed558ccdull) >> 32);
	return folded ? folded : 1;
}

#endif
