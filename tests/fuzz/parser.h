/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A parser under a fuzzer; each fuzz-<protocol>.c names its own. The input is
 *
 *   options, where to cut (2 bytes), the bytes that one side of a connection sent
 *
 * Besides what the sanitizers see, it checks what the engine relies on: labels are terminated and printable, messages
 * are not empty, state is not written in a call that comes again, and the same bytes give the same messages however they
 * are cut. Every call gets memory of exactly the size that it may read, and of the state that it may write: one block of
 * each for all calls, of which the sanitizer forbids what is not in use, as to allocate it anew each time takes longer
 * than to parse.
 */
#ifndef FIRESTEEL_FUZZ_PARSER_H
#define FIRESTEEL_FUZZ_PARSER_H

#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>

#include "../../analyzers/native/protocols/protocols.h"

#define MESSAGES 64
#define LONGEST 4096

enum options {
	RESPONSE = 1,
	TRUNCATED = 2,
	DATAGRAM = 4,
	WITH_WAITING = 8,
	NOPARAM = 16,
	LEARN = 32,
	NXDOMAIN = 64,
	STATELESS = 128
};

/* What one side was found to have said. */
struct reading {
	uint32_t count;
	struct said {
		uint64_t length, id;
		uint32_t flags, note;
		uint16_t status, method, content_length;
		uint8_t body, protocol;
		char content[254];
	} said[MESSAGES];
};

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_label(const struct fs_label *label)
{
	must(label->length < sizeof(label->text) && label->text[label->length] == 0);
	for (uint32_t i = 0; i < label->length; i++)
		must(label->text[i] >= ' ' && label->text[i] < 0x7f);
}

static void check_message(const struct fs_message *message)
{
	must(message->length > 0);
	must(message->body <= FS_BODY_UNTIL_CLOSE);
	must(message->next_protocol < FS_PROTOCOL_COUNT || message->next_protocol == FS_UNDECIDED);
	must(message->protocol < FS_PROTOCOL_COUNT);
	must(message->flags < FS_MESSAGE_QUIET << 1);
	must(!(message->flags & FS_MESSAGE_SETTLES) || message->flags & FS_MESSAGE_SKIP);
	/* What is of nobody belongs to no request that could go on. */
	must(!(message->flags & FS_MESSAGE_SKIP) ||
	     !(message->flags & (FS_MESSAGE_NO_ANSWER | FS_MESSAGE_OPEN | FS_MESSAGE_MORE | FS_MESSAGE_TELLS)));
	check_label(&message->content);
}

/* A copy that ends where the block ends, with nothing before it that may be read. */
static const uint8_t *copy_of(const uint8_t *bytes, size_t size)
{
	static uint8_t *block;
	if (!block)
		block = malloc(LONGEST);
	must(size <= LONGEST);
	ASAN_UNPOISON_MEMORY_REGION(block, LONGEST);
	uint8_t *copy = block + (LONGEST - size);
	memcpy(copy, bytes, size);
	ASAN_POISON_MEMORY_REGION(block, LONGEST - size);
	return copy;
}

static enum fs_framed frame_copy(const struct fs_protocol *protocol, struct fs_frame_input *in, const uint8_t *bytes,
				 size_t size, bool truncated, struct fs_message *out)
{
	static uint8_t before[FS_STATE_BYTES];
	in->bytes = fs_cursor_over(copy_of(bytes, size), size, truncated);
	/* The engine clears no more than this. */
	memset(out, 0, offsetof(struct fs_message, content.text) + 1);
	if (in->state)
		memcpy(before, in->state, protocol->state_bytes);
	enum fs_framed framed = protocol->frame(in, out);
	must(!in->state || framed >= FS_FRAME_MESSAGE || memcmp(before, in->state, protocol->state_bytes) == 0);
	must(framed <= FS_FRAME_PASSED);
	must(framed != FS_FRAME_PASSED || in->waiting);
	return framed;
}

static void detect_copy(const struct fs_protocol *protocol, const uint8_t *bytes, size_t size, uint8_t options)
{
	enum fs_detected detected =
		protocol->detect(fs_cursor_over(copy_of(bytes, size), size, options & TRUNCATED), options & DATAGRAM);
	must(detected <= FS_MINE_GREETING);
	must(detected != FS_TOO_SHORT || !(options & (TRUNCATED | DATAGRAM)));
}

static void note_message(struct reading *reading, const struct fs_message *message, uint64_t length)
{
	struct said *said = &reading->said[reading->count++];
	memset(said, 0, sizeof(*said));
	said->length = length;
	said->id = message->id;
	said->flags = message->flags;
	said->note = message->note;
	said->status = message->status;
	said->method = message->method;
	said->body = message->body;
	said->protocol = message->protocol;
	said->content_length = message->content.length;
	memcpy(said->content, message->content.text, message->content.length);
}

static void check_outcome(const struct fs_protocol *protocol, const struct fs_message *asked,
			  const struct fs_message *said, const struct fs_parser_options *options)
{
	struct fs_outcome outcome;
	protocol->stitch(asked, said, options, &outcome);
	check_label(&outcome.request_content);
	check_label(&outcome.response_content);
}

/* Reads a stream of which first `cut` and then all `size` bytes have come. Lengths that go beyond it end the reading. */
static void read_stream(const struct fs_protocol *protocol, struct fs_frame_input *in, const uint8_t *bytes,
			size_t size, size_t cut, struct reading *reading)
{
	struct fs_message message, open = {0};
	uint64_t at = 0, began = 0;
	size_t here = cut ? cut : size;
	bool in_body = false;
	reading->count = 0;
	while (reading->count < MESSAGES) {
		if (at >= here) {
			if (here == size)
				return;
			here = size;
			continue;
		}
		enum fs_framed framed = frame_copy(protocol, in, bytes + at, here - at, false, &message);
		if (framed == FS_FRAME_PASSED) {
			in->waiting = NULL;
			continue;
		}
		if (framed == FS_FRAME_MORE && here < size) {
			here = size;
			continue;
		}
		if (framed < FS_FRAME_MESSAGE || in_body != (framed != FS_FRAME_MESSAGE))
			return;
		if (framed == FS_FRAME_MESSAGE || message.flags & FS_MESSAGE_TELLS)
			check_message(&message);
		if (framed == FS_FRAME_MESSAGE) {
			open = message;
			began = at;
		} else if (message.flags & FS_MESSAGE_TELLS) {
			/* How much of the body this part is depends on the cut; all of it is compared where it ends. */
			note_message(reading, &message, 0);
		}
		if (framed == FS_FRAME_MESSAGE || message.flags & FS_MESSAGE_TELLS)
			check_outcome(protocol, in->waiting ? in->waiting : &open, &message, in->options);
		must(message.length > 0);
		if (message.length > UINT64_MAX / 2)
			return;
		at += message.length;
		if (framed == FS_FRAME_END)
			open.body = FS_BODY_DONE; /* as if it had all been there at once */
		in_body = framed == FS_FRAME_PART || (framed == FS_FRAME_MESSAGE && message.body == FS_BODY_PARTS);
		if (in_body || reading->count >= MESSAGES)
			continue;
		note_message(reading, &open, at - began);
		if (framed == FS_FRAME_MESSAGE && message.body >= FS_BODY_UNTIL_FLIP)
			return;
		/* What follows is another parser's. */
		if (open.flags & FS_MESSAGE_SWITCH)
			return;
	}
}

static void check_same(const struct reading *one, const struct reading *other)
{
	must(one->count == other->count);
	must(memcmp(one->said, other->said, one->count * sizeof(one->said[0])) == 0);
}

static void *new_state(const struct fs_protocol *protocol, uint8_t options)
{
	static void *state;
	if (!protocol->state_bytes || options & STATELESS)
		return NULL;
	if (!state)
		state = malloc(protocol->state_bytes);
	return memset(state, 0, protocol->state_bytes);
}

/* What a parser shares among connections, as if there had been none before. */
static void *new_shared(const struct fs_protocol *protocol)
{
	static void *shared;
	if (!shared && protocol->shared_bytes)
		shared = malloc(protocol->shared_bytes);
	return shared ? memset(shared, 0, protocol->shared_bytes) : NULL;
}

static int fuzz_parser(const struct fs_protocol *protocol, const uint8_t *data, size_t size)
{
	static struct reading whole, cut;
	if (size < 4 || size > LONGEST)
		return 0;
	uint8_t flags = data[0];
	size_t where = (size_t)(data[1] << 8 | data[2]) % (size - 3);
	const uint8_t *bytes = data + 3;
	size -= 3;
	struct fs_parser_options options = {
		.url_clustering = flags & NOPARAM ? FS_CLUSTER_NOPARAM
				  : flags & LEARN ? FS_CLUSTER_LEARN
						  : FS_CLUSTER_ALPHABET,
		.dns_nxdomain_is_error = !!(flags & NXDOMAIN),
	};
	struct fs_message asked = {.method = (uint16_t)(protocol->id == FS_PROTOCOL_KAFKA ? data[1] << 8 | data[2] % 16
							: protocol->id == FS_PROTOCOL_MEMCACHED ? data[1] << 8 | data[2]
												: data[1] % 16),
				   .id = data[2],
				   .note = data[1] % FS_PROTOCOL_COUNT};
	uint8_t scratch[3][FS_SCRATCH] = {{0}};
	struct fs_frame_input in = {
		.options = &options,
		.waiting = flags & WITH_WAITING ? &asked : NULL,
		.side = flags & RESPONSE ? FS_SIDE_RESPONSE : FS_SIDE_REQUEST,
	};
	struct fs_message message;

	detect_copy(protocol, bytes, size, flags);
	in.scratch = scratch[0];
	in.state = new_state(protocol, flags);
	in.shared = new_shared(protocol);
	in.datagram = flags & DATAGRAM && protocol->datagrams;
	if (in.datagram || flags & TRUNCATED) {
		for (int again = 0; again < 2; again++) {
			if (frame_copy(protocol, &in, bytes, size, flags & TRUNCATED, &message) != FS_FRAME_MESSAGE)
				break;
			check_message(&message);
			check_outcome(protocol, in.side == FS_SIDE_REQUEST ? &message : &asked,
				      in.side == FS_SIDE_REQUEST ? NULL : &message, &options);
		}
		return 0;
	}
	in.scratch = scratch[1];
	read_stream(protocol, &in, bytes, size, 0, &whole);
	in.scratch = scratch[2];
	in.state = new_state(protocol, flags);
	in.shared = new_shared(protocol);
	read_stream(protocol, &in, bytes, size, where, &cut);
	/* A ClientHello without its record header is as long as what came with it: see the head of tls.c. */
	if (protocol->id != FS_PROTOCOL_TLS || bytes[0] >= 20)
		check_same(&whole, &cut);
	return 0;
}

#define FUZZ_PARSER(protocol)                                         \
	int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size); \
	int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)  \
	{                                                             \
		return fuzz_parser(&(protocol), data, size);          \
	}

#endif
