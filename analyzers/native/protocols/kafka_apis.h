/* SPDX-License-Identifier: Apache-2.0 */
/* What can be asked of a Kafka broker. */
#ifndef FIRESTEEL_KAFKA_APIS_H
#define FIRESTEEL_KAFKA_APIS_H

#include "../cursor.h"

enum fs_kafka_key {
	FS_KAFKA_PRODUCE = 0,
	FS_KAFKA_FETCH = 1,
	FS_KAFKA_METADATA = 3,
	FS_KAFKA_CONTROLLED_SHUTDOWN = 7,
	FS_KAFKA_SASL_HANDSHAKE = 17,
	FS_KAFKA_API_VERSIONS = 18,
	FS_KAFKA_CREATE_TOPICS = 19,
	FS_KAFKA_DESCRIBE_TOPIC_PARTITIONS = 75
};

#define FS_KAFKA_NEVER 255

struct fs_kafka_api {
	const char *name; /* NULL: there is none of this number */
	uint8_t newest; /* version that is known */
	uint8_t flexible_from; /* FS_KAFKA_NEVER */
	const char *request; /* kafka_layout.h, up to the first topic */
	const char *response; /* its error codes */
};

/* NULL if there is none of this number. */
const struct fs_kafka_api *fs_kafka_api(uint16_t key);

#endif
