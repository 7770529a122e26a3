# SPDX-License-Identifier: Apache-2.0
"""TCP connections out of segments: who connected, what moved in order, what was sent again, how it ended (RFC 9293).

Both ends are told as the kernel of a machine that has both would tell them, and the bytes once, at the serving end.
A byte counts as it was first seen. A segment waits while bytes before it, or before what it acknowledges, were not
seen; when they were acknowledged without having been seen, the capture missed them, and they become a gap.
"""

import errno
from bisect import insort
from collections import Counter, OrderedDict
from collections.abc import Callable
from struct import Struct
from typing import Final

from analyzers.packets import event_bytes as event
from analyzers.packets.streams import (
    Connection,
    Segment,
    Side,
    endpoints_of,
    is_another,
    reversed_key,
    service_of,
)

CONNECTIONS_MAX: Final = 32768
"""Followed at once; each has two ends in the engine's table."""
ENDED_MAX: Final = 65536
HELD_SEGMENTS_MAX: Final = 1024
HELD_BYTES_MAX: Final = 4 << 20
ALL_HELD_BYTES_MAX: Final = 64 << 20
MILLISECOND: Final = 1_000_000
REORDERED_NS: Final = 3 * MILLISECOND
"""A hole that is filled so soon was made by the network; later, by a sender who sent again."""
MISSED_NS: Final = 50 * MILLISECOND
"""So long after a hole was acknowledged nobody sends its bytes any more."""
UNSENT_NS: Final = 10_000 * MILLISECOND
"""And so long without an acknowledgement it is given up as well."""
GAVE_UP_NS: Final = 3_000 * MILLISECOND
"""An attempt without an answer that was not repeated for so long was given up by its client."""
WINDOW_MAX: Final = 1 << 30
"""The largest window there is: RFC 7323 section 2.3."""
_TICK_NS: Final = 10 * MILLISECOND

FIN, SYN, RST, ACK = 1, 2, 4, 16
_HEAD: Final = Struct("!HHIIBB")

DAMAGED: Final = "TCP segments with a damaged header"
CUT_HEADER: Final = "TCP segments cut short inside their header: raise the capture's snaplen"
ELSEWHERE: Final = "TCP segments that were seen on another interface already"
OUTSIDE: Final = "TCP segments far outside of their stream"
STRAY: Final = "TCP segments without data of connections that are not known"
EVICTED: Final = "TCP connections forgotten because too many were open at once"

Emit = Callable[[bytes], None]


class Connections:
    """Feed it segments in the order of the capture; `emit` gets the bytes of events."""

    def __init__(self, emit: Emit) -> None:
        self.skipped: Counter[str] = Counter()
        self._emit = emit
        self._open: dict[bytes, tuple[Connection, int]] = {}
        self._queue: OrderedDict[int, Connection] = OrderedDict()  # by number, the longest idle one first
        self._ended: dict[bytes, int] = {}  # role of the sending side, by its key
        self._servers: dict[bytes, None] = {}
        self._waiting: dict[int, Connection] = {}
        self._numbers = 0
        self._arrivals = 0
        self._held_bytes = 0
        self._tick_ns = 0

    def segment(self, time_ns: int, place: int, addresses: bytes, data: bytes, length: int) -> None:
        """`data` is what was captured of `length` bytes from the TCP header on."""
        if time_ns >= self._tick_ns:
            self._tick_ns = time_ns + _TICK_NS
            if self._waiting:
                self._release_overdue(time_ns)
        if len(data) < 14:
            self.skipped[CUT_HEADER] += 1
            return
        _, _, seq, ack, reserved, flags = _HEAD.unpack_from(data)
        head = (reserved >> 4) * 4
        if head < 20 or head > length:
            self.skipped[DAMAGED] += 1
            return
        key = addresses + data[:4]
        found = self._open.get(key)
        if found is None:
            found = self._begin(time_ns, place, key, seq, flags, length - head)
            if found is None:
                return
        connection, number = found
        side = connection.sides[number]
        if side.place != place:
            if side.place >= 0:
                self.skipped[ELSEWHERE] += 1
                return
            side.place = place
        if flags & SYN and not flags & RST and is_another(side, seq):
            self._end(connection, connection.last_ns)
            found = self._begin(time_ns, place, key, seq, flags, length - head)
            assert found is not None
            connection, number = found
        connection.last_ns = time_ns
        self._queue.move_to_end(connection.number)
        if flags & (SYN | RST) and self._control(connection, number, time_ns, seq, ack, flags):
            return
        self._data(connection, number, time_ns, seq + (1 if flags & SYN else 0), ack, flags, data[head:], length - head)

    def finish(self, time_ns: int) -> None:
        """The end of the capture: what is held goes on, and attempts without an answer are told if they are over."""
        for connection in list(self._queue.values()):
            self._release(connection)
            self._unanswered(connection, time_ns)

    # --- begin and end

    def _begin(
        self, time_ns: int, place: int, key: bytes, seq: int, flags: int, length: int
    ) -> tuple[Connection, int] | None:
        """A connection of which this is the first segment; None if it is none worth following."""
        starts = bool(flags & SYN) and not flags & RST
        if not starts and key in self._ended:
            if flags & RST:
                ends = endpoints_of(key)
                self._emit(event.trouble_event(time_ns, 0, event.tcp_tuple(ends, self._ended[key]), event.RESET_SENT))
            return None
        if not starts and (not length or flags & RST):
            self.skipped[STRAY] += 1
            return None
        ends = endpoints_of(key)
        back = event.Endpoints(ends.remote, ends.local, ends.remote_port, ends.local_port)
        self._numbers += 1
        sides = (Side(2 * self._numbers, ends, place), Side(2 * self._numbers + 1, back, -1))
        connection = Connection(self._numbers, (key, reversed_key(key)), sides, time_ns)
        if not starts:
            self._join(connection, seq)
        self._make_room()
        self._queue[connection.number] = connection
        for number in (0, 1):
            self._ended.pop(connection.keys[number], None)
            self._open[connection.keys[number]] = (connection, number)
        return connection, 0

    def _join(self, connection: Connection, seq: int) -> None:
        """In the middle of its life. Who serves is known only if its port was seen to answer a connect."""
        for number in (0, 1):
            if service_of(connection.keys[number]) in self._servers:
                connection.connected_by(1 - number)
        connection.established = True
        connection.sides[0].stands_at(seq)

    def _open_side(self, connection: Connection, side: Side, time_ns: int, flags: int = 0) -> None:
        if side.opened:
            return
        side.opened = True
        other = connection.sides[0] if connection.sides[1] is side else connection.sides[1]
        began = 0 if flags else connection.first_ns
        ends = event.tcp_tuple(side.ends, side.role)
        self._emit(event.open_event(time_ns, side.id, ends, began, side.next, other.next, flags))

    def _make_room(self) -> None:
        while len(self._queue) >= CONNECTIONS_MAX:
            idle = next(iter(self._queue.values()))
            self.skipped[EVICTED] += 1
            self._end(idle, idle.last_ns, lost=True)

    def _end(self, connection: Connection, time_ns: int, *, lost: bool = False, reset_by: int = -1) -> None:
        self._release(connection)
        self._unanswered(connection, time_ns)
        lost = lost or any(side.misses(side.seen) for side in connection.sides)
        for number in (connection.teller, 1 - connection.teller):
            if connection.sides[number].opened:
                error = errno.ECONNRESET if reset_by == 1 - number else 0
                self._emit(connection.close_event(number, time_ns, error, event.LOST_BEFORE if lost else 0))
        del self._queue[connection.number]
        for number in (0, 1):
            key = connection.keys[number]
            del self._open[key]
            if len(self._ended) >= ENDED_MAX:
                del self._ended[next(iter(self._ended))]
            self._ended[key] = connection.sides[number].role

    def _unanswered(self, connection: Connection, now_ns: int) -> None:
        """An attempt to which nobody answered: it was repeated in vain, or given up, or there was not time enough."""
        if connection.client < 0 or connection.synack_ns or connection.established:
            return
        side = connection.sides[connection.client]
        if side.again:
            self._connected(connection, now_ns, errno.ETIMEDOUT)
        elif now_ns - connection.first_ns >= GAVE_UP_NS:
            self._connected(connection, now_ns, errno.ECANCELED)

    # --- SYN and RST

    def _control(self, connection: Connection, number: int, time_ns: int, seq: int, ack: int, flags: int) -> bool:
        """True if the segment needs no further look."""
        if flags & RST:
            self._reset(connection, number, time_ns)
            return True
        side, other = connection.sides[number], connection.sides[1 - number]
        if side.isn == seq:
            self._again(side, time_ns, event.SYNACK_RETRANSMIT if flags & ACK else event.RETRANSMIT)
            return True
        side.isn = seq
        side.stands_at(seq + 1)
        if not flags & ACK:
            connection.connected_by(number)
            self._open_side(connection, side, time_ns)
            return False
        if connection.client < 0:
            connection.connected_by(1 - number)
        if not other.next:
            other.stands_at(ack)
        connection.synack_ns = time_ns
        if len(self._servers) < ENDED_MAX:
            self._servers[service_of(connection.keys[number])] = None
        self._open_side(connection, other, time_ns)
        self._open_side(connection, side, time_ns)
        return False

    def _reset(self, connection: Connection, number: int, time_ns: int) -> None:
        side, other = connection.sides[number], connection.sides[1 - number]
        self._release(connection)
        if connection.client >= 0 and not connection.established:
            refused = number != connection.client and not connection.synack_ns
            self._connected(connection, time_ns, errno.ECONNREFUSED if refused else errno.ECANCELED)
        self._trouble(side, time_ns, event.RESET_SENT)
        self._trouble(other, time_ns, event.RESET_RECEIVED)
        self._end(connection, time_ns, reset_by=number)

    def _connected(self, connection: Connection, time_ns: int, error: int = 0) -> None:
        """The attempt has a result. Its client's next word after the answer says that it came through."""
        side = connection.sides[connection.client]
        connection.established = True
        if side.isn < 0 or not side.opened:
            return  # it began before the capture
        duration_ns = max(0, time_ns - connection.first_ns)
        if not error:
            connection.rtt_us = min(max(1, duration_ns // 1000), 0xFFFFFFFF)
        ends = event.tcp_tuple(side.ends, event.CLIENT)
        self._emit(event.connect_event(time_ns, side.id, ends, duration_ns, error))

    # --- bytes

    def _data(
        self,
        connection: Connection,
        number: int,
        time_ns: int,
        seq: int,
        ack: int,
        flags: int,
        captured: bytes,
        length: int,
    ) -> None:
        side, other = connection.sides[number], connection.sides[1 - number]
        if not side.next:
            side.stands_at(seq & 0xFFFFFFFF)
        acknowledged = 0
        if flags & ACK:
            if not other.next:
                other.stands_at(ack)
            acknowledged = other.offset(ack)
            other.seen = max(other.seen, acknowledged)
            if not connection.established and number == connection.client and not flags & SYN:
                self._connected(connection, time_ns)
        offset = side.offset(seq)
        if abs(offset - side.next) > WINDOW_MAX:
            self.skipped[OUTSIDE] += 1
            return
        if flags & FIN:
            side.fin = offset + length
        if length or flags & FIN:
            self._account(side, time_ns, offset, offset + length + (1 if flags & FIN else 0))
        if length:
            if not side.held and not other.held and offset == side.next and not other.misses(acknowledged):
                self._tell(connection, number, time_ns, offset, captured, length, 0)
            else:
                self._hold(connection, number, Segment(offset, 0, time_ns, acknowledged, captured, length))
                self._drain(connection)
        if side.is_over and other.is_over:
            self._end(connection, time_ns)

    def _account(self, side: Side, time_ns: int, offset: int, end: int) -> None:
        """Was this sent before? What only arrived out of order was not."""
        if offset >= side.top:
            side.top, side.top_ns = end, time_ns
            return
        if end > side.top:
            side.top, side.top_ns = end, time_ns
        elif end - offset <= 1 and offset == side.next - 1 and side.seen > offset and not side.fin:
            return  # a probe whether the peer is still there: RFC 9293 section 3.8.4
        elif side.fills(offset, end) and time_ns - side.top_ns < REORDERED_NS:
            return
        self._again(side, time_ns, event.RETRANSMIT)

    def _again(self, side: Side, time_ns: int, kind: int) -> None:
        side.again += 1
        self._trouble(side, time_ns, kind)

    def _trouble(self, side: Side, time_ns: int, kind: int) -> None:
        ends = event.tcp_tuple(side.ends, side.role)
        self._emit(event.trouble_event(time_ns, side.id if side.opened else 0, ends, kind))

    def _hold(self, connection: Connection, number: int, segment: Segment) -> None:
        side = connection.sides[number]
        if segment.offset + segment.length <= side.next:
            return
        self._arrivals += 1
        insort(side.held, segment._replace(number=self._arrivals))
        connection.bytes += len(segment.captured)
        self._held_bytes += len(segment.captured)
        if connection.number not in self._waiting:
            connection.since_ns = segment.time_ns
            self._waiting[connection.number] = connection
        if len(side.held) > HELD_SEGMENTS_MAX or connection.bytes > HELD_BYTES_MAX:
            self._release_first(connection)
        elif self._held_bytes > ALL_HELD_BYTES_MAX:
            self._release_first(next(iter(self._waiting.values())))

    def _drain(self, connection: Connection) -> None:
        """Everything that need not wait any more, in the order in which it may go."""
        going = True
        while going:
            going = False
            for number in (0, 1):
                side, other = connection.sides[number], connection.sides[1 - number]
                while side.held and side.held[0].offset <= side.next and not other.misses(side.held[0].ack):
                    self._let_go(connection, number, 0)
                    going = True
        if not connection.sides[0].held and not connection.sides[1].held:
            self._waiting.pop(connection.number, None)

    def _let_go(self, connection: Connection, number: int, flags: int) -> None:
        side = connection.sides[number]
        segment = side.held.pop(0)
        connection.bytes -= len(segment.captured)
        self._held_bytes -= len(segment.captured)
        # Time waits for whoever waits longest: from now on it is counted anew.
        connection.since_ns = max(connection.since_ns, segment.time_ns)
        behind = max(0, side.next - segment.offset)
        if behind < segment.length:
            captured, length = segment.captured[behind:], segment.length - behind
            self._tell(connection, number, segment.time_ns, segment.offset + behind, captured, length, flags)

    def _release_overdue(self, now_ns: int) -> None:
        for connection in list(self._waiting.values()):
            while connection.number in self._waiting:
                patience = MISSED_NS if connection.is_missed else UNSENT_NS
                if now_ns - connection.since_ns < patience:
                    break
                self._release_first(connection)

    def _release_first(self, connection: Connection) -> None:
        """Of the two that wait in front, the one that was seen first goes, and what is missing before it is a gap."""
        first = [number for number in (0, 1) if connection.sides[number].held]
        number = min(first, key=lambda number: connection.sides[number].held[0].time_ns)
        side, other = connection.sides[number], connection.sides[1 - number]
        segment = side.held[0]
        if other.misses(segment.ack):
            other.next = min(segment.ack, other.fin) if other.fin else segment.ack
        side.next = max(side.next, segment.offset)
        self._let_go(connection, number, event.LOST_BEFORE)
        self._drain(connection)

    def _release(self, connection: Connection) -> None:
        while connection.number in self._waiting:
            self._release_first(connection)

    def _tell(
        self,
        connection: Connection,
        number: int,
        time_ns: int,
        offset: int,
        captured: bytes,
        length: int,
        flags: int,
    ) -> None:
        side, other = connection.sides[number], connection.sides[1 - number]
        teller = connection.teller
        telling = connection.sides[teller]
        if not telling.opened:
            late = 0 if telling.role == event.SERVER and connection.sides[1 - teller].isn >= 0 else event.LATE
            self._open_side(connection, connection.sides[1 - teller], time_ns, late)
            self._open_side(connection, telling, time_ns, late)
        side.next = offset + length
        side.sent += length
        direction = event.OUT if number == teller else event.IN
        self._emit(
            event.data_events(
                time_ns, telling.id, direction, offset, other.next, captured, length, connection.rtt_us, flags
            )
        )
