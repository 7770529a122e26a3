# SPDX-License-Identifier: Apache-2.0
"""Network namespaces of a test's own, where packets may be dropped and kernel settings turned without anybody else
noticing. They need root, and are gone with the block."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.servers import program

_NUMBERS = itertools.count()


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace with loopback up. The addresses are of its end of the pair, empty without one."""

    name: str
    ipv4: str = ""
    ipv6: str = ""

    @property
    def prefix(self) -> tuple[str, ...]:
        """In front of a command, it has that run inside."""
        return (program("ip"), "netns", "exec", self.name)

    def run(self, *command: str, seconds: float = 60.0) -> str:
        """Runs a command inside and returns what it printed; RuntimeError with all of it if it failed."""
        done = subprocess.run(
            [*self.prefix, *command], check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=seconds,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def python(self, script: str, *arguments: object, seconds: float = 60.0) -> Any:
        """Runs Python inside; returns what it printed, read as JSON (None if nothing)."""
        printed = self.run(sys.executable, "-c", script, *map(str, arguments), seconds=seconds)
        return json.loads(printed) if printed.strip() else None

    def set(self, setting: str, value: object) -> None:
        """Sets a kernel setting below net/, such as ipv4/tcp_syn_retries."""
        self.run("sh", "-c", f"echo {value} > /proc/sys/net/{setting}")

    def tcp(self) -> dict[str, int]:
        """The kernel's own TCP counters here (/proc/net/snmp)."""
        lines = self.run("cat", "/proc/net/snmp").splitlines()
        names, values = (line.split()[1:] for line in lines if line.startswith("Tcp:"))
        return dict(zip(names, map(int, values), strict=True))

    def drop(self, *match: str) -> None:
        """Drops packets that come in and fit; `dropped` counts them."""
        self.run(program("iptables"), "-A", "INPUT", *match, "-j", "DROP")

    def dropped(self) -> int:
        rules = self.run(program("iptables"), "-nvxL", "INPUT").splitlines()[2:]
        return sum(int(rule.split()[0]) for rule in rules if "DROP" in rule)

    def drop_nothing(self) -> None:
        self.run(program("iptables"), "-F", "INPUT")


@contextmanager
def namespace(ipv4: str = "", ipv6: str = "") -> Iterator[Namespace]:
    """One with nothing but loopback."""
    made = Namespace(f"firesteel-{os.getpid()}-{next(_NUMBERS)}", ipv4, ipv6)
    _ip("netns", "add", made.name)
    try:
        _ip("-n", made.name, "link", "set", "lo", "up")
        yield made
    finally:
        _ip("netns", "del", made.name)


@contextmanager
def pair() -> Iterator[tuple[Namespace, Namespace]]:
    """Two that reach each other through a cable of their own, over IPv4 and IPv6. No two pairs have an address in
    common, so that each has series of its own."""
    net, number = 64 + os.getpid() % 128, next(_NUMBERS) % 256
    ipv4, ipv6 = f"10.{net}.{number}.", f"fd{net:02x}:{number:x}::"
    with namespace(f"{ipv4}1", f"{ipv6}1") as one, namespace(f"{ipv4}2", f"{ipv6}2") as two:
        _ip("link", "add", "cable", "netns", one.name, "type", "veth", "peer", "name", "cable", "netns", two.name)
        for end in (one, two):
            _ip("-n", end.name, "addr", "add", f"{end.ipv4}/24", "dev", "cable")
            # Without duplicate address detection the address serves at once.
            _ip("-n", end.name, "addr", "add", f"{end.ipv6}/64", "dev", "cable", "nodad")
            _ip("-n", end.name, "link", "set", "cable", "up")
        yield one, two


def _ip(*arguments: str) -> None:
    done = subprocess.run([program("ip"), *arguments], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
