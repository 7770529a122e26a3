# SPDX-License-Identifier: Apache-2.0
"""The control page (struct fs_control of include/control.h): what user space tells the programs, by mapped memory.

Written with no privilege, for after the start nobody may call bpf() any more.
"""

import mmap
import struct
from collections.abc import Iterable

_MAGIC = 0x4C545346
_CONTRACT = 1
_FIELDS = struct.Struct("=IIIIII")  # magic, contract, epoch, stream budget, datagram budget, whole bytes
_EPOCH = 8
_OWN_PIDS = _FIELDS.size
_MOST_OWN_PIDS = 8
_EXCLUDED_PORTS = _OWN_PIDS + 4 * _MOST_OWN_PIDS
_PORT_BYTES = 8192
_BYTES = _EXCLUDED_PORTS + _PORT_BYTES
STREAM_BYTES = 512
DATAGRAM_BYTES = 512
WHOLE_BYTES = 4096


class ControlPage:
    """The page behind `fd`, which stays the caller's. Raises OSError if it cannot be mapped."""

    def __init__(self, fd: int) -> None:
        size = -(-_BYTES // mmap.PAGESIZE) * mmap.PAGESIZE
        self._page = mmap.mmap(fd, size)

    def prepare(
        self,
        stream_budget: int = STREAM_BYTES,
        datagram_budget: int = DATAGRAM_BYTES,
        whole_bytes: int = WHOLE_BYTES,
    ) -> None:
        """Payload budgets in bytes for connections that have no mode of their own; the epoch stays as it is.

        The first I/O after the other side spoke comes whole if it has at most `whole_bytes`: the first thing that is
        seen of a pipelining client is already several requests, and what is not captured of them can never be paired.
        """
        epoch = struct.unpack_from("=I", self._page, _EPOCH)[0]
        _FIELDS.pack_into(self._page, 0, _MAGIC, _CONTRACT, epoch, stream_budget, datagram_budget, whole_bytes)

    def set_epoch(self, epoch: int) -> None:
        """0: nothing is captured."""
        struct.pack_into("=I", self._page, _EPOCH, epoch)

    def leave_out_processes(self, pids: Iterable[int]) -> None:
        """The agent's own, at most eight. Holds for connections that begin afterwards."""
        listed = list(pids)[:_MOST_OWN_PIDS]
        struct.pack_into(f"={_MOST_OWN_PIDS}I", self._page, _OWN_PIDS, *listed, *[0] * (_MOST_OWN_PIDS - len(listed)))

    def leave_out_ports(self, ports: Iterable[int]) -> None:
        """On either side. Holds for connections that begin afterwards."""
        bits = bytearray(_PORT_BYTES)
        for port in ports:
            bits[port >> 3] |= 1 << (port & 7)
        self._page[_EXCLUDED_PORTS : _EXCLUDED_PORTS + _PORT_BYTES] = bytes(bits)

    def close(self) -> None:
        self._page.close()
