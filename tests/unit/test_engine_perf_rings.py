# SPDX-License-Identifier: Apache-2.0
"""The engine over perf rings, one for each processor: merged by time, losses counted, nothing believed that cannot be."""

import itertools
import os
import random
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyzers._native import lib
from analyzers.engine import Engine
from analyzers.recording import create
from analyzers.settings import ConfigBlock, EngineSettings
from analyzers.table import SharedTable
from tests.engines import engine_program
from tests.fake_ring import FakeDriver, FakePerfRing, struct_bytes

RING_BYTES = 1 << 14
PROCESSORS = 3
_FILE_HEAD, _EVENT = 104, 72


def event(number: int, time_ns: int) -> bytes:
    """One that any engine counts without knowing a connection."""
    head = {"time_ns": time_ns, "pid": number, "type": lib.FS_EV_PROCESS, "size": _EVENT}
    return struct_bytes("fs_process", head=head, kind=lib.FS_PROCESS_EXEC, comm=b"probe")


class Bench:
    def __init__(self, program: Path, record: int | None = None) -> None:
        self.driver = FakeDriver(RING_BYTES, PROCESSORS)
        self.table = SharedTable.create()
        self.config = ConfigBlock(EngineSettings(poll_us=2000))
        self.engine = Engine(self.driver.source(record), self.table, self.config, program=program)
        self.rings = self.driver.perf_rings
        self.numbers = itertools.count()

    def write(self, ring: FakePerfRing, time_ns: int | None = None) -> None:
        """Waits for room: the engine gives it back."""
        at = time.monotonic_ns() if time_ns is None else time_ns
        made = event(next(self.numbers), at)
        end = time.monotonic() + 10
        while not ring.write(made, at):
            assert time.monotonic() < end, "the engine gave no room back"
            time.sleep(0.001)

    def until_counted(self, count: int) -> None:
        end = time.monotonic() + 10
        while self.counted() < count and time.monotonic() < end:
            time.sleep(0.002)
        assert self.counted() == count

    def counted(self) -> int:
        return self.table.state().events["process"]

    def stat(self, name: str) -> int:
        return self.table.state().stats[name]

    def settled(self, name: str) -> int:
        """A statistic once the engine has looked at everything that stands in the rings."""
        end = time.monotonic() + 10
        while any(ring.tail != ring.head for ring in self.rings) and time.monotonic() < end:
            time.sleep(0.002)
        turns = self.table.pointer.turns
        while self.table.pointer.turns < turns + 2:
            time.sleep(0.002)
        return self.stat(name)

    def close(self) -> None:
        self.engine.stop()
        self.engine.close()
        self.config.close()
        self.table.close()
        self.driver.close()


@pytest.fixture(scope="module", params=["plain", "asan"])
def program(request: pytest.FixtureRequest) -> Path:
    return engine_program(request.param)


@pytest.fixture
def bench(program: Path) -> Iterator[Bench]:
    made = Bench(program)
    yield made
    made.close()


def test_counts_what_is_in_all_rings_around_their_ends(bench: Bench) -> None:
    for ring in bench.rings:
        for _ in range(50):
            bench.write(ring)
    bench.engine.start()
    for number in range(3000):  # each ring has room for 170
        bench.write(bench.rings[number % PROCESSORS])
    bench.until_counted(3000 + 50 * PROCESSORS)
    assert all(ring.tail == ring.head > 4 * RING_BYTES for ring in bench.rings)
    assert (bench.stat("ring_contradictions"), bench.stat("ring_dropped"), bench.stat("events_invalid")) == (0, 0, 0)


def test_rings_are_merged_by_time(program: Path, tmp_path: Path) -> None:
    path = tmp_path / "recorded"
    file = create(path, "test")
    bench = Bench(program, file)
    now = time.monotonic_ns()
    chosen = random.Random(7)
    for number in range(300):
        bench.write(chosen.choice(bench.rings), now - 1_000_000 + number)
    bench.engine.start()
    bench.until_counted(300)
    bench.close()
    os.close(file)
    events = path.read_bytes()[_FILE_HEAD:]
    pids = [struct.unpack_from("=I", events, at + 24)[0] for at in range(0, len(events), _EVENT)]
    assert pids == list(range(300))


def test_what_is_newer_than_the_turn_waits_for_its_time(bench: Bench) -> None:
    bench.engine.start()
    bench.write(bench.rings[0], time.monotonic_ns() + 400_000_000)
    bench.write(bench.rings[1])
    bench.until_counted(1)
    time.sleep(0.1)
    assert bench.counted() == 1
    bench.until_counted(2)


def test_losses_that_the_kernel_tells_are_counted(bench: Bench) -> None:
    bench.engine.start()
    bench.write(bench.rings[0])
    assert bench.rings[0].lose(5)
    assert bench.rings[2].lose(1 << 33)
    bench.write(bench.rings[0])
    bench.until_counted(2)
    assert bench.settled("ring_dropped") == 5 + (1 << 33)
    assert bench.stat("ring_contradictions") == 0


def test_records_of_another_kind_are_passed_over(bench: Bench) -> None:
    bench.engine.start()
    assert bench.rings[0].record(FakePerfRing.THROTTLE, bytes(24))
    bench.write(bench.rings[0])
    bench.until_counted(1)
    assert bench.settled("ring_contradictions") == 1


def test_a_crash_loses_no_count_and_doubles_none(bench: Bench) -> None:
    bench.engine.start()
    for turn in range(1, 4):
        for number in range(200):
            bench.write(bench.rings[number % PROCESSORS])
        bench.until_counted(250 * turn - 50)
        pid = bench.engine.status().pid
        assert pid is not None
        bench.engine._process.send_signal(signal.SIGKILL)  # type: ignore[union-attr]
        bench.engine._process.wait()  # type: ignore[union-attr]
        for number in range(50):  # while it is dead
            bench.write(bench.rings[number % PROCESSORS])
        status = bench.engine.poll()
        assert (status.running, status.starts) == (True, turn + 1)
        bench.until_counted(250 * turn)


LIES = {
    "no length": (9, bytes(88), 0),
    "a length past what was written": (9, bytes(88), 4096),
    "a length that is not padded": (9, bytes(88), 97),
    "a length shorter than a head": (9, bytes(88), 4),
    "an event longer than its record": (9, struct.pack("=QI", 1, 80) + bytes(68), None),
    "a sample without an event": (9, bytes(8), None),
    "a loss without its count": (2, bytes(8), None),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_contradicts_the_layout_is_skipped_and_counted(bench: Bench, lie: str) -> None:
    kind, body, length = LIES[lie]
    assert bench.rings[0].record(kind, body, length)
    bench.write(bench.rings[1])
    bench.engine.start()
    bench.until_counted(1)
    assert bench.settled("ring_contradictions") == 1
    bench.write(bench.rings[0])  # the ring itself is good again
    bench.until_counted(2)
    assert (bench.settled("ring_contradictions"), bench.stat("ring_dropped")) == (1, 0)


def test_one_ring_or_perf_rings_but_not_both(program: Path) -> None:
    driver = FakeDriver(RING_BYTES, 1)
    table, config = SharedTable.create(), ConfigBlock(EngineSettings())
    source = driver.source()
    both = type(source)(driver.ring.fd, source.ring_bytes, source.control, source.modes, None, source.perf_rings)
    engine = Engine(both, table, config, program=program)
    _, arguments = engine._arguments()
    assert arguments.count("--perf-ring") == 1
    assert "--ring" not in arguments
    engine.close()
    for part in (config, table, driver):
        part.close()
