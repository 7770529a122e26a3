/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS over UDP and TCP: RFC 1035, RFC 7766 (TCP), RFC 6895 (numbers), RFC 6891 (EDNS).
 *
 * request content   domain in lower case without its last dot, and the type: "example.com AAAA", ". NS". For other
 *                   operations than a query their name stands for the type: "example.com NOTIFY". Names below
 *                   in-addr.arpa and ip6.arpa are as many as there are addresses: "*.in-addr.arpa PTR", except with
 *                   url_clustering noparam.
 * response content  name of the rcode. An error is any but NOERROR, and NXDOMAIN only if the user says so.
 * id                the message's id and a hash of its question (in lower case, because of 0x20 mixing): several
 *                   questions may be in flight with one id. A response without its question is taken for that of the
 *                   oldest request with its id.
 *
 * mDNS (no id, no flags, names in .local), LLMNR (single label, neither flags nor EDNS) and NetBIOS look like DNS, but
 * nobody has to answer them: they are not taken for it.
 *
 * A zone transfer (AXFR, IXFR) is answered by one or more messages of which the first counts as the response, and goes
 * on until the other side speaks, unless it is seen to be complete.
 */
#include "dns_names.h"
#include "protocols.h"

#define HEADER_BYTES 12
#define NAME_MAX 255 /* RFC 1035, section 2.3.4 */
#define RECORDS_MAX 2048 /* looked at in one message */
#define SURVEY_MAX 4096 /* of a message in a stream whose records are waited for */
#define TYPE_TEXT_MAX 18 /* a space and the longest name of a type */

enum flag_bits {
	FLAG_RESPONSE = 0x8000,
	FLAG_AUTHORITATIVE = 0x0400,
	FLAG_TRUNCATED = 0x0200,
	FLAG_RECURSION_DESIRED = 0x0100,
	FLAG_RECURSION_AVAILABLE = 0x0080,
	FLAG_RESERVED = 0x0040
};
enum opcode { OPCODE_QUERY = 0, OPCODE_NOTIFY = 4, OPCODE_UPDATE = 5 };
enum rcode { RCODE_NXDOMAIN = 3 };
enum class { CLASS_INTERNET = 1 };
enum rrtype {
	TYPE_A = 1,
	TYPE_SOA = 6,
	TYPE_AAAA = 28,
	TYPE_NETBIOS = 32,
	TYPE_SRV = 33,
	TYPE_OPT = 41,
	TYPE_IXFR = 251,
	TYPE_AXFR = 252
};

struct header {
	uint16_t id, flags, questions, answers, authorities, additionals;
};

/* What the records after the question say. */
struct survey {
	uint32_t answers, soas;
	uint16_t last_answer; /* its type */
	uint8_t extended_rcode; /* the upper eight bits */
	bool complete; /* every record was here */
};

struct question {
	struct fs_label name; /* lower case, escaped as in a zone file */
	uint64_t hash;
	uint32_t labels;
	uint16_t type, class;
};

static bool read_header(struct fs_cursor *bytes, struct header *header)
{
	return fs_left(bytes) >= HEADER_BYTES && fs_u16be(bytes, &header->id) && fs_u16be(bytes, &header->flags) &&
	       fs_u16be(bytes, &header->questions) && fs_u16be(bytes, &header->answers) &&
	       fs_u16be(bytes, &header->authorities) && fs_u16be(bytes, &header->additionals);
}

static unsigned opcode_of(uint16_t flags)
{
	return flags >> 11 & 15;
}

static unsigned rcode_of(uint16_t flags)
{
	return flags & 15;
}

/* What no message of the kinds we know has. */
static bool are_flags(uint16_t flags)
{
	unsigned opcode = opcode_of(flags);
	if (flags & FLAG_RESERVED || (opcode != OPCODE_QUERY && opcode != OPCODE_NOTIFY && opcode != OPCODE_UPDATE))
		return false;
	return flags & FLAG_RESPONSE || !(rcode_of(flags) || flags & (FLAG_TRUNCATED | FLAG_RECURSION_AVAILABLE));
}

static bool is_header(const struct header *header)
{
	if (!are_flags(header->flags) || header->questions > 1)
		return false;
	/* Refusals may leave the question out, and queries for a cookie have none (RFC 7873, section 5.4). */
	if (header->questions == 0)
		return header->answers == 0 && header->authorities == 0 && header->additionals <= 1;
	return header->flags & FLAG_RESPONSE || opcode_of(header->flags) != OPCODE_QUERY || header->answers == 0;
}

static uint64_t mix(uint64_t hash, uint8_t byte)
{
	return (hash ^ byte) * 0x100000001b3ull; /* FNV-1a */
}

/* RFC 1035, section 5.1; RFC 4343: only ASCII letters have case. */
static void write_name_byte(struct fs_label *name, uint8_t byte)
{
	if (byte > 0x20 && byte < 0x7f && byte != '.' && byte != '\\' && byte != '"') {
		fs_label_byte(name, (char)byte);
		return;
	}
	fs_label_byte(name, '\\');
	fs_label_byte(name, (char)('0' + byte / 100));
	fs_label_byte(name, (char)('0' + byte / 10 % 10));
	fs_label_byte(name, (char)('0' + byte % 10));
}

/* The name in a question: there is nothing before it that a compression pointer could point to. */
static bool read_question_name(struct fs_cursor *bytes, struct question *question)
{
	struct fs_text text;
	uint32_t total = 1;
	uint8_t length, byte;
	while (fs_u8(bytes, &length)) {
		if (length == 0)
			return true;
		total += length + 1u;
		if (length > 63 || total > NAME_MAX || !fs_take(bytes, length, &text))
			return false;
		if (question->labels++)
			fs_label_byte(&question->name, '.');
		question->hash = mix(question->hash, length);
		for (struct fs_cursor label = fs_inside(text); fs_u8(&label, &byte);) {
			question->hash = mix(question->hash, fs_lower(byte));
			write_name_byte(&question->name, fs_lower(byte));
		}
	}
	return false;
}

static bool is_class(uint16_t class)
{
	return class == CLASS_INTERNET || class == 3 || class == 4 || class == 254 || class == 255;
}

static bool read_question(struct fs_cursor *bytes, struct question *question)
{
	question->name.length = 0;
	question->name.text[0] = 0;
	question->hash = 0xcbf29ce484222325ull;
	question->labels = 0;
	if (!read_question_name(bytes, question) || !fs_u16be(bytes, &question->type) ||
	    !fs_u16be(bytes, &question->class) || question->type == 0 || !is_class(question->class))
		return false;
	question->hash = mix(mix(question->hash, (uint8_t)(question->type >> 8)), (uint8_t)question->type);
	return true;
}

/* Steps over a name, which may end in a compression pointer (RFC 1035, section 4.1.4). Pointers are not followed. */
static bool skip_name(struct fs_cursor *bytes)
{
	uint8_t length;
	while (fs_u8(bytes, &length)) {
		if (length == 0)
			return true;
		if (length >= 0xc0)
			return fs_skip(bytes, 1);
		if (length > 63 || !fs_skip(bytes, length))
			return false;
	}
	return false;
}

static bool next_record(struct fs_cursor *bytes, uint16_t *type, uint32_t *ttl)
{
	uint16_t class, length;
	return skip_name(bytes) && fs_u16be(bytes, type) && fs_u16be(bytes, &class) && fs_u32be(bytes, ttl) &&
	       fs_u16be(bytes, &length) && fs_skip(bytes, length);
}

/* Walks the records; leaves the cursor behind the last one that was here. */
static struct survey survey_records(struct fs_cursor *bytes, const struct header *header)
{
	struct survey survey = {0};
	uint32_t count = (uint32_t)header->answers + header->authorities + header->additionals, i;
	uint16_t type;
	uint32_t ttl;
	for (i = 0; i < count && i < RECORDS_MAX && next_record(bytes, &type, &ttl); i++) {
		if (i < header->answers) {
			survey.answers++;
			survey.soas += type == TYPE_SOA;
			survey.last_answer = type;
		} else if (type == TYPE_OPT) {
			survey.extended_rcode = (uint8_t)(ttl >> 24);
		}
	}
	survey.complete = i == count;
	return survey;
}

static bool ends_with(const struct fs_label *name, const char *suffix, uint16_t length)
{
	if (name->length < length)
		return false;
	for (uint16_t i = 0; i < length; i++)
		if (name->text[name->length - length + i] != suffix[i])
			return false;
	return true;
}
#define ENDS_WITH(name, literal) ends_with(name, literal, sizeof(literal) - 1)

/* mDNS (RFC 6762, section 18), LLMNR (RFC 4795, section 2.1.1), NetBIOS (RFC 1002, section 4.2.1.2). */
static bool is_kin(const struct header *header, const struct question *question)
{
	const struct fs_label *name = &question->name;
	if (question->type == TYPE_NETBIOS || (question->type == TYPE_SRV && question->labels == 1))
		return true;
	if (header->id == 0 && !(header->flags & ~(FLAG_RESPONSE | FLAG_AUTHORITATIVE)))
		return ENDS_WITH(name, ".local") || ENDS_WITH(name, ".arpa");
	return !(header->flags & ~FLAG_RESPONSE) && question->labels == 1 && header->additionals == 0 &&
	       (question->type == TYPE_A || question->type == TYPE_AAAA || question->type == 255);
}

/* The message in what came: all of a datagram, or behind its length in a stream. */
struct envelope {
	struct fs_cursor message;
	uint64_t length; /* in the stream */
	bool whole; /* all of it is here */
};

static bool open_envelope(struct fs_cursor bytes, bool datagram, struct envelope *envelope)
{
	uint16_t length;
	struct fs_text text;
	if (datagram) {
		*envelope = (struct envelope){bytes, fs_left(&bytes), !bytes.truncated};
		return true;
	}
	if (!fs_u16be(&bytes, &length))
		return false;
	envelope->length = 2u + (uint64_t)length;
	envelope->whole = fs_left(&bytes) >= length;
	if (!fs_take(&bytes, envelope->whole ? length : (uint32_t)fs_left(&bytes), &text))
		return false;
	envelope->message = fs_inside(text);
	return true;
}

/* Too few bytes of a stream to know, but nothing against it. Requests are short, and those are what is waited for. */
static bool may_be_message(struct fs_cursor bytes)
{
	uint16_t length, id, flags;
	if (fs_left(&bytes) < 2)
		return fs_peek(&bytes, 0) <= 2;
	if (!fs_u16be(&bytes, &length) || length < HEADER_BYTES + 5 || length > 0x2ff)
		return false;
	return !fs_u16be(&bytes, &id) || !fs_u16be(&bytes, &flags) || are_flags(flags);
}

static enum fs_detected detect(struct fs_cursor bytes, bool datagram)
{
	struct envelope envelope;
	struct header header;
	struct question question;
	bool more_may_come = !datagram && !bytes.truncated;
	enum fs_detected too_short = more_may_come && may_be_message(bytes) ? FS_TOO_SHORT : FS_NOT_MINE;
	if (!open_envelope(bytes, datagram, &envelope))
		return too_short;
	if (!read_header(&envelope.message, &header))
		return envelope.whole ? FS_NOT_MINE : too_short;
	if (!is_header(&header) || header.questions != 1)
		return FS_NOT_MINE;
	if (!read_question(&envelope.message, &question))
		return envelope.whole ? FS_NOT_MINE : too_short;
	if (is_kin(&header, &question))
		return FS_NOT_MINE;
	if (envelope.whole && (!survey_records(&envelope.message, &header).complete || fs_left(&envelope.message)))
		return FS_NOT_MINE;
	return header.flags & FLAG_RESPONSE ? FS_MINE_RESPONSE : FS_MINE_REQUEST;
}

static void write_type(const struct header *header, uint16_t number, struct fs_label *out)
{
	fs_label_byte(out, ' ');
	switch (opcode_of(header->flags)) {
	case OPCODE_NOTIFY: fs_label_literal(out, "NOTIFY"); break;
	case OPCODE_UPDATE: fs_label_literal(out, "UPDATE"); break;
	default: fs_dns_type(number, out);
	}
}

static void write_content(const struct header *header, const struct question *question, enum fs_clustering how,
			  struct fs_label *out)
{
	const struct fs_label *name = &question->name;
	uint32_t room = sizeof(out->text) - 1 - TYPE_TEXT_MAX, from = 0;
	if (how != FS_CLUSTER_NOPARAM && ENDS_WITH(name, ".in-addr.arpa")) {
		fs_label_literal(out, "*.in-addr.arpa");
	} else if (how != FS_CLUSTER_NOPARAM && ENDS_WITH(name, ".ip6.arpa")) {
		fs_label_literal(out, "*.ip6.arpa");
	} else if (name->length == 0) {
		fs_label_byte(out, '.');
	} else {
		/* Of a name that is too long, the end says more. */
		if (name->length > room) {
			fs_label_byte(out, '*');
			from = name->length - room + 1;
		}
		for (uint32_t i = from; i < name->length; i++)
			fs_label_byte(out, name->text[i]);
	}
	write_type(header, question->type, out);
}

static bool is_transfer(uint16_t type)
{
	return type == TYPE_AXFR || type == TYPE_IXFR;
}

/* RFC 5936, section 2.2: from one SOA to the same again. RFC 1995, section 2: or a single one, if nothing changed. */
static bool is_whole_zone(const struct survey *survey, uint16_t type)
{
	return survey->complete && survey->last_answer == TYPE_SOA &&
	       (survey->soas > 1 || (type == TYPE_IXFR && survey->answers == 1));
}

static void frame_response(const struct fs_frame_input *in, const struct header *header, struct envelope *envelope,
			   uint16_t type, struct fs_message *out)
{
	struct survey survey = {0};
	unsigned rcode = rcode_of(header->flags);
	out->status = (uint16_t)rcode;
	/* Every rcode beyond 15 stands in a message without answers. What is too long to wait for is not looked into. */
	if (envelope->length <= SURVEY_MAX && (header->answers == 0 || is_transfer(type)))
		survey = survey_records(&envelope->message, header);
	if (header->answers == 0)
		out->status = (uint16_t)((unsigned)survey.extended_rcode << 4 | rcode);
	if (is_transfer(type) && !in->datagram && out->status == 0 && !is_whole_zone(&survey, type))
		out->body = FS_BODY_UNTIL_FLIP;
	if (header->questions == 0 && in->waiting && (in->waiting->id & 0xffff) == header->id)
		out->id = in->waiting->id;
}

static enum fs_framed frame(struct fs_frame_input *in, struct fs_message *out)
{
	struct envelope envelope;
	struct header header;
	struct question question = {.hash = 0};
	enum fs_framed too_short = in->bytes.truncated || in->datagram ? FS_FRAME_INVALID : FS_FRAME_MORE;
	if (!open_envelope(in->bytes, in->datagram, &envelope))
		return too_short;
	if (!read_header(&envelope.message, &header))
		return envelope.whole ? FS_FRAME_INVALID : too_short;
	if (!is_header(&header) || (header.flags & FLAG_RESPONSE ? FS_SIDE_RESPONSE : FS_SIDE_REQUEST) != in->side)
		return FS_FRAME_INVALID;
	if (header.questions && !read_question(&envelope.message, &question))
		return envelope.whole ? FS_FRAME_INVALID : too_short;
	/* Short answers and zones are looked at to their end, if it comes. */
	if (in->side == FS_SIDE_RESPONSE && (header.answers == 0 || is_transfer(question.type)) &&
	    envelope.length <= SURVEY_MAX && !envelope.whole && too_short == FS_FRAME_MORE)
		return FS_FRAME_MORE;
	*out = (struct fs_message){.length = envelope.length};
	if (!envelope.whole && in->bytes.truncated)
		out->flags = FS_MESSAGE_CUT;
	out->id = (question.hash ^ question.hash >> 48) << 16 | header.id;
	if (in->side == FS_SIDE_RESPONSE)
		frame_response(in, &header, &envelope, question.type, out);
	else if (header.questions)
		write_content(&header, &question, (enum fs_clustering)in->options->url_clustering, &out->content);
	return FS_FRAME_MESSAGE;
}

static void stitch(const struct fs_message *request, const struct fs_message *response,
		   const struct fs_parser_options *options, struct fs_outcome *out)
{
	uint16_t rcode = response ? response->status : 0;
	out->status = rcode;
	out->error = !response || (rcode > 0 && (rcode != RCODE_NXDOMAIN || options->dns_nxdomain_is_error));
	out->request_content = request->content;
	out->response_content.length = 0;
	out->response_content.text[0] = 0;
	if (response)
		fs_dns_rcode(rcode, &out->response_content);
}

/* Of an address record, as IPv6; IPv4 mapped. False if the data are of another length. */
static bool copy_address(struct fs_cursor data, uint16_t type, uint8_t out[16])
{
	uint32_t from = type == TYPE_A ? 12 : 0;

	if (fs_left(&data) != 16 - from)
		return false;
	for (uint32_t i = 0; i < from; i++)
		out[i] = i < 10 ? 0 : 0xff;
	for (uint32_t i = from; i < 16; i++)
		if (!fs_u8(&data, &out[i]))
			return false;
	return true;
}

/* The next record, if it is of an address; others are stepped over. False where the message is cut. */
static bool read_address(struct fs_cursor *bytes, struct fs_resolved *out)
{
	uint16_t type, class, length;
	uint32_t ttl;
	struct fs_text data;

	if (!skip_name(bytes) || !fs_u16be(bytes, &type) || !fs_u16be(bytes, &class) || !fs_u32be(bytes, &ttl) ||
	    !fs_u16be(bytes, &length) || !fs_take(bytes, length, &data))
		return false;
	if (class != CLASS_INTERNET || out->count == FS_RESOLVED || (type != TYPE_A && type != TYPE_AAAA) ||
	    !copy_address(fs_inside(data), type, out->address[out->count]))
		return true;
	out->ttl = out->count == 0 || ttl < out->ttl ? ttl : out->ttl;
	out->count++;
	return true;
}

/* The addresses behind aliases are those of the name that was asked for (RFC 1034, section 3.6.2). */
static bool resolve(struct fs_cursor bytes, bool datagram, struct fs_resolved *out)
{
	struct envelope envelope;
	struct header header;
	struct question question;

	out->count = out->ttl = 0;
	if (!open_envelope(bytes, datagram, &envelope) || !read_header(&envelope.message, &header) ||
	    !(header.flags & FLAG_RESPONSE) || rcode_of(header.flags) != 0 || header.questions != 1 ||
	    !read_question(&envelope.message, &question) || (question.type != TYPE_A && question.type != TYPE_AAAA))
		return false;
	out->name = question.name;
	for (uint32_t i = 0; i < header.answers && i < RECORDS_MAX && read_address(&envelope.message, out); i++)
		;
	return out->count > 0 && out->name.length > 0;
}

const struct fs_protocol fs_protocol_dns = {
	.id = FS_PROTOCOL_DNS,
	.pairs_by_id = 1,
	.streams = 1,
	.datagrams = 1,
	.detect = detect,
	.frame = frame,
	.stitch = stitch,
	.resolve = resolve,
};
