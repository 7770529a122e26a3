# SPDX-License-Identifier: Apache-2.0
"""The control page (struct fs_control of include/control.h): what user space tells the programs, by mapped memory.

Written with no privilege, for after the start nobody may call bpf() any more.
"""

import mmap
from collections.abc import Iterable

_MAGIC = 0x4C545346
_CONTRACT = 1
_HEAD, _EPOCH, _BUDGETS, _OWN_PIDS = 0, 2, 3, 6  # words: magic and contract, epoch, three budgets, then processes
_MOST_OWN_PIDS = 8
_EXCLUDED_PORTS = 4 * (_OWN_PIDS + _MOST_OWN_PIDS)
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
        # Programs read while this is written, and the engine raises the epoch: each word is stored at once, and by itself.
        # struct.pack_into would clear what it is going to write, and for a moment the epoch would say that nobody listens.
        self._words = memoryview(self._page)[:_EXCLUDED_PORTS].cast("I")

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
        self._store(_HEAD, _MAGIC, _CONTRACT)
        self._store(_BUDGETS, stream_budget, datagram_budget, whole_bytes)

    def set_epoch(self, epoch: int) -> None:
        """0: nothing is captured."""
        self._store(_EPOCH, epoch)

    def leave_out_processes(self, pids: Iterable[int]) -> None:
        """The agent's own, at most eight. Holds for connections that begin afterwards."""
        listed = list(pids)[:_MOST_OWN_PIDS]
        self._store(_OWN_PIDS, *listed, *[0] * (_MOST_OWN_PIDS - len(listed)))

    def leave_out_ports(self, ports: Iterable[int]) -> None:
        """On either side. Holds for connections that begin afterwards."""
        bits = bytearray(_PORT_BYTES)
        for port in ports:
            bits[port >> 3] |= 1 << (port & 7)
        self._page[_EXCLUDED_PORTS : _EXCLUDED_PORTS + _PORT_BYTES] = bytes(bits)

    def close(self) -> None:
        self._words.release()
        self._page.close()

    def _store(self, word: int, *values: int) -> None:
        for offset, value in enumerate(values):
            if self._words[word + offset] != value:
                self._words[word + offset] = value
