# SPDX-License-Identifier: Apache-2.0
"""A seccomp filter that refuses what the RuntimeDefault profile of containerd and CRI-O refuses a container without capabilities.

Those profiles list what is allowed, four hundred calls; here is what is left of the kernel's, so a call that is newer than
this list passes. Where they look at arguments that no program of ours passes (personality), all of the call is refused.
"""

import ctypes
import errno
import os

REFUSED = (
    "acct", "add_key", "bpf", "chroot", "clock_settime", "create_module", "delete_module", "fanotify_init", "finit_module",
    "fsconfig", "fsmount", "fsopen", "fspick", "get_kernel_syms", "get_mempolicy", "init_module", "io_uring_enter",
    "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl",
    "lookup_dcookie", "mbind", "migrate_pages", "mount", "mount_setattr", "move_mount", "move_pages", "nfsservctl",
    "open_by_handle_at", "open_tree", "perf_event_open", "personality", "pidfd_getfd", "pivot_root", "process_madvise",
    "query_module", "quotactl", "quotactl_fd", "reboot", "request_key", "set_mempolicy", "set_mempolicy_home_node",
    "setdomainname", "sethostname", "setns", "settimeofday", "swapoff", "swapon", "_sysctl", "sysfs", "syslog", "umount2",
    "unshare", "uselib", "userfaultfd", "ustat", "vhangup",
)  # fmt: skip
# clone with one of these makes a namespace: mount, cgroup, uts, ipc, user, pid, net.
_NAMESPACES = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
_LIBRARY = "libseccomp.so.2"
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # SCMP_ACT_ALLOW, SCMP_ACT_ERRNO
_MASKED_EQUAL = 7  # SCMP_CMP_MASKED_EQ


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("how", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


class Filter:
    """Made while the machine's own library is in reach; `load` holds for this process and what it becomes."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(_LIBRARY)
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._library.seccomp_init.argtypes = [ctypes.c_uint32]
        self._library.seccomp_load.argtypes = [ctypes.c_void_p]
        self._library.seccomp_rule_add_array.argtypes = [
            ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p,
        ]  # fmt: skip
        self._rules = self._library.seccomp_init(_ALLOW)
        if not self._rules:
            raise MemoryError("seccomp_init")
        for name in REFUSED:
            self._refuse(name, errno.EPERM)
        # The C library then takes clone, whose flags a filter can see.
        self._refuse("clone3", errno.ENOSYS)
        for flag in _NAMESPACES:
            self._refuse("clone", errno.EPERM, _Comparison(0, _MASKED_EQUAL, flag, flag))

    def _refuse(self, name: str, error: int, *comparisons: _Comparison) -> None:
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:  # this machine has no such call, or an older library does not know it
            return
        array = (_Comparison * len(comparisons))(*comparisons)
        self._done(
            self._library.seccomp_rule_add_array(self._rules, _ERRNO | error, number, len(comparisons), array),
            f"seccomp rule for {name}",
        )

    def load(self) -> None:
        """Needs no_new_privs. Raises OSError."""
        self._done(self._library.seccomp_load(self._rules), "seccomp_load")

    @staticmethod
    def _done(result: int, what: str) -> None:
        if result:
            raise OSError(-result, f"{what}: {os.strerror(-result)}")
