/* SPDX-License-Identifier: Apache-2.0 */
/*
 * firesteel-engine: maps what it was handed, gives up everything else, and counts until it is told to stop.
 *
 * Exit status: 0 stopped or finished, 1 failed (the sentence is in table->failure, and on standard error as long as
 * there is one), 2 called wrongly. A crash leaves the table as it is for the next engine.
 */
#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sandbox.h"

struct arguments {
	int ring, control, modes, table, config, record, file, conntrack, counters;
	uint64_t ring_bytes;
	int parent;
	bool paced;
	uint32_t perf_count;
	int perf[FS_CPUS];
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec time;
	clock_gettime(clock, &time);
	return (uint64_t)time.tv_sec * 1000000000ull + (uint64_t)time.tv_nsec;
}

uint64_t fs_now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

void fs_sleep_until(uint64_t monotonic_ns)
{
	struct timespec until = {(time_t)(monotonic_ns / 1000000000ull), (long)(monotonic_ns % 1000000000ull)};
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

void fs_run_beat(struct fs_run *run, uint64_t now_ns)
{
	run->table->turns++;
	run->table->cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	__atomic_store_n(&run->table->heartbeat_ns, now_ns, __ATOMIC_RELEASE);
}

void fs_run_fail(struct fs_run *run, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(run->table->failure, sizeof(run->table->failure), format, arguments);
	va_end(arguments);
	__atomic_store_n(&run->table->state, FS_ENGINE_FAILED, __ATOMIC_RELEASE);
}

static int die(const char *sentence)
{
	fprintf(stderr, "firesteel-engine: %s: %s\n", sentence, strerror(errno));
	return 1;
}

static bool number(const char *text, uint64_t limit, uint64_t *out)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	*out = value;
	return !errno && end != text && !*end && text[0] != '-' && value <= limit;
}

static bool parse_arguments(int count, char **values, struct arguments *out)
{
	static const struct option options[] = {
		{"ring", 1, NULL, 'r'},	    {"ring-bytes", 1, NULL, 'b'}, {"control", 1, NULL, 'c'},
		{"modes", 1, NULL, 'm'},    {"table", 1, NULL, 't'},	  {"config", 1, NULL, 'g'},
		{"record", 1, NULL, 'w'},   {"file", 1, NULL, 'f'},	  {"pace", 0, NULL, 'p'},
		{"parent", 1, NULL, 'P'},   {"perf-ring", 1, NULL, 'R'},  {"conntrack", 1, NULL, 'n'},
		{"counters", 1, NULL, 'k'}, {NULL, 0, NULL, 0},
	};
	uint64_t value = 0;
	int option;

	*out = (struct arguments){-1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 0, false, 0, {0}};
	while ((option = getopt_long(count, values, "", options, NULL)) != -1) {
		if (option == '?' || (option != 'p' && !number(optarg, option == 'b' ? 1u << 30 : INT_MAX, &value)))
			return false;
		switch (option) {
		case 'r': out->ring = (int)value; break;
		case 'b': out->ring_bytes = value; break;
		case 'c': out->control = (int)value; break;
		case 'm': out->modes = (int)value; break;
		case 't': out->table = (int)value; break;
		case 'g': out->config = (int)value; break;
		case 'w': out->record = (int)value; break;
		case 'f': out->file = (int)value; break;
		case 'n': out->conntrack = (int)value; break;
		case 'k': out->counters = (int)value; break;
		case 'P': out->parent = (int)value; break;
		case 'R':
			if (out->perf_count == FS_CPUS)
				return false;
			out->perf[out->perf_count++] = (int)value;
			break;
		default: out->paced = true;
		}
	}
	bool live =
		(out->ring >= 0) != (out->perf_count > 0) && out->ring_bytes && out->control >= 0 && out->modes >= 0;
	return optind == count && out->table >= 0 && out->config >= 0 && live != (out->file >= 0);
}

/* BPF array maps have no size that fstat knows: the kernel checks the length. Files are checked here (SIGBUS). */
static void *map(int fd, size_t bytes, int protection)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct stat facts;
	if (fstat(fd, &facts))
		return NULL;
	if (S_ISREG(facts.st_mode) && (size_t)facts.st_size < bytes) {
		errno = EINVAL;
		return NULL;
	}
	void *address = mmap(NULL, (bytes + page - 1) / page * page, protection, MAP_SHARED, fd, 0);
	return address == MAP_FAILED ? NULL : address;
}

/* What failed, or NULL. A table that is all zero is new; the engine fills in its head. */
static const char *map_shared(struct fs_run *run, const struct arguments *given)
{
	run->table = map(given->table, sizeof(struct fs_table), PROT_READ | PROT_WRITE);
	if (!run->table)
		return "cannot map the table (--table)";
	run->config = map(given->config, sizeof(struct fs_engine_config), PROT_READ);
	if (!run->config)
		return "cannot map the configuration (--config)";
	errno = EPROTO;
	if (run->table->magic && (run->table->magic != FS_TABLE_MAGIC || run->table->version != FS_TABLE_VERSION ||
				  run->table->size != sizeof(struct fs_table)))
		return "the table is of another version: agent and engine must come from one build";
	if (run->config->magic != FS_TABLE_MAGIC || run->config->version != FS_TABLE_VERSION)
		return "the configuration is of another version: agent and engine must come from one build";
	return NULL;
}

static const char *map_input(struct fs_run *run, const struct arguments *given)
{
	run->file = given->file;
	run->paced = given->paced;
	run->conntrack = given->file >= 0 ? -1 : given->conntrack;
	if (given->file >= 0) {
		run->file_bytes = mmap(NULL, FS_READ_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		return run->file_bytes == MAP_FAILED ? "cannot reserve a buffer" : NULL;
	}
	run->control = map(given->control, sizeof(struct fs_control), PROT_READ | PROT_WRITE);
	if (!run->control)
		return "cannot map the control page (--control)";
	run->slots = map(given->modes, sizeof(uint64_t) * FS_SLOTS, PROT_READ | PROT_WRITE);
	if (!run->slots)
		return "cannot map the mode slots (--modes)";
	if (given->counters >= 0) {
		run->counters = map(given->counters, sizeof(struct fs_cpu_counters) * FS_CPUS, PROT_READ);
		if (!run->counters)
			return "cannot map the driver's counters (--counters)";
	}
	if (given->ring >= 0 && !fs_ring_map(&run->ring, given->ring, given->ring_bytes))
		return "cannot map the ring (--ring, --ring-bytes)";
	for (uint32_t i = 0; i < given->perf_count; i++)
		if (!fs_perf_map(&run->perf, given->perf[i], given->ring_bytes))
			return "cannot map a perf ring (--perf-ring, --ring-bytes)";
	errno = EPROTO;
	if (run->control->magic != FS_MAGIC || run->control->contract != FS_CONTRACT_VERSION)
		return "the driver speaks another version of the contract: loader and engine must be of one build";
	/*
	 * The engine adds one. A connection told under a number must be told again, so no number may come twice, not
	 * even after an orderly stop, which leaves 0.
	 */
	if (!run->control->epoch)
		run->control->epoch = (uint32_t)(fs_now_ns() / 1000000) & 0x7fffffff;
	return NULL;
}

/* After a crash: on from the event that came after the one it died on, even if the batch was never released. */
static void resume(struct fs_run *run)
{
	struct fs_ring *ring = &run->ring;
	uint64_t told = run->table->ring_position;
	uint64_t waiting = fs_ring_filled(ring);

	if (told % 8 == 0 && told - ring->position <= waiting && waiting <= ring->size) {
		ring->position = told;
		fs_ring_release(ring);
	}
}

static int count_until_told(struct fs_run *run)
{
	__atomic_store_n(&run->table->state, FS_ENGINE_RUNNING, __ATOMIC_RELEASE);
	fs_run_beat(run, fs_now_ns());
	if (run->file >= 0) {
		bool good = fs_replay(run);
		fs_run_beat(run, fs_now_ns());
		if (!good)
			return 1;
	} else {
		fs_live(run);
		__atomic_store_n(&run->control->epoch, 0, __ATOMIC_RELEASE); /* nobody listens any more */
	}
	__atomic_store_n(&run->table->state, FS_ENGINE_FINISHED, __ATOMIC_RELEASE);
	return 0;
}

int main(int count, char **values)
{
	static struct fs_run run;
	struct arguments given;

	/* It was started from a descriptor, and ps would show that descriptor's number. */
	prctl(PR_SET_NAME, "firesteel-engine", 0, 0, 0);
	if (!parse_arguments(count, values, &given)) {
		fprintf(stderr,
			"usage: firesteel-engine --table FD --config FD [--parent PID]\n"
			"         ((--ring FD | --perf-ring FD...) --ring-bytes N --control FD --modes FD [--record "
			"FD] [--conntrack FD] [--counters FD] | --file FD "
			"[--pace])\n"
			"Started by firesteel with descriptors it has opened; not meant to be called by hand.\n");
		return 2;
	}
	const char *failed = map_shared(&run, &given);
	if (failed)
		return die(failed);
	run.table->failure[0] = 0;
	run.table->state = FS_ENGINE_STARTING;
	failed = map_input(&run, &given);
	if (!failed && !fs_recording_open(&run.recording, given.record))
		failed = "cannot reserve memory for the recording";
	if (!failed) {
		run.engine =
			fs_engine_new(run.table, (const struct fs_engine_config *)run.config, run.slots, run.control);
		if (!run.engine)
			failed = "cannot reserve memory for the engine";
	}
	if (!failed && run.control && !run.perf.count)
		resume(&run); /* perf rings give back each record as it is read */
	if (!failed) {
		int read_fd = given.file >= 0 ? given.file : given.conntrack;
		struct fs_sandbox sandbox = {given.parent, read_fd, given.record};
		failed = fs_sandbox_enter(&sandbox);
	}
	if (failed) {
		fs_run_fail(&run, "%s: %s", failed, strerror(errno));
		return die(failed);
	}
	/* Not return: the exit handlers of the C library would touch what is closed and call what is forbidden. */
	_exit(count_until_told(&run));
}
