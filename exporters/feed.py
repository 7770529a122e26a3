# SPDX-License-Identifier: Apache-2.0
"""From a snapshot's accounts to rows of the page: each account feeds the row that its labels are at the detail in force.

An account is projected once; afterwards only its growth is added. When the detail changes, growth goes to other rows from
then on, and the old ones stay as they are until they have been idle for their time.
"""

from collections.abc import Callable, Collection, Hashable, Iterable
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
        homeless: list[Account[Labels]] = []
        for account in accounts:
            seen += 1
            source = self._sources.get(account.id)
            if source is None:
                source = self._sources[account.id] = _Source()
            source.turn = self._turn
            if source.account is account:
                continue
            row = source.row
            if row is None or row.ended or source.epoch != epoch:
                homeless.append(account)
            else:
                self._grow(source, account, row, now_ns)
        left = self._leave(brief) if seen < len(self._sources) else ()
        self._house(homeless, left, epoch, now_ns)

    def _grow(self, source: _Source[Labels], account: Account[Labels], row: Row, now_ns: int) -> None:
        known = source.account.values if source.account is not None else (0,) * len(account.values)
        self._post(row, account, growth(account.values, known), now_ns)
        source.account = account

    def _leave(self, brief: Callable[[Labels], bool]) -> Collection[Row]:
        """Forget the accounts that ended. Returns the rows that end with them, where no other account feeds them."""
        left: dict[Row, None] = {}
        for key in [key for key, source in self._sources.items() if source.turn != self._turn]:
            source = self._sources.pop(key)
            row, account = source.row, source.account
            if row is None or row.ended:
                continue
            row.feeders -= 1
            if account is not None and brief(account.labels):
                left[row] = None
        return left.keys()

    def _house(self, homeless: Iterable[Account[Labels]], left: Collection[Row], epoch: int, now_ns: int) -> None:
        """Find rows for the accounts that have none. A row that was `left` goes on where one of them has its text, for its
        counters must not fall; only then it is known how many end, and make room for those that had to wait."""
        waiting: dict[str, list[Account[Labels]]] = {}
        for account in homeless:
            source = self._sources[account.id]
            body = source.row.body if source.row is not None and source.epoch == epoch else self._text(account.labels)
            row = self.table.row(body, now_ns)
            if row is None and (body in waiting or len(waiting) < len(left)):
                waiting.setdefault(body, []).append(account)
            else:
                self._settle(account, row, epoch, now_ns)
        for row in left:
            if row.feeders == 0:
                self.table.end(row)
        for body, accounts in waiting.items():
            for account in accounts:
                self._settle(account, self.table.row(body, now_ns), epoch, now_ns)

    def _settle(self, account: Account[Labels], row: Row | None, epoch: int, now_ns: int) -> None:
        """From now on the account feeds `row`, and the one for all others while that is None."""
        source = self._sources[account.id]
        if source.row is not None:
            source.row.feeders -= 1
        if row is not None:
            row.feeders += 1
        elif source.epoch != epoch:
            self.overflowed += 1
        # None is not remembered: the next time it grows there may be room. Nor is its text, of which there may be very many.
        source.epoch, source.row = epoch, row
        if row is None:
            row = self.table.overflow(self._beyond(self._other(account.labels), epoch), now_ns)
        self._grow(source, account, row, now_ns)

    def _beyond(self, other: Labels, epoch: int) -> str:
        """The text of one of the few rows that stand for all others."""
        if epoch != self._others_epoch:
            self._others, self._others_epoch = {}, epoch
        text = self._others.get(other)
        if text is None:
            text = self._others[other] = self._text(other)
        return text
