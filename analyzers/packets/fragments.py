# SPDX-License-Identifier: Apache-2.0
"""IP fragments put together: RFC 791 section 3.2, RFC 8200 section 4.5.

Bounded in number, bytes and time. A packet of which a part never came is dropped and counted, as its receiver does.
"""

from collections import Counter
from typing import Final

WAITING_MAX: Final = 1024
BYTES_MAX: Final = 16 << 20
PARTS_MAX: Final = 256
PATIENCE_NS: Final = 30 * 10**9
"""As Linux has it (net.ipv4.ipfrag_time)."""
_PACKET_BYTES: Final = 65535

Key = tuple[bytes, int, int, int]
Whole = tuple[bytes, int]
"""The captured beginning, and the whole length."""

INCOMPLETE: Final = "IP packets of which a fragment is missing"
OVERLAPPING: Final = "IP fragments that contradict each other"


class _Parts:
    """Fragments of one packet: (captured bytes, length) by their place in it. `end` is known with the last one."""

    __slots__ = ("bytes", "end", "parts", "since_ns")

    def __init__(self, since_ns: int) -> None:
        self.since_ns = since_ns
        self.parts: dict[int, tuple[bytes, int]] = {}
        self.bytes = 0
        self.end = -1

    def whole(self) -> Whole | None:
        """None while something is missing. Captured bytes end where the first of them was cut."""
        at = 0
        pieces: list[bytes] = []
        captured = 0
        for place in sorted(self.parts):
            data, length = self.parts[place]
            if place > at:
                return None
            if captured == at:
                piece = data[at - place :]
                pieces.append(piece)
                captured += len(piece)
            at = max(at, place + length)
        return (b"".join(pieces)[:at], at) if at == self.end else None


class Fragments:
    """Packets that are not whole yet. `skipped` counts what was given up, by sentence."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self._waiting: dict[Key, _Parts] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, time_ns: int, key: Key, at: int, more: bool, data: bytes, length: int) -> Whole | None:
        """The whole packet, if this was the last missing fragment."""
        self._expire(time_ns)
        parts = self._waiting.get(key)
        if parts is None:
            parts = self._waiting[key] = _Parts(time_ns)
        if self._contradicts(parts, at, more, length):
            self.skipped[OVERLAPPING] += 1
            self._forget(key)
            return None
        if at not in parts.parts:
            parts.parts[at] = (data, length)
            parts.bytes += len(data)
            self._bytes += len(data)
        if not more:
            parts.end = at + length
        whole = parts.whole() if parts.end >= 0 else None
        if whole is not None:
            self._forget(key)
        return whole

    def finish(self) -> None:
        """The end of the file: what waits stays incomplete."""
        self.skipped[INCOMPLETE] += len(self._waiting)
        self._waiting.clear()

    @staticmethod
    def _contradicts(parts: _Parts, at: int, more: bool, length: int) -> bool:
        """Overlapping fragments are how one hides something: RFC 5722 has the whole packet dropped.

        A fragment that came twice is none of these.
        """
        end = at + length
        if end > _PACKET_BYTES or (more and length % 8) or length == 0 or len(parts.parts) >= PARTS_MAX:
            return True
        if at in parts.parts:
            return parts.parts[at][1] != length
        if parts.end >= 0 and (end > parts.end or not more):
            return True
        return any(at < place + size and place < end for place, (_, size) in parts.parts.items())

    def _forget(self, key: Key) -> None:
        self._bytes -= self._waiting.pop(key).bytes

    def _expire(self, now_ns: int) -> None:
        while self._waiting:
            key, oldest = next(iter(self._waiting.items()))
            full = len(self._waiting) >= WAITING_MAX or self._bytes > BYTES_MAX
            if not full and now_ns - oldest.since_ns <= PATIENCE_NS:
                return
            self.skipped[INCOMPLETE] += 1
            self._forget(key)
