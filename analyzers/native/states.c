/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What parsers remember of a connection (prepared statements, header compression): a block of one of three sizes, zeroed
 * when given and taken back with the connection or when its protocol is doubted. Where no block is left the connection
 * is parsed without for as long as it speaks that protocol: a block that came later would miss what was said before.
 */
#include "state.h"

static struct fs_pool *pool_of(struct fs_engine *e, const struct fs_protocol *protocol)
{
	uint32_t class = 0;
	while (class < FS_STATE_CLASSES - 1 && e->states[class].stride < protocol->state_bytes)
		class ++;
	return &e->states[class];
}

void *fs_state_of(struct fs_engine *e, struct fs_connection *c, const struct fs_protocol *protocol)
{
	struct fs_pool *pool = pool_of(e, protocol);

	if (c->state)
		return fs_pool_at(pool, c->state);
	if (c->flags & FS_C_STATELESS || protocol->state_bytes > pool->stride)
		return NULL;
	c->state = fs_pool_take(pool);
	if (!c->state) {
		c->flags |= FS_C_STATELESS;
		e->table->stats.parser_state_exhausted++;
		return NULL;
	}
	return memset(fs_pool_at(pool, c->state), 0, protocol->state_bytes);
}

/* Before the connection's protocol changes: it says where the block came from. */
void fs_state_give(struct fs_engine *e, struct fs_connection *c)
{
	const struct fs_protocol *protocol = c->state ? fs_protocol_of(e, c->protocol) : NULL;

	if (protocol)
		fs_pool_give(pool_of(e, protocol), c->state);
	c->state = 0;
	c->flags &= ~(uint32_t)FS_C_STATELESS;
}
