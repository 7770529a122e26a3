# SPDX-License-Identifier: Apache-2.0
"""Which rows accounts feed, where rows end and others want their room in the same turn."""

from itertools import count

import pytest

from analyzers.accounts import Account, Values
from exporters.feed import Feed
from exporters.rows import Row

LIMIT = 3


class Ledger:
    """Accounts as a snapshot hands them out, made and put out by hand. Labels are upper case; of a row they are lower."""

    def __init__(self) -> None:
        self._ids = count(1)
        self.accounts: dict[str, Account[str]] = {}

    def count(self, labels: str, value: int) -> None:
        known = self.accounts.get(labels)
        self.accounts[labels] = Account(known.id if known else next(self._ids), labels, (value,), 0, 0, 0)

    def put_out(self, *labels: str) -> None:
        for one in labels:
            del self.accounts[one]


def post(row: Row, _account: Account[str], amount: Values, now_ns: int) -> None:
    row.add(amount, now_ns)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def feed() -> Feed[str]:
    return Feed(1, LIMIT, str.lower, post, lambda _labels: "OTHER")


def shown(feed: Feed[str], ledger: Ledger, turn: int, *, brief: bool = True, epoch: int = 1) -> dict[str, int]:
    feed.take(ledger.accounts.values(), epoch, turn, lambda _labels: brief)
    return {row.body: row.values[0] for row in feed.table.show(turn, 0, 0)}


def test_newcomers_take_the_room_of_those_that_end_in_the_same_turn(feed: Feed[str], ledger: Ledger) -> None:
    for labels in "ABC":
        ledger.count(labels, 1)
    assert shown(feed, ledger, 1) == {"a": 1, "b": 1, "c": 1}
    ledger.put_out(*"ABC")
    for labels in "DEFG":
        ledger.count(labels, 2)
    assert shown(feed, ledger, 2) == {"d": 2, "e": 2, "f": 2, "other": 2}
    assert feed.overflowed == 1


def test_a_row_whose_account_is_made_again_in_the_same_turn_does_not_fall(feed: Feed[str], ledger: Ledger) -> None:
    for labels in "ABC":
        ledger.count(labels, 5)
    shown(feed, ledger, 1)
    ledger.put_out(*"AB")
    for labels in "DEB":  # those who would take its room come first
        ledger.count(labels, 1)
    assert shown(feed, ledger, 2) == {"b": 6, "c": 5, "d": 1, "other": 1}
    ledger.put_out("B")
    assert shown(feed, ledger, 3) == {"c": 5, "d": 1, "other": 1}


def test_accounts_of_one_text_wait_together(feed: Feed[str], ledger: Ledger) -> None:
    for labels in "ABC":
        ledger.count(labels, 1)
    shown(feed, ledger, 1)
    ledger.put_out("A")
    for labels in ("DD", "E", "dd", "Dd"):
        ledger.count(labels, 1)
    assert shown(feed, ledger, 2) == {"b": 1, "c": 1, "dd": 3, "other": 1}
    ledger.put_out("DD", "dd")
    assert "dd" in shown(feed, ledger, 3)
    ledger.put_out("Dd")
    assert "dd" not in shown(feed, ledger, 4)


def test_who_found_no_room_has_it_when_it_grows_once_there_is_some(feed: Feed[str], ledger: Ledger) -> None:
    for labels in "ABCD":
        ledger.count(labels, 1)
    assert shown(feed, ledger, 1) == {"a": 1, "b": 1, "c": 1, "other": 1}
    ledger.put_out("C")
    ledger.count("D", 4)
    assert shown(feed, ledger, 2) == {"a": 1, "b": 1, "d": 3, "other": 1}
    assert feed.overflowed == 1


def test_a_row_that_one_account_leaves_and_another_only_because_texts_change_ends_too(
    ledger: Ledger,
) -> None:
    texts = {"A": "a", "AA": "a", "B": "b"}
    feed: Feed[str] = Feed(1, LIMIT, lambda labels: texts.get(labels, labels.lower()), post, lambda _labels: "OTHER")
    for labels in ("A", "AA", "B"):
        ledger.count(labels, 1)
    assert shown(feed, ledger, 1) == {"a": 2, "b": 1}
    texts["AA"] = "aa"
    ledger.put_out("A")
    for labels in ("AA", "B"):
        ledger.count(labels, 2)
    assert shown(feed, ledger, 2, epoch=2) == {"b": 2, "aa": 1}


def test_a_row_that_is_not_brief_keeps_its_room(feed: Feed[str], ledger: Ledger) -> None:
    for labels in "ABC":
        ledger.count(labels, 1)
    shown(feed, ledger, 1, brief=False)
    ledger.put_out("A")
    ledger.count("D", 1)
    assert shown(feed, ledger, 2, brief=False) == {"a": 1, "b": 1, "c": 1, "other": 1}
    assert len(feed.table) == LIMIT + 1
