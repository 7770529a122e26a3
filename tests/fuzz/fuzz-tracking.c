/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's state machine under a fuzzer: the input is read as a script of events that mostly fit the contract, over
 * few connections so that they meet, and partly as raw bytes. seeds.py makes such scripts of the recorded conversations,
 * both sides of them, so every parser with what it keeps of a connection is reached. Besides what the sanitizers find, it checks that nothing
 * leaks: once every connection is closed, nothing waits, nothing is held and no buffer is in use.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../../analyzers/native/state.h"

#define CONNECTIONS 12

struct script {
	const uint8_t *at, *end;
};

static uint64_t take(struct script *script, unsigned bytes)
{
	uint64_t value = 0;
	while (bytes-- && script->at < script->end)
		value = value << 8 | *script->at++;
	return value;
}

static const char *const texts[] = {
	"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
	"POST /b HTTP/1.1\r\nContent-Length: 10\r\n\r\n0123456789",
	"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"HTTP/1.1 100 Continue\r\n\r\n",
	"HTTP/1.0 200 OK\r\n\r\n",
	"HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n",
	"HEAD /c HTTP/1.1\r\n\r\nGET /d HTTP/1.1\r\n\r\n",
	"\x16\x03\x01\x00\x31\x01\x00\x00\x2d\x03\x03",
	"\x17\x03\x03\x00\x04"
	"abcd",
	"GET /long-head-that-is-cut",
};

static uint32_t payload(struct script *script, uint8_t *out)
{
	unsigned kind = (unsigned)take(script, 1);
	if (kind < 0xc0) {
		const char *text = texts[kind % (sizeof(texts) / sizeof(texts[0]))];
		uint32_t length = (uint32_t)strlen(text),
			 skip = kind & 0x80 ? (uint32_t)take(script, 1) % (length + 1) : 0;
		memcpy(out, text + skip, length - skip);
		return length - skip;
	}
	if (kind < 0xe0) {
		static const uint8_t question[] = {0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1};
		memcpy(out, question, sizeof(question));
		out[1] = (uint8_t)(kind & 3);
		out[2] = kind & 4 ? 0x81 : 1;
		return sizeof(question);
	}
	uint32_t length = (uint32_t)take(script, kind == 0xff ? 2 : 1), left = (uint32_t)(script->end - script->at);
	length %= FS_PAYLOAD_MAX + 1;
	length = length < left ? length : left;
	memcpy(out, script->at, length);
	script->at += length;
	return length;
}

struct driver {
	struct fs_engine *engine;
	uint64_t now_ns;
	uint32_t seq[CONNECTIONS + 1][2];
	_Alignas(8) uint8_t event[sizeof(struct fs_exchange) + 2 * FS_PAYLOAD_MAX];
};

static void send_event(struct driver *d, uint16_t type, uint64_t id, uint32_t size, uint32_t flags)
{
	struct fs_head *head = (void *)d->event;
	head->time_ns = d->now_ns;
	head->conn_id = id;
	head->pid = (uint32_t)id % 5;
	head->netns = (uint32_t)id % 3;
	head->cgroup_id = id % 2;
	head->type = type;
	head->size = size;
	head->flags = flags;
	/* On the heap and of its exact size, so that reading beyond it is seen. */
	uint8_t *copy = malloc(size);
	memcpy(copy, d->event, size);
	fs_engine_event(d->engine, copy, size);
	free(copy);
}

static struct fs_tuple tuple_of(uint64_t id, uint8_t l4, uint8_t role)
{
	struct fs_tuple t = {
		.local_port = 80, .remote_port = (uint16_t)(1000 + id / 2), .family = 4, .l4 = l4, .role = role};
	t.local[15] = 1;
	t.remote[15] = 2;
	if (id & 1) {
		struct fs_tuple mirror = t;
		memcpy(mirror.local, t.remote, 16);
		memcpy(mirror.remote, t.local, 16);
		mirror.local_port = t.remote_port;
		mirror.remote_port = t.local_port;
		return mirror;
	}
	return t;
}

static void stream_bytes(struct driver *d, struct script *script, uint64_t id, bool exchange)
{
	uint8_t how = (uint8_t)take(script, 1), direction = how & 1;
	uint32_t jump = how & 0x80 ? (uint32_t)take(script, how & 0x40 ? 4 : 1) : 0;
	uint32_t lost = how & 2 ? FS_LOST_BEFORE : 0, extra = how & 4 ? (uint32_t)take(script, 2) : 0;
	uint32_t *mine = &d->seq[id][direction], *other = &d->seq[id][!direction];

	memset(d->event, 0, sizeof(struct fs_exchange));
	*mine += jump;
	if (!exchange) {
		struct fs_data *data = (void *)d->event;
		uint32_t length = how & 8 ? 0 : payload(script, (uint8_t *)(data + 1));
		data->bytes = length + extra;
		data->seq = *mine;
		data->peer_seq = *other + (how & 0x10 ? (uint32_t)take(script, 1) : 0);
		data->captured = (uint16_t)length;
		data->direction = direction;
		data->reason = how >> 5 & 3;
		*mine += length + extra;
		send_event(d, FS_EV_DATA, id, (uint32_t)sizeof(*data) + length, lost);
		return;
	}
	struct fs_exchange *both = (void *)d->event;
	uint32_t first = payload(script, (uint8_t *)(both + 1));
	uint32_t second = payload(script, (uint8_t *)(both + 1) + first);
	both->first_start_ns = both->first_end_ns = d->now_ns - 5;
	both->first_bytes = first + extra;
	both->second_bytes = second;
	both->first_seq = *mine;
	both->second_seq = *other;
	both->first_captured = (uint16_t)first;
	both->second_captured = (uint16_t)second;
	both->direction = direction;
	*mine += first + extra;
	*other += second;
	send_event(d, FS_EV_EXCHANGE, id, (uint32_t)sizeof(*both) + first + second, lost);
}

static void open_one(struct driver *d, struct script *script, uint64_t id)
{
	uint8_t how = (uint8_t)take(script, 1);
	struct fs_open *open = (void *)d->event;
	memset(open, 0, sizeof(*open));
	open->tuple =
		tuple_of(id, how & 1 ? FS_UDP : FS_TCP, how >> 1 & 1 ? (id & 1 ? FS_ROLE_CLIENT : FS_ROLE_SERVER) : 0);
	open->send_seq = d->seq[id][FS_OUT];
	open->recv_seq = d->seq[id][FS_IN];
	open->open_flags = how >> 2 & 7;
	memcpy(open->comm, "abc", 4);
	send_event(d, FS_EV_OPEN, id, sizeof(*open), how & 0x20 ? FS_NO_PROCESS : 0);
}

static void datagram(struct driver *d, struct script *script, uint64_t id)
{
	struct fs_datagram *gram = (void *)d->event;
	uint8_t how = (uint8_t)take(script, 1);
	memset(gram, 0, sizeof(*gram));
	gram->tuple = tuple_of(id, FS_UDP, 0);
	gram->tuple.remote_port = (uint16_t)(gram->tuple.remote_port + (how >> 4));
	gram->direction = how & 1;
	uint32_t length = payload(script, (uint8_t *)(gram + 1));
	gram->captured = (uint16_t)length;
	gram->bytes = length;
	send_event(d, FS_EV_DATAGRAM, id, (uint32_t)sizeof(*gram) + length, 0);
}

static void other_event(struct driver *d, struct script *script, uint64_t id)
{
	memset(d->event, 0, sizeof(struct fs_exchange));
	switch (take(script, 1) & 3) {
	case 0: {
		struct fs_connect *connect = (void *)d->event;
		connect->tuple = tuple_of(id, FS_TCP, FS_ROLE_CLIENT);
		connect->error = (int32_t)take(script, 1) & 7;
		send_event(d, FS_EV_CONNECT, id, sizeof(*connect), 0);
		break;
	}
	case 1: {
		struct fs_listen *listen = (void *)d->event;
		listen->tuple = tuple_of(id, take(script, 1) & 1 ? FS_UDP : FS_TCP, 0);
		send_event(d, FS_EV_LISTEN, id, sizeof(*listen), 0);
		break;
	}
	case 2: {
		struct fs_trouble *trouble = (void *)d->event;
		trouble->tuple = tuple_of(id, FS_TCP, 0);
		trouble->kind = (uint32_t)take(script, 1) % 7;
		send_event(d, FS_EV_TROUBLE, id, sizeof(*trouble), 0);
		break;
	}
	default: {
		struct fs_process *process = (void *)d->event;
		process->kind = (uint32_t)take(script, 1) & 3;
		send_event(d, FS_EV_PROCESS, id, sizeof(*process), 0);
	}
	}
}

static void raw(struct driver *d, struct script *script)
{
	uint32_t size = (uint32_t)take(script, 1) % 200;
	uint8_t *copy = calloc(1, size < 8 ? 8 : size);
	for (uint32_t i = 0; i < size; i++)
		copy[i] = (uint8_t)take(script, 1);
	if (size >= sizeof(struct fs_head) && take(script, 1) & 1) {
		((struct fs_head *)(void *)copy)->size = size;
		((struct fs_head *)(void *)copy)->type %= FS_EV_COUNT;
	}
	fs_engine_event(d->engine, copy, size);
	free(copy);
}

static void close_one(struct driver *d, uint64_t id)
{
	struct fs_close *closed = (void *)d->event;
	memset(closed, 0, sizeof(*closed));
	closed->bytes_sent = closed->bytes_received = 1000;
	send_event(d, FS_EV_CLOSE, id, sizeof(*closed), 0);
}

static void step(struct driver *d, struct script *script)
{
	uint64_t what = take(script, 1), id = take(script, 1) % CONNECTIONS + 1;

	d->now_ns += take(script, 1) * 1000;
	switch (what % 16) {
	case 0:
	case 1: open_one(d, script, id); break;
	case 2: close_one(d, id); break;
	case 3: other_event(d, script, id); break;
	case 4: datagram(d, script, id); break;
	case 5: datagram(d, script, id); break;
	case 6: stream_bytes(d, script, id, true); break;
	case 7: raw(d, script); break;
	case 8:
		d->now_ns += take(script, 2) * 1000000;
		fs_engine_tick(d->engine, d->now_ns);
		break;
	default: stream_bytes(d, script, id, false);
	}
}

static void expect_nothing_left(const struct fs_engine *e)
{
	for (uint32_t i = 0; i < FS_STATE_CLASSES; i++)
		if (e->states[i].used) {
			fprintf(stderr, "left over: %u blocks of state\n", e->states[i].used);
			abort();
		}
	if (e->waitings.used || e->buffers.used || e->helds.used || e->first_held || e->first_settling) {
		fprintf(stderr, "left over: %u waiting, %u buffers, %u held\n", e->waitings.used, e->buffers.used,
			e->helds.used);
		abort();
	}
}

/* A megabyte to look through: not after every input. */
static void expect_no_id_left(const struct fs_engine *e)
{
	for (uint32_t i = 0; e && i <= e->by_request.mask; i++)
		if (e->by_request.slots[i]) {
			fprintf(stderr, "left over: a request in the index of ids\n");
			abort();
		}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct fs_table *table;
	static struct driver d = {.now_ns = 1000000000};
	static unsigned inputs;
	static const struct fs_engine_config config = {
		.max_connections = 16,
		.contents_per_workload = 3,
		.row_limit = 8,
		.tcp_row_limit = 4,
		.connection_idle_ns = 20000000000ull,
		.row_idle_ns = 30000000000ull,
		.no_response_ns = 3000000000ull,
		.protocols_enabled = ~0u,
		.sample_rate = 100,
		.sample_per_edge = 5,
		.sample_normal_permille = 500,
		.capture_bytes = 100,
		.parse_bytes = 512,
		.stream_bytes = 4096,
		.message_mode = 1,
	};
	static uint64_t slots[FS_SLOTS];
	struct script script = {bytes, bytes + size};

	/* The table stays, and now and then a new engine goes on with it. */
	if (!table)
		table = calloc(1, sizeof(*table));
	if (inputs++ % 512 == 0) {
		expect_no_id_left(d.engine);
		fs_engine_free(d.engine);
		d.engine = fs_engine_new(table, &config, slots, NULL);
	}
	for (uint64_t id = 0; id <= CONNECTIONS; id++)
		d.seq[id][0] = d.seq[id][1] = (uint32_t)(0xffffff00u + id);
	while (script.at < script.end)
		step(&d, &script);
	fs_engine_finish(d.engine);
	for (uint64_t id = 1; id <= CONNECTIONS; id++)
		close_one(&d, id);
	/* What raw bytes made up goes by being idle. The clock starts again below the limit of a valid time. */
	for (int day = 0; day < 3; day++)
		fs_engine_tick(d.engine, d.engine->now_ns + 86400000000000ull);
	expect_nothing_left(d.engine);
	d.now_ns = d.engine->now_ns;
	if (d.now_ns > 1ull << 61)
		inputs = 0;
	if (!inputs)
		d.now_ns = 1000000000;
	return 0;
}
