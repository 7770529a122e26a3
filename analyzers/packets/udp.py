# SPDX-License-Identifier: Apache-2.0
"""UDP datagrams out of packets, told at both ends as the kernel of a machine that has both would (RFC 768)."""

from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import Final

from analyzers.packets import event_bytes as event

FLOWS_MAX: Final = 65536
_HEAD: Final = Struct("!HHH")
_SOCKET_IDS: Final = 1 << 63
"""Sets them apart from connections, which are numbered from 1."""

DAMAGED: Final = "UDP datagrams with a damaged header"
CUT_HEADER: Final = "UDP datagrams cut short inside their header: raise the capture's snaplen"
ELSEWHERE: Final = "UDP datagrams that were seen on another interface already"


class Datagrams:
    """Feed it datagrams in the order of the capture; `emit` gets the bytes of events."""

    def __init__(self, emit: Callable[[bytes], None]) -> None:
        self.skipped: Counter[str] = Counter()
        self._emit = emit
        self._places: dict[bytes, int] = {}

    def datagram(self, time_ns: int, place: int, addresses: bytes, data: bytes, length: int) -> None:
        """`data` is what was captured of `length` bytes from the UDP header on."""
        if len(data) < 8:
            self.skipped[CUT_HEADER if length >= 8 else DAMAGED] += 1
            return
        source, target, told = _HEAD.unpack_from(data)
        told = min(told, length) if told else length  # 0 in a jumbogram, and where hardware was still to divide it
        if told < 8:
            self.skipped[DAMAGED] += 1
            return
        flow = addresses + data[:4]
        if self._places.setdefault(flow, place) != place:
            self.skipped[ELSEWHERE] += 1
            return
        if len(self._places) > FLOWS_MAX:
            self._places.clear()
        half = len(addresses) // 2
        sender, receiver = addresses[:half], addresses[half:]
        payload = data[8:told]
        ends = event.Endpoints(sender, receiver, source, target)
        self._emit(
            event.datagram_event(
                time_ns, _socket(sender + data[:2]), event.udp_tuple(ends), event.OUT, payload, told - 8
            )
        )
        if _is_group(receiver):
            return  # who received it, and where, is not to be seen
        ends = event.Endpoints(receiver, sender, target, source)
        self._emit(
            event.datagram_event(
                time_ns, _socket(receiver + data[2:4]), event.udp_tuple(ends), event.IN, payload, told - 8
            )
        )


def _is_group(address: bytes) -> bool:
    if len(address) == 4:
        return 224 <= address[0] < 240 or address == b"\xff\xff\xff\xff"
    return address[0] == 0xFF


@lru_cache(65536)
def _socket(address_and_port: bytes) -> int:
    """The same number for the same socket in every run, without a table that could be too small."""
    return _SOCKET_IDS | int.from_bytes(blake2b(address_and_port, digest_size=8).digest(), "big") >> 1
