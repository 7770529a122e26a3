# SPDX-License-Identifier: Apache-2.0
"""Events per second of the engine, from a recording to the aggregates, by its own CPU clock, without reading the file: a live
engine has a ring in memory.

Two recordings: one of this machine's kernel under nginx at saturation, if the agent may watch here, and one made up of
HTTP exchanges over many keep-alive connections, which is the same on every machine.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from analyzers import recording
from analyzers.rows import EngineState
from analyzers.settings import EngineSettings
from bench import agent, traffic
from bench.figures import Line, Section, quick, spread
from tests import clients, servers

_BUDGET = 3_000_000
_ROUNDS = 5


def replayed(path: Path) -> EngineState:
    """What the engine said at the end of one replay of the file. Raises RuntimeError if it did not come to it."""
    table = recording.replay(path, EngineSettings())
    try:
        state = table.state()
    finally:
        table.close()
    if state.state != "finished":
        raise RuntimeError(f"the engine did not finish {path.name}: {state.failure or state.state}")
    return state


def spent(path: Path) -> tuple[int, EngineState]:
    """Nanoseconds of its CPU over one replay of the file, without the reading, and what it said at the end."""
    state = replayed(path)
    return state.cpu_ns - _reading_ns(path), state


def _reading_ns(path: Path) -> int:
    """CPU time to have the file's bytes in memory, by as many at once as the engine takes."""
    block = bytearray(1 << 20)
    began = time.process_time_ns()
    with path.open("rb", buffering=0) as file:
        while file.readinto(block):
            pass
    return time.process_time_ns() - began


def rate(path: Path) -> tuple[float, EngineState]:
    """Events per second of engine CPU over one replay of the file, and what the engine said at its end."""
    ns, state = spent(path)
    return sum(state.events.values()) / (ns / 1e9), state


def measured(title: str, path: Path) -> Line:
    """The line of one replay's rate, over some rounds."""
    rounds = [rate(path) for _ in range(2 if quick() else _ROUNDS)]
    state = rounds[0][1]
    events = sum(state.events.values())
    rates = [one[0] for one in rounds]
    what = f"engine, one core, {title} ({events:,} events, {state.stats['requests']:,} requests)"
    return Line(
        what, spread(rates, lambda value: f"{value / 1e6:.2f} M events/s"), "3 M/s", statistics.median(rates) >= _BUDGET
    )


def record_live(path: Path, seconds: int) -> None:
    """`firesteel record` of nginx under wrk on this machine's kernel. RuntimeError if that is not possible here."""
    words = [str(agent.PROGRAM), "record", str(path)]
    with servers.nginx() as server:
        recorder = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            deadline = time.monotonic() + 10
            while not path.exists() and recorder.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(2)  # hooks are attached once the file has its head
            clients.wrk(server, seconds=seconds)
        finally:
            if recorder.poll() is None:
                recorder.send_signal(signal.SIGINT)
            _, errors = recorder.communicate(timeout=20)
    if not path.exists():
        raise RuntimeError(f"firesteel record wrote nothing: {errors.decode(errors='replace')[-300:]}")


def run() -> Section:
    lines = []
    with tempfile.TemporaryDirectory(prefix="firesteel-bench-") as folder:
        made_up = Path(folder, "made-up")
        for mode in ("stream", "message"):
            traffic.write_http(made_up, connections=512, exchanges=200_000 if quick() else 1_000_000, mode=mode)
            lines.append(measured(f"made-up HTTP in {mode} mode", made_up))
        live = Path(folder, "live")
        record_live(live, 2 if quick() else 4)
        lines.append(measured("recording of nginx under wrk", live))
    return Section(lines)
