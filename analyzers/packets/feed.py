# SPDX-License-Identifier: Apache-2.0
"""A capture poured into an engine through a pipe: the engine's pace bounds how much is in memory."""

import contextlib
import os
import threading
from functools import partial
from pathlib import Path
from typing import Final

from analyzers.engine import PROGRAM, Engine, FileSource
from analyzers.packets.conversion import CaptureAccount, Conversion, write_all
from analyzers.recording import RecordingHead
from analyzers.settings import ConfigBlock, EngineSettings
from analyzers.table import SharedTable

PIPE_HANG_SECONDS: Final = 1e9
"""The engine waits for this end of the pipe, which is no reason to end it."""
_STOP_SECONDS: Final = 10.0


class CaptureFeed:
    """`source` is where an engine reads; call `run` or `start` once it was started, and `close` after it was stopped."""

    def __init__(self, path: Path, *, paced: bool = False) -> None:
        """Raises OSError, and CaptureFault for a file that is no capture."""
        self._conversion = Conversion(path)
        self._reader, self._writer = os.pipe()
        self.source = FileSource(self._reader, paced)
        self._thread: threading.Thread | None = None

    @property
    def head(self) -> RecordingHead:
        return self._conversion.head

    @property
    def account(self) -> CaptureAccount:
        """What became of the packets so far; complete once `run` has returned."""
        return self._conversion.account

    def run(self) -> None:
        """Converts the whole file, or as much as the engine takes."""
        self._close_reader()
        try:
            with contextlib.suppress(BrokenPipeError):
                self._conversion.run(partial(write_all, self._writer))
        except OSError as error:
            self.account.fault = f"{error.strerror or error}: the rest of the file could not be read"
        finally:
            os.close(self._writer)
            self._writer = -1

    def start(self) -> None:
        """The same beside what the caller does meanwhile."""
        self._close_reader()
        self._thread = threading.Thread(target=self.run, name="capture", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._close_reader()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)
        elif self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
        self._conversion.close()

    def _close_reader(self) -> None:
        """The engine has its own: once that is closed nobody reads, and writing must fail."""
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1


def replay(
    path: Path, settings: EngineSettings, *, program: Path = PROGRAM
) -> tuple[RecordingHead, SharedTable, CaptureAccount]:
    """Feeds a whole capture to an engine; whose recording it was, what was counted, what became of the packets.

    A fault inside of the file does not raise: the account names the byte and the remedy, and everything before it is
    counted. Raises OSError, CaptureFault for a file that is no capture, and ValueError for bad settings.
    """
    with contextlib.closing(CaptureFeed(path)) as feed:
        table = SharedTable.create()
        try:
            with contextlib.closing(ConfigBlock(settings)) as config:
                engine = Engine(feed.source, table, config, program=program, hang_seconds=PIPE_HANG_SECONDS)
                try:
                    engine.start()
                    feed.run()
                    engine.wait()
                finally:
                    engine.stop()
                    engine.close()
        except BaseException:
            table.close()
            raise
        return feed.head, table, feed.account
