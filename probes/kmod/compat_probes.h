/* SPDX-License-Identifier: GPL-2.0-only */
/* How functions and tracepoints are watched, and what they hand over. A part of compat.h. */
#ifndef FIRESTEEL_KMOD_COMPAT_PROBES_H
#define FIRESTEEL_KMOD_COMPAT_PROBES_H

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
 *   tcp_retransmit_skb  4.15 (e086101b150a) sent segments only; 6.17 (ad892e912b84) every attempt, with its error
 *   tcp_send_reset      4.15 (c24b14c46bb8); 6.10 (b533fb9cf4f7) with the reason
 *   kfree_skb           5.17 (c504e5c2f964) with the reason; 6.11 (c53795d48ee8) with the receiving socket, which is const
 *                       in the headers of 7.2 and not in those of 6.12
 *   sched_process_exit  6.16 (3e816361e94a) says whether the whole group is dead
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

#endif
