# SPDX-License-Identifier: Apache-2.0
"""The engine's hash from a key to an entry (pool.h): what was put in is found, the oldest of one hash first, at every size."""

import random
from collections.abc import Iterator

import pytest
from analyzers._parsers import ffi, lib
from hypothesis import given
from hypothesis import strategies as st

LEAST, MOST = 16, 512


class Index:
    """The index beside lists that do the same."""

    def __init__(self, least: int = LEAST, most: int = MOST) -> None:
        self._index = ffi.gc(lib.fs_index_made(least, most), lib.fs_index_freed)
        self._room = ffi.new("uint32_t[]", most)
        self.model: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.model.values()))

    @property
    def slots(self) -> int:
        return int(lib.fs_index_slots(self._index))

    def add(self, hashed: int, entry: int) -> None:
        lib.fs_index_added(self._index, hashed, entry)
        self.model.setdefault(hashed, []).append(entry)

    def remove(self, hashed: int, entry: int) -> None:
        lib.fs_index_removed(self._index, hashed, entry)
        if entry in self.model.get(hashed, ()):
            self.model[hashed].remove(entry)

    def found(self, hashed: int) -> list[int]:
        return list(self._room[0 : lib.fs_index_found(self._index, hashed, self._room, len(self._room))])

    def check(self) -> None:
        for hashed, entries in self.model.items():
            assert self.found(hashed) == entries


# Few hashes that meet: at the same place, one place apart, at the end of the slots so that a run goes on at their beginning.
hashes = st.sampled_from([1, 2, 15, 16, 17, 31, 32, 255, 256, 511, 512, 0xFFFFFFFF, 0xFFFFFFFE, 0x1FF, 0x10000])


@given(st.lists(st.tuples(hashes, st.booleans(), st.integers(0, 300)), max_size=400))
def test_the_oldest_of_one_hash_is_found_first_whatever_came_and_went(steps: list[tuple[int, bool, int]]) -> None:
    index, number = Index(), 0
    for hashed, adds, which in steps:
        if adds and len(index) < MOST // 2:
            number += 1
            index.add(hashed, number)
        elif index.model.get(hashed):
            entries = index.model[hashed]
            index.remove(hashed, entries[which % len(entries)])
        index.check()


def _sizes() -> Iterator[tuple[int, int]]:
    """Entries, and the slots that are in use with so many."""
    slots = LEAST
    while slots < MOST:
        yield slots // 2, slots
        yield slots // 2 + 1, 2 * slots
        slots *= 2
    yield MOST // 2, MOST


@pytest.mark.parametrize(("entries", "slots"), list(_sizes()))
def test_slots_grow_with_the_entries_and_are_few_again_once_all_went(entries: int, slots: int) -> None:
    index, draw = Index(), random.Random(entries)
    kept = [(draw.getrandbits(32) or 1, number) for number in range(1, entries + 1)]
    for each in kept:
        index.add(*each)
    assert index.slots == slots
    index.check()
    draw.shuffle(kept)
    for each in kept:
        assert index.slots == slots
        index.remove(*each)
        index.check()
    assert index.slots == LEAST
    index.add(7, 7)
    index.check()


def test_what_is_not_there_is_not_taken_out() -> None:
    index = Index()
    index.add(5, 1)
    index.remove(5, 2)
    index.remove(6, 1)
    assert index.found(5) == [1]
    assert index.found(6) == []
