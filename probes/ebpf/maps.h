/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the programs keep and share. Sizes and limits are fixed here or set by the loader before loading. */
#ifndef FIRESTEEL_MAPS_H
#define FIRESTEEL_MAPS_H

#include "access.h"
#include "../include/control.h"

/* Set by the loader: index of the cgroup v1 controller in whose hierarchy pods live, or -1 for cgroup v2. */
const volatile int cgroup_controller = -1;

/* Set by the loader on a node that is a container itself: inode of its pid namespace. 0: the machine's own. */
const volatile __u32 pid_namespace = 0;

/* Shared by mapped memory with the engine and the agent: see control.h. */
struct fs_control control SEC(".data.control");
__u64 modes[FS_SLOTS] SEC(".data.modes");
struct fs_cpu_counters counters[FS_CPUS] SEC(".data.counters");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

#ifdef FS_UNTYPED
/*
 * Set by the loader: false below 5.8 (457f44363a88), where there is no BPF ring. `events` is not made then, and what reads
 * this is removed by the verifier before it looks at what the kernel does not know.
 */
const volatile bool has_ring = true;

/* One ring for each processor, opened by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
	__uint(max_entries, FS_CPUS);
} perf_events SEC(".maps");

/*
 * Where events are put together for a perf ring, which takes them whole. Programs are not preempted on those kernels, but a
 * program in an interrupt may come upon one in a system call: each level has slots of its own.
 */
#define STAGED_LEVELS 3
#define STAGED_EVENTS 4 /* of one program: CLOSE or OPEN, what waited, and the I/O itself */

struct staged {
	__u64 socket;
	__u32 size; /* 0: nothing to write */
	__u16 type;
	__u16 reserved;
	__u8 event[sizeof(struct fs_exchange) + FS_PAYLOAD_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STAGED_LEVELS *STAGED_EVENTS);
	__type(key, __u32);
	__type(value, struct staged);
} staging SEC(".maps");

struct stage {
	__u32 level; /* how many programs are at work on this processor */
	__u32 used[STAGED_LEVELS + 1];
	__u64 socket[STAGED_LEVELS + 1];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stage);
} stages SEC(".maps");

/* Connections whose waiting message a thread is at: the map is the lock where there are no atomics for one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* connection id */
	__type(value, __u8);
} claims SEC(".maps");
#endif

/* The first message of an exchange that waits for its answer (message mode), or bytes that wait for a flip. */
struct pending {
	__u64 start_ns;
	__u64 end_ns;
	__u64 bytes;
	__u32 seq;
	__u32 peer_seq;
	__u16 captured;
	__u8 waiting; /* 0: nothing waits */
	__u8 direction;
	__u8 reason;
	__u8 reserved[3];
	__u64 claimed; /* a thread is at it; another one tells its I/O as it is */
};

enum connection_flag {
	CONNECTION_SEEDED = 1 << 0, /* existed before the programs */
	CONNECTION_LOST = 1 << 1, /* an event was dropped */
	CONNECTION_EXCLUDED = 1 << 2, /* by port, or the agent's own */
	CONNECTION_NO_SEQ = 1 << 3, /* MPTCP: offsets are counted here */
	CONNECTION_HTTP2 = 1 << 4, /* its preface was seen */
};

/* Ours, in the socket's own storage: freed with the socket. */
struct connection {
#ifdef FS_UNTYPED
	__u64 socket; /* the key under which it is kept */
#endif
	__u64 id;
	__u64 cgroup_id;
	__u64 start_ns;
	__u64 last_ns;
	__u32 epoch; /* the connection was told under this epoch */
	__u32 netns;
	__u32 pid;
	__u32 tid;
	__u32 sent; /* bytes, with CONNECTION_NO_SEQ */
	__u32 received;
	__u8 role;
	__u8 flags;
	__u8 spoke; /* direction of the last I/O, plus one */
	__u8 early; /* I/Os before the engine said how much it wants */
	char comm[16];
	struct pending pending;
	__u8 text[FS_MESSAGE_MAX + 8];
};

#ifdef FS_UNTYPED
/* By the socket's address. Preallocated, for probes may not wait for memory: about 24 MB. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct connection);
} connections SEC(".maps");

const volatile struct connection no_connection = {};
#else
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection);
} connections SEC(".maps");
#endif

/* The peer of the datagram that a thread is sending or receiving, from the cgroup hook until the length hook. */
struct datagram_peer {
	__u64 socket; /* its peer and nobody else's */
	__u8 address[16];
	__u16 port;
	__u8 direction;
	__u8 known;
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64); /* pid_tgid */
	__type(value, struct datagram_peer);
} datagram_peers SEC(".maps");

/* Which message of a sendmmsg or recvmmsg call a thread has come to. */
struct message_index {
	__u64 vector;
	__u64 socket;
	__u32 length;
	__u32 next;
	__u32 last_bytes;
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* pid_tgid */
	__type(value, struct message_index);
} message_indexes SEC(".maps");

/* Where the bytes are: `base` of `length`; with `count`, that is (part of) the first of so many entries at `vector`. */
struct source {
	__u64 base;
	__u64 length;
	__u64 vector;
	__u32 count;
	__u32 reason; /* enum fs_reason; not 0: nothing to read */
	__u32 skip; /* bytes of the first entry that are not meant */
	__u32 in_kernel; /* the vector is the kernel's copy */
	__u32 together; /* what was scattered is in one piece: the base is ours */
	__u32 reserved;
};

/* One I/O, as the hook found it. */
struct io {
	__u64 bytes;
	__u64 time_ns;
	__u32 seq;
	__u32 peer_seq;
	__u32 srtt_us;
	__u32 budget;
	__u8 direction;
	__u8 mode;
	__u8 request_direction;
	__u8 long_answers;
	__u8 reserved[4];
};

#ifdef FS_UNTYPED
/* What a function found for its caller: these programs are not preempted, and only those of system calls use it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct source);
} found_sources SEC(".maps");

static __always_inline struct source *own_source(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&found_sources, &zero);
}
#endif

/*
 * Where the parts of a scattered buffer are put together. Programs may be preempted, so one is claimed, never assumed.
 * Without atomics for that they are a processor's own: there only an interrupt may come between, and is gone before we
 * go on.
 */
#ifdef FS_UNTYPED
#define SCRATCHES 2
#define SCRATCH_MAP BPF_MAP_TYPE_PERCPU_ARRAY
#else
#define SCRATCHES 64
#define SCRATCH_MAP BPF_MAP_TYPE_ARRAY
#endif
struct scratch {
	__u64 busy;
	struct source source;
	struct io io; /* what is left to tell, if it takes several events */
	__u64 skip;
	__u64 wanted;
	__u64 filled;
	__u8 bytes[2 * FS_PAYLOAD_MAX];
};

struct {
	__uint(type, SCRATCH_MAP);
	__uint(max_entries, SCRATCHES);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

#ifndef FS_UNTYPED
/* Draws connection ids: a count per CPU, with the CPU in the low byte. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} id_counts SEC(".maps");
#endif

static __always_inline struct fs_cpu_counters *own_counters(void)
{
	return &counters[bpf_get_smp_processor_id() & (FS_CPUS - 1)];
}

#endif
