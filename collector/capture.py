# SPDX-License-Identifier: Apache-2.0
"""Live events: what the loader attached, the engine that reads it, and the seeding of what is older than both."""

import asyncio
import logging
import os
import resource

from analyzers.counters import MappedCounters
from analyzers.engine import Engine, EngineStatus, RingSource
from analyzers.rows import DriverCounters
from analyzers.settings import ConfigBlock
from analyzers.table import SharedTable
from collector.schema import Config
from probes.attachment import Attachment
from probes.control import ControlPage

_SEED_CHUNK = 1 << 16
_log = logging.getLogger(__name__)


def children_cpu_seconds() -> float:
    """Of all that ended and were waited for: engines that crashed, so that their successor's count does not go back."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Capture:
    """Owns the attachment. Without a driver (`none`) it is idle: no engine, no counters.

    `table` and `block` are borrowed. `record` is a descriptor of a recording that every event is appended to,
    `conntrack` one of a socket that tells translations of addresses.
    """

    def __init__(
        self,
        attachment: Attachment,
        table: SharedTable,
        block: ConfigBlock,
        record: int | None = None,
        conntrack: int | None = None,
    ) -> None:
        self.report = attachment.report
        self._attachment = attachment
        self._table = table
        self._seeded_starts = 0
        self.seeds_missed = 0
        self.children_cpu_before = children_cpu_seconds()
        self._counters: MappedCounters | None = None
        self._control: ControlPage | None = None
        self._engine: Engine | None = None
        if not attachment.has_ring:
            return
        self._counters = MappedCounters(os.dup(attachment.counters))
        self._control = ControlPage(attachment.control)
        source = RingSource(
            attachment.ring,
            attachment.report.ring_bytes,
            attachment.control,
            attachment.modes,
            record,
            attachment.perf_rings,
            conntrack,
            attachment.counters,
        )
        self._engine = Engine(source, table, block)

    def configure(self, config: Config) -> None:
        """What the programs leave out and how much they copy. Holds for connections that begin afterwards."""
        if self._control is None:
            return
        payload = config.payload
        self._control.prepare(payload.parse_bytes, payload.parse_bytes, payload.stream_bytes)
        self._control.leave_out_ports(config.scope.exclude_ports)
        self._control.leave_out_processes([] if config.scope.own_traffic else [os.getpid()])

    def start(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Raises OSError if the engine cannot be started."""
        if self._engine is None:
            return
        self._engine.start()
        if loop is not None:
            self._engine.watch(loop)

    def turn(self) -> EngineStatus | None:
        """Once a second: the engine is kept alive, and each new one learns what is older than it."""
        if self._engine is None:
            return None
        status = self._engine.poll()
        state = self._table.state()
        if state.state == "running" and state.starts > self._seeded_starts:
            self._seeded_starts = state.starts
            self._seed()
        return status

    def status(self) -> EngineStatus | None:
        return self._engine.status() if self._engine else None

    def counters(self) -> DriverCounters | None:
        return self._counters.read() if self._counters else None

    def stop(self) -> None:
        """Counts what is in the ring, then takes the hooks off."""
        if self._engine is not None:
            self._engine.stop()
            self._engine.close()
        if self._control is not None:
            self._control.set_epoch(0)
            self._control.close()
        if self._counters is not None:
            self._counters.close()
        self._attachment.close()

    def _seed(self) -> None:
        """Reading an iterator runs its program over every open file; a few milliseconds for some thousand sockets."""
        if not self._attachment.iterators:
            self.seeds_missed += 1
            _log.info("engine %d starts without seeding: connections are told at their next use", self._seeded_starts)
            return
        iterator = self._attachment.iterators.pop(0)
        try:
            while os.read(iterator, _SEED_CHUNK):
                pass
        except OSError as error:
            self.seeds_missed += 1
            _log.warning("seeding failed: %s; older connections are told at their next use", error)
        finally:
            os.close(iterator)
