/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the state machine share: the engine, and what each of them does for the others. */
#ifndef FIRESTEEL_STATE_H
#define FIRESTEEL_STATE_H

#include "connection.h"
#include "engine.h"
#include "learn.h"
#include "nat.h"
#include "pool.h"

#define FS_LISTENERS 16384
#define FS_PROCESSES 16384
#define FS_ADDRESSES 4096
#define FS_LEARNED 4096
#define FS_STATE_CLASSES 3
#define FS_FLOWS_SHARE 4 /* datagram conversations are at most one of so many connections */
#define FS_FLOWS_LISTED 64 /* with the same ports, among which an other end is looked for */
#define FS_IDENTS_PER_CGROUP (FS_IDENTS / 16) /* with a command each; what more come share one without */
#define FS_ANSWERS_AT_LEAST 64 /* that an owner may have of a protocol, however few contents of requests he may */
#define FS_PRESSED_SWEEPS 16 /* so much faster is swept what is nearly full: all of it once a second */

struct fs_listener {
	uint32_t link;
	uint32_t hash;
	uint32_t netns;
	uint32_t ident;
	uint64_t conn_id;
	uint16_t port;
	uint8_t l4;
	uint8_t reserved[5];
};

struct fs_process_name {
	uint32_t pid;
	char comm[16];
};

/* An edge: what samples are rationed by. */
struct fs_edge {
	uint32_t link;
	uint32_t hash;
	uint64_t key;
	uint32_t rows;
	uint32_t window; /* second */
	uint32_t taken;
};

/* That a row of this owner and protocol has this content. */
struct fs_content {
	uint32_t link;
	uint32_t hash;
	uint32_t ident;
	uint32_t string;
	uint32_t rows;
	uint8_t protocol, side;
};

/* Some bytes of one direction, as one I/O moved them. */
struct fs_chunk {
	const uint8_t *payload;
	uint64_t start_ns, end_ns;
	uint64_t bytes;
	uint32_t seq, peer_seq;
	uint32_t captured;
	uint32_t pid;
	uint8_t direction;
	uint8_t reason;
	bool has_peer_seq;
};

/* A request that is over, as rows and samples take it. */
struct fs_counted {
	uint32_t request_content, response_content;
	uint32_t flags; /* enum fs_row_flag */
	uint16_t status;
	uint64_t start_ns, end_ns;
	uint64_t request_ns, processing_ns, response_ns;
	uint64_t request_bytes, response_bytes;
	const struct fs_waiting *request; /* NULL for an undecoded exchange */
	uint8_t protocol; /* 0: the connection's */
	uint8_t verb; /* enum fs_verb; 0: none that is counted */
};

struct fs_memo;

struct fs_engine {
	struct fs_table *table;
	const struct fs_engine_config *shared;
	struct fs_engine_config config; /* a copy, taken when its generation changed */
	struct fs_parser_options options;
	uint64_t *slots;
	uint64_t now_ns;

	struct fs_pool connections, waitings, buffers, helds, listeners, edges, contents, exchange_texts;
	struct fs_pool states[FS_STATE_CLASSES];
	struct fs_index by_id, by_tuple, by_ident, by_string, by_row, by_tcp_row, by_listener, by_edge, by_content;
	struct fs_index by_dialled, by_served; /* translations */
	struct fs_index by_address; /* names */
	struct fs_index by_request; /* those that wait and are paired by their own id */
	struct fs_texts *texts; /* by index of waiting */

	struct fs_pool strings, rows, tcp_rows, idents; /* bookkeeping of which entries of the table are free */
	uint32_t *string_refs, *ident_refs, *row_edge;
	uint32_t (*row_contents)[2]; /* by enum fs_side */
	uint64_t *row_touched_ns; /* when the row last changed; what it counts may have ended long before */
	uint16_t *cgroup_idents; /* how many, by hash of the cgroup */
	uint32_t *string_hash, *row_hash, *tcp_row_hash;
	uint16_t *contents_of; /* by ident, protocol and enum fs_side */

	struct fs_process_name *processes;
	uint8_t (*addresses)[16]; /* that were seen at a local end */
	struct fs_learned {
		uint32_t key;
		uint8_t protocol;
	} learned[FS_LEARNED];

	uint32_t first_held, last_held;
	uint32_t first_idle, last_idle; /* flows in which nothing waits */
	uint32_t first_busy, last_busy; /* all others, that of the newest datagram last */
	uint32_t flows;
	uint32_t first_settling, last_settling;

	uint32_t sweep_at, row_sweep_at, tcp_row_sweep_at, ident_sweep_at;
	uint64_t sweep_ns;
	uint64_t tokens, tokens_ns, dice; /* samples */
	uint64_t deep_window, deep_bytes, deep_limit; /* see fs_mode_weigh */
	uint64_t lost_ns, lost_total; /* when events were last known to be missing, and how many ever */

	const struct fs_protocol *protocols[FS_PROTOCOL_MAX]; /* by number */
	struct fs_learn learn; /* paths, by service */
	void *parser_memory[FS_PROTOCOL_MAX]; /* what parsers share among connections */
	struct fs_memo *memos; /* answers of parsers, by hash of the question */
	struct fs_message message; /* the newest that a parser filled */
	struct fs_outcome outcome;
	uint8_t *memory;
	size_t memory_bytes;
};

static inline struct fs_connection *fs_connection_at(struct fs_engine *e, uint32_t index)
{
	return fs_pool_at(&e->connections, index);
}

static inline struct fs_waiting *fs_waiting_at(struct fs_engine *e, uint32_t index)
{
	return fs_pool_at(&e->waitings, index);
}

static inline bool fs_is_reversed(const struct fs_waiting *w)
{
	return w->message.flags & FS_MESSAGE_REVERSED;
}

/* The direction in which a request's bytes go. */
static inline uint8_t fs_direction_of(const struct fs_connection *c, const struct fs_waiting *w)
{
	return (c->requester == FS_OUT) != fs_is_reversed(w);
}

/* NULL if there is none, as of FS_UNDECIDED. */
static inline const struct fs_protocol *fs_protocol_of(const struct fs_engine *e, uint8_t id)
{
	return id < FS_PROTOCOL_MAX ? e->protocols[id] : NULL;
}

static inline bool fs_pairs_by_id(const struct fs_engine *e, const struct fs_connection *c)
{
	const struct fs_protocol *p = fs_protocol_of(e, c->protocol);
	return p && p->pairs_by_id;
}

static inline enum fs_side fs_side_of(const struct fs_connection *c, uint8_t direction)
{
	return direction == c->requester ? FS_SIDE_REQUEST : FS_SIDE_RESPONSE;
}

/* Which part a message of this side plays: the roles of a reversed one are exchanged. */
static inline enum fs_side fs_part_of(enum fs_side side, uint32_t flags)
{
	return flags & FS_MESSAGE_REVERSED ? (enum fs_side) !side : side;
}

static inline uint32_t fs_index_of(struct fs_engine *e, const struct fs_connection *c)
{
	return (uint32_t)((size_t)((const uint8_t *)c - e->connections.base) / e->connections.stride);
}

static inline uint64_t fs_since(uint64_t later, uint64_t earlier)
{
	return later > earlier ? later - earlier : 0;
}

static inline uint64_t fs_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static inline bool fs_is_zero(const uint8_t address[16])
{
	static const uint8_t zero[16];
	return memcmp(address, zero, 16) == 0;
}

/* Counted by exchanges, not by messages. */
static inline bool fs_is_opaque(uint8_t protocol)
{
	return protocol == FS_PROTOCOL_NOSUPPORT || protocol == FS_PROTOCOL_TLS || protocol == FS_PROTOCOL_WEBSOCKET;
}

/*
 * An entry of the table is nobody's from here on. A release store would order what was written before it; the fence
 * keeps what is written after it, the next key, from being seen under the old generation.
 */
static inline void fs_entry_end(uint32_t *generation)
{
	__atomic_store_n(generation, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

/* What a new engine finds in the table and cannot be. Whoever wrote it may be why the one before it ended. */
static inline void fs_entry_damaged(struct fs_engine *e, uint32_t *generation)
{
	fs_entry_end(generation);
	e->table->stats.entries_damaged++;
}

static inline bool fs_ident_stands(const struct fs_engine *e, uint32_t ident)
{
	return ident < FS_IDENTS && e->table->idents[ident].generation;
}

static inline bool fs_string_stands(const struct fs_engine *e, uint32_t string)
{
	return string < FS_STRINGS && e->table->strings[string].generation;
}

/* memo.c */
#define FS_MEMOS 1024
#define FS_MEMO_BYTES 512
size_t fs_memo_size(void);
uint32_t fs_memo_hash(const struct fs_frame_input *in, const struct fs_protocol *protocol);
bool fs_memo_recall(struct fs_engine *e, const struct fs_frame_input *in, uint8_t protocol, uint32_t hash);
void fs_memo_keep(struct fs_engine *e, const struct fs_frame_input *in, uint8_t protocol, uint32_t hash);

/* validate.c */
bool fs_event_is_valid(const void *event, uint32_t size);

/* connections.c */
struct fs_connection *fs_connection_find(struct fs_engine *e, uint64_t id);
struct fs_connection *fs_connection_new(struct fs_engine *e, uint64_t id, uint32_t hash, uint8_t kind);
uint32_t fs_connection_hash(uint64_t id, const struct fs_tuple *peer);
void fs_connection_open(struct fs_engine *e, const struct fs_open *event);
void fs_connection_close(struct fs_engine *e, const struct fs_close *event);
void fs_connection_settle(struct fs_engine *e, struct fs_connection *c, uint64_t now_ns, uint64_t patience_ns);
void fs_connection_free(struct fs_engine *e, struct fs_connection *c);
void fs_connection_key_changed(struct fs_connection *c);

/* sweep.c */
void fs_sweep(struct fs_engine *e, uint64_t now_ns);
void fs_sweep_everything(struct fs_engine *e);

/* identity.c */
void fs_identity_restore(struct fs_engine *e);
uint32_t fs_ident(struct fs_engine *e, const struct fs_head *head, const char comm[16]);
void fs_ident_set(struct fs_engine *e, uint32_t *where, uint32_t ident);
void fs_process_named(struct fs_engine *e, uint32_t pid, const char comm[16]);
const char *fs_process_comm(struct fs_engine *e, uint32_t pid);
void fs_process_event(struct fs_engine *e, const struct fs_process *event);
void fs_identify(struct fs_engine *e, struct fs_connection *c, const struct fs_head *head);
void fs_identity_sweep(struct fs_engine *e, uint32_t count);

/* listeners.c */
void fs_listen_event(struct fs_engine *e, const struct fs_listen *event);
struct fs_listener *fs_listener_find(struct fs_engine *e, uint32_t netns, uint16_t port, uint8_t l4);
void fs_listener_forget(struct fs_engine *e, struct fs_connection *c);
void fs_role_settle(struct fs_engine *e, struct fs_connection *c);
void fs_role_spoke(struct fs_engine *e, struct fs_connection *c, uint8_t request_direction);

/* mirror.c */
void fs_address_seen(struct fs_engine *e, const uint8_t address[16]);
bool fs_may_have_other_end(const struct fs_engine *e, const struct fs_connection *c);
uint32_t fs_mirror_hash(const struct fs_tuple *t);
void fs_mirror_add(struct fs_engine *e, struct fs_connection *c);
void fs_mirror_remove(struct fs_engine *e, struct fs_connection *c);
bool fs_may_count(struct fs_engine *e, struct fs_connection *c);
void fs_authority_seen(struct fs_engine *e, struct fs_connection *c, bool has_payload);
void fs_authority_lost_payload(struct fs_engine *e, struct fs_connection *c, uint8_t reason);
void fs_ident_told(struct fs_engine *e, struct fs_connection *c);

/* order.c */
void fs_stream_event(struct fs_engine *e, struct fs_connection *c, const void *event);
void fs_release_held(struct fs_engine *e, struct fs_connection *c);
void fs_drop_held(struct fs_engine *e, struct fs_connection *c);
void fs_release_overdue(struct fs_engine *e, uint64_t now_ns);
uint64_t fs_extend(const struct fs_stream *s, uint32_t raw);

/* messages.c */
void fs_deliver(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *chunk);
void fs_gap(struct fs_engine *e, struct fs_connection *c, uint8_t direction, uint64_t bytes, uint64_t now_ns);
void fs_lost(struct fs_engine *e, struct fs_connection *c, uint8_t direction);
void fs_place_forgotten(struct fs_engine *e, struct fs_connection *c);

/* pairing.c */
bool fs_message_starts(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *chunk,
		       struct fs_cursor bytes);
void fs_message_tells(struct fs_engine *e, struct fs_connection *c, uint8_t direction);
void fs_message_over(struct fs_engine *e, struct fs_connection *c, uint8_t direction);

/* recognition.c */
bool fs_recognise(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *chunk, uint64_t at);
void fs_recognise_anew(struct fs_engine *e, struct fs_connection *c);
void fs_resynchronise(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *chunk, bool flipped);
void fs_asks_again(struct fs_engine *e, struct fs_connection *c, uint8_t direction);
void fs_give_up_short(struct fs_engine *e, struct fs_connection *c, uint8_t direction);

/* buffers.c */
/* The bytes of one side from where a message, or a part of one, starts. */
struct fs_piece {
	struct fs_cursor bytes;
	uint32_t before; /* of them were buffered earlier */
	bool cut; /* what comes next was not captured */
};

struct fs_piece fs_piece_at(struct fs_engine *e, struct fs_stream *s, const struct fs_chunk *chunk, uint64_t at);
bool fs_piece_keep(struct fs_engine *e, struct fs_stream *s, const struct fs_piece *piece);
uint32_t fs_buffer_append(struct fs_engine *e, struct fs_stream *s, const uint8_t *bytes, uint32_t length);
uint8_t *fs_buffer(struct fs_engine *e, const struct fs_stream *s);
void fs_unbuffer(struct fs_engine *e, struct fs_stream *s);

/* parsing.c */
enum fs_detected fs_detect(struct fs_engine *e, const struct fs_protocol *p, struct fs_cursor bytes, bool datagram);
const struct fs_protocol *fs_detect_any(struct fs_engine *e, struct fs_connection *c, uint8_t direction,
					struct fs_cursor bytes, bool datagram, enum fs_detected *how);
enum fs_framed fs_frame(struct fs_engine *e, struct fs_connection *c, uint8_t direction, enum fs_side side,
			struct fs_cursor bytes, const struct fs_message *waiting, bool datagram);
void fs_stitch(struct fs_engine *e, uint8_t protocol, const struct fs_message *request,
	       const struct fs_message *response);
void fs_protocol_set(struct fs_engine *e, struct fs_connection *c, uint8_t protocol);
void fs_protocol_doubt(struct fs_engine *e, struct fs_connection *c);
void fs_protocol_check(struct fs_engine *e, struct fs_connection *c);

/* states.c */
void *fs_state_of(struct fs_engine *e, struct fs_connection *c, const struct fs_protocol *protocol);
void fs_state_give(struct fs_engine *e, struct fs_connection *c);

/* requests.c */
uint32_t fs_request_begin(struct fs_engine *e, struct fs_connection *c, uint64_t first_ns, uint32_t pid);
uint32_t fs_request_open(struct fs_engine *e, const struct fs_connection *c);
void fs_request_told(struct fs_engine *e, uint32_t request);
void fs_request_piece(struct fs_engine *e, uint32_t request, uint64_t last_ns, uint64_t bytes);
void fs_request_end(struct fs_engine *e, struct fs_connection *c, uint32_t request, uint64_t last_ns, uint64_t bytes);
void fs_text_keep(struct fs_engine *e, uint32_t request, enum fs_side side, struct fs_cursor bytes);
uint32_t fs_request_for(struct fs_engine *e, const struct fs_connection *c, const struct fs_protocol *p);
/* The oldest request stays without an answer, as a quiet one may. False if it is none. */
bool fs_request_passed(struct fs_engine *e, struct fs_connection *c, uint64_t now_ns);
void fs_request_unlink(struct fs_engine *e, struct fs_connection *c, uint32_t index);
void fs_request_release(struct fs_engine *e, uint32_t index);

/* responses.c */
void fs_response_begin(struct fs_engine *e, struct fs_connection *c, uint32_t request, uint64_t first_ns);
void fs_response_told(struct fs_engine *e, struct fs_connection *c, uint32_t request);
void fs_response_piece(struct fs_engine *e, uint32_t request, uint64_t last_ns, uint64_t bytes);
void fs_response_end(struct fs_engine *e, struct fs_connection *c, uint32_t request, uint64_t last_ns, uint64_t bytes);
void fs_responses_over(struct fs_engine *e, struct fs_connection *c);
void fs_requests_settle(struct fs_engine *e, struct fs_connection *c, uint64_t id, uint64_t now_ns);

/* outcomes.c */
uint8_t fs_protocol_counted(const struct fs_engine *e, const struct fs_connection *c, const struct fs_waiting *w);
void fs_request_count(struct fs_engine *e, struct fs_connection *c, const struct fs_waiting *w, uint32_t flags);
bool fs_request_settles_later(struct fs_engine *e, struct fs_connection *c, uint32_t index);
void fs_request_unanswered(struct fs_engine *e, struct fs_connection *c, struct fs_waiting *w, uint64_t now_ns);
void fs_requests_settled(struct fs_engine *e, uint64_t now_ns);
void fs_requests_discard(struct fs_engine *e, struct fs_connection *c);
void fs_requests_unanswered(struct fs_engine *e, struct fs_connection *c, uint64_t now_ns, uint64_t patience_ns);

/* opaque.c */
void fs_opaque_chunk(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *chunk);
void fs_opaque_bytes(struct fs_engine *e, struct fs_connection *c, uint8_t direction, uint64_t bytes, uint64_t first_ns,
		     uint64_t last_ns);
void fs_opaque_settle(struct fs_engine *e, struct fs_connection *c);
void fs_opaque_flush(struct fs_engine *e, struct fs_connection *c);
void fs_opaque_forget(struct fs_engine *e, struct fs_connection *c);
void fs_opaque_text(struct fs_engine *e, struct fs_connection *c, uint8_t direction, struct fs_cursor bytes);
void fs_opaque_drop(struct fs_engine *e, struct fs_connection *c);
void fs_opaque_unanswered(struct fs_engine *e, struct fs_connection *c, uint64_t now_ns);
void fs_opaque_handshake(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *chunk);

/* closing.c */
void fs_closing_chunk(struct fs_engine *e, struct fs_connection *c, const struct fs_chunk *chunk, uint64_t at,
		      bool in_order);
void fs_closing_end(struct fs_engine *e, struct fs_connection *c, uint64_t now_ns);
void fs_closing_missed(struct fs_connection *c);

/* datagrams.c */
void fs_datagram_event(struct fs_engine *e, const struct fs_datagram *event);
void fs_flow_idle(struct fs_engine *e, struct fs_connection *c);
void fs_flow_unlist(struct fs_engine *e, struct fs_connection *c);
void fs_flow_busy(struct fs_engine *e, struct fs_connection *c);
void fs_flows_expire(struct fs_engine *e, uint64_t now_ns);

/* modes.c */
void fs_mode_set(struct fs_engine *e, struct fs_connection *c, uint8_t mode, uint32_t budget);
void fs_mode_leave_out(struct fs_engine *e, struct fs_connection *c);
void fs_mode_clear(struct fs_engine *e, uint64_t id);
void fs_mode_ask(struct fs_engine *e, uint64_t id);
bool fs_mode_is_asked(const struct fs_engine *e, uint64_t id);

/* Whether the answer to what was asked then may be among the events that were lost since. */
static inline bool fs_may_be_lost(const struct fs_engine *e, uint64_t asked_ns)
{
	return e->lost_ns && asked_ns <= e->lost_ns;
}
void fs_mode_clean_exchange(struct fs_engine *e, struct fs_connection *c);
void fs_mode_need_bytes(struct fs_engine *e, struct fs_connection *c);
void fs_mode_need_more(struct fs_engine *e, struct fs_connection *c);
void fs_mode_weigh(struct fs_engine *e, struct fs_connection *c, uint32_t captured, uint64_t now_ns);

/* strings.c */
void fs_strings_restore(struct fs_engine *e);
uint32_t fs_string_find(struct fs_engine *e, const char *text, uint32_t length, uint32_t hash);
uint32_t fs_string_hold(struct fs_engine *e, const struct fs_label *label, uint32_t hint);
uint32_t fs_string_hold_content(struct fs_engine *e, struct fs_connection *c, uint8_t protocol,
				const struct fs_label *label, uint32_t hint);
void fs_string_keep(struct fs_engine *e, uint32_t string);
void fs_string_release(struct fs_engine *e, uint32_t string);
bool fs_contents_take(struct fs_engine *e, const struct fs_row *row, uint32_t *contents);
bool fs_contents_admit(struct fs_engine *e, struct fs_row *row, uint32_t *contents);
void fs_contents_gone(struct fs_engine *e, const uint32_t *contents);
uint32_t fs_new_generation(struct fs_engine *e);

/* rows.c */
void fs_rows_restore(struct fs_engine *e);
bool fs_row_count(struct fs_engine *e, struct fs_connection *c, const struct fs_counted *counted);
void fs_row_bytes(struct fs_engine *e, struct fs_connection *c, uint64_t request_bytes, uint64_t response_bytes);
void fs_row_exists(struct fs_engine *e, struct fs_connection *c);
uint64_t fs_idle_limit(const struct fs_engine *e, uint32_t used, uint32_t room);
uint64_t fs_row_idle_limit(const struct fs_engine *e, uint32_t used, uint32_t room);
void fs_rows_sweep(struct fs_engine *e, uint32_t count);

/* tcp_rows.c */
void fs_tcp_rows_restore(struct fs_engine *e);
void fs_connect_event(struct fs_engine *e, const struct fs_connect *event);
void fs_trouble_event(struct fs_engine *e, const struct fs_trouble *event);
void fs_tcp_health(struct fs_engine *e, struct fs_connection *c);
void fs_tcp_closed(struct fs_engine *e, struct fs_connection *c);
bool fs_tcp_is_attempt(const struct fs_connection *c);
void fs_tcp_rows_sweep(struct fs_engine *e, uint32_t count);

/* scope.c */
void fs_scope_changed(struct fs_engine *e);
bool fs_comm_is_unwanted(const struct fs_engine *e, const char comm[16]);
void fs_ident_scope(const struct fs_engine *e, struct fs_ident *ident);
bool fs_connection_is_unwanted(const struct fs_engine *e, const struct fs_connection *c);
bool fs_connection_counts_nothing(const struct fs_engine *e, const struct fs_connection *c);
bool fs_request_is_unwanted(const struct fs_engine *e, const struct fs_connection *c, const struct fs_counted *counted,
			    uint8_t protocol);

/* samples.c */
void fs_edge_row_added(struct fs_engine *e, uint32_t row, bool *is_new);
void fs_edge_row_gone(struct fs_engine *e, uint32_t row);
void fs_sample_offer(struct fs_engine *e, const struct fs_connection *c, const struct fs_counted *counted,
		     uint32_t flags, uint32_t row, bool new_edge);

/* domains.c */
void fs_domains_learn(struct fs_engine *e, const struct fs_connection *c, struct fs_cursor bytes, bool datagram);
void fs_domains_restore(struct fs_engine *e);

/* redact.c */
uint16_t fs_redacted(const uint8_t *bytes, uint32_t length, uint32_t limit, char *out);

#endif
