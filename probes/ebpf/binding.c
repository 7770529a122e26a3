/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "../include/control.h"
#include "../include/perf_ring.h"
#include "../include/ring.h"

/* The verifier may write megabytes; what went wrong is at the end. */
static char log_text[1 << 16];
static size_t log_length;

static int keep_log(enum libbpf_print_level level, const char *format, va_list arguments)
{
	char line[8192];
	int length = vsnprintf(line, sizeof(line), format, arguments);
	size_t bytes = length < 0 ? 0 : (size_t)length < sizeof(line) ? (size_t)length : sizeof(line) - 1;
	if (level == LIBBPF_DEBUG)
		return 0;
	if (log_length + bytes >= sizeof(log_text)) {
		size_t kept = sizeof(log_text) / 2 < log_length ? sizeof(log_text) / 2 : log_length;
		memmove(log_text, log_text + log_length - kept, kept);
		log_length = kept;
	}
	memcpy(log_text + log_length, line, bytes);
	log_length += bytes;
	log_text[log_length] = 0;
	return 0;
}

void fs_log_start(void)
{
	log_length = 0;
	log_text[0] = 0;
	libbpf_set_print(keep_log);
}

const char *fs_log_text(void)
{
	return log_text;
}

int fs_set_setting(struct bpf_object *object, const char *name, unsigned int index, unsigned long long value)
{
	const struct btf *btf = bpf_object__btf(object);
	struct bpf_map *map = bpf_object__find_map_by_name(object, ".rodata");
	size_t bytes = 0;
	char *values = map ? (char *)bpf_map__initial_value(map, &bytes) : NULL;
	int section = btf ? btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC) : -ENOENT;

	if (!values || section < 0)
		return -ENOENT;
	const struct btf_type *type = btf__type_by_id(btf, (__u32)section);
	const struct btf_var_secinfo *variable = btf_var_secinfos(type);
	for (int i = 0; i < btf_vlen(type); i++, variable++) {
		const struct btf_type *of = btf__type_by_id(btf, variable->type);
		if (strcmp(btf__name_by_offset(btf, of->name_off), name) != 0)
			continue;
		size_t element = variable->size < sizeof(value) ? variable->size : sizeof(value);
		if ((index + 1) * element > variable->size || variable->offset + variable->size > bytes)
			return -EINVAL;
		memcpy(values + variable->offset + index * element, &value, element);
		return 0;
	}
	return -ENOENT;
}

/* What the kernel's types are, and from where: NULL means from the running kernel. */
static struct btf *types;
static char *types_path;

static struct btf *kernel_types(void)
{
	if (!types && !types_path)
		types = btf__load_vmlinux_btf();
	return types;
}

int fs_use_types(const char *path)
{
	struct btf *parsed = NULL;
	char *copy = NULL;

	if (path) {
		parsed = btf__parse(path, NULL);
		if (!parsed)
			return -errno;
		copy = strdup(path);
		if (!copy) {
			btf__free(parsed);
			return -ENOMEM;
		}
	}
	btf__free(types);
	free(types_path);
	types = parsed;
	types_path = copy;
	return 0;
}

struct bpf_object *fs_open_programs(const char *path)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = types_path);
	return bpf_object__open_file(path, &options);
}

static int arguments_of(const struct btf_type *prototype)
{
	return prototype && btf_is_func_proto(prototype) ? (int)btf_vlen(prototype) : -ENOENT;
}

int fs_tracepoint_arguments(const char *name)
{
	char symbol[128];
	struct btf *btf = kernel_types();
	int id;

	if (!btf)
		return -ENOENT;
	snprintf(symbol, sizeof(symbol), "btf_trace_%s", name);
	id = btf__find_by_name_kind(btf, symbol, BTF_KIND_TYPEDEF);
	if (id < 0)
		return -ENOENT;
	const struct btf_type *type = btf__type_by_id(btf, btf__type_by_id(btf, (__u32)id)->type);
	if (!type || !btf_is_ptr(type))
		return -ENOENT;
	int count = arguments_of(btf__type_by_id(btf, type->type));
	return count < 1 ? -ENOENT : count - 1; /* the first is the tracepoint's own */
}

int fs_function_arguments(const char *name)
{
	struct btf *btf = kernel_types();
	int id = btf ? btf__find_by_name_kind(btf, name, BTF_KIND_FUNC) : -ENOENT;

	if (id < 0)
		return -ENOENT;
	return arguments_of(btf__type_by_id(btf, btf__type_by_id(btf, (__u32)id)->type));
}

long long fs_enumerator(const char *type_name, const char *name)
{
	struct btf *btf = kernel_types();
	int id = btf ? btf__find_by_name_kind(btf, type_name, BTF_KIND_ENUM) : -ENOENT;

	if (id < 0)
		return -ENOENT;
	const struct btf_type *type = btf__type_by_id(btf, (__u32)id);
	const struct btf_enum *value = btf_enum(type);
	for (int i = 0; i < btf_vlen(type); i++, value++)
		if (strcmp(btf__name_by_offset(btf, value->name_off), name) == 0)
			return value->val;
	return -ENOENT;
}

int fs_has_map_type(int type)
{
	return libbpf_probe_bpf_map_type((enum bpf_map_type)type, NULL) == 1;
}

struct fs_reader {
	struct fs_ring ring;
	struct fs_perf_rings perf; /* instead of the ring if there are any */
	size_t page;
};

struct fs_reader *fs_reader_open(int ring, unsigned int bytes)
{
	struct fs_reader *reader = calloc(1, sizeof(*reader));
	if (!reader)
		return NULL;
	reader->page = (size_t)sysconf(_SC_PAGESIZE);
	void *consumer = mmap(NULL, reader->page, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0);
	void *producer = mmap(NULL, reader->page + 2 * (size_t)bytes, PROT_READ, MAP_SHARED, ring, (off_t)reader->page);
	if (consumer == MAP_FAILED || producer == MAP_FAILED) {
		free(reader);
		return NULL;
	}
	reader->ring.consumer = consumer;
	reader->ring.producer = producer;
	reader->ring.data = (const __u8 *)producer + reader->page;
	reader->ring.size = bytes;
	reader->ring.position = *reader->ring.consumer;
	reader->ring.limit = reader->ring.position;
	return reader;
}

static unsigned long long now_ns(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (unsigned long long)time.tv_sec * 1000000000ull + (unsigned long long)time.tv_nsec;
}

const void *fs_reader_next(struct fs_reader *reader, unsigned int *bytes)
{
	const void *event;
	if (!reader->perf.count)
		return fs_ring_next(&reader->ring, bytes);
	event = fs_perf_next(&reader->perf, bytes);
	if (event)
		return event;
	fs_perf_begin(&reader->perf, now_ns());
	return fs_perf_next(&reader->perf, bytes);
}

/* Perf rings give back what is read as it is read. */
void fs_reader_release(struct fs_reader *reader)
{
	if (!reader->perf.count)
		fs_ring_release(&reader->ring);
}

void fs_reader_close(struct fs_reader *reader)
{
	for (unsigned int i = 0; i < reader->perf.count; i++)
		munmap((void *)(reader->perf.rings[i].data - reader->page), reader->page + reader->perf.rings[i].size);
	if (reader->ring.consumer)
		munmap(reader->ring.consumer, reader->page);
	if (reader->ring.producer)
		munmap((void *)reader->ring.producer, reader->page + 2 * (size_t)reader->ring.size);
	free(reader);
}

struct fs_reader *fs_reader_open_perf(const int *rings, unsigned int count, unsigned int bytes)
{
	struct fs_reader *reader = calloc(1, sizeof(*reader));
	if (!reader)
		return NULL;
	reader->page = (size_t)sysconf(_SC_PAGESIZE);
	for (unsigned int i = 0; i < count && i < FS_CPUS; i++) {
		struct fs_perf_ring *ring = &reader->perf.rings[i];
		char *mapped = mmap(NULL, reader->page + bytes, PROT_READ | PROT_WRITE, MAP_SHARED, rings[i], 0);
		if (mapped == MAP_FAILED) {
			fs_reader_close(reader);
			return NULL;
		}
		ring->head = (const __u64 *)(mapped + FS_PERF_HEAD_OFFSET);
		ring->tail = (__u64 *)(mapped + FS_PERF_HEAD_OFFSET) + 1;
		ring->data = (const __u8 *)mapped + reader->page;
		ring->size = bytes;
		ring->position = ring->limit = *ring->tail;
		reader->perf.count++;
	}
	return reader;
}
