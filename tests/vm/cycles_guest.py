# SPDX-License-Identifier: Apache-2.0
"""Runs inside of a virtual machine, as root: the module loaded, its reader killed, unloaded, under traffic and without memory.

`python -m tests.vm.cycles_guest RESULT CYCLES` writes one JSON object. What the kernel says meanwhile is for the test outside.
"""

import json
import mmap
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from probes import facts, kmod
from probes.control import ControlPage
from probes.driver import Rejection
from tests.vm.machine import patient

_SEED = 3
_RING = 1 << 20
_READS = b"r"
_UNLOAD_SECONDS = 60.0
_MOST_LINGERING = 0.05
_TALK = """
import os, socket
os.nice(10)
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
peer = server.accept()[0]
here, there = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
there.bind(("127.0.0.1", 0))
print("talks", flush=True)
while True:
    client.sendall(b"ask"); peer.recv(99); peer.sendall(b"answer"); client.recv(99)
    here.sendto(b"ask", there.getsockname()); there.recv(99)
    socket.create_connection(server.getsockname()).close(); server.accept()[0].close()
"""
_PRESS = """
import mmap, os, random, time
os.nice(10)
random.seed(5)
print("talks", flush=True)
while True:
    free = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemAvailable"))
    size = max(0, free - random.choice((16, 48, 128)) * 1024) * 1024 // 4096 * 4096
    if size:
        memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
        time.sleep(4 * random.random())
        memory.close()
    time.sleep(4 * random.random())
"""
"""Takes nearly all that is free, holds it for a moment, gives it back; the kernel may end it instead, then another does."""


@contextmanager
def _running(*programs: str) -> Iterator[list["subprocess.Popen[bytes]"]]:
    started = []
    for text in programs:
        process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert process.stdout is not None
        assert process.stdout.readline() == b"talks\n"
        started.append(process)
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def _read_until_killed(here: facts.Facts, told: int) -> None:
    """In the child: as an agent does it."""
    try:
        loaded = kmod.load(here, _RING)
    except Rejection as rejection:
        os.write(told, rejection.reason.encode())
        os._exit(1)
    page = ControlPage(loaded.one()["control"])
    page.prepare()
    ring = mmap.mmap(loaded.one()["ring"], 4096)
    page.set_epoch(7)
    os.write(told, _READS)
    while True:
        # Reads nothing but says that it has: the ring never stays full.
        produced = mmap.mmap(loaded.one()["ring"], 4096, prot=mmap.PROT_READ, offset=4096)
        ring[:8] = produced[:8]
        produced.close()
        time.sleep(0.001)


def _cycle(here: facts.Facts, chance: random.Random) -> str:
    """What the reader had come to when it was killed: `loading`, `reading`, or why it was refused."""
    hears, tells = os.pipe()
    reader = os.fork()
    if reader == 0:
        os.close(hears)
        try:
            _read_until_killed(here, tells)
        finally:
            os._exit(2)
    os.close(tells)
    said = b""
    if chance.random() < 0.25:
        time.sleep(chance.random() * 0.2)  # anywhere on its way in
    else:
        said = os.read(hears, 999)
        time.sleep(chance.random() * _MOST_LINGERING)
    os.kill(reader, signal.SIGKILL)
    os.waitpid(reader, 0)
    said = said or os.read(hears, 999)
    os.close(hears)
    if said in {_READS, b""}:
        return "reading" if said else "loading"
    return said.decode()


def _unload() -> str:
    """Empty once it is gone: what a killed reader had mapped is freed a little later."""
    end = time.monotonic() + patient(_UNLOAD_SECONDS)
    while stays := kmod.unload():
        if time.monotonic() > end:
            return stays
        time.sleep(0.005)
    return ""


def cycles(count: int) -> dict[str, object]:
    """What became of so many readers, and why the module stayed if it did."""
    chance, here, ends = random.Random(_SEED), facts.gather(), Counter[str]()
    began = time.monotonic()
    stays, done, pressed = "", 0, 0
    # The kernel takes whoever takes the most memory, when there is none: never the reader, whose end would be no chance.
    Path("/proc/self/oom_score_adj").write_text("-1000")
    with _running(_TALK, _TALK):
        while done < count and not stays:
            with _running(_PRESS) as (presser,):
                Path(f"/proc/{presser.pid}/oom_score_adj").write_text("1000")
                pressed += 1
                while done < count and not stays and presser.poll() is None:
                    ends[_cycle(here, chance)] += 1
                    stays, done = _unload(), done + 1
                    if done % 50 == 0:
                        print(f"{done} cycles, {time.monotonic() - began:.0f} s, {dict(ends)}", flush=True)
    return {
        "cycles": done,
        "stays": stays,
        "still_there": kmod.PROC.exists(),
        "ends": dict(ends),
        "pressed": pressed,
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> None:
    Path(sys.argv[1]).write_text(json.dumps(cycles(int(sys.argv[2]))))


if __name__ == "__main__":
    main()
