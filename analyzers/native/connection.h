/* SPDX-License-Identifier: Apache-2.0 */
/* A connection and what hangs on it: its two streams, the requests that wait on it, the events it holds back. */
#ifndef FIRESTEEL_CONNECTION_H
#define FIRESTEEL_CONNECTION_H

#include "../../probes/include/control.h"
#include "protocol.h"

#define FS_DIRECTION_UNKNOWN 2
#define FS_DETECT_TRIES 6 /* messages looked at before a connection is NOSUPPORT */
#define FS_CLEAN_EXCHANGES 3 /* before message mode */
#define FS_FAILURES_IN_A_ROW 4 /* resynchronisations without a request before the protocol is doubted */
#define FS_WAITING_PER_CONNECTION 1024 /* in order */
#define FS_WAITING_BY_ID 4096
#define FS_WAITING_LOOKED_AT 16 /* by id, for the oldest that one side may answer */
#define FS_WAITING_PER_FLOW 1024
#define FS_WAITING 65536
#define FS_BUFFERS 1024
#define FS_BUFFER_BYTES 8192
#define FS_HELD 2048
#define FS_HELD_PER_CONNECTION 8
#define FS_HELD_BYTES (FS_PAYLOAD_MAX + 192)
#define FS_HOLD_NS 50000000ull
#define FS_SETTLE_NS 50000000ull
#define FS_QUIET_NS 1000000000ull /* silence after which an exchange of unknown end has ended */
#define FS_SWEEP_NS 1000000000ull /* every connection is looked at once in that time */
#define FS_FLOW_LINGER_NS 2000000000ull
#define FS_FLOW_IDLE_NS 60000000000ull
#define FS_ANNOUNCED_IDLE_NS 60000000000ull
#define FS_RUN_BEFORE_FLIPS 16
#define FS_EVENT_BYTES_MAX (FS_PAYLOAD_MAX + 192)
#define FS_CUT_WEIGHS 32 /* requests, against one head behind what was captured */
#define FS_CUTS_TOO_MANY UINT8_MAX
#define FS_DEEP_NS 10000000ull /* a window, in which connections of which more is captured may bring so much: */
#define FS_DEEP_BYTES (1u << 20) /* all of them, where there is no ring; else an eighth of the ring */
#define FS_DEEP_SHARES 16 /* who brought less than this part of it goes on, unless it is twice too much */
#define FS_DEEP_REST 1000 /* windows */
#define FS_BELIEVABLE_JUMP (1u << 26)
#define FS_PIPELINE_QUIET_NS 200000000ull /* before a pipelining client's next request is known to be the only one */
#define FS_DRAINED_OFTEN 16 /* requests that began with nothing waiting, for a client to be known for that */

#define FS_PIECE_CALLS_OFF (1u << 15) /* it ends the request that it belongs to, and no response will come */

enum fs_kind { FS_KIND_STREAM = 1, FS_KIND_SOCKET, FS_KIND_FLOW, FS_KIND_LISTENER };

enum fs_phase {
	FS_PHASE_HEAD = 0, /* a message starts here, or its head goes on */
	FS_PHASE_BODY, /* `remaining` bytes of declared length */
	FS_PHASE_PARTS, /* a part of the body starts here */
	FS_PHASE_FLIP, /* until the other side speaks */
	FS_PHASE_CLOSE, /* until the end */
	FS_PHASE_OPAQUE, /* inside a message that nobody recognised */
	FS_PHASE_LOST /* until a request can be recognised again */
};

enum fs_connection_flag {
	FS_C_IDENT_PENDING = 1 << 0, /* told in softirq: the owner comes with the first event of a process */
	FS_C_MIDSTREAM = 1 << 1, /* its first bytes were not seen */
	FS_C_PIPELINED = 1 << 2, /* more than one request waited at a time */
	FS_C_BOTH_ENDS = 1 << 3, /* the other end is, or was, on this node too */
	FS_C_SWITCHED = 1 << 4, /* the end that tells was changed once; not again */
	FS_C_NO_PAYLOAD = 1 << 5, /* its first request bytes could not be read */
	FS_C_PAYLOAD = 1 << 6, /* they could */
	FS_C_EXCHANGE = 1 << 7, /* an undecoded exchange has begun */
	FS_C_ANSWERED = 1 << 8, /* and its response too */
	FS_C_HANDSHAKE = 1 << 9, /* the first request that waits is the opening message of a handshake */
	FS_C_EVER_ANSWERED = 1 << 10,
	FS_C_DYING = 1 << 11, /* closed, but a request of it settles yet */
	FS_C_IDLE_LISTED = 1 << 12,
	FS_C_HELD_LISTED = 1 << 13,
	FS_C_SRTT_NEW = 1 << 14,
	FS_C_CONNECT_USED = 1 << 15, /* connect_ns belongs to the first request only */
	FS_C_MIRRORED = 1 << 16, /* in the index of tuples */
	FS_C_SEEN_BYTES = 1 << 17,
	FS_C_ROLE_GUESSED = 1 << 18, /* no evidence but the absence of a listener: who asks decides */
	FS_C_EXCHANGE_FAILED =
		1 << 19, /* the undecoded exchange in progress: a handshake, or a close that tells of an error */
	FS_C_HANDSHAKE_OVER = 1 << 20,
	FS_C_ANNOUNCED = 1 << 21, /* its attempt succeeded, but the connection itself was not told yet */
	FS_C_FIRST_SETTLED = 1 << 22, /* its first request waited for the other end to be told */
	FS_C_STATELESS = 1 << 23, /* its parser wanted state and there was none left */
	FS_C_OVERLAPS = 1 << 24, /* in order: it asked again after an answer while more of them were to come */
	FS_C_TRIAL = 1 << 25, /* taken up again where nothing seems to wait: to be proven before anything counts */
	FS_C_NAT_ASKED = 1 << 26, /* of a flow: its translation was looked for again when its second datagram came */
	FS_C_BUSY_LISTED = 1 << 27, /* of a flow that is not in the idle list */
	FS_C_UNLISTED = 1 << 28, /* of a flow: too many have its ports for the index of tuples */
	FS_C_TUNNEL = 1 << 29 /* it leads elsewhere: its port says nothing of what is spoken */
};

/* Which end of a connection inside this node tells. */
enum fs_authority { FS_ALONE = 0, FS_AUTHORITY_OPEN, FS_AUTHORITY_MINE, FS_AUTHORITY_THEIRS };

/* One direction of a stream. */
struct fs_stream {
	uint64_t next; /* offset of the next byte, the kernel's 32 bits extended to 64 */
	uint64_t remaining;
	uint64_t message_bytes; /* of the message in progress, those that are in no buffer any more */
	uint64_t first_ns, last_ns; /* of the message in progress */
	uint32_t buffer; /* holds the head, or the part's head, so far */
	uint16_t buffered;
	uint8_t phase;
	uint8_t then; /* enum fs_body: what follows the remaining bytes */
	uint8_t known; /* `next` is */
	uint8_t next_protocol; /* behind a piece that switches */
	uint16_t piece; /* enum fs_message_flag of the message in progress, and FS_PIECE_CALLS_OFF */
	uint32_t of; /* the request that it is, or answers; 0 if of nobody */
};

struct fs_connection {
	uint32_t link; /* of the pool; and the idle list, newest last */
	uint32_t hash;
	uint64_t id;
	uint64_t last_ns;
	uint32_t flags;
	uint8_t kind;
	uint8_t protocol;
	uint8_t role;
	uint8_t requester; /* direction in which requests go */
	uint8_t mode;
	uint8_t authority;
	uint8_t clean;
	uint8_t cuts; /* heads behind what was captured, although more was: less the requests since */
	uint8_t tries;
	uint8_t last_direction;
	uint8_t held;
	uint8_t failures;
	uint8_t run; /* undecoded events in one direction */
	uint32_t first_waiting, last_waiting;
	uint32_t waiting;
	uint32_t state; /* block of parser state, as fs_state_of makes it */

	struct fs_stream stream[2];

	uint32_t reversed; /* of those that wait, requests of the serving side */
	uint32_t settling;
	uint32_t row, row_generation; /* the newest */
	uint32_t key_hash; /* of what the connection gives to a row's key; 0: not made yet */
	uint32_t ident, peer_ident;
	uint32_t netns, pid;
	struct fs_tuple tuple;
	uint32_t mirror_hash;
	uint8_t told[16]; /* the remote end as the socket has it, before its translation was undone */
	uint8_t dialled[16]; /* that the client asked for, if another address answered */
	uint16_t told_port, dialled_port;
	uint32_t peer; /* the other end */
	uint64_t connect_ns;
	uint32_t first_held;
	uint32_t previous_held, next_held; /* connections with held events, by time */
	uint32_t previous_idle;
	uint32_t socket; /* of a flow */
	uint32_t first_flow, next_flow, previous_flow;
	uint32_t tcp_row, tcp_row_generation;
	uint32_t srtt_us;
	uint32_t text; /* of the exchange in progress, for a sample */
	uint32_t content; /* string: what an undecoded conversation is about */
	uint16_t listener_port;
	uint16_t budget;
	uint32_t answer_content;
	uint16_t answer_status;
	uint8_t drained; /* how often it asked again with nothing waiting */
	/* the undecoded exchange in progress, by enum fs_side */
	uint64_t exchange_bytes[2];
	uint64_t exchange_first_ns[2], exchange_last_ns[2];
	uint64_t
		deep_from; /* the window in which it brought `deep_bytes`, or the first in which it may be deep again */
	uint64_t deep_bytes;
	uint8_t scratch[2][FS_SCRATCH];
};

/* Why a request that still waits is not to be counted when it is answered. */
enum fs_was_counted { FS_NOT_COUNTED = 0, FS_COUNTED_UNANSWERED, FS_NOT_TO_COUNT };

/* A request that waits for its response, is being answered, or settles. */
struct fs_waiting {
	uint32_t next, previous;
	uint32_t connection;
	uint32_t hash; /* in the index by id, of the oldest with that id; 0: not there */
	uint32_t older, newer; /* by id: a ring of those with the same one, the oldest behind the newest; 0 in order */
	uint64_t first_ns, last_ns;
	uint64_t bytes;
	uint64_t response_first_ns, response_last_ns;
	uint64_t response_bytes;
	uint64_t due_ns;
	uint32_t request_content, response_content; /* strings, each held by one reference */
	uint32_t pid;
	uint16_t status;
	uint16_t text_length[2];
	uint8_t complete; /* the request's last byte was seen */
	uint8_t begun; /* its response has begun */
	uint8_t counted; /* enum fs_was_counted */
	uint8_t error;
	uint8_t answer_flags, next_protocol; /* of the response: enum fs_message_flag */
	uint8_t reserved[2];
	struct fs_message message;
};

#define FS_SAMPLE_TEXT 256

#define FS_EXCHANGE_TEXTS 1024

/* The beginning of both sides of an undecoded exchange. */
struct fs_exchange_text {
	uint32_t link; /* of the pool */
	uint16_t length[2];
	char text[2][FS_SAMPLE_TEXT];
};

struct fs_texts {
	char text[2][FS_SAMPLE_TEXT];
};

struct fs_held {
	uint32_t next;
	uint32_t size;
	uint64_t since_ns;
	_Alignas(8) uint8_t event[FS_HELD_BYTES];
};

#endif
