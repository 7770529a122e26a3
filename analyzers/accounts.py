# SPDX-License-Identifier: Apache-2.0
"""Counters that outlive what fed them.

Table rows end, merge under one name and get new names; a counter that somebody graphs must not fall for any of that.
So an account only ever receives differences, and lives until it has been idle for its time.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from heapq import nsmallest
from itertools import count
from operator import add, sub
from typing import Final, Generic, TypeVar

from analyzers._native import lib

_AT_ONCE: Final = 16
"""A full ledger ends this part of its accounts."""

Values = tuple[int, ...]
Labels = TypeVar("Labels", bound=Hashable)

# What a tuple of request values holds; TCP tuples are described by `TcpCounts`.
COUNT: Final = 0
DURATION_NS: Final = 1
REQUEST_BYTES: Final = 2
RESPONSE_BYTES: Final = 3
BUCKETS: Final = 4  # from here on, not cumulative, the last one unbounded
FINE: Final = BUCKETS + lib.FS_BUCKETS  # from here on those of struct fs_fine, in accounts that were asked to have them
FINE_BUCKETS: Final = int(lib.FS_FINE_BUCKETS)


def growth(new: Values, old: Values) -> Values:
    """How much each value grew. A value that fell counts as no growth, so that no account ever falls."""
    difference = tuple(map(sub, new, old))
    return tuple(max(0, value) for value in difference) if min(difference) < 0 else difference


@dataclass(frozen=True, slots=True)
class Account(Generic[Labels]):
    """Values under one set of labels. The same object is handed out again as long as nothing changed.

    `id` is never used again; `gauge` is the newest reading of what is no counter; times are the clock of the events.
    """

    id: int
    labels: Labels
    values: Values
    gauge: int
    created_ns: int
    moved_ns: int

    @property
    def count(self) -> int:
        return self.values[COUNT]

    @property
    def duration_ns(self) -> int:
        return self.values[DURATION_NS]

    @property
    def request_bytes(self) -> int:
        return self.values[REQUEST_BYTES]

    @property
    def response_bytes(self) -> int:
        return self.values[RESPONSE_BYTES]

    @property
    def buckets(self) -> Values:
        return self.values[BUCKETS:FINE]


class Book(Generic[Labels]):
    """The place of one account, so that whoever posts often need not look it up by its labels each time."""

    __slots__ = ("account", "ended")

    def __init__(self, account: Account[Labels]) -> None:
        self.account = account
        self.ended = False

    def post(self, amount: Values, moved_ns: int, gauge: int = 0) -> None:
        """Add `amount`, none of it negative. `gauge` counts if nothing newer than `moved_ns` was posted."""
        account = self.account
        if moved_ns < account.moved_ns:
            moved_ns, gauge = account.moved_ns, account.gauge
        values = tuple(map(add, account.values, amount))
        self.account = Account(account.id, account.labels, values, gauge, account.created_ns, moved_ns)


def fitting(live: int) -> int:
    """The limit of a ledger in which `live` accounts may move in one turn, without one of them being put out for another."""
    return live + -(-live // (_AT_ONCE - 1))


class Ledger(Generic[Labels]):
    """Accounts by label, at most `limit` of them: beyond that the longest idle end, and are counted in `evicted`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.evicted = 0
        self._books: dict[Labels, Book[Labels]] = {}
        self._ids = count(1)

    def __len__(self) -> int:
        return len(self._books)

    def book(self, labels: Labels, width: int, now_ns: int, moved_ns: int | None = None) -> Book[Labels]:
        """The open account of `labels`; a new one has `width` values of 0, and moved at `moved_ns` (if not given: now)."""
        book = self._books.get(labels)
        if book is None:
            if len(self._books) >= self.limit:
                self._evict()
            moved_ns = now_ns if moved_ns is None else moved_ns
            account = Account(next(self._ids), labels, (0,) * width, 0, now_ns, moved_ns)
            book = self._books[labels] = Book(account)
        return book

    def expire(self, before_ns: int) -> None:
        """End every account that last moved before `before_ns`."""
        for labels in [labels for labels, book in self._books.items() if book.account.moved_ns < before_ns]:
            self._end(labels)

    def end_idle(self, before_ns: int, which: Callable[[Labels], bool]) -> None:
        """End those of the accounts that last moved before `before_ns` for whose labels `which` is true."""
        idle = [labels for labels, book in self._books.items() if book.account.moved_ns < before_ns]
        for labels in filter(which, idle):
            self._end(labels)

    def accounts(self) -> tuple[Account[Labels], ...]:
        return tuple([book.account for book in self._books.values()])

    def _evict(self) -> None:
        """A sixteenth at once: looking for the longest idle of 65 536 for each newcomer took 10 ms apiece."""
        books = self._books
        for labels in nsmallest(
            max(1, self.limit // _AT_ONCE), books, key=lambda labels: books[labels].account.moved_ns
        ):
            self._end(labels)
            self.evicted += 1

    def _end(self, labels: Labels) -> None:
        self._books.pop(labels).ended = True
