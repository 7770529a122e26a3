/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What Python calls of libbpf. cffi reads this file; binding.c goes with it. */
#ifndef FIRESTEEL_BINDING_H
#define FIRESTEEL_BINDING_H

struct bpf_object;
struct bpf_program;
struct bpf_map;
struct bpf_link;

int bpf_object__load(struct bpf_object *object);
void bpf_object__close(struct bpf_object *object);
struct bpf_program *bpf_object__find_program_by_name(const struct bpf_object *object, const char *name);
int bpf_program__set_autoload(struct bpf_program *program, _Bool autoload);
struct bpf_map *bpf_object__find_map_by_name(const struct bpf_object *object, const char *name);
int bpf_map__set_max_entries(struct bpf_map *map, unsigned int entries);
int bpf_map__fd(const struct bpf_map *map);
int bpf_map__set_autocreate(struct bpf_map *map, _Bool autocreate);
int bpf_map_update_elem(int map, const void *key, const void *value, unsigned long long flags);
struct bpf_link *bpf_program__attach(const struct bpf_program *program);
struct bpf_link *bpf_program__attach_kprobe(const struct bpf_program *program, _Bool at_return, const char *function);
struct bpf_link *bpf_program__attach_cgroup(const struct bpf_program *program, int cgroup);
int bpf_link__fd(const struct bpf_link *link);
int bpf_link__destroy(struct bpf_link *link);
int bpf_iter_create(int link);

/* Keeps what libbpf says from now on, instead of printing it. */
void fs_log_start(void);
const char *fs_log_text(void);

/*
 * From now on the kernel's types are those in the file at `path` (raw BTF, or an ELF file with a .BTF section); NULL: those
 * that the running kernel tells. 0, or a negative errno.
 */
int fs_use_types(const char *path);

/* Opens the programs, to be moved to the types in use. NULL: see fs_log_text. */
struct bpf_object *fs_open_programs(const char *path);

/* Sets a load-time setting, or element `index` of one, by its name. 0, or a negative errno: -ENOENT if the object has no such setting. */
int fs_set_setting(struct bpf_object *object, const char *name, unsigned int index, unsigned long long value);

/* How many arguments the kernel's tracepoint, or its function, has; -ENOENT if there is none of that name. */
int fs_tracepoint_arguments(const char *name);
int fs_function_arguments(const char *name);

/* The kernel's value of an enumerator; -ENOENT if it has none of that name. */
long long fs_enumerator(const char *type, const char *name);

/* Whether the running kernel has this type of map (enum bpf_map_type): one is made and let go. */
int fs_has_map_type(int type);

/* A consumer of the ring, for the self-test. */
struct fs_reader;
struct fs_reader *fs_reader_open(int ring, unsigned int bytes);
struct fs_reader *fs_reader_open_perf(const int *rings, unsigned int count, unsigned int bytes);
const void *fs_reader_next(struct fs_reader *reader, unsigned int *bytes);
void fs_reader_release(struct fs_reader *reader);
void fs_reader_close(struct fs_reader *reader);

#endif
