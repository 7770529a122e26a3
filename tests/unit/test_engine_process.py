# SPDX-License-Identifier: Apache-2.0
"""The engine as a process under its supervisor: a fake ring, crashes, hangs, restarts, recording, sandbox."""

import asyncio
import contextlib
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analyzers._native import lib
from analyzers.engine import CRASHES_PER_PROTOCOL, Engine
from analyzers.recording import create, replay
from analyzers.settings import ConfigBlock, EngineSettings
from analyzers.table import SharedTable
from tests.engines import engine_program
from tests.fake_ring import BUSY, DISCARD, FakeDriver, FakeRing, struct_bytes

SECOND = 1_000_000_000


def process_event(number: int = 0) -> bytes:
    """The smallest event that any engine counts without knowing a connection."""
    head = {"time_ns": time.monotonic_ns(), "pid": 1000 + number, "type": lib.FS_EV_PROCESS, "size": 72}
    return struct_bytes("fs_process", head=head, kind=lib.FS_PROCESS_EXEC, comm=b"probe")


def until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.005)


class Bench:
    """A driver, a table, a configuration and a supervisor over them."""

    def __init__(self, program: Path, ring_bytes: int = 1 << 20, record: int | None = None) -> None:
        self.driver = FakeDriver(ring_bytes)
        self.table = SharedTable.create()
        self.config = ConfigBlock(EngineSettings(poll_us=5000))
        self.engine = Engine(self.driver.source(record), self.table, self.config, program=program, hang_seconds=0.5)

    def start(self) -> None:
        self.engine.start()
        starts = self.engine.status().starts
        until(lambda: self.table.state().starts >= starts and self.running(), "the engine's start")

    def running(self) -> bool:
        return self.table.state().state == "running"

    def feed(self, count: int) -> None:
        for number in range(count):
            self.write(process_event(number))

    def write(self, event: bytes) -> None:
        until(lambda: self.driver.ring.write(event), "room in the ring")

    def until_counted(self, count: int) -> None:
        """Not more either: whatever else is in the ring has been looked at by then."""
        until(lambda: self.counted() >= count, f"a count of {count}")
        assert self.counted() == count

    def until_started(self, starts: int) -> None:
        until(lambda: self.table.state().starts == starts and self.running(), f"start {starts}")

    def counted(self) -> int:
        return self.table.state().events["process"]

    def pid(self) -> int:
        pid = self.engine.status().pid
        assert pid is not None
        return pid

    def crash(self, number: int = signal.SIGSEGV) -> None:
        """Ends the process and has it reaped; what poll starts next is up to the caller to wait for."""
        process = self.engine._process
        assert process is not None
        process.send_signal(number)
        process.wait()

    def close(self) -> None:
        self.engine.stop()
        self.config.close()
        self.table.close()
        self.driver.close()


@pytest.fixture(params=["plain", "asan"])
def program(request: pytest.FixtureRequest) -> Path:
    return engine_program(request.param)


@pytest.fixture
def bench(program: Path) -> Iterator[Bench]:
    made = Bench(program)
    yield made
    made.close()


def test_counts_what_is_in_the_ring(bench: Bench) -> None:
    bench.feed(500)
    bench.start()
    bench.feed(20_000)  # around the ring more than once
    bench.until_counted(20_500)
    state = bench.table.state()
    assert bench.driver.ring.consumed == bench.driver.ring.produced
    assert state.stats["events_invalid"] == state.stats["ring_contradictions"] == 0
    assert time.monotonic_ns() - state.heartbeat_ns < SECOND
    assert 0 < state.cpu_ns < 60 * SECOND


def test_asks_for_everything_to_be_told_again(bench: Bench) -> None:
    bench.driver.control.pointer.epoch = 41
    bench.start()
    assert bench.driver.epoch == 42
    bench.crash()
    assert bench.driver.epoch == 42  # the kernel goes on filling the ring while nobody reads
    bench.engine.poll()
    until(lambda: bench.table.state().starts == 2, "the restart")
    until(lambda: bench.driver.epoch == 43, "the next epoch")


def test_an_epoch_never_comes_back(bench: Bench) -> None:
    seen = [0]
    for _ in range(3):
        bench.start()
        assert bench.driver.epoch not in seen
        seen.append(bench.driver.epoch)
        bench.engine.stop()
        assert bench.driver.epoch == 0


def test_stops_after_what_is_in_the_ring(bench: Bench) -> None:
    bench.start()
    bench.feed(1000)
    bench.engine.stop()
    assert bench.counted() == 1000
    assert bench.table.state().state == "finished"
    assert bench.driver.epoch == 0
    status = bench.engine.poll()
    assert (status.running, status.crashes) == (False, 0)


def test_can_be_started_again_after_a_stop(bench: Bench) -> None:
    bench.start()
    bench.feed(10)
    bench.engine.stop()
    bench.feed(10)
    bench.start()
    bench.until_counted(20)


def test_a_crash_loses_no_count_and_doubles_none(bench: Bench) -> None:
    bench.start()
    for turn in range(1, 4):
        bench.feed(3000)
        bench.until_counted(3500 * turn - 500)
        bench.crash()
        bench.feed(500)  # while it is dead
        status = bench.engine.poll()
        assert (status.running, status.starts, status.crashes) == (True, turn + 1, turn)
        assert "SIGSEGV" in status.last_crash or "status" in status.last_crash  # ASan ends in its own way
        bench.until_counted(3500 * turn)


def test_goes_on_after_the_event_it_died_on(bench: Bench) -> None:
    """The position of the batch is published late: a crash inside it must not count its beginning again."""
    bench.start()
    bench.feed(100)
    bench.until_counted(100)
    bench.crash(signal.SIGKILL)
    # As if it had died on event 60 of a batch of 100 that began where the published position stands.
    bench.feed(100)
    bench.table.pointer.ring_position = bench.driver.ring.consumed + 60 * 80
    bench.engine.poll()
    bench.until_counted(140)
    assert bench.table.state().stats["ring_contradictions"] == 0


def test_a_position_of_another_ring_is_ignored(bench: Bench) -> None:
    bench.table.pointer.ring_position = 1 << 40
    bench.feed(7)
    bench.start()
    bench.until_counted(7)


def test_death_is_answered_at_once_when_the_loop_is_watched(bench: Bench) -> None:
    async def crash_and_wait() -> float:
        bench.engine.watch(asyncio.get_running_loop())
        bench.start()
        begin = time.monotonic()
        os.kill(bench.pid(), signal.SIGKILL)
        while bench.table.state().starts < 2 or not bench.running():  # noqa: ASYNC110, another process does it
            await asyncio.sleep(0.002)
        took = time.monotonic() - begin
        bench.engine.stop()
        return took

    assert asyncio.run(crash_and_wait()) < 1.0


def test_three_crashes_switch_the_parser_off(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.start()
    for crash in range(1, CRASHES_PER_PROTOCOL + 1):
        assert bench.config.settings.protocols_enabled >= {"http", "dns"}
        assert bench.engine.status().switched_off == ()
        bench.table.pointer.parsing = 2
        bench.crash(signal.SIGKILL)
        status = bench.engine.poll()
        assert status.last_crash == "SIGKILL while parsing dns"
        assert status.crashes == crash
        bench.until_started(crash + 1)
        assert bench.table.pointer.parsing == 0
    assert bench.engine.status().switched_off == ("dns",)
    enabled = bench.config._config.protocols_enabled
    assert enabled & 1 << 1
    assert not enabled & 1 << 2
    assert "parser dns crashed the engine 3 times and is switched off" in caplog.text
    bench.config.apply(EngineSettings())  # a live reload does not bring it back
    assert not bench.config._config.protocols_enabled & 1 << 2


def test_crashes_outside_of_parsers_switch_nothing_off(bench: Bench) -> None:
    bench.start()
    for crash in range(1, 5):
        bench.crash(signal.SIGKILL)
        bench.engine.poll()
        bench.until_started(crash + 1)
    assert bench.engine.status().switched_off == ()
    assert bench.engine.status().crashes == 4
    bench.crash(signal.SIGKILL)  # the fifth in a row: from here on it pauses
    assert not bench.engine.poll().running
    until(lambda: bench.engine.poll().running, "the restart after a pause", 5)


def test_an_engine_that_hangs_is_replaced(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.start()
    os.kill(bench.pid(), signal.SIGSTOP)
    bench.engine.poll()
    time.sleep(0.6)
    bench.engine.poll()
    bench.engine.poll()
    until(lambda: bench.engine.poll().starts == 2, "the replacement")
    assert "has been silent" in caplog.text
    bench.feed(5)
    bench.until_counted(5)


def position_off_the_grid(ring: FakeRing) -> None:
    ring.publish(ring.produced + 12)


def producer_far_ahead(ring: FakeRing) -> None:
    ring.publish(ring.produced + 4 * ring.size)


def producer_behind(ring: FakeRing) -> None:
    ring.publish(ring.produced - 80)


def record_longer_than_the_ring(ring: FakeRing) -> None:
    ring.put(ring.produced, struct.pack("=II", 0x3FFFFFFF, 0))
    ring.publish(ring.produced + 80)


def record_beyond_the_producer(ring: FakeRing) -> None:
    ring.put(ring.produced, struct.pack("=II", 100, 0))
    ring.publish(ring.produced + 80)


@pytest.mark.parametrize(
    ("lie", "handed_on"),
    [
        # The zeros there, then those half a record further on, are records of no bytes: refused as any other.
        (position_off_the_grid, 2),
        (producer_far_ahead, 0),
        (producer_behind, 0),
        (record_longer_than_the_ring, 0),
        (record_beyond_the_producer, 0),
    ],
)
def test_a_lying_ring_is_skipped_and_counted(bench: Bench, lie: Callable[[FakeRing], None], handed_on: int) -> None:
    ring = bench.driver.ring
    bench.start()
    bench.feed(10)
    bench.until_counted(10)
    until(lambda: ring.consumed == ring.produced, "the end of the batch")
    before = ring.consumed
    lie(ring)
    until(lambda: bench.table.state().stats["ring_contradictions"] > 0, "the contradiction")
    time.sleep(0.05)
    assert ring.consumed >= before  # what was read once is not read again
    # The producer comes to its senses.
    ring.publish(max(ring.consumed, (ring.produced + 7) & ~7))
    until(lambda: ring.consumed == ring.produced, "the skip")
    bench.feed(10)
    bench.until_counted(20)
    assert bench.table.state().stats["events_invalid"] == handed_on
    assert bench.engine.poll().crashes == 0


def test_garbage_records_do_no_harm(bench: Bench) -> None:
    noise = os.urandom(1 << 16)
    bench.start()
    for length in (0, 1, 7, 8, 47, 48, 49, 72, 104, 4096, 60_000):
        for seed in range(20):
            bench.write(noise[seed : seed + length])
    # Right type and size, everything else noise.
    for kind, name in ((1, "open"), (2, "data"), (3, "exchange"), (4, "datagram"), (5, "connect"), (6, "close")):
        size = {"open": 144, "data": 72, "exchange": 104, "datagram": 96, "connect": 120, "close": 80}[name]
        for seed in range(200):
            body = bytearray(noise[seed * 7 : seed * 7 + size + seed])
            struct.pack_into("=H", body, 36, kind)
            struct.pack_into("=I", body, 40, len(body))
            bench.write(bytes(body))
    bench.feed(10)
    bench.until_counted(10)
    assert bench.table.state().stats["events_invalid"] >= 220
    assert bench.engine.poll().crashes == 0


def test_waits_for_a_busy_record_and_skips_a_discarded_one(bench: Bench) -> None:
    bench.start()
    bench.driver.ring.write(process_event(), DISCARD)
    place = bench.driver.ring.produced
    bench.driver.ring.write(process_event(), BUSY)
    bench.feed(3)
    time.sleep(0.1)
    assert bench.counted() == 0
    bench.driver.ring.put(place, struct.pack("=I", 72))
    bench.until_counted(4)


def test_records_what_it_counts(program: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.fsrec"
    fd = create(path, "core")
    bench = Bench(program, record=fd)
    try:
        bench.start()
        bench.feed(2000)
        bench.engine.stop()
        stats = bench.table.state().stats
        assert (stats["recording_written"], stats["recording_failed"]) == (2000, 0)
    finally:
        os.close(fd)
        bench.close()
    assert path.stat().st_size == 104 + 2000 * 72
    table = replay(path, EngineSettings(), program=program)
    assert table.state().events["process"] == 2000
    assert table.state().state == "finished"
    table.close()


def test_a_recording_that_cannot_be_written_is_counted(program: Path) -> None:
    with Path("/dev/full").open("r+b", buffering=0) as full:
        bench = Bench(program, record=full.fileno())
        try:
            bench.start()
            bench.feed(10_000)  # 256 KiB of buffer hold 3640 of them
            bench.until_counted(10_000)
            stats = bench.table.state().stats
            assert stats["recording_written"] == 262144 // 72
            assert stats["recording_failed"] == 10_000 - 262144 // 72
        finally:
            bench.close()


def test_a_recording_ends_with_its_engine(program: Path, tmp_path: Path) -> None:
    """Half an event may be at its end: what another engine wrote behind it could not be read."""
    fd = create(tmp_path / "run.fsrec", "core")
    bench = Bench(program, record=fd)
    try:
        bench.start()
        bench.crash(signal.SIGKILL)
        assert bench.engine.poll().finished
        status = bench.engine.poll()
        assert (status.starts, status.running) == (1, False)
        assert status.last_crash == "SIGKILL outside of the parsers"
    finally:
        bench.close()
        os.close(fd)


@pytest.mark.parametrize(
    ("number", "told"),
    [(signal.SIGSTOP, "it did not stop within 0.2 s"), (signal.SIGKILL, "SIGKILL outside of the parsers")],
)
def test_an_engine_that_fails_while_it_stops_is_told(bench: Bench, number: int, told: str) -> None:
    bench.start()
    os.kill(bench.pid(), number)
    bench.engine.stop(0.2)
    assert bench.engine.status().last_crash == told


def test_what_a_slow_recording_did_not_take_follows_later(program: Path) -> None:
    """A pipe takes a part of a write, then nothing until it is read: the stream of events must have no seam."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    bench = Bench(program, record=writer)
    taken = b""
    try:
        bench.start()
        bench.feed(2000)  # more than the pipe holds, less than pipe and buffer
        bench.until_counted(2000)
        assert bench.table.state().stats["recording_failed"] == 0
        deadline = time.monotonic() + 10
        while len(taken) < 2000 * 72 and time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                taken += os.read(reader, 5000)
    finally:
        bench.close()
        os.close(reader)
        os.close(writer)
    assert len(taken) == 2000 * 72
    pids = [struct.unpack_from("=I", taken, 72 * n + 24)[0] for n in range(2000)]
    assert pids == list(range(1000, 3000))


def test_dies_with_the_agent(program: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from tests.unit.test_engine_process import Bench
bench = Bench(Path(sys.argv[1]))
bench.start()
print(bench.pid(), flush=True)
time.sleep(60)
"""
    root = Path(__file__).parents[2]
    agent = subprocess.Popen([sys.executable, "-c", script, str(program)], cwd=root, stdout=subprocess.PIPE)
    assert agent.stdout is not None
    pid = int(agent.stdout.readline())
    agent.kill()
    agent.wait()
    agent.stdout.close()
    until(lambda: not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text(), "its death", 2)


def test_another_build_is_refused_with_a_sentence(program: Path) -> None:
    bench = Bench(program)
    try:
        bench.driver.control.pointer.contract = 9
        bench.engine.start()
        bench.engine.wait(10)
        status = bench.engine.status()
        assert "the driver speaks another version of the contract" in status.last_crash
        assert status.crashes == 1
    finally:
        bench.close()


def test_a_missing_program_names_the_remedy(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="make build"):
        bench.engine.start()
    bench.close()


def test_called_by_hand_it_explains_itself(program: Path) -> None:
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage: firesteel-engine" in done.stderr
