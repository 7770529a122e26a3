/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The event contract: what every driver writes and every reader expects.
 *
 * C89-clean so that the kernel module, the BPF programs, the engine and cffi all take this one file.
 * Rules: append-only; a retired number stays reserved; all sizes are asserted below; every struct is a
 * multiple of 8 bytes with no hidden padding. Byte order is the host's, ports are in host order.
 */
#ifndef FIRESTEEL_EVENT_H
#define FIRESTEEL_EVENT_H

#ifndef FIRESTEEL_TYPES_DECLARED
#include <linux/types.h>
#endif

#define FS_MAGIC 0x4c545346u /* "FSTL" in a little-endian file */
#define FS_CONTRACT_VERSION 1
#define FS_SCHEMA_VERSION 1

/* clang-format off */
/* One row per event: number, name, struct suffix, what it says. */
#define FS_EVENTS(X)                                                                                    \
	X(1, OPEN, open, "a connection or datagram socket is known: addresses, role, process")          \
	X(2, DATA, data, "a read or write of a stream, or a piece of one, with up to the budget of its bytes")           \
	X(3, EXCHANGE, exchange, "a request and the first chunk of its response, merged in the kernel") \
	X(4, DATAGRAM, datagram, "one datagram sent or received, with its peer")                        \
	X(5, CONNECT, connect, "a TCP connection attempt ended: latency and errno")                     \
	X(6, CLOSE, close, "a connection is gone: final byte counts and TCP health")                    \
	X(7, LISTEN, listen, "a socket started to listen")                                              \
	X(8, TROUBLE, trouble, "a retransmit, reset or dropped packet")                                 \
	X(9, PROCESS, process, "a process started a program or ended")

enum fs_event_type {
#define FS_EVENT_NUMBER(number, name, suffix, help) FS_EV_##name = number,
	FS_EVENTS(FS_EVENT_NUMBER)
#undef FS_EVENT_NUMBER
	FS_EV_COUNT = 10
};

/* Why an event carries no payload although bytes moved. 0 means "nothing is missing". */
#define FS_REASONS(X)                                                                                 \
	X(0, NONE, "payload is complete up to the captured length")                                   \
	X(1, TRUNCATED, "more bytes moved than the budget allows to capture")                         \
	X(2, LENGTH_ONLY, "the engine asked for lengths only on this connection")                     \
	X(3, SYSCALL, "the system call gives no way to find the buffer (io_uring, splice, sendfile)") \
	X(4, NOT_THIS_SOCKET, "the descriptor of the system call is another socket")                  \
	X(5, COMPAT, "a 32-bit system call")                                                          \
	X(6, NOT_RESIDENT, "the user page was not in memory when it was read")                        \
	X(7, DISCARDED, "the application discarded the bytes (MSG_TRUNC)")                            \
	X(8, KERNEL_BUFFER, "the bytes came from kernel memory (sendfile, splice, kernel socket)")    \
	X(9, MESSAGE_INDEX, "which message of recvmmsg or sendmmsg this is could not be proven")      \
	X(10, NO_PROCESS, "the event happened outside of the process (softirq)")

enum fs_reason {
#define FS_REASON_NUMBER(number, name, help) FS_REASON_##name = number,
	FS_REASONS(FS_REASON_NUMBER)
#undef FS_REASON_NUMBER
	FS_REASON_COUNT = 11
};
/* clang-format on */

enum fs_direction { FS_IN = 0, FS_OUT = 1 };
enum fs_role { FS_ROLE_UNKNOWN = 0, FS_ROLE_CLIENT = 1, FS_ROLE_SERVER = 2 };
enum fs_l4 { FS_TCP = 6, FS_UDP = 17 };

enum fs_head_flag {
	FS_LOST_BEFORE = 1 << 0, /* events of this connection were dropped before this one */
	FS_NO_PROCESS = 1 << 1, /* pid, tid and cgroup_id are absent (softirq), not zero */
	FS_PEER_UNKNOWN = 1 << 2 /* a datagram whose peer the hook could not see */
};

enum fs_open_flag {
	FS_OPEN_SEEDED = 1 << 0, /* existed before the agent: found by the iterator */
	FS_OPEN_REPEATED = 1 << 1, /* told again: the engine restarted or the first telling was lost */
	FS_OPEN_LATE = 1 << 2, /* first seen in the middle of its life */
	FS_OPEN_MPTCP = 1 << 3
};

enum fs_trouble_kind {
	FS_TROUBLE_RETRANSMIT = 1,
	FS_TROUBLE_SYNACK_RETRANSMIT = 2,
	FS_TROUBLE_RESET_SENT = 3,
	FS_TROUBLE_RESET_RECEIVED = 4,
	FS_TROUBLE_PACKET_DROPPED = 5
};

enum fs_process_kind { FS_PROCESS_EXEC = 1, FS_PROCESS_EXIT = 2 };

/* First in every event. */
struct fs_head {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 conn_id; /* given by the driver, never reused while it is loaded; 0 when the event has no connection */
	__u64 cgroup_id; /* of the hierarchy in which pods live */
	__u32 pid; /* thread group */
	__u32 tid;
	__u32 netns; /* inode number of the network namespace */
	__u16 type; /* enum fs_event_type */
	__u16 cpu;
	__u32 size; /* of the whole event, payload included, unpadded */
	__u32 flags; /* enum fs_head_flag */
};

/* IPv4 is v4-mapped (::ffff:a.b.c.d); an unspecified address is all zero. */
struct fs_tuple {
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u8 family; /* 4 or 6 */
	__u8 l4; /* enum fs_l4 */
	__u8 role; /* enum fs_role, as connect/accept showed it */
	__u8 reserved;
};

struct fs_open {
	struct fs_head head;
	struct fs_tuple tuple;
	__u64 sock; /* kernel address, an identity only */
	__u64 cookie; /* 0 until somebody asked for it */
	__u64 start_ns; /* when connect or accept happened; 0 if before the agent */
	__u32 send_seq; /* next byte to send and to be read, as raw sequence numbers */
	__u32 recv_seq;
	__u32 srtt_us;
	__u32 open_flags; /* enum fs_open_flag */
	char comm[16]; /* of the thread group leader */
};

/* Payload of `captured` bytes follows. */
struct fs_data {
	struct fs_head head;
	__u64 bytes; /* that moved */
	__u32 seq; /* stream offset of the first byte, raw and modulo 2^32 */
	__u32 peer_seq; /* the other direction's offset at that time */
	__u32 srtt_us;
	__u16 captured;
	__u8 direction; /* enum fs_direction */
	__u8 reason; /* enum fs_reason */
};

/* `first_captured` bytes of the request, then `second_captured` bytes of the response follow. */
struct fs_exchange {
	struct fs_head head; /* time_ns: first chunk of the second message */
	__u64 first_start_ns; /* first and last chunk of the first message */
	__u64 first_end_ns;
	__u64 first_bytes;
	__u64 second_bytes; /* of its first chunk; 0 if it never came */
	__u32 first_seq;
	__u32 second_seq;
	__u32 srtt_us;
	__u16 first_captured;
	__u16 second_captured;
	__u8 direction; /* of the first message */
	__u8 first_reason;
	__u8 second_reason;
	__u8 reserved[5];
};

struct fs_datagram {
	struct fs_head head;
	struct fs_tuple tuple;
	__u32 bytes;
	__u16 captured;
	__u8 direction;
	__u8 reason;
};

struct fs_connect {
	struct fs_head head;
	struct fs_tuple tuple;
	__u64 duration_ns;
	__s32 error; /* 0 or a positive errno; ECANCELED: the application gave up first */
	__u32 reserved;
	char comm[16];
};

struct fs_close {
	struct fs_head head;
	__u64 bytes_sent; /* retransmitted ones once */
	__u64 bytes_received;
	__u32 srtt_us;
	__u32 retransmits;
	__s32 error; /* the socket's last error, positive, or 0 */
	__u32 reserved;
};

struct fs_listen {
	struct fs_head head;
	struct fs_tuple tuple;
	char comm[16];
};

struct fs_trouble {
	struct fs_head head;
	struct fs_tuple tuple;
	__u32 kind; /* enum fs_trouble_kind */
	__u32 reason; /* the kernel's drop reason, for FS_TROUBLE_PACKET_DROPPED */
};

struct fs_process {
	struct fs_head head;
	__u32 kind; /* enum fs_process_kind */
	__u32 parent;
	char comm[16];
};

/* In front of a recording. Recordings stay readable: see docs/recordings.md. */
struct fs_file_head {
	__u32 magic;
	__u16 contract;
	__u16 schema;
	__u64 wall_minus_monotonic_ns; /* to give a time of day to time_ns */
	__u32 head_size; /* of this struct: later versions may be longer */
	__u32 reserved;
	char kernel[64];
	char driver[16];
};

/* Lengths the BPF programs and the engine agree on. */
#define FS_PAYLOAD_MAX 4096
#define FS_LONG_EVENTS 8 /* of one read or write, where the budget is more than one event can hold */
#define FS_MESSAGE_MAX 512 /* the request text kept in socket storage */
#define FS_ANSWER_MAX 128 /* of a response's first chunk in message mode */
#define FS_PREFACE 0x5448202a20495250 /* "PRI * HT", little-endian: how HTTP/2 begins (RFC 9113 3.4) */

#define FS_ASSERT_SIZE(type, bytes) typedef char fs_size_of_##type[(sizeof(struct type) == (bytes)) ? 1 : -1]
FS_ASSERT_SIZE(fs_head, 48);
FS_ASSERT_SIZE(fs_tuple, 40);
FS_ASSERT_SIZE(fs_open, 144);
FS_ASSERT_SIZE(fs_data, 72);
FS_ASSERT_SIZE(fs_exchange, 104);
FS_ASSERT_SIZE(fs_datagram, 96);
FS_ASSERT_SIZE(fs_connect, 120);
FS_ASSERT_SIZE(fs_close, 80);
FS_ASSERT_SIZE(fs_listen, 104);
FS_ASSERT_SIZE(fs_trouble, 96);
FS_ASSERT_SIZE(fs_process, 72);
FS_ASSERT_SIZE(fs_file_head, 104);

#endif
