/* SPDX-License-Identifier: Apache-2.0 */
/* What came of an HTTP/2 request or a gRPC call. */
#ifndef FIRESTEEL_HTTP2_OUTCOME_H
#define FIRESTEEL_HTTP2_OUTCOME_H

#include "../protocol.h"

/* Which frame a response message was: fs_message.method. */
enum fs_http2_telling { FS_HTTP2_TELLS_HEAD, FS_HTTP2_TELLS_TRAILERS, FS_HTTP2_TELLS_RESET };

/*
 * What a client makes of a response that was 200 and ended without a grpc-status:
 * https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
 */
#define FS_HTTP2_GRPC_UNKNOWN 2

void fs_http2_stitch(const struct fs_message *request, const struct fs_message *response,
		     const struct fs_parser_options *options, struct fs_outcome *out);

#endif
