/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MQTT 3.1, 3.1.1 and 5 (https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html), section 2: control packets.
 *
 * What a client publishes is a request, and so, reversed, is what a broker delivers: with QoS 0 nobody answers, with 1 the
 * PUBACK does, with 2 the PUBREC; the rest of QoS 2's handshake is counted as bytes. Packet identifiers are of one space
 * for each side, and an identifier may be in use by one packet only (2.2.1), so the id is that and the kind of packet.
 */
#include "names.h"
#include "protocols.h"

#define REMAINING_MAX 268435455u
#define REFUSED 0x80 /* section 2.4 */
#define LENGTH_BYTES 4
#define VERSION_5 5

enum packet {
	CONNECT = 1,
	CONNACK,
	PUBLISH,
	PUBACK,
	PUBREC,
	PUBREL,
	PUBCOMP,
	SUBSCRIBE,
	SUBACK,
	UNSUBSCRIBE,
	UNSUBACK,
	PINGREQ,
	PINGRESP,
	DISCONNECT,
	AUTH
};

struct mqtt_state {
	uint8_t version;
	uint8_t reserved[7];
};

struct packet_head {
	uint32_t length; /* of what follows it */
	uint8_t kind, flags;
};

enum reading { READ_MORE, READ_WRONG, READ_DONE };

/* Section 1.5.5: seven bits to a byte, the lowest first. */
static enum reading take_number(struct fs_cursor *bytes, uint32_t *number)
{
	uint8_t byte;
	*number = 0;
	for (uint32_t i = 0; i < LENGTH_BYTES; i++) {
		if (!fs_u8(bytes, &byte))
			return READ_MORE;
		*number |= (uint32_t)(byte & 0x7f) << (7 * i);
		if (!(byte & 0x80))
			return i && !byte ? READ_WRONG : READ_DONE;
	}
	return READ_WRONG;
}

/* Section 2.1.3, and lengths that each kind has at least. */
static bool is_packet(uint8_t kind, uint8_t flags)
{
	switch (kind) {
	case 0: return false;
	case PUBLISH: return (flags & 6) != 6;
	case PUBREL:
	case SUBSCRIBE:
	case UNSUBSCRIBE: return flags == 2;
	default: return !flags;
	}
}

static uint32_t shortest(uint8_t kind)
{
	switch (kind) {
	case CONNECT: return 12;
	case PUBLISH:
	case CONNACK:
	case PUBACK:
	case PUBREC:
	case PUBREL:
	case PUBCOMP:
	case UNSUBACK: return 2;
	case SUBACK: return 3;
	case SUBSCRIBE: return 6;
	case UNSUBSCRIBE: return 5;
	default: return 0;
	}
}

static enum reading take_head(struct fs_cursor *bytes, struct packet_head *head)
{
	uint8_t first;
	enum reading read;
	if (!fs_u8(bytes, &first))
		return READ_MORE;
	head->kind = first >> 4;
	head->flags = first & 15;
	if (!is_packet(head->kind, head->flags))
		return READ_WRONG;
	read = take_number(bytes, &head->length);
	if (read == READ_DONE && head->length < shortest(head->kind))
		return READ_WRONG;
	if (read == READ_DONE && (head->kind == PINGREQ || head->kind == PINGRESP) && head->length)
		return READ_WRONG;
	return read;
}

/* Section 3.4.2: an acknowledgement is an identifier, or a reason behind it, or properties behind that. */
static bool is_acknowledgement(const struct fs_cursor *bytes, const struct packet_head *head)
{
	int code = fs_peek(bytes, 2), properties = fs_peek(bytes, 3);
	if (head->kind < PUBACK || head->kind > PUBCOMP || head->length == 2)
		return true;
	if (code > 0 && code != 0x10 && code < REFUSED)
		return false;
	if (head->length == 3)
		return true;
	return properties < 0 ? !bytes->truncated : properties >= 0x80 || (uint32_t)properties + 4 == head->length;
}

static bool may_send(uint8_t kind, uint8_t side)
{
	switch (kind) {
	case CONNECT:
	case SUBSCRIBE:
	case UNSUBSCRIBE:
	case PINGREQ: return side == FS_SIDE_REQUEST;
	case CONNACK:
	case SUBACK:
	case UNSUBACK:
	case PINGRESP: return side == FS_SIDE_RESPONSE;
	default: return true;
	}
}

static bool take_string(struct fs_cursor *bytes, struct fs_text *text)
{
	uint16_t length;
	return fs_u16be(bytes, &length) && fs_take(bytes, length, text);
}

static void label(struct fs_message *out, const char *what, struct fs_text place,
		  const struct fs_parser_options *options)
{
	fs_label_literal(&out->content, what);
	if (place.length == 0 || options->url_clustering == FS_CLUSTER_BLANK)
		return;
	fs_label_byte(&out->content, ' ');
	fs_cluster_name(place, (enum fs_clustering)options->url_clustering, &out->content);
}

/* By what a request and its response are the same. */
static uint64_t id_of(uint8_t request, uint16_t packet)
{
	return (uint64_t)request << 16 | packet;
}

static bool skip_properties(struct fs_cursor *bytes, const struct mqtt_state *state)
{
	uint32_t length;
	if (!state || state->version < VERSION_5)
		return true;
	return take_number(bytes, &length) == READ_DONE && fs_skip(bytes, length);
}

static void frame_publish(struct fs_frame_input *in, const struct packet_head *head, struct fs_cursor bytes,
			  struct fs_message *out)
{
	struct fs_text topic = {0};
	uint16_t packet = 0;
	bool answered = head->flags & 6;
	if (!take_string(&bytes, &topic) || (answered && !fs_u16be(&bytes, &packet)))
		out->flags |= FS_MESSAGE_CUT;
	label(out, "PUBLISH", topic, in->options); /* version 5 has an alias instead where it was told before */
	out->id = id_of(PUBLISH, packet);
	if (!answered || out->flags & FS_MESSAGE_CUT)
		out->flags |= FS_MESSAGE_NO_ANSWER;
	if (in->side == FS_SIDE_RESPONSE)
		out->flags |= FS_MESSAGE_REVERSED;
}

/* SUBSCRIBE and UNSUBSCRIBE: the first of their topics stands for all. */
static void frame_topics(struct fs_frame_input *in, uint8_t kind, struct fs_cursor bytes, struct fs_message *out)
{
	struct fs_text topic = {0};
	uint16_t packet = 0;
	if (!fs_u16be(&bytes, &packet) || !skip_properties(&bytes, in->state) || !take_string(&bytes, &topic))
		out->flags |= FS_MESSAGE_CUT;
	label(out, kind == SUBSCRIBE ? "SUBSCRIBE" : "UNSUBSCRIBE", topic, in->options);
	out->id = id_of(kind, packet);
}

/* SUBACK and UNSUBACK: a code for each topic, of which the worst counts. UNSUBACK has some from version 5 on. */
static void frame_codes(struct fs_frame_input *in, uint8_t kind, struct fs_cursor bytes, struct fs_message *out)
{
	uint16_t packet = 0;
	uint8_t code;
	if (fs_u16be(&bytes, &packet) && skip_properties(&bytes, in->state))
		while (fs_u8(&bytes, &code))
			if (code >= REFUSED && code > out->status)
				out->status = code;
	out->id = id_of(kind == SUBACK ? SUBSCRIBE : UNSUBSCRIBE, packet);
}

static void frame_acknowledgement(struct fs_frame_input *in, const struct packet_head *head, struct fs_cursor bytes,
				  struct fs_message *out)
{
	uint16_t packet = 0;
	uint8_t code = 0;
	(void)fs_u16be(&bytes, &packet);
	if (head->length > 2)
		(void)fs_u8(&bytes, &code);
	out->status = code;
	out->id = id_of(PUBLISH, packet);
	if (in->side == FS_SIDE_REQUEST)
		out->flags = FS_MESSAGE_REVERSED;
}

/* Name, length of the name before it; then the version. Client, user and password are not read. */
static bool take_version(struct fs_cursor *bytes, uint8_t *version)
{
	struct fs_text name;
	return take_string(bytes, &name) && (fs_text_is(name, "MQTT") || fs_text_is(name, "MQIsdp")) &&
	       fs_u8(bytes, version) && *version >= 3 && *version <= VERSION_5;
}

static void frame_connect(struct fs_frame_input *in, struct fs_cursor bytes, struct fs_message *out)
{
	struct mqtt_state *state = in->state;
	uint8_t version;
	if (take_version(&bytes, &version) && state)
		state->version = version;
	fs_label_literal(&out->content, "CONNECT");
	out->id = id_of(CONNECT, 0);
}

static void frame_packet(struct fs_frame_input *in, const struct packet_head *head, struct fs_cursor bytes,
			 struct fs_message *out)
{
	uint8_t code = 0;
	switch (head->kind) {
	case CONNECT: frame_connect(in, bytes, out); break;
	case CONNACK:
		(void)(fs_skip(&bytes, 1) && fs_u8(&bytes, &code));
		out->status = code;
		out->id = id_of(CONNECT, 0);
		break;
	case PUBLISH: frame_publish(in, head, bytes, out); break;
	case PUBACK:
	case PUBREC: frame_acknowledgement(in, head, bytes, out); break;
	case SUBSCRIBE:
	case UNSUBSCRIBE: frame_topics(in, head->kind, bytes, out); break;
	case SUBACK:
	case UNSUBACK: frame_codes(in, head->kind, bytes, out); break;
	case PINGREQ:
		fs_label_literal(&out->content, "PINGREQ");
		out->id = id_of(PINGREQ, 0);
		break;
	case PINGRESP: out->id = id_of(PINGREQ, 0); break;
	default: out->flags = FS_MESSAGE_SKIP;
	}
	/* Only a broker of version 5 says why it hangs up: that is news of its own. */
	if (head->kind == DISCONNECT && in->side == FS_SIDE_RESPONSE && fs_u8(&bytes, &code) && code >= REFUSED) {
		fs_label_literal(&out->content, "DISCONNECT");
		out->status = code;
		out->flags = FS_MESSAGE_REVERSED | FS_MESSAGE_NO_ANSWER;
	}
}

static enum fs_framed frame(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct packet_head head = {0};
	struct fs_text body;
	enum reading read = take_head(&bytes, &head);
	uint32_t wanted, here;
	if (read == READ_MORE)
		return bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
	if (read == READ_WRONG || head.length > REMAINING_MAX || !may_send(head.kind, in->side) ||
	    !is_acknowledgement(&bytes, &head))
		return FS_FRAME_INVALID;
	/* Of what is published, the topic and the identifier behind it; all of the others, which are short. */
	wanted = head.length;
	if (head.kind == PUBLISH) {
		int high = fs_peek(&bytes, 0), low = fs_peek(&bytes, 1);
		uint32_t topic = high < 0 || low < 0 ? 2 : 2 + (uint32_t)(high << 8 | low) + (head.flags & 6 ? 2 : 0);
		if (low >= 0 && topic > head.length)
			return FS_FRAME_INVALID;
		wanted = topic;
	}
	here = fs_left(&bytes) < head.length ? (uint32_t)fs_left(&bytes) : head.length;
	if (here < wanted && !bytes.truncated)
		return FS_FRAME_MORE;
	fs_message_begin(out, (uint64_t)(fs_left(&in->bytes) - fs_left(&bytes)) + head.length);
	if (fs_take(&bytes, here, &body))
		frame_packet(in, &head, fs_inside(body), out);
	return FS_FRAME_MESSAGE;
}

/* A CONNECT, or its answer if nothing else came with it that could not be MQTT's; a subscription. */
static enum fs_detected detect(struct fs_cursor bytes, bool datagram)
{
	struct packet_head head = {0};
	struct fs_cursor body;
	struct fs_text topic;
	uint8_t version, flags, code;
	enum reading read;
	if (datagram)
		return FS_NOT_MINE;
	read = take_head(&bytes, &head);
	if (read != READ_DONE) {
		int kind = head.kind;
		bool may_be = kind == CONNECT || kind == CONNACK || kind == SUBSCRIBE;
		return read == READ_MORE && may_be && !bytes.truncated ? FS_TOO_SHORT : FS_NOT_MINE;
	}
	body = bytes;
	if (head.kind == CONNECT) {
		static const char opening[] = {0, 4, 'M', 'Q', 'T', 'T'},
				  older[] = {0, 6, 'M', 'Q', 'I', 's', 'd', 'p'};
		if (take_version(&body, &version))
			return FS_MINE_REQUEST;
		for (size_t i = 0; fs_peek(&bytes, i) >= 0; i++)
			if (i >= sizeof(older) || ((i >= sizeof(opening) || fs_peek(&bytes, i) != opening[i]) &&
						   fs_peek(&bytes, i) != older[i]))
				return FS_NOT_MINE;
		return bytes.truncated ? FS_NOT_MINE : FS_TOO_SHORT;
	}
	if (head.kind == CONNACK && head.length <= 1024) {
		if (!fs_u8(&body, &flags) || !fs_u8(&body, &code))
			return bytes.truncated || fs_peek(&bytes, 0) > 1 ? FS_NOT_MINE : FS_TOO_SHORT;
		if (flags > 1 || (head.length == 2 ? code > 5 : code && code < REFUSED))
			return FS_NOT_MINE;
		return fs_left(&bytes) == head.length && (head.length == 2 || fs_peek(&body, 0) == (int)head.length - 3)
			       ? FS_MINE_RESPONSE
			       : FS_NOT_MINE;
	}
	if (head.kind != SUBSCRIBE || head.length > 1024 || fs_left(&bytes) != head.length)
		return FS_NOT_MINE;
	/* In version 5 properties come before the topic, mostly none. */
	if (!fs_skip(&body, 2))
		return FS_NOT_MINE;
	if (fs_peek(&body, 0) == 0 && fs_peek(&body, 1) == 0 && fs_peek(&body, 2) > 0)
		(void)fs_skip(&body, 1);
	return take_string(&body, &topic) && topic.length && fs_u8(&body, &flags) && (flags & 3) < 3 &&
			       fs_left(&body) == 0
		       ? FS_MINE_REQUEST
		       : FS_NOT_MINE;
}

static void stitch(const struct fs_message *request, const struct fs_message *response,
		   const struct fs_parser_options *options, struct fs_outcome *out)
{
	const struct fs_message *told = response ? response : request;
	bool is_login = request->id == id_of(CONNECT, 0); /* its codes are from 1 to 5 before version 5 */
	(void)options;
	out->status = told->status;
	out->error = told->status >= REFUSED || (is_login && told->status) ||
		     (!response && !(request->flags & FS_MESSAGE_NO_ANSWER));
	out->request_content = request->content;
	out->response_content.length = 0;
	out->response_content.text[0] = 0;
	if (told->status)
		fs_label_decimal(&out->response_content, told->status);
}

const struct fs_protocol fs_protocol_mqtt = {
	.id = FS_PROTOCOL_MQTT,
	.pairs_by_id = 1,
	.streams = 1,
	.state_bytes = sizeof(struct mqtt_state),
	.detect = detect,
	.frame = frame,
	.stitch = stitch,
};
