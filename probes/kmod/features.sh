#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# What the kernel's headers offer, found by compiling and not by comparing versions: distributions carry changes back.
# Kbuild calls this with the compiler and flags it uses itself. compat.h and its parts say what follows from it.
#
#   features.sh <config.h to write> <compiler> <flags...>
#
# The snippets are compiled in one go, each under a file name of its own, so that the compiler's complaints tell which of
# them do not fit here.
set -u
result=$1
shift
work=$(mktemp -d "${TMPDIR:-/tmp}/firesteel-features.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

die() {
	echo "firesteel: $*" >&2
	exit 1
}

feature() { # <name> <statements>: does this compile?
	printf '%s\n' "$1" >>"$work/names"
	{
		printf '# 1 "feature:%s:"\n' "$1"
		printf 'static void __attribute__((unused)) fst_feature_%s(void) { %s }\n' "$1" "$2"
	} >>"$work/snippets"
}

# Headers that came or went, looked for where the compiler looks; compat.h says when. The reasons for drops are for the tests
# below only: a header of their own since 6.0 (ff8372a467fa), which was renamed in 6.4 (5b8285cca6fe).
: >"$work/config.h"
: >"$work/includes"
for row in \
	KERNFS_H:linux/kernfs.h \
	SCHED_SIGNAL_H:linux/sched/signal.h \
	SCHED_TASK_H:linux/sched/task.h \
	TRACE_SOCK_H:trace/events/sock.h \
	TRACE_TCP_H:trace/events/tcp.h \
	DROP_REASONS_H:net/dropreason.h \
	DROP_REASONS_CORE_H:net/dropreason-core.h; do
	for flag in "$@"; do
		[ -f "${flag#-I}/${row#*:}" ] || continue
		echo "#define HAVE_${row%%:*} 1" >>"$work/config.h"
		echo "#include <${row#*:}>" >>"$work/includes"
		break
	done
done

: >"$work/names"
: >"$work/snippets"
feature CONTROL_GOOD 'struct sock *sk = NULL; (void)sk;'
feature CONTROL_BAD 'struct sock *sk = NULL; (void)sk->fst_no_such_member;'

feature SENDMSG_IOCB 'int (*f)(struct kiocb *, struct socket *, struct msghdr *, size_t) = inet_sendmsg; (void)f;'
feature SENDPAGE 'ssize_t (*f)(struct socket *, struct page *, int, size_t, int) = inet_sendpage; (void)f;'
feature MSG_ITER 'struct msghdr m; (void)m.msg_iter.iov_offset;'
feature ITER_IS_IOVEC 'struct iov_iter i; (void)iter_is_iovec(&i);'
feature ITER_IS_UBUF 'struct iov_iter i; (void)iter_is_ubuf(&i); (void)i.ubuf;'
feature ITER_IOV 'const struct iovec *v; struct iov_iter i; v = iter_iov(&i); (void)v;'
feature ACCESS_OK_OF_TWO '(void)access_ok((void __user *)0, 1);'
feature RAW_COPY_FROM_USER 'char c; (void)raw_copy_from_user(&c, (void __user *)0, 1);'

feature PROC_OPS 'struct proc_ops o = {.proc_open = NULL}; (void)o;'
feature VM_FLAGS_CLEAR 'struct vm_area_struct v; vm_flags_clear(&v, VM_MAYWRITE);'
feature SYNCHRONIZE_SCHED 'synchronize_sched();'
feature LOAD_ACQUIRE 'u64 v = 0; v = smp_load_acquire(&v); smp_store_release(&v, 1);'
feature READ_ONCE 'u32 v = 0; WRITE_ONCE(v, READ_ONCE(v));'
feature KTIME_GET_NS '(void)ktime_get_ns();'
feature GFP_ACCOUNT '(void)GFP_KERNEL_ACCOUNT;'
feature TRACEPOINT_BY_POINTER 'struct tracepoint *t = NULL; (void)tracepoint_probe_register(t, NULL, NULL);'

feature NS_COMMON 'struct net *n = NULL; (void)n->ns.inum;'
feature PID_NS_COMMON 'struct pid_namespace *n = NULL; (void)n->ns.inum;'
feature SK_KERN_SOCK 'struct sock *sk = NULL; (void)sk->sk_kern_sock;'
feature SKC_COOKIE 'struct sock *sk = NULL; (void)atomic64_read(&sk->__sk_common.skc_cookie);'
feature SKC_V6 'struct sock *sk = NULL; (void)sk->__sk_common.skc_v6_rcv_saddr;'
feature REQUEST_IR_V6 'struct request_sock *r = NULL; (void)inet_rsk(r)->ir_v6_rmt_addr;'
feature REQUEST_IR_NUM 'struct request_sock *r = NULL; (void)inet_rsk(r)->ir_num;'
feature NEW_SYN_RECV '(void)TCP_NEW_SYN_RECV;'
feature SRTT_US 'struct tcp_sock *t = NULL; (void)t->srtt_us;'
feature TCP_CLOCK_CACHE 'struct tcp_sock *t = NULL; (void)t->tcp_clock_cache;'
feature TCP_BYTES_SENT 'struct tcp_sock *t = NULL; (void)(t->bytes_sent - t->bytes_retrans);'
feature TCP_BYTES_RECEIVED 'struct tcp_sock *t = NULL; (void)t->bytes_received;'
feature TCP_IS_MPTCP 'struct tcp_sock *t = NULL; (void)t->is_mptcp;'

feature DFL_CGRP 'struct css_set *s = NULL; (void)s->dfl_cgrp->kn;'
feature KERNFS_ID_64 'struct kernfs_node *k = NULL; u64 *id = &k->id; (void)id;'
feature KERNFS_ID_UNION 'struct kernfs_node *k = NULL; (void)k->id.ino;'
feature CGROUP_KN 'struct cgroup *c = NULL; (void)c->kn;'
feature MEMORY_CGRP_ID '(void)memory_cgrp_id;'

feature TRACE_SET_STATE 'check_trace_callback_type_inet_sock_set_state((void (*)(void *, const struct sock *, const int, const int))NULL);'
feature TRACE_DESTROY 'check_trace_callback_type_tcp_destroy_sock((void (*)(void *, struct sock *))NULL);'
feature TRACE_RETRANSMIT 'check_trace_callback_type_tcp_retransmit_skb((void (*)(void *, const struct sock *, const struct sk_buff *))NULL);'
feature TRACE_RETRANSMIT_ERR 'check_trace_callback_type_tcp_retransmit_skb((void (*)(void *, const struct sock *, const struct sk_buff *, int))NULL);'
feature TRACE_SYNACK 'check_trace_callback_type_tcp_retransmit_synack((void (*)(void *, const struct sock *, const struct request_sock *))NULL);'
feature TRACE_SEND_RESET 'check_trace_callback_type_tcp_send_reset((void (*)(void *, const struct sock *, const struct sk_buff *))NULL);'
feature TRACE_SEND_RESET_REASON 'check_trace_callback_type_tcp_send_reset((void (*)(void *, const struct sock *, const struct sk_buff *, const enum sk_rst_reason))NULL);'
feature TRACE_RECEIVE_RESET 'check_trace_callback_type_tcp_receive_reset((void (*)(void *, struct sock *))NULL);'
feature TRACE_DROP 'check_trace_callback_type_kfree_skb((void (*)(void *, struct sk_buff *, void *, enum skb_drop_reason))NULL);'
feature TRACE_DROP_SOCK 'check_trace_callback_type_kfree_skb((void (*)(void *, struct sk_buff *, void *, enum skb_drop_reason, struct sock *))NULL);'
feature TRACE_DROP_CONST_SOCK 'check_trace_callback_type_kfree_skb((void (*)(void *, struct sk_buff *, void *, enum skb_drop_reason, const struct sock *))NULL);'
feature TRACE_EXIT_GROUP 'check_trace_callback_type_sched_process_exit((void (*)(void *, struct task_struct *, bool))NULL);'

# Why a packet was dropped, if that means loss: the same list as in probes/hooks.py, of which a kernel has a part.
losses='SOCKET_RCVBUFF TCP_CSUM NETFILTER_DROP IP_CSUM IP_INHDR IP_RPFILTER XFRM_POLICY PROTO_MEM SOCKET_BACKLOG
	TCP_ZEROWINDOW TCP_OVERWINDOW TCP_LISTEN_OVERFLOW TCP_OFO_QUEUE_PRUNE TCP_OFO_DROP IP_OUTNOROUTES BPF_CGROUP_EGRESS
	NEIGH_CREATEFAIL NEIGH_FAILED NEIGH_QUEUEFULL NEIGH_DEAD NEIGH_HH_FILLFAIL TC_EGRESS SECURITY_HOOK QDISC_DROP
	QDISC_OVERLIMIT QDISC_CONGESTED FQ_BAND_LIMIT FQ_HORIZON_LIMIT FQ_FLOW_LIMIT CPU_BACKLOG XDP TC_INGRESS SKB_CSUM
	DEV_READY FULL_RING NOMEM IP_INADDRERRORS IP_INNOROUTES PKT_TOO_BIG RECURSION_LIMIT'
for reason in $losses; do
	feature "LOSS_$reason" "(void)SKB_DROP_REASON_$reason;"
done

{
	cat "$work/config.h"
	cat <<-'SOURCE'
		#include <linux/anon_inodes.h>
		#include <linux/binfmts.h>
		#include <linux/cgroup.h>
		#include <linux/ktime.h>
		#include <linux/mm.h>
		#include <linux/module.h>
		#include <linux/pid_namespace.h>
		#include <linux/proc_fs.h>
		#include <linux/sched.h>
		#include <linux/tracepoint.h>
		#include <linux/uaccess.h>
		#include <linux/uio.h>
		#include <net/inet_common.h>
		#include <net/inet_sock.h>
		#include <net/sock.h>
		#include <net/tcp.h>
		#include <trace/events/sched.h>
		#include <trace/events/skb.h>
	SOURCE
	cat "$work/includes" "$work/snippets"
} >"$work/source.c"
# Every complaint counts, also those that are only warnings for some compilers (a pointer of another type).
LC_ALL=C "$@" -Wno-unused-variable -Wno-unused-value -Wno-uninitialized -Wno-maybe-uninitialized -fsyntax-only -x c \
	"$work/source.c" >"$work/said" 2>&1
while read -r name; do
	grep -q "feature:$name:" "$work/said" || echo "#define HAVE_$name 1" >>"$work/config.h"
done <"$work/names"

if ! grep -q 'HAVE_CONTROL_GOOD' "$work/config.h" || grep -q 'HAVE_CONTROL_BAD' "$work/config.h" ||
	grep -v 'feature:' "$work/said" | grep -q 'fatal error\|Permission denied\|not found'; then
	tail -n 20 "$work/said" >&2
	die "the compiler cannot use these kernel headers: see above (another compiler? incomplete headers?)"
fi
{
	grep -v 'CONTROL_\|LOSS_' "$work/config.h"
	printf '#define FST_LOSS_REASONS(X)'
	for reason in $losses; do
		! grep -q "HAVE_LOSS_$reason " "$work/config.h" || printf ' X(%s)' "$reason"
	done
	echo
} >"$work/final.h"
# Untouched where nothing changed, so that nothing is built again.
[ -f "$result" ] && [ "$(cat "$work/final.h")" = "$(cat "$result")" ] || cp "$work/final.h" "$result" || die "cannot write $result"
