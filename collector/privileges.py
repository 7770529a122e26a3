# SPDX-License-Identifier: Apache-2.0
"""Giving privileges up, for good: uid 65532, no capability in any set, no new privileges.

Order and reasons: capabilities(7), prctl(2). The bounding set goes first, for it needs CAP_SETPCAP; then groups and
users, which empties the other sets where the user id was 0; then those sets by name, for where it was not.

All of it but the user and group is of one thread: another thread that runs already keeps what it has. So `drop` looks
at every thread afterwards, and callers end their threads before.
"""

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

NOBODY = 65532
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_HIGHEST = 63
_CAPABILITY_VERSION_3 = 0x20080522


class PrivilegeError(Exception):
    """A privilege could not be given up; the text says which and what is missing."""


def drop(uid: int = NOBODY) -> None:
    """Raises PrivilegeError, after which the process must end: it would run with more than it was promised to."""
    libc = ctypes.CDLL(None, use_errno=True)
    if _is_ordinary():
        _no_new_privileges(libc)
        return
    try:
        _empty_bounding_set(libc)
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
        if os.getuid() != uid:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        _empty_other_sets(libc)
    except PermissionError as error:
        raise PrivilegeError(
            f"privileges cannot be given up ({error}): CAP_SETUID, CAP_SETGID and CAP_SETPCAP are needed for that"
        ) from None
    _no_new_privileges(libc)
    if left := list(_held()):
        raise PrivilegeError(f"privileges are still held after giving them up: {'; '.join(left)}")


def _is_ordinary(status: Path = Path("/proc/self/status")) -> bool:
    """A user without any capability has none to give up; without new privileges the bounding set means nothing."""
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return os.getuid() != 0 and not any(int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"))


def _no_new_privileges(libc: ctypes.CDLL) -> None:
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise PrivilegeError(f"no_new_privs cannot be set: {os.strerror(ctypes.get_errno())}")


def _empty_bounding_set(libc: ctypes.CDLL) -> None:
    for capability in range(_HIGHEST + 1):
        if libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) != 1:
            continue
        if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            raise PermissionError(ctypes.get_errno(), f"capability {capability} in the bounding set")


def _empty_other_sets(libc: ctypes.CDLL) -> None:
    """Permitted, effective and inheritable: capset(2) with version 3 takes two words of each."""
    head = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if libc.capset(head, (ctypes.c_uint32 * 6)()) != 0:
        raise PermissionError(ctypes.get_errno(), "capset")


def _held(tasks: Path = Path("/proc/self/task")) -> Iterator[str]:
    """For each thread that could do or become more than nothing: which, and what it still has."""
    sets = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    for status in tasks.glob("*/status"):
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        held = [f"{name} {fields[name].strip()}" for name in sets if int(fields.get(name, "0"), 16)]
        if fields.get("NoNewPrivs", "1").strip() != "1":
            held.append("new privileges by exec")
        if held:
            yield f"thread {status.parent.name}: {', '.join(held)}"
