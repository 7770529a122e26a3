/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in a Kafka message, as far as it is looked at: kafka.apache.org/protocol, and the message definitions of
 * Kafka's sources. A layout is a text, one character a field:
 *
 *   1 2 4 8   so many bytes       s   string, may be null      b   bytes, may be null      u   UUID
 *   A         acks (two bytes)    T   name of a topic          I   id of a topic           E   error code
 *   [...]     an array of these   (3+:...) (0-7:...)   only in these versions              !   no more is looked at
 *
 * In flexible versions (KIP-482) lengths are varints and every struct ends with tagged fields, which are stepped over.
 */
#ifndef FIRESTEEL_KAFKA_LAYOUT_H
#define FIRESTEEL_KAFKA_LAYOUT_H

#include "../protocol.h"

#define FS_KAFKA_ID_BYTES 16
#define FS_KAFKA_TOPIC_MAX 249

struct fs_kafka_walk {
	struct fs_cursor bytes;
	uint16_t version;
	bool flexible;
	bool goes_on; /* after the first topic or error too */
	/* Called, unless NULL, when a topic's id was read after its name. */
	void (*learn)(void *memory, struct fs_text name, struct fs_text id);
	void *memory;

	/* What was found. */
	struct fs_text topic; /* empty: none */
	struct fs_text topic_id; /* empty: none */
	int16_t acks, error;
	bool has_acks, has_error; /* was there a place for an error code at all */
	bool is_broken; /* a length that cannot be, which a message of this layout does not have */
};

/* Reads what is here of a message's body. */
void fs_kafka_walk(struct fs_kafka_walk *walk, const char *layout);

/* An unsigned varint of up to five bytes, which is in front of what is compact. */
bool fs_kafka_varint(struct fs_cursor *bytes, uint32_t *value);

/* May a topic have this name? */
bool fs_kafka_is_topic(struct fs_text name);

/* Steps over tagged fields. */
bool fs_kafka_tags(struct fs_cursor *bytes);

#endif
