# SPDX-License-Identifier: Apache-2.0
"""From a snapshot's accounts to rows of the page: each account feeds the row that its labels are at the detail in force.

An account is projected once; afterwards only its growth is added. When the detail changes, growth goes to other rows from
then on, and the old ones stay as they are until they have been idle for their time.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from analyzers.accounts import Account, Values, growth
from exporters.rows import Row, RowTable

Labels = TypeVar("Labels", bound=Hashable)
Post = Callable[[Row, Account[Labels], Values, int], None]  # row, account, its growth, now


def _never(_labels: object) -> bool:
    return False


class _Source(Generic[Labels]):
    __slots__ = ("account", "epoch", "row", "turn")

    def __init__(self) -> None:
        self.account: Account[Labels] | None = None
        self.row: Row | None = None
        self.epoch = -1
        self.turn = 0


class Feed(Generic[Labels]):
    """One kind of accounts into one table of rows. `overflowed` counts the accounts that found no room: they are counted
    under the labels that `other` makes of theirs."""

    def __init__(
        self,
        width: int,
        limit: int,
        text: Callable[[Labels], str],
        post: Post[Labels],
        other: Callable[[Labels], Labels],
        joint: str = ",",
    ) -> None:
        self.table = RowTable(width, limit, joint)
        self.overflowed = 0
        self._text = text
        self._post = post
        self._other = other
        self._sources: dict[int, _Source[Labels]] = {}
        self._turn = 0
        self._others: dict[Labels, str] = {}
        self._others_epoch = -1

    def take(
        self, accounts: Iterable[Account[Labels]], epoch: int, now_ns: int, brief: Callable[[Labels], bool] = _never
    ) -> None:
        """Add what each account grew since the last time. Text is made anew when `epoch` differs from the last one's.
        Where `brief` is true of an account's labels, a row that no account feeds any more ends with it, without waiting for
        its time."""
        self._turn += 1
        seen = 0
        for account in accounts:
            seen += 1
            source = self._sources.get(account.id)
            if source is None:
                source = self._sources[account.id] = _Source()
            source.turn = self._turn
            if source.account is account:
                continue
            known = source.account.values if source.account is not None else (0,) * len(account.values)
            row = self._row(source, account.labels, epoch, now_ns)
            self._post(row, account, growth(account.values, known), now_ns)
            source.account = account
        if seen < len(self._sources):
            self._forget([key for key, source in self._sources.items() if source.turn != self._turn], brief)

    def _forget(self, ended: Iterable[int], brief: Callable[[Labels], bool]) -> None:
        """Accounts that ended."""
        for key in ended:
            source = self._sources.pop(key)
            row, account = source.row, source.account
            if row is None or row.ended:
                continue
            row.feeders -= 1
            if row.feeders == 0 and account is not None and brief(account.labels):
                self.table.end(row)

    def _row(self, source: _Source[Labels], labels: Labels, epoch: int, now_ns: int) -> Row:
        row = source.row
        if row is not None and source.epoch == epoch:
            if not row.ended:
                return row
            body = row.body
        else:
            body = self._text(labels)
        if row is not None:
            row.feeders -= 1
        row = self.table.row(body, now_ns)
        if row is None:
            if source.epoch != epoch:
                self.overflowed += 1
            # Not remembered: the next time it grows there may be room. Nor is its text, of which there may be very many.
            source.epoch, source.row = epoch, None
            return self.table.overflow(self._beyond(self._other(labels), epoch), now_ns)
        row.feeders += 1
        source.epoch, source.row = epoch, row
        return row

    def _beyond(self, other: Labels, epoch: int) -> str:
        """The text of one of the few rows that stand for all others."""
        if epoch != self._others_epoch:
            self._others, self._others_epoch = {}, epoch
        text = self._others.get(other)
        if text is None:
            text = self._others[other] = self._text(other)
        return text
