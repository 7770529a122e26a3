/* SPDX-License-Identifier: Apache-2.0 */
/* The Dubbo parser: see parser.h. */
#include "parser.h"

FUZZ_PARSER(fs_protocol_dubbo)
