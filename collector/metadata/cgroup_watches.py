# SPDX-License-Identifier: Apache-2.0
"""Which directories are watched with inotify(7), by all that one of them is looked for by."""

from pathlib import Path


class Watches:
    """What is watched: directories by watch, watches by id and by path."""

    def __init__(self) -> None:
        self.directories: dict[int, str] = {}
        self.by_ino: dict[int, int] = {}
        self._by_path: dict[str, int] = {}
        self._inos: dict[int, int] = {}

    def add(self, watch: int, ino: int, directory: str) -> None:
        self.directories[watch] = directory
        self.by_ino[ino] = self._by_path[directory] = watch
        self._inos[watch] = ino

    def drop(self, watch: int) -> int | None:
        """The id that went with it, unless it is watched anew."""
        directory, ino = self.directories.pop(watch), self._inos.pop(watch)
        if self._by_path.get(directory) == watch:
            del self._by_path[directory]
        if self.by_ino.get(ino) != watch:
            return None
        del self.by_ino[ino]
        return ino

    def ended(self, directory: str) -> int | None:
        """The watch of what was there, unless what is there now is what it watches: one of the same name came since."""
        watch = self._by_path.get(directory)
        if watch is None:
            return None
        try:
            return None if Path(directory).stat().st_ino == self._inos[watch] else watch
        except OSError:
            return watch
