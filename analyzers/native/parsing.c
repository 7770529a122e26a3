/* SPDX-License-Identifier: Apache-2.0 */
/* The calls into the parsers: named while they run, so that a crash names its culprit, and counted. */
#define _POSIX_C_SOURCE 200809L
#include <time.h>

#include "state.h"

static uint64_t begin(struct fs_engine *e, uint8_t protocol)
{
	struct timespec now;

	*(volatile uint32_t *)&e->table->parsing = protocol;
	if (!e->config.measure)
		return 0;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static void end(struct fs_engine *e, uint8_t protocol, uint64_t begun_ns)
{
	struct timespec now;

	*(volatile uint32_t *)&e->table->parsing = 0;
	if (!begun_ns)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	e->table->parse_ns[protocol] += (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec - begun_ns;
}

static bool is_enabled(const struct fs_engine *e, uint8_t protocol)
{
	return e->config.protocols_enabled >> protocol & 1;
}

enum fs_detected fs_detect(struct fs_engine *e, const struct fs_protocol *p, struct fs_cursor bytes, bool datagram)
{
	if (!is_enabled(e, p->id) || !(datagram ? p->datagrams : p->streams))
		return FS_NOT_MINE;
	uint64_t begun_ns = begin(e, p->id);
	enum fs_detected how = p->detect(bytes, datagram);
	end(e, p->id, begun_ns);
	return how;
}

/* The port that names the service: the server's, as it is and as it was dialled, or both where no side is known. */
static uint8_t ruled_protocol(const struct fs_engine *e, const struct fs_connection *c)
{
	for (uint32_t i = 0; i < e->config.port_rules; i++) {
		const struct fs_port_rule *rule = &e->config.port_rule[i];
		if ((c->role != FS_ROLE_CLIENT && rule->port == c->tuple.local_port) ||
		    (c->role != FS_ROLE_SERVER && rule->port == c->tuple.remote_port) ||
		    (c->dialled_port && rule->port == c->dialled_port))
			return rule->protocol == 255 ? FS_PROTOCOL_NOSUPPORT : rule->protocol;
	}
	return FS_UNDECIDED;
}

/* Where the protocol of a service is remembered, so that its next connection is recognised by the first parser asked. */
static struct fs_learned *learned(struct fs_engine *e, const struct fs_connection *c, uint32_t *key)
{
	uint64_t hash = fs_mix(FS_HASH_SEED, c->tuple.l4);
	if (c->role == FS_ROLE_SERVER)
		hash = fs_mix(fs_mix(hash, c->netns), c->tuple.local_port);
	else
		hash = fs_mix(fs_mix_bytes(hash, c->tuple.remote, 16), c->tuple.remote_port);
	*key = fs_hash_end(hash);
	return &e->learned[*key % FS_LEARNED];
}

/* Whether the direction in which it was spoken agrees with the side that connect and accept showed. */
static bool fits_role(const struct fs_connection *c, uint8_t direction, enum fs_detected how)
{
	uint8_t requester = how == FS_MINE_REQUEST ? direction : !direction;
	return c->role == FS_ROLE_UNKNOWN || c->flags & FS_C_ROLE_GUESSED || c->kind == FS_KIND_FLOW ||
	       (c->role == FS_ROLE_CLIENT) == (requester == FS_OUT);
}

static bool try_one(struct fs_engine *e, const struct fs_connection *c, const struct fs_protocol *p, uint8_t direction,
		    struct fs_cursor bytes, bool datagram, enum fs_detected *how)
{
	enum fs_detected answer = fs_detect(e, p, bytes, datagram);
	if (answer == FS_TOO_SHORT)
		*how = FS_TOO_SHORT;
	if (answer == FS_NOT_MINE || answer == FS_TOO_SHORT ||
	    (!fs_is_opaque(p->id) && !fits_role(c, direction, answer)))
		return false;
	*how = answer;
	return true;
}

const struct fs_protocol *fs_detect_any(struct fs_engine *e, struct fs_connection *c, uint8_t direction,
					struct fs_cursor bytes, bool datagram, enum fs_detected *how)
{
	bool leads_elsewhere = c->flags & FS_C_TUNNEL;
	uint8_t ruled = leads_elsewhere ? FS_UNDECIDED : ruled_protocol(e, c);
	uint32_t key;
	const struct fs_learned *known = learned(e, c, &key);
	const struct fs_protocol *first = NULL;

	*how = FS_NOT_MINE;
	if (ruled == FS_PROTOCOL_NOSUPPORT)
		return NULL;
	if (ruled != FS_UNDECIDED)
		first = fs_protocol_of(e, ruled);
	else if (known->key == key && !leads_elsewhere)
		first = fs_protocol_of(e, known->protocol);
	if (first && try_one(e, c, first, direction, bytes, datagram, how))
		return first;
	for (uint32_t i = 0; ruled == FS_UNDECIDED && fs_protocols[i]; i++)
		if (fs_protocols[i] != first && try_one(e, c, fs_protocols[i], direction, bytes, datagram, how))
			return fs_protocols[i];
	return NULL;
}

void fs_protocol_set(struct fs_engine *e, struct fs_connection *c, uint8_t protocol)
{
	uint32_t key;
	struct fs_learned *known = learned(e, c, &key);

	/* What is switched off is not decoded either where another protocol leads to it. */
	if (protocol != FS_UNDECIDED && !is_enabled(e, protocol))
		protocol = FS_PROTOCOL_NOSUPPORT;
	fs_state_give(e, c);
	c->protocol = protocol;
	memset(c->scratch, 0, sizeof(c->scratch));
	for (int direction = FS_IN; direction <= FS_OUT; direction++) {
		c->stream[direction].phase = FS_PHASE_HEAD;
		c->stream[direction].message_bytes = 0;
		c->stream[direction].remaining = 0;
	}
	fs_connection_key_changed(c);
	/* Where requests are not one at a time, a chunk holds many of them. */
	const struct fs_protocol *p = fs_protocol_of(e, protocol);
	if (p && !p->unpipelined && !fs_is_opaque(protocol))
		fs_mode_need_bytes(e, c);
	if (p && p->refers_back)
		fs_mode_need_more(e, c);
	if (protocol == FS_PROTOCOL_NOSUPPORT && c->kind == FS_KIND_STREAM) {
		fs_mode_set(e, c, e->config.undecoded_bytes ? FS_MODE_STREAM : FS_MODE_LENGTHS,
			    e->config.undecoded_bytes);
	} else if (protocol == FS_PROTOCOL_WEBSOCKET) {
		/* Heads of frames are short. */
		fs_mode_set(e, c, FS_MODE_STREAM, e->config.parse_bytes);
	} else if (protocol != FS_UNDECIDED && !(c->flags & FS_C_TUNNEL)) {
		known->key = key;
		known->protocol = protocol;
	}
	fs_mode_leave_out(e, c);
}

/* A decoder may be switched off under way: what it followed goes on as a conversation that nobody decodes. */
void fs_protocol_check(struct fs_engine *e, struct fs_connection *c)
{
	if (c->protocol == FS_UNDECIDED || is_enabled(e, c->protocol))
		return;
	fs_requests_discard(e, c);
	for (int direction = FS_IN; direction <= FS_OUT; direction++)
		fs_unbuffer(e, &c->stream[direction]);
	fs_protocol_set(e, c, FS_PROTOCOL_NOSUPPORT);
}

/* It was recognised, but does not parse: what was learned of its port goes, and recognition starts again. */
void fs_protocol_doubt(struct fs_engine *e, struct fs_connection *c)
{
	uint32_t key;
	struct fs_learned *known = learned(e, c, &key);

	e->table->stats.contradictions++;
	if (known->key == key && !(c->flags & FS_C_TUNNEL))
		known->key = 0;
	c->failures = 0;
	c->tries = (uint8_t)(c->tries + 2);
	fs_requests_discard(e, c);
	fs_protocol_set(e, c, c->tries >= FS_DETECT_TRIES ? FS_PROTOCOL_NOSUPPORT : FS_UNDECIDED);
}

static enum fs_framed frame_or_recall(struct fs_engine *e, struct fs_connection *c, uint8_t direction,
				      enum fs_side side, struct fs_cursor bytes, const struct fs_message *waiting,
				      bool datagram)
{
	const struct fs_protocol *p = fs_protocol_of(e, c->protocol);
	struct fs_frame_input input = {
		.bytes = bytes,
		.waiting = waiting,
		.options = &e->options,
		.scratch = c->scratch[direction],
		.side = (uint8_t)side,
		.datagram = datagram,
	};

	if (!p || !is_enabled(e, p->id))
		return FS_FRAME_INVALID;
	if (p->state_bytes)
		input.state = fs_state_of(e, c, p);
	input.shared = e->parser_memory[p->id];
	uint32_t hash = fs_memo_hash(&input, p);
	if (fs_memo_recall(e, &input, p->id, hash)) {
		e->table->parsed[p->id]++;
		return FS_FRAME_MESSAGE;
	}
	memset(&e->message, 0, offsetof(struct fs_message, content.text) + 1);
	uint64_t begun_ns = begin(e, p->id);
	enum fs_framed framed = p->frame(&input, &e->message);
	end(e, p->id, begun_ns);
	if (framed == FS_FRAME_INVALID) {
		e->table->parse_failures[p->id]++;
	} else if (framed == FS_FRAME_MESSAGE) {
		e->table->parsed[p->id]++;
		fs_memo_keep(e, &input, p->id, hash);
	}
	return framed;
}

enum fs_framed fs_frame(struct fs_engine *e, struct fs_connection *c, uint8_t direction, enum fs_side side,
			struct fs_cursor bytes, const struct fs_message *waiting, bool datagram)
{
	enum fs_framed framed = frame_or_recall(e, c, direction, side, bytes, waiting, datagram);

	if (framed == FS_FRAME_MESSAGE && side == FS_SIDE_RESPONSE)
		fs_domains_learn(e, c, bytes, datagram);
	return framed;
}

/* Into e->outcome. `response` is NULL for a request that was never answered. */
void fs_stitch(struct fs_engine *e, uint8_t protocol, const struct fs_message *request,
	       const struct fs_message *response)
{
	const struct fs_protocol *p = fs_protocol_of(e, protocol);

	e->outcome.status = 0;
	e->outcome.error = false;
	e->outcome.request_content.length = e->outcome.response_content.length = 0;
	e->outcome.request_content.text[0] = e->outcome.response_content.text[0] = 0;
	if (!p)
		return;
	uint64_t begun_ns = begin(e, p->id);
	p->stitch(request, response, &e->options, &e->outcome);
	end(e, p->id, begun_ns);
}
