# SPDX-License-Identifier: Apache-2.0
"""Traced requests to show beside the histogram's buckets: the newest of each row and bucket that carried a trace id."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from analyzers.entities import Entity
from analyzers.rows import Role
from analyzers.samples import NamedSample

LIMIT: Final = 2000


@dataclass(frozen=True, slots=True)
class Exemplar:
    """`ended_ns` is of the events' clock."""

    trace_id: str
    duration_ns: int
    ended_ns: int


class ExemplarTable:
    """At most LIMIT exemplars; the one that came first goes first."""

    def __init__(self) -> None:
        self._exemplars: dict[tuple[str, int], Exemplar] = {}

    def take(self, samples: Iterable[NamedSample], text: Callable[[Entity], str], bounds_ns: tuple[int, ...]) -> None:
        """`text` makes the label text of the histogram's row."""
        for named in samples:
            entity = _entity(named)
            sample = named.sample
            if entity is None or not sample.trace_id:
                continue
            key = (text(entity), bisect_left(bounds_ns, sample.duration_ns))
            self._exemplars.pop(key, None)
            self._exemplars[key] = Exemplar(sample.trace_id, sample.duration_ns, sample.start_ns + sample.duration_ns)
        while len(self._exemplars) > LIMIT:
            del self._exemplars[next(iter(self._exemplars))]

    def freeze(self) -> Mapping[tuple[str, int], Exemplar]:
        """By label text of the row and index of the bucket."""
        return dict(self._exemplars)


def _entity(named: NamedSample) -> Entity | None:
    sample, ends = named.sample, named.ends
    if sample.role is Role.SERVER:
        return Entity(ends.local, ends.local_ip, sample.local_port, sample.protocol)
    if sample.role is Role.CLIENT and sample.peer is not None:
        return Entity(ends.remote, ends.remote_ip, sample.remote_port, sample.protocol)
    return None
