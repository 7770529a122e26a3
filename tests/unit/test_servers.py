# SPDX-License-Identifier: Apache-2.0
"""The starters of real servers: what they say about readiness and missing programs, and that they leave nothing."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from tests import clients, servers

ROOT = Path(__file__).resolve().parents[2]


def test_every_program_of_the_tests_is_installed_by_setup() -> None:
    script = (ROOT / "scripts/setup.sh").read_text()
    rows = dict(re.findall(r"^([a-z0-9-]+):([a-z0-9-]+)$", script, re.MULTILINE))
    assert {name: rows.get(name) for name in servers.PACKAGES} == dict(servers.PACKAGES)


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(servers, "_SYSTEM_FOLDERS", ())
    with pytest.raises(servers.MissingProgram, match=r"^no redis-benchmark: apt-get install redis-tools$"):
        servers.program("redis-benchmark")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_listening_is_read_from_the_kernel_and_makes_no_connection(address: str) -> None:
    port = servers.free_port(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as waiting:
        waiting.bind((address, port))
        assert not servers.listens(0, address, port)
        pid = int(Path("/proc/self").readlink().name)
        assert not servers.listens(pid, address, port)
        waiting.listen()
        assert servers.listens(pid, address, port)
        waiting.setblocking(False)
        with pytest.raises(BlockingIOError):
            waiting.accept()


def test_a_server_that_ends_at_once_is_told_with_its_own_words(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo no such luck; exit 3"]
    with (
        pytest.raises(RuntimeError, match=r"thing ended with 3: no such luck"),
        servers.running("thing", command, "127.0.0.1", servers.free_port(), tmp_path),
    ):
        pytest.fail("must not come up")


def test_a_server_is_gone_after_its_block() -> None:
    with servers.redis() as server:
        assert Path(f"/proc/{server.pid}").exists()
    assert not Path(f"/proc/{server.pid}").exists()
    assert not server.folder.exists()


def test_dnsperf_statistics_are_read() -> None:
    output = "  Queries sent: 30\n  Queries completed: 29 (96.67%)\n  Queries lost: 1 (3.33%)\n\n"
    output += "  Response codes: NOERROR 20 (68.97%), NXDOMAIN 9 (31.03%)\n"
    assert clients.parse_dnsperf(output) == clients.DnsLoad(30, 29, 1, {"NOERROR": 20, "NXDOMAIN": 9})
