/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a protocol is to the engine: three functions and a row in protocols/table.c.
 *
 *   detect  are these bytes mine, and which side sent them?
 *   frame   where does the message that starts here end, and what does it say?
 *   stitch  this request and this response (or none): what was asked, what came of it?
 *
 * The engine owns streams, gaps, buffers, pairing and time. A parser sees contiguous bytes that start at a message
 * boundary, keeps nothing but its 32 bytes of scratch and the state it asked for, and never blocks, allocates or keeps a
 * pointer.
 */
#ifndef FIRESTEEL_PROTOCOL_H
#define FIRESTEEL_PROTOCOL_H

#include "cursor.h"
#include "paths.h"

/* Numbers are stored in tables and recordings' golden files: append only. `name` is the label value. */
/* clang-format off */
#define FS_PROTOCOLS(X)            \
	X(0, NOSUPPORT, "NOSUPPORT") \
	X(1, HTTP, "http")           \
	X(2, DNS, "dns")             \
	X(3, TLS, "tls")             \
	X(4, WEBSOCKET, "websocket") \
	X(5, HTTP2, "http2")         \
	X(6, GRPC, "grpc")           \
	X(7, MYSQL, "mysql")         \
	X(8, POSTGRESQL, "postgresql") \
	X(9, MONGODB, "mongodb")     \
	X(10, REDIS, "redis")        \
	X(11, MEMCACHED, "memcached") \
	X(12, KAFKA, "kafka")        \
	X(13, ROCKETMQ, "rocketmq")  \
	X(14, DUBBO, "dubbo")        \
	X(15, AMQP, "amqp")          \
	X(16, MQTT, "mqtt")

enum fs_protocol_id {
#define FS_PROTOCOL_NUMBER(number, symbol, name) FS_PROTOCOL_##symbol = number,
	FS_PROTOCOLS(FS_PROTOCOL_NUMBER)
#undef FS_PROTOCOL_NUMBER
	FS_PROTOCOL_COUNT = 17,
	FS_PROTOCOL_MAX = 32
};
#define FS_UNDECIDED 255 /* a connection's protocol before detection has ended */
/* clang-format on */

/*
 * What a request of HTTP wants done: RFC 9110, section 9, and RFC 5789. 0 is any other method, and none. These are the
 * methods that the semantic conventions of OpenTelemetry know; numbers as in FS_PROTOCOLS.
 */
/* clang-format off */
#define FS_VERBS(X) \
	X(1, GET) X(2, POST) X(3, PUT) X(4, HEAD) X(5, DELETE) X(6, PATCH) X(7, OPTIONS) X(8, CONNECT) X(9, TRACE)
enum fs_verb {
#define FS_VERB_NUMBER(number, name) FS_VERB_##name = number,
	FS_VERBS(FS_VERB_NUMBER)
#undef FS_VERB_NUMBER
	FS_VERB_COUNT = 10
};
/* clang-format on */

enum fs_side { FS_SIDE_REQUEST = 0, FS_SIDE_RESPONSE = 1 };

enum fs_detected {
	FS_NOT_MINE = 0,
	FS_MINE_REQUEST, /* these bytes start a request */
	FS_MINE_RESPONSE, /* these bytes start a response */
	FS_TOO_SHORT, /* could be mine, with more bytes */
	FS_MINE_GREETING /* the serving side speaks first: a message that answers nobody starts here */
};

enum fs_framed {
	FS_FRAME_MORE = 0, /* the head of the message is incomplete: call again with more bytes from the same start */
	FS_FRAME_INVALID, /* no message starts here: resynchronise */
	FS_FRAME_MESSAGE, /* `out` describes a message of out->length stream bytes (which may be more than are here) */
	FS_FRAME_PART, /* out->length more bytes of the body of the message told last (out->body was FS_BODY_PARTS) */
	FS_FRAME_END, /* the same, and the message ends with them */
	/* In order, of a response: not that of `waiting`, which was quiet and stays without one. Call again. */
	FS_FRAME_PASSED
};

/* How a message goes on after out->length. */
enum fs_body {
	FS_BODY_DONE = 0, /* it ends there */
	FS_BODY_PARTS, /* call frame again: it answers PART and END */
	FS_BODY_UNTIL_FLIP, /* end unknown: until the other side speaks, or the close */
	FS_BODY_UNTIL_CLOSE
};

enum fs_message_flag {
	FS_MESSAGE_INTERIM = 1 << 0, /* belongs to the request, but its real response is still to come (1xx) */
	FS_MESSAGE_NO_ANSWER = 1 << 1, /* a request that never gets a response */
	FS_MESSAGE_SWITCH = 1 << 2, /* behind it the connection speaks out->next_protocol: a response, or with SKIP */
	FS_MESSAGE_CUT = 1 << 3, /* the capture ended inside the head: content is partial */
	FS_MESSAGE_SKIP = 1 << 4, /* neither request nor response: greeting, settings, heartbeat, acknowledgement */
	FS_MESSAGE_OPEN =
		1 << 5, /* by id: further messages of this id and side belong to the same request or response */
	/*
	 * By id: such a further message; without FS_MESSAGE_OPEN it is the last. Of a request, a last one with a status
	 * calls it off: no response is waited for, and stitch gets this message as one.
	 */
	FS_MESSAGE_MORE = 1 << 6,
	FS_MESSAGE_REVERSED = 1 << 7, /* the serving side asks here, or the asking side answers: ids of their own */
	/*
	 * MORE, PART or END: overrules what was told before (trailers). Of a response, stitch is called again with this
	 * message, and what it leaves empty or 0 stays. Of a request, its content, method, note, status and protocol
	 * overrule those of the message that began it, where they are not empty or 0.
	 */
	FS_MESSAGE_TELLS = 1 << 8,
	FS_MESSAGE_UNWANTED = 1 << 14, /* a request whose path the user left out; its bytes count nowhere */
	FS_MESSAGE_IF_FAILED = 1 << 9, /* a request that counts if it fails (a login); else only its bytes do */
	/*
	 * In order, with FS_MESSAGE_SKIP on a response's side: requests that wait with an id up to this one's get no
	 * response of their own (PostgreSQL, after an error in a pipeline). Stitch gets this message as theirs.
	 */
	FS_MESSAGE_SETTLES = 1 << 10,
	/*
	 * In order, of a request: answered only if there is something to say. That it was not shows in the response to a
	 * later one (FS_FRAME_PASSED), or in nothing at all; stitch then gets no response, and it is no failure for that.
	 */
	FS_MESSAGE_QUIET = 1 << 11
};

struct fs_message {
	uint64_t length;
	uint64_t id; /* for pairing by id; ignored for in-order protocols */
	uint32_t flags; /* enum fs_message_flag */
	uint16_t status; /* of a response: HTTP status, DNS rcode ... */
	uint8_t body; /* enum fs_body */
	uint8_t next_protocol; /* with FS_MESSAGE_SWITCH; of a response FS_UNDECIDED: a tunnel, recognised as if it were new */
	uint16_t method; /* parser's own: what of the request its response's framing needs */
	uint8_t protocol; /* counted under this one instead of the connection's (grpc inside http2); 0: the connection's */
	uint8_t verb; /* of a request: enum fs_verb */
	uint32_t note; /* parser's own, kept with a request until stitch */
	uint8_t trace_id[16]; /* W3C traceparent or B3, zero if none */
	uint8_t parent_id[8];
	struct fs_label content; /* already clustered and redacted */
};

/* An empty message of this length. Of the text no more than its end is written: the rest of it nobody reads. */
static inline void fs_message_begin(struct fs_message *message, uint64_t length)
{
	memset(message, 0, offsetof(struct fs_message, content.text) + 1);
	message->length = length;
}

struct fs_outcome {
	uint16_t status;
	bool error;
	struct fs_label request_content;
	struct fs_label response_content;
};

/* What the user set that parsers obey. */
struct fs_parser_options {
	uint8_t url_clustering; /* enum fs_clustering */
	uint8_t dns_nxdomain_is_error;
	uint8_t reserved[2];
	uint32_t paths_version; /* another one whenever `unwanted` says something else */
	const struct fs_path_rules *unwanted; /* NULL: none */
};
enum fs_clustering { FS_CLUSTER_NOPARAM = 0, FS_CLUSTER_ALPHABET = 1, FS_CLUSTER_BLANK = 2, FS_CLUSTER_LEARN = 3 };

struct fs_frame_input {
	struct fs_cursor bytes;
	/* The oldest unanswered request that a message of this side may answer, or NULL; by id also if others hide it. */
	const struct fs_message *waiting;
	const struct fs_parser_options *options;
	uint8_t *scratch; /* FS_SCRATCH bytes, of this connection and side, zero at first */
	/*
	 * `state_bytes` of the protocol, of this connection and both sides, 8-aligned, zero at first; NULL where the protocol
	 * wants none or the pool is empty: then parse without. Write to it only in a call that does not answer MORE or
	 * INVALID: the same bytes come again after those. Bytes that were lost leave it as it is, but clear the scratch of
	 * their side (in order: of both): state that every byte matters to is marked there while it can be trusted.
	 */
	void *state;
	/* `shared_bytes` of the protocol, of all its connections, 8-aligned, zero at first, never NULL; written as `state` is. */
	void *shared;
	uint8_t side; /* enum fs_side */
	uint8_t datagram; /* the bytes are one whole datagram */
};
#define FS_SCRATCH 32
#define FS_STATE_BYTES 16384 /* the largest state */

/* What a response says about addresses: that they were asked for by this name. */
#define FS_RESOLVED 16
struct fs_resolved {
	struct fs_label name;
	uint32_t ttl; /* seconds, the shortest of them */
	uint32_t count;
	uint8_t address[FS_RESOLVED][16];
};

struct fs_protocol {
	uint8_t id;
	uint8_t pairs_by_id; /* else first in, first out */
	uint8_t streams, datagrams; /* where it is spoken */
	uint8_t unpipelined; /* usually one request at a time: message mode pays */
	uint8_t late_outcome; /* how it ended may stand behind a response's rows, or anywhere in it */
	uint8_t refers_back; /* what is said refers to what was said before: a gap is never made good */
	uint32_t state_bytes; /* what frame keeps for a connection: prepared statements, header compression */
	uint32_t shared_bytes; /* what frame keeps for all connections, if it is true everywhere: names of ids */
	enum fs_detected (*detect)(struct fs_cursor bytes, bool datagram);
	enum fs_framed (*frame)(struct fs_frame_input *in, struct fs_message *out);
	void (*stitch)(const struct fs_message *request, const struct fs_message *response,
		       const struct fs_parser_options *options, struct fs_outcome *out);
	/* Of a response; NULL where a protocol tells no addresses. False if this one does not. */
	bool (*resolve)(struct fs_cursor bytes, bool datagram, struct fs_resolved *out);
};

/* In the order of detection; ends with NULL. */
extern const struct fs_protocol *const fs_protocols[];
const struct fs_protocol *fs_protocol_by_id(uint8_t id);
const char *fs_protocol_name(uint8_t id);

/* Writes the clustered form of a URL path (no query, no fragment, no user-info) into `out`. */
void fs_cluster_path(struct fs_text target, enum fs_clustering how, struct fs_label *out);

/*
 * Writes the clustered form of "host:port", what a tunnel leads to: a name is kept, as those of DNS and TLS are; an
 * address only where all segments of paths are; what stands in front of an "@" never.
 */
void fs_cluster_authority(struct fs_text target, enum fs_clustering how, struct fs_label *out);

/* Whether the user left this path out. Of a target that was cut off, only what it begins with can tell. */
bool fs_path_is_unwanted(struct fs_text target, bool whole, const struct fs_parser_options *options);

#endif
