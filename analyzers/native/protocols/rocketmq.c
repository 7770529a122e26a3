/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RocketMQ's remoting protocol (docs/en/RocketMQ_Remoting of its repository, NettyDecoder and RemotingCommand of 5.1.4),
 * which producers, consumers, brokers and name servers speak:
 *
 *   length of all that follows (4), how the header is written (1), length of the header (3), header, body
 *
 * request content   "Topic:orders" where a topic is named, else the name of the request's code
 * response content  the code of the response, which is 0 if all went well. Others are errors, but for those with which a
 *                   consumer's long poll ends in vain: clients take these for an answer and ask again.
 * id                opaque. A broker asks its clients too: reversed.
 *
 * Groups, message properties and what stands in bodies are not kept.
 */
#include "protocols.h"
#include "rocketmq_header.h"

#define PREFIX_BYTES 8
#define LENGTH_MAX (64u << 20) /* 16 MiB unless com.rocketmq.remoting.frameMaxLength says otherwise */
#define HEADER_MIN 21
#define HEADER_MAX (256u << 10) /* its longest field has message properties: 32 KiB at most */
#define WANTED 4000 /* as much of a header is looked at: an I/O shows 4096 bytes */
#define TOPIC_MAX 255

struct prefix {
	uint32_t length, header_length;
	enum fs_rocketmq_kind kind;
};

enum fit { FIT_NO, FIT_SO_FAR, FIT_YES };

static enum fit read_prefix(struct fs_cursor *bytes, struct prefix *out)
{
	uint32_t word;
	*out = (struct prefix){0};
	if (fs_peek(bytes, 0) > (int)(LENGTH_MAX >> 24))
		return FIT_NO;
	if (!fs_u32be(bytes, &out->length))
		return FIT_SO_FAR;
	if (out->length < 4 + HEADER_MIN || out->length > LENGTH_MAX || fs_peek(bytes, 0) > FS_ROCKETMQ_BINARY)
		return FIT_NO;
	if (!fs_u32be(bytes, &word))
		return FIT_SO_FAR;
	out->kind = word >> 24 ? FS_ROCKETMQ_BINARY : FS_ROCKETMQ_JSON;
	out->header_length = word & 0xffffff;
	bool fits = out->header_length >= HEADER_MIN && out->header_length <= HEADER_MAX &&
		    out->header_length <= out->length - 4;
	return fits ? FIT_YES : FIT_NO;
}

static uint32_t wanted_of(const struct prefix *prefix)
{
	return prefix->header_length < WANTED ? prefix->header_length : WANTED;
}

/* The header as far as it is here and looked at, wherever the capture ends. */
static enum fs_rocketmq_reading read_header(struct fs_cursor bytes, const struct prefix *prefix,
					    struct fs_rocketmq_header *out)
{
	struct fs_text text = {0};
	uint32_t wanted = wanted_of(prefix);
	(void)fs_take(&bytes, fs_left(&bytes) < wanted ? (uint32_t)fs_left(&bytes) : wanted, &text);
	enum fs_rocketmq_reading read = fs_rocketmq_header(fs_inside(text), prefix->kind, prefix->header_length, out);
	/* JSON that goes on where the header ends is none. */
	return read == FS_ROCKETMQ_PARTLY && text.length == prefix->header_length ? FS_ROCKETMQ_BROKEN : read;
}

/* TopicValidator: letters, digits, '_', '-', '%' and '|'. */
static bool is_topic(struct fs_text topic)
{
	struct fs_cursor bytes = fs_inside(topic);
	uint8_t byte;
	if (topic.length == 0 || topic.length > TOPIC_MAX)
		return false;
	while (fs_u8(&bytes, &byte)) {
		bool is_letter = fs_lower(byte) >= 'a' && fs_lower(byte) <= 'z';
		bool is_sign = byte == '_' || byte == '-' || byte == '%' || byte == '|';
		if (!is_letter && !is_sign && (byte < '0' || byte > '9'))
			return false;
	}
	return true;
}

/* Only where messages are sent have the fields names of one letter. */
static bool has_short_names(uint32_t code)
{
	return code == FS_ROCKETMQ_SEND_MESSAGE_V2 || code == FS_ROCKETMQ_SEND_BATCH_MESSAGE ||
	       code == FS_ROCKETMQ_SEND_REPLY_MESSAGE_V2;
}

static void write_request(const struct fs_rocketmq_header *header, struct fs_label *out)
{
	bool is_short = header->has_short_topic && has_short_names(header->code);
	const char *name = fs_rocketmq_request(header->code);
	if (is_short || header->has_topic) {
		struct fs_text topic = is_short ? header->short_topic : header->topic;
		fs_label_literal(out, "Topic:");
		if (is_topic(topic))
			fs_label_text(out, topic);
		else
			fs_label_byte(out, '*');
	} else if (name) {
		fs_label_literal(out, name);
	} else {
		fs_label_decimal(out, header->code);
	}
}

/* Who asks what: a client's request, or one that a broker has for its clients. */
static bool asks_client(uint32_t code)
{
	return code == FS_ROCKETMQ_CHECK_TRANSACTION_STATE || code == FS_ROCKETMQ_NOTIFY_CONSUMER_IDS_CHANGED ||
	       code == FS_ROCKETMQ_RESET_CONSUMER_CLIENT_OFFSET ||
	       code == FS_ROCKETMQ_GET_CONSUMER_STATUS_FROM_CLIENT || code == FS_ROCKETMQ_PUSH_REPLY_MESSAGE_TO_CLIENT;
}

/* An administrator asks it of a broker, and the broker of a client. */
static bool asks_either(uint32_t code)
{
	return code == FS_ROCKETMQ_GET_CONSUMER_RUNNING_INFO || code == FS_ROCKETMQ_CONSUME_MESSAGE_DIRECTLY;
}

static bool tells_enough(const struct fs_rocketmq_header *header)
{
	return header->has_code && header->has_opaque && header->has_flag;
}

static enum fs_detected detect(struct fs_cursor bytes, bool datagram)
{
	struct prefix prefix;
	struct fs_rocketmq_header header;
	enum fs_detected too_short = bytes.truncated ? FS_NOT_MINE : FS_TOO_SHORT;
	if (datagram)
		return FS_NOT_MINE;
	enum fit fit = read_prefix(&bytes, &prefix);
	if (fit != FIT_YES)
		return fit == FIT_SO_FAR ? too_short : FS_NOT_MINE;
	bool is_here = fs_left(&bytes) >= wanted_of(&prefix);
	enum fs_rocketmq_reading read = read_header(bytes, &prefix, &header);
	if (read == FS_ROCKETMQ_BROKEN)
		return FS_NOT_MINE;
	if (read != FS_ROCKETMQ_WHOLE && !is_here)
		return too_short;
	if (!tells_enough(&header))
		return FS_NOT_MINE;
	if (header.is_response)
		return FS_MINE_RESPONSE;
	if (asks_either(header.code))
		return FS_NOT_MINE;
	return asks_client(header.code) ? FS_MINE_GREETING : FS_MINE_REQUEST;
}

static enum fs_framed frame(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct prefix prefix;
	struct fs_rocketmq_header header;
	enum fit fit = read_prefix(&bytes, &prefix);
	if (fit == FIT_NO || (fit == FIT_SO_FAR && bytes.truncated))
		return FS_FRAME_INVALID;
	if (fit == FIT_SO_FAR || (fs_left(&bytes) < wanted_of(&prefix) && !bytes.truncated))
		return FS_FRAME_MORE;
	enum fs_rocketmq_reading read = read_header(bytes, &prefix, &header);
	if (read == FS_ROCKETMQ_BROKEN)
		return FS_FRAME_INVALID;
	fs_message_begin(out, 4 + (uint64_t)prefix.length);
	if (!tells_enough(&header)) {
		/* Properties of some kilobytes stand before its number: nobody can tell what answers it. */
		if (read == FS_ROCKETMQ_WHOLE)
			return FS_FRAME_INVALID;
		out->flags = FS_MESSAGE_SKIP;
		return FS_FRAME_MESSAGE;
	}
	out->id = header.opaque;
	out->flags = read == FS_ROCKETMQ_WHOLE ? 0 : FS_MESSAGE_CUT;
	if (header.is_response != (in->side == FS_SIDE_RESPONSE))
		out->flags |= FS_MESSAGE_REVERSED;
	if (header.is_response) {
		out->status = header.code < UINT16_MAX ? (uint16_t)header.code : UINT16_MAX;
		return FS_FRAME_MESSAGE;
	}
	if (header.is_oneway)
		out->flags |= FS_MESSAGE_NO_ANSWER;
	write_request(&header, &out->content);
	return FS_FRAME_MESSAGE;
}

/* ResponseCode's PULL_NOT_FOUND, PULL_RETRY_IMMEDIATELY (nothing that matches) and POLLING_TIMEOUT (of POP). */
static bool is_nothing_new(uint16_t code)
{
	return code == 19 || code == 20 || code == 210;
}

static void stitch(const struct fs_message *request, const struct fs_message *response,
		   const struct fs_parser_options *options, struct fs_outcome *out)
{
	(void)options;
	fs_outcome_begin(request, response, out);
	if (!response)
		return;
	out->error = response->status != 0 && !is_nothing_new(response->status);
	fs_label_decimal(&out->response_content, response->status);
}

const struct fs_protocol fs_protocol_rocketmq = {
	.id = FS_PROTOCOL_ROCKETMQ,
	.pairs_by_id = 1,
	.streams = 1,
	.detect = detect,
	.frame = frame,
	.stitch = stitch,
};
