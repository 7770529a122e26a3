/* SPDX-License-Identifier: Apache-2.0 */
/* What came of an HTTP/2 request or a gRPC call: RFC 9113, and gRPC's PROTOCOL-HTTP2.md. */
#include "http2_outcome.h"

/* https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md: an answer of somebody in between. */
static uint16_t grpc_of_http(uint16_t status)
{
	switch (status) {
	case 400: return 13;
	case 401: return 16;
	case 403: return 7;
	case 404: return 12;
	case 429:
	case 502:
	case 503:
	case 504: return 14;
	default: return FS_HTTP2_GRPC_UNKNOWN;
	}
}

/* PROTOCOL-HTTP2.md, "Errors": what a reset means to a call. */
static uint16_t grpc_of_reset(uint32_t code)
{
	switch (code) {
	case 7: return 14; /* REFUSED_STREAM: UNAVAILABLE */
	case 8: return 1; /* CANCEL: CANCELLED */
	case 11: return 8; /* ENHANCE_YOUR_CALM: RESOURCE_EXHAUSTED */
	case 12: return 7; /* INADEQUATE_SECURITY: PERMISSION_DENIED */
	default: return 13;
	}
}

static void stitch_grpc(const struct fs_message *told, struct fs_outcome *out)
{
	if (told->method == FS_HTTP2_TELLS_RESET)
		out->status = grpc_of_reset(told->note);
	else if (told->note)
		out->status = (uint16_t)(told->note - 1);
	else if (told->method == FS_HTTP2_TELLS_HEAD && told->status && told->status != 200)
		out->status = grpc_of_http(told->status);
	else
		return; /* the status comes with the trailers, or cannot be told */
	out->error = out->status != 0;
	fs_label_decimal(&out->response_content, out->status);
}

/* RFC 9113, section 7. */
static void write_error_code(uint32_t code, struct fs_label *out)
{
	static const char *const names[] = {
		"NO_ERROR",
		"PROTOCOL_ERROR",
		"INTERNAL_ERROR",
		"FLOW_CONTROL_ERROR",
		"SETTINGS_TIMEOUT",
		"STREAM_CLOSED",
		"FRAME_SIZE_ERROR",
		"REFUSED_STREAM",
		"CANCEL",
		"COMPRESSION_ERROR",
		"CONNECT_ERROR",
		"ENHANCE_YOUR_CALM",
		"INADEQUATE_SECURITY",
		"HTTP_1_1_REQUIRED",
	};
	if (code < sizeof(names) / sizeof(names[0]))
		fs_label_literal(out, names[code]);
	else
		fs_label_byte(out, '*');
}

void fs_http2_stitch(const struct fs_message *request, const struct fs_message *response,
		     const struct fs_parser_options *options, struct fs_outcome *out)
{
	(void)options;
	out->request_content = request->content;
	out->response_content.length = 0;
	out->response_content.text[0] = 0;
	out->status = 0;
	out->error = !response;
	if (!response)
		return;
	if (request->protocol == FS_PROTOCOL_GRPC) {
		stitch_grpc(response, out);
	} else if (response->method == FS_HTTP2_TELLS_RESET) {
		out->error = true;
		write_error_code(response->note, &out->response_content);
	} else if (response->method == FS_HTTP2_TELLS_HEAD) {
		out->status = response->status;
		out->error = response->status >= 400;
		if (response->status)
			fs_label_decimal(&out->response_content, response->status);
		else
			fs_label_byte(&out->response_content, '*');
	}
}
