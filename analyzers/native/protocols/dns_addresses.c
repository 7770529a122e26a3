/* SPDX-License-Identifier: Apache-2.0 */
/* The addresses that a DNS answer tells of a name. */
#include "dns_message.h"

/* Of an address record, as IPv6; IPv4 mapped. False if the data are of another length. */
static bool copy_address(struct fs_cursor data, uint16_t type, uint8_t out[16])
{
	uint32_t from = type == FS_DNS_TYPE_A ? 12 : 0;

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

	if (!fs_dns_skip_name(bytes) || !fs_u16be(bytes, &type) || !fs_u16be(bytes, &class) || !fs_u32be(bytes, &ttl) ||
	    !fs_u16be(bytes, &length) || !fs_take(bytes, length, &data))
		return false;
	if (class != FS_DNS_CLASS_INTERNET || out->count == FS_RESOLVED ||
	    (type != FS_DNS_TYPE_A && type != FS_DNS_TYPE_AAAA) ||
	    !copy_address(fs_inside(data), type, out->address[out->count]))
		return true;
	out->ttl = out->count == 0 || ttl < out->ttl ? ttl : out->ttl;
	out->count++;
	return true;
}

/* The addresses behind aliases are those of the name that was asked for (RFC 1034, section 3.6.2). */
bool fs_dns_resolve(struct fs_cursor bytes, bool datagram, struct fs_resolved *out)
{
	struct fs_dns_envelope envelope;
	struct fs_dns_header header;
	struct fs_dns_question question;

	out->count = out->ttl = 0;
	if (!fs_dns_open(bytes, datagram, &envelope) || !fs_dns_read_header(&envelope.message, &header) ||
	    !(header.flags & FS_DNS_FLAG_RESPONSE) || fs_dns_rcode_of(header.flags) != 0 || header.questions != 1 ||
	    !fs_dns_read_question(&envelope.message, &question) ||
	    (question.type != FS_DNS_TYPE_A && question.type != FS_DNS_TYPE_AAAA))
		return false;
	out->name = question.name;
	for (uint32_t i = 0; i < header.answers && i < FS_DNS_RECORDS_MAX && read_address(&envelope.message, out); i++)
		;
	return out->count > 0 && out->name.length > 0;
}
