/* SPDX-License-Identifier: Apache-2.0 */
/* The parsers that table.c lists, which nobody else needs by name, and what several of them begin an outcome with. */
#ifndef FIRESTEEL_PROTOCOLS_H
#define FIRESTEEL_PROTOCOLS_H

#include "../protocol.h"

extern const struct fs_protocol fs_protocol_http1;
extern const struct fs_protocol fs_protocol_http2;
extern const struct fs_protocol fs_protocol_amqp;
extern const struct fs_protocol fs_protocol_mqtt;
extern const struct fs_protocol fs_protocol_tls;
extern const struct fs_protocol fs_protocol_dns;
extern const struct fs_protocol fs_protocol_mysql;
extern const struct fs_protocol fs_protocol_mongodb;
extern const struct fs_protocol fs_protocol_postgresql;
extern const struct fs_protocol fs_protocol_redis;
extern const struct fs_protocol fs_protocol_memcached;
extern const struct fs_protocol fs_protocol_kafka;
extern const struct fs_protocol fs_protocol_rocketmq;
extern const struct fs_protocol fs_protocol_dubbo;

/* Any status but 0 is an error, and so is no response where one was to come. What the response says is left empty. */
static inline void fs_outcome_begin(const struct fs_message *request, const struct fs_message *response,
				    struct fs_outcome *out)
{
	out->status = response ? response->status : 0;
	out->error = response ? response->status != 0 : !(request->flags & FS_MESSAGE_NO_ANSWER);
	out->request_content = request->content;
	out->response_content.length = 0;
	out->response_content.text[0] = 0;
}

#endif
