# SPDX-License-Identifier: Apache-2.0
"""The path of a cgroup by its id, also of one that is gone by the time that somebody asks.

A cgroup's id is the inode number of its directory (kernfs, on 64-bit kernels), and nothing tells the path by it. So the
directories are watched with inotify(7): what a runtime makes is looked at while it is there, be it for a moment only. What
is asked for and was not seen so, a pass over all directories looks for, if it is there still.
"""

import contextlib
import errno
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from inotify_simple import Event, INotify, flags

from collector.metadata.cgroup_watches import Watches

WALK_LIMIT: Final = 20000  # directories of one pass
WALK_SHARE: Final = 20.0  # a pass waits as many times as long as the last one took
WALK_PAUSE_S: Final = (0.25, 10.0)  # shortest, longest
WATCH_LIMIT: Final = 8192
GONE_LIMIT: Final = 1024  # paths of cgroups that are no more, or cannot be watched
AGAIN_SECONDS: Final = 300.0
"""After so long, what could not be watched is tried again."""
_STOP_SECONDS: Final = 2.0
_WATCHED: Final = flags.CREATE | flags.DELETE | flags.ONLYDIR | flags.DONT_FOLLOW
_SHORT_OF: Final = {
    errno.ENOSPC: "fs.inotify.max_user_watches is used up",
    errno.EMFILE: "fs.inotify.max_user_instances is used up",
    errno.ENOMEM: "the kernel has no memory for watches",
}
_log = logging.getLogger(__name__)


class Cgroups:
    """`hierarchy` is where the hierarchy is mounted whose ids the driver tells. Safe from any thread."""

    def __init__(self, hierarchy: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._hierarchy = default_hierarchy() if hierarchy is None else hierarchy
        self._clock = clock
        self._lock = threading.Lock()
        self._paths: dict[int, str] = {}
        """Of what was seen as it came."""
        self._passed: dict[int, str] = {}
        """Of what the last pass found."""
        self._gone: dict[int, None] = {}
        self._next_walk = -1.0
        self._tree = Watches()
        self._wake = -1
        self._told = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cgroups", daemon=True)
        self.fault = ""
        """Why cgroups that are there for less than a pass may be missed; empty if none is."""
        self.postponed = False
        """The last answer was None only because the next pass is not due yet: ask again."""

    def start(self) -> None:
        """After privileges are given up: a thread keeps those that it is started with."""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)
            self._thread.join(_STOP_SECONDS)
            os.close(self._wake)
            self._wake = -1

    def id_of(self, path: str) -> int | None:
        """The id of the cgroup that is at this path now."""
        try:
            return (self._hierarchy / path.lstrip("/")).stat().st_ino
        except OSError:
            return None

    def path(self, cgroup_id: int) -> str | None:
        """As /proc/PID/cgroup shows it. None if it is not known, or if `postponed` is set. Passes take a share of time."""
        self.postponed = False
        path = self._known(cgroup_id)
        if path is not None or not cgroup_id:
            return path
        began = self._clock()
        if began < self._next_walk:
            self.postponed = True
            return None
        found = dict(self._below(self._hierarchy))
        ended = self._clock()
        self._next_walk = ended + min(max(WALK_SHARE * (ended - began), WALK_PAUSE_S[0]), WALK_PAUSE_S[1])
        self._passed = {ino: self._shown(directory) for ino, directory in found.items()}
        return self._known(cgroup_id)

    def _known(self, cgroup_id: int) -> str | None:
        with self._lock:
            return self._paths.get(cgroup_id) or self._passed.get(cgroup_id)

    # --- what is known, with the lock held

    def _shown(self, directory: str) -> str:
        """A name may be any bytes."""
        return os.fsencode(directory.removeprefix(str(self._hierarchy))).decode("utf-8", "replace") or "/"

    def _saw(self, ino: int, directory: str) -> None:
        self._paths[ino] = self._shown(directory)
        self._gone.pop(ino, None)

    def _went(self, ino: int) -> None:
        """Nobody will say when it ends: it is kept until many others were seen."""
        self._gone.pop(ino, None)
        self._gone[ino] = None
        if len(self._gone) > GONE_LIMIT:
            oldest = next(iter(self._gone))
            del self._gone[oldest]
            self._paths.pop(oldest, None)

    def _below(self, top: Path | str) -> Iterator[tuple[int, str]]:
        """Id and path of each directory from `top` on. Each is told before those in it are listed."""
        waiting = [str(top)]
        for _ in range(WALK_LIMIT):
            if not waiting:
                return
            directory = waiting.pop()
            try:
                yield Path(directory).stat().st_ino, directory
                with os.scandir(directory) as entries:
                    waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
            except OSError:  # gone, a path that is too long, not ours to read: the others are
                continue

    # --- the thread

    def _run(self) -> None:
        """Watches until it is told to stop. Whatever it cannot do, passes go on telling what is there."""
        while not self._stop.is_set():
            try:
                os.scandir(self._hierarchy).close()
                with INotify() as notify:
                    self._watch(notify)
                continue
            except OSError as error:
                self._say(_SHORT_OF.get(error.errno or 0) or str(error))
            except Exception as error:  # noqa: BLE001 - names must not end with it
                self._say(f"{type(error).__name__}: {error}")
            self._stop.wait(AGAIN_SECONDS)
        with self._lock:
            self._tree = Watches()

    def _watch(self, notify: INotify) -> None:
        """From an empty beginning until there is one to be made again: events were lost, or not all could be watched."""
        with self._lock:
            before, self._tree = self._tree, Watches()
        self.fault = ""
        self._watch_below(notify, str(self._hierarchy))
        with self._lock:
            for ino in before.by_ino.keys() - self._tree.by_ino.keys():
                self._went(ino)
        again = self._clock() + AGAIN_SECONDS
        poller = select.poll()
        poller.register(notify.fileno(), select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        while not self._stop.is_set() and not (self.fault and self._clock() >= again):
            poller.poll(1000 * AGAIN_SECONDS)
            for event in notify.read(timeout=0):
                if event.mask & flags.Q_OVERFLOW:
                    return
                self._take(notify, event)

    def _take(self, notify: INotify, event: Event) -> None:
        directory = self._tree.directories.get(event.wd)
        if directory is None:
            return
        if event.mask & flags.IGNORED:
            with self._lock:
                if (ino := self._tree.drop(event.wd)) is not None:
                    self._went(ino)
        elif event.mask & flags.ISDIR:
            child = str(Path(directory) / event.name)
            if event.mask & flags.CREATE:
                self._watch_below(notify, child)
            elif (watch := self._tree.ended(child)) is not None:
                with contextlib.suppress(OSError):  # on other file systems than kernfs it ends by itself
                    notify.rm_watch(watch)

    def _watch_below(self, notify: INotify, top: str) -> None:
        limit = min(WATCH_LIMIT, _allowed() // 2)
        for ino, directory in self._below(top):
            if self._stop.is_set():
                return
            with self._lock:
                self._saw(ino, directory)
            if ino in self._tree.by_ino:
                continue
            try:
                if len(self._tree.directories) >= limit:
                    raise OSError(errno.ENOSPC, "")
                watch = notify.add_watch(directory, _WATCHED)
            except OSError as error:
                with self._lock:
                    self._went(ino)
                if error.errno in _SHORT_OF:
                    self._say(_SHORT_OF[error.errno] if error.errno != errno.ENOSPC else f"only {limit} may be watched")
                continue
            with self._lock:
                self._tree.add(watch, ino, directory)

    def _say(self, why: str) -> None:
        if why != self._told:
            _log.warning(
                "cgroups cannot all be watched: %s; what runs for less than a second may stay without a name", why
            )
        self.fault = self._told = why


def _allowed(knob: Path = Path("/proc/sys/fs/inotify/max_user_watches")) -> int:
    """How many watches this user may have; other pods' processes may be of the same one."""
    try:
        return int(knob.read_text())
    except (OSError, ValueError):
        return WATCH_LIMIT


def default_hierarchy(mounted: Path = Path("/sys/fs/cgroup")) -> Path:
    """Version 2 where it is mounted, alone or beside the old ones; else the memory controller's, in which pods live."""
    if (mounted / "cgroup.controllers").exists():
        return mounted
    return mounted / "unified" if (mounted / "unified").is_dir() else mounted / "memory"
