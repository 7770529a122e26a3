# SPDX-License-Identifier: Apache-2.0
"""The socket on which the kernel tells which address a connection really reaches (Service, NodePort, hairpin).

It has to be opened, joined and asked for the table with CAP_NET_ADMIN; from then on it keeps telling, and the engine
reads it without any privilege (nfnetlink checks both the opener's and the asker's capabilities, so nobody can ask a
second time). In Python it would cost a core at ten thousand connections a second: docs/decisions/.
"""

import contextlib
import errno
import os
import socket
import struct
from dataclasses import dataclass
from typing import Final

RECEIVE_BYTES: Final = 8 << 20
"""Room for 10 000 new connections a second (600 bytes each in the socket's account) while the engine sleeps or turns."""

_NETLINK_NETFILTER: Final = 12
_GROUP_NEW: Final = 1  # NF_NETLINK_CONNTRACK_NEW, as a bit of the address
_GET: Final = 1 << 8 | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
_REQUEST_DUMP: Final = 0x1 | 0x300
_SO_RCVBUFFORCE: Final = 33
_REASONS: Final = {
    errno.EPERM: ("it takes CAP_NET_ADMIN", "give the agent CAP_NET_ADMIN"),
    errno.EPROTONOSUPPORT: ("this kernel has no nfnetlink", "load the module nf_conntrack_netlink"),
}


@dataclass(frozen=True, slots=True)
class Conntrack:
    """`socket` is None where translations cannot be read; then `reason` and `remedy` say why and what helps."""

    socket: socket.socket | None
    reason: str = ""
    remedy: str = ""

    @property
    def fd(self) -> int | None:
        return None if self.socket is None else self.socket.fileno()

    @property
    def is_read(self) -> bool | None:
        """None where nobody wanted it read."""
        return True if self.socket is not None else False if self.reason else None

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()


def listen() -> Conntrack:
    """Joins the group of new entries of this network namespace, then asks for those there are. Never raises."""
    opened: socket.socket | None = None
    try:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER)
        with contextlib.suppress(OSError):  # without CAP_NET_ADMIN; the bind below says so
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BYTES)
        opened.bind((0, _GROUP_NEW))
        opened.send(_dump())
        _refuse_error(opened)
    except OSError as error:
        if opened is not None:
            opened.close()
        reason, remedy = _REASONS.get(
            error.errno or 0,
            (os.strerror(error.errno or 0), "load the modules nf_conntrack and nf_conntrack_netlink, or report this"),
        )
        return Conntrack(None, reason, remedy)
    return Conntrack(opened)


def _dump() -> bytes:
    """struct nlmsghdr, struct nfgenmsg of no family: entries of all."""
    return struct.pack("=IHHIIBBH", 20, _GET, _REQUEST_DUMP, 1, 0, 0, 0, 0)


def _refuse_error(opened: socket.socket) -> None:
    """A kernel without nf_conntrack_netlink answers at once with an error. Looks at the first answer, leaves it there."""
    try:
        answer = opened.recv(64, socket.MSG_PEEK)
    except BlockingIOError:
        return
    length, kind = struct.unpack_from("=IH", answer)
    if kind == 2 and length >= 20:  # NLMSG_ERROR
        number = -struct.unpack_from("=i", answer, 16)[0]
        if number:
            raise OSError(number, os.strerror(number))
