# SPDX-License-Identifier: Apache-2.0
"""What the names service knows, and the last changes of it, packed: every agent reads the same bytes.

Watches write records, in threads of their own; the service's loop packs what changed since it last looked into one frame. An
agent is a place in the row of frames, not a queue, so that a slow one costs nothing: once the frames that it lacks are forgotten, it
is told everything anew.
"""

import secrets
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from collector.metadata.cluster import OTHER_LIMIT, POD_LIMIT
from collector.metadata.kube_objects import ControllerRecord, NodeRecord, PodRecord, ServiceRecord, SliceRecord
from collector.metadata.names_stream import KINDS, ROWS_PER_FRAME, Record, Row, frame, row

HISTORY_BYTES: Final = 16 << 20
_STALE_SHARE: Final = 5
"""A packed whole is used again until so large a part of it, one in so many, has changed since."""


@dataclass(frozen=True, slots=True)
class Change:
    """A frame of changes: those after `since`, up to `at`."""

    since: int
    at: int
    packed: bytes


@dataclass(frozen=True, slots=True)
class Whole:
    """Everything as of `at`, in frames."""

    at: int
    rows: int
    frames: tuple[bytes, ...]


class NamesJournal:
    """Implements `kube_watch.Names`. Safe from any thread; `pack` is to be called by one at a time."""

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(8)
        self.at = 0
        self.left_out = 0
        self._lock = threading.Lock()
        self._records: dict[str, dict[str, Record]] = {kind: {} for kind in KINDS}
        self._changed: dict[tuple[str, str], None] = {}
        self._changes: deque[Change] = deque()
        self._bytes = 0
        self._whole: Whole | None = None

    # --- what the watches tell

    def put_pod(self, pod: PodRecord) -> None:
        """What only the pod's own node asks for is told there by the API server."""
        self._put("pods", pod.uid, replace(pod, containers=(), cgroup_uids=()), POD_LIMIT)

    def drop_pod(self, uid: str) -> None:
        self._drop("pods", uid)

    drop_elsewhere = drop_pod

    def put_service(self, service: ServiceRecord) -> None:
        self._put("services", f"{service.namespace}/{service.name}", service)

    def drop_service(self, key: str) -> None:
        self._drop("services", key)

    def put_slice(self, record: SliceRecord) -> None:
        self._put("endpointslices", f"{record.namespace}/{record.name}", record)

    def drop_slice(self, key: str) -> None:
        self._drop("endpointslices", key)

    def put_node(self, node: NodeRecord) -> None:
        self._put("nodes", node.name, node)

    def drop_node(self, name: str) -> None:
        self._drop("nodes", name)

    def put_controller(self, record: ControllerRecord) -> None:
        self._put("jobs" if record.kind == "Job" else "replicasets", record.uid, record)

    def drop_controller(self, uid: str) -> None:
        self._drop("replicasets", uid)
        self._drop("jobs", uid)

    def keep_only(self, kind: str, keys: Iterable[str]) -> None:
        listed = set(keys)
        with self._lock:
            gone = [key for key in self._records[kind] if key not in listed]
        for key in gone:
            self._drop(kind, key)

    def sweep(self) -> None:
        """Names of what is gone are kept by the agents."""

    def _put(self, kind: str, key: str, record: Record, limit: int = OTHER_LIMIT) -> None:
        with self._lock:
            known = self._records[kind]
            if known.get(key) == record:
                return
            if key not in known and len(known) >= limit:
                self.left_out += 1
                return
            known[key] = record
            self._note(kind, key)

    def _drop(self, kind: str, key: str) -> None:
        with self._lock:
            if self._records[kind].pop(key, None) is not None:
                self._note(kind, key)

    def _note(self, kind: str, key: str) -> None:
        """Only the newest state of each counts; told in the order of their last changes."""
        self._changed.pop((kind, key), None)
        self._changed[kind, key] = None

    # --- what agents are told

    def counts(self) -> dict[str, int]:
        with self._lock:
            return {kind: len(known) for kind, known in self._records.items()}

    def pack(self) -> bool:
        """Puts what changed into frames; False if nothing did."""
        with self._lock:
            rows = [row(kind, key, self._records[kind].get(key)) for kind, key in self._changed]
            self._changed.clear()
        for part in _parts(rows):
            since, at = self.at, self.at + len(part)
            self._append(Change(since, at, frame({"at": at, "rows": part})))
        return bool(rows)

    def _append(self, change: Change) -> None:
        with self._lock:
            self.at = change.at
            self._changes.append(change)
            self._bytes += len(change.packed)
            while self._bytes > HISTORY_BYTES:
                self._bytes -= len(self._changes.popleft().packed)

    @property
    def history(self) -> tuple[int, int]:
        """Frames that are kept, and their bytes."""
        return len(self._changes), self._bytes

    def after(self, at: int) -> list[Change] | None:
        """What an agent that stands at `at` lacks; None if some of it is forgotten, or it never stood there."""
        with self._lock:
            if at == self.at:
                return []
            if not self._changes or at > self.at or at < self._changes[0].since:
                return None
            found: list[Change] = []
            for change in reversed(self._changes):
                if change.at <= at:
                    break
                found.append(change)
        return found[::-1] if found and found[-1].since <= at else None

    def whole(self) -> Whole:
        """Everything, as it is or as it was a few changes ago. `pack` comes first."""
        known = self._whole
        if known is not None and (self.at - known.at) * _STALE_SHARE <= known.rows and self.after(known.at) is not None:
            return known
        with self._lock:
            # What changed since `pack` is in here already, and is told once more afterwards: rows may come twice.
            at, records = self.at, {kind: list(of_kind.items()) for kind, of_kind in self._records.items()}
        rows = [row(kind, key, record) for kind, of_kind in records.items() for key, record in of_kind]
        frames = [frame({"at": at, "rows": part}) for part in _parts(rows)]
        self._whole = Whole(at, len(rows), (*frames, frame({"at": at, "listed": True})))
        return self._whole


def _parts(rows: list[Row]) -> Iterator[list[Row]]:
    for start in range(0, len(rows), ROWS_PER_FRAME):
        yield rows[start : start + ROWS_PER_FRAME]
