# SPDX-License-Identifier: Apache-2.0
"""The same traffic seen by our kernel programs and by tcpdump: what was asked and answered must come out the same."""

import json
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.agents import FIRESTEEL
from tests.tcpdump import NAMES, PATHS, talk, tcpdump

Requests = dict[tuple[str, str, str, int, bool], tuple[int, int, int]]


@pytest.mark.parametrize(
    ("interface", "options", "link"),
    [
        ("lo", (), "Ethernet"),
        ("lo", ("--nano",), "Ethernet, nanoseconds"),
        ("any", ("-y", "LINUX_SLL"), "cooked v1"),
        ("any", ("-y", "LINUX_SLL2"), "cooked v2"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_a_capture_gives_what_a_recording_gives(
    tmp_path: Path, interface: str, options: Sequence[str], link: str
) -> None:
    options = tuple("--time-stamp-precision=nano" if option == "--nano" else option for option in options)
    recording, capture = tmp_path / "a.fsrec", tmp_path / "a.pcap"
    closed = servers.free_port()
    with servers.nginx(bodies=[100000]) as web, servers.dnsmasq(NAMES, domain="shop.test") as names:
        ports = [web.port, names.port, closed]
        with tcpdump(capture, ports, interface=interface, options=options), recorded(recording):
            did = talk(web, names, closed)
    told, again = account(recording), account(capture)
    expected, seen = requests(told, ports), requests(again, ports)
    assert seen == expected
    assert sum(count for count, _, _ in seen.values()) == did.requests + did.questions
    assert sum(count for key, (count, _, _) in seen.items() if key[1] == "http" and key[4]) == did.failed
    assert sum(count for key, (count, _, _) in seen.items() if key[1] == "dns" and key[4]) == did.unknown
    assert (
        attempts(again, ports) == attempts(told, ports) == {"": did.requests // len(PATHS), "ECONNREFUSED": did.refused}
    )
    assert again["recording"]["complete"] is True
    assert again["capture"]["skipped"] == {}
    assert "stream_gaps" not in {name for name, count in again["engine"]["stats"].items() if count}


class recorded:  # noqa: N801 - used like a function
    """`firesteel record` while the block runs."""

    def __init__(self, path: Path) -> None:
        self._command = [*FIRESTEEL, "record", str(path)]
        self._path = path

    def __enter__(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        end = time.monotonic() + 30
        while not self._path.exists() or self._path.stat().st_size <= 104:
            assert self._process.poll() is None, self._process.communicate()[0]
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(0.5)

    def __exit__(self, *_: object) -> None:
        time.sleep(0.5)
        self._process.send_signal(signal.SIGTERM)
        told = self._process.communicate(timeout=20)[0]
        assert self._process.returncode == 0, told


def account(path: Path) -> Any:
    done = subprocess.run([*FIRESTEEL, "replay", str(path), "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def requests(account: Any, ports: Sequence[int]) -> Requests:
    """Count and bytes by where, what and how it ended."""
    found: Requests = {}
    for row in account["requests"]:
        if int(row["destination"].rsplit(":", 1)[1]) in ports:
            key = (row["destination"], row["protocol"], row["request_content"], row["status"], row["error"])
            count, asked, answered = found.get(key, (0, 0, 0))
            found[key] = (count + row["count"], asked + row["request_bytes"], answered + row["response_bytes"])
    return found


def attempts(account: Any, ports: Sequence[int]) -> dict[str, int]:
    """Connects by the name of their error."""
    found = {"": 0}
    for edge in account["topology"]["edges"]:
        if set(edge["ports"]) & set(ports):
            tcp = edge["tcp"] or {"connects": 0, "connect_failures": {}}
            found[""] += tcp["connects"]
            for error, count in tcp["connect_failures"].items():
                found[error] = found.get(error, 0) + count
    return found
