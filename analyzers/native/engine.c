/* SPDX-License-Identifier: Apache-2.0 */
#define _DEFAULT_SOURCE
#include <sys/mman.h>

#include "state.h"

#define FS_INDEX_SLOTS 512u /* that an index begins with */

/* What is carved out of the engine's memory. Called twice: with memory == NULL it only adds up. */
struct plan {
	uint8_t *memory;
	size_t used;
};

static void *carve(struct plan *plan, size_t bytes)
{
	void *here = plan->memory ? plan->memory + plan->used : NULL;
	plan->used += (bytes + 63) & ~(size_t)63;
	return here;
}

static void carve_pool(struct plan *plan, struct fs_pool *pool, uint32_t stride, uint32_t capacity)
{
	pool->stride = stride;
	pool->capacity = capacity;
	pool->base = carve(plan, (size_t)stride * (capacity + 1));
}

/* At most half full, and at first of a page. */
static void carve_index(struct plan *plan, struct fs_index *index, uint32_t entries)
{
	index->most = 16;
	while (index->most < entries * 2)
		index->most *= 2;
	index->least = index->most < FS_INDEX_SLOTS ? index->most : FS_INDEX_SLOTS;
	index->smallest = carve(plan, fs_index_bytes(index->least, index->most));
	if (plan->memory)
		fs_index_use(index, index->least);
}

/* What parsers keep for a connection: 18 MiB at most, of which only what was used once is resident. */
static const struct {
	uint32_t bytes, blocks;
} state_pools[FS_STATE_CLASSES] = {{512, 4096}, {4096, 2048}, {FS_STATE_BYTES, 512}};

static void lay_out(struct fs_engine *e, struct plan *plan)
{
	uint32_t connections = e->config.max_connections;

	carve_pool(plan, &e->connections, sizeof(struct fs_connection), connections);
	carve_pool(plan, &e->waitings, sizeof(struct fs_waiting), FS_WAITING);
	carve_pool(plan, &e->buffers, FS_BUFFER_BYTES, FS_BUFFERS);
	carve_pool(plan, &e->exchange_texts, sizeof(struct fs_exchange_text), FS_EXCHANGE_TEXTS);
	carve_pool(plan, &e->helds, sizeof(struct fs_held), FS_HELD);
	for (uint32_t i = 0; i < FS_STATE_CLASSES; i++)
		carve_pool(plan, &e->states[i], state_pools[i].bytes, state_pools[i].blocks);
	carve_pool(plan, &e->listeners, sizeof(struct fs_listener), FS_LISTENERS);
	carve_pool(plan, &e->edges, sizeof(struct fs_edge), FS_ROWS);
	carve_pool(plan, &e->contents, sizeof(struct fs_content), 2 * FS_ROWS);
	carve_pool(plan, &e->strings, sizeof(uint32_t), FS_STRINGS - 1);
	carve_pool(plan, &e->rows, sizeof(uint32_t), FS_ROWS - 1);
	carve_pool(plan, &e->tcp_rows, sizeof(uint32_t), FS_TCP_ROWS - 1);
	carve_pool(plan, &e->idents, sizeof(uint32_t), FS_IDENTS - 1);
	carve_pool(plan, &e->learn.nodes, sizeof(struct fs_learn_node), FS_LEARN_NODES);
	carve_index(plan, &e->learn.by_name, FS_LEARN_NODES);
	for (uint32_t i = 0; fs_protocols[i]; i++)
		e->parser_memory[fs_protocols[i]->id] = carve(plan, fs_protocols[i]->shared_bytes);
	carve_index(plan, &e->by_id, connections);
	carve_index(plan, &e->by_tuple, connections);
	carve_index(plan, &e->by_request, FS_WAITING);
	carve_index(plan, &e->by_dialled, FS_NATS);
	carve_index(plan, &e->by_served, FS_NATS);
	carve_index(plan, &e->by_address, FS_DOMAINS);
	carve_index(plan, &e->by_ident, FS_IDENTS);
	carve_index(plan, &e->by_string, FS_STRINGS);
	carve_index(plan, &e->by_row, FS_ROWS);
	carve_index(plan, &e->by_tcp_row, FS_TCP_ROWS);
	carve_index(plan, &e->by_listener, FS_LISTENERS);
	carve_index(plan, &e->by_edge, FS_ROWS);
	carve_index(plan, &e->by_content, 2 * FS_ROWS);
	e->texts = carve(plan, (FS_WAITING + 1) * sizeof(struct fs_texts));
	e->string_refs = carve(plan, FS_STRINGS * sizeof(uint32_t));
	e->string_hash = carve(plan, FS_STRINGS * sizeof(uint32_t));
	e->ident_refs = carve(plan, FS_IDENTS * sizeof(uint32_t));
	e->row_hash = carve(plan, FS_ROWS * sizeof(uint32_t));
	e->row_edge = carve(plan, FS_ROWS * sizeof(uint32_t));
	e->row_contents = carve(plan, FS_ROWS * sizeof(*e->row_contents));
	e->row_touched_ns = carve(plan, FS_ROWS * sizeof(uint64_t));
	e->cgroup_idents = carve(plan, FS_IDENTS * sizeof(uint16_t));
	e->tcp_row_hash = carve(plan, FS_TCP_ROWS * sizeof(uint32_t));
	e->contents_of = carve(plan, (size_t)FS_IDENTS * FS_PROTOCOL_MAX * 2 * sizeof(uint16_t));
	e->memos = carve(plan, FS_MEMOS * fs_memo_size());
	e->addresses = carve(plan, FS_ADDRESSES * 16);
	e->processes = carve(plan, FS_PROCESSES * sizeof(struct fs_process_name));
}

static void read_paths(struct fs_engine *e)
{
	struct fs_path_rules *rules = &e->config.unwanted_paths;

	if (rules->count > FS_PATH_RULES)
		rules->count = FS_PATH_RULES;
	for (uint32_t i = 0; i < rules->count; i++)
		if (rules->rule[i].length > FS_PATH_BYTES)
			rules->rule[i].length = FS_PATH_BYTES;
	e->options.unwanted = rules->count ? rules : NULL;
	e->options.paths_version = e->config.generation;
}

/* What the agent wrote is taken over within bounds: the engine trusts nobody with its memory. */
static void read_config(struct fs_engine *e)
{
	uint32_t connections = e->config.max_connections;

	e->config.generation = __atomic_load_n(&e->shared->generation, __ATOMIC_ACQUIRE);
	uint32_t generation = e->config.generation;
	memcpy(&e->config, e->shared, sizeof(e->config));
	e->config.generation = generation;
	if (connections)
		e->config.max_connections = connections; /* the table cannot grow under way */
	if (e->config.max_connections == 0)
		e->config.max_connections = 65536;
	if (e->config.max_connections > 1u << 22)
		e->config.max_connections = 1u << 22;
	if (e->config.row_limit == 0 || e->config.row_limit > FS_ROWS)
		e->config.row_limit = FS_ROWS;
	if (e->config.tcp_row_limit == 0 || e->config.tcp_row_limit > FS_TCP_ROWS)
		e->config.tcp_row_limit = FS_TCP_ROWS;
	if (e->config.port_rules > FS_PORT_RULES)
		e->config.port_rules = FS_PORT_RULES;
	if (e->config.cgroups_aside > FS_CGROUPS_ASIDE)
		e->config.cgroups_aside = FS_CGROUPS_ASIDE;
	e->config.protocols_enabled |= 1u << FS_PROTOCOL_NOSUPPORT;
	for (uint32_t i = 0; i < FS_UNWANTED_COMMS; i++)
		e->config.unwanted_comm[i][15] = 0;
	read_paths(e);
	e->options.url_clustering = e->config.url_clustering;
	e->learn.idle_ns = e->config.row_idle_ns;
	e->options.dns_nxdomain_is_error = e->config.dns_nxdomain_is_error;
}

struct fs_engine *fs_engine_new(struct fs_table *table, const struct fs_engine_config *config, uint64_t *slots,
				struct fs_control *control)
{
	struct fs_engine planned = {.table = table, .shared = config, .slots = slots};
	struct plan plan = {NULL, 0};

	read_config(&planned);
	(void)carve(&plan, sizeof(struct fs_engine));
	lay_out(&planned, &plan);
	/* Not reserved, not touched: the kernel backs a page once it is used. */
	plan.memory = mmap(NULL, plan.used, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (plan.memory == MAP_FAILED)
		return NULL;
	size_t bytes = plan.used;
	plan.used = 0;
	struct fs_engine *e = carve(&plan, sizeof(struct fs_engine));
	memcpy(e, &planned, sizeof(planned));
	lay_out(e, &plan);
	e->memory = plan.memory;
	e->memory_bytes = bytes;
	e->dice = FS_HASH_SEED;
	e->deep_limit = FS_DEEP_BYTES;
	for (uint32_t i = 0; i < FS_PROTOCOL_MAX; i++)
		e->protocols[i] = fs_protocol_by_id((uint8_t)i);

	/* It points into the engine, which has moved. */
	e->options.unwanted = e->config.unwanted_paths.count ? &e->config.unwanted_paths : NULL;

	fs_identity_restore(e);
	fs_scope_changed(e);
	fs_strings_restore(e);
	fs_rows_restore(e);
	fs_tcp_rows_restore(e);
	fs_nat_restore(e);
	fs_domains_restore(e);
	table->magic = FS_TABLE_MAGIC;
	table->version = FS_TABLE_VERSION;
	table->size = sizeof(*table);
	table->parsing = 0;
	table->connections = 0;
	table->pending = 0;
	table->starts++;
	/* What the engine before this one wanted of a connection is nothing that this one knows of. */
	if (slots)
		memset(slots, 0, FS_SLOTS * sizeof(*slots));
	if (control)
		__atomic_add_fetch(&control->epoch, 1, __ATOMIC_RELEASE);
	return e;
}

void fs_engine_free(struct fs_engine *e)
{
	if (e)
		munmap(e->memory, e->memory_bytes);
}

static bool is_excluded(const struct fs_engine *e, uint32_t netns)
{
	for (uint32_t i = 0; i < 16 && e->config.excluded_netns[i]; i++)
		if (e->config.excluded_netns[i] == netns)
			return true;
	return false;
}

static void stream_event(struct fs_engine *e, const struct fs_head *head)
{
	struct fs_connection *c = fs_connection_find(e, head->conn_id);
	if (!c || c->kind != FS_KIND_STREAM || c->flags & FS_C_ANNOUNCED) {
		e->table->stats.connections_unknown++;
		fs_mode_ask(e, head->conn_id);
	} else {
		fs_stream_event(e, c, head);
	}
}

void fs_engine_event(struct fs_engine *e, const void *event, uint32_t size)
{
	const struct fs_head *head = event;

	if (!fs_event_is_valid(event, size)) {
		e->table->stats.events_invalid++;
		return;
	}
	e->table->events[head->type]++;
	if (head->time_ns > e->now_ns) {
		e->now_ns = head->time_ns;
		e->table->clock_ns = head->time_ns;
	}
	if (head->flags & FS_LOST_BEFORE)
		e->lost_ns = e->now_ns;
	if (e->config.excluded_netns[0] && head->type != FS_EV_PROCESS && is_excluded(e, head->netns)) {
		e->table->stats.events_excluded++;
		return;
	}
	switch (head->type) {
	case FS_EV_DATA:
	case FS_EV_EXCHANGE: stream_event(e, head); break;
	case FS_EV_DATAGRAM: fs_datagram_event(e, event); break;
	case FS_EV_OPEN: fs_connection_open(e, event); break;
	case FS_EV_CLOSE: fs_connection_close(e, event); break;
	case FS_EV_CONNECT: fs_connect_event(e, event); break;
	case FS_EV_LISTEN: fs_listen_event(e, event); break;
	case FS_EV_TROUBLE: fs_trouble_event(e, event); break;
	case FS_EV_PROCESS: fs_process_event(e, event); break;
	default: break;
	}
}

static void publish(struct fs_engine *e)
{
	e->table->connections = e->connections.used;
	e->table->pending = e->waitings.used;
}

void fs_engine_tick(struct fs_engine *e, uint64_t now_ns)
{
	if (now_ns < e->now_ns)
		now_ns = e->now_ns;
	e->now_ns = now_ns;
	if (__atomic_load_n(&e->shared->generation, __ATOMIC_ACQUIRE) != e->config.generation) {
		read_config(e);
		fs_scope_changed(e);
	}
	fs_release_overdue(e, now_ns);
	fs_requests_settled(e, now_ns);
	fs_sweep(e, now_ns);
	publish(e);
}

void fs_engine_ring(struct fs_engine *e, uint64_t bytes)
{
	e->deep_limit = bytes / 8;
}

void fs_engine_lost(struct fs_engine *e, uint64_t total)
{
	if (total > e->lost_total)
		e->lost_ns = e->now_ns;
	e->lost_total = total;
}

void fs_engine_finish(struct fs_engine *e)
{
	fs_release_overdue(e, UINT64_MAX);
	fs_requests_settled(e, UINT64_MAX);
	fs_sweep_everything(e);
	fs_requests_settled(e, UINT64_MAX);
	publish(e);
}
