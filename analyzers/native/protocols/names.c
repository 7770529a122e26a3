/* SPDX-License-Identifier: Apache-2.0 */
/* Names of queues, exchanges and topics: see names.h. */
#include "names.h"

#define SEGMENT_MAX 25

static bool is_separator(int byte)
{
	return byte == '/' || byte == '.' || byte == ':';
}

/* Takes what stands before the next separator, which stays. */
static void take_segment(struct fs_cursor *bytes, struct fs_text *segment)
{
	uint32_t length = 0;
	while (fs_peek(bytes, length) >= 0 && !is_separator(fs_peek(bytes, length)))
		length++;
	(void)fs_take(bytes, length, segment);
}

static bool is_kept(struct fs_text segment, enum fs_clustering how)
{
	struct fs_cursor bytes = fs_inside(segment);
	uint8_t byte;
	bool readable = how == FS_CLUSTER_NOPARAM;
	if (!readable && segment.length > SEGMENT_MAX)
		return false;
	while (fs_u8(&bytes, &byte)) {
		bool letter = (fs_lower(byte) >= 'a' && fs_lower(byte) <= 'z') || byte == '_' || byte == '-';
		/* MQTT's wildcards and the "$" and "#" of systems' own topics are no parameters. */
		bool sign = byte == '+' || byte == '#' || byte == '$';
		if (!(readable ? byte > 0x20 && byte < 0x7f : letter || sign))
			return false;
	}
	return true;
}

void fs_cluster_name(struct fs_text name, enum fs_clustering how, struct fs_label *out)
{
	struct fs_cursor bytes = fs_inside(name);
	struct fs_text segment = {0};
	uint8_t separator;
	if (how == FS_CLUSTER_BLANK)
		return;
	do {
		take_segment(&bytes, &segment);
		if (out->length + segment.length + 3u > sizeof(out->text)) {
			fs_label_byte(out, '*');
			return;
		}
		if (is_kept(segment, how))
			fs_label_text(out, segment);
		else
			fs_label_byte(out, '*');
		if (!fs_u8(&bytes, &separator))
			return;
		fs_label_byte(out, (char)separator);
	} while (fs_left(&bytes));
}
