# SPDX-License-Identifier: Apache-2.0
"""From raw rows to one frozen Snapshot of everything that has a name, which all exporters read.

The work of a turn grows with the rows that moved: a row is named once, when it is first seen or when the resolver's
answers changed since, and then only its growth is posted.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from analyzers._native import lib
from analyzers.accounts import FINE, FINE_BUCKETS, Account, Book, Ledger, Values, fitting, growth
from analyzers.calls import OVERFLOW_CALL, OVERFLOW_SERVED, CallLabels, ServedLabels, call_of, served_of
from analyzers.edges import OVERFLOW_EDGE, Edge, EdgeLabels, Ends, draws_edge, edge_of, name_ends, status_code
from analyzers.entities import OVERFLOW_ENTITY, EntityLabels, entity_of
from analyzers.health import TcpLabels, overflow_labels, tcp_labels, tcp_values
from analyzers.resolver import NOT_READ_YET, NOT_TOLD_YET, Party, Resolver
from analyzers.rows import RequestKey, RequestRow, Role, Sample, TcpKey, TcpRow
from analyzers.samples import NamedSample, name_sample
from analyzers.scope import EVERYTHING, Scope
from analyzers.traces import TraceRow, TraceTable

# As many as the table has rows, and what is put out at once: whoever has a row, and moves, is never among these.
ACCOUNT_LIMIT: Final = fitting(int(lib.FS_ROWS))
TCP_ACCOUNT_LIMIT: Final = fitting(int(lib.FS_TCP_ROWS))
TRACE_LIMIT: Final = 32768
TCP_WIDTH: Final = 7

HOUR_NS: Final = 3600 * 10**9
FIVE_MINUTES_NS: Final = 300 * 10**9
MINUTE_NS: Final = 60 * 10**9
NAME_PATIENCE_NS: Final = {NOT_READ_YET: 15 * 10**9, NOT_TOLD_YET: 5 * 10**9}
"""So long a new row waits for the name of an owner that has none for this reason, so that nothing is counted under one for the
meantime. What the API server tells of a new pod comes within a second, or after a pause that may be any."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known at `clock_ns` of the events' clock. Accounts only grow from one snapshot to the next while they live.

    An account that did not move is the same object as in the snapshot before. `unresolved` counts the ends (address and
    reason) that have no name now; `undirected` the requests so far for which nobody could tell who asked; `evicted`
    the accounts and traces that had to end early because there were too many, by kind. `calls` and `served` are empty
    unless somebody asked for them.
    """

    number: int
    clock_ns: int
    edges: tuple[Account[EdgeLabels], ...]
    entities: tuple[Account[EntityLabels], ...]
    health: tuple[Account[TcpLabels], ...]
    connects: tuple[Account[TcpLabels], ...]
    traces: tuple[TraceRow, ...]
    samples: tuple[NamedSample, ...]
    unresolved: Mapping[str, int]
    undirected: int
    local_pods: int
    evicted: Mapping[str, int]
    calls: tuple[Account[CallLabels], ...] = ()
    served: tuple[Account[ServedLabels], ...] = ()


EMPTY: Final = Snapshot(0, 0, (), (), (), (), (), (), {}, 0, 0, {})


_AnyBook = Book[EdgeLabels] | Book[EntityLabels] | Book[CallLabels] | Book[ServedLabels] | Book[TcpLabels]


class _Source:
    """What is remembered of one table row: its values when last seen, and where its growth goes."""

    __slots__ = (
        "books", "edge", "generation", "is_server", "last", "parties", "reason", "since_ns", "turn", "version", "waits",
    )  # fmt: skip

    def __init__(self, generation: int, width: int) -> None:
        self.generation = generation
        self.last: Values = (0,) * width
        self.version = -1
        self.turn = 0
        self.books: tuple[_AnyBook, ...] = ()
        self.edge: Edge | None = None
        self.is_server = False
        self.parties: tuple[tuple[str, Party], ...] = ()
        self.waits = False
        self.reason = ""
        self.since_ns = 0

    def named(self, ends: Ends, created_ns: int, now_ns: int) -> bool:
        """Takes the names of both ends; false while it has none that will stay, and nothing was counted yet."""
        self.parties = ((ends.local_ip, ends.local), (ends.remote_ip, ends.remote))
        reason = max((ends.local.reason, ends.remote.reason), key=lambda reason: NAME_PATIENCE_NS.get(reason, 0))
        if reason != self.reason:
            # One reason may follow another: each has its time from when it was first told, the first from the beginning.
            self.since_ns = now_ns if self.reason else created_ns
            self.reason = reason
        self.waits = now_ns - self.since_ns < NAME_PATIENCE_NS.get(reason, 0) and not any(self.last)
        return not self.waits


class SnapshotBuilder:
    """Holds the accounts. `build` is called a few times a minute, from one thread."""

    def __init__(self, resolver: Resolver, idle_ns: int = HOUR_NS, gauge_idle_ns: int = FIVE_MINUTES_NS) -> None:
        self.idle_ns = idle_ns
        self.gauge_idle_ns = gauge_idle_ns
        self.gone_idle_ns = MINUTE_NS
        """How long accounts of a deleted pod may be idle: two scrapes."""
        self.gone_pods: Callable[[], Collection[tuple[str, str]]] = tuple
        """Asked for namespace and name of the pods that were deleted."""
        self.running_pods: Callable[[], Collection[tuple[str, str]]] | None = None
        """The same of those that run on this node; None where nobody knows."""
        self._looked_ns = 0
        self.scope = EVERYTHING
        self._with_calls = False
        self._with_fine = False
        self._resolver = resolver
        self._version = resolver.version()
        self._number = 0
        self._now_ns = 0
        self._undirected = 0
        self._edges: Ledger[EdgeLabels] = Ledger(ACCOUNT_LIMIT)
        self._entities: Ledger[EntityLabels] = Ledger(ACCOUNT_LIMIT)
        self._calls: Ledger[CallLabels] = Ledger(ACCOUNT_LIMIT)
        self._served: Ledger[ServedLabels] = Ledger(ACCOUNT_LIMIT)
        self._health: Ledger[TcpLabels] = Ledger(TCP_ACCOUNT_LIMIT)
        self._connects: Ledger[TcpLabels] = Ledger(TCP_ACCOUNT_LIMIT)
        self._traces = TraceTable(TRACE_LIMIT)
        self._requests: dict[int, _Source] = {}  # by index
        self._tcp: dict[int, _Source] = {}

    def leave_out(self, scope: Scope) -> None:
        """From now on; every row is asked about again."""
        self.scope = scope
        self._ask_again()

    def count_calls(self, wanted: bool, *, fine: bool = False) -> None:
        """Whether snapshots have `calls` and `served` from now on, and whether these have the fine buckets."""
        if (wanted, fine) != (self._with_calls, self._with_fine):
            self._with_calls, self._with_fine = wanted, fine
            self._calls, self._served = Ledger(ACCOUNT_LIMIT), Ledger(ACCOUNT_LIMIT)
            for source in self._requests.values():
                source.last = self._fitted(source.last)
            self._ask_again()

    def _ask_again(self) -> None:
        for source in (*self._requests.values(), *self._tcp.values()):
            source.version = -1

    def build(
        self, requests: Iterable[RequestRow], tcp: Iterable[TcpRow], samples: Iterable[Sample], clock_ns: int
    ) -> Snapshot:
        """Take what the table holds now. `clock_ns` is the table's clock; one that went back is taken as standing still."""
        self._number += 1
        self._now_ns = max(self._now_ns, clock_ns)
        self._version = self._resolver.version()
        for row in requests:
            self._take_requests(row)
        for tcp_row in tcp:
            self._take_tcp(tcp_row)
        self._requests = self._seen(self._requests)
        self._tcp = self._seen(self._tcp)
        for ledger in (self._edges, self._entities, self._calls, self._served, self._health, self._connects):
            ledger.expire(self._now_ns - self.idle_ns)
        self._end_gone()
        self._traces.expire(self._now_ns - self.gauge_idle_ns)
        named = [name_sample(sample, self._resolver) for sample in samples]
        shown = [n for n in named if self.scope.has_row(n.sample.role, n.ends, both_here=n.sample.peer is not None)]
        return self._freeze(tuple(shown))

    def _end_gone(self) -> None:
        """Accounts of pods that will never move again."""
        if self._now_ns - self._looked_ns < self.gone_idle_ns // 2:
            return
        self._looked_ns = self._now_ns
        gone = self.gone_pods()
        if not gone:
            return

        def is_gone(*parties: Party) -> bool:
            return any(party.pod and (party.namespace, party.pod) in gone for party in parties)

        before_ns = self._now_ns - self.gone_idle_ns
        self._edges.end_idle(before_ns, lambda labels: is_gone(labels.edge.src, labels.edge.dst))
        self._entities.end_idle(before_ns, lambda labels: is_gone(labels.entity.party))
        self._calls.end_idle(before_ns, lambda labels: is_gone(labels.src, labels.dst))
        self._served.end_idle(before_ns, lambda labels: is_gone(labels.entity.party))
        for ledger in (self._health, self._connects):
            ledger.end_idle(before_ns, lambda labels: is_gone(labels.src, labels.dst))

    def _take_requests(self, row: RequestRow) -> None:
        key = row.key
        values = (row.count, row.duration_ns, row.request_bytes, row.response_bytes, *row.buckets)
        if self._with_fine:
            values = self._fitted((*values, *row.fine))
        source = self._requests.get(key.index)
        if source is None or source.generation != key.generation:
            source = self._requests[key.index] = _Source(key.generation, len(values))
            self._name_requests(source, key, len(values), row.last.ended_ns)
        source.turn = self._number
        if values == source.last and not source.waits:
            return
        if source.waits or source.version != self._version or any(book.ended for book in source.books):
            self._name_requests(source, key, len(values), row.last.ended_ns)
        if source.waits:
            return
        amount = growth(values, source.last)
        source.last = values
        for book in source.books:
            book.post(amount, self._now_ns)
        # Bytes alone keep the edge in the view as well: a long transfer is an address in use.
        if source.edge is not None:
            self._traces.put(_trace(row, source.edge, source.is_server), self._now_ns)
        if key.role is Role.UNKNOWN and not key.overflow:
            self._undirected += amount[0]

    def _fitted(self, values: Values) -> Values:
        """As wide as they are to be. Fine buckets that nobody counted are empty."""
        wide = FINE + FINE_BUCKETS if self._with_fine else FINE
        return (*values, *((0,) * (wide - len(values))))[:wide]

    def _name_requests(self, source: _Source, key: RequestKey, width: int, at_ns: int) -> None:
        """After who had the addresses when the newest request ended: news of the cluster come at any time between."""
        source.version = self._version
        if key.overflow:
            edge_labels = EdgeLabels(OVERFLOW_EDGE, "", key.is_error, key.is_slow)
            entity_labels = EntityLabels(OVERFLOW_ENTITY, "", "", key.is_error, key.is_slow)
            source.books = (
                self._edges.book(edge_labels, FINE, self._now_ns),
                self._entities.book(entity_labels, FINE, self._now_ns),
            )
            if self._with_calls:
                source.books += (self._calls.book(OVERFLOW_CALL, width, self._now_ns),)
                source.books += (self._served.book(OVERFLOW_SERVED, width, self._now_ns),)
            return
        ends = name_ends(key, self._resolver, at_ns)
        if not source.named(ends, key.created_ns, self._now_ns):
            return
        if ends.remote.former:
            source.version = -1  # what comes after is the successor's
        in_scope = self.scope.has_row(key.role, ends, both_here=key.peer is not None)
        source.edge = edge_of(key, ends, key.protocol, key.l4) if in_scope else None
        source.is_server = key.role is Role.SERVER
        books: list[_AnyBook] = []
        if source.edge is not None and draws_edge(key, ends):
            edge_labels = EdgeLabels(source.edge, status_code(key), key.is_error, key.is_slow)
            books.append(self._edges.book(edge_labels, FINE, self._now_ns))
        if self._with_calls and source.edge is not None and (call := call_of(key, source.edge)) is not None:
            books.append(self._calls.book(call, width, self._now_ns))
        entity = entity_of(key, ends)
        if entity is not None and self.scope.has(entity.party):
            content = (key.request_content, key.response_content)
            entity_labels = EntityLabels(entity, *content, key.is_error, key.is_slow)
            books.append(self._entities.book(entity_labels, FINE, self._now_ns))
            if self._with_calls:
                books.append(self._served.book(served_of(key, entity), width, self._now_ns))
        source.books = tuple(books)

    def _take_tcp(self, row: TcpRow) -> None:
        key = row.key
        values = (*tcp_values(row), row.updated_ns)
        source = self._tcp.get(key.index)
        if source is None or source.generation != key.generation:
            source = self._tcp[key.index] = _Source(key.generation, len(values))
            self._name_tcp(source, key, row.updated_ns)
        source.turn = self._number
        if values == source.last and not source.waits:
            return
        if source.waits or source.version != self._version or any(book.ended for book in source.books):
            self._name_tcp(source, key, row.updated_ns)
        if source.waits:
            return
        amount = growth(values, source.last)[:TCP_WIDTH]
        source.last = values
        for book in source.books:
            book.post(amount, row.updated_ns, row.srtt_us)

    def _name_tcp(self, source: _Source, key: TcpKey, moved_ns: int) -> None:
        source.version = self._version
        ledger = self._health if key.error is None else self._connects
        if key.overflow:
            labels = overflow_labels(key)
        else:
            ends = name_ends(key, self._resolver, moved_ns)
            if not source.named(ends, key.created_ns, self._now_ns):
                return
            if ends.remote.former:
                source.version = -1
            labels = tcp_labels(key, ends)
            if not self.scope.has_row(key.role, ends):
                source.books = ()
                return
        source.books = (ledger.book(labels, TCP_WIDTH, self._now_ns, moved_ns),)

    def _seen(self, sources: dict[int, _Source]) -> dict[int, _Source]:
        """Forget the rows that are no longer in the table; what they counted stays in the accounts."""
        number = self._number
        if all(source.turn == number for source in sources.values()):
            return sources
        return {key: source for key, source in sources.items() if source.turn == number}

    def _freeze(self, samples: tuple[NamedSample, ...]) -> Snapshot:
        unresolved: dict[str, int] = {}
        pods: set[tuple[str, str]] = set()
        nameless: set[tuple[str, str]] = set()
        for sources in (self._requests, self._tcp):
            for source in sources.values():
                for position, (ip, party) in enumerate(source.parties):
                    if party.reason:
                        nameless.add((ip, party.reason))
                    elif party.pod and position == 0:
                        pods.add((party.namespace, party.pod))
        # A row may live longer than what is known of a pod that is over.
        if pods and self.running_pods is not None:
            pods.intersection_update(self.running_pods())
        for _, reason in nameless:
            unresolved[reason] = unresolved.get(reason, 0) + 1
        return Snapshot(
            number=self._number,
            clock_ns=self._now_ns,
            edges=self._edges.accounts(),
            entities=self._entities.accounts(),
            health=self._health.accounts(),
            connects=self._connects.accounts(),
            traces=self._traces.rows(),
            samples=samples,
            unresolved=unresolved,
            undirected=self._undirected,
            local_pods=len(pods),
            evicted={
                "topology": self._edges.evicted,
                "entity": self._entities.evicted,
                "tcp": self._health.evicted + self._connects.evicted,
                "trace": self._traces.evicted,
                **({"call": self._calls.evicted + self._served.evicted} if self._with_calls else {}),
            },
            calls=self._calls.accounts(),
            served=self._served.accounts(),
        )


def _trace(row: RequestRow, edge: Edge, is_server: bool) -> TraceRow:
    key = row.key
    content = (key.request_content, key.response_content)
    return TraceRow(edge, is_server, *content, key.is_error, key.is_slow, row.last)
