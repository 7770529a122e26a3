/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The module from inside. A hook runs on other people's time, with preemption off: it never sleeps, never faults, wakes
 * nobody, and takes only locks of its own, for which it does not wait for ever.
 */
#ifndef FIRESTEEL_KMOD_H
#define FIRESTEEL_KMOD_H

#include "compat.h"
#include "control.h"
#include "interface.h"

#define FST_IOVECS 260 /* pieces of a scattered buffer; the most that gRPC writes at once, a few bytes each */

/* Where the bytes of one call are, as it was at its start: the kernel moves its own iterator on. */
struct fst_source {
	const struct iovec *vector; /* in the kernel's memory as long as the call lasts, or `own` */
	size_t skip; /* so many of its bytes are not meant */
	u16 count;
	u8 reason; /* enum fs_reason; not 0: nothing to read */
	struct iovec own[FST_OWN_IOVECS];
};

enum fst_waiting { FST_WAITING_NOTHING = 0, FST_WAITING_ANSWER = 1, FST_WAITING_FLIP = 2 };

/* The first message of an exchange that waits for its answer (message mode), or bytes that wait for a flip. */
struct fst_pending {
	u64 start_ns;
	u64 end_ns;
	u64 bytes;
	u32 seq;
	u32 peer_seq;
	u16 captured;
	u8 waiting; /* enum fst_waiting */
	u8 direction;
	u8 reason;
	unsigned long claimed; /* bit 0: a thread is at it; another one tells its I/O as it is */
};

enum fst_connection_flag {
	FST_SEEDED = 1 << 0, /* existed before the hooks */
	FST_LOST = 1 << 1, /* an event was dropped */
	FST_EXCLUDED = 1 << 2, /* by port, by process, or the agent's own */
	FST_NO_SEQ = 1 << 3, /* MPTCP: offsets are counted here */
	FST_HTTP2 = 1 << 4 /* its preface was seen */
};

/*
 * What is known of a socket. Entries are numbered from 1 and live as long as a reader does: one that is given back goes
 * to the end of the queue of free ones, so whoever still looks at it sees old facts, never foreign memory.
 */
struct fst_connection {
	const struct sock *sk; /* NULL: free */
	u32 next; /* in its chain */
	u32 epoch; /* the connection was told under this epoch */
	u64 id;
	u64 cgroup_id;
	u64 start_ns;
	u64 last_ns;
	u64 sent; /* bytes that moved through calls that were seen */
	u64 received;
	u32 netns;
	u32 pid;
	u32 tid;
	u8 role;
	u8 flags;
	u8 spoke; /* direction of the last I/O, plus one */
	u8 early; /* I/Os before the engine said how much it wants */
	char comm[16];
	u8 *text; /* FS_MESSAGE_MAX bytes once it has been in message mode */
	struct fst_pending pending;
};

/* What there is while somebody reads. Hooks are in place only in between, so they need not ask whether it is there. */
struct fst_session {
	struct fs_control *control;
	u64 *modes;
	struct fs_cpu_counters *counters;
	u32 pid_namespace;
	u32 hierarchy;
};

extern struct fst_session fst;

/* The ring: reserved, filled, committed, in any order by any processor. */
int fst_ring_create(u32 bytes);
void fst_ring_free(void);
int fst_ring_map(struct vm_area_struct *vma);
void *fst_reserve(u16 type, u32 bytes);
void fst_commit(const void *event, u16 type);
void fst_discard(const void *event);
struct fs_cpu_counters *fst_counters(void);
void fst_head(struct fs_head *head, u16 type, u32 size, u64 time_ns);
void fst_head_outside(struct fs_head *head, u16 type, u32 size);
void fst_head_for(struct fs_head *head, u16 type, u32 size, u64 time_ns, struct fst_connection *c, bool in_process);

static inline void fst_count(__u64 *counter)
{
	atomic64_inc((atomic64_t *)counter);
}

static inline void fst_count_absent(u8 reason)
{
	if (reason)
		fst_count(&fst_counters()->absent[reason & 15]);
}

/* Locks that are given up after a while. */
bool fst_lock(raw_spinlock_t *lock, unsigned long *flags);
void fst_unlock(raw_spinlock_t *lock, unsigned long flags);

/* Connections by socket. */
u64 fst_connections_bytes(void);
int fst_connections_create(void);
void fst_connections_free(void);
struct fst_connection *fst_find(const struct sock *sk);
struct fst_connection *fst_find_or_begin(const struct sock *sk, u8 role, u64 now, u8 flags);
void fst_begin(struct fst_connection *c, const struct sock *sk, u8 role, u64 now);
void fst_forget(struct fst_connection *c);
bool fst_text(struct fst_connection *c);
void fst_adopt(struct fst_connection *c, struct task_struct *task);
bool fst_tell(struct fst_connection *c, const struct sock *sk, u32 sending, u32 reading);
u64 fst_slot_of(const struct fst_connection *c);
bool fst_ensure_told(struct fst_connection *c, const struct sock *sk, u8 type, int result, u8 direction);
struct fst_connection *fst_connection_of(const struct sock *sk);

/* Sockets and processes. */
bool fst_is_inet(const struct sock *sk);
bool fst_is_stream(const struct sock *sk);
bool fst_is_udp(const struct sock *sk);
const struct tcp_sock *fst_tcp(const struct sock *sk);
u32 fst_bytes_read(const struct sock *sk, const struct tcp_sock *tcp);
u32 fst_bytes_written(const struct sock *sk, const struct tcp_sock *tcp);
void fst_map_ipv4(u8 out[16], __be32 address);
void fst_tuple(const struct sock *sk, u8 role, struct fs_tuple *tuple);
bool fst_port_excluded(u16 port);
bool fst_ports_excluded(const struct sock *sk);
u64 fst_process_of(struct task_struct *task);
u32 fst_parent_of(struct task_struct *task);
bool fst_is_left_out(u32 pid);
u64 fst_cgroup_of(struct task_struct *task);

/* Payload. */
void fst_find_source(struct fst_source *source, const struct msghdr *msg, const struct sock *sk, int flags);
u32 fst_copy(void *out, u32 limit, const struct fst_source *source, u64 bytes, u8 *reason);

/* What the hooks call. */
void fst_stream_io(struct sock *sk, struct fst_source *source, int result, u8 direction);
void fst_datagram_io(struct sock *sk, const struct msghdr *msg, const struct fst_source *source, int result,
		     u8 direction);
void fst_flush(struct fst_connection *c);
void fst_state_changed(const struct sock *sk, int from, int to);
void fst_listening(struct fst_connection *c, const struct sock *sk);
void fst_closed(const struct sock *sk, bool gone);
void fst_released(const struct sock *sk);
void fst_process(struct task_struct *task, u32 kind);
void fst_trouble(const struct sock *sk, u32 kind);
void fst_trouble_of_request(const struct sock *listener, const struct request_sock *request);
void fst_trouble_of_packet(const struct sk_buff *skb, u32 kind, u32 reason);
void fst_dropped(const struct sk_buff *skb, u32 reason);

/* The table of hooks. */
int fst_hooks_place(void);
void fst_hooks_remove(void);
u64 fst_hooks_missed(void);
int fst_hook_describe(struct fs_kmod_hook *row);

int fst_seed(void);

int fst_proc_create(void);
void fst_proc_remove(void);

static inline bool fst_is_listening(void)
{
	return READ_ONCE(fst.control->epoch) != 0;
}

#endif
