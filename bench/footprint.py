# SPDX-License-Identifier: Apache-2.0
"""What the agent itself takes: CPU at rest, at a fixed rate and at saturation, loss there, memory, time to start."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import agent
from bench.figures import Line, Section, Table, mebibytes, quick
from bench.processes import MemoryGroup, kernel_thread_seconds, memory_group, resident_bytes
from tests import clients, servers
from tests.servers import Server

_REQUESTS = "kindling_entity_request_total"
# wrk waits so many milliseconds before each request of a connection: 32 connections make about 10 000 requests a second.
_PACED = "delay = function() return 3 end\n"
# New counters show 0 for one scrape interval: a short one, so that a load can be read off the page right after it.
_SETTINGS = {"metrics.scrape_interval": "1s"}
_CPU_BUDGET = 2.0
_IDLE_MEMORY_BUDGET = 100 << 20
_START_BUDGET = 2.0


@dataclass(frozen=True, slots=True)
class Spent:
    """A stretch of time under load: requests that the client completed, and what the agent took meanwhile."""

    seconds: float
    requests: int
    agent_seconds: float
    kernel_seconds: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    @property
    def percent_per_10k(self) -> float:
        """Percent of one core for each 10 000 requests a second."""
        return 100 * self.agent_seconds / self.requests * 10_000

    @property
    def percent(self) -> float:
        return 100 * self.agent_seconds / self.seconds


def _seconds() -> int:
    return 4 if quick() else 10


def _under(load: clients.HttpLoad, began: float, cpu: float, kernel: float, running: agent.RunningAgent) -> Spent:
    seconds = time.monotonic() - began
    return Spent(seconds, load.requests, running.cpu_seconds() - cpu, kernel_thread_seconds() - kernel)


def loaded(running: agent.RunningAgent, server: Server, *, script: str = "", seconds: int | None = None) -> Spent:
    """Runs wrk against `server` and says what the agent and the kernel's threads used meanwhile."""
    began, cpu, kernel = time.monotonic(), running.cpu_seconds(), kernel_thread_seconds()
    load = clients.wrk(server, seconds=seconds or _seconds(), script=script)
    time.sleep(0.5)  # what is still in the ring belongs to this load
    return _under(load, began, cpu, kernel, running)


def at_rest(running: agent.RunningAgent) -> float:
    """Percent of one core while nothing is asked of the machine."""
    began, cpu = time.monotonic(), running.cpu_seconds()
    time.sleep(_seconds())
    return 100 * (running.cpu_seconds() - cpu) / (time.monotonic() - began)


@contextmanager
def _requests_all_the_time(server: Server) -> Iterator[None]:
    """A request every 20 ms, so that the first metric is not waited for longer than it takes."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            clients.curl(server)
            ended.wait(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def start_times() -> tuple[float, float]:
    """Seconds from the start of the process to its page, and to the first request metric on it."""
    with servers.nginx() as server, _requests_all_the_time(server), agent.running() as running:
        page = time.monotonic() - running.started
        # The series counts: its value is held at 0 for one scrape interval on purpose.
        while not running.page().has(_REQUESTS, port=str(server.port)):
            if time.monotonic() - running.started > 90:
                raise RuntimeError(f"no request metric after 90 s: {running.log[-2000:]}")
            time.sleep(0.05)
        return page, time.monotonic() - running.started


def _memory(running: agent.RunningAgent, group: MemoryGroup | None) -> tuple[float, str]:
    """What the agent's memory is charged less file cache, and how that was found."""
    resident = sum(resident_bytes(pid) for pid in running.pids())
    if group is None:
        return resident, f"{mebibytes(resident)} (PSS; no memory control group could be made)"
    kept = group.charged().kept
    return kept, f"{mebibytes(kept)} (of it PSS of the processes: {mebibytes(resident)})"


def _processes(running: agent.RunningAgent) -> Table:
    pids = running.pids()
    rows = [[Path(f"/proc/{pid}/comm").read_text().strip(), mebibytes(resident_bytes(pid))] for pid in pids]
    return Table("Memory of each process under load", ("process", "PSS"), rows)


def _start_line() -> Line:
    page, first = start_times()
    return Line(
        "start to page / to first request metric", f"{page:.2f} s / {first:.2f} s", "2 s", first <= _START_BUDGET
    )


def _lost(page: agent.Page) -> float:
    return page.total("firesteel_lost_total", stage="ring")


def run() -> Section:
    lines = [_start_line()]
    with memory_group() as group, servers.nginx() as server, agent.running(_SETTINGS, group) as running:
        time.sleep(3)  # what happens once at the start is not rest
        idle = at_rest(running)
        kept, text = _memory(running, group)
        lines.append(Line("CPU at rest, all processes", f"{idle:.2f} % of one core"))
        lines.append(Line("memory at rest", text, "100 MiB", kept <= _IDLE_MEMORY_BUDGET))

        clients.wrk(server, seconds=2, script=_PACED)  # learns the protocol; not counted
        paced = loaded(running, server, script=_PACED)
        lines.append(
            Line(
                f"CPU at {paced.rate:,.0f} requests/s, all processes, per 10 000 requests/s",
                f"{paced.percent_per_10k:.2f} % of one core; kernel threads {100 * paced.kernel_seconds / paced.seconds:.2f} %",
                "at most 2 %",
                paced.percent_per_10k <= _CPU_BUDGET,
            )
        )
        port = str(server.port)
        before = running.settled_page(_REQUESTS, port=port)
        full = loaded(running, server)
        after = running.settled_page(_REQUESTS, port=port)
        lost = _lost(after) - _lost(before)
        counted = after.total(_REQUESTS, port=port) - before.total(_REQUESTS, port=port)
        lines.append(
            Line(
                f"CPU at saturation ({full.rate:,.0f} requests/s), per 10 000 requests/s",
                f"{full.percent_per_10k:.2f} % of one core ({full.percent:.1f} % in all)",
                "at most 2 %",
                full.percent_per_10k <= _CPU_BUDGET,
            )
        )
        lines.append(Line(f"events lost at {full.rate:,.0f} requests/s", f"{lost:,.0f}", "0", lost == 0))
        lines.append(
            Line(
                "requests counted / completed by wrk",
                f"{counted:,.0f} / {full.requests:,} (32 may be in flight)",
                "equal",
                0 <= counted - full.requests <= 32,
            )
        )
        kept, text = _memory(running, group)
        lines.append(Line("memory under load", text))
        tables = [_processes(running)]
    return Section(lines, tables, {"cpu_percent_per_10k": round(paced.percent_per_10k, 3)})
