# SPDX-License-Identifier: Apache-2.0
"""An agent's side of the names service: subscribes, takes over what it is told, and asks the API server while it cannot.

The names service spares the API server; it is never needed for names. When it is lost, the names known so far stay, and
after a while drawn at random (a cluster of agents must not come back as one) the agent's own watches begin.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from collector.metadata import names_place, names_stream
from collector.metadata.cluster import ClusterIndex
from collector.metadata.kube_api import KubeApi, Unavailable
from collector.metadata.kube_objects import Json, NodeRecord, PodRecord, ServiceRecord, SliceRecord
from collector.metadata.kube_watch import Switch
from collector.metadata.names_connection import NamesConnection, NamesSettings
from collector.metadata.names_place import NoService
from collector.metadata.names_stream import KINDS, Garbled, Record

_STALE_SECONDS: Final = 120.0
"""A service that has not heard the API server for so long is left, and the API server asked."""
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_FIRST_FALLBACK: Final = (5.0, 15.0)
_LATER_FALLBACK: Final = (30.0, 90.0)
_LOOK_SECONDS: Final = 0.5
_LOOK_AGAIN: Final = (240.0, 360.0)
"""How long after `auto` found no service it is looked for again."""
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class NamesState:
    """For status and metrics. Times are CLOCK_MONOTONIC seconds, 0 for never."""

    place: str = ""
    subscribed: bool = False
    complete: bool = False
    fault: str = ""
    heard: float = 0.0
    silent: float = 0.0
    """How long the service itself had not heard the API server, as it last said."""
    version: str = ""
    at: int = 0
    wholes: int = 0
    resumed: int = 0
    failures: int = 0
    fallbacks: int = 0
    unreadable: int = 0
    bytes_read: int = 0


class NamesSubscription:
    """Runs in a thread of its own until `stop` is set. `switch` is that of the watches of everything that it tells."""

    def __init__(
        self, api: KubeApi, index: ClusterIndex, settings: NamesSettings, switch: Switch, stop: threading.Event,
        reachable: Callable[[], bool], spread: Callable[[], None],
    ) -> None:  # fmt: skip
        """`reachable` says whether the API server answers this agent: else asking it instead is of no use. `spread`
        waits, where there is no service, before everything is asked of the API server."""
        self._api = api
        self._index = index
        self._names = settings.names
        self._connection = NamesConnection(api, settings)
        self._switch = switch
        self._stop = stop
        self._reachable = reachable
        self._spread = spread
        self._epoch = self._since = ""
        self._fall_back_at = 0.0
        self.state = NamesState()

    def run(self) -> None:
        """Never raises: what goes wrong is told in `state`, waited out and tried again."""
        pause = _FIRST_PAUSE
        self._fall_back_at = time.monotonic() + random.uniform(*_FIRST_FALLBACK)
        while not self._stop.is_set():
            try:
                self._follow()
                self._lost()
                pause = _FIRST_PAUSE
                self._stop.wait(random.uniform(0, _FIRST_PAUSE))
            except NoService:
                self.state.fault, self.state.place, pause = "", "", _FIRST_PAUSE
                if not self._switch.on:
                    self._spread()
                self._fall_back()
                self._stop.wait(random.uniform(*_LOOK_AGAIN))
            except (Unavailable, Garbled) as fault:
                pause = self._failed(str(fault), pause)
            except Exception as error:  # noqa: BLE001 - the API server is there for whatever nobody thought of
                self._since = ""
                pause = self._failed(f"{type(error).__name__}: {error}", pause)

    def _lost(self) -> None:
        """What was told so far holds; from now on time runs until the API server is asked."""
        if self.state.subscribed:
            self._fall_back_at = time.monotonic() + random.uniform(*_LATER_FALLBACK)
        self.state.subscribed = False

    def _failed(self, fault: str, pause: float) -> float:
        pause = _FIRST_PAUSE if self.state.subscribed else pause
        self._lost()
        self.state.failures += 1
        self.state.fault = fault
        _log.warning("the names service cannot be followed: %s; names known so far stay", fault)
        end = time.monotonic() + random.uniform(pause / 2, pause)
        alone = not self._reachable()
        while not self._stop.is_set() and (left := end - time.monotonic()) > 0:
            if self._reachable():
                if alone:
                    return _FIRST_PAUSE  # the API server is back, and may be the service with it: that is asked first
                if time.monotonic() >= self._fall_back_at:
                    self._fall_back()
            self._stop.wait(min(left, _LOOK_SECONDS))
        return min(2 * pause, _LONGEST_PAUSE)

    def _fall_back(self) -> None:
        """The watches list anew, so whatever the service tells later it tells from the beginning."""
        if not self._switch.on:
            self._since = ""
            self.state.complete = False
            self.state.fallbacks += 1
            self._switch.turn(on=True)

    def _follow(self) -> None:
        """One subscription, until it ends. Raises Unavailable, Garbled or NoService."""
        place = names_place.find(self._api, self._names)
        self.state.place = f"{place.host}:{place.port}"
        unpacker = names_stream.Unpacker()
        told: set[tuple[str, str]] | None = None
        greeted = False
        for data in self._connection.stream(place, self._since):
            self.state.bytes_read += len(data)
            for body in unpacker.feed(data):
                if greeted:
                    told = self._take(body, told)
                else:
                    told, greeted = self._greet(body), True
                if self._stop.is_set():
                    return

    def _greet(self, body: Json) -> set[tuple[str, str]] | None:
        """Answers where to note what is told, if it is everything."""
        stream, epoch = body.get("stream"), str(body.get("epoch"))
        low, high = names_stream.spoken()
        if not isinstance(stream, int) or not low <= stream <= high:
            raise Garbled(f"the names service speaks stream {stream}, this agent {low} to {high}")
        self.state.version = str(body.get("version") or "")
        whole = bool(body.get("whole"))
        if not whole and self._since.partition(".")[0] != epoch:
            self._since = ""
            raise Garbled("the names service goes on from where this agent never was")
        self._switch.turn(on=False)
        self._since = "" if whole else self._since
        self._epoch = epoch
        self.state.wholes += whole
        self.state.resumed += not whole
        self._heard(body, complete=not whole)
        return set() if whole else None

    def _take(self, body: Json, told: set[tuple[str, str]] | None) -> set[tuple[str, str]] | None:
        """Takes the rows over. `told` is what of everything was told, None once all of it was."""
        rows = body.get("rows")
        for entry in rows if isinstance(rows, list) else ():
            found = names_stream.read(entry)
            if found is None:
                self.state.unreadable += 1
                continue
            if told is not None:
                told.add(found[:2])
            _apply(self._index, *found)
        if told is not None and body.get("listed"):
            for kind in KINDS:
                self._index.keep_only("elsewhere" if kind == "pods" else kind, [key for of, key in told if of == kind])
            told = None
        if told is None:
            self._since = f"{self._epoch}.{body['at']}"
        if rows:
            self._index.sweep()
        self._heard(body, complete=told is None)
        return told

    def _heard(self, body: Json, *, complete: bool) -> None:
        """Raises Unavailable if the service itself hears nothing while the API server answers here."""
        silent = body.get("silent")
        self.state.silent = float(silent) if isinstance(silent, int | float) else 0.0
        if self.state.silent > _STALE_SECONDS and self._reachable():
            raise Unavailable(f"the names service has not heard the API server for {self.state.silent:.0f} s")
        self.state.heard = time.monotonic()
        self.state.fault = ""
        self.state.at = int(body["at"])
        if complete:
            self.state.complete = self.state.subscribed = True


def _apply(index: ClusterIndex, kind: str, key: str, record: Record | None) -> None:
    """Pods of the own node are told by the API server, in full."""
    if isinstance(record, PodRecord):
        if record.node != index.node or not index.node:
            index.put_pod(record)
    elif isinstance(record, ServiceRecord):
        index.put_service(record)
    elif isinstance(record, SliceRecord):
        index.put_slice(record)
    elif isinstance(record, NodeRecord):
        index.put_node(record)
    elif record is not None:
        index.put_controller(record)
    else:
        _DROP[kind](index, key)


_DROP: Final[Mapping[str, Callable[[ClusterIndex, str], None]]] = {
    "pods": ClusterIndex.drop_elsewhere, "services": ClusterIndex.drop_service, "endpointslices": ClusterIndex.drop_slice,
    "nodes": ClusterIndex.drop_node, "replicasets": ClusterIndex.drop_controller, "jobs": ClusterIndex.drop_controller,
}  # fmt: skip
