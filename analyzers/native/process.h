/* SPDX-License-Identifier: Apache-2.0 */
/* The process around the engine: its mappings, its two kinds of input, its recording. */
#ifndef FIRESTEEL_PROCESS_H
#define FIRESTEEL_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../probes/include/control.h"
#include "../../probes/include/perf_ring.h"
#include "../../probes/include/ring.h"
#include "engine.h"
#include "table.h"

#define FS_EVENT_MAX 65536 /* larger than any event of this contract: payload lengths are 16 bit, and at most two */
#define FS_READ_BYTES (1u << 20)
#define FS_RECORD_BYTES (1u << 18)

/* Raw events on their way to a file. A failed write keeps the rest, so that the file always continues at an event. */
struct fs_recording {
	int fd; /* -1: none */
	uint32_t filled;
	uint8_t *bytes; /* FS_RECORD_BYTES */
};

struct fs_run {
	struct fs_table *table;
	const volatile struct fs_engine_config *config;
	struct fs_engine *engine;
	struct fs_control *control; /* NULL in a replay, as are the next three */
	uint64_t *slots;
	const struct fs_cpu_counters *counters; /* FS_CPUS of them; NULL also where they cannot be mapped */
	uint64_t counters_ns; /* when they were read */
	struct fs_ring ring;
	struct fs_perf_rings perf; /* instead of the ring if there are any */
	int conntrack; /* netlink socket that does not block; -1: none */
	int file; /* of a replay, else -1 */
	bool paced; /* replay at the speed of the recording */
	uint8_t *file_bytes; /* FS_READ_BYTES */
	struct fs_recording recording;
};

uint64_t fs_now_ns(void); /* CLOCK_MONOTONIC */
void fs_sleep_until(uint64_t monotonic_ns);

/* Says that the engine lives, and what it has used. */
void fs_run_beat(struct fs_run *run, uint64_t now_ns);

/* Sets FS_ENGINE_FAILED and the sentence, which is cut to the space there is. */
void fs_run_fail(struct fs_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool fs_ring_map(struct fs_ring *ring, int fd, uint64_t bytes);
bool fs_perf_map(struct fs_perf_rings *rings, int fd, uint64_t bytes); /* one more of them */

/* What conntrack told meanwhile; and the table that it began with, for two seconds at most. */
void fs_translations_read(struct fs_run *run);
void fs_translations_first(struct fs_run *run);

/* Until config->stop: drains the ring, or the rings. */
void fs_live(struct fs_run *run);

/* The whole file, or up to what is wrong with it, or until config->stop. False after fs_run_fail. */
bool fs_replay(struct fs_run *run);

bool fs_recording_open(struct fs_recording *recording, int fd);
void fs_recording_add(struct fs_recording *recording, struct fs_stats *stats, const void *event, uint32_t record_bytes);
void fs_recording_flush(struct fs_recording *recording);

/* sizeof of an event without payload; 0 for a type that this version does not know. */
uint32_t fs_event_size(uint16_t type);

#endif
