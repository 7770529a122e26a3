# SPDX-License-Identifier: Apache-2.0
"""Noticing that the configuration file changed, and what that means for the configuration in force.

A ConfigMap is mounted as links: firesteel.yaml -> ..data/firesteel.yaml, ..data -> a dated folder, and an update swaps
`..data`. Following the links, that is another inode. A file that was written in the same moment as it was read shows
neither another size nor another time, so a young file is read again and compared.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from collector.config import ConfigError, Loaded, parse, read
from collector.document import Fault
from collector.schema import KEYS, Config, build, value_of

_YOUNG_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The file says something else now. `config` is to be put in force: `changed` names the keys that are different in
    it. `waiting` names those that the file sets differently but that hold their old value until a restart.
    """

    config: Config
    changed: tuple[str, ...]
    waiting: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """The file is wrong. What was in force stays so."""

    faults: tuple[Fault, ...]


class ConfigWatcher:
    """Ask `poll` each second; call `request` on SIGHUP. Neither blocks for longer than reading a small file.

    `config` is what is in force, `waiting` the keys that wait for a restart, `faults` what is wrong with the file as it
    now stands, and `rejections` how often it was wrong.
    """

    def __init__(self, loaded: Loaded, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self.config = loaded.config
        self.waiting: tuple[str, ...] = ()
        self.faults: tuple[Fault, ...] = ()
        self.reloads = 0
        self.rejections = 0
        self._source = loaded.source
        self._wall_ns = wall_ns
        self._requested = False
        self._bytes: bytes | None = None
        self._signature: tuple[object, ...] | None = None
        self._first = True

    def request(self) -> None:
        """Read the file at the next poll, changed or not."""
        self._requested = True

    def poll(self) -> Reloaded | Rejected | None:
        """What became of the file since the last call: None if nothing."""
        signature, young = self._look()
        requested, self._requested = self._requested, False
        if signature == self._signature and not young and not requested:
            return None
        self._signature = signature
        before, self._bytes = self._bytes, None
        try:
            self._bytes = read(self._source)
            if self._bytes == before and not requested:
                return None
            return self._apply(parse(self._bytes, self._source).config, requested)
        except ConfigError as error:
            return self._reject(error.faults, requested)

    def _look(self) -> tuple[tuple[object, ...], bool]:
        """What tells one state of the file from another, and whether it was written so recently that this may lie."""
        if self._source.path is None:
            return (), False
        try:
            status = os.stat(self._source.path)  # noqa: PTH116 - follows every link, one call
        except OSError as error:
            return ("gone", error.errno), False
        signature = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        return signature, self._wall_ns() - status.st_mtime_ns < _YOUNG_NS

    def _apply(self, told: Config, requested: bool) -> Reloaded | None:
        first, self._first = self._first, False
        had_faults, self.faults = bool(self.faults), ()
        kept = {row.name: value_of(self.config, row) for row in KEYS if row.restart}
        config = build({row.name: value_of(told, row) for row in KEYS} | kept)
        waiting = tuple(name for name in kept if name in differences(self.config, told))
        changed = differences(self.config, config)
        news = bool(changed) or waiting != self.waiting or had_faults or requested
        self.config, self.waiting = config, waiting
        if not news or (first and not changed and not waiting and not requested):
            return None
        self.reloads += 1
        return Reloaded(config, changed, waiting)

    def _reject(self, faults: tuple[Fault, ...], requested: bool) -> Rejected | None:
        if faults == self.faults and not requested:
            return None
        self._first = False
        self.faults = faults
        self.rejections += 1
        return Rejected(faults)


def differences(before: Config, after: Config) -> tuple[str, ...]:
    """Names of the keys that differ."""
    return tuple(row.name for row in KEYS if value_of(before, row) != value_of(after, row))
