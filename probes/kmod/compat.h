/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every use of a kernel interface that changed between 3.10 and the newest kernel is in this file and its parts at the end,
 * with the version and the commit that changed it; which functions and tracepoints there are to watch is in handlers.c. What
 * a kernel has is found by compiling (features.sh), never by its version: distributions carry changes back, so the versions
 * here are those of kernel.org and for the reader.
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

/* 4.20, 3e4243a7d2b9 and 45975c7d21a1: the flavours of RCU became one; 5.1 dropped the old name (6ba7d681aca2). */
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

#include "compat_probes.h"
#include "compat_processes.h"
#include "compat_sockets.h"

#endif
