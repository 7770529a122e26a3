/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every use of a kernel interface that changed between 3.10 and the newest kernel is in this file, with the version and
 * the commit that changed it. What a kernel has is found by compiling (features.sh), never by its version: distributions
 * carry changes back, so the versions here are those of kernel.org and for the reader.
 */
#ifndef FIRESTEEL_KMOD_COMPAT_H
#define FIRESTEEL_KMOD_COMPAT_H

#include "config.h"

#include <linux/atomic.h>
#include <linux/cgroup.h>
#include <linux/file.h>
#include <linux/fdtable.h>
#include <linux/fs.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/kprobes.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/pid_namespace.h>
#include <linux/proc_fs.h>
#include <linux/ptrace.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <linux/socket.h>
#include <linux/spinlock.h>
#include <linux/tcp.h>
#include <linux/tracepoint.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <linux/vmalloc.h>
#include <net/inet_common.h>
#include <net/inet_sock.h>
#include <net/net_namespace.h>
#include <net/request_sock.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <trace/events/sched.h>
#include <trace/events/skb.h>

/* 3.14, b8441ed279bf: directories of cgroups moved from a file system of their own to kernfs. */
#ifdef HAVE_KERNFS_H
#include <linux/kernfs.h>
#endif
/* 4.11, 2a1f062a4acf and c3edc4010e9d: linux/sched.h was taken apart. */
#ifdef HAVE_SCHED_SIGNAL_H
#include <linux/sched/signal.h>
#endif
#ifdef HAVE_SCHED_TASK_H
#include <linux/sched/task.h>
#endif
/* 4.14, fe33311f3e8d (sock.h) and 4.15, e086101b150a (tcp.h): tracepoints of sockets. */
#ifdef HAVE_TRACE_SOCK_H
#include <trace/events/sock.h>
#endif
#ifdef HAVE_TRACE_TCP_H
#include <trace/events/tcp.h>
#endif

/* 3.19, 230fa253df63: READ_ONCE and WRITE_ONCE. ACCESS_ONCE, which they replaced, went in 4.15 (b899a850431e). */
#ifndef HAVE_READ_ONCE
#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile typeof(x) *)&(x) = (value))
#endif

/* 3.14, 47933ad41a86: acquire and release. */
#ifndef HAVE_LOAD_ACQUIRE
#define smp_load_acquire(p)                               \
	({                                                \
		typeof(*(p)) fst_value = READ_ONCE(*(p)); \
		smp_mb();                                 \
		fst_value;                                \
	})
#define smp_store_release(p, value)        \
	do {                               \
		smp_mb();                  \
		WRITE_ONCE(*(p), (value)); \
	} while (0)
#endif

/* 3.17, 897994e32b2b: the clock in nanoseconds without a detour. */
static inline u64 fst_now(void)
{
#ifdef HAVE_KTIME_GET_NS
	return ktime_get_ns();
#else
	return ktime_to_ns(ktime_get());
#endif
}

/* 4.20, 3e4243a7d2b9 and 45975c7d21a1: the flavours of RCU became one; 5.1 dropped the old name. */
static inline void fst_wait_for_hooks(void)
{
#ifdef HAVE_SYNCHRONIZE_SCHED
	synchronize_sched();
#else
	synchronize_rcu();
#endif
}

/* 4.5, a9bb7e620efd: kernel memory that is charged to the group of whoever asked for it. */
#ifdef HAVE_GFP_ACCOUNT
#define FST_GFP GFP_KERNEL_ACCOUNT
#else
#define FST_GFP GFP_KERNEL
#endif

/* 6.3, bc292ab00f6c: vm_flags can be changed by functions only. */
static inline void fst_vma_restrict(struct vm_area_struct *vma, bool writable)
{
	unsigned long never = VM_MAYEXEC | (writable ? 0 : VM_MAYWRITE);
#ifdef HAVE_VM_FLAGS_CLEAR
	vm_flags_clear(vma, never);
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
#else
	vma->vm_flags &= ~never;
	vma->vm_flags |= VM_DONTEXPAND | VM_DONTDUMP;
#endif
}

/* 5.6, d56c0d45f0e2: files of /proc have operations of their own. They do not hold the module: proc.c does. */
#ifdef HAVE_PROC_OPS
#define FST_PROC_OPERATIONS(name, on_open, on_release, on_ioctl) \
	static const struct proc_ops name = {.proc_open = on_open, .proc_release = on_release, .proc_ioctl = on_ioctl}
#else
#define FST_PROC_OPERATIONS(name, on_open, on_release, on_ioctl) \
	static const struct file_operations name = {             \
		.owner = THIS_MODULE, .open = on_open, .release = on_release, .unlocked_ioctl = on_ioctl}
#endif

/* --- probes ------------------------------------------------------------------------------------------------------ */

/* The n-th argument of a function at its first instruction. regs_get_kernel_argument came in 4.20 (3c88ee194c28). */
static inline unsigned long fst_argument(struct pt_regs *regs, unsigned int n)
{
#if defined(CONFIG_X86_64)
	switch (n) {
	case 0: return regs->di;
	case 1: return regs->si;
	case 2: return regs->dx;
	case 3: return regs->cx;
	case 4: return regs->r8;
	default: return 0;
	}
#elif defined(CONFIG_ARM64)
	return n < 8 ? regs->regs[n] : 0;
#else
#error "name the registers in which this machine passes arguments"
#endif
}

/* 4.1, 1b784140474e: inet_sendmsg and inet_recvmsg lost their first argument, a struct kiocb. */
#ifdef HAVE_SENDMSG_IOCB
#define FST_ARGUMENT_SOCKET 1
#else
#define FST_ARGUMENT_SOCKET 0
#endif
#define FST_ARGUMENT_MESSAGE (FST_ARGUMENT_SOCKET + 1)
#define FST_ARGUMENT_RECEIVE_FLAGS (FST_ARGUMENT_SOCKET + 3)

/*
 * 3.15, de7b2973903c: a tracepoint is registered by its structure, no longer by its name. The structures of most are not
 * exported, but may be walked over (for_each_kernel_tracepoint, the same commit).
 */
struct fst_tracepoint_search {
	const char *name;
	struct tracepoint *found;
};

#ifdef HAVE_TRACEPOINT_BY_POINTER
static inline void fst_tracepoint_compare(struct tracepoint *tracepoint, void *data)
{
	struct fst_tracepoint_search *search = data;
	if (!strcmp(tracepoint->name, search->name))
		search->found = tracepoint;
}

static inline int fst_tracepoint_place(const char *name, void *probe)
{
	struct fst_tracepoint_search search = {.name = name, .found = NULL};
	for_each_kernel_tracepoint(fst_tracepoint_compare, &search);
	return search.found ? tracepoint_probe_register(search.found, probe, NULL) : -ENOENT;
}

static inline void fst_tracepoint_remove(const char *name, void *probe)
{
	struct fst_tracepoint_search search = {.name = name, .found = NULL};
	for_each_kernel_tracepoint(fst_tracepoint_compare, &search);
	if (search.found)
		tracepoint_probe_unregister(search.found, probe, NULL);
}
#else
static inline int fst_tracepoint_place(const char *name, void *probe)
{
	return tracepoint_probe_register(name, probe, NULL);
}

static inline void fst_tracepoint_remove(const char *name, void *probe)
{
	tracepoint_probe_unregister(name, probe, NULL);
}
#endif

/*
 * What tracepoints hand over, where that changed. handlers.c has the compiler check each against the kernel's declaration.
 *   tcp_retransmit_skb  4.15 (e086101b150a) sent segments only; 6.16 every attempt, with its error
 *   tcp_send_reset      4.15 (c24b14c46bb8); 6.10 with the reason
 *   kfree_skb           5.17 (c504e5c2f964) with the reason; 6.11 with the receiving socket, later a const one
 *   sched_process_exit  6.16 says whether the whole group is dead
 */
#ifdef HAVE_TRACE_RETRANSMIT_ERR
#define HAVE_RETRANSMIT 1
#define FST_RETRANSMIT_ARGUMENTS void *data, const struct sock *sk, const struct sk_buff *skb, int error
#define FST_RETRANSMIT_ERROR error
#else
#ifdef HAVE_TRACE_RETRANSMIT
#define HAVE_RETRANSMIT 1
#endif
#define FST_RETRANSMIT_ARGUMENTS void *data, const struct sock *sk, const struct sk_buff *skb
#define FST_RETRANSMIT_ERROR 0
#endif

#ifdef HAVE_TRACE_SEND_RESET_REASON
#define HAVE_SEND_RESET 1
#define FST_SEND_RESET_ARGUMENTS \
	void *data, const struct sock *sk, const struct sk_buff *skb, const enum sk_rst_reason why
#else
#ifdef HAVE_TRACE_SEND_RESET
#define HAVE_SEND_RESET 1
#endif
#define FST_SEND_RESET_ARGUMENTS void *data, const struct sock *sk, const struct sk_buff *skb
#endif

#if defined(HAVE_TRACE_DROP_CONST_SOCK)
#define HAVE_DROP 1
#define FST_DROP_ARGUMENTS \
	void *data, struct sk_buff *skb, void *place, enum skb_drop_reason reason, const struct sock *sk
#elif defined(HAVE_TRACE_DROP_SOCK)
#define HAVE_DROP 1
#define FST_DROP_ARGUMENTS void *data, struct sk_buff *skb, void *place, enum skb_drop_reason reason, struct sock *sk
#elif defined(HAVE_TRACE_DROP)
#define HAVE_DROP 1
#define FST_DROP_ARGUMENTS void *data, struct sk_buff *skb, void *place, enum skb_drop_reason reason
#endif

#ifdef HAVE_TRACE_EXIT_GROUP
#define FST_EXIT_ARGUMENTS void *data, struct task_struct *task, bool group_is_dead
#else
#define FST_EXIT_ARGUMENTS void *data, struct task_struct *task
#endif

/* --- messages and memory ----------------------------------------------------------------------------------------- */

/*
 * The parts of the user's buffer: at most `most`, the first without its first `skip` bytes; NULL if the bytes are not in
 * user memory. `own` is the caller's, for what the kernel has no vector of, or changes. What changed:
 *   3.19, c0371da6047a   msg_iov and msg_iovlen, whose entries were moved on, became an iterator over entries that stay
 *   4.1,  777eda2c5bd9   iter_is_iovec; until then the type's bits said so
 *   6.0,  fcb14cb1bdac   a single user buffer is a kind of its own, ITER_UBUF
 *   6.4,  de4f5fed3f23   the entries are asked for with iter_iov
 */
#ifdef HAVE_MSG_ITER
#define FST_OWN_IOVECS 1
#else
#define FST_OWN_IOVECS 8
#endif

static inline const struct iovec *fst_user_vector(const struct msghdr *msg, struct iovec *own, unsigned int most,
						  size_t *skip, u16 *count)
{
#ifdef HAVE_MSG_ITER
	const struct iov_iter *iter = &msg->msg_iter;

	*skip = iter->iov_offset;
#ifdef HAVE_ITER_IS_UBUF
	if (iter_is_ubuf(iter)) {
		own[0].iov_base = iter->ubuf;
		own[0].iov_len = *skip + iov_iter_count(iter);
		*count = 1;
		return own;
	}
#endif
#ifdef HAVE_ITER_IS_IOVEC
	if (!iter_is_iovec(iter))
		return NULL;
#else
	if (iter->type & (ITER_KVEC | ITER_BVEC))
		return NULL;
#endif
	*count = min_t(unsigned long, iter->nr_segs, most);
#ifdef HAVE_ITER_IOV
	return iter_iov(iter);
#else
	return iter->iov;
#endif
#else
	unsigned long i;

	*skip = 0;
	*count = 0;
	/* The kernel's own messages look the same, and say so with the address limit, which went in 5.18 (967747bbc084). */
	if (segment_eq(get_fs(), KERNEL_DS))
		return NULL;
	for (i = 0; i < msg->msg_iovlen && *count < min_t(unsigned int, most, FST_OWN_IOVECS); i++)
		if (msg->msg_iov[i].iov_len)
			own[(*count)++] = msg->msg_iov[i];
	return own;
#endif
}

/*
 * Copies from the current process without ever faulting a page in, sleeping or complaining. Returns how many bytes are
 * missing.
 *   4.13, 3448890c32c3   raw_copy_from_user; since 5.18 (0aef499f3172) the checked forms may look vmalloc areas up
 *   5.0,  96d4f267e40f   access_ok lost its first argument
 */
static inline unsigned long fst_copy_from_user(void *to, const void __user *from, unsigned long bytes)
{
	unsigned long missing = bytes;

	pagefault_disable();
#ifdef HAVE_ACCESS_OK_OF_TWO
	if (access_ok(from, bytes))
#else
	if (access_ok(VERIFY_READ, from, bytes))
#endif
#ifdef HAVE_RAW_COPY_FROM_USER
		missing = raw_copy_from_user(to, from, bytes);
#else
		missing = __copy_from_user_inatomic(to, from, bytes);
#endif
	pagefault_enable();
	return missing;
}

/* --- sockets ----------------------------------------------------------------------------------------------------- */

/*
 * A socket that the kernel made for itself. 4.11, cdfbabfb2f0c: sk_kern_sock; until then what has a socket structure but
 * no file is one.
 */
static inline bool fst_is_kernels_own(const struct sock *sk)
{
#ifdef HAVE_SK_KERN_SOCK
	return sk->sk_kern_sock;
#else
	const struct socket *socket = READ_ONCE(sk->sk_socket);
	return socket && !socket->file;
#endif
}

/* 3.19, 435d5f4bb2cc: namespaces have a common part; 3.8 (98f842e675f9) to 3.18 the number was in struct net itself. */
static inline u32 fst_netns_of(const struct net *net)
{
#ifdef HAVE_NS_COMMON
	return net->ns.inum;
#else
	return net->proc_inum;
#endif
}

/* The same for process namespaces. */
static inline u32 fst_pid_namespace_number(const struct pid_namespace *namespace)
{
#ifdef HAVE_PID_NS_COMMON
	return namespace->ns.inum;
#else
	return namespace->proc_inum;
#endif
}

/* 4.1, 33cf7c90fe2f: cookies stand in the socket; before, they were its address. */
static inline u64 fst_cookie_of(const struct sock *sk)
{
#ifdef HAVE_SKC_COOKIE
	return atomic64_read(&((struct sock *)sk)->__sk_common.skc_cookie);
#else
	return 0;
#endif
}

/* 3.13, efe4208f47f9: IPv6 addresses moved from struct ipv6_pinfo into what all sockets have in common. */
static inline void fst_ipv6_addresses(const struct sock *sk, u8 local[16], u8 remote[16])
{
#if IS_ENABLED(CONFIG_IPV6)
#ifdef HAVE_SKC_V6
	memcpy(local, &sk->__sk_common.skc_v6_rcv_saddr, 16);
	memcpy(remote, &sk->__sk_common.skc_v6_daddr, 16);
#else
	const struct ipv6_pinfo *ipv6 = inet_sk(sk)->pinet6;
	if (ipv6) {
		memcpy(local, &ipv6->rcv_saddr, 16);
		memcpy(remote, &ipv6->daddr, 16);
	}
#endif
#endif
}

struct fst_half_open {
	__be32 local;
	__be32 remote;
	u8 local6[16];
	u8 remote6[16];
	u16 family;
	u16 local_port;
	u16 remote_port;
};

/*
 * Addresses of a connection of which only a SYN has come. 3.13, 634fb979e8f3: its fields were named after those of
 * sockets (ir_*) and the local port was kept (4.4 for the listener's sake, 4bdc3d66147b).
 */
static inline void fst_request_addresses(const struct sock *listener, const struct request_sock *request,
					 struct fst_half_open *half)
{
	const struct inet_request_sock *ireq = inet_rsk(request);

	memset(half, 0, sizeof(*half));
	half->family = listener->sk_family;
#ifdef HAVE_REQUEST_IR_V6
	half->local = ireq->ir_loc_addr;
	half->remote = ireq->ir_rmt_addr;
	half->remote_port = ntohs(ireq->ir_rmt_port);
#ifdef HAVE_REQUEST_IR_NUM
	half->local_port = ireq->ir_num;
	half->family = ireq->ireq_family;
#else
	half->local_port = inet_sk(listener)->inet_num;
#endif
#if IS_ENABLED(CONFIG_IPV6)
	memcpy(half->local6, &ireq->ir_v6_loc_addr, 16);
	memcpy(half->remote6, &ireq->ir_v6_rmt_addr, 16);
#endif
#else
	half->local = ireq->loc_addr;
	half->remote = ireq->rmt_addr;
	half->remote_port = ntohs(ireq->rmt_port);
	half->local_port = inet_sk(listener)->inet_num;
#if IS_ENABLED(CONFIG_IPV6)
	if (half->family == AF_INET6) {
		memcpy(half->local6, &inet6_rsk(request)->loc_addr, 16);
		memcpy(half->remote6, &inet6_rsk(request)->rmt_addr, 16);
	}
#endif
#endif
}

/* 4.1, 10feb428a504: the state of a connection of which only a SYN has come. */
#ifdef HAVE_NEW_SYN_RECV
#define FST_NEW_SYN_RECV TCP_NEW_SYN_RECV
#else
#define FST_NEW_SYN_RECV 12
#endif

/* 3.15, 740b0f1841f6: the smoothed round trip is kept in microseconds; before, in ticks. Both times eight. */
static inline u32 fst_srtt_us(const struct tcp_sock *tcp)
{
#ifdef HAVE_SRTT_US
	return READ_ONCE(tcp->srtt_us) >> 3;
#else
	return jiffies_to_usecs(READ_ONCE(tcp->srtt)) >> 3;
#endif
}

/* The clock that a TCP socket keeps, in nanoseconds; 0 where there is none. 4.20, 9799ccb0e984 and its neighbours. */
static inline u64 fst_tcp_clock(const struct tcp_sock *tcp)
{
#ifdef HAVE_TCP_CLOCK_CACHE
	return READ_ONCE(tcp->tcp_clock_cache);
#else
	return 0;
#endif
}

/*
 * Bytes that a connection sent, what was sent again counted once; what was read is given by `counted` where the kernel
 * keeps no account.
 *   4.1,  bdd1f9edacb5   bytes_received (with the FIN)
 *   4.19, ba113c3aa79a and fb31c9b9f6c8   bytes_sent, bytes_retrans
 */
static inline u64 fst_tcp_bytes_sent(const struct tcp_sock *tcp, u64 counted)
{
#ifdef HAVE_TCP_BYTES_SENT
	return tcp->bytes_sent - tcp->bytes_retrans;
#else
	return counted;
#endif
}

static inline u64 fst_tcp_bytes_received(const struct tcp_sock *tcp, bool fin, u64 counted)
{
#ifdef HAVE_TCP_BYTES_RECEIVED
	return tcp->bytes_received - (fin ? 1 : 0);
#else
	return counted;
#endif
}

/* 5.6, eda7acddf808: MPTCP, and the subflows that it is made of. Its protocol number needs 16 bits (bf9765145b85). */
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static inline bool fst_is_subflow(const struct tcp_sock *tcp)
{
#if defined(HAVE_TCP_IS_MPTCP) && IS_ENABLED(CONFIG_MPTCP)
	return tcp && tcp->is_mptcp;
#else
	return false;
#endif
}

/* --- control groups ---------------------------------------------------------------------------------------------- */

/*
 * The number of a group's directory, which is what user space finds with stat.
 *   3.14 (2bd59d48ebfb) kernfs; its inode numbers: 3.14 ino, 4.14 (c53cd490b1a2) in a union with the generation,
 *   5.5 (67c0496e87d1) 64 bits named id
 */
static inline u64 fst_cgroup_number(const struct cgroup *cgroup)
{
#ifdef HAVE_CGROUP_KN
#if defined(HAVE_KERNFS_ID_64)
	return cgroup->kn->id;
#elif defined(HAVE_KERNFS_ID_UNION)
	return cgroup->kn->id.ino;
#else
	return cgroup->kn->ino;
#endif
#else
	const struct dentry *dentry = cgroup->dentry;
	return dentry && dentry->d_inode ? dentry->d_inode->i_ino : 0;
#endif
}

/* 3.16, 944196278d3d: the unified hierarchy. 3.15, 073219e995b4: controllers are numbered by their name with _cgrp_id. */
static inline u64 fst_task_cgroup(struct task_struct *task, bool memory)
{
#ifdef CONFIG_CGROUPS
	const struct css_set *set = rcu_dereference_raw(task->cgroups);
	const struct cgroup_subsys_state *state = NULL;

#if defined(CONFIG_MEMCG) && defined(HAVE_MEMORY_CGRP_ID)
	if (memory)
		state = READ_ONCE(set->subsys[memory_cgrp_id]);
#elif defined(CONFIG_MEMCG)
	if (memory)
		state = READ_ONCE(set->subsys[mem_cgroup_subsys_id]);
#endif
	if (state)
		return fst_cgroup_number(state->cgroup);
#ifdef HAVE_DFL_CGRP
	return fst_cgroup_number(READ_ONCE(set->dfl_cgrp));
#endif
#endif
	return 0;
}

#endif
