/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The kernel types that the programs touch, and only the fields they read. The loader moves each access to where the
 * running kernel keeps the field (CO-RE), so order and size here mean nothing; names and types do.
 */
#ifndef FIRESTEEL_KERNEL_H
#define FIRESTEEL_KERNEL_H

#ifdef FS_HEADERS /* BCC: the node's own headers */
#include "headers.h"
#else

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__be32 u6_addr32[4];
	} in6_u;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

typedef struct {
	__s64 counter;
} atomic64_t;

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	unsigned long skc_flags;
	struct proto *skc_prot;
};

/* sendpage went with 6.5 (dc97391e6610): what it sent comes through sendmsg since then. */
struct proto {
	void *sendpage;
};

struct inode {
	unsigned short i_mode;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct socket {
	struct file *file;
	struct sock *sk;
};

struct sock {
	struct sock_common __sk_common;
	int sk_err;
	struct {
		struct sk_buff *head;
	} sk_backlog;
	struct socket *sk_socket;
	__u16 sk_protocol; /* a bit field of 8 bits before 5.6 (bf9765145b85) */
	__u8 sk_kern_sock : 1;
};

struct tcp_sock {
	__u32 copied_seq;
	__u32 rcv_nxt;
	__u32 write_seq;
	__u64 tcp_clock_cache;
	__u32 srtt_us;
	__u64 bytes_received;
	__u64 bytes_sent;
	__u64 bytes_retrans;
	__u32 total_retrans;
	bool is_mptcp;
};

struct request_sock {
	struct sock_common __req_common;
};

struct iovec;

/*
 * Where a send or receive takes or puts its bytes. `ubuf` and its type came with 6.0 (fcb14cb1bdac); `iov` was renamed in
 * 6.4 (de4f5fed3f23); before 5.14 (8cd54c1c8480) one field held type and direction.
 */
struct iov_iter {
	__u8 iter_type;
	unsigned long iov_offset;
	unsigned long count;
	const struct iovec *__iov;
	void *ubuf;
};

struct iov_iter___before_6_4 {
	const struct iovec *iov;
};

struct iov_iter___before_5_14 {
	unsigned int type;
};

/* Only the names count: the numbers changed three times, and are those of the running kernel. */
enum iter_type { ITER_IOVEC, ITER_UBUF };

struct msghdr {
	void *msg_name; /* a copy in the kernel; NULL if the caller did not ask or tell */
	int msg_namelen;
	struct iov_iter msg_iter;
	unsigned int msg_flags;
};

struct sk_buff {
	unsigned char *head;
	__u16 network_header;
	__u16 transport_header;
	__be16 protocol;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

struct css_set {
	struct cgroup_subsys_state *subsys[4];
	struct cgroup *dfl_cgrp;
};

struct thread_info {
#if defined(__TARGET_ARCH_x86)
	__u32 status;
#elif defined(__TARGET_ARCH_arm64)
	unsigned long flags;
#endif
};

struct nsproxy {
	struct net *net_ns;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

/* `numbers` has level + 1 entries: the number of a process in each namespace from the machine's own inwards. */
struct pid {
	unsigned int level;
	struct upid numbers[];
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	int pid;
	int tgid;
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct pid *thread_pid;
	struct css_set *cgroups;
	char comm[16];
};

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r8, cx, ax, dx, si, di, orig_ax, sp;
};
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	__u64 regs[31];
	__u64 sp;
	__u64 orig_x0;
	__s32 syscallno;
};
#endif

/* First in the kernel's struct is one pointer: lets a cast read a pointer out of any array of pointers. */
struct hlist_node;
struct hlist_head {
	struct hlist_node *first;
};

enum sock_flags { SOCK_DONE = 1 };

struct bpf_iter_meta {
	__u64 session_id;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#pragma clang attribute pop

/* Values that are ABI towards user space or have never changed; everything else is asked of BTF. */
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_MPTCP 262
#define MSG_OOB 1
#define MSG_PEEK 2
#define MSG_TRUNC 0x20
#define MSG_DONTWAIT 0x40
#define MSG_ERRQUEUE 0x2000
#define ECANCELED 125
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define PF_IO_WORKER 0x00000010
#define PF_USER_WORKER 0x00004000 /* io_uring's and vhost's, since 6.4 (54e6842d0775) */
#define PF_KTHREAD 0x00200000
#define ENOSYS 38
#define TS_COMPAT 0x0002 /* x86: a 32-bit system call is running */
#define TIF_32BIT 22 /* arm64: a 32-bit process */
#define S_IFMT 0170000
#define S_IFSOCK 0140000

enum tcp_state {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_FIN_WAIT2 = 5,
	TCP_TIME_WAIT = 6,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
	TCP_CLOSING = 11,
	TCP_NEW_SYN_RECV = 12,
};

extern void *bpf_rdonly_cast(const void *object, __u32 btf_id) __ksym __weak; /* a35b9af4ec2c, 6.2 */

#endif
#endif
