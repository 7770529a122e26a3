/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The programs are compiled twice, and this is the difference.
 *
 *   typed    The verifier knows what a pointer of the kernel points to, so a field is one load, and a connection is kept in
 *            its socket's own storage. Needs 5.12: socket storage for tracing programs (8e4597c627fb, 5.11), atomics that
 *            return a value (5ca419f2864a, 5.12).
 *   untyped  Pointers are numbers, so every field is a call of bpf_probe_read_kernel (6ae08ae3dea2, 5.5), and connections
 *            are in a hash. For trampolines from 5.5 to 5.11, and for kprobes on any kernel.
 */
#ifndef FIRESTEEL_ACCESS_H
#define FIRESTEEL_ACCESS_H

#include "kernel.h"

/* READ(socket, sk, sk_type): a field, or one reached through pointers that are fields. */
#ifdef FS_UNTYPED
#define READ(object, ...) BPF_CORE_READ(object, __VA_ARGS__)
#else
#define FS_CHOOSE(_1, _2, _3, name, ...) name
#define FS_FIELD(object, a) ((object)->a)
#define FS_THROUGH_1(object, a, b) ((object)->a->b)
#define FS_THROUGH_2(object, a, b, c) ((object)->a->b->c)
#define READ(object, ...) FS_CHOOSE(__VA_ARGS__, FS_THROUGH_2, FS_THROUGH_1, FS_FIELD, 0)(object, __VA_ARGS__)
#endif

/* Bit fields, and what was one in an older kernel. */
#ifdef FS_UNTYPED
#define READ_BITS(object, field) BPF_CORE_READ_BITFIELD_PROBED(object, field)
#else
#define READ_BITS(object, field) BPF_CORE_READ_BITFIELD(object, field)
#endif

/* A function that is verified once, for any argument (e5069b9c23b3, 5.12), instead of at each call. */
#ifdef FS_UNTYPED
#define SUBPROGRAM static __noinline
#else
#define SUBPROGRAM __noinline
#endif

static __always_inline struct task_struct *current_task(void)
{
#ifdef FS_UNTYPED
	return (struct task_struct *)bpf_get_current_task();
#else
	return bpf_get_current_task_btf(); /* 3ca1032ab7ab, 5.11 */
#endif
}

/*
 * `value`, or `most` (a constant) if it is more. Not in C: the compiler then compares one copy of the number and goes on
 * with another, of which the verifier knows no bound.
 */
static __always_inline __u64 at_most(__u64 value, const __u64 most)
{
	asm volatile("if %0 > %1 goto +1\n"
		     "goto +1\n"
		     "%0 = %1"
		     : "+r"(value)
		     : "i"(most));
	return value;
}

#endif
