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
#include "dns_message.h"
#include "dns_names.h"
#include "protocols.h"

#define SURVEY_MAX 4096 /* of a message in a stream whose records are waited for */
#define TYPE_TEXT_MAX 18 /* a space and the longest name of a type */

enum rcode { RCODE_NXDOMAIN = 3 };

static void write_type(const struct fs_dns_header *header, uint16_t number, struct fs_label *out)
{
	fs_label_byte(out, ' ');
	switch (fs_dns_opcode_of(header->flags)) {
	case FS_DNS_OPCODE_NOTIFY: fs_label_literal(out, "NOTIFY"); break;
	case FS_DNS_OPCODE_UPDATE: fs_label_literal(out, "UPDATE"); break;
	default: fs_dns_type(number, out);
	}
}

static void write_content(const struct fs_dns_header *header, const struct fs_dns_question *question,
			  enum fs_clustering how, struct fs_label *out)
{
	const struct fs_label *name = &question->name;
	uint32_t room = sizeof(out->text) - 1 - TYPE_TEXT_MAX, from = 0;
	if (how != FS_CLUSTER_NOPARAM && FS_DNS_ENDS_WITH(name, ".in-addr.arpa")) {
		fs_label_literal(out, "*.in-addr.arpa");
	} else if (how != FS_CLUSTER_NOPARAM && FS_DNS_ENDS_WITH(name, ".ip6.arpa")) {
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
	return type == FS_DNS_TYPE_AXFR || type == FS_DNS_TYPE_IXFR;
}

/* RFC 5936, section 2.2: from one SOA to the same again. RFC 1995, section 2: or a single one, if nothing changed. */
static bool is_whole_zone(const struct fs_dns_survey *survey, uint16_t type)
{
	return survey->complete && survey->last_answer == FS_DNS_TYPE_SOA &&
	       (survey->soas > 1 || (type == FS_DNS_TYPE_IXFR && survey->answers == 1));
}

static void frame_response(const struct fs_frame_input *in, const struct fs_dns_header *header,
			   struct fs_dns_envelope *envelope, uint16_t type, struct fs_message *out)
{
	struct fs_dns_survey survey = {0};
	unsigned rcode = fs_dns_rcode_of(header->flags);
	out->status = (uint16_t)rcode;
	/* Every rcode beyond 15 stands in a message without answers. What is too long to wait for is not looked into. */
	if (envelope->length <= SURVEY_MAX && (header->answers == 0 || is_transfer(type)))
		survey = fs_dns_survey_records(&envelope->message, header);
	if (header->answers == 0)
		out->status = (uint16_t)((unsigned)survey.extended_rcode << 4 | rcode);
	if (is_transfer(type) && !in->datagram && out->status == 0 && !is_whole_zone(&survey, type))
		out->body = FS_BODY_UNTIL_FLIP;
	if (header->questions == 0 && in->waiting && (in->waiting->id & 0xffff) == header->id)
		out->id = in->waiting->id;
}

static enum fs_framed frame(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_dns_envelope envelope;
	struct fs_dns_header header;
	struct fs_dns_question question = {.hash = 0};
	enum fs_framed too_short = in->bytes.truncated || in->datagram ? FS_FRAME_INVALID : FS_FRAME_MORE;
	if (!fs_dns_open(in->bytes, in->datagram, &envelope))
		return too_short;
	if (!fs_dns_read_header(&envelope.message, &header))
		return envelope.whole ? FS_FRAME_INVALID : too_short;
	if (!fs_dns_is_header(&header) ||
	    (header.flags & FS_DNS_FLAG_RESPONSE ? FS_SIDE_RESPONSE : FS_SIDE_REQUEST) != in->side)
		return FS_FRAME_INVALID;
	if (header.questions && !fs_dns_read_question(&envelope.message, &question))
		return envelope.whole ? FS_FRAME_INVALID : too_short;
	/* Short answers and zones are looked at to their end, if it comes. */
	if (in->side == FS_SIDE_RESPONSE && (header.answers == 0 || is_transfer(question.type)) &&
	    envelope.length <= SURVEY_MAX && !envelope.whole && too_short == FS_FRAME_MORE)
		return FS_FRAME_MORE;
	fs_message_begin(out, envelope.length);
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

const struct fs_protocol fs_protocol_dns = {
	.id = FS_PROTOCOL_DNS,
	.pairs_by_id = 1,
	.streams = 1,
	.datagrams = 1,
	.detect = fs_dns_detect,
	.frame = frame,
	.stitch = stitch,
	.resolve = fs_dns_resolve,
};
