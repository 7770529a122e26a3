# SPDX-License-Identifier: Apache-2.0
"""The agent as its user starts it, for the time of a block: `firesteel run` on ports of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bench.processes import MemoryGroup, tree, tree_cpu_seconds
from tests.servers import free_port

PROGRAM = Path(__file__).resolve().parents[1] / ".venv/bin/firesteel"
_READY_SECONDS = 20.0
_STOP_SECONDS = 15.0

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Page:
    """A scraped metrics page."""

    samples: Sequence[Sample]
    text_bytes: int

    def total(self, name: str, **labels: str) -> float:
        """The sum over all series of a metric that carry these labels."""
        wanted = labels.items()
        return sum(s.value for s in self.samples if s.name == name and wanted <= s.labels.items())

    def has(self, name: str, **labels: str) -> bool:
        """Whether there is a series of a metric that carries these labels, whatever its value."""
        wanted = labels.items()
        return any(s.name == name and wanted <= s.labels.items() for s in self.samples)

    def label(self, name: str, label: str) -> str:
        """The value of a label on the first series of a metric, or ''."""
        return next((s.labels.get(label, "") for s in self.samples if s.name == name), "")


@dataclass(frozen=True, slots=True)
class RunningAgent:
    """A started agent. `started` is time.monotonic() right before it was."""

    process: subprocess.Popen[bytes]
    metrics_port: int
    api_port: int
    started: float
    folder: Path = field(repr=False)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def fetch(self, path: str, *, api: bool = False) -> bytes:
        port = self.api_port if api else self.metrics_port
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return bytes(answer.read())

    def page(self) -> Page:
        text = self.fetch("/metrics").decode()
        families = text_string_to_metric_families(text)
        samples = [Sample(s.name, s.labels, s.value) for family in families for s in family.samples]
        return Page(samples, len(text))

    def settled_page(self, name: str, **labels: str) -> Page:
        """The page once a total has stood still for two seconds: snapshots are behind the traffic, and a new counter shows
        0 at first. RuntimeError if it still moves after a minute."""
        before = self.page()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            time.sleep(2)
            page = self.page()
            if page.total(name, **labels) == before.total(name, **labels):
                return page
            before = page
        raise RuntimeError(f"{name} still moves a minute after the load: {labels}")

    def status(self) -> dict[str, Any]:
        """/api/v1/status as it is."""
        found: dict[str, Any] = json.loads(self.fetch("/api/v1/status", api=True))
        return found

    def pids(self) -> list[int]:
        return tree(self.pid)

    def cpu_seconds(self) -> float:
        return tree_cpu_seconds(self.pid)


def command(metrics_port: int, api_port: int, settings: Mapping[str, str]) -> list[str]:
    """The command line of an agent with these settings (key to value) on these ports."""
    words = [str(PROGRAM), "run"]
    values = {"listen.metrics": f"127.0.0.1:{metrics_port}", "listen.api": f"127.0.0.1:{api_port}", **settings}
    for key, value in values.items():
        words += ["--set", f"{key}={value}"]
    return words


def _up(agent: RunningAgent) -> bool:
    try:
        agent.fetch("/readyz")
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True


@contextmanager
def running(settings: Mapping[str, str] | None = None, group: MemoryGroup | None = None) -> Iterator[RunningAgent]:
    """Starts an agent, waits until its listeners are up, and ends it by its own pid afterwards.

    Raises RuntimeError with the end of its log if it ends on its own or does not come up in time.
    """
    metrics_port, api_port = free_port(), free_port()
    words = command(metrics_port, api_port, settings or {})
    with tempfile.TemporaryDirectory(prefix="firesteel-bench-") as folder:
        with (Path(folder) / "log").open("wb") as log:
            started = time.monotonic()
            process = subprocess.Popen(
                group.entering(words) if group else words, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        agent = RunningAgent(process, metrics_port, api_port, started, Path(folder))
        try:
            while not _up(agent):
                if process.poll() is not None:
                    raise RuntimeError(f"the agent ended with {process.returncode}: {agent.log[-3000:]}")
                if time.monotonic() - started > _READY_SECONDS:
                    raise RuntimeError(f"the agent is not up after {_READY_SECONDS:.0f} s: {agent.log[-3000:]}")
                time.sleep(0.02)
            yield agent
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
