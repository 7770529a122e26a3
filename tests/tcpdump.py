# SPDX-License-Identifier: Apache-2.0
"""Real packets: tcpdump around some traffic, and traffic whose numbers are known."""

import contextlib
import http.client
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.message
import dns.query

from tests.servers import Server, program

NAMES = {"cart.shop.test": "192.0.2.7", "db.shop.test": "192.0.2.8"}
PATHS = ("/", "/status/404/x", "/", "/status/503/y", "/body/100000")
"""Of tests.servers.nginx(bodies=[100000])."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What `talk` did."""

    requests: int
    failed: int
    questions: int
    unknown: int
    refused: int


@contextlib.contextmanager
def tcpdump(path: Path, ports: Sequence[int], *, interface: str = "lo", options: Sequence[str] = ()) -> Iterator[None]:
    """Captures everything from and to `ports`; the file is whole afterwards, and nothing was dropped."""
    wanted = " or ".join(f"port {port}" for port in ports)
    command = [program("tcpdump"), "-i", interface, "-Z", "root", "-n", "-U", "-B", "65536"]
    process = subprocess.Popen([*command, *options, "-w", str(path), wanted], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told = ""
    try:
        while "listening on" not in told:
            line = process.stderr.readline()
            assert line, told
            told += line
        yield
        _quiet(path)
    finally:
        process.terminate()
        told += process.stderr.read()
        process.stderr.close()
        process.wait(10)
    assert re.search(r"^0 packets dropped by kernel", told, re.MULTILINE), told


def _quiet(path: Path) -> None:
    """Until nothing was written for longer than the kernel keeps packets back (a second)."""
    size, since = -1, time.monotonic()
    while time.monotonic() - since < 1.5:
        if path.stat().st_size != size:
            size, since = path.stat().st_size, time.monotonic()
        time.sleep(0.05)


def talk(web: Server, names: Server, closed: int, *, rounds: int = 20, paths: Sequence[str] = PATHS) -> Traffic:
    """Each round: a connection with every path, a name that exists, one that does not, and an attempt that is refused."""
    failed = 0
    for _ in range(rounds):
        connection = http.client.HTTPConnection(web.address, web.port)
        for path in paths:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            failed += answer.status >= 400
        connection.close()
        for name in ("cart.shop.test", "nobody.shop.test"):
            dns.query.udp(dns.message.make_query(name, "A"), names.address, port=names.port, timeout=10)
        with socket.socket() as trial:
            assert trial.connect_ex((web.address, closed)) != 0
    return Traffic(rounds * len(paths), failed, 2 * rounds, rounds, rounds)
