/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "sandbox.h"

#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define FS_AUDIT_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define FS_AUDIT_ARCH AUDIT_ARCH_AARCH64
#else
#error "name the AUDIT_ARCH of this machine here"
#endif

/* Since 4.14; an older kernel masks the upper bit away and kills the thread, which here is the process. */
#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000U
#endif

/* The sanitizers' run time needs files, memory and signals to tell what it found. */
#if defined(__SANITIZE_ADDRESS__)
#define FS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FS_SANITIZED 1
#endif
#endif
#ifndef FS_SANITIZED
#define FS_SANITIZED 0
#endif

static int drop_capabilities(void)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};

	/* Refused without CAP_SETPCAP, and EINVAL past the last one: then there is nothing left to lose by exec. */
	for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
		;
	/* A root that was given no CAP_SETUID stays root by name; it is left with no capability all the same. */
	if (geteuid() == 0 &&
	    (setgroups(0, NULL) || setresgid(FS_SANDBOX_UID, FS_SANDBOX_UID, FS_SANDBOX_UID) ||
	     setresuid(FS_SANDBOX_UID, FS_SANDBOX_UID, FS_SANDBOX_UID)) &&
	    errno != EPERM)
		return -1;
	return (int)syscall(SYS_capset, &head, none);
}

static int close_range_or_each(unsigned int first, unsigned int last)
{
#ifdef SYS_close_range
	if (syscall(SYS_close_range, first, last, 0) == 0)
		return 0;
#endif
	struct rlimit files; /* before 5.9 */
	if (getrlimit(RLIMIT_NOFILE, &files))
		return -1;
	for (unsigned int fd = first; fd <= last && fd < files.rlim_cur; fd++)
		close((int)fd);
	return 0;
}

static int close_all_but(int one, int other)
{
	int low = one < other ? one : other;
	int high = one < other ? other : one;
	unsigned int next = FS_SANITIZED ? 3 : 0;

	for (int i = 0; i < 2; i++) {
		int kept = i ? high : low;
		if (kept < 0 || (unsigned int)kept < next)
			continue;
		if ((unsigned int)kept > next && close_range_or_each(next, (unsigned int)kept - 1))
			return -1;
		next = (unsigned int)kept + 1;
	}
	return close_range_or_each(next, UINT32_MAX);
}

static int limit_resources(int writes)
{
	struct rlimit none = {0, 0};

	if (setrlimit(RLIMIT_CORE, &none) || setrlimit(RLIMIT_NPROC, &none) ||
	    (!writes && setrlimit(RLIMIT_FSIZE, &none)))
		return -1;
	return setrlimit(RLIMIT_NOFILE, &none);
}

#define FS_ALLOW(number) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* Allowed on one descriptor only. The upper half of the argument need not be looked at: the kernel takes an int. */
#define FS_ALLOW_ON(number, descriptor)                                                     \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 4),                                \
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])), \
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(descriptor), 0, 1),          \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)

static int allow_few_calls(int read_fd, int write_fd)
{
	/* A descriptor of -1 matches what no caller can succeed with. */
	struct sock_filter rules[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FS_AUDIT_ARCH, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		FS_ALLOW(SYS_clock_nanosleep),
		FS_ALLOW(SYS_clock_gettime), /* where the vDSO cannot answer, and for the CPU clock */
		FS_ALLOW(SYS_restart_syscall), /* a sleep that SIGSTOP and SIGCONT interrupted */
		FS_ALLOW_ON(SYS_read, read_fd),
		FS_ALLOW_ON(SYS_write, write_fd),
		FS_ALLOW(SYS_exit_group),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = {sizeof(rules) / sizeof(rules[0]), rules};

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

const char *fs_sandbox_enter(const struct fs_sandbox *sandbox)
{
	/* The agent ends the engine through its configuration block; a terminal or an init that signals all must not. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);

	if (drop_capabilities())
		return "drop capabilities";
	/* After the change of identity, which clears it. */
	if (sandbox->parent && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
		return "tie its life to the agent's";
	if (sandbox->parent && getppid() != sandbox->parent) {
		errno = ESRCH;
		return "find the agent that started it";
	}
	if (close_all_but(sandbox->read_fd, sandbox->write_fd))
		return "close descriptors";
	if (limit_resources(sandbox->write_fd >= 0))
		return "set resource limits";
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return "give up new privileges";
	if (!FS_SANITIZED && allow_few_calls(sandbox->read_fd, sandbox->write_fd))
		return "install the system call filter (CONFIG_SECCOMP_FILTER)";
	return NULL;
}
