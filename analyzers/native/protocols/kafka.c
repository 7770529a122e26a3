/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kafka: kafka.apache.org/protocol. Every message is a length and a header:
 *
 *   request   api key, version (two bytes each), correlation id (four), client id (string), in flexible versions tags
 *   response  correlation id, in flexible versions (of all but ApiVersions) tags
 *
 * request content   name of the api, and the first topic: "Produce orders". A fetch that names no topic goes on with those of
 *                   the last one (KIP-227). Ids of topics (KIP-516) are looked up in what any connection was told of
 *                   topics: they are unique. "*" if that was not seen. Nothing of SASL is kept.
 * response content  the first error code that is not 0, as a number; -1 is one (status 65535). 0 if there is none among
 *                   the first bytes.
 * id                the correlation id.
 *
 * What a response looks like depends on what was asked, so the requests that wait are remembered. Its bytes alone show
 * nothing: it is never detected. Produce with acks=0 has no answer. After SaslHandshake v0 tokens go to and fro without
 * headers: FS_MESSAGE_SKIP.
 *
 * method: api key and version.  note: 1 if a response told an error code or that there is none.
 */
#include "kafka_apis.h"
#include "kafka_layout.h"
#include "kafka_topics.h"
#include "protocols.h"

#define LENGTH_MAX (100u << 20) /* socket.request.max.bytes, by default; requests only */
#define RESPONSE_MAX (1u << 31)
#define HEADER_BYTES 12 /* length, key, version, correlation id */
#define CLIENT_ID_MAX 255
#define NEWER_VERSIONS 4 /* than those we know, of brokers that came later */
#define REQUEST_WANTED 1024 /* as much of a message is looked at, if it is that long */
#define RESPONSE_WANTED 2048
#define TOPICS_WANTED 4000 /* of a response that tells of topics */
#define ASKED 32
#define FETCHED_MAX 240
#define LATE_ANSWERS 1000 /* of requests before the connection was joined */

struct asked {
	uint32_t correlation;
	uint16_t method;
	uint16_t waits;
};

struct kafka_state {
	struct asked asked[ASKED];
	uint32_t last; /* correlation id */
	uint8_t next_asked;
	uint8_t has_asked;
	uint8_t has_tokens; /* of SASL, without headers */
	uint8_t fetched_length;
	char fetched[FETCHED_MAX];
};

struct header {
	uint32_t length, correlation;
	uint16_t key, version;
	const struct fs_kafka_api *api;
	bool flexible;
	bool has_client; /* it said who it is, or that it does not */
};

/* --- requests ----------------------------------------------------------------------------------------------------- */

static bool is_printable(struct fs_text text)
{
	struct fs_cursor bytes = fs_inside(text);
	uint8_t byte;
	while (fs_u8(&bytes, &byte))
		if (byte < 0x20 || byte > 0x7e)
			return false;
	return true;
}

enum fit { FIT_NO, FIT_SO_FAR, FIT_YES };

/* The header up to the client id, which may be longer than what is here. */
static enum fit read_header(struct fs_cursor *bytes, struct header *header)
{
	uint16_t length;
	struct fs_text client = {0};
	*header = (struct header){0};
	if (!fs_u32be(bytes, &header->length))
		return FIT_SO_FAR;
	if (header->length < HEADER_BYTES - 4 || header->length > LENGTH_MAX)
		return FIT_NO;
	if (!fs_u16be(bytes, &header->key) || !fs_u16be(bytes, &header->version))
		return FIT_SO_FAR;
	header->api = fs_kafka_api(header->key);
	if (!header->api || header->version > header->api->newest + NEWER_VERSIONS)
		return FIT_NO;
	header->flexible = header->version >= header->api->flexible_from;
	if (!fs_u32be(bytes, &header->correlation))
		return FIT_SO_FAR;
	if (header->key == FS_KAFKA_CONTROLLED_SHUTDOWN && header->version == 0)
		return FIT_YES;
	if (!fs_u16be(bytes, &length))
		return header->length > HEADER_BYTES - 4 ? FIT_SO_FAR : FIT_NO;
	header->has_client = length > 0;
	if (length == 0xffff)
		length = 0;
	if (length > CLIENT_ID_MAX || (uint32_t)length + 10 > header->length)
		return FIT_NO;
	bool is_whole = fs_take(bytes, length, &client);
	if (!is_whole)
		fs_take(bytes, (uint32_t)fs_left(bytes), &client);
	return !is_printable(client) ? FIT_NO : is_whole ? FIT_YES : FIT_SO_FAR;
}

/* What a message has to say stands in its first bytes; where its other bytes begin another message must not matter. */
static struct fs_cursor beginning(struct fs_cursor bytes, uint64_t length, uint32_t wanted)
{
	struct fs_text text = {0};
	uint64_t most = length < wanted ? length : wanted;
	fs_take(&bytes, (uint32_t)(fs_left(&bytes) < most ? fs_left(&bytes) : most), &text);
	return fs_inside(text);
}

static bool has_beginning(const struct fs_cursor *bytes, uint64_t length, uint32_t wanted)
{
	return fs_left(bytes) >= (length < wanted ? length : wanted);
}

static struct fs_kafka_walk walk_request(const struct header *header, struct fs_cursor bytes)
{
	struct fs_kafka_walk walk = {.bytes = bytes, .version = header->version, .flexible = header->flexible};
	if (!header->flexible || fs_kafka_tags(&walk.bytes))
		fs_kafka_walk(&walk, header->api->request);
	return walk;
}

/* Answers with a small correlation id look like a request to produce that names no topic. */
static bool is_plausible(const struct header *header, const struct fs_kafka_walk *walk)
{
	if (walk->is_broken || (walk->topic.length && !fs_kafka_is_topic(walk->topic)))
		return false;
	return header->key != FS_KAFKA_PRODUCE || walk->topic.length || walk->topic_id.length;
}

static void write_kept(const char *name, unsigned length, struct fs_label *out)
{
	for (unsigned i = 0; i < length; i++)
		fs_label_byte(out, name[i]);
}

/* Behind the api's name: the first topic, if the api has any. */
static void write_topic(const struct fs_frame_input *in, const struct header *header, const struct fs_kafka_walk *walk,
			struct fs_label *out)
{
	const struct kafka_state *state = in->state;
	const struct fs_kafka_topic *topic;
	fs_label_byte(out, ' ');
	if (walk->topic.length)
		fs_label_text(out, walk->topic);
	else if (walk->topic_id.length && (topic = fs_kafka_topic_of(in->shared, walk->topic_id)))
		write_kept(topic->name, topic->length, out);
	else if (!walk->topic_id.length && header->key == FS_KAFKA_FETCH && state && state->fetched_length)
		write_kept(state->fetched, state->fetched_length, out);
	else
		fs_label_byte(out, '*');
}

static bool names_topics(const struct header *header, const struct fs_kafka_walk *walk)
{
	return walk->topic.length || walk->topic_id.length || header->key == FS_KAFKA_FETCH;
}

/* The label behind "Fetch " is what the next one, which may name no topic, goes on with. */
static void keep_fetched(struct kafka_state *state, const struct fs_label *content)
{
	const unsigned before = sizeof("Fetch ") - 1;
	state->fetched_length = 0;
	for (unsigned i = before; i < content->length && i - before < FETCHED_MAX; i++)
		state->fetched[state->fetched_length++] = content->text[i];
}

static void keep_asked(struct kafka_state *state, const struct header *header, uint16_t method)
{
	state->asked[state->next_asked] = (struct asked){header->correlation, method, 1};
	state->next_asked = (uint8_t)((state->next_asked + 1) % ASKED);
	state->last = header->correlation;
	state->has_asked = 1;
}

static enum fs_framed skip_token(uint32_t length, struct fs_message *out)
{
	fs_message_begin(out, 4 + (uint64_t)length);
	out->flags = FS_MESSAGE_SKIP;
	return FS_FRAME_MESSAGE;
}

static enum fs_framed frame_request(struct fs_frame_input *in, struct fs_message *out)
{
	struct kafka_state *state = in->state;
	struct fs_cursor bytes = in->bytes;
	struct header header;
	enum fit fit = read_header(&bytes, &header);
	if (state && state->has_tokens && fit == FIT_NO && header.length <= LENGTH_MAX)
		return skip_token(header.length, out);
	if (fit == FIT_NO)
		return FS_FRAME_INVALID;
	uint64_t length = 4 + (uint64_t)header.length;
	bool is_here = fit == FIT_YES && has_beginning(&in->bytes, length, REQUEST_WANTED);
	if (!is_here && !in->bytes.truncated)
		return FS_FRAME_MORE;
	bytes = beginning(in->bytes, length, REQUEST_WANTED);
	if (read_header(&bytes, &header) != FIT_YES)
		return FS_FRAME_INVALID;
	struct fs_kafka_walk walk = walk_request(&header, bytes);
	if (!is_plausible(&header, &walk))
		return FS_FRAME_INVALID;
	fs_message_begin(out, length);
	out->id = header.correlation;
	out->method = (uint16_t)(header.key << 8 | (header.version & 0xff));
	out->flags = is_here ? 0 : FS_MESSAGE_CUT;
	if (header.key == FS_KAFKA_PRODUCE && walk.has_acks && walk.acks == 0)
		out->flags |= FS_MESSAGE_NO_ANSWER;
	fs_label_literal(&out->content, header.api->name);
	if (names_topics(&header, &walk))
		write_topic(in, &header, &walk, &out->content);
	if (!state)
		return FS_FRAME_MESSAGE;
	if (header.key == FS_KAFKA_FETCH && (walk.topic.length || walk.topic_id.length))
		keep_fetched(state, &out->content);
	state->has_tokens = header.key == FS_KAFKA_SASL_HANDSHAKE && header.version == 0;
	if (!(out->flags & FS_MESSAGE_NO_ANSWER))
		keep_asked(state, &header, out->method);
	return FS_FRAME_MESSAGE;
}

/* --- responses ---------------------------------------------------------------------------------------------------- */

/* What was asked under this number. False: nothing that we saw. */
static bool find_asked(const struct fs_frame_input *in, uint32_t correlation, struct asked **asked, uint16_t *method)
{
	struct kafka_state *state = in->state;
	*asked = NULL;
	for (int i = 0; state && i < ASKED; i++) {
		if (state->asked[i].waits && state->asked[i].correlation == correlation) {
			*asked = &state->asked[i];
			*method = state->asked[i].method;
			return true;
		}
	}
	if (!in->waiting || in->waiting->id != correlation)
		return false;
	*method = in->waiting->method;
	return true;
}

/* An answer to what was asked before the connection was joined. Clients count their requests. */
static bool may_be_late(const struct fs_frame_input *in, uint32_t correlation)
{
	const struct kafka_state *state = in->state;
	if (in->waiting)
		return (uint32_t)in->waiting->id - correlation <= LATE_ANSWERS;
	return state && state->has_asked && state->last - correlation <= LATE_ANSWERS;
}

static bool tells_of_topics(uint16_t key)
{
	return key == FS_KAFKA_METADATA || key == FS_KAFKA_CREATE_TOPICS || key == FS_KAFKA_DESCRIBE_TOPIC_PARTITIONS;
}

static void read_answer(struct fs_frame_input *in, uint16_t method, struct fs_cursor bytes, struct fs_message *out)
{
	uint16_t key = method >> 8, version = method & 0xff;
	const struct fs_kafka_api *api = fs_kafka_api(key);
	struct fs_kafka_walk walk = {.bytes = bytes, .version = version};
	if (!api)
		return;
	walk.flexible = version >= api->flexible_from;
	if (walk.flexible && key != FS_KAFKA_API_VERSIONS && !fs_kafka_tags(&walk.bytes))
		return;
	if (tells_of_topics(key)) {
		walk.goes_on = true;
		walk.learn = fs_kafka_learn_topic;
		walk.memory = in->shared;
	}
	fs_kafka_walk(&walk, api->response);
	out->status = (uint16_t)walk.error;
	out->note = !walk.is_broken && (walk.has_error || !fs_left(&walk.bytes));
}

static enum fs_framed frame_response(struct fs_frame_input *in, struct fs_message *out)
{
	struct kafka_state *state = in->state;
	struct fs_cursor bytes = in->bytes;
	uint32_t length, correlation;
	uint16_t method;
	struct asked *asked;
	enum fs_framed too_short = in->bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
	if (!fs_u32be(&bytes, &length))
		return too_short;
	bool is_token = state && state->has_tokens && length <= LENGTH_MAX;
	if (length < 4 || length > RESPONSE_MAX)
		return is_token ? skip_token(length, out) : FS_FRAME_INVALID;
	if (!fs_u32be(&bytes, &correlation))
		return too_short;
	bool is_known = find_asked(in, correlation, &asked, &method);
	if (!is_known && is_token)
		return skip_token(length, out);
	if (!is_known && !may_be_late(in, correlation))
		return FS_FRAME_INVALID;
	uint64_t whole = 4 + (uint64_t)length;
	uint32_t wanted = is_known && tells_of_topics(method >> 8) ? TOPICS_WANTED : RESPONSE_WANTED;
	if (is_known && !in->bytes.truncated && !has_beginning(&in->bytes, whole, wanted))
		return FS_FRAME_MORE;
	fs_message_begin(out, whole);
	out->id = correlation;
	if (!is_known)
		return FS_FRAME_MESSAGE;
	bytes = beginning(in->bytes, whole, wanted);
	fs_skip(&bytes, 8);
	read_answer(in, method, bytes, out);
	if (asked)
		asked->waits = 0;
	return FS_FRAME_MESSAGE;
}

static enum fs_framed frame(struct fs_frame_input *in, struct fs_message *out)
{
	return in->side == FS_SIDE_REQUEST ? frame_request(in, out) : frame_response(in, out);
}

/* --- the protocol ------------------------------------------------------------------------------------------------- */

/*
 * A key, a version and a name are few bytes to go by, and zeros are everywhere: a request that does not say who asks
 * has to name a topic.
 */
static enum fs_detected detect(struct fs_cursor bytes, bool datagram)
{
	struct fs_cursor start = bytes;
	struct header header;
	if (datagram)
		return FS_NOT_MINE;
	enum fit fit = read_header(&bytes, &header);
	enum fs_detected too_short = start.truncated ? FS_NOT_MINE : FS_TOO_SHORT;
	if (fit != FIT_YES)
		return fit == FIT_SO_FAR && fs_left(&start) ? too_short : FS_NOT_MINE;
	uint64_t length = 4 + (uint64_t)header.length;
	struct fs_cursor body = beginning(start, length, REQUEST_WANTED);
	bool is_here = has_beginning(&start, length, REQUEST_WANTED);
	if (read_header(&body, &header) != FIT_YES)
		return FS_NOT_MINE;
	struct fs_kafka_walk walk = walk_request(&header, body);
	if (is_plausible(&header, &walk) && (header.has_client || walk.topic.length))
		return FS_MINE_REQUEST;
	return is_here || walk.is_broken ? FS_NOT_MINE : too_short;
}

static void stitch(const struct fs_message *request, const struct fs_message *response,
		   const struct fs_parser_options *options, struct fs_outcome *out)
{
	(void)options;
	fs_outcome_begin(request, response, out);
	if (!response || !(response->note || response->status))
		return;
	if (response->status == UINT16_MAX)
		fs_label_literal(&out->response_content, "-1");
	else
		fs_label_decimal(&out->response_content, response->status);
}

const struct fs_protocol fs_protocol_kafka = {
	.id = FS_PROTOCOL_KAFKA,
	.pairs_by_id = 1,
	.streams = 1,
	.state_bytes = sizeof(struct kafka_state),
	.shared_bytes = sizeof(struct fs_kafka_topics),
	.detect = detect,
	.frame = frame,
	.stitch = stitch,
};
