/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MongoDB: "MongoDB Wire Protocol" of its manual. OP_MSG, the older OP_QUERY and its kin with OP_REPLY, and
 * OP_COMPRESSED, of which only the header can be read.
 *
 * request content   the command and its collection: "find orders"; the command alone where it is about none; "compressed"
 *                   where it cannot be read, "*" where it was not captured.
 * response content  the error's code, 0 if there is none; nothing where it cannot be read.
 *
 * An error is a reply with `ok: 0`, or one that names an error of a write (writeErrors, writeConcernError). The reply to
 * a command that failed is short; of a long one the end, where `ok` stands, need not be here.
 *
 * id: requestID and responseTo. Where a server goes on answering one request (moreToCome) its first reply counts, and
 * those that answer the reply before them are skipped. scratch of the server's side: mongodb_responses.c.
 */
#include "mongodb_messages.h"
#include "protocols.h"

#define LOOKED_AT 4096u /* of a message, however it arrives */

static enum fs_framed frame(struct fs_frame_input *in, struct fs_message *out)
{
	struct fs_cursor bytes = in->bytes;
	struct fs_text looked_at = {0};
	struct fs_mongodb_header header;
	if (!fs_mongodb_header(&bytes, &header))
		return in->bytes.truncated ? FS_FRAME_INVALID : FS_FRAME_MORE;
	if (!fs_mongodb_is_plausible(&header))
		return FS_FRAME_INVALID;
	uint32_t needed = (header.length < LOOKED_AT ? header.length : LOOKED_AT) - FS_MONGODB_HEADER;
	bool is_cut = fs_left(&bytes) < needed;
	if (is_cut && !in->bytes.truncated)
		return FS_FRAME_MORE;
	fs_message_begin(out, header.length);
	out->flags = is_cut ? FS_MESSAGE_CUT : 0;
	fs_take(&bytes, is_cut ? (uint32_t)fs_left(&bytes) : needed, &looked_at);
	bytes = fs_inside(looked_at);
	return in->side == FS_SIDE_REQUEST ? fs_mongodb_request(&header, bytes, out)
					   : fs_mongodb_response(in, &header, bytes, out);
}

static void stitch(const struct fs_message *request, const struct fs_message *response,
		   const struct fs_parser_options *options, struct fs_outcome *out)
{
	(void)options;
	fs_outcome_begin(request, response, out);
	if (!response || response->method == FS_MONGODB_COMPRESSED)
		return;
	if (response->status)
		out->response_content = response->content;
	else
		fs_label_literal(&out->response_content, "0");
}

const struct fs_protocol fs_protocol_mongodb = {
	.id = FS_PROTOCOL_MONGODB,
	.pairs_by_id = 1,
	.streams = 1,
	.unpipelined = 1,
	.late_outcome = 1,
	.detect = fs_mongodb_detect,
	.frame = frame,
	.stitch = stitch,
};
