/* SPDX-License-Identifier: Apache-2.0 */
/* A DNS message, in parts: what all of the parser reads it with. RFC 1035, section 4. */
#ifndef FIRESTEEL_DNS_MESSAGE_H
#define FIRESTEEL_DNS_MESSAGE_H

#include "../protocol.h"

#define FS_DNS_HEADER_BYTES 12
#define FS_DNS_RECORDS_MAX 2048 /* looked at in one message */

enum fs_dns_flag {
	FS_DNS_FLAG_RESPONSE = 0x8000,
	FS_DNS_FLAG_AUTHORITATIVE = 0x0400,
	FS_DNS_FLAG_TRUNCATED = 0x0200,
	FS_DNS_FLAG_RECURSION_DESIRED = 0x0100,
	FS_DNS_FLAG_RECURSION_AVAILABLE = 0x0080,
	FS_DNS_FLAG_RESERVED = 0x0040
};
enum fs_dns_opcode { FS_DNS_OPCODE_QUERY = 0, FS_DNS_OPCODE_NOTIFY = 4, FS_DNS_OPCODE_UPDATE = 5 };
enum fs_dns_class { FS_DNS_CLASS_INTERNET = 1 };
enum fs_dns_rrtype {
	FS_DNS_TYPE_A = 1,
	FS_DNS_TYPE_SOA = 6,
	FS_DNS_TYPE_AAAA = 28,
	FS_DNS_TYPE_NETBIOS = 32,
	FS_DNS_TYPE_SRV = 33,
	FS_DNS_TYPE_OPT = 41,
	FS_DNS_TYPE_IXFR = 251,
	FS_DNS_TYPE_AXFR = 252
};

struct fs_dns_header {
	uint16_t id, flags, questions, answers, authorities, additionals;
};

struct fs_dns_question {
	struct fs_label name; /* lower case, escaped as in a zone file */
	uint64_t hash;
	uint32_t labels;
	uint16_t type, class;
};

/* What the records after the question say. */
struct fs_dns_survey {
	uint32_t answers, soas;
	uint16_t last_answer; /* its type */
	uint8_t extended_rcode; /* the upper eight bits */
	bool complete; /* every record was here */
};

/* The message in what came: all of a datagram, or behind its length in a stream. */
struct fs_dns_envelope {
	struct fs_cursor message;
	uint64_t length; /* in the stream */
	bool whole; /* all of it is here */
};

static inline bool fs_dns_read_header(struct fs_cursor *bytes, struct fs_dns_header *header)
{
	return fs_left(bytes) >= FS_DNS_HEADER_BYTES && fs_u16be(bytes, &header->id) &&
	       fs_u16be(bytes, &header->flags) && fs_u16be(bytes, &header->questions) &&
	       fs_u16be(bytes, &header->answers) && fs_u16be(bytes, &header->authorities) &&
	       fs_u16be(bytes, &header->additionals);
}

static inline unsigned fs_dns_opcode_of(uint16_t flags)
{
	return flags >> 11 & 15;
}

static inline unsigned fs_dns_rcode_of(uint16_t flags)
{
	return flags & 15;
}

/* What no message of the kinds we know has. */
static inline bool fs_dns_are_flags(uint16_t flags)
{
	unsigned opcode = fs_dns_opcode_of(flags);
	if (flags & FS_DNS_FLAG_RESERVED ||
	    (opcode != FS_DNS_OPCODE_QUERY && opcode != FS_DNS_OPCODE_NOTIFY && opcode != FS_DNS_OPCODE_UPDATE))
		return false;
	return flags & FS_DNS_FLAG_RESPONSE ||
	       !(fs_dns_rcode_of(flags) || flags & (FS_DNS_FLAG_TRUNCATED | FS_DNS_FLAG_RECURSION_AVAILABLE));
}

static inline bool fs_dns_is_header(const struct fs_dns_header *header)
{
	if (!fs_dns_are_flags(header->flags) || header->questions > 1)
		return false;
	/* Refusals may leave the question out, and queries for a cookie have none (RFC 7873, section 5.4). */
	if (header->questions == 0)
		return header->answers == 0 && header->authorities == 0 && header->additionals <= 1;
	return header->flags & FS_DNS_FLAG_RESPONSE || fs_dns_opcode_of(header->flags) != FS_DNS_OPCODE_QUERY ||
	       header->answers == 0;
}

static inline bool fs_dns_open(struct fs_cursor bytes, bool datagram, struct fs_dns_envelope *envelope)
{
	uint16_t length;
	struct fs_text text;
	if (datagram) {
		*envelope = (struct fs_dns_envelope){bytes, fs_left(&bytes), !bytes.truncated};
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

/* False where it is cut, or can be none. */
bool fs_dns_read_question(struct fs_cursor *bytes, struct fs_dns_question *question);

/* Steps over a name, which may end in a compression pointer (RFC 1035, section 4.1.4). Pointers are not followed. */
static inline bool fs_dns_skip_name(struct fs_cursor *bytes)
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

/* Walks the records; leaves the cursor behind the last one that was here. */
struct fs_dns_survey fs_dns_survey_records(struct fs_cursor *bytes, const struct fs_dns_header *header);

static inline bool fs_dns_ends_with(const struct fs_label *name, const char *suffix, uint16_t length)
{
	if (name->length < length)
		return false;
	for (uint16_t i = 0; i < length; i++)
		if (name->text[name->length - length + i] != suffix[i])
			return false;
	return true;
}
#define FS_DNS_ENDS_WITH(name, literal) fs_dns_ends_with(name, literal, sizeof(literal) - 1)

enum fs_detected fs_dns_detect(struct fs_cursor bytes, bool datagram);
bool fs_dns_resolve(struct fs_cursor bytes, bool datagram, struct fs_resolved *out);

#endif
