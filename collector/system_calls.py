# SPDX-License-Identifier: Apache-2.0
"""The agent's own seccomp filter: the system calls that it never needs after its start are refused.

A list of what is forbidden, not of what is allowed: what Python, its HTTP server and the C library call differs with
their versions, and an agent that dies of a new release of them would be worse. The engine, which reads what strangers
send, allows about ten and nothing else (analyzers/native/sandbox.c). libseccomp knows the numbers of each machine.
"""

import ctypes
import errno
import os

FORBIDDEN = (
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
    "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot",
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
    "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "unshare", "setns", "swapon", "swapoff", "quotactl", "acct", "open_by_handle_at",
    "add_key", "request_key", "keyctl", "iopl", "ioperm", "modify_ldt", "lookup_dcookie", "syslog", "personality",
    "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname", "vhangup", "nfsservctl",
    "mknod", "mknodat", "chown", "fchown", "lchown", "fchownat", "move_pages", "mbind", "migrate_pages", "set_mempolicy",
)  # fmt: skip
"""Kernel surface with a history of its own, and what only a privileged process has a use for."""

_LIBRARY = "libseccomp.so.2"
_ALLOW = 0x7FFF0000  # SCMP_ACT_ALLOW
_REFUSE = 0x00050000 | errno.EPERM  # SCMP_ACT_ERRNO(EPERM)
_ALL_THREADS = 4  # SCMP_FLTATR_CTL_TSYNC


def forbid(library: str = _LIBRARY) -> str:
    """Holds for every thread and for what they start, for good; needs no_new_privs. Says why not, empty if it holds."""
    try:
        seccomp = ctypes.CDLL(library)
    except OSError as error:
        return f"{library} cannot be loaded: {error}"
    seccomp.seccomp_init.restype = ctypes.c_void_p
    seccomp.seccomp_init.argtypes = [ctypes.c_uint32]
    seccomp.seccomp_release.argtypes = [ctypes.c_void_p]
    seccomp.seccomp_load.argtypes = [ctypes.c_void_p]
    seccomp.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    seccomp.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p,
    ]  # fmt: skip
    filters = seccomp.seccomp_init(_ALLOW)
    if not filters:
        return "libseccomp has no memory for a filter"
    try:
        result = seccomp.seccomp_attr_set(filters, _ALL_THREADS, 1)
        for name in FORBIDDEN:
            number = seccomp.seccomp_syscall_resolve_name(name.encode())
            # Negative: this machine has no such call, or an older libseccomp does not know it.
            if number >= 0 and not result:
                result = seccomp.seccomp_rule_add_array(filters, _REFUSE, number, 0, None)
        result = result or seccomp.seccomp_load(filters)
    finally:
        seccomp.seccomp_release(filters)
    return f"the kernel refused the filter: {os.strerror(-result)}" if result else ""
