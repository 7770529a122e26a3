/* SPDX-License-Identifier: Apache-2.0 */
/* Names of topics by their ids (KIP-516), as brokers told them: what newer clients fetch from and produce to. */
#ifndef FIRESTEEL_KAFKA_TOPICS_H
#define FIRESTEEL_KAFKA_TOPICS_H

#include "kafka_layout.h"

#define FS_KAFKA_TOPIC_SETS 256
#define FS_KAFKA_TOPIC_WAYS 4

struct fs_kafka_topic {
	uint8_t id[FS_KAFKA_ID_BYTES];
	uint8_t length;
	char name[FS_KAFKA_TOPIC_MAX];
};

struct fs_kafka_topics {
	struct fs_kafka_topic topic[FS_KAFKA_TOPIC_SETS * FS_KAFKA_TOPIC_WAYS];
	uint8_t next; /* way that is replaced */
};

/* NULL: nobody was told. */
const struct fs_kafka_topic *fs_kafka_topic_of(const struct fs_kafka_topics *topics, struct fs_text id);

/* `memory` is a struct fs_kafka_topics, as fs_kafka_walk hands it on. */
void fs_kafka_learn_topic(void *memory, struct fs_text name, struct fs_text id);

#endif
