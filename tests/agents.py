# SPDX-License-Identifier: Apache-2.0
"""A real agent over the real kernel, for tests: started as a user would, asked over HTTP, stopped by its own pid."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import free_port

ROOT = Path(__file__).resolve().parent.parent
FIRESTEEL = (str(Path(sys.executable).parent / "firesteel"),)
START_SECONDS = float(os.environ.get("FIRESTEEL_START_SECONDS", "30"))
_SAMPLE = re.compile(r"^(?P<name>[a-z0-9_]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Series:
    """One line of the metrics page."""

    name: str
    labels: Mapping[str, str]
    value: float


def series_of(text: str) -> list[Series]:
    """Every series of a metrics page, in the page's order."""
    matches = map(_SAMPLE.match, text.splitlines())
    return [
        Series(match["name"], dict(_LABEL.findall(match["labels"] or "")), float(match["value"]))
        for match in matches
        if match is not None
    ]


def total(series: Iterable[Series], name: str, /, **labels: str) -> float:
    """The sum of those with this name and these labels; 0 if there are none."""
    return sum(one.value for one in series if one.name == name and labels.items() <= one.labels.items())


@dataclass(slots=True)
class Agent:
    """A running agent. `page` and `status` ask it anew each time."""

    process: subprocess.Popen[bytes]
    metrics_port: int
    api_port: int
    log: Path
    series: list[Series] = field(default_factory=list)

    def get(self, path: str, *, api: bool = True) -> bytes:
        port = self.api_port if api else self.metrics_port
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=START_SECONDS) as answer:
            return bytes(answer.read())

    def status(self) -> Any:
        return json.loads(self.get("/api/v1/status"))

    def page(self) -> list[Series]:
        self.series = series_of(self.get("/metrics", api=False).decode())
        return self.series

    def find(self, name: str, **labels: str) -> list[Series]:
        """Of the page that was read last: those with this name and these labels."""
        return [s for s in self.series if s.name == name and labels.items() <= s.labels.items()]

    def total(self, name: str, **labels: str) -> float:
        return total(self.series, name, **labels)

    def wait(self, what: Callable[["Agent"], bool], seconds: float = 45.0) -> None:
        """Reads the page until `what` holds; the test's own assertions then say what did not.

        A row may wait 15 s for the name of its owner on a busy machine, so the limit is far beyond that.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.page()
            if what(self):
                return
            time.sleep(0.2)

    def settled(self, name: str, seconds: float = 45.0, **labels: str) -> float:
        """The sum of a metric once it has stood still for two scrape intervals and a turn of the agent."""
        last, since, end = -1.0, time.monotonic(), time.monotonic() + seconds
        while time.monotonic() < end:
            self.page()
            value = self.total(name, **labels)
            if value != last:
                last, since = value, time.monotonic()
            elif value and time.monotonic() - since > 3.5:
                break
            time.sleep(0.25)
        return last

    def counts(self, name: str, expected: float, **labels: str) -> float:
        """The sum of a metric a turn of the agent after it reached `expected`, so that what is counted twice shows."""
        self.wait(lambda agent: agent.total(name, **labels) >= expected)
        time.sleep(1.3)
        self.page()
        return self.total(name, **labels)


@contextmanager
def running_agent(
    folder: Path,
    settings: Sequence[str] = (),
    *,
    prefix: Sequence[str] = (),
    ring: str = "8MiB",
    metrics_port: int = 0,
    program: Sequence[str] = FIRESTEEL,
) -> Iterator[Agent]:
    """`settings` are --set arguments, `prefix` a command to run it under (capsh, ip netns exec). Stopped by SIGTERM.

    `metrics_port` is a free one by default, `program` another version's command.
    """
    metrics, api = metrics_port or free_port(), free_port()
    fixed = [
        f"listen.metrics=127.0.0.1:{metrics}",
        f"listen.api=127.0.0.1:{api}",
        "metrics.scrape_interval=1s",
        f"ring.size={ring}",
    ]
    options = [part for setting in (*fixed, *settings) for part in ("--set", setting)]
    log = folder / "agent.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*prefix, *program, "run", *options], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    agent = Agent(process, metrics, api, log)
    try:
        _wait_until_ready(agent)
        yield agent
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(agent: Agent) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if agent.process.poll() is not None:
            raise AssertionError(f"the agent ended with {agent.process.returncode}: {agent.log.read_text()}")
        try:
            status = agent.status()
            if status["engine"]["state"] == "running" or status["driver"]["name"] == "none":
                return
        except (urllib.error.URLError, OSError, ValueError):
            pass
        time.sleep(0.1)
    raise AssertionError(f"the agent is not ready after {START_SECONDS} s: {agent.log.read_text()}")
