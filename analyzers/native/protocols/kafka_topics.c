/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka_topics.h"

/* Where a topic may be: ids are random (UUID, version 4). */
static unsigned set_of(struct fs_text id)
{
	struct fs_cursor bytes = fs_inside(id);
	return (unsigned)fs_peek(&bytes, 0) % FS_KAFKA_TOPIC_SETS * FS_KAFKA_TOPIC_WAYS;
}

static bool is_topic(const struct fs_kafka_topic *topic, struct fs_text id)
{
	struct fs_cursor bytes = fs_inside(id);
	uint8_t byte;
	for (int i = 0; i < FS_KAFKA_ID_BYTES; i++)
		if (!fs_u8(&bytes, &byte) || byte != topic->id[i])
			return false;
	return topic->length;
}

const struct fs_kafka_topic *fs_kafka_topic_of(const struct fs_kafka_topics *topics, struct fs_text id)
{
	unsigned set = set_of(id);
	for (unsigned i = set; i < set + FS_KAFKA_TOPIC_WAYS; i++)
		if (is_topic(&topics->topic[i], id))
			return &topics->topic[i];
	return NULL;
}

void fs_kafka_learn_topic(void *memory, struct fs_text name, struct fs_text id)
{
	struct fs_kafka_topics *topics = memory;
	struct fs_kafka_topic *topic = &topics->topic[set_of(id) + topics->next % FS_KAFKA_TOPIC_WAYS];
	struct fs_cursor bytes = fs_inside(id);
	uint8_t byte;
	if (!fs_kafka_is_topic(name) || fs_kafka_topic_of(topics, id))
		return;
	for (int i = 0; i < FS_KAFKA_ID_BYTES && fs_u8(&bytes, &byte); i++)
		topic->id[i] = byte;
	bytes = fs_inside(name);
	for (topic->length = 0; fs_u8(&bytes, &byte); topic->length++)
		topic->name[topic->length] = (char)byte;
	topics->next++;
}
