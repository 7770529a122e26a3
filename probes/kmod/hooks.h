/* SPDX-License-Identifier: GPL-2.0-only */
/* A hook: what it is to the kernel, what it calls, and what became of it. handlers.c has the table, hooks.c puts them in place. */
#ifndef FIRESTEEL_KMOD_HOOKS_H
#define FIRESTEEL_KMOD_HOOKS_H

#include "firesteel.h"

/* What a watched call was given, kept until it returns. */
struct fst_call {
	struct sock *sk;
	const struct msghdr *msg;
	struct fst_source source;
};

enum fst_hook_kind { FST_KRETPROBE, FST_KPROBE, FST_TRACEPOINT };

/* What `result` says besides 0 (in place) and a negative errno. */
enum fst_hook_result { FST_NOT_NEEDED = 1, FST_NOT_TRIED = 2 };

struct fst_hook {
	const char *name; /* the kernel's */
	const char *instead_of; /* only if that one is not in place */
	enum fst_hook_kind kind;
	bool required; /* it, or one that comes instead */
	kretprobe_handler_t on_entry; /* kretprobe; nonzero: this call is not of interest */
	kretprobe_handler_t on_return;
	kprobe_pre_handler_t on_hit; /* kprobe */
	void *on_event; /* tracepoint: as the kernel declares it; the compiler checks that */
	int result;
	union {
		struct kretprobe returns;
		struct kprobe probe;
	};
};

/* The room for taking them off together; handlers.c has the compiler check it. */
#define FST_MOST_HOOKS 32

/* In the order in which they are put in place. */
extern struct fst_hook fst_hooks[];
extern const unsigned int fst_hook_count;

#endif
