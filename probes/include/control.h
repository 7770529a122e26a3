/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What user space and a driver share by mapped memory after the start, when nobody may call bpf() any more:
 * the control page (user space writes), the mode slots (the engine writes) and the counters (the driver writes).
 */
#ifndef FIRESTEEL_CONTROL_H
#define FIRESTEEL_CONTROL_H

#include "event.h"

#define FS_SLOTS 65536 /* a power of two */
#define FS_CPUS 256
#define FS_OWN_PIDS 8

/*
 * One slot per connection: slot[fs_slot_of(conn_id)] says how that connection is captured. A slot whose tag is not
 * this connection's belongs to another one, and then the default (stream mode, the control page's budget) holds.
 *
 *   bit 63 .. 24: low 40 bits of conn_id   bit 23 .. 16: enum fs_mode   bit 15 .. 0: payload budget in bytes
 */
enum fs_mode {
	FS_MODE_STREAM = 0, /* every I/O is an event */
	FS_MODE_MESSAGE = 1, /* a request waits for its response's first chunk: one event */
	FS_MODE_LENGTHS = 2, /* every I/O is an event, without payload */
	FS_MODE_SILENT = 3, /* no data events: the other end of this connection is on this node and tells */
	FS_MODE_FLIPS = 4, /* lengths only, and only when the direction flips: encrypted or bulk */
	FS_MODE_AGAIN = 5, /* the engine forgot it, or never learned it: tell it again, then as in stream mode */
	/* Added to FS_MODE_MESSAGE: */
	FS_MODE_LONG_ANSWERS =
		0x40, /* a first chunk of more than FS_ANSWER_MAX is an event of its own, by the budget */
	FS_MODE_REQUESTS_OUT = 0x80, /* this end sends the requests */
	FS_MODE_ADDED = FS_MODE_LONG_ANSWERS | FS_MODE_REQUESTS_OUT
};

#define FS_SLOT_TAG_BITS 40
/* clang-format off */
#define fs_slot_of(conn_id) ((__u32)(((conn_id) * 0x9e3779b97f4a7c15ull) >> 48) & (FS_SLOTS - 1))
#define fs_slot_make(conn_id, mode, budget) (((conn_id) << 24) | ((__u64)(mode) << 16) | (__u64)(budget))
#define fs_slot_mine(slot, conn_id) ((((slot) >> 24) ^ (conn_id)) << 24 == 0)
#define fs_slot_mode(slot) (((slot) >> 16) & 0xff)
#define fs_slot_budget(slot) ((slot) & 0xffff)
/* clang-format on */

/* The epoch of a connection that the engine asked for: none that an engine ever has, and told before. */
#define FS_EPOCH_ASKED 0xffffffffu

struct fs_control {
	__u32 magic;
	__u32 contract;
	/*
	 * Raised by an engine when it starts: a connection told under another epoch is told again (FS_OPEN_REPEATED)
	 * before its next event, so an engine that was restarted learns it; one that lacks a single connection asks
	 * for it by FS_MODE_AGAIN. 0: nobody listens, so nothing is captured.
	 */
	__u32 epoch;
	__u32 stream_budget; /* payload bytes of an I/O for connections without a slot */
	__u32 datagram_budget;
	__u32 whole_bytes; /* the first I/O of a side comes whole if it is no longer than this */
	__u32 own_pids[FS_OWN_PIDS]; /* the agent's own processes, not to be captured; 0 ends */
	__u8 excluded_ports[8192]; /* bit per port, either side */
};

struct fs_cpu_counters {
	__u64 written[16]; /* events by enum fs_event_type */
	__u64 lost[16]; /* events dropped because the ring was full */
	__u64 absent[16]; /* data events without payload, by enum fs_reason */
	__u64 storage_failed; /* no socket storage: the connection stays unseen */
	__u64 merged; /* I/O that needed no event of its own */
	__u64 missed; /* calls that no hook saw: out of kretprobe instances, or a hook inside of another */
	__u64 reserved[13];
};

FS_ASSERT_SIZE(fs_control, 8248);
FS_ASSERT_SIZE(fs_cpu_counters, 512);

#endif
