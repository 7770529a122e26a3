/* SPDX-License-Identifier: Apache-2.0 */
#include "process.h"

#define FS_SLEEP_MIN_NS 1000000ull
#define FS_SLEEP_BUSY_MAX_NS 20000000ull
#define FS_SLEEP_IDLE_MAX_NS 1000000000ull /* whatever poll_us says: the heartbeat must go on */
#define FS_BATCH_EVENTS 4096
#define FS_COUNTERS_NS 100000000ull /* they are 128 KiB to look through */

/* Drivers reserve records of a few fixed sizes: an event may end before its record does. */
static uint32_t event_bytes(const void *record, uint32_t bytes)
{
	const struct fs_head *head = record;
	return bytes >= sizeof(*head) && head->size < bytes ? head->size : bytes;
}

static void count_event(struct fs_run *run, const void *event, uint32_t record_bytes)
{
	fs_recording_add(&run->recording, &run->table->stats, event, record_bytes);
	fs_engine_event(run->engine, event, event_bytes(event, record_bytes));
}

/*
 * Publishing the position costs the producers a cache miss, so it is done per batch; but never later than an eighth
 * of the ring, so that a full ring has room again soon.
 */
static uint64_t drain_batch(struct fs_run *run, uint64_t limit)
{
	struct fs_ring *ring = &run->ring;
	uint64_t begin = ring->position, events = 0;
	uint32_t bytes;
	const void *event;

	limit = limit < ring->size / 8 ? limit : ring->size / 8;
	while (events < FS_BATCH_EVENTS && ring->position - begin < limit &&
	       (event = fs_ring_next(ring, &bytes)) != NULL) {
		events++;
		__atomic_store_n(&run->table->ring_position, ring->position, __ATOMIC_RELAXED);
		count_event(run, event, bytes);
	}
	fs_ring_release(ring);
	__atomic_store_n(&run->table->ring_position, ring->position, __ATOMIC_RELAXED);
	return events;
}

/*
 * As far as the ring was filled when this began: producers may be as fast as we are, and translations are known of what
 * was told before they were read. Returns the bytes.
 */
static uint64_t drain_ring(struct fs_run *run)
{
	uint64_t waiting = fs_ring_filled(&run->ring), begin = run->ring.position, events;

	fs_translations_read(run);
	do {
		events = drain_batch(run, waiting - (run->ring.position - begin));
		fs_run_beat(run, fs_now_ns());
	} while (events && run->ring.position - begin < waiting);
	run->table->stats.ring_contradictions += run->ring.contradictions;
	run->ring.contradictions = 0;
	return run->ring.position - begin;
}

/* What stands in the rings now. Returns how full the fullest was: that one is the next to run over. */
static uint64_t drain_perf_rings(struct fs_run *run)
{
	uint64_t fullest = fs_perf_begin(&run->perf, fs_now_ns());
	uint32_t bytes, events = 0;
	const void *event;

	fs_translations_read(run);
	while ((event = fs_perf_next(&run->perf, &bytes)) != NULL) {
		count_event(run, event, bytes);
		if (++events % FS_BATCH_EVENTS == 0)
			fs_run_beat(run, fs_now_ns());
	}
	run->table->stats.ring_contradictions += run->perf.contradictions;
	run->table->stats.ring_dropped += run->perf.lost;
	run->perf.contradictions = run->perf.lost = 0;
	return fullest;
}

/*
 * Aims at a ring that is an eighth full when we look again, going by what came during the last sleep: long enough to
 * work in batches, short enough for a burst of seven times the rate. Idle, the sleep doubles up to config->poll_us.
 */
static uint64_t next_sleep(const struct fs_run *run, uint64_t slept_ns, uint64_t drained_bytes)
{
	uint64_t idle_max = (uint64_t)run->config->poll_us * 1000;
	if (idle_max < FS_SLEEP_MIN_NS)
		idle_max = FS_SLEEP_MIN_NS;
	if (idle_max > FS_SLEEP_IDLE_MAX_NS)
		idle_max = FS_SLEEP_IDLE_MAX_NS;
	if (drained_bytes == 0)
		return slept_ns * 2 < idle_max ? slept_ns * 2 : idle_max;

	uint64_t size = run->perf.count ? run->perf.rings[0].size : run->ring.size;
	uint64_t wanted = size / 8 * slept_ns / drained_bytes;
	if (wanted > FS_SLEEP_BUSY_MAX_NS)
		wanted = FS_SLEEP_BUSY_MAX_NS;
	return wanted > FS_SLEEP_MIN_NS ? wanted : FS_SLEEP_MIN_NS;
}

/* Every event that the driver or a perf ring had no room for. */
static void look_for_losses(struct fs_run *run, uint64_t now_ns)
{
	uint64_t total = run->table->stats.ring_dropped;

	if (now_ns - run->counters_ns < FS_COUNTERS_NS)
		return;
	run->counters_ns = now_ns;
	for (uint32_t cpu = 0; run->counters && cpu < FS_CPUS; cpu++)
		for (uint32_t type = 0; type < 16; type++)
			total += __atomic_load_n(&run->counters[cpu].lost[type], __ATOMIC_RELAXED);
	fs_engine_lost(run->engine, total);
}

void fs_live(struct fs_run *run)
{
	uint64_t sleep_ns = FS_SLEEP_MIN_NS;

	if (!run->perf.count)
		fs_engine_ring(run->engine, run->ring.size);
	fs_translations_first(run);
	for (bool stop = false; !stop;) {
		/* Read before the drain: what was in the ring when the stop was asked for is still counted. */
		stop = __atomic_load_n(&run->config->stop, __ATOMIC_ACQUIRE) != 0;
		uint64_t drained = run->perf.count ? drain_perf_rings(run) : drain_ring(run);
		fs_recording_flush(&run->recording);
		uint64_t now = fs_now_ns();
		look_for_losses(run, now);
		fs_engine_tick(run->engine, now);
		fs_run_beat(run, now);
		if (stop)
			break;
		sleep_ns = next_sleep(run, sleep_ns, drained);
		fs_sleep_until(now + sleep_ns);
	}
}
