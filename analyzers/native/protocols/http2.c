/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/2: RFC 9113, and gRPC over it (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
 *
 * A message is one frame, or a header block with its CONTINUATION frames; the id is the stream's. HEADERS open a request or response, DATA go on with it, END_STREAM ends it. Trailers of gRPC
 * and RST_STREAM tell the outcome anew. What a server pushes was asked by nobody and is only counted as bytes.
 *
 * A call of gRPC whose stream ends without a grpc-status has the one that its client makes up, but only where all that
 * could have said another one was read: the whole head of the response, and its whole trailers if there were any.
 *
 * state: both sides' header compression; which streams were answered, and which owe a grpc-status; the last stream that
 * was opened.
 * method: of a response, what tells (enum fs_http2_telling). note: grpc-status plus 1, or the error code of a reset.
 */
#include "hpack.h"
#include "http2_outcome.h"
#include "protocols.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define PREFACE_BYTES 24
#define FIRST_CAPACITY 4096 /* RFC 9113, section 6.5.2: SETTINGS_HEADER_TABLE_SIZE */
#define SETTINGS_MAX_FRAME_SIZE 5
#define FRAMES_LOOKED_AT 32
#define STREAM_BITS 2048
#define CALLED_OFF 1 /* any status will do: the client gave its request up */
#define TRUSTED 1 /* in scratch: no byte of this side was missed since its table was last read */

struct http2_state {
	struct fs_hpack_table table[2]; /* by enum fs_side */
	uint64_t answered[STREAM_BITS / 64]; /* by stream: its response began */
	uint64_t owing[STREAM_BITS / 64]; /* by stream: a call, and nothing of its response has told its status yet */
	uint32_t highest; /* stream that the client opened; 0: none seen */
	uint32_t frame_max[2]; /* that this side sends, as the other one allowed; 0: what always is */
};
_Static_assert(sizeof(struct http2_state) <= FS_STATE_BYTES, "both directions' tables fit a connection's state");

static void stream_set(uint64_t *streams, uint32_t stream, bool is_set)
{
	uint32_t place = (stream >> 1) % STREAM_BITS;
	uint64_t bit = 1ull << (place % 64);
	if (is_set)
		streams[place / 64] |= bit;
	else
		streams[place / 64] &= ~bit;
}

static bool stream_is_set(const uint64_t *streams, uint32_t stream)
{
	uint32_t place = (stream >> 1) % STREAM_BITS;
	return streams[place / 64] >> (place % 64) & 1;
}

static bool is_answered(const struct http2_state *state, uint32_t stream)
{
	return state && stream_is_set(state->answered, stream);
}

/* Its response began well, of what it said everything is known, and what must come last was not yet there. */
static bool owes_status(const struct http2_state *state, uint32_t stream)
{
	return is_answered(state, stream) && stream_is_set(state->owing, stream);
}

static bool belongs_to_a_request(const struct fs_http2_frame *frame)
{
	return frame->stream & 1 &&
	       (frame->type == FS_HTTP2_DATA || frame->type == FS_HTTP2_HEADERS || frame->type == FS_HTTP2_RST_STREAM);
}

/* --- header blocks --- */

/* gRPC: "/" service name "/" method name, in letters of identifiers. */
static bool is_method_path(struct fs_text path)
{
	struct fs_cursor bytes = fs_inside(path);
	uint32_t slashes = 0;
	uint8_t byte;
	if (fs_peek(&bytes, 0) != '/')
		return false;
	while (fs_u8(&bytes, &byte)) {
		uint8_t lower = fs_lower(byte);
		slashes += byte == '/';
		if (!(lower >= 'a' && lower <= 'z') && !(byte >= '0' && byte <= '9') && byte != '/' && byte != '.' &&
		    byte != '_' && byte != '-')
			return false;
	}
	return slashes == 2;
}

static void write_content(const struct fs_hpack_head *head, const struct fs_parser_options *options,
			  struct fs_message *out)
{
	struct fs_text path = fs_label_read(&head->path);
	if (head->is_grpc && is_method_path(path))
		fs_label_text(&out->content, path);
	else if (path.length)
		fs_cluster_path(path, (enum fs_clustering)options->url_clustering, &out->content);
	else if (options->url_clustering != FS_CLUSTER_BLANK)
		fs_label_byte(&out->content, '*'); /* CONNECT has none; or the table does not have it */
}

static void request_head(struct fs_frame_input *in, const struct fs_http2_frame *frame,
			 const struct fs_hpack_head *head, struct fs_message *out)
{
	struct http2_state *state = in->state;
	bool ends = frame->flags & FS_HTTP2_END_STREAM;
	/* Section 5.1.1: streams are opened in the order of their numbers, so a second head on one is its trailers. */
	bool opens = state && state->highest ? frame->stream > state->highest : head->is_request || !ends;
	if (!opens) {
		out->flags = FS_MESSAGE_MORE | (ends ? 0 : FS_MESSAGE_OPEN);
		return;
	}
	if (state) {
		state->highest = frame->stream;
		stream_set(state->answered, frame->stream, false);
		stream_set(state->owing, frame->stream, head->is_grpc);
	}
	out->flags = ends ? 0 : FS_MESSAGE_OPEN;
	out->protocol = head->is_grpc ? FS_PROTOCOL_GRPC : 0;
	out->verb = head->verb;
	if (fs_path_is_unwanted(fs_label_read(&head->path), true, in->options))
		out->flags |= FS_MESSAGE_UNWANTED;
	for (int i = 0; i < 16; i++)
		out->trace_id[i] = head->trace.trace_id[i];
	for (int i = 0; i < 8; i++)
		out->parent_id[i] = head->trace.parent_id[i];
	write_content(head, in->options, out);
}

/* `is_read`: each field of it is known. */
static void response_head(struct fs_frame_input *in, const struct fs_http2_frame *frame,
			  const struct fs_hpack_head *head, bool is_read, struct fs_message *out)
{
	struct http2_state *state = in->state;
	bool ends = frame->flags & FS_HTTP2_END_STREAM;
	out->flags = ends ? 0 : FS_MESSAGE_OPEN;
	out->status = head->status;
	out->note = head->grpc_status;
	if (head->status >= 100 && head->status < 200) {
		out->flags = FS_MESSAGE_INTERIM;
		return;
	}
	bool lacks_status = is_read && !head->grpc_status;
	if (!head->status && (state ? is_answered(state, frame->stream) : ends)) {
		out->method = FS_HTTP2_TELLS_TRAILERS;
		out->flags |= FS_MESSAGE_MORE | FS_MESSAGE_TELLS;
		if (ends && lacks_status && owes_status(state, frame->stream))
			out->note = FS_HTTP2_GRPC_UNKNOWN + 1;
		return;
	}
	bool owes = lacks_status && head->status == 200;
	out->method = FS_HTTP2_TELLS_HEAD;
	if (ends && owes)
		out->note = FS_HTTP2_GRPC_UNKNOWN + 1;
	if (!state)
		return;
	stream_set(state->answered, frame->stream, true);
	if (!owes)
		stream_set(state->owing, frame->stream, false);
}

static enum fs_framed frame_block(struct fs_frame_input *in, struct fs_cursor bytes, const struct fs_http2_frame *frame,
				  struct fs_message *out)
{
	struct http2_state *state = in->state;
	struct fs_hpack_table *table = state ? &state->table[in->side] : NULL;
	struct fs_hpack_head head = {0};
	struct fs_hpack_block block;
	uint64_t length;
	bool is_whole = fs_http2_block(bytes, frame, &block, &length);
	if (!is_whole && !in->bytes.truncated)
		return FS_FRAME_MORE;
	if (table && table->was_read && in->scratch[0] != TRUSTED)
		fs_hpack_forget(table);
	in->scratch[0] = TRUSTED;
	bool is_read = fs_hpack_read(&block, table, &head) && is_whole && !head.has_unknown;
	if (!is_whole && table)
		fs_hpack_forget(table);
	fs_message_begin(out, length);
	out->id = frame->stream;
	out->flags = FS_MESSAGE_SKIP;
	if (frame->type != FS_HTTP2_HEADERS || !belongs_to_a_request(frame))
		return FS_FRAME_MESSAGE;
	if (in->side == FS_SIDE_REQUEST)
		request_head(in, frame, &head, out);
	else
		response_head(in, frame, &head, is_read, out);
	return FS_FRAME_MESSAGE;
}

/* --- other frames --- */

/* Section 6.4. A reset without an error follows a whole response whose request the server did not want to the end. */
static enum fs_framed frame_reset(struct fs_frame_input *in, struct fs_cursor bytes, const struct fs_http2_frame *frame,
				  struct fs_message *out)
{
	uint32_t code;
	if (!fs_u32be(&bytes, &code)) {
		if (!in->bytes.truncated)
			return FS_FRAME_MORE;
		code = 2; /* INTERNAL_ERROR stands for what was not captured */
	}
	fs_message_begin(out, FS_HTTP2_FRAME_HEADER + 4);
	out->id = frame->stream;
	out->method = FS_HTTP2_TELLS_RESET;
	out->note = code;
	if (in->side == FS_SIDE_REQUEST) {
		out->flags = FS_MESSAGE_MORE;
		out->status = CALLED_OFF;
	} else if (code == 0) {
		out->flags = FS_MESSAGE_SKIP;
	} else if (is_answered(in->state, frame->stream)) {
		out->flags = FS_MESSAGE_MORE | FS_MESSAGE_TELLS;
	}
	return FS_FRAME_MESSAGE;
}

static bool begins_preface(struct fs_cursor bytes)
{
	static const char preface[] = PREFACE;
	size_t here = fs_left(&bytes) < PREFACE_BYTES ? fs_left(&bytes) : PREFACE_BYTES;
	for (size_t i = 0; i < here; i++)
		if (fs_peek(&bytes, i) != preface[i])
			return false;
	return here > 0;
}

/* Section 3.4. From here on nothing of the header compression is missed. */
static enum fs_framed frame_preface(struct fs_frame_input *in, struct fs_message *out)
{
	struct http2_state *state = in->state;
	if (fs_left(&in->bytes) < PREFACE_BYTES)
		return in->bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
	for (int side = 0; state && side < 2; side++) {
		state->table[side].limited = 1;
		state->table[side].capacity = FIRST_CAPACITY;
	}
	fs_message_begin(out, PREFACE_BYTES);
	out->flags = FS_MESSAGE_SKIP;
	return FS_FRAME_MESSAGE;
}

/* Section 6.5: what a side sets holds for what the other one sends. */
static void read_settings(struct http2_state *state, uint8_t side, struct fs_cursor bytes, uint32_t length)
{
	uint16_t number;
	uint32_t value;
	for (uint32_t i = 0; i < length / 6 && fs_u16be(&bytes, &number) && fs_u32be(&bytes, &value); i++)
		if (number == SETTINGS_MAX_FRAME_SIZE && value > FS_HTTP2_FRAME_MAX && value < 1u << 24)
			state->frame_max[!side] = value;
}

static uint32_t longest(const struct fs_frame_input *in)
{
	const struct http2_state *state = in->state;
	return state && state->frame_max[in->side] ? state->frame_max[in->side] : FS_HTTP2_FRAME_MAX;
}

static enum fs_framed frame(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct fs_http2_frame frame;
	if (in->side == FS_SIDE_REQUEST && begins_preface(bytes))
		return frame_preface(in, out);
	if (!fs_http2_take_header(&bytes, &frame))
		return bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
	if (!fs_http2_is_frame(&frame) || frame.length > longest(in))
		return FS_FRAME_INVALID;
	if (frame.type == FS_HTTP2_HEADERS || frame.type == FS_HTTP2_PUSH_PROMISE)
		return frame_block(in, bytes, &frame, out);
	if (!belongs_to_a_request(&frame)) {
		struct http2_state *state = in->state;
		/* The rest of a block whose beginning was not all here. */
		if (frame.type == FS_HTTP2_CONTINUATION && state)
			fs_hpack_forget(&state->table[in->side]);
		if (frame.type == FS_HTTP2_SETTINGS && state) {
			if (fs_left(&bytes) < frame.length && !bytes.truncated)
				return FS_FRAME_MORE;
			read_settings(state, in->side, bytes, frame.length);
		}
		fs_message_begin(out, FS_HTTP2_FRAME_HEADER + (uint64_t)frame.length);
		out->flags = FS_MESSAGE_SKIP;
		return FS_FRAME_MESSAGE;
	}
	if (frame.type == FS_HTTP2_RST_STREAM)
		return frame_reset(in, bytes, &frame, out);
	fs_message_begin(out, FS_HTTP2_FRAME_HEADER + (uint64_t)frame.length);
	out->id = frame.stream;
	out->flags = FS_MESSAGE_MORE | (frame.flags & FS_HTTP2_END_STREAM ? 0 : FS_MESSAGE_OPEN);
	if (frame.flags & FS_HTTP2_END_STREAM && in->side == FS_SIDE_RESPONSE && owes_status(in->state, frame.stream)) {
		out->method = FS_HTTP2_TELLS_TRAILERS; /* that there are none */
		out->note = FS_HTTP2_GRPC_UNKNOWN + 1;
		out->flags |= FS_MESSAGE_TELLS;
	}
	return FS_FRAME_MESSAGE;
}

/* --- recognition --- */

/*
 * A head that says by itself, without any table, whether it asks or answers. One that goes on in other frames is rare, and
 * much else looks like its first.
 */
static enum fs_detected detect_head(struct fs_cursor bytes, const struct fs_http2_frame *frame)
{
	struct fs_hpack_head head = {0};
	struct fs_hpack_block block;
	uint64_t length;
	if (!(frame->flags & FS_HTTP2_END_HEADERS))
		return FS_NOT_MINE;
	bool is_whole = fs_http2_block(bytes, frame, &block, &length);
	if (!is_whole && !bytes.truncated)
		return FS_TOO_SHORT;
	if (!fs_hpack_read(&block, NULL, &head) && is_whole)
		return FS_NOT_MINE;
	if (head.is_request == (head.status != 0))
		return FS_NOT_MINE;
	return head.is_request ? FS_MINE_REQUEST : FS_MINE_RESPONSE;
}

/* What stands behind a frame, if anything does, has to be one too. */
static bool may_follow(struct fs_cursor bytes, const struct fs_http2_frame *frame)
{
	struct fs_http2_frame next;
	if (!fs_skip(&bytes, frame->length))
		return true;
	return fs_http2_take_header(&bytes, &next) ? fs_http2_is_frame(&next) : fs_http2_may_be_header(&bytes);
}

/*
 * A server's first frame. Section 6.5.1: what may be set has small numbers, or one of those that gRPC took. An empty one is
 * little more than zeros.
 */
static enum fs_detected detect_settings(struct fs_cursor bytes, const struct fs_http2_frame *frame)
{
	uint16_t number;
	if (!may_follow(bytes, frame))
		return FS_NOT_MINE;
	if (frame->length == 0)
		return FS_MINE_RESPONSE;
	if (!fs_u16be(&bytes, &number))
		return bytes.truncated ? FS_NOT_MINE : FS_TOO_SHORT;
	return (number >= 1 && number <= 16) || number >= 0xf000 ? FS_MINE_RESPONSE : FS_NOT_MINE;
}

/*
 * In the middle: frames whose headers are faultless, up to one that says which side this is. One alone could be
 * anything, and most say nothing of the side.
 */
static enum fs_detected detect(struct fs_cursor bytes, bool datagram)
{
	struct fs_http2_frame frame;
	bool truncated = bytes.truncated;
	if (datagram)
		return FS_NOT_MINE;
	if (begins_preface(bytes)) {
		if (fs_left(&bytes) >= PREFACE_BYTES)
			return FS_MINE_REQUEST;
		return truncated ? FS_NOT_MINE : FS_TOO_SHORT;
	}
	for (int i = 0; i < FRAMES_LOOKED_AT; i++) {
		if (!fs_http2_take_header(&bytes, &frame))
			return truncated || !fs_http2_may_be_header(&bytes) ? FS_NOT_MINE : FS_TOO_SHORT;
		if (!fs_http2_is_frame(&frame) || frame.length > FS_HTTP2_FRAME_MAX)
			return FS_NOT_MINE;
		if (frame.type == FS_HTTP2_HEADERS && frame.stream & 1) {
			enum fs_detected how = detect_head(bytes, &frame);
			if (how != FS_NOT_MINE || i == 0)
				return how;
		}
		if (frame.type == FS_HTTP2_SETTINGS && i == 0 && !frame.flags)
			return detect_settings(bytes, &frame);
		if (!fs_skip(&bytes, frame.length))
			return FS_NOT_MINE;
	}
	return FS_NOT_MINE;
}

const struct fs_protocol fs_protocol_http2 = {
	.id = FS_PROTOCOL_HTTP2,
	.pairs_by_id = 1,
	.streams = 1,
	.refers_back = 1,
	.state_bytes = sizeof(struct http2_state),
	.detect = detect,
	.frame = frame,
	.stitch = fs_http2_stitch,
};
