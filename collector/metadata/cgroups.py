# SPDX-License-Identifier: Apache-2.0
"""The path of a cgroup by its id, also of one that is gone by the time that somebody asks.

A cgroup's id is the inode number of its directory (kernfs, on 64-bit kernels), and nothing tells the path by it. So the
directories are watched with inotify(7): what a runtime makes is looked at while it is there, be it for a moment only. Where
the kernel gives no watches, or before `start`, passes over all directories tell what is there then.
"""

import contextlib
import errno
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from inotify_simple import Event, INotify, flags

WALK_LIMIT: Final = 20000  # directories of one pass
WALK_SHARE: Final = 20.0  # a pass waits as many times as long as the last one took
WALK_PAUSE_S: Final = (0.25, 10.0)  # shortest, longest
WATCH_LIMIT: Final = 8192
GONE_LIMIT: Final = 4096  # paths of cgroups that are no more
_STOP_SECONDS: Final = 2.0
_WANTED: Final = flags.CREATE | flags.DELETE | flags.ONLYDIR | flags.DONT_FOLLOW
_log = logging.getLogger(__name__)


class Cgroups:
    """`hierarchy` is where the hierarchy is mounted whose ids the driver tells. Safe from any thread."""

    def __init__(self, hierarchy: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._hierarchy = default_hierarchy() if hierarchy is None else hierarchy
        self._clock = clock
        self._lock = threading.Lock()
        self._paths: dict[int, str] = {}
        self._gone: dict[int, None] = {}
        self._next_walk = -1.0
        self._watches: dict[int, tuple[int, Path]] = {}
        self._watch_of: dict[Path, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cgroups", daemon=True)
        self.fault = ""
        """Why cgroups that are there for less than a pass are missed; empty if none is."""
        self.postponed = False
        """The last answer was None only because the next pass is not due yet: ask again."""

    def start(self) -> None:
        """After privileges are given up: a thread keeps those that it is started with."""
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2 * _STOP_SECONDS)

    def id_of(self, path: str) -> int | None:
        """The id of the cgroup that is at this path now."""
        try:
            return (self._hierarchy / path.lstrip("/")).stat().st_ino
        except OSError:
            return None

    def path(self, cgroup_id: int) -> str | None:
        """As /proc/PID/cgroup shows it. None if it is not known, or if `postponed` is set. Passes take a share of time."""
        with self._lock:
            self.postponed = False
            if not cgroup_id:
                return None
            path = self._paths.get(cgroup_id)
            if path is not None:
                return path
            began = self._clock()
            if began < self._next_walk:
                self.postponed = True
                return None
            found = {ino: self._shown(directory) for ino, directory in _below(self._hierarchy)}
            self._paths = {**self._paths, **found} if self._watches else found
            ended = self._clock()
            self._next_walk = ended + min(max(WALK_SHARE * (ended - began), WALK_PAUSE_S[0]), WALK_PAUSE_S[1])
            return self._paths.get(cgroup_id)

    # --- the thread

    def _run(self) -> None:
        """Watches until it is told to stop, or cannot: then passes go on telling what is there."""
        try:
            with INotify() as notify:
                self._watch_below(notify, self._hierarchy)
                while not self._stop.is_set():
                    for event in notify.read(timeout=1000 * _STOP_SECONDS):
                        self._take(notify, event)
        except OSError as error:
            self.fault = f"cgroups cannot be watched: {error.strerror}"
            _log.warning("%s; containers that end within a second may stay without a name", self.fault)
        finally:
            with self._lock:
                self._watches.clear()
                self._watch_of.clear()

    def _take(self, notify: INotify, event: Event) -> None:
        if event.mask & flags.Q_OVERFLOW:
            self._watch_below(notify, self._hierarchy)  # what is watched already is not watched twice
        with self._lock:
            ino, directory = self._watches.get(event.wd, (0, None))
            if event.mask & flags.IGNORED and directory is not None:
                del self._watches[event.wd]
                self._went(ino)
        if directory is None or not event.mask & flags.ISDIR:
            return
        if event.mask & flags.CREATE:
            self._watch_below(notify, directory / event.name)
        elif (watch := self._watch_of.pop(directory / event.name, None)) is not None:
            # A watch holds the directory, so that it does not end with it by itself.
            with contextlib.suppress(OSError):
                notify.rm_watch(watch)

    def _watch_below(self, notify: INotify, top: Path) -> None:
        """Each is watched before those in it are listed, so that none is missed that is made meanwhile."""

        def watch(ino: int, directory: Path) -> None:
            with self._lock:
                if len(self._watches) >= WATCH_LIMIT:
                    raise OSError(errno.ENOSPC, f"there are more than {WATCH_LIMIT}")
                number = notify.add_watch(directory, _WANTED)
                self._watches[number] = (ino, directory)
                self._watch_of[directory] = number
                self._paths[ino] = self._shown(directory)
                self._gone.pop(ino, None)

        for _ in _below(top, watch):
            pass

    def _went(self, ino: int) -> None:
        self._gone[ino] = None
        if len(self._gone) > GONE_LIMIT:
            oldest = next(iter(self._gone))
            del self._gone[oldest]
            self._paths.pop(oldest, None)

    def _shown(self, directory: Path) -> str:
        return "/" + str(directory.relative_to(self._hierarchy)).removeprefix(".")


def _below(top: Path, visit: Callable[[int, Path], None] | None = None) -> Iterator[tuple[int, Path]]:
    """Id and path of each directory from `top` on; `visit` is called before a directory is listed."""
    waiting = [top]
    for _ in range(WALK_LIMIT):
        if not waiting:
            return
        directory = waiting.pop()
        try:
            ino = directory.stat().st_ino
            if visit is not None:
                visit(ino, directory)
            waiting += [child for child in directory.iterdir() if child.is_dir() and not child.is_symlink()]
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        yield ino, directory


def default_hierarchy(mounted: Path = Path("/sys/fs/cgroup")) -> Path:
    """Version 2 where it is mounted, alone or beside the old ones; else the memory controller's, in which pods live."""
    if (mounted / "cgroup.controllers").exists():
        return mounted
    return mounted / "unified" if (mounted / "unified").is_dir() else mounted / "memory"
