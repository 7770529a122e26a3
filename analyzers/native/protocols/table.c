/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every protocol the engine can decode, strictest signature first: the first parser that says "mine" has it.
 *
 * WebSocket has a number, because a 101 response names it, but no row: its messages are not answered one by one, so a
 * switched connection is counted by direction flips like any other undecoded conversation, under its own name.
 */
#include "protocols.h"

/* clang-format off */
const struct fs_protocol *const fs_protocols[] = {
	&fs_protocol_http1,
	&fs_protocol_http2,
	&fs_protocol_dubbo,
	&fs_protocol_amqp,
	&fs_protocol_mqtt,
	&fs_protocol_tls,
	&fs_protocol_rocketmq,
	&fs_protocol_mysql,
	&fs_protocol_postgresql,
	&fs_protocol_mongodb,
	&fs_protocol_dns,
	&fs_protocol_redis,
	&fs_protocol_memcached,
	&fs_protocol_kafka,
	NULL,
};
/* clang-format on */

const struct fs_protocol *fs_protocol_by_id(uint8_t id)
{
	for (const struct fs_protocol *const *row = fs_protocols; *row; row++)
		if ((*row)->id == id)
			return *row;
	return NULL;
}

const char *fs_protocol_name(uint8_t id)
{
	switch (id) {
#define FS_PROTOCOL_NAME(number, symbol, name) \
	case number: return name;
		FS_PROTOCOLS(FS_PROTOCOL_NAME)
#undef FS_PROTOCOL_NAME
	default: return "NOSUPPORT";
	}
}
