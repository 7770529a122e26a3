/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP/1 parser: see parser.h. */
#include "parser.h"

FUZZ_PARSER(fs_protocol_http1)
