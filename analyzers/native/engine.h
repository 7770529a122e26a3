/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's state machine: events in, table rows out. Nothing here does I/O, sleeps or asks the system for time:
 * the process around it (main.c) or a test feeds events and says what time it is.
 *
 * Memory is reserved once, in fs_engine_new, and touched as it is needed; nothing is allocated per message.
 */
#ifndef FIRESTEEL_ENGINE_H
#define FIRESTEEL_ENGINE_H

#include <stdint.h>

#include "../../probes/include/control.h"
#include "table.h"

struct fs_engine;

/*
 * `table` and `config` must outlive the engine. A table that was used before (table->magic is set) goes on: its rows
 * keep their counters. `slots` has FS_SLOTS entries, or is NULL when nobody reads modes (a replay); `control` may be
 * NULL as well, otherwise its epoch is raised so that every connection is told again. NULL if memory is short.
 */
struct fs_engine *fs_engine_new(struct fs_table *table, const struct fs_engine_config *config, uint64_t *slots,
				struct fs_control *control);

/*
 * One event of `size` bytes, aligned to 8 bytes. An event that breaks the contract (size against type, payload against
 * size, impossible values) is counted in stats.events_invalid and changes nothing.
 */
void fs_engine_event(struct fs_engine *engine, const void *event, uint32_t size);

/*
 * One message of conntrack, its netlink header included (linux/netfilter/nfnetlink_conntrack.h). What is malformed, of
 * another subsystem, or not TCP or UDP is left alone.
 */
void fs_engine_conntrack(struct fs_engine *engine, const void *message, uint32_t bytes);

/*
 * `now_ns` is CLOCK_MONOTONIC, or in a replay the time of the events. Settles what waited too long, expires what was
 * idle, re-reads the configuration when its generation changed. Cheap: call it every 5 to 50 ms.
 */
void fs_engine_tick(struct fs_engine *engine, uint64_t now_ns);

/* Where its events wait: what may be asked for of single connections depends on how much has room there. */
void fs_engine_ring(struct fs_engine *engine, uint64_t bytes);

/* How many events found no place, ever: when it grows, what waits for an answer is not unanswered. */
void fs_engine_lost(struct fs_engine *engine, uint64_t total);

/*
 * The end of a recording: held events go on, responses without an end are taken as they are. A request that has waited
 * for more than a second counts as unanswered, a younger one is discarded and counted as that.
 */
void fs_engine_finish(struct fs_engine *engine);

void fs_engine_free(struct fs_engine *engine);

#endif
