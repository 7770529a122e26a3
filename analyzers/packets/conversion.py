# SPDX-License-Identifier: Apache-2.0
"""A packet capture as a recording: the bytes of one, written piece by piece to wherever an engine reads them.

Nothing but tables of fixed size is kept, so a file of any length passes through. Damage ends the recording where the
file's sense ends; what came before is whole.
"""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from analyzers._native import lib
from analyzers.packets.files import SECOND, CaptureFault, CaptureFile
from analyzers.packets.headers import TCP, Headers
from analyzers.packets.tcp import Connections
from analyzers.packets.udp import Datagrams
from analyzers.recording import RecordingHead, pack_head

DRIVER: Final = "capture"
"""What a recording made from packets names as its driver."""
_WRITE_BYTES: Final = 1 << 18
_STEP_BACK_NS: Final = SECOND
_TIME_MAX_NS: Final = 1 << 62
"""The engine believes no later ones; this one is in the year 2116."""

IMPOSSIBLE_TIME: Final = "packets of a time that cannot be"


@dataclass(slots=True)
class CaptureAccount:
    """What became of the packets. `skipped` counts by sentence those that no event was made of."""

    format: str
    packets: int = 0
    bytes: int = 0
    tcp: int = 0
    udp: int = 0
    cut: int = 0
    """Packets of which the capture kept only the beginning."""
    unordered: int = 0
    """Packets more than a second older than one before them."""
    skipped: Counter[str] = field(default_factory=Counter)
    fault: str = ""
    """Why the file could not be read to its end, where, and what to do; empty if it could."""


class Conversion:
    """One capture on its way. The account is complete once `run` has returned."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, and CaptureFault for a file that is no capture."""
        self._file = CaptureFile(path)
        self.account = CaptureAccount(self._file.format)
        self._pieces: list[bytes] = []
        self._size = 0

    def close(self) -> None:
        self._file.close()

    @property
    def head(self) -> RecordingHead:
        """Times of the events are those of the packets, since 1970."""
        return RecordingHead(lib.FS_CONTRACT_VERSION, lib.FS_SCHEMA_VERSION, 0, "", DRIVER)

    def run(self, write: Callable[[bytes], object]) -> None:
        """Writes the whole recording. What `write` raises ends it; a fault of the file does not, but is accounted."""
        write(pack_head(DRIVER, "", 0))
        headers = Headers()
        connections, datagrams = Connections(self._emit), Datagrams(self._emit)
        account, newest_ns = self.account, 0
        try:
            for packet in self._file.packets():
                account.packets += 1
                account.bytes += packet.length
                time_ns = packet.time_ns
                if not 0 < time_ns < _TIME_MAX_NS:
                    account.skipped[IMPOSSIBLE_TIME] += 1
                    continue
                if time_ns > newest_ns:
                    newest_ns = time_ns
                elif newest_ns - time_ns > _STEP_BACK_NS:
                    account.unordered += 1
                if len(packet.data) < packet.length:
                    account.cut += 1
                carried = headers.read(packet)
                if carried is None:
                    continue
                protocol, addresses, data, length = carried
                place = headers.place(packet)
                if protocol == TCP:
                    account.tcp += 1
                    connections.segment(time_ns, place, addresses, data, length)
                else:
                    account.udp += 1
                    datagrams.datagram(time_ns, place, addresses, data, length)
                if self._size >= _WRITE_BYTES:
                    self._flush(write)
        except CaptureFault as fault:
            account.fault = str(fault)
        connections.finish(newest_ns)
        headers.fragments.finish()
        self._flush(write)
        for part in (self._file, headers, headers.fragments, connections, datagrams):
            account.skipped += part.skipped

    def _emit(self, event: bytes) -> None:
        self._pieces.append(event)
        self._size += len(event)

    def _flush(self, write: Callable[[bytes], object]) -> None:
        write(b"".join(self._pieces))
        self._pieces.clear()
        self._size = 0


def write_all(descriptor: int, data: bytes) -> None:
    """os.write until everything is written. Raises OSError, BrokenPipeError when the reader has gone."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
