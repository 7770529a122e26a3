# SPDX-License-Identifier: Apache-2.0
"""`firesteel record -`: a recording on its way to standard output.

The engine writes into a pipe and a thread passes it on. Into standard output itself the engine cannot write: where that is slow
it would be killed as hung, in the middle of an event, and where nobody reads it any more the signal would end it.
"""

import contextlib
import fcntl
import os
import select
import threading
import time

from analyzers import recording

_PIPE_BYTES = 1 << 20
"""Room for a burst; less does too."""

_BEHIND_BYTES = 32 << 20
"""So far standard output may be behind, in memory. Beyond that the recording ends: the engine never waits for a reader."""

_REST_SECONDS = 30
"""In which standard output takes what it is behind when the engine has ended."""


class Stream:
    """`file` is for the engine. From now on what else is printed goes to standard error. Raises OSError."""

    def __init__(self, driver: str) -> None:
        self.size = 0
        """What the engine has written."""
        self.fault = ""
        """Why standard output takes no more; empty if it does."""
        self._out = os.dup(1)
        os.dup2(2, 1)
        self._pipe, self.file = os.pipe()
        with contextlib.suppress(OSError):  # refused where this user's pipes have much and CAP_SYS_RESOURCE is missing
            fcntl.fcntl(self.file, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        recording.begin(self.file, driver)
        self._behind = bytearray()
        self._passed_on = 0
        self._thread = threading.Thread(target=self._pass_on, name="recording")

    def start(self) -> None:
        """After privileges were given up: a thread that is there before keeps them."""
        self._thread.start()

    def finish(self) -> int:
        """Passes on what is left, when the engine has ended, and tells how many bytes standard output has taken."""
        os.close(self.file)
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._pipe)
        os.close(self._out)
        return self._passed_on

    def _pass_on(self) -> None:
        while self._take():
            pass
        self._put(time.monotonic() + _REST_SECONDS)
        if self._behind:
            self._give_up(f"standard output did not take the rest within {_REST_SECONDS} s")

    def _take(self) -> bool:
        """Waits for the engine, and for standard output; False when the engine has ended."""
        watched = select.poll()
        watched.register(self._pipe, select.POLLIN)
        if not self.fault:
            watched.register(self._out, select.POLLOUT if self._behind else 0)  # its end is told in any case
        ready = dict(watched.poll())
        if ready.get(self._out, 0) & (select.POLLERR | select.POLLHUP):
            self._give_up("nobody reads standard output any more")
        self._put()
        if self._pipe not in ready:
            return True
        content = os.read(self._pipe, 1 << 16)
        self.size += len(content)
        if not self.fault:  # else it is dropped
            self._behind += content
        if len(self._behind) > _BEHIND_BYTES:
            self._give_up(f"standard output is more than {_BEHIND_BYTES >> 20} MiB behind")
        return bool(content)

    def _put(self, until: float = 0) -> None:
        """What standard output takes without waiting, or until then."""
        taking = select.poll()
        taking.register(self._out, select.POLLOUT)
        while self._behind and taking.poll(max(0.0, until - time.monotonic()) * 1000):
            try:
                # Of a pipe that takes something, this much is taken without waiting: pipe(7).
                written = os.write(self._out, self._behind[: select.PIPE_BUF])
            except OSError as error:
                self._give_up(f"standard output cannot be written: {error.strerror}")
                return
            self._passed_on += written
            del self._behind[:written]

    def _give_up(self, why: str) -> None:
        self.fault = why
        self._behind.clear()
