# SPDX-License-Identifier: Apache-2.0
"""Giving privileges up, for good: uid 65532, no capability in any set, no new privileges.

Order and reasons: capabilities(7), prctl(2). The bounding set goes first, for it needs CAP_SETPCAP; then groups and
users, which empties the other sets because no user id is 0 any more.
"""

import ctypes
import os
from pathlib import Path

NOBODY = 65532
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_PR_SET_DUMPABLE = 4
_HIGHEST = 63


class PrivilegeError(Exception):
    """A privilege could not be given up; the text says which and what is missing."""


def drop(uid: int = NOBODY) -> None:
    """Raises PrivilegeError, after which the process must end: it would run with more than it was promised to."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        _empty_bounding_set(libc)
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
        if os.getuid() != uid:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
    except PermissionError as error:
        raise PrivilegeError(
            f"privileges cannot be given up ({error}): CAP_SETUID, CAP_SETGID and CAP_SETPCAP are needed for that"
        ) from None
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise PrivilegeError(f"no_new_privs cannot be set: {os.strerror(ctypes.get_errno())}")
    # /proc/self is root's otherwise, and the agent reads its own use of CPU and memory there.
    libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    if left := _held():
        raise PrivilegeError(f"capabilities are still held after giving them up: {left}")


def _empty_bounding_set(libc: ctypes.CDLL) -> None:
    for capability in range(_HIGHEST + 1):
        if libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) != 1:
            continue
        if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            raise PermissionError(ctypes.get_errno(), f"capability {capability} in the bounding set")


def _held() -> str:
    """Every non-empty capability set of this process, empty text if there is none."""
    sets = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return ", ".join(
        f"{words[0]} {words[1]}" for words in lines if words and words[0].rstrip(":") in sets and int(words[1], 16)
    )
