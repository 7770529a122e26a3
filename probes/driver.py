# SPDX-License-Identifier: Apache-2.0
"""What a driver is to the loader: it offers candidates, the first of which that passes the self-test is used.

A driver is a module with one function, `candidates(facts, ring_bytes)`, and a row in probes/drivers.py. Each candidate
is loaded and attached when it is asked for; one that fails the self-test is closed and the next is asked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from probes.attachment import HookReport
from probes.facts import Facts


class Rejection(Exception):
    """A driver, or one way of loading it, cannot be used here: `reason`, and `remedy`."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


class Loaded(Protocol):
    """A driver in place, in the loader's process. Its descriptors are its own until `close`."""

    @property
    def hook_set(self) -> str:
        """Which column of the hook table: `trampolines`, `socket-tracepoints`, `kprobes`, `module` ..."""

    @property
    def ring_bytes(self) -> int: ...

    @property
    def hooks(self) -> Sequence[HookReport]: ...

    @property
    def tells_peers(self) -> bool:
        """Whether the peers of datagrams are told: the self-test then insists on them."""

    def one(self) -> Mapping[str, int]:
        """Descriptors of which there is one: `control`, `modes`, `counters`, and `ring` where it is a single one."""

    def many(self) -> Mapping[str, Sequence[int]]:
        """Descriptors of which there are several: links, iterators, perf rings."""

    def close(self) -> None:
        """Takes every hook off."""


Candidates = Callable[[Facts, int], Iterator[Callable[[], Loaded]]]
"""Each of what comes out is called to load one candidate, and raises Rejection if that fails."""
