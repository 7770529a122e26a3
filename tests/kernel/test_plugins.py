# SPDX-License-Identifier: Apache-2.0
"""A protocol in Python under a running agent: sampled exchanges are told by it, counts are not, and none can end the agent."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.agents import Agent
from tests.installed_plugins import install
from tests.requests_seen import watching
from tests.servers import free_port

EXCHANGES = 40


def tea_machine(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection, connection.makefile("rwb") as stream:
        for line in stream:
            stream.write(b"202 brewing\n" if b"pot" in line else b"418 I am a kettle\n")
            stream.flush()


def drink_tea() -> int:
    """One connection, EXCHANGES requests, half of them refused. The port."""
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        port = int(listener.getsockname()[1])
        thread = threading.Thread(target=tea_machine, args=(listener,))
        thread.start()
        with socket.create_connection(("127.0.0.1", port)) as client, client.makefile("rwb") as stream:
            for number in range(EXCHANGES):
                stream.write(b"BREW pot-1 earl-grey\n" if number % 2 else b"BREW kettle-1 coffee\n")
                stream.flush()
                assert stream.readline()[:1] in {b"2", b"4"}
        thread.join()
    return port


def samples(written: Path, port: int) -> list[dict[str, Any]]:
    """Of that port, those that stand in the exported lines by now."""
    lines = [json.loads(line) for line in written.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [one for one in lines if one.get("destination", {}).get("port") == port]


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    install(tmp_path, monkeypatch)


def counted(agent: Agent, plugin: str, result: str) -> float:
    return agent.total("firesteel_plugin_exchanges_total", plugin=plugin, result=result)


def test_sampled_exchanges_are_told_and_all_are_counted(tmp_path: Path) -> None:
    written = tmp_path / "lines"
    settings = ("samples.normal=1.0", "samples.per_edge=1000", "samples.rate=1000", f"export.jsonl.path={written}")
    with watching("protocols.plugins=[teatime]", *settings) as agent:
        port = drink_tea()
        agent.wait(lambda reader: counted(reader, "teatime", "decoded") >= EXCHANGES, 60)
        assert counted(agent, "teatime", "decoded") == EXCHANGES
        # Nothing of it is counted by the plugin.
        requests = "kindling_topology_request_total"
        assert agent.counts(requests, EXCHANGES, dst_port=str(port), protocol="NOSUPPORT") == EXCHANGES
        assert agent.total(requests, dst_port=str(port)) == EXCHANGES
        agent.wait(lambda _: len(samples(written, port)) >= EXCHANGES, 60)
        found = samples(written, port)
        assert len(found) == EXCHANGES
        said = {(one["protocol"], one["request_content"], one["response_content"], one["error"]) for one in found}
        assert said == {("teatime", "BREW earl-grey", "202", False), ("teatime", "BREW coffee", "418", True)}
        assert "pot-1" not in json.dumps(found)
        assert "pot-1" not in agent.get("/metrics", api=False).decode()


@pytest.mark.parametrize(("name", "result"), [("crashes", "crashed"), ("hangs", "timeout")])
def test_a_plugin_that_ends_or_hangs_costs_nothing_but_itself(name: str, result: str) -> None:
    with watching(f"protocols.plugins=[{name}]", "samples.normal=1.0") as agent:
        port = drink_tea()
        agent.wait(lambda reader: counted(reader, name, result) >= 1, 60)
        assert counted(agent, name, result) >= 1
        assert agent.counts("kindling_topology_request_total", EXCHANGES, dst_port=str(port)) == EXCHANGES
        told = [problem["what"] for problem in agent.status()["problems"]]
        assert any(name in what and result in what for what in told)
        before = time.monotonic()
        agent.page()
        assert time.monotonic() - before < 10
        assert agent.process.poll() is None
