/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table that the engine writes and the agent reads: one shared mapping, fixed offsets, one writer.
 * It outlives the engine, so counters go on after a crash. cffi reads these structs as they stand here.
 *
 * A reader takes an entry whose generation is not 0, and knows by an unchanged (index, generation) that the key is
 * still the same. Counters only grow while the generation stands. The writer fills the key, then sets the generation.
 */
#ifndef FIRESTEEL_TABLE_H
#define FIRESTEEL_TABLE_H

#include <stdint.h>

#include "paths.h"

#define FS_TABLE_MAGIC 0x42545346u
#define FS_TABLE_VERSION 3

#define FS_IDENTS 8192
#define FS_STRINGS 32768
#define FS_STRING_BYTES 256
#ifndef FS_ROWS /* a fuzzer has few: it makes time pass with every input, and each time looks at many */
#define FS_ROWS 32768
#define FS_TCP_ROWS 16384
#endif
#define FS_SAMPLES 4096
#define FS_BUCKETS 9 /* 8 upper bounds and infinity */
#define FS_FINE_BUCKETS 60 /* two for each of 29 octaves, one below and one above */
#define FS_PORT_RULES 64
#define FS_UNWANTED_COMMS 64
#define FS_CGROUPS_ASIDE 2048
#define FS_NATS 32768
#define FS_DOMAINS 4096
#define FS_DOMAIN_BYTES 254

enum fs_ident_flag {
	FS_IDENT_FROM_SOFTIRQ = 1 << 0, /* told by a softirq event only, so cgroup and comm are absent */
	FS_IDENT_UNWANTED = 1 << 1, /* the user left this command out */
	FS_IDENT_ASIDE =
		1 << 2 /* the user left its namespace or workload out: whom it talks with may still tell of it */
};

/* Who owns a local socket. Entry 0 means "unknown". */
struct fs_ident {
	uint32_t generation;
	uint32_t netns;
	uint64_t cgroup_id;
	uint32_t pid; /* one process that was seen; not part of the key */
	uint32_t flags; /* enum fs_ident_flag */
	uint64_t updated_ns;
	char comm[16];
	uint64_t reserved;
};

/* Interned text; entry 0 is "", entry 1 is "other" (the overflow value). */
struct fs_string {
	uint32_t generation;
	uint16_t length;
	uint16_t reserved;
	char text[FS_STRING_BYTES - 8];
};

enum fs_row_flag {
	FS_ROW_ERROR = 1 << 0,
	FS_ROW_SLOW = 1 << 1,
	FS_ROW_OVERFLOW = 1 << 2, /* the row that holds what found no row of its own */
	FS_ROW_BOTH_ENDS = 1 << 3, /* peer_ident is the other end, on this node: one row for both observers */
	FS_ROW_NO_RESPONSE = 1 << 4
};

/*
 * One kind of request between two parties. As seen from the local end: role says which one that is.
 * The server's port is always in the key, the client's never (it is 0).
 */
struct fs_row {
	uint32_t generation;
	uint32_t flags; /* enum fs_row_flag */
	uint32_t ident; /* index into idents */
	uint32_t peer_ident; /* 0: the peer is elsewhere */
	uint8_t local[16];
	uint8_t remote[16];
	uint16_t local_port;
	uint16_t remote_port;
	uint8_t role; /* enum fs_role of the local end */
	uint8_t protocol; /* enum fs_protocol_id */
	uint8_t l4;
	uint8_t verb; /* enum fs_verb, with fs_engine_config.count_verbs */
	uint32_t request_content; /* index into strings */
	uint32_t response_content;
	uint16_t status;
	uint16_t dialled_port; /* 0: nothing was translated */
	uint8_t dialled[16]; /* what the client asked for, where another address answered */
	uint32_t reserved2;
	uint64_t created_ns; /* CLOCK_MONOTONIC */
	uint64_t updated_ns; /* end of the newest request */
	uint64_t count;
	uint64_t duration_ns;
	uint64_t request_bytes;
	uint64_t response_bytes;
	uint64_t buckets[FS_BUCKETS];
	/* the newest request of this row, for the trace view */
	uint64_t last_duration_ns;
	uint64_t last_request_ns; /* request transfer */
	uint64_t last_processing_ns;
	uint64_t last_response_ns; /* response transfer */
	uint64_t last_connect_ns;
};

/*
 * How long the requests of the row with the same index took, with fs_engine_config.count_fine: buckets whose bounds are
 * powers of the square root of two, of a second. The first one is for everything up to 2**-17 s, bucket i > 0 for what
 * is longer than 2**((i - 1) / 2 - 17) s and at most 2**(i / 2 - 17) s; the last has no upper bound.
 */
struct fs_fine {
	uint64_t buckets[FS_FINE_BUCKETS];
};

enum fs_tcp_row_kind { FS_TCP_HEALTH = 1, FS_TCP_CONNECT = 2 };

struct fs_tcp_row {
	uint32_t generation;
	uint32_t flags;
	uint32_t ident;
	uint32_t peer_ident;
	uint8_t local[16];
	uint8_t remote[16];
	uint16_t local_port; /* 0 when the local end is the client */
	uint16_t remote_port; /* 0 when the local end is the server */
	uint8_t role;
	uint8_t kind; /* enum fs_tcp_row_kind */
	uint16_t dialled_port; /* as in struct fs_row */
	uint8_t dialled[16];
	int32_t error; /* of a CONNECT row: 0 or errno */
	uint32_t srtt_us; /* newest */
	uint64_t created_ns;
	uint64_t updated_ns;
	uint64_t connects;
	uint64_t connect_ns;
	uint64_t retransmits;
	uint64_t synack_retransmits;
	uint64_t drops;
	uint64_t resets_sent;
	uint64_t resets_received;
	uint64_t closed;
};

/* A translation that changes whom the client reaches; addresses as in tuples, ports in the host's order. */
struct fs_nat {
	uint8_t client[16];
	uint8_t dialled[16];
	uint8_t server[16]; /* that answers */
	uint8_t shown[16]; /* that the server takes for the client */
	uint16_t client_port;
	uint16_t dialled_port;
	uint16_t server_port;
	uint16_t shown_port;
	uint8_t l4; /* 0: not used */
	uint8_t reserved[7];
	uint64_t told_ns;
};

/* The name by which an address was asked for, as a network namespace was told by DNS. A ring. */
struct fs_domain {
	uint32_t generation;
	uint32_t netns;
	uint8_t address[16];
	uint64_t expires_ns; /* CLOCK_MONOTONIC; an answer that comes later makes it a new entry */
	uint16_t length;
	char text[FS_DOMAIN_BYTES];
};

enum fs_sample_why { FS_WHY_NEW_EDGE = 1, FS_WHY_ERROR = 2, FS_WHY_SLOW = 3, FS_WHY_NORMAL = 4 };

/* One whole request. A ring with one writer: entry (n % FS_SAMPLES) is n's while sequence == n. */
struct fs_sample {
	uint64_t sequence; /* from 1 */
	uint64_t start_ns; /* first byte of the request */
	uint64_t duration_ns;
	uint64_t connect_ns;
	uint64_t request_ns;
	uint64_t processing_ns;
	uint64_t response_ns;
	uint64_t request_bytes;
	uint64_t response_bytes;
	uint64_t conn_id;
	uint32_t row; /* the row it was counted in */
	uint32_t row_generation;
	uint32_t ident;
	uint32_t peer_ident;
	uint32_t pid;
	uint32_t flags; /* enum fs_row_flag */
	uint8_t local[16];
	uint8_t remote[16];
	uint16_t local_port; /* both ports, the client's included */
	uint16_t remote_port;
	uint16_t status;
	uint8_t role;
	uint8_t protocol;
	uint8_t why; /* enum fs_sample_why */
	uint8_t l4;
	uint16_t request_text_length;
	uint16_t response_text_length;
	uint16_t dialled_port; /* as in the row */
	uint8_t dialled[16];
	uint8_t verb; /* enum fs_verb */
	uint8_t reserved[7];
	uint8_t trace_id[16];
	uint8_t parent_id[8];
	char request_content[128]; /* terminated */
	char response_content[64];
	char request_text[256]; /* only with payload.capture_bytes, and then redacted */
	char response_text[256];
};

/* Everything that did not go as it should, counted where it happened. Append only. */
/* clang-format off */
#define FS_STATS(X)                                                                           \
	X(connections_opened, "connections learned")                                            \
	X(connections_closed, "connections ended")                                              \
	X(connections_rejected, "connections not tracked because the table was full")           \
	X(connections_expired, "connections dropped from the table after being idle")           \
	X(connections_unknown, "events of a connection that was never told")                    \
	X(events_invalid, "events that did not match the contract and were skipped")            \
	X(requests, "requests that were counted")                                               \
	X(exchanges, "exchanges of undecoded conversations that were counted")                  \
	X(no_response, "requests counted as never answered")                                    \
	X(intra_pod, "requests over loopback inside one network namespace of a pod")            \
	X(orphan_responses, "responses whose request was not seen")                             \
	X(discarded_exchanges, "exchanges dropped because only a part of them was seen")        \
	X(pending_overflow, "requests dropped because too many waited on one connection")       \
	X(pending_exhausted, "requests dropped because the pool of waiting requests was empty") \
	X(buffer_exhausted, "bytes not parsed because no reassembly buffer was free")           \
	X(stream_gaps, "places in a stream where bytes were not captured")                      \
	X(stream_late, "stream bytes that came after a later offset was seen")                  \
	X(stream_replaced, "reads and writes whose offsets were those of a later one, put right") \
	X(resyncs, "times a parser found its way back after a gap")                             \
	X(contradictions, "times a connection turned out to speak something else")              \
	X(rows_overflow, "requests counted in an overflow row because the table was full")      \
	X(tcp_rows_overflow, "TCP observations counted in an overflow row")                     \
	X(strings_overflow, "contents replaced by 'other' because the string table was full")   \
	X(contents_overflow, "contents replaced by 'other' by contents_per_workload")           \
	X(idents_overflow, "local owners beyond the table")                                     \
	X(samples_written, "requests handed out as samples")                                    \
	X(samples_shed, "requests not sampled because of the rate")                             \
	X(rows_expired, "rows ended after being idle")                                          \
	X(both_ends, "connections whose other end is on this node")                             \
	X(retransmits_unmatched, "retransmits of connections that are not known")               \
	X(events_excluded, "events left out by the scope settings")                             \
	X(recording_written, "events written to the recording")                                 \
	X(recording_failed, "events that could not be written to the recording")              \
	X(ring_contradictions, "times the ring contradicted itself and its content was skipped") \
	X(ring_dropped, "records that the kernel says it dropped because a perf ring was full")  \
	X(parser_state_exhausted, "connections parsed without a memory of their own because the pool was empty") \
	X(nat_learned, "translations of addresses that conntrack told")                         \
	X(nat_applied, "connections whose dialled address was translated to the one that answered") \
	X(nat_lost, "times conntrack told more than could be read, so that translations were missed")  \
	X(domains_learned, "names of addresses that DNS answers told, each again when it had expired") \
	X(requests_unwanted, "requests left out by the scope settings: by path, protocol, command, namespace or workload") \
	X(entries_damaged, "entries of the shared table that a new engine found out of bounds and ended") \
	X(rows_ended_early, "rows ended after being idle for less than they may, because a table was nearly full") \
	X(comms_overflow, "local owners counted without their command because their cgroup had too many") \
	X(flows_evicted, "datagram conversations ended before their time to make room for new ones") \
	X(flows_unlisted, "datagram conversations whose other end is not looked for: too many have the same ports")
/* clang-format on */

struct fs_stats {
#define FS_STAT_FIELD(name, help) uint64_t name;
	FS_STATS(FS_STAT_FIELD)
#undef FS_STAT_FIELD
};

enum fs_engine_state { FS_ENGINE_STARTING = 1, FS_ENGINE_RUNNING = 2, FS_ENGINE_FINISHED = 3, FS_ENGINE_FAILED = 4 };

struct fs_table {
	uint32_t magic;
	uint32_t version;
	uint32_t size; /* of this struct */
	uint32_t state; /* enum fs_engine_state */
	uint64_t heartbeat_ns; /* CLOCK_MONOTONIC of the engine's last turn */
	uint64_t clock_ns; /* time up to which events were seen: the recording's clock in a replay */
	uint64_t turns;
	uint64_t cpu_ns; /* of the engine process */
	uint64_t sample_head; /* sequence of the newest sample */
	uint32_t starts; /* of the engine on this table */
	uint32_t parsing; /* enum fs_protocol_id while a parser runs, else 0: names the culprit of a crash */
	uint32_t connections; /* now */
	uint32_t pending; /* requests that wait for a response, now */
	uint32_t rows_used, tcp_rows_used, strings_used, idents_used;
	uint32_t generation; /* last one given */
	uint32_t fine_used; /* 1: durations were counted finely at some time */
	char failure[128]; /* with FS_ENGINE_FAILED: a sentence */
	uint64_t events[16]; /* consumed, by enum fs_event_type */
	uint64_t parse_failures[32]; /* by enum fs_protocol_id */
	uint64_t parse_ns[32]; /* only with fs_engine_config.measure */
	uint64_t parsed[32]; /* messages */
	uint64_t resets[32]; /* reserved */
	struct fs_stats stats;
	struct fs_ident idents[FS_IDENTS];
	struct fs_string strings[FS_STRINGS];
	struct fs_row rows[FS_ROWS];
	struct fs_tcp_row tcp_rows[FS_TCP_ROWS];
	struct fs_sample samples[FS_SAMPLES];
	/*
	 * Up to where the ring was processed. The position that the kernel sees moves once per batch; this one moves
	 * before each event, so that an engine that crashed leaves nothing behind that would be counted twice.
	 */
	uint64_t ring_position;
	uint64_t nat_head; /* translations learned so far: the next one's place */
	struct fs_nat nats[FS_NATS]; /* a ring; entry 0 is not used */
	uint64_t domain_head; /* names learned so far: the next one's place */
	struct fs_domain domains[FS_DOMAINS]; /* a ring; entry 0 is not used */
	struct fs_fine fine[FS_ROWS]; /* by row */
};

struct fs_port_rule {
	uint16_t port;
	uint8_t protocol; /* enum fs_protocol_id; 255: leave this port undecoded */
	uint8_t reserved;
};

/* What the agent tells the engine, in a mapping of its own. The engine re-reads it when generation changes. */
struct fs_engine_config {
	uint32_t magic; /* FS_TABLE_MAGIC */
	uint32_t version; /* FS_TABLE_VERSION */
	uint32_t generation;
	uint32_t stop; /* 1: finish what is in the ring, then exit */
	uint32_t max_connections;
	uint32_t contents_per_workload;
	uint32_t row_limit; /* at most FS_ROWS */
	uint32_t tcp_row_limit;
	uint64_t connection_idle_ns;
	uint64_t row_idle_ns;
	uint64_t early_idle_ns; /* after that a row may end when its table is nearly full; 0: never */
	uint64_t no_response_ns;
	uint64_t slow_ns[32]; /* by enum fs_protocol_id */
	uint64_t bucket_ns[FS_BUCKETS - 1]; /* upper bounds */
	uint32_t protocols_enabled; /* bit per enum fs_protocol_id */
	uint32_t sample_rate; /* per second */
	uint32_t sample_per_edge;
	uint32_t sample_normal_permille;
	uint32_t capture_bytes;
	uint32_t parse_bytes; /* payload budget in stream mode */
	uint32_t stream_bytes; /* once pipelining is known */
	uint32_t poll_us; /* longest sleep when idle */
	uint8_t url_clustering; /* enum fs_clustering */
	uint8_t dns_nxdomain_is_error;
	uint8_t measure;
	uint8_t message_mode; /* 0: leave every connection in stream mode */
	uint32_t port_rules;
	struct fs_port_rule port_rule[FS_PORT_RULES];
	uint32_t excluded_netns[16]; /* 0 ends */
	uint32_t
		protocols_unwanted; /* bit per enum fs_protocol_id: not counted, and not sent by the kernel once known */
	uint8_t count_verbs; /* a row for each method of HTTP */
	uint8_t count_fine; /* durations, in struct fs_fine */
	/*
	 * Of each side of an exchange that nobody decodes, so many of its first bytes go into its sample as they are, for
	 * protocols that are plugins of the agent; at most 255. 0: none, and the kernel sends lengths only.
	 */
	uint8_t undecoded_bytes;
	uint8_t reserved[1];
	char unwanted_comm[FS_UNWANTED_COMMS][16]; /* an empty one ends */
	struct fs_path_rules unwanted_paths;
	uint32_t cgroups_aside;
	uint32_t reserved2;
	uint64_t cgroup_aside[FS_CGROUPS_ASIDE]; /* of FS_IDENT_ASIDE, ascending */
};

#endif
