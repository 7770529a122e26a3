/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `requests.url_clustering: learn`. A parser has made `/user/mary/cart` of a request: nothing in it but letters, and
 * still one value for each user. So the names at each level of each service are counted, and a level that gets more
 * than FS_LEARN_NAMES becomes a star for good, with all that was known below it. It sees what `alphabet` left and
 * nothing else. Where there is no room, whatever is not known yet is a star: fewer values, never more.
 *
 * A service that nobody asked for as long as rows last is forgotten when its place is needed, and learned anew.
 */
#include "learn.h"

#define SECOND 1000000000ull

static struct fs_learn_node *node_at(const struct fs_learn *learn, uint32_t index)
{
	return fs_pool_at(&learn->nodes, index);
}

static uint32_t hash_name(uint32_t parent, uint64_t name)
{
	return fs_hash_end(fs_mix(fs_mix(FS_HASH_SEED, parent), name));
}

static uint32_t find(const struct fs_learn *learn, uint32_t parent, uint64_t name)
{
	uint32_t hash = hash_name(parent, name), probe;

	for (uint32_t i = fs_index_first(&learn->by_name, hash, &probe); i;
	     i = fs_index_next(&learn->by_name, hash, &probe))
		if (node_at(learn, i)->parent == parent && node_at(learn, i)->name == name)
			return i;
	return 0;
}

static void drop(struct fs_learn *learn, uint32_t index)
{
	struct fs_learn_node *node = node_at(learn, index);

	fs_index_remove(&learn->by_name, node->hash, index);
	node->used = 0;
	fs_pool_give(&learn->nodes, index);
}

/* A node that was given back keeps its parent until it is taken again, so the way up can be walked meanwhile. */
static bool is_below(const struct fs_learn *learn, uint32_t index, uint32_t above)
{
	for (uint32_t level = 0; index && level <= FS_LEARN_DEPTH; level++) {
		index = node_at(learn, index)->parent;
		if (index == above)
			return true;
	}
	return false;
}

static void drop_below(struct fs_learn *learn, uint32_t above)
{
	for (uint32_t i = 1; i <= learn->nodes.highest; i++)
		if (node_at(learn, i)->used && is_below(learn, i, above))
			drop(learn, i);
}

/* Makes room by the service that was idle longest, if one was long enough. Looks once a second at most. */
static void drop_idle(struct fs_learn *learn, uint64_t now_ns)
{
	uint32_t oldest = 0;

	if (learn->looked_ns && now_ns - learn->looked_ns < SECOND)
		return;
	learn->looked_ns = now_ns;
	for (uint32_t i = 1; i <= learn->nodes.highest; i++) {
		const struct fs_learn_node *node = node_at(learn, i);
		if (node->used && !node->parent && (!oldest || node->last_ns < node_at(learn, oldest)->last_ns))
			oldest = i;
	}
	if (!oldest || now_ns <= node_at(learn, oldest)->last_ns ||
	    now_ns - node_at(learn, oldest)->last_ns <= learn->idle_ns)
		return;
	drop_below(learn, oldest);
	drop(learn, oldest);
}

static uint32_t add(struct fs_learn *learn, uint32_t parent, uint64_t name, uint64_t now_ns)
{
	uint32_t index = fs_pool_take(&learn->nodes);

	if (!index && learn->idle_ns) {
		drop_idle(learn, now_ns);
		/* Its own service may be what was dropped: then there is no parent to add to. */
		if (!parent || node_at(learn, parent)->used)
			index = fs_pool_take(&learn->nodes);
	}
	if (!index)
		return 0;
	struct fs_learn_node *node = node_at(learn, index);
	*node = (struct fs_learn_node){.hash = hash_name(parent, name), .parent = parent, .name = name, .used = 1};
	fs_index_add(&learn->by_name, node->hash, index);
	return index;
}

static bool is_star(struct fs_text name)
{
	return name.length == 1 && name.start[0] == '*';
}

/* Where `name` is below `parent`; 0 if that is a star, or there is no room for it. */
static uint32_t step(struct fs_learn *learn, uint32_t parent, struct fs_text name, uint64_t now_ns)
{
	struct fs_learn_node *above = node_at(learn, parent);
	uint64_t hash = fs_mix_bytes(FS_HASH_SEED, name.start, name.length);

	if (above->is_star || is_star(name))
		return 0;
	uint32_t index = find(learn, parent, hash);
	if (index)
		return index;
	if (above->names >= FS_LEARN_NAMES) {
		above->is_star = 1;
		drop_below(learn, parent);
		return 0;
	}
	index = add(learn, parent, hash, now_ns);
	if (index)
		node_at(learn, parent)->names++;
	return index;
}

/* The level below a star: one for all names. */
static uint32_t below_star(struct fs_learn *learn, uint32_t parent, uint64_t now_ns)
{
	uint32_t index = find(learn, parent, 0);
	return index ? index : add(learn, parent, 0, now_ns);
}

static uint32_t service_node(struct fs_learn *learn, uint64_t service, uint64_t now_ns)
{
	uint32_t index = find(learn, 0, service);

	if (!index)
		index = add(learn, 0, service, now_ns);
	if (index)
		node_at(learn, index)->last_ns = now_ns;
	return index;
}

void fs_learn_path(struct fs_learn *learn, uint64_t service, uint64_t now_ns, const struct fs_label *path,
		   struct fs_label *out)
{
	struct fs_cursor bytes = fs_inside(fs_label_read(path));
	uint32_t at = service_node(learn, service, now_ns);

	out->length = 0;
	out->text[0] = 0;
	fs_accept(&bytes, "/");
	for (uint32_t level = 0; level < FS_LEARN_DEPTH; level++) {
		uint32_t rest = (uint32_t)fs_left(&bytes);
		struct fs_text name = {0};
		bool is_last = !fs_take_until(&bytes, '/', rest, &name);
		if (is_last)
			fs_take(&bytes, rest, &name);
		uint32_t next = at && name.length ? step(learn, at, name, now_ns) : 0;

		fs_label_byte(out, '/');
		if (next)
			fs_label_text(out, name);
		else if (name.length)
			fs_label_byte(out, '*');
		if (is_last)
			return;
		at = next ? next : at ? below_star(learn, at, now_ns) : 0;
	}
	fs_label_literal(out, "/*");
}
