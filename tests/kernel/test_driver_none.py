# SPDX-License-Identifier: Apache-2.0
"""Without a probe: edges and TCP health from socket lists, as an ordinary user, and a reason for everything else."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import namespaces
from tests.agents import Agent, running_agent
from tests.servers import free_port

_USER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
_SRTT = "kindling_tcp_srtt_microseconds"
_BYTES = "kindling_topology_request_{}_bytes_total"
_NONE = ("driver=none", "kubernetes.enabled=false")


def _users() -> dict[str, tuple[str, ...]]:
    """As whom the agent can run here: not as an ordinary user where the Python it needs lies in root's own folder."""
    twice = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    may = subprocess.run([*_USER, sys.executable, "-c", twice], check=False, capture_output=True).returncode == 0
    return {"root": (), "ordinary-user": _USER} if may else {"root": ()}


@pytest.mark.parametrize("prefix", _users().values(), ids=_users().keys())
def test_edges_bytes_and_round_trip_times(tmp_path: Path, prefix: tuple[str, ...]) -> None:
    with running_agent(tmp_path, _NONE, prefix=prefix) as agent:
        port = free_port()
        with (
            socket.create_server(("127.0.0.1", port)) as listener,
            socket.create_connection(("127.0.0.1", port)) as client,
            listener.accept()[0] as server,
        ):
            client.sendall(b"q" * 1000)
            server.sendall(b"a" * 70_000)
            assert len(client.recv(70_000, socket.MSG_WAITALL)) == 70_000
            agent.wait(lambda a: a.total(_BYTES.format("response"), dst_port=str(port)) == 70_000)
            assert agent.total(_BYTES.format("request"), dst_port=str(port)) == 1000
            (health,) = agent.find(_SRTT, src_port=str(port))
            assert health.value > 0
            _nothing_else(agent)


def test_another_network_namespace_is_read_from_proc(tmp_path: Path) -> None:
    with namespaces.pair() as (near, far), running_agent(tmp_path, _NONE) as agent:
        script = "import socket,sys; s = socket.create_server(('0.0.0.0', 8080)); c, _ = s.accept(); print(flush=True); c.recv(1)"
        ask = f"import socket; c = socket.create_connection(({far.ipv4!r}, 8080)); c.recv(1)"
        with (
            subprocess.Popen([*far.prefix, sys.executable, "-c", script], stdout=subprocess.PIPE) as serving,
            subprocess.Popen([*near.prefix, sys.executable, "-c", "import time; time.sleep(0.5)\n" + ask]) as asking,
        ):
            assert serving.stdout is not None
            serving.stdout.readline()
            try:
                agent.wait(lambda a: "8080" in str(_edges(a)))
                (edge,) = [edge for edge in _edges(agent) if edge["ports"] == [8080]]
                # The owner is a process of the same namespace: on a real node, of the same pod.
                assert str(edge["source"]).endswith(f"/python/{near.ipv4}")
                assert str(edge["destination"]).endswith(f"/python/{far.ipv4}:8080")
            finally:
                asking.kill()
                serving.kill()


def _edges(agent: Agent) -> list[dict[str, object]]:
    return list(json.loads(agent.get("/api/v1/topology?level=address"))["edges"])


def _nothing_else(agent: Agent) -> None:
    """What cannot be had this way is absent, with the reason; and status says so."""
    assert agent.find("kindling_topology_request_total") == []
    told = {series.labels["metric"]: series.labels["reason"] for series in agent.find("firesteel_metric_absent_info")}
    assert "no driver" in told["kindling_topology_request_total"]
    assert "kindling_tcp_srtt_microseconds" not in told
    (problem,) = [p for p in agent.status()["problems"] if p["what"].startswith("no probe is in place")]
    assert problem["cause"]
