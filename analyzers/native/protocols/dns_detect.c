/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS, told from other protocols and from its kin, which dns.c names: by header and question, and by records that fill
 * the message if all of it is here.
 */
#include "dns_message.h"

/* mDNS (RFC 6762, section 18), LLMNR (RFC 4795, section 2.1.1), NetBIOS (RFC 1002, section 4.2.1.2). */
static bool is_kin(const struct fs_dns_header *header, const struct fs_dns_question *question)
{
	const struct fs_label *name = &question->name;
	if (question->type == FS_DNS_TYPE_NETBIOS || (question->type == FS_DNS_TYPE_SRV && question->labels == 1))
		return true;
	if (header->id == 0 && !(header->flags & ~(FS_DNS_FLAG_RESPONSE | FS_DNS_FLAG_AUTHORITATIVE)))
		return FS_DNS_ENDS_WITH(name, ".local") || FS_DNS_ENDS_WITH(name, ".arpa");
	return !(header->flags & ~FS_DNS_FLAG_RESPONSE) && question->labels == 1 && header->additionals == 0 &&
	       (question->type == FS_DNS_TYPE_A || question->type == FS_DNS_TYPE_AAAA || question->type == 255);
}

/* Too few bytes of a stream to know, but nothing against it. Requests are short, and those are what is waited for. */
static bool may_be_message(struct fs_cursor bytes)
{
	uint16_t length, id, flags;
	if (fs_left(&bytes) < 2)
		return fs_peek(&bytes, 0) <= 2;
	if (!fs_u16be(&bytes, &length) || length < FS_DNS_HEADER_BYTES + 5 || length > 0x2ff)
		return false;
	return !fs_u16be(&bytes, &id) || !fs_u16be(&bytes, &flags) || fs_dns_are_flags(flags);
}

enum fs_detected fs_dns_detect(struct fs_cursor bytes, bool datagram)
{
	struct fs_dns_envelope envelope;
	struct fs_dns_header header;
	struct fs_dns_question question;
	bool more_may_come = !datagram && !bytes.truncated;
	enum fs_detected too_short = more_may_come && may_be_message(bytes) ? FS_TOO_SHORT : FS_NOT_MINE;
	if (!fs_dns_open(bytes, datagram, &envelope))
		return too_short;
	if (!fs_dns_read_header(&envelope.message, &header))
		return envelope.whole ? FS_NOT_MINE : too_short;
	if (!fs_dns_is_header(&header) || header.questions != 1)
		return FS_NOT_MINE;
	if (!fs_dns_read_question(&envelope.message, &question))
		return envelope.whole ? FS_NOT_MINE : too_short;
	if (is_kin(&header, &question))
		return FS_NOT_MINE;
	if (envelope.whole &&
	    (!fs_dns_survey_records(&envelope.message, &header).complete || fs_left(&envelope.message)))
		return FS_NOT_MINE;
	return header.flags & FS_DNS_FLAG_RESPONSE ? FS_MINE_RESPONSE : FS_MINE_REQUEST;
}
