# SPDX-License-Identifier: Apache-2.0
"""What it costs the engine to read the translations that conntrack tells, at 10 000 new connections a second.

The engine is the shipped program, its events are none, the translations are the kernel's: datagrams from a namespace through
kube-proxy's rule, each a connection of its own. Processor time is the engine's own clock, so the figure holds on a busy machine, too.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from analyzers.engine import Engine
from analyzers.settings import ConfigBlock, EngineSettings
from analyzers.table import SharedTable
from collector.metadata import conntrack
from tests.fake_ring import FakeDriver
from tests.nodes import Node, node

RATE = 10_000
BUDGET = 0.05
"""Of a core at that rate."""
_VIP = "10.96.7.8"
_FIRST_PORT, _PORTS = 1024, 60_000
_IDLE_SECONDS = 1.0
_WAIT_SECONDS = 20.0
_LIMIT = Path("/proc/sys/net/netfilter/nf_conntrack_max")
_SPARE = 1_000
"""Connections that something else makes in the same namespace meanwhile."""


@dataclass(frozen=True, slots=True)
class ConntrackCost:
    """`made` connections in `seconds`; `found` translations, `lost` times conntrack told more than was read."""

    made: int
    seconds: float
    found: int
    lost: int
    cpu_seconds: float

    @property
    def consistent(self) -> bool:
        """What was not found was told as lost, and nothing was found that was not made."""
        return self.found == self.made or (self.found < self.made and self.lost > 0)

    @property
    def complete(self) -> bool:
        return (self.found, self.lost) == (self.made, 0)

    @property
    def microseconds(self) -> float:
        """Of processor time for a connection."""
        return self.cpu_seconds / self.made * 1e6

    @property
    def at_rate(self) -> float:
        """Share of a core at RATE."""
        return self.microseconds * RATE / 1e6


def no_room(seconds: float, rate: int = RATE) -> str:
    """Why conntrack has no place for so many connections in a new namespace, or ''. Each stays for 30 s; beyond the limit, sends are refused."""
    try:
        limit = int(_LIMIT.read_text())
    except FileNotFoundError:
        return ""  # conntrack comes with the first rule, and its limit with the machine's memory
    needed = int(seconds * rate) + _SPARE
    return f"{needed} connections are beyond {_LIMIT}, which is {limit}" if needed > limit else ""


def connections(seconds: float, rate: int = RATE) -> tuple[int, float]:
    """From this thread's network namespace, each to another port of the Service; answers how many, and how long it took."""
    made, began, sockets = 0, time.monotonic(), []
    try:
        while (elapsed := time.monotonic() - began) < seconds:
            while made < min(elapsed, seconds) * rate:
                if made % _PORTS == 0:
                    sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                sockets[-1].sendto(b"", (_VIP, _FIRST_PORT + made % _PORTS))
                made += 1
            time.sleep(0.002)
        return made, time.monotonic() - began
    finally:
        for opened in sockets:
            opened.close()


def translate(made: Node) -> None:
    """The rule. The port stays, or connections of one socket could not be told apart behind it; nobody is there to answer."""
    ports = f"{_FIRST_PORT}:{_FIRST_PORT + _PORTS - 1}"
    rule = ("-d", f"{_VIP}/32", "-p", "udp", "--dport", ports)
    made.space.run("iptables", "-t", "nat", "-A", "OUTPUT", *rule, "-j", "DNAT", "--to-destination", made.ipv4)
    made.space.run("iptables", "-A", "INPUT", "-d", f"{made.ipv4}/32", "-p", "udp", "--dport", ports, "-j", "DROP")


def cost(seconds: float) -> ConntrackCost:
    """As root. RuntimeError where translations cannot be read."""
    driver, table = FakeDriver(), SharedTable.create()
    with node() as made, made.entered():
        translate(made)
        listening = conntrack.listen()
        if listening.fd is None:
            raise RuntimeError(f"{listening.reason}: {listening.remedy}")
        source = replace(driver.source(), conntrack=listening.fd)
        engine = Engine(source, table, ConfigBlock(EngineSettings()))
        engine.start()
        try:
            _until(lambda: table.state().state == "running")
            before = table.state()
            time.sleep(_IDLE_SECONDS)
            idle = table.state()
            count, took = connections(seconds)
            _until(lambda: table.state().stats["nat_learned"] - idle.stats["nat_learned"] >= count)
            time.sleep(0.1)
            last, ended = table.state(), took + 0.1
        finally:
            engine.stop()
            listening.close()
            table.close()
            driver.close()
    resting = (idle.cpu_ns - before.cpu_ns) / _IDLE_SECONDS * ended
    return ConntrackCost(
        count, took, last.stats["nat_learned"] - idle.stats["nat_learned"], last.stats["nat_lost"],
        max(0.0, last.cpu_ns - idle.cpu_ns - resting) / 1e9,
    )  # fmt: skip


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _WAIT_SECONDS
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)


def lines() -> list[str]:
    """Of docs/scale.md."""
    if os.geteuid():
        return ["Not measured: it takes root."]
    lengths = [seconds for seconds in (10.0, 5.0, 5.0) if not no_room(seconds)]
    if not lengths:
        return [f"Not measured: {no_room(5.0)}."]
    one = min((cost(seconds) for seconds in lengths), key=lambda each: each.microseconds)
    return [
        f"{one.made / one.seconds:.0f} new connections/s through kube-proxy's rule for {one.seconds:.0f} s: {one.found} translations of",
        f"{one.made} were found, {one.lost} times something was lost. The engine took {one.microseconds:.1f} us of processor time for each,",
        f"which is {one.at_rate:.1%} of a core at {RATE} a second (budget: {BUDGET:.0%}).",
    ]


if __name__ == "__main__":
    print("\n".join(lines()))
