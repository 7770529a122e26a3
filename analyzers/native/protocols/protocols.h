/* SPDX-License-Identifier: Apache-2.0 */
/* The parsers that table.c lists. Nobody else needs them by name. */
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

#endif
