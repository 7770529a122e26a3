# SPDX-License-Identifier: Apache-2.0
"""Real clients, each run once: what they themselves say that they did, as numbers to compare ours with."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.servers import Server, program


@dataclass(frozen=True, slots=True)
class HttpLoad:
    """What wrk reports of one run."""

    requests: int
    seconds: float
    not_2xx_or_3xx: int
    socket_errors: int

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True)
class DnsLoad:
    """What dnsperf reports of one run: queries sent, answered and lost, and answers by rcode name."""

    sent: int
    completed: int
    lost: int
    rcodes: dict[str, int]


def _output(command: Sequence[str], seconds: float) -> str:
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-800:]}{done.stderr[-800:]}"
        )
    return done.stdout


# wrk's own text rounds large figures; its script interface has them exactly.
_WRK_SUMMARY = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("EXACT %d %d %d %d\\n", summary.requests, summary.duration, e.status,
                         e.connect + e.read + e.write + e.timeout))
end
"""


def wrk(
    server: Server,
    path: str = "/",
    *,
    seconds: int = 5,
    connections: int = 32,
    threads: int = 1,
    script: str = "",
    prefix: Sequence[str] = (),
) -> HttpLoad:
    """Runs wrk with keep-alive; `script` is Lua in front of ours. `requests` counts completed responses."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as lua:
        lua.write(script + _WRK_SUMMARY)
        lua.flush()
        command = [*prefix, program("wrk"), "-t", str(threads), "-c", str(connections), "-d", f"{seconds}s"]
        output = _output([*command, "-s", lua.name, server.url(path)], seconds + 30)
    exact = re.search(r"^EXACT (\d+) (\d+) (\d+) (\d+)$", output, re.MULTILINE)
    if exact is None:
        raise RuntimeError(f"wrk printed no summary: {output[-800:]}")
    requests, microseconds, status, errors = map(int, exact.groups())
    return HttpLoad(requests, microseconds / 1e6, status, errors)


def redis_benchmark(
    server: Server, *, requests: int = 100_000, clients: int = 32, pipeline: int = 1, test: str = "get"
) -> float:
    """Runs redis-benchmark for exactly `requests` commands of one kind; returns commands per second."""
    command = [program("redis-benchmark"), "-h", server.address, "-p", str(server.port), "-n", str(requests)]
    command += ["-c", str(clients), "-P", str(pipeline), "-t", test, "--csv"]
    for line in _output(command, 120).splitlines():
        cells = [cell.strip('"') for cell in line.split(",")]
        if cells[0].lower().startswith(test.lower()):
            return float(cells[1])
    raise RuntimeError("redis-benchmark printed no result")


def iperf3(server: Server, *, seconds: int = 5, streams: int = 1) -> float:
    """Runs an iperf3 client against `server`; returns what was received, in bits per second."""
    command = [program("iperf3"), "--client", server.address, "--port", str(server.port), "--json"]
    report = json.loads(_output([*command, "--time", str(seconds), "--parallel", str(streams)], seconds + 30))
    return float(report["end"]["sum_received"]["bits_per_second"])


def dnsperf(server: Server, queries: Sequence[tuple[str, str]], *, rounds: int = 1, tcp: bool = False) -> DnsLoad:
    """Sends every (name, type) of `queries` `rounds` times, in order, and counts the answers."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as names:
        names.writelines(f"{name} {kind}\n" for name, kind in queries)
        names.flush()
        command = [program("dnsperf"), "-s", server.address, "-p", str(server.port), "-d", names.name]
        command += ["-n", str(rounds), "-c", "4", "-Q", "20000", "-t", "5"]
        output = _output(command + (["-m", "tcp"] if tcp else []), 120)
    return parse_dnsperf(output)


def parse_dnsperf(output: str) -> DnsLoad:
    """Reads dnsperf's closing statistics."""

    def figure(name: str) -> int:
        found = re.search(rf"{name}:\s+(\d+)", output)
        if found is None:
            raise RuntimeError(f"dnsperf printed no '{name}': {output[-800:]}")
        return int(found.group(1))

    line = re.search(r"Response codes:\s+(.*)", output)
    rcodes = re.findall(r"([A-Z]+) (\d+) \(", line.group(1)) if line else []
    return DnsLoad(
        figure("Queries sent"), figure("Queries completed"), figure("Queries lost"), {k: int(v) for k, v in rcodes}
    )


def curl(server: Server, path: str = "/", *options: str) -> tuple[int, int]:
    """Fetches one URL; returns (status code, body bytes received)."""
    command = [
        "curl",
        "--silent",
        "--show-error",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code} %{size_download}",
    ]
    ca = Path(server.folder) / "cert.pem"
    command += ["--cacert", str(ca)] if ca.exists() else []
    url = server.url(path, "https" if ca.exists() else "http")
    status, size = _output([*command, *options, url], 60).split()
    return int(status), int(size)
