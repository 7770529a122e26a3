/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * In place of kernel.h where the node's own kernel headers are compiled in (BCC): the kernel's types are the real ones, so
 * a field is where the compiler sees it, and what CO-RE asks at load time is answered here. probes/bcc_source.py looks for
 * the HAVE_ features in the headers, for distributions move them between versions.
 */
#ifndef FIRESTEEL_HEADERS_H
#define FIRESTEEL_HEADERS_H

#include <linux/version.h>
#include <linux/sched.h>
#include <linux/nsproxy.h>
#include <linux/pid_namespace.h>
#include <linux/cgroup-defs.h>
#include <linux/kernfs.h>
#include <linux/fs.h>
#include <linux/net.h>
#include <linux/socket.h>
#include <linux/uio.h>
#include <linux/tcp.h>
#include <linux/skbuff.h>
#include <linux/if_ether.h>
#include <net/net_namespace.h>
#include <net/sock.h>
#include <net/inet_sock.h>
#include <net/request_sock.h>
#include <net/tcp_states.h>

#undef __noinline
#define __noinline __always_inline /* BCC makes one function of each program */
#ifndef __always_inline
#define __always_inline inline __attribute__((__always_inline__))
#endif
#undef SEC
#define SEC(name)
/* Names that the kernel has as well. */
#define current_task fs_current_task

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define S_IFMT 0170000
#define S_IFSOCK 0140000

#define bpf_ntohs(value) __builtin_bswap16(value)
#define bpf_htons(value) __builtin_bswap16(value)
#define bpf_ntohl(value) __builtin_bswap32(value)
#define barrier_var(variable) asm volatile("" : "+r"(variable))

/*
 * Before 5.2 a program has 4096 instructions at most (c04c0d2b968a), and before 5.3 no loops (2589726d12a1): then a buffer is
 * told as far as its first part goes. Before 5.5 the engine cannot reach the modes (fc9702273e2e), so there is one.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 3, 0) && !defined(FS_SHORT)
#define FS_SHORT
#endif
#if (LINUX_VERSION_CODE < KERNEL_VERSION(5, 5, 0) || defined(FS_SHORT)) && !defined(FS_ONE_MODE)
#define FS_ONE_MODE
#endif

/* Since 5.5 (6ae08ae3dea2); before, one helper reads both. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 5, 0)
#define bpf_probe_read_kernel bpf_probe_read
#define bpf_probe_read_user bpf_probe_read
#endif

#define FS_READ_1(object, a)                                                                            \
	({                                                                                              \
		typeof((object)->a) fs_value;                                                           \
		bpf_probe_read_kernel((void *)&fs_value, sizeof(fs_value), (const void *)&(object)->a); \
		fs_value;                                                                               \
	})
#define FS_READ_2(object, a, b) FS_READ_1(FS_READ_1(object, a), b)
#define FS_READ_3(object, a, b, c) FS_READ_1(FS_READ_2(object, a, b), c)
#define FS_READ_4(object, a, b, c, d) FS_READ_1(FS_READ_3(object, a, b, c), d)
#define FS_NTH(_1, _2, _3, _4, name, ...) name
#define BPF_CORE_READ(object, ...) \
	FS_NTH(__VA_ARGS__, FS_READ_4, FS_READ_3, FS_READ_2, FS_READ_1, 0)(object, __VA_ARGS__)
#define FS_INTO(out, object, a) bpf_probe_read_kernel((void *)(out), sizeof(*(out)), (const void *)&(object)->a)
#define FS_INTO_1(out, object, a) FS_INTO(out, object, a)
#define FS_INTO_2(out, object, a, b) FS_INTO(out, FS_READ_1(object, a), b)
#define FS_INTO_3(out, object, a, b, c) FS_INTO(out, FS_READ_2(object, a, b), c)
#define BPF_CORE_READ_INTO(out, object, ...) \
	FS_NTH(__VA_ARGS__, 0, FS_INTO_3, FS_INTO_2, FS_INTO_1, 0)(out, object, __VA_ARGS__)
#define bpf_core_read(out, size, from) bpf_probe_read_kernel((void *)(out), size, (const void *)(from))
#define bpf_core_enum_value(type, name) ((__u64)(name))
#define bpf_core_enum_value_exists(type, name) ((name) != FS_NO_SUCH_VALUE)
#define FS_NO_SUCH_VALUE 0x7fff

/* No field that is asked for is as wide: so this one says that there is none. */
typedef __int128 fs_no_such_field;
#define bpf_core_field_exists(field) (sizeof(field) != sizeof(fs_no_such_field))

/*
 * Bit fields have no address. sk_kern_sock is the second bit of its byte or word in all versions; what stands after it
 * changed in 5.6 (bf9765145b85) and 6.9 (5d4cc87414c5).
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
#define FS_SOCK_BITS (__builtin_offsetof(struct sock, sk_shutdown) - 1)
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(5, 6, 0)
#define FS_SOCK_BITS (__builtin_offsetof(struct sock, sk_pacing_shift) - 1)
#else
#define FS_SOCK_BITS __builtin_offsetof(struct sock, __sk_flags_offset)
#endif
static __always_inline __u32 fs_sock_bits(const struct sock *sk)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 6, 0)
	__u8 bits = 0;
#else
	__u32 bits = 0;
#endif
	bpf_probe_read_kernel(&bits, sizeof(bits), (const void *)sk + FS_SOCK_BITS);
	return bits;
}
#define FS_BITS_OF_sk_kern_sock(sk) (fs_sock_bits(sk) >> 1 & 1)
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 6, 0)
#define FS_BITS_OF_sk_protocol(sk) FS_READ_1(sk, sk_protocol)
#else
#define FS_BITS_OF_sk_protocol(sk) (fs_sock_bits(sk) >> 8 & 0xff)
#endif
#define BPF_CORE_READ_BITFIELD_PROBED(object, field) FS_BITS_OF_##field(object)

/* What newer or older kernels have instead. See kernel.h for the versions. */
#ifdef HAVE_ITER_TYPE
struct iov_iter___before_5_14 {
	fs_no_such_field type;
};
#else
#define iov_iter___before_5_14 iov_iter
#define iter_type type
#endif
#ifdef HAVE_ITER_IOV_RENAMED
struct iov_iter___before_6_4 {
	fs_no_such_field iov;
};
#else
#define iov_iter___before_6_4 iov_iter
#define __iov iov
#endif
#ifndef HAVE_ITER_UBUF
#define ITER_UBUF FS_NO_SUCH_VALUE
#define ubuf __iov
#endif
#ifndef HAVE_SENDPAGE
#define sendpage close /* nobody asks: inet_sendpage is gone as well */
#endif
#ifndef HAVE_MPTCP
#define is_mptcp srtt_us /* only the kernel's own sockets are asked */
#endif
#ifndef HAVE_CLOCK_CACHE
#define tcp_clock_cache tcp_mstamp * 1000 /* microseconds before 4.20 (864e5c090749) */
#endif

/*
 * Maps and settings are named by number here: probes/bcc_source.py puts FS_MAP and FS_VALUE in the place of their
 * declarations, and probes/bcc.py the descriptors in the place of the numbers. So what was compiled once can be loaded any
 * number of times.
 */
#define FS_MAP_MARK 0x46530000

struct fs_map {
	char unused;
};

static void *(*fs_map_lookup)(const void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*fs_map_update)(void *map, const void *key, const void *value,
			     __u64 flags) = (void *)BPF_FUNC_map_update_elem;
static long (*fs_map_delete)(void *map, const void *key) = (void *)BPF_FUNC_map_delete_elem;
#define bpf_map_lookup_elem fs_map_lookup
#define bpf_map_update_elem fs_map_update
#define bpf_map_delete_elem fs_map_delete

#define FS_MAP(number) (*(struct fs_map *)bpf_pseudo_fd(1, FS_MAP_MARK + (number)))

/* The only element of an array. Direct addresses since 5.2 (d8eca5bbb2be); before, a lookup, which cannot fail. */
#ifndef FS_SHORT
#define FS_VALUE(type, number) (*(type *)bpf_pseudo_fd(2, FS_MAP_MARK + (number)))
#else
static __always_inline void *fs_value(const void *map)
{
	__u32 zero = 0;
	void *value = fs_map_lookup(map, &zero);
	if (!value)
		asm volatile("r0 = 0\n\texit");
	return value;
}
#define FS_VALUE(type, number) (*(type *)fs_value(&FS_MAP(number)))
#endif

/* What the loader has to make, in one number. */
#define FS_MAP_SPEC(type, entries, key, value) \
	((__u64)(type) << 58 | (__u64)(entries) << 30 | (__u64)(key) << 20 | (__u64)(value))

/* Programs are made of these by bcc_source.py. */
#define FS_ARGUMENT(number) ctx[number]
#define FS_PASS_1(a) (void *)ctx[0]
#define FS_PASS_2(a, ...) FS_PASS_1(a), (void *)ctx[1]
#define FS_PASS_3(a, b, ...) FS_PASS_2(a, b), (void *)ctx[2]
#define FS_PASS_4(a, b, c, ...) FS_PASS_3(a, b, c), (void *)ctx[3]
#define FS_PASS_5(a, b, c, d, ...) FS_PASS_4(a, b, c, d), (void *)ctx[4]
#define FS_PASS_6(a, b, c, d, e, ...) FS_PASS_5(a, b, c, d, e), (void *)ctx[5]
#define FS_PASS_7(a, b, c, d, e, f, ...) FS_PASS_6(a, b, c, d, e, f), (void *)ctx[6]
#define FS_SEVENTH(_1, _2, _3, _4, _5, _6, _7, name, ...) name
#define FS_PASS(...)                                                                                         \
	FS_SEVENTH(__VA_ARGS__, FS_PASS_7, FS_PASS_6, FS_PASS_5, FS_PASS_4, FS_PASS_3, FS_PASS_2, FS_PASS_1) \
	(__VA_ARGS__)
#define BPF_PROG(name, arguments...)                                                     \
	fs_no_##name(void);                                                              \
	static __always_inline int fs_body_##name(unsigned long long *ctx, ##arguments); \
	static __always_inline int fs_program_##name(unsigned long long *ctx)            \
	{                                                                                \
		return fs_body_##name(ctx, FS_PASS(arguments));                          \
	}                                                                                \
	static __always_inline int fs_body_##name(unsigned long long *ctx, ##arguments)

#endif
