# SPDX-License-Identifier: Apache-2.0
"""`firesteel record -`: a recording on its way to standard output.

The engine writes into a pipe and a thread passes it on. Into standard output itself the engine cannot write: where that takes
nothing for long it would be killed as hung, and where nobody reads it any more the signal would end it.
"""

import fcntl
import os
import select
import threading

from analyzers import recording

_PIPE_BYTES = 1 << 20
"""What a burst may be ahead of standard output; beyond that the engine waits, and the ring takes what comes."""

_STALLED = 3
"""Seconds; less than the engine is given to end."""


class Stream:
    """`file` is for the engine. From now on what else is printed goes to standard error. Raises OSError."""

    def __init__(self, driver: str) -> None:
        self.size = 0
        self.fault = ""
        """Why standard output takes no more; empty if it does."""
        self._out = os.dup(1)
        os.dup2(2, 1)
        self._pipe, self.file = os.pipe()
        fcntl.fcntl(self.file, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        recording.begin(self.file, driver)
        self._thread = threading.Thread(target=self._pass_on, name="recording")

    def start(self) -> None:
        """After privileges were given up: a thread that is there before keeps them."""
        self._thread.start()

    def finish(self) -> int:
        """Passes on what is in the pipe, when the engine has ended, and tells how many bytes there were."""
        os.close(self.file)
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._pipe)
        os.close(self._out)
        return self.size

    def _pass_on(self) -> None:
        watched = select.poll()
        watched.register(self._pipe, select.POLLIN)
        watched.register(self._out, 0)  # tells its end, also while there is nothing to write
        while True:
            ready = {fd for fd, _ in watched.poll()}
            if self._out in ready:
                watched.unregister(self._out)
                self.fault = self.fault or "nobody reads standard output any more"
            if self._pipe in ready:
                content = os.read(self._pipe, 1 << 16)
                if not content:
                    return
                self._put(memoryview(content))

    def _put(self, content: memoryview) -> None:
        """After a fault it is dropped, so that the engine can end."""
        taking = select.poll()
        taking.register(self._out, select.POLLOUT)
        while content and not self.fault:
            if not taking.poll(_STALLED * 1000):
                self.fault = f"standard output took nothing for {_STALLED} s"
                return
            try:
                # Of a pipe that takes something, this much is taken without waiting: pipe(7).
                written = os.write(self._out, content[: select.PIPE_BUF])
            except OSError as error:
                self.fault = f"standard output cannot be written: {error.strerror}"
                return
            self.size += written
            content = content[written:]
