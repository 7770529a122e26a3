# SPDX-License-Identifier: Apache-2.0
"""Rows made of socket lists, for a node without a probe: who is connected to whom, round-trip times, retransmits, bytes.

Requests cannot be seen this way, nor connections that live and die between two lists. So rows have bytes and TCP health
but no counts, and the metrics that would need them are absent with a reason.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from analyzers.rows import Identity, LastRequest, RequestKey, RequestRow, Role, TcpKey, TcpRow
from analyzers.table import SampleBatch
from probes.sockets import LISTEN, SeenSocket

ROW_LIMIT: Final = 16384
IDENTITY_LIMIT: Final = 8192
_BUCKETS: Final = 9
_NO_REQUEST: Final = LastRequest(0, 0, 0, 0, 0, 0)

_Tuple = tuple[str, int, str, int]
_Key = tuple[Role, int, int, str, int, str, int, str, int]


@dataclass(slots=True)
class _Sum:
    """What the sockets of one relation came to, those that have ended included."""

    key: TcpKey
    updated_ns: int
    srtt_us: int = 0
    retransmits: int = 0
    closed: int = 0
    asked: int = 0
    answered: int = 0


@dataclass(frozen=True, slots=True)
class _Known:
    """A socket as it was listed last, and the relation that it counts for."""

    seen: SeenSocket
    sum: _Sum


@dataclass(slots=True)
class PolledRows:
    """The rows of all lists so far. `name_of` tells the command of a process, empty if it is gone."""

    name_of: Callable[[int], str]
    idle_ns: int
    overflow: int = 0
    """Sockets whose relation found no row."""
    _sums: dict[_Key, _Sum] = field(default_factory=dict)
    _sockets: dict[tuple[int, _Tuple], _Known] = field(default_factory=dict)
    _identities: dict[tuple[int, int, int], Identity] = field(default_factory=dict)
    _listening: frozenset[tuple[int, int]] = frozenset()
    _next: int = 1

    def take(self, sockets: Iterable[SeenSocket], now_ns: int) -> None:
        """Go on with a new list, made at `now_ns` (CLOCK_MONOTONIC)."""
        listed = list(sockets)
        self._listening = frozenset((s.netns, s.local_port) for s in listed if s.state == LISTEN)
        connected = {(s.netns, _ends(s)): s for s in listed if s.state != LISTEN}
        by_ends = {(_scope(s), _ends(s)): s for s in connected.values()}
        known: dict[tuple[int, _Tuple], _Known] = {}
        for place, seen in connected.items():
            other = by_ends.get((_scope(seen), _mirrored(seen)))
            if other is not None and self._tells_other(seen, other):
                continue
            if other is not None and other.dialled_ip:  # what was asked for is known to the end that asked
                seen = replace(seen, dialled_ip=other.dialled_ip, dialled_port=other.dialled_port)  # noqa: PLW2901
            before = self._sockets.get(place)
            if before is not None and before.seen.inode != seen.inode and before.seen.inode and seen.inode:
                before.sum.closed += 1
                before = None  # another connection on the same ports
            total = before.sum if before is not None else self._sum_of(seen, other, now_ns)
            if total is None:
                self.overflow += 1
                continue
            self._add(total, before.seen if before else None, seen, now_ns)
            known[place] = _Known(seen, total)
        for place, gone in self._sockets.items():
            if place not in connected:
                gone.sum.closed += 1
        self._sockets = known
        self._expire(now_ns)

    def requests(self) -> list[RequestRow]:
        """One row of bytes for each relation whose bytes are known."""
        return [_bytes_row(total) for total in self._sums.values() if total.asked or total.answered]

    def tcp(self) -> list[TcpRow]:
        return [
            TcpRow(total.key, total.updated_ns, total.srtt_us, 0, 0, total.retransmits, 0, 0, 0, 0, total.closed)
            for total in self._sums.values()
        ]

    def samples_since(self, sequence: int) -> SampleBatch:
        """None: a sample is a request."""
        return SampleBatch((), max(sequence, 1), 0)

    def _role(self, seen: SeenSocket) -> Role:
        if (seen.netns, seen.local_port) in self._listening:
            return Role.SERVER
        return Role.CLIENT

    def _tells_other(self, seen: SeenSocket, other: SeenSocket) -> bool:
        """Of a connection inside this node one end tells: the serving one, as the probes have it."""
        mine, theirs = self._role(seen), self._role(other)
        if mine is theirs:
            return (seen.netns, _ends(seen)) > (other.netns, _ends(other))
        return theirs is Role.SERVER

    def _sum_of(self, seen: SeenSocket, other: SeenSocket | None, now_ns: int) -> _Sum | None:
        role = self._role(seen)
        identity = self._identity(seen)
        local_port = seen.local_port if role is Role.SERVER else 0
        remote_port = seen.remote_port if role is Role.CLIENT else 0
        peer = self._identity(other) if other is not None else None
        key = (
            role, identity.index, peer.index if peer else 0, seen.local_ip, local_port, seen.remote_ip, remote_port,
            seen.dialled_ip, seen.dialled_port,
        )  # fmt: skip
        found = self._sums.get(key)
        if found is None and len(self._sums) < ROW_LIMIT:
            index, self._next = self._next, self._next + 1
            found = self._sums[key] = _Sum(
                TcpKey(
                    index, 1, role, identity, peer, seen.local_ip, local_port, seen.remote_ip, remote_port,
                    None, False, now_ns, seen.dialled_ip, seen.dialled_port,
                ),
                now_ns,
            )  # fmt: skip
        return found

    def _identity(self, seen: SeenSocket) -> Identity:
        """Whose socket: its cgroup in the own namespace; elsewhere a process that lives in the same namespace."""
        place = (seen.netns, seen.cgroup_id, seen.pid)
        found = self._identities.get(place)
        if found is None:
            if len(self._identities) >= IDENTITY_LIMIT:
                self._identities.clear()
            index, self._next = self._next, self._next + 1
            name = self.name_of(seen.pid) if seen.pid else ""
            found = self._identities[place] = Identity(index, 1, seen.netns, seen.cgroup_id, seen.pid, name)
        return found

    @staticmethod
    def _add(total: _Sum, before: SeenSocket | None, seen: SeenSocket, now_ns: int) -> None:
        total.updated_ns = now_ns
        if not seen.is_detailed:
            return
        asks = total.key.role is Role.CLIENT
        sent, received, retransmits = seen.sent, seen.received, seen.retransmits
        if before is not None:
            sent, received = max(0, sent - before.sent), max(0, received - before.received)
            retransmits = max(0, retransmits - before.retransmits)
        total.srtt_us = seen.srtt_us or total.srtt_us
        total.retransmits += retransmits
        total.asked += sent if asks else received
        total.answered += received if asks else sent

    def _expire(self, now_ns: int) -> None:
        self._sums = {key: total for key, total in self._sums.items() if now_ns - total.updated_ns < self.idle_ns}


def _scope(seen: SeenSocket) -> int:
    """A loopback address means another place in each network namespace; any other is one place."""
    return seen.netns if seen.local_ip == "::1" or seen.local_ip.startswith("127.") else 0


def _ends(seen: SeenSocket) -> _Tuple:
    return (seen.local_ip, seen.local_port, seen.remote_ip, seen.remote_port)


def _mirrored(seen: SeenSocket) -> _Tuple:
    return (seen.remote_ip, seen.remote_port, seen.local_ip, seen.local_port)


def _bytes_row(total: _Sum) -> RequestRow:
    key = total.key
    return RequestRow(
        RequestKey(
            key.index, key.generation, key.role, "NOSUPPORT", "tcp", key.identity, key.peer,
            key.local_ip, key.local_port, key.remote_ip, key.remote_port,
            0, "", "", False, False, False, False, key.created_ns, key.dialled_ip, key.dialled_port,
        ),
        0, 0, total.asked, total.answered, (0,) * _BUCKETS, replace(_NO_REQUEST, ended_ns=total.updated_ns),
    )  # fmt: skip
