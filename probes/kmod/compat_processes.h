/* SPDX-License-Identifier: GPL-2.0-only */
/* What processes hand over to calls, and the groups that they are in. A part of compat.h. */
#ifndef FIRESTEEL_KMOD_COMPAT_PROCESSES_H
#define FIRESTEEL_KMOD_COMPAT_PROCESSES_H

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

/* 3.19, 435d5f4bb2cc: namespaces have a common part. */
static inline u32 fst_pid_namespace_number(const struct pid_namespace *namespace)
{
#ifdef HAVE_PID_NS_COMMON
	return namespace->ns.inum;
#else
	return namespace->proc_inum;
#endif
}

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
