/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of HTTP/2 and gRPC: see parser.h. */
#include "parser.h"

FUZZ_PARSER(fs_protocol_http2)
