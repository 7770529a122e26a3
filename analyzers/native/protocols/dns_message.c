/* SPDX-License-Identifier: Apache-2.0 */
/* The question and the records of a DNS message. */
#include "dns_message.h"

#define NAME_MAX 255 /* RFC 1035, section 2.3.4 */

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
static bool read_question_name(struct fs_cursor *bytes, struct fs_dns_question *question)
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
	return class == FS_DNS_CLASS_INTERNET || class == 3 || class == 4 || class == 254 || class == 255;
}

bool fs_dns_read_question(struct fs_cursor *bytes, struct fs_dns_question *question)
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

static bool next_record(struct fs_cursor *bytes, uint16_t *type, uint32_t *ttl)
{
	uint16_t class, length;
	return fs_dns_skip_name(bytes) && fs_u16be(bytes, type) && fs_u16be(bytes, &class) && fs_u32be(bytes, ttl) &&
	       fs_u16be(bytes, &length) && fs_skip(bytes, length);
}

struct fs_dns_survey fs_dns_survey_records(struct fs_cursor *bytes, const struct fs_dns_header *header)
{
	struct fs_dns_survey survey = {0};
	uint32_t count = (uint32_t)header->answers + header->authorities + header->additionals, i;
	uint16_t type;
	uint32_t ttl;
	for (i = 0; i < count && i < FS_DNS_RECORDS_MAX && next_record(bytes, &type, &ttl); i++) {
		if (i < header->answers) {
			survey.answers++;
			survey.soas += type == FS_DNS_TYPE_SOA;
			survey.last_answer = type;
		} else if (type == FS_DNS_TYPE_OPT) {
			survey.extended_rcode = (uint8_t)(ttl >> 24);
		}
	}
	survey.complete = i == count;
	return survey;
}
