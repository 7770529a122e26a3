# SPDX-License-Identifier: Apache-2.0
"""Has the plugins look at sampled exchanges that the engine does not decode: in another process, with a limit on its time.

They can raise, hang, fill its memory or crash: all of that is counted by plugin, and ends with another process being
asked, later each time, and at last none. It is begun before the agent gives up its privileges (plugin_worker.py).
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from analyzers.rows import Sample
from analyzers.table import SampleBatch
from exporters.own import PluginReport

TURN_SECONDS = 0.5
"""For all exchanges of a turn; those that find no time are left as they are, and counted."""
ANSWER_SECONDS = 1.0
"""For one of them: a plugin that takes longer hangs."""
START_SECONDS = 15.0
STRIKES = 5
"""How often the child may hang or end before it stays away, until the configuration or the agent is loaded anew."""
_KEPT = 4096
_ROOT = Path(__file__).parent.parent
_MODULE = "collector.plugin_worker"


class _Silent(Exception):
    """The child gave no answer in time, or ended; `result` is timeout or crashed."""

    def __init__(self, result: str) -> None:
        super().__init__(result)
        self.result = result


class _Worker:
    """The process with its pipes, and the part of a line that it said so far."""

    def __init__(self, names: Sequence[str]) -> None:
        path = os.pathsep.join(part for part in (str(_ROOT), os.environ.get("PYTHONPATH", "")) if part)
        self._process = subprocess.Popen(
            [sys.executable, "-m", _MODULE, *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            cwd="/",
            bufsize=0,
        )
        self._said = b""
        self.serving = 0
        """The process that answers; 0 while there is none."""
        self.was_serving = False
        self.since = time.monotonic()
        """When somebody to be asked was last waited for."""

    def ask(self, line: bytes) -> None:
        assert self._process.stdin is not None
        try:
            # Shorter than a pipe's buffer, and all that came before has been read.
            self._process.stdin.write(line)
        except OSError as error:
            raise _Silent("crashed") from error

    def listen(self, until: float) -> Mapping[str, Any]:
        """The next line; raises _Silent."""
        assert self._process.stdout is not None
        while b"\n" not in self._said:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise _Silent("timeout")
            more = os.read(self._process.stdout.fileno(), 65536)
            if not more:
                raise _Silent("crashed")
            self._said += more
        line, _, self._said = self._said.partition(b"\n")
        said: Mapping[str, Any] = json.loads(line)
        if "ended" in said:
            self.serving, self.since = 0, time.monotonic()
            raise _Silent("crashed")
        return said

    @property
    def is_gone(self) -> bool:
        return self._process.poll() is not None

    def interrupt(self) -> None:
        """Ends the process that hangs; another takes its place."""
        if self.serving:
            os.kill(self.serving, signal.SIGKILL)
        self.serving, self.since = 0, time.monotonic()

    def end(self) -> None:
        self.interrupt()
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class Plugins:
    """Not to be called from two threads at once, but for `apply` and `report`."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        """Begins the process, unless there are no entry points to be loaded."""
        self._names = tuple(names)
        self._asking = ""
        self._next_sample = 1
        self._found: OrderedDict[int, Mapping[str, Any]] = OrderedDict()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._failed: dict[str, str] = {}
        self._last_fault: dict[str, str] = {}
        self._skipped = self._strikes = 0
        self._not_before = 0.0
        self._interrupted = False
        self._worker = _Worker(self._names) if self._names else None

    @property
    def names(self) -> tuple[str, ...]:
        return self._names

    def close(self) -> None:
        if self._worker is not None:
            self._worker.end()
        self._worker = None

    def report(self) -> PluginReport:
        given_up = f"the plugins' process hung or ended {STRIKES} times" if self._strikes >= STRIKES else ""
        return PluginReport(dict(self._counts), dict(self._failed), dict(self._last_fault), self._skipped, given_up)

    def apply(self, sample: Sample) -> Sample:
        """The sample as a plugin tells it, if one does."""
        found = self._found.get(sample.sequence)
        return sample if found is None else replace(sample, **found)

    @property
    def next_sample(self) -> int:
        return self._next_sample

    def turn(self, samples: Sequence[Sample], next_sample: int) -> None:
        """Looks at new samples, for TURN_SECONDS at most. Blocks: not for the loop's thread."""
        waiting = [sample for sample in samples if sample.undecoded[0]]
        if not self._names:
            return
        before, self._next_sample = self._next_sample, next_sample
        until = time.monotonic() + TURN_SECONDS
        for number, sample in enumerate(waiting or [None]):
            try:
                if not self._is_up(until) or time.monotonic() >= until:
                    if self._is_starting:
                        self._next_sample = before  # they are looked at when it is up
                    else:
                        self._skipped += len(waiting) - number
                    return
                if sample is not None:
                    self._look_at(sample, time.monotonic() + ANSWER_SECONDS)
            except (_Silent, ValueError) as error:
                self._strike(error.result if isinstance(error, _Silent) else "crashed")

    def whole(self, batch: SampleBatch) -> None:
        """Looks at all samples of a file, for as long as it takes, unless all plugins are given up. Blocks."""
        for sample in batch.samples:
            self._wait()
            self.turn((sample,), sample.sequence + 1)

    def _wait(self) -> None:
        """Until there is somebody to be asked, or never will be."""
        while self._worker is not None:
            time.sleep(max(0.0, self._not_before - time.monotonic()))
            try:
                if self._is_up(time.monotonic() + TURN_SECONDS):
                    return
            except (_Silent, ValueError) as error:
                self._strike(error.result if isinstance(error, _Silent) else "crashed")

    @property
    def _is_starting(self) -> bool:
        return self._worker is not None and not self._worker.was_serving

    def _is_up(self, until: float) -> bool:
        """Whether there is somebody to be asked: at its start the process may take several turns."""
        worker = self._worker
        if worker is None or time.monotonic() < self._not_before:
            return False
        while not worker.serving:
            try:
                said = worker.listen(until)
            except _Silent as silent:
                if silent.result == "timeout" and time.monotonic() - worker.since < START_SECONDS:
                    return False
                # Of its predecessor, which hung: that is counted.
                if silent.result == "crashed" and self._interrupted:
                    self._interrupted = False
                    continue
                raise
            self._failed |= said.get("failed", {})
            worker.serving = int(said.get("serving", 0))
            worker.was_serving = worker.was_serving or bool(worker.serving)
        return True

    def _look_at(self, sample: Sample, until: float) -> None:
        assert self._worker is not None
        request, response = sample.undecoded
        self._worker.ask(json.dumps({"request": request.hex(), "response": response.hex()}).encode() + b"\n")
        said = self._worker.listen(until)
        while "asking" in said:
            self._asking = str(said["asking"])
            said = self._worker.listen(until)
        plugin = str(said.get("plugin", ""))
        if "fault" in said:
            self._counts[plugin, "failed"] += 1
            self._last_fault[plugin] = str(said["fault"])
        elif plugin:
            self._counts[plugin, "decoded"] += 1
            self._found[sample.sequence] = {
                name: said[name] for name in ("protocol", "request_content", "response_content", "status")
            } | {"is_error": sample.is_error or bool(said["is_error"])}
            while len(self._found) > _KEPT:
                self._found.popitem(last=False)
        self._asking = ""

    def _strike(self, result: str) -> None:
        self._counts[self._asking, result] += 1
        self._last_fault[self._asking] = "gave no answer in time" if result == "timeout" else "ended its process"
        self._asking = ""
        self._strikes += 1
        self._not_before = time.monotonic() + 2.0**self._strikes
        worker = self._worker
        if worker is None:
            return
        if self._strikes >= STRIKES or worker.is_gone or not worker.was_serving:
            self._strikes = STRIKES
            self.close()
        elif result == "timeout":
            worker.interrupt()
            self._interrupted = True
