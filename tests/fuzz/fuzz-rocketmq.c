/* SPDX-License-Identifier: Apache-2.0 */
/* The RocketMQ parser: see parser.h. */
#include "parser.h"

FUZZ_PARSER(fs_protocol_rocketmq)
