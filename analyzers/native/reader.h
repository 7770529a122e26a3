/* SPDX-License-Identifier: Apache-2.0 */
/* The table as Python wants it: used rows packed together, names of what is counted. Reads only. */
#ifndef FIRESTEEL_READER_H
#define FIRESTEEL_READER_H

#include "table.h"

/* The counters of a used row. Python unpacks a run of these at once. */
struct fs_row_reading {
	uint32_t index;
	uint32_t generation;
	uint64_t updated_ns;
	uint64_t count;
	uint64_t duration_ns;
	uint64_t request_bytes;
	uint64_t response_bytes;
	uint64_t buckets[FS_BUCKETS];
	uint64_t last_duration_ns;
	uint64_t last_request_ns;
	uint64_t last_processing_ns;
	uint64_t last_response_ns;
	uint64_t last_connect_ns;
};

struct fs_tcp_row_reading {
	uint32_t index;
	uint32_t generation;
	uint64_t updated_ns;
	uint64_t srtt_us;
	uint64_t connects;
	uint64_t connect_ns;
	uint64_t retransmits;
	uint64_t synack_retransmits;
	uint64_t drops;
	uint64_t resets_sent;
	uint64_t resets_received;
	uint64_t closed;
};

/* Used rows of [begin, end). How many were written to `out`, which has room for all of them. */
uint32_t fs_read_rows(const struct fs_table *table, uint32_t begin, uint32_t end, struct fs_row_reading *out);
uint32_t fs_read_tcp_rows(const struct fs_table *table, uint32_t begin, uint32_t end, struct fs_tcp_row_reading *out);

/* Whether an entry is still `generation`'s, to be asked after its key, and what that refers to, was read. */
int fs_row_stands(const struct fs_table *table, uint32_t index, uint32_t generation);
int fs_tcp_row_stands(const struct fs_table *table, uint32_t index, uint32_t generation);

/* Copies the fine buckets of a row; 0 if it is not `generation`'s any more. */
int fs_read_fine(const struct fs_table *table, uint32_t index, uint32_t generation, struct fs_fine *out);

/* Copies sample `sequence`; 0 if it has been overwritten, also while it was being copied. */
int fs_read_sample(const struct fs_table *table, uint64_t sequence, struct fs_sample *out);

/* Copies the names that came after generation `after`, at most FS_DOMAINS of them; how many. */
uint32_t fs_read_domains(const struct fs_table *table, uint32_t after, struct fs_domain *out);

/* The mode slot of a connection. */
uint32_t fs_read_slot_of(uint64_t conn_id);

/* Names by number, empty for a number that is not used, NULL past the end; statistics in the order of struct fs_stats. */
const char *fs_read_event_name(uint32_t number);
const char *fs_read_reason_name(uint32_t number);
const char *fs_read_reason_help(uint32_t number);
const char *fs_read_protocol_name(uint32_t number);
const char *fs_read_verb_name(uint32_t number);
const char *fs_read_stat_name(uint32_t number);
const char *fs_read_stat_help(uint32_t number);

#endif
