/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * How user space talks to the module: /proc/firesteel, mode 0400 and CAP_SYS_MODULE, one reader at a time.
 *
 *   open          EBUSY while another reader, or a descriptor that one was given, is alive
 *   FS_KMOD_HELLO what the module speaks. Its magic and numbers never move, whatever the version
 *   FS_KMOD_START memory is reserved and the hooks are put in place; E2BIG, EINVAL, ENOMEM, EPROTO, ENODEV
 *   FS_KMOD_HOOK  a row of the hook table; ENOENT past the last one
 *   FS_KMOD_OPEN  a descriptor of its own for each part:
 *                   ring      mapped like a BPF ring: consumer page at 0, producer page and twice the data behind it
 *                   control   struct fs_control            modes  __u64[FS_SLOTS]
 *                   counters  struct fs_cpu_counters[FS_CPUS], read-only
 *                   seed      a read tells the connections that are older than the module, and returns 0
 *
 * What a part is mapped for needs no privilege, so the descriptors may be handed on. When the last of them and the last
 * mapping are gone, every hook is taken off and the memory is freed, whoever died in whatever order. The module stays,
 * does nothing, and can be started again or removed.
 */
#ifndef FIRESTEEL_KMOD_INTERFACE_H
#define FIRESTEEL_KMOD_INTERFACE_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define FS_KMOD_VERSION "0.1.0"
#define FS_KMOD_INTERFACE 1

struct fs_kmod_hello {
	__u32 magic; /* FS_MAGIC */
	__u32 interface; /* of this file */
	__u32 contract; /* FS_CONTRACT_VERSION */
	__u32 schema; /* FS_SCHEMA_VERSION */
	char version[16];
	char built_for[64]; /* the kernel's release */
};

enum fs_kmod_hierarchy { FS_KMOD_CGROUP_V2 = 0, FS_KMOD_CGROUP_MEMORY = 1 };

struct fs_kmod_start {
	__u32 contract;
	__u32 ring_bytes; /* a power of two, at least a page */
	__u32 hierarchy; /* in which pods live: enum fs_kmod_hierarchy */
	__u32 pid_namespace; /* inode number, on a node that is a container; else 0 */
};

enum fs_kmod_part { FS_KMOD_RING = 0, FS_KMOD_CONTROL = 1, FS_KMOD_MODES = 2, FS_KMOD_COUNTERS = 3, FS_KMOD_SEED = 4 };

struct fs_kmod_hook {
	__u32 index; /* given by the caller */
	__s32 result; /* 0: in place; a negative errno; 1: another row does its work */
	__u64 missed; /* times it should have run and could not */
	char name[32];
	char kind[16]; /* kretprobe, kprobe, tracepoint */
};

#define FS_KMOD_IOCTL 0xF5
#define FS_KMOD_HELLO _IOR(FS_KMOD_IOCTL, 0, struct fs_kmod_hello)
#define FS_KMOD_START _IOW(FS_KMOD_IOCTL, 1, struct fs_kmod_start)
#define FS_KMOD_HOOK _IOWR(FS_KMOD_IOCTL, 2, struct fs_kmod_hook)
#define FS_KMOD_OPEN _IO(FS_KMOD_IOCTL, 3) /* enum fs_kmod_part; returns the descriptor */

#endif
