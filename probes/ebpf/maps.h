/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the programs keep and share. Sizes and limits are fixed here or set by the loader before loading. */
#ifndef FIRESTEEL_MAPS_H
#define FIRESTEEL_MAPS_H

#include "kernel.h"
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
};

/* Ours, in the socket's own storage: freed with the socket. */
struct connection {
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
	__u8 reserved;
	char comm[16];
	struct pending pending;
	__u8 text[FS_MESSAGE_MAX + 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection);
} connections SEC(".maps");

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

/* Where the parts of a scattered buffer are put together. Programs may be preempted, so one is claimed, never assumed. */
#define SCRATCHES 64
struct scratch {
	__u64 busy;
	__u8 bytes[2 * FS_PAYLOAD_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCRATCHES);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/* Draws connection ids: a count per CPU, with the CPU in the low byte. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} id_counts SEC(".maps");

#endif
