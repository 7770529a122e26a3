/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PostgreSQL, protocol 3: "Frontend/Backend Protocol" of its documentation.
 *
 * One request is one Query, or one Execute with the Parse, Bind and Describe before it. Of these without an Execute,
 * up to a Sync or Flush, are one request together. A login is counted if it fails, and CancelRequest is never answered.
 *
 * request content   the statement as "SELECT orders *" (sql.h), of Execute the one that was bound; "PREPARE SELECT
 *                   orders *" where nothing is executed; "*" if the statement is not known.
 * response content  SQLSTATE, "00000" if there was no error; "aborted" for what a server skips after an error in a
 *                   pipeline, up to the next Sync.
 * status            1 for an error.
 *
 * A request's id is the number of Syncs before it: see FS_MESSAGE_SETTLES. method: enum fs_pg_kind. note: see there.
 * scratch: of the client's side, postgresql_requests.c; of the server's, postgresql_responses.c.
 */
#include "postgresql_messages.h"
#include "protocols.h"

#define SETTLED "aborted"
#define DONE "00000"

static enum fs_framed frame(struct fs_frame_input *in, struct fs_message *out)
{
	return in->side == FS_SIDE_REQUEST ? fs_pg_request(in, out) : fs_pg_response(in, out);
}

static void stitch(const struct fs_message *request, const struct fs_message *response,
		   const struct fs_parser_options *options, struct fs_outcome *out)
{
	(void)options;
	fs_outcome_begin(request, response, out);
	if (!response)
		return;
	if (response->flags & FS_MESSAGE_SWITCH) {
		out->request_content.length = 0;
		out->request_content.text[0] = 0;
	}
	if (response->flags & FS_MESSAGE_SETTLES)
		fs_label_literal(&out->response_content, SETTLED);
	else if (response->status)
		out->response_content = response->content;
	else
		fs_label_literal(&out->response_content, DONE);
}

const struct fs_protocol fs_protocol_postgresql = {
	.id = FS_PROTOCOL_POSTGRESQL,
	.streams = 1,
	.unpipelined = 1,
	.late_outcome = 1,
	.state_bytes = sizeof(struct fs_pg_state),
	.detect = fs_pg_detect,
	.frame = frame,
	.stitch = stitch,
};
