/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AMQP 0-9-1 (https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf), section 2.3: frames of many channels.
 *
 * A message is a frame. A method that the server answers is a request; the id is the channel's number, doubled, and
 * methods of one channel are answered in their order. What a client publishes and a server delivers is a request that
 * gets no answer, with the frames of its content as further pieces; its ids are odd, as a synchronous method may wait on
 * the same channel. A close with a reason, of a channel or the connection, answers the method that waits there, or
 * stands for itself. Logging in is counted as bytes and never read.
 *
 * state: of each channel, what content is still to come from each side, and how many methods wait.
 */
#include "amqp_methods.h"
#include "protocols.h"

#define HEADER_BYTES 8 /* "AMQP" and a version */
#define FRAME_HEADER 7
#define FRAME_END 0xce
#define FRAME_MAX (1u << 24)
#define METHOD_FRAME_MAX 65536
#define CHANNELS 128
#define FRAMES_LOOKED_AT 16
#define REPLY_SUCCESS 200

enum frame_type { FRAME_METHOD = 1, FRAME_HEADER_OF_CONTENT = 2, FRAME_BODY = 3, FRAME_HEARTBEAT = 8 };
enum content { CONTENT_NONE, CONTENT_HEADER, CONTENT_BODY };

struct frame {
	uint32_t length; /* of the payload */
	uint16_t channel;
	uint8_t type;
};

/* Of channels with the same remainder, the one that was used last. */
struct channel {
	uint64_t remaining[2]; /* of the body, by enum fs_side */
	uint16_t flags[2]; /* of the message that it belongs to */
	uint16_t number;
	uint8_t content[2]; /* what comes next */
	uint8_t odd[2]; /* the message's id */
	uint8_t waiting; /* methods without their answer */
	uint8_t reserved;
};

struct amqp_state {
	struct channel channels[CHANNELS];
};

static struct channel *channel_of(struct amqp_state *state, uint16_t number)
{
	struct channel *channel;
	if (!state)
		return NULL;
	channel = &state->channels[number % CHANNELS];
	if (channel->number != number)
		*channel = (struct channel){.number = number};
	return channel;
}

static bool take_frame_header(struct fs_cursor *bytes, struct frame *frame)
{
	struct fs_cursor ahead = *bytes;
	if (!fs_u8(&ahead, &frame->type) || !fs_u16be(&ahead, &frame->channel) || !fs_u32be(&ahead, &frame->length))
		return false;
	*bytes = ahead;
	return true;
}

static bool is_frame(const struct frame *frame)
{
	switch (frame->type) {
	case FRAME_METHOD: return frame->length >= 4 && frame->length <= METHOD_FRAME_MAX;
	case FRAME_HEADER_OF_CONTENT: return frame->channel && frame->length >= 14 && frame->length <= METHOD_FRAME_MAX;
	case FRAME_BODY: return frame->channel && frame->length <= FRAME_MAX;
	case FRAME_HEARTBEAT: return !frame->channel && frame->length == 0;
	default: return false;
	}
}

/* Whether the byte behind the payload, if it is here, is the one that has to be. */
static bool ends_well(const struct fs_cursor *payload, const struct frame *frame)
{
	int end = fs_peek(payload, frame->length);
	return end < 0 || end == FRAME_END;
}

static void expect_content(struct fs_frame_input *in, struct fs_message *out, uint16_t number)
{
	struct channel *channel = channel_of(in->state, number);
	if (!channel)
		return; /* the pieces will be bytes of nobody */
	channel->content[in->side] = CONTENT_HEADER;
	channel->odd[in->side] = out->id & 1;
	channel->flags[in->side] = out->flags & FS_MESSAGE_REVERSED;
	out->flags |= FS_MESSAGE_OPEN;
}

/* A close without a reason is an ordinary method; with one it is bad news of what waits, or of nothing in particular. */
static void frame_close(struct fs_frame_input *in, struct channel *channel, struct fs_message *out)
{
	if (in->side == FS_SIDE_REQUEST) {
		if (channel)
			channel->waiting++;
		return;
	}
	if (channel && channel->waiting) {
		channel->waiting = 0;
		out->content.length = 0;
		out->content.text[0] = 0;
	} else {
		out->flags = FS_MESSAGE_REVERSED | FS_MESSAGE_NO_ANSWER;
	}
}

static void frame_reply(struct fs_frame_input *in, struct channel *channel, struct fs_message *out)
{
	if (in->side == FS_SIDE_REQUEST)
		out->flags = FS_MESSAGE_SKIP; /* to a close of the server's */
	else if (channel && channel->waiting)
		channel->waiting--;
}

static void frame_method(struct fs_frame_input *in, const struct frame *frame, struct fs_cursor payload,
			 struct fs_message *out)
{
	struct channel *channel = channel_of(in->state, frame->channel);
	const struct fs_amqp_method *method = NULL;
	uint16_t class_id, method_id;
	if (fs_u16be(&payload, &class_id) && fs_u16be(&payload, &method_id))
		method = fs_amqp_method(class_id, method_id);
	out->flags = FS_MESSAGE_SKIP;
	if (!method || !(method->sender >> in->side & 1) || method->kind == FS_AMQP_QUIET)
		return;
	out->flags = 0;
	out->id = (uint64_t)frame->channel << 1;
	fs_amqp_arguments(method, payload, in->options, out);
	switch (method->kind) {
	case FS_AMQP_CLOSES: frame_close(in, channel, out); break;
	case FS_AMQP_ASKS:
		if (channel && !(out->flags & FS_MESSAGE_NO_ANSWER))
			channel->waiting++;
		break;
	case FS_AMQP_TELLS: out->flags = in->side == FS_SIDE_REQUEST ? FS_MESSAGE_NO_ANSWER : FS_MESSAGE_SKIP; break;
	case FS_AMQP_PUBLISHES:
	case FS_AMQP_DELIVERS:
		out->id |= 1;
		out->flags = FS_MESSAGE_NO_ANSWER;
		out->flags |= method->kind == FS_AMQP_DELIVERS ? FS_MESSAGE_REVERSED : 0;
		expect_content(in, out, frame->channel);
		break;
	default:
		frame_reply(in, channel, out);
		if (method->kind == FS_AMQP_BRINGS)
			expect_content(in, out, frame->channel);
	}
}

/* Section 2.3.5.2: class, weight, then the size of the body that follows in frames of its own. */
static void frame_content(struct fs_frame_input *in, const struct frame *frame, struct fs_cursor payload,
			  struct fs_message *out)
{
	struct channel *channel = channel_of(in->state, frame->channel);
	uint8_t expected = frame->type == FRAME_BODY ? CONTENT_BODY : CONTENT_HEADER;
	uint64_t *remaining;
	uint32_t high = 0, low = 0;
	out->flags = FS_MESSAGE_SKIP;
	if (!channel || channel->content[in->side] != expected)
		return;
	remaining = &channel->remaining[in->side];
	if (expected == CONTENT_BODY)
		*remaining -= frame->length < *remaining ? frame->length : *remaining;
	if (expected == CONTENT_BODY && in->bytes.truncated && *remaining && frame->length) {
		/* The next header was not captured. Senders fill each frame, so that the rest is likely to be so long. */
		out->length += *remaining + (*remaining + frame->length - 1) / frame->length * (FRAME_HEADER + 1);
		*remaining = 0;
	}
	if (expected == CONTENT_HEADER && fs_skip(&payload, 4) && fs_u32be(&payload, &high) && fs_u32be(&payload, &low))
		*remaining = (uint64_t)high << 32 | low;
	out->id = (uint64_t)frame->channel << 1 | channel->odd[in->side];
	out->flags = FS_MESSAGE_MORE | channel->flags[in->side] | (*remaining ? FS_MESSAGE_OPEN : 0);
	channel->content[in->side] = *remaining ? CONTENT_BODY : CONTENT_NONE;
}

/* What the client opens with; a server that speaks another version answers with its own and hangs up. */
static bool is_protocol_header(struct fs_cursor bytes)
{
	return fs_accept(&bytes, "AMQP") && fs_peek(&bytes, 0) == 0 && fs_peek(&bytes, 1) == 0 &&
	       fs_peek(&bytes, 2) == 9 && fs_peek(&bytes, 3) == 1;
}

static enum fs_framed frame(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct frame head;
	if (is_protocol_header(bytes)) {
		fs_message_begin(out, HEADER_BYTES);
		out->flags = FS_MESSAGE_SKIP;
		return FS_FRAME_MESSAGE;
	}
	if (fs_peek(&bytes, 0) == 'A' && fs_left(&bytes) < HEADER_BYTES)
		return bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
	if (!take_frame_header(&bytes, &head))
		return bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
	/* A body's frame is told before its end has come, so that its end cannot count against it. */
	if (!is_frame(&head) || (head.type != FRAME_BODY && !ends_well(&bytes, &head)))
		return FS_FRAME_INVALID;
	if (head.type != FRAME_BODY && fs_left(&bytes) <= head.length && !bytes.truncated)
		return FS_FRAME_MORE;
	fs_message_begin(out, FRAME_HEADER + (uint64_t)head.length + 1);
	if (head.type == FRAME_METHOD)
		frame_method(in, &head, bytes, out);
	else if (head.type == FRAME_HEARTBEAT)
		out->flags = FS_MESSAGE_SKIP;
	else
		frame_content(in, &head, bytes, out);
	return FS_FRAME_MESSAGE;
}

/* Fewer bytes than a frame's header has, all of which fit one. */
static bool may_be_frame(const struct fs_cursor *bytes)
{
	int type = fs_peek(bytes, 0), high = fs_peek(bytes, 3);
	return (type < 0 || (type >= FRAME_METHOD && type <= FRAME_BODY) || type == FRAME_HEARTBEAT) && high <= 0 &&
	       (type != FRAME_HEARTBEAT || (fs_peek(bytes, 1) <= 0 && fs_peek(bytes, 2) <= 0));
}

/* Frames up to one that only one side may send. */
static enum fs_detected detect(struct fs_cursor bytes, bool datagram)
{
	static const char opening[] = {'A', 'M', 'Q', 'P', 0, 0, 9, 1};
	struct frame frame;
	size_t same = 0;
	bool truncated = bytes.truncated;
	if (datagram)
		return FS_NOT_MINE;
	while (same < HEADER_BYTES && fs_peek(&bytes, same) == opening[same])
		same++;
	if (same == HEADER_BYTES)
		return FS_MINE_REQUEST;
	if (same && same == fs_left(&bytes))
		return truncated ? FS_NOT_MINE : FS_TOO_SHORT;
	for (int i = 0; i < FRAMES_LOOKED_AT; i++) {
		uint16_t class_id, method_id;
		struct fs_cursor payload;
		if (!take_frame_header(&bytes, &frame))
			return !truncated && may_be_frame(&bytes) ? FS_TOO_SHORT : FS_NOT_MINE;
		if (!is_frame(&frame) || !ends_well(&bytes, &frame))
			return FS_NOT_MINE;
		payload = bytes;
		if (frame.type == FRAME_METHOD) {
			if (fs_left(&bytes) <= frame.length && !truncated && frame.length < 2048)
				return FS_TOO_SHORT;
			const struct fs_amqp_method *method =
				fs_u16be(&payload, &class_id) && fs_u16be(&payload, &method_id)
					? fs_amqp_method(class_id, method_id)
					: NULL;
			if (!method)
				return FS_NOT_MINE;
			if (method->sender != FS_AMQP_EITHER)
				return method->sender == FS_AMQP_CLIENT ? FS_MINE_REQUEST : FS_MINE_RESPONSE;
		}
		if (!fs_skip(&bytes, (uint64_t)frame.length + 1))
			return FS_NOT_MINE;
	}
	return FS_NOT_MINE;
}

static void stitch(const struct fs_message *request, const struct fs_message *response,
		   const struct fs_parser_options *options, struct fs_outcome *out)
{
	const struct fs_message *told = response ? response : request;
	(void)options;
	out->status = told->status;
	out->error = told->status > REPLY_SUCCESS || (!response && !(request->flags & FS_MESSAGE_NO_ANSWER));
	out->request_content = request->content;
	out->response_content.length = 0;
	out->response_content.text[0] = 0;
	if (told->status)
		fs_label_decimal(&out->response_content, told->status);
}

const struct fs_protocol fs_protocol_amqp = {
	.id = FS_PROTOCOL_AMQP,
	.pairs_by_id = 1,
	.streams = 1,
	.state_bytes = sizeof(struct amqp_state),
	.detect = detect,
	.frame = frame,
	.stitch = stitch,
};
