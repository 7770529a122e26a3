/* SPDX-License-Identifier: Apache-2.0 */
#include "reader.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "../../probes/include/control.h"
#include "protocol.h"

/*
 * The writer clears the generation, with a fence behind it, before it gives an entry to another key, and sets the new
 * one last: what was read between two looks at the same generation belongs to that generation's key. A key is read
 * by Python later than the counters, so its reader looks again (fs_row_stands, fs_tcp_row_stands).
 */
static bool begins(const uint32_t *generation, uint32_t *seen)
{
	*seen = __atomic_load_n(generation, __ATOMIC_ACQUIRE);
	return *seen != 0;
}

static bool ends(const uint32_t *generation, uint32_t seen)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(generation, __ATOMIC_RELAXED) == seen;
}

uint32_t fs_read_rows(const struct fs_table *table, uint32_t begin, uint32_t end, struct fs_row_reading *out)
{
	uint32_t count = 0;
	for (uint32_t i = begin; i < end && i < FS_ROWS; i++) {
		const struct fs_row *row = &table->rows[i];
		struct fs_row_reading *reading = &out[count];
		if (!begins(&row->generation, &reading->generation))
			continue;
		reading->index = i;
		reading->updated_ns = row->updated_ns;
		reading->count = row->count;
		reading->duration_ns = row->duration_ns;
		reading->request_bytes = row->request_bytes;
		reading->response_bytes = row->response_bytes;
		memcpy(reading->buckets, row->buckets, sizeof(row->buckets));
		reading->last_duration_ns = row->last_duration_ns;
		reading->last_request_ns = row->last_request_ns;
		reading->last_processing_ns = row->last_processing_ns;
		reading->last_response_ns = row->last_response_ns;
		reading->last_connect_ns = row->last_connect_ns;
		count += ends(&row->generation, reading->generation);
	}
	return count;
}

uint32_t fs_read_tcp_rows(const struct fs_table *table, uint32_t begin, uint32_t end, struct fs_tcp_row_reading *out)
{
	uint32_t count = 0;
	for (uint32_t i = begin; i < end && i < FS_TCP_ROWS; i++) {
		const struct fs_tcp_row *row = &table->tcp_rows[i];
		struct fs_tcp_row_reading *reading = &out[count];
		if (!begins(&row->generation, &reading->generation))
			continue;
		reading->index = i;
		reading->updated_ns = row->updated_ns;
		reading->srtt_us = row->srtt_us;
		reading->connects = row->connects;
		reading->connect_ns = row->connect_ns;
		reading->retransmits = row->retransmits;
		reading->synack_retransmits = row->synack_retransmits;
		reading->drops = row->drops;
		reading->resets_sent = row->resets_sent;
		reading->resets_received = row->resets_received;
		reading->closed = row->closed;
		count += ends(&row->generation, reading->generation);
	}
	return count;
}

int fs_row_stands(const struct fs_table *table, uint32_t index, uint32_t generation)
{
	return index < FS_ROWS && ends(&table->rows[index].generation, generation);
}

int fs_tcp_row_stands(const struct fs_table *table, uint32_t index, uint32_t generation)
{
	return index < FS_TCP_ROWS && ends(&table->tcp_rows[index].generation, generation);
}

int fs_read_fine(const struct fs_table *table, uint32_t index, uint32_t generation, struct fs_fine *out)
{
	if (index >= FS_ROWS)
		return 0;
	memcpy(out, &table->fine[index], sizeof(*out));
	return ends(&table->rows[index].generation, generation);
}

int fs_read_sample(const struct fs_table *table, uint64_t sequence, struct fs_sample *out)
{
	const struct fs_sample *sample = &table->samples[sequence % FS_SAMPLES];
	if (__atomic_load_n(&sample->sequence, __ATOMIC_ACQUIRE) != sequence)
		return 0;
	memcpy(out, sample, sizeof(*out));
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&sample->sequence, __ATOMIC_RELAXED) == sequence;
}

uint32_t fs_read_domains(const struct fs_table *table, uint32_t after, struct fs_domain *out)
{
	uint32_t count = 0, seen;

	for (uint32_t i = 1; table->domain_head && i < FS_DOMAINS; i++) {
		if (!begins(&table->domains[i].generation, &seen) || seen <= after)
			continue;
		out[count] = table->domains[i];
		out[count].generation = seen;
		if (out[count].length > FS_DOMAIN_BYTES)
			continue;
		count += ends(&table->domains[i].generation, seen);
	}
	return count;
}

uint32_t fs_read_slot_of(uint64_t conn_id)
{
	return fs_slot_of(conn_id);
}

#define FS_READ_NAMES(function, list, entry)                      \
	const char *function(uint32_t number)                     \
	{                                                         \
		static const char *const names[] = {list(entry)}; \
		if (number >= sizeof(names) / sizeof(names[0]))   \
			return NULL;                              \
		return names[number] ? names[number] : "";        \
	}

#define FS_EVENT_ENTRY(number, name, suffix, help) [number] = #suffix,
#define FS_REASON_ENTRY(number, name, help) [number] = #name,
#define FS_REASON_HELP_ENTRY(number, name, help) [number] = help,
#define FS_PROTOCOL_ENTRY(number, symbol, name) [number] = name,
#define FS_VERB_ENTRY(number, name) [number] = #name,
#define FS_STAT_ENTRY(name, help) #name,
#define FS_STAT_HELP_ENTRY(name, help) help,

FS_READ_NAMES(fs_read_event_name, FS_EVENTS, FS_EVENT_ENTRY)
FS_READ_NAMES(fs_read_reason_name, FS_REASONS, FS_REASON_ENTRY)
FS_READ_NAMES(fs_read_reason_help, FS_REASONS, FS_REASON_HELP_ENTRY)
FS_READ_NAMES(fs_read_protocol_name, FS_PROTOCOLS, FS_PROTOCOL_ENTRY)
FS_READ_NAMES(fs_read_verb_name, FS_VERBS, FS_VERB_ENTRY)
FS_READ_NAMES(fs_read_stat_name, FS_STATS, FS_STAT_ENTRY)
FS_READ_NAMES(fs_read_stat_help, FS_STATS, FS_STAT_HELP_ENTRY)
