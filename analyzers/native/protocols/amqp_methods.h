/* SPDX-License-Identifier: Apache-2.0 */
/* The methods of AMQP 0-9-1 that a connection may carry, and what is to be read of each. */
#ifndef FIRESTEEL_AMQP_METHODS_H
#define FIRESTEEL_AMQP_METHODS_H

#include "../protocol.h"

enum fs_amqp_kind {
	FS_AMQP_QUIET, /* handshake, flow control: counted as bytes */
	FS_AMQP_ASKS, /* the client's, answered by a method of the server's */
	FS_AMQP_TELLS, /* the client's, not answered; a server's (publisher confirms) is counted as bytes */
	FS_AMQP_PUBLISHES, /* the client's, with content behind it, not answered */
	FS_AMQP_ANSWERS, /* the server's */
	FS_AMQP_BRINGS, /* the same, with content behind it */
	FS_AMQP_DELIVERS, /* the server's own, with content, not answered */
	FS_AMQP_CLOSES /* either side's */
};

enum fs_amqp_sender { FS_AMQP_CLIENT = 1, FS_AMQP_SERVER = 2, FS_AMQP_EITHER = 3 };

struct fs_amqp_method {
	uint8_t class_id, method_id;
	uint8_t sender, kind;
	const char *name;
	const char *arguments; /* see amqp_methods.c */
};

/* NULL if there is none of that number. */
const struct fs_amqp_method *fs_amqp_method(uint16_t class_id, uint16_t method_id);

/* Reads the arguments, as far as they are here: name and place into out->content, reply code into out->status. */
void fs_amqp_arguments(const struct fs_amqp_method *method, struct fs_cursor bytes,
		       const struct fs_parser_options *options, struct fs_message *out);

#endif
