# SPDX-License-Identifier: Apache-2.0
"""What is kept of a TCP connection while its segments come: two sides, where their streams stand, what waits."""

from struct import Struct
from typing import Final, NamedTuple

from analyzers.packets import event_bytes as event

BASE: Final = 1 << 32
_PORTS: Final = Struct("!HH")


class Segment(NamedTuple):
    """One that waits. Ordered by its offset, then by arrival."""

    offset: int
    number: int
    time_ns: int
    ack: int
    captured: bytes
    length: int


class Side:
    """One end of a connection and the stream that it sends. Offsets are raw sequence numbers extended beyond 32 bits."""

    __slots__ = (
        "again",
        "ends",
        "fin",
        "held",
        "id",
        "isn",
        "next",
        "opened",
        "place",
        "role",
        "seen",
        "sent",
        "top",
        "top_ns",
    )

    def __init__(self, conn_id: int, ends: event.Endpoints, place: int) -> None:
        self.id = conn_id
        self.ends = ends
        self.place = place
        self.role = event.UNKNOWN
        self.opened = False
        self.isn = -1
        self.next = 0  # offset of the next byte to tell; 0: not known
        self.top = 0  # behind the highest byte that was seen
        self.top_ns = 0
        self.seen = 0  # up to here the other side acknowledged
        self.fin = 0  # where the stream ends
        self.held: list[Segment] = []
        self.sent = 0
        self.again = 0

    def stands_at(self, raw: int) -> None:
        """The stream is joined where its next byte has this sequence number."""
        self.next = self.top = self.seen = BASE + raw

    def offset(self, raw: int) -> int:
        """The extended offset that is nearest to where the stream stands."""
        behind = (raw - self.next) & 0xFFFFFFFF
        return self.next + (behind - BASE if behind & 0x80000000 else behind)

    def misses(self, upto: int) -> bool:
        """Whether bytes before `upto` were not told yet. The end of a stream counts as one byte in acknowledgements."""
        return (min(upto, self.fin) if self.fin else upto) > self.next

    def fills(self, offset: int, end: int) -> bool:
        """Whether none of these bytes were seen before."""
        if offset < self.next:
            return False
        return not any(held.offset < end and offset < held.offset + held.length for held in self.held)

    @property
    def is_over(self) -> bool:
        """Whether everything was told, and its end acknowledged."""
        return bool(self.fin) and self.next >= self.fin and self.seen > self.fin


class Connection:
    """Two sides, the first segment's sender first."""

    __slots__ = (
        "bytes",
        "client",
        "established",
        "first_ns",
        "keys",
        "last_ns",
        "number",
        "rtt_us",
        "sides",
        "since_ns",
        "synack_ns",
    )

    def __init__(self, number: int, keys: tuple[bytes, bytes], sides: tuple[Side, Side], time_ns: int) -> None:
        self.number = number
        self.keys = keys
        self.sides = sides
        self.first_ns = self.last_ns = time_ns
        self.client = -1  # which side connected; -1: not seen
        self.synack_ns = 0
        self.established = False
        self.rtt_us = 0
        self.bytes = 0  # held
        self.since_ns = 0  # something is held since

    def connected_by(self, number: int) -> None:
        self.client = number
        self.sides[number].role, self.sides[1 - number].role = event.CLIENT, event.SERVER

    @property
    def is_missed(self) -> bool:
        """Whether what is waited for was received by the peer: then nobody will send it again."""
        return any(side.misses(side.seen) for side in self.sides)

    @property
    def teller(self) -> int:
        """The side at which bytes are told: the serving one; where none is known, the one with the lower port."""
        if self.client >= 0:
            return 1 - self.client
        return 0 if self.sides[0].ends.local_port <= self.sides[0].ends.remote_port else 1

    def close_event(self, number: int, time_ns: int, error: int, flags: int) -> bytes:
        """The end of one side. `error` is 0 or a positive errno."""
        side, other = self.sides[number], self.sides[1 - number]
        return event.close_event(time_ns, side.id, side.sent, other.sent, self.rtt_us, side.again, error, flags)


def is_another(side: Side, seq: int) -> bool:
    """Whether a SYN is not the one that this stream began with: the same ports again."""
    return side.isn != seq if side.isn >= 0 else bool(side.next) and side.offset(seq + 1) != side.next


def reversed_key(key: bytes) -> bytes:
    half = (len(key) - 4) // 2
    return key[half : 2 * half] + key[:half] + key[-2:] + key[-4:-2]


def service_of(key: bytes) -> bytes:
    """The sender's address and port."""
    return key[: (len(key) - 4) // 2] + key[-4:-2]


def endpoints_of(key: bytes) -> event.Endpoints:
    """The sender as the local end."""
    half = (len(key) - 4) // 2
    source, target = _PORTS.unpack(key[-4:])
    return event.Endpoints(key[:half], key[half : 2 * half], source, target)
