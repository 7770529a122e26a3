/* SPDX-License-Identifier: Apache-2.0 */
/* Paths of one service as a bounded tree, in which a level that has too many names becomes one star. */
#ifndef FIRESTEEL_LEARN_H
#define FIRESTEEL_LEARN_H

#include "cursor.h"
#include "pool.h"

#define FS_LEARN_NODES 16384
#define FS_LEARN_NAMES 32 /* of one level; one more, and all become a star */
#define FS_LEARN_DEPTH 12 /* levels; what is deeper becomes one star */

struct fs_learn_node {
	uint32_t link;
	uint32_t hash;
	uint32_t parent; /* 0: a service */
	uint16_t names; /* below it, stars not counted */
	uint8_t used;
	uint8_t is_star; /* what is below it has no names any more */
	uint64_t name;
	uint64_t last_ns; /* of a service */
};

struct fs_learn {
	struct fs_pool nodes;
	struct fs_index by_name;
	uint64_t looked_ns; /* for a service that is idle */
	uint64_t idle_ns; /* services that were not asked for so long make room */
};

/* The path as far as this service's names are few: the same every time for the same history. */
void fs_learn_path(struct fs_learn *learn, uint64_t service, uint64_t now_ns, const struct fs_label *path,
		   struct fs_label *out);

#endif
