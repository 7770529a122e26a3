# SPDX-License-Identifier: Apache-2.0
"""Lines of JSON, one for each sampled request and each edge that moved. docs/jsonl.md describes every field.

What is written here is text already; a sink takes what it can, and counts what it cannot. Nothing waits: a socket whose
reader is slow loses lines, and a file that is full is put aside.
"""

import errno
import os
import socket
import stat
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

SCHEMA_VERSION: Final = 1
"""Raised when a field changes its meaning or goes away; new fields do not raise it."""
QUEUE_BYTES: Final = 1 << 20
"""What may wait for a reader of a pipe or a socket."""
_CONNECT_EVERY: Final = 5  # turns


class SinkError(Exception):
    """The sink cannot be opened; says which and why."""


class Sink(Protocol):
    """Where lines go. `written` and `dropped` count lines, `failures` attempts; `fault` is why the newest one failed."""

    written: int
    dropped: int
    failures: int
    fault: str

    def write(self, lines: Sequence[bytes]) -> None: ...

    def close(self) -> None: ...


def open_sink(path: str, max_size: int, files: int) -> Sink:
    """`-` is standard output, `unix:/path` a socket that somebody listens at, else a file. Raises SinkError."""
    if path == "-":
        return StreamSink(None)
    if path.startswith("unix:"):
        return StreamSink(path.removeprefix("unix:"))
    return FileSink(Path(path), max_size, files)


class FileSink:
    """Appends to a file; at `max_size` it becomes FILE.1, that FILE.2, and so on up to `files`."""

    def __init__(self, path: Path, max_size: int, files: int) -> None:
        self.written = self.dropped = self.failures = 0
        self.fault = ""
        self._path, self._max_size, self._files = path, max_size, files
        try:
            self._file = _open(path)
        except OSError as error:
            raise SinkError(f"{path}: {error.strerror}; the folder must be writable for user {os.geteuid()}") from error
        self._size = os.fstat(self._file).st_size

    def write(self, lines: Sequence[bytes]) -> None:
        batch: list[bytes] = []
        size = 0
        for line in lines:
            if self._size + size + len(line) > self._max_size and self._size + size:
                self._append(batch, size)
                self._rotate()
                batch, size = [], 0
            batch.append(line)
            size += len(line)
        self._append(batch, size)

    def close(self) -> None:
        os.close(self._file)

    def _append(self, batch: list[bytes], size: int) -> None:
        if not batch:
            return
        if self._size + size > self._max_size and self._size:  # it could not be put aside
            self.dropped += len(batch)
            return
        try:
            whole = b"".join(batch)
            done = os.write(self._file, whole)
            if done < len(whole):  # a full disk takes a part; half a line is worse than none
                os.ftruncate(self._file, self._size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self.failures += 1
            self.dropped += len(batch)
            self.fault = f"{self._path}: {error.strerror}"
            return
        self._size += size
        self.written += len(batch)
        self.fault = ""

    def _rotate(self) -> None:
        """The oldest goes, each other one is renamed, a new one is begun."""
        try:
            if self._files == 0:
                os.ftruncate(self._file, 0)
                self._size = 0
                return
            for number in range(self._files - 1, 0, -1):
                older = self._aside(number)
                if older.exists():
                    older.rename(self._aside(number + 1))
            self._path.rename(self._aside(1))
            fresh = _open(self._path)
        except OSError as error:
            self.failures += 1
            self.fault = (
                f"{self._path} cannot be put aside: {error.strerror}; user {os.geteuid()} must be able to write there"
            )
            return
        os.close(self._file)
        self._file, self._size = fresh, 0

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class StreamSink:
    """Standard output, or a Unix socket of the kind that whoever listens there has (stream or datagram).

    What the reader does not take at once waits, up to QUEUE_BYTES; beyond that the oldest lines go.
    """

    def __init__(self, path: str | None) -> None:
        self.written = self.dropped = self.failures = 0
        self.fault = ""
        self._path = path
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._rest = b""  # of a line that went out in part
        self._pause = 0
        self._socket: socket.socket | None = None
        self._datagrams = False
        self._file = -1
        if path is None:
            self._file = os.dup(sys.stdout.fileno())
            # A pipe must not hold up the agent. A terminal or file shares the setting with others: it stays.
            if stat.S_ISFIFO(os.fstat(self._file).st_mode):
                os.set_blocking(self._file, False)

    def write(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            self._waiting.append(line)
            self._bytes += len(line)
        if self._path is not None and self._socket is None and not self._connect():
            self._shed()
            return
        try:
            while self._rest or self._waiting:
                line = self._rest or self._waiting[0]
                done = self._send(line)
                if not self._rest:
                    self._bytes -= len(self._waiting.popleft())
                self._rest = line[done:]
                if not self._rest:
                    self.written += 1
            self.fault = ""
        except BlockingIOError:
            self.fault = "the reader does not keep up"
        except OSError as error:
            self._lost(error)
        self._shed()

    def close(self) -> None:
        """What waits, or went out in part, is lost."""
        self.dropped += len(self._waiting) + bool(self._rest)
        self._waiting.clear()
        self._rest = b""
        if self._socket is not None:
            self._socket.close()
        if self._file >= 0:
            os.close(self._file)

    def _send(self, line: bytes) -> int:
        if self._socket is None:
            return os.write(self._file, line)
        if self._datagrams:
            self._socket.send(line)
            return len(line)
        return self._socket.send(line)

    def _connect(self) -> bool:
        if self._pause:
            self._pause -= 1
            return False
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            made = socket.socket(socket.AF_UNIX, kind)
            made.setblocking(False)
            try:
                made.connect(self._path or "")
            except OSError as error:
                made.close()
                if error.errno != errno.EPROTOTYPE:
                    self._lost(error)
                    return False
                continue
            self._socket, self._datagrams = made, kind == socket.SOCK_DGRAM
            return True
        return False

    def _lost(self, error: OSError) -> None:
        self.failures += 1
        self.fault = f"{self._path or 'standard output'}: {error.strerror}"
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._rest:  # the next reader would get its tail
            self.dropped += 1
            self._rest = b""
        self._pause = _CONNECT_EVERY

    def _shed(self) -> None:
        while self._bytes > QUEUE_BYTES:
            self._bytes -= len(self._waiting.popleft())
            self.dropped += 1


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
