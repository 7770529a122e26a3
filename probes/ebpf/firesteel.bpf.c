// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* The hooks. Each is a row of probes/hooks.py, which says what it is for and whether it is required. */
#include "datagram.h"
#include "lifecycle.h"
#include "trouble.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline int on_io(struct sock *sk, int result, int flags, __u8 direction)
{
	if (!control.epoch || !is_inet(sk) || is_kernels_own(sk))
		return 0;
	if (flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB)) {
		if (is_udp(sk))
			forget_peer();
		return 0;
	}
	if (is_stream(sk))
		return stream_io(sk, result, flags, direction);
	if (is_udp(sk))
		return datagram_io(sk, result, flags, direction);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(on_send, struct sock *sk, int result, int flags)
{
	return on_io(sk, result, flags, FS_OUT);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_receive, struct sock *sk, int result, int flags)
{
	return on_io(sk, result, flags, FS_IN);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state, struct sock *sk, int from, int to)
{
	return control.epoch ? state_changed(sk, from, to) : 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_destroy, struct sock *sk)
{
	return control.epoch ? closed(sk) : 0;
}

static __always_inline int on_peer(struct bpf_sock_addr *context, bool ipv6, __u8 direction)
{
	struct datagram_peer peer = {};
	if (!control.epoch)
		return 1;
	if (ipv6) {
		*(__u32 *)(peer.address + 0) = context->user_ip6[0];
		*(__u32 *)(peer.address + 4) = context->user_ip6[1];
		*(__u32 *)(peer.address + 8) = context->user_ip6[2];
		*(__u32 *)(peer.address + 12) = context->user_ip6[3];
	} else {
		map_ipv4(peer.address, context->user_ip4);
	}
	peer.port = bpf_ntohs(context->user_port);
	remember_peer(&peer, context->sk, direction);
	return 1;
}

SEC("cgroup/sendmsg4")
int on_sendmsg4(struct bpf_sock_addr *context)
{
	return on_peer(context, false, FS_OUT);
}

SEC("cgroup/sendmsg6")
int on_sendmsg6(struct bpf_sock_addr *context)
{
	return on_peer(context, true, FS_OUT);
}

SEC("cgroup/recvmsg4")
int on_recvmsg4(struct bpf_sock_addr *context)
{
	return on_peer(context, false, FS_IN);
}

SEC("cgroup/recvmsg6")
int on_recvmsg6(struct bpf_sock_addr *context)
{
	return on_peer(context, true, FS_IN);
}

/* Datagram sockets have no destroy hook of their own, and that of MPTCP is called for its subflows only. */
SEC("cgroup/sock_release")
int on_release(struct bpf_sock *socket)
{
	struct connection *connection;
	struct fs_close *event;

	if (!control.epoch || (socket->protocol != IPPROTO_UDP && socket->protocol != IPPROTO_MPTCP))
		return 1;
	connection = bpf_sk_storage_get(&connections, socket, 0, 0);
	if (!connection || connection->epoch != control.epoch || connection->flags & CONNECTION_EXCLUDED)
		return 1;
	if (connection->pending.waiting)
		flush(connection);
	event = reserve(FS_EV_CLOSE, sizeof(*event));
	if (!event)
		return 1;
	head_for(&event->head, FS_EV_CLOSE, sizeof(*event), bpf_ktime_get_ns(), connection, false);
	__builtin_memset(&event->bytes_sent, 0, sizeof(*event) - sizeof(event->head));
	event->bytes_sent = connection->sent; /* counted where there are no sequence numbers */
	event->bytes_received = connection->received;
	submit(event, FS_EV_CLOSE);
	connection->epoch = 0;
	return 1;
}

/* Before 6.16 the tracepoint fired for sent segments only; since then its third argument says if sending failed. */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(on_retransmit, struct sock *sk, struct sk_buff *skb)
{
	return control.epoch ? trouble(sk, FS_TROUBLE_RETRANSMIT, 0) : 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(on_retransmit_result, struct sock *sk, struct sk_buff *skb, int error)
{
	return control.epoch && !error ? trouble(sk, FS_TROUBLE_RETRANSMIT, 0) : 0;
}

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(on_retransmit_synack, struct sock *listener, struct request_sock *request)
{
	struct fs_trouble *event;
	struct fs_tuple tuple;

	if (!control.epoch || pid_namespace)
		return 0;
	addresses_of(&request->__req_common, &tuple);
	tuple.l4 = FS_TCP;
	tuple.role = FS_ROLE_SERVER;
	if (port_excluded(tuple.local_port) || port_excluded(tuple.remote_port))
		return 0;
	event = reserve(FS_EV_TROUBLE, sizeof(*event));
	if (!event)
		return 0;
	head_of(&event->head, FS_EV_TROUBLE, sizeof(*event), bpf_ktime_get_ns());
	event->head.flags |= FS_NO_PROCESS;
	event->head.pid = event->head.tid = 0;
	event->head.netns = netns_of(listener);
	event->tuple = tuple;
	event->kind = FS_TROUBLE_SYNACK_RETRANSMIT;
	event->reason = 0;
	submit(event, FS_EV_TROUBLE);
	return 0;
}

/* Without a socket (a closed port) the packet that is answered says who it is about. */
SEC("tp_btf/tcp_send_reset")
int BPF_PROG(on_send_reset, struct sock *sk, struct sk_buff *skb)
{
	if (!control.epoch)
		return 0;
	if (sk && sk->__sk_common.skc_state != TCP_LISTEN && sk->__sk_common.skc_state != 6 &&
	    sk->__sk_common.skc_state != 12)
		return trouble(sk, FS_TROUBLE_RESET_SENT, 0);
	if (skb)
		trouble_of_packet(skb, FS_TROUBLE_RESET_SENT, 0);
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(on_receive_reset, struct sock *sk)
{
	return control.epoch ? trouble(sk, FS_TROUBLE_RESET_RECEIVED, 0) : 0;
}

/* A bit for each drop reason that means loss. The loader sets them by name, for the numbers move between releases. */
const volatile __u64 loss_reasons[4];

SEC("tp_btf/kfree_skb")
int BPF_PROG(on_packet_dropped, struct sk_buff *skb, void *location, unsigned int reason)
{
	__u32 word = reason >> 6;

	barrier_var(word); /* or the bound is forgotten where the compiler knows better than the verifier */
	if (!control.epoch || word > 3 || !(loss_reasons[word] & 1ull << (reason & 63)))
		return 0;
	trouble_of_packet(skb, FS_TROUBLE_PACKET_DROPPED, reason);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task)
{
	if (control.epoch)
		process_event(task, FS_PROCESS_EXEC);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	if (control.epoch && task->pid == task->tgid)
		process_event(task, FS_PROCESS_EXIT);
	return 0;
}

/* Sockets that are older than the programs, found through the open files of all processes. */
SEC("iter/task_file")
int seed(struct bpf_iter__task_file *context)
{
	struct file *file = context->file;
	struct task_struct *task = context->task;
	struct connection *connection;
	struct socket *socket;
	struct sock *sk;
	__u8 state;

	if (!file || !task || !control.epoch)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || !is_inet(sk) || !(is_stream(sk) || is_udp(sk)) || is_kernels_own(sk))
		return 0;
	state = sk->__sk_common.skc_state;
	if (is_stream(sk) && state != TCP_ESTABLISHED && state != TCP_LISTEN && state != 8 /* CLOSE_WAIT */)
		return 0;
	connection = bpf_sk_storage_get(&connections, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!connection)
		return 0;
	if (!connection->id) {
		begin(connection, sk, state == TCP_LISTEN ? FS_ROLE_SERVER : FS_ROLE_UNKNOWN, 0);
		connection->flags |= CONNECTION_SEEDED;
	}
	if (!connection->pid) {
		connection->pid = process_of(task) >> 32;
		connection->tid = connection->pid;
		connection->cgroup_id = cgroup_of(task);
		BPF_CORE_READ_INTO(&connection->comm, task, group_leader, comm);
		if (is_left_out(connection->pid))
			connection->flags |= CONNECTION_EXCLUDED;
	}
	if (connection->epoch == control.epoch || connection->flags & CONNECTION_EXCLUDED)
		return 0;
	if (is_stream(sk) && state == TCP_LISTEN)
		listening(connection, sk);
	else
		tell(connection, sk, 0, 0);
	return 0;
}
