# SPDX-License-Identifier: Apache-2.0
"""The supervisor of the engine process: starts it, notices its death, starts it again on the same memory.

No thread and no task of its own: the agent calls `poll` once a second from its main thread (the kernel ties the
engine's life to the thread that started it) and may pass its event loop to `watch`, so that a crash is answered at once
and not at the next poll, while the ring still has room.
"""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from analyzers._native import lib
from analyzers.contract import PROTOCOLS
from analyzers.settings import ConfigBlock
from analyzers.table import SharedTable

PROGRAM = Path(__file__).parent / "native" / "firesteel-engine"
CRASHES_PER_PROTOCOL = 3
"""So many crashes inside one parser switch it off."""

HANG_SECONDS = 15.0
"""An engine that was silent for so long is ended."""

_QUICK_CRASH_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RingSource:
    """Live events: descriptors of a ring, or of a perf ring per processor, of `ring_bytes` each; the control page and the
    mode slots.

    `record` is a file, with the head of a recording in it, to which every event is appended as it came. An engine that
    crashed may have left half an event in it, so that none follows it.
    """

    ring: int
    ring_bytes: int
    control: int
    modes: int
    record: int | None = None
    perf_rings: tuple[int, ...] = ()
    """Instead of `ring`, which is -1 then. Somebody must have mapped them already: only the first mapping costs locked
    memory, which an engine without privileges may not have."""
    conntrack: int | None = None
    """A netlink socket on which translations of addresses are told; see `collector.metadata.conntrack`."""
    counters: int = -1
    """The driver's counters, by which the engine knows that an answer may be missing; -1 where they cannot be mapped."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """A recording, read from where the descriptor stands. `paced`: at the speed at which it was recorded."""

    file: int
    paced: bool = False


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """How the process does. `finished` is true once a recording was read to its end or to its fault, or made up to a crash."""

    running: bool
    finished: bool
    pid: int | None
    starts: int
    crashes: int
    last_crash: str
    switched_off: tuple[str, ...]


class Engine:
    """One engine process at a time over one table, one configuration and one source.

    It borrows all three: closing them, after `stop`, is up to whoever made them.
    """

    def __init__(
        self,
        source: RingSource | FileSource,
        table: SharedTable,
        config: ConfigBlock,
        *,
        program: Path = PROGRAM,
        hang_seconds: float = HANG_SECONDS,
    ) -> None:
        self._source = source
        self._table = table
        self._config = config
        self._program = program
        # Opened now: after privileges were given up, the folders above it may be closed to us.
        self._program_fd = os.open(program, os.O_RDONLY | os.O_CLOEXEC) if program.exists() else -1
        self._hang_ns = int(hang_seconds * 1e9)
        self._process: subprocess.Popen[bytes] | None = None
        self._exit_fd: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self._finished = False
        self._starts = 0
        self._started_at = 0.0
        self._restart_at = 0.0
        self._quick_crashes = 0
        self._crashes: Counter[int] = Counter()
        self._last_crash = ""
        self._seen_heartbeat = -1

    def start(self) -> None:
        """Starts the process; FileNotFoundError if it was never built, OSError if it cannot be run."""
        if self._process is not None:
            return
        if self._program_fd < 0:
            raise FileNotFoundError(f"engine {self._program} is missing: build it with `make build`")
        if self._starts == 0:
            # Another ring's position means nothing in this one.
            self._table.pointer.ring_position = 0
        self._config.ask_to_stop(False)
        self._stopping = self._finished = False
        descriptors, arguments = self._arguments()
        self._process = subprocess.Popen(
            [str(self._program), *arguments],
            executable=f"/proc/self/fd/{self._program_fd}",
            pass_fds=(*descriptors, self._program_fd),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={"LANG": "C"},
            cwd="/",
            start_new_session=True,
        )
        self._starts += 1
        self._started_at = time.monotonic()
        self._seen_heartbeat = -1
        self._watch_exit()

    def poll(self) -> EngineStatus:
        """Reaps a dead engine and starts the next one when its time has come; ends one that hangs. Never blocks."""
        if self._process is not None and self._process.poll() is not None:
            self._reap(self._process.returncode)
        if self._process is not None:
            self._end_if_hung(self._process)
        elif self._starts and not self._stopping and not self._finished and time.monotonic() >= self._restart_at:
            self._start_again()
        return self.status()

    def status(self) -> EngineStatus:
        """The state as of the last poll."""
        return EngineStatus(
            running=self._process is not None,
            finished=self._finished,
            pid=self._process.pid if self._process else None,
            starts=self._starts,
            crashes=self._crashes.total(),
            last_crash=self._last_crash,
            switched_off=tuple(sorted(self._config.switched_off)),
        )

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Has `loop` call `poll` the moment the process ends. Without pidfd_open (Linux 5.3) the poll alone does it."""
        self._loop = loop
        self._watch_exit()

    def wait(self, timeout: float | None = None) -> EngineStatus:
        """Blocks until a FileSource has been read, or `timeout` seconds; TimeoutError then."""
        if self._process is not None:
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired as expired:
                raise TimeoutError(f"engine {self._process.pid} still runs after {timeout} s") from expired
        return self.poll()

    def stop(self, timeout: float = 5.0) -> None:
        """Lets the engine count what is in the ring, then ends it; kills it after `timeout` seconds. Blocks."""
        self._stopping = True
        process = self._process
        if process is None:
            return
        self._config.ask_to_stop()
        try:
            code = process.wait(timeout)
            if code:
                self._last_crash = self._crash(code)
        except subprocess.TimeoutExpired:
            _log.warning(
                "engine %d did not stop within %g s and is killed; its last events are lost", process.pid, timeout
            )
            process.kill()
            process.wait()
            self._last_crash = f"it did not stop within {timeout:g} s"
        self._forget_process()

    def close(self) -> None:
        """Lets go of the program; call it after `stop`."""
        if self._program_fd >= 0:
            os.close(self._program_fd)
            self._program_fd = -1

    def _start_again(self) -> None:
        try:
            self.start()
        except OSError as error:
            self._restart_at = time.monotonic() + _LONGEST_PAUSE_SECONDS
            self._last_crash = f"cannot be started: {error}"
            _log.error("engine %s; next try in %g s", self._last_crash, _LONGEST_PAUSE_SECONDS)

    def _arguments(self) -> tuple[tuple[int, ...], list[str]]:
        source = self._source
        named = [("--table", self._table.fd), ("--config", self._config.fd)]
        plain = ["--parent", str(os.getpid())]
        if isinstance(source, RingSource):
            named += [("--perf-ring", fd) for fd in source.perf_rings] or [("--ring", source.ring)]
            named += [("--control", source.control), ("--modes", source.modes)]
            plain += ["--ring-bytes", str(source.ring_bytes)]
            if source.counters >= 0:
                named.append(("--counters", source.counters))
            if source.conntrack is not None:
                named.append(("--conntrack", source.conntrack))
            if source.record is not None:
                named.append(("--record", source.record))
        else:
            named.append(("--file", source.file))
            plain += ["--pace"] if source.paced else []
        return tuple(fd for _, fd in named), plain + [part for name, fd in named for part in (name, str(fd))]

    def _watch_exit(self) -> None:
        if self._loop is None or self._process is None or self._exit_fd is not None:
            return
        with contextlib.suppress(OSError):
            self._exit_fd = os.pidfd_open(self._process.pid)
            self._loop.add_reader(self._exit_fd, self.poll)

    def _forget_process(self) -> None:
        self._process = None
        if self._exit_fd is not None and self._loop is not None:
            self._loop.remove_reader(self._exit_fd)
            os.close(self._exit_fd)
            self._exit_fd = None

    def _reap(self, code: int) -> None:
        culprit = int(self._table.pointer.parsing)
        self._forget_process()
        if self._stopping:
            return
        if isinstance(self._source, FileSource):
            self._finished = True
            if code < 0:
                self._tell_in_table(f"the engine died ({_cause(code)}) {_place(culprit)}; please report the recording")
            elif code and not self._table.state().failure:
                self._tell_in_table(f"the engine ended with status {code}, see standard error")
            return
        self._crashes[culprit if code < 0 else 0] += 1
        self._last_crash = self._crash(code)
        if self._source.record is not None:
            self._finished = True
            return
        self._restart_at = time.monotonic() + self._pause()
        _log.error(
            "engine ended: %s; it is started again on the same table (crash %d)",
            self._last_crash,
            self._crashes.total(),
        )
        if code < 0 and 0 < culprit < len(PROTOCOLS) and self._crashes[culprit] == CRASHES_PER_PROTOCOL:
            self._config.switch_off(PROTOCOLS[culprit])
            _log.error(
                "parser %s crashed the engine %d times and is switched off until the agent restarts: its traffic is counted "
                "as NOSUPPORT; please report it with a recording (firesteel record)",
                PROTOCOLS[culprit],
                CRASHES_PER_PROTOCOL,
            )

    def _pause(self) -> float:
        """Seconds until the next start: none at first, longer and longer while every engine dies young."""
        young = time.monotonic() - self._started_at < _QUICK_CRASH_SECONDS
        self._quick_crashes = self._quick_crashes + 1 if young else 0
        return min(2.0 ** (self._quick_crashes - 4), _LONGEST_PAUSE_SECONDS) if self._quick_crashes > 4 else 0.0

    def _end_if_hung(self, process: subprocess.Popen[bytes]) -> None:
        """Kills an engine whose heart has not beaten for long and did not beat between two polls either."""
        heartbeat = int(self._table.pointer.heartbeat_ns)
        quiet_ns = time.monotonic_ns() - max(heartbeat, int(self._started_at * 1e9))
        if quiet_ns > self._hang_ns and heartbeat == self._seen_heartbeat:
            _log.error("engine %d has been silent for %d s and is killed", process.pid, quiet_ns // 1_000_000_000)
            process.send_signal(signal.SIGKILL)
        self._seen_heartbeat = heartbeat

    def _crash(self, code: int) -> str:
        if code < 0:
            return f"{_cause(code)} {_place(int(self._table.pointer.parsing))}"
        return self._table.state().failure or f"exit status {code}, see standard error"

    def _tell_in_table(self, sentence: str) -> None:
        table = self._table.pointer
        table.failure = sentence.encode()[: len(table.failure) - 1]
        table.state = lib.FS_ENGINE_FAILED


def _cause(code: int) -> str:
    if -code == signal.SIGSYS:
        return "SIGSYS: it tried a system call that its sandbox forbids"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _place(culprit: int) -> str:
    return f"while parsing {PROTOCOLS[culprit]}" if 0 < culprit < len(PROTOCOLS) else "outside of the parsers"
