# SPDX-License-Identifier: Apache-2.0
"""The processes of the agent: what they may do, and what becomes of the counts when one of them dies."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector.capabilities import PROFILES
from tests import clients, servers
from tests.agents import FIRESTEEL, ROOT, Agent, running_agent
from tests.processes import (
    children,
    engine_of,
    is_alive,
    kernel_objects,
    loaded_objects,
    started_ago,
    status,
    within,
)
from tests.servers import Server, free_port, program

REQUESTS = "kindling_entity_request_total"
EDGES = "kindling_topology_request_total"
_CONNECTIONS = 16
_CORE = PROFILES["core"]
_CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def test_no_process_keeps_a_privilege(tmp_path: Path) -> None:
    with running_agent(tmp_path) as agent:
        engine = engine_of(agent)
        while started_ago(agent.process.pid) < 2:
            time.sleep(0.05)
        assert set(children(agent.process.pid)) == {engine}
        for pid in (agent.process.pid, engine):
            told = status(pid)
            assert {name: int(told[name], 16) for name in _CAPABILITY_SETS} == dict.fromkeys(_CAPABILITY_SETS, 0)
            assert told["Uid"].split() == told["Gid"].split() == ["65532"] * 4
            assert (told["Groups"], told["NoNewPrivs"]) == ("", "1")
        assert [status(pid)["Seccomp"] for pid in (agent.process.pid, engine)] == ["2", "2"]
        assert [p for p in agent.status()["problems"] if "seccomp" in p["what"]] == []


def test_nothing_is_pinned(tmp_path: Path) -> None:
    with running_agent(tmp_path) as agent:
        ours = kernel_objects(agent.process.pid)
        shown = loaded_objects()
        assert {kind for kind, _ in ours} == {"prog", "link", "map"}
        assert ours <= shown.keys()
        assert [shown[key].get("pinned", []) for key in ours] == [[]] * len(ours)


@pytest.mark.parametrize("sign", [signal.SIGSEGV, signal.SIGKILL])
def test_the_engine_dies_under_load(tmp_path: Path, sign: signal.Signals) -> None:
    """Nothing falls, nothing is counted twice. The ring is large enough for what comes until the next engine reads it,
    but what was written before that one asked for all connections to be told again belongs to connections that it does
    not know: each such event is counted as lost, and is one request or a half. What the old engine had half seen is
    gone as well, at most one request of each connection."""
    with running_agent(tmp_path, ring="64MiB") as agent, servers.nginx() as server:
        first = engine_of(agent)
        with watching(agent, server) as seen, loading(server, seconds=6) as load:
            assert within(5, lambda: max(seen, default=0) > 0)
            os.kill(first, sign)
            before = seen[-1]
            assert within(2, lambda: engine_of(agent) != first)
            assert within(5, lambda: seen[-1] > before)
        assert seen == sorted(seen)
        requests = load[0].requests
        counted = agent.settled(REQUESTS, port=str(server.port))
        unknown = agent.total("firesteel_engine_stat_total", stat="connections_unknown")
        assert requests - 2 * _CONNECTIONS - unknown <= counted <= requests + _CONNECTIONS
        assert agent.total(EDGES, dst_port=str(server.port)) == counted
        assert agent.total("firesteel_engine_restarts_total") == 1
        assert agent.total("firesteel_lost_total", stage="ring") == 0
        assert [problem["cause"] for problem in agent.status()["problems"] if "crashed" in problem["what"]]
        for _ in range(20):
            clients.curl(server, "/missing")
        assert agent.counts(REQUESTS, 20, port=str(server.port), response_content="404") == 20
        again = clients.wrk(server, "/moved", seconds=1, connections=_CONNECTIONS)
        moved = agent.settled(REQUESTS, port=str(server.port), response_content="301")
        assert again.requests <= moved <= again.requests + _CONNECTIONS


def test_the_agent_is_killed_under_load(tmp_path: Path) -> None:
    with running_agent(tmp_path) as agent, servers.nginx() as server:
        engine = engine_of(agent)
        ours = kernel_objects(agent.process.pid)
        assert ours <= loaded_objects().keys()
        with loading(server, seconds=3) as load:
            time.sleep(1)
            agent.process.kill()
            agent.process.wait()
            time.sleep(1)
            assert not ours & loaded_objects().keys()
            assert not is_alive(engine)
        assert load[0].socket_errors == 0


def test_sigterm_leaves_nothing(tmp_path: Path) -> None:
    with running_agent(tmp_path) as agent, servers.nginx() as server:
        engine = engine_of(agent)
        ours = kernel_objects(agent.process.pid)
        with loading(server, seconds=3):
            time.sleep(1)
            began = time.monotonic()
            agent.process.terminate()
            assert agent.process.wait(10) == 0
            assert time.monotonic() - began < 10
            assert not is_alive(engine)
            assert within(1, lambda: not ours & loaded_objects().keys())
    assert "Traceback" not in agent.log.read_text()


def test_a_wrong_file_leaves_the_old_configuration_in_force(tmp_path: Path) -> None:
    with servers.nginx() as server, readable_file() as file:
        file.write_text("metrics: {prefix: before}\n")
        with running_agent(tmp_path, prefix=("env", f"FIRESTEEL_CONFIG={file}")) as agent:
            clients.curl(server)
            assert agent.counts("before_entity_request_total", 1, port=str(server.port)) == 1
            file.write_text("metrics: {prefixx: after}\n")
            agent.process.send_signal(signal.SIGHUP)
            agent.wait(lambda agent: agent.total("firesteel_config_valid") == 0)
            assert agent.total("firesteel_config_valid") == 0
            assert "prefixx" in agent.status()["configuration"]["problem"]
            assert "prefixx" in agent.log.read_text()
            clients.curl(server)
            assert agent.counts("before_entity_request_total", 2, port=str(server.port)) == 2
            file.write_text("metrics: {prefix: after}\n")
            agent.process.send_signal(signal.SIGHUP)
            agent.wait(lambda agent: agent.total("after_entity_request_total", port=str(server.port)) == 2)
            assert agent.total("after_entity_request_total", port=str(server.port)) == 2
            assert agent.total("firesteel_config_valid") == 1
            assert agent.status()["configuration"]["problem"] == ""


def test_the_core_profile_is_enough(tmp_path: Path) -> None:
    with running_agent(tmp_path, prefix=with_only(_CORE)) as agent, servers.nginx() as server:
        report = agent.status()["driver"]
        assert report["name"] == "core"
        assert [hook["name"] for hook in report["hooks"] if not hook["attached"]] == []
        load = clients.wrk(server, "/", seconds=1, connections=_CONNECTIONS)
        counted = agent.settled(REQUESTS, port=str(server.port))
        assert load.requests <= counted <= load.requests + _CONNECTIONS
        assert int(status(agent.process.pid)["CapBnd"], 16) == 0


@pytest.mark.parametrize("missing", _CORE)
def test_one_capability_less_is_named(missing: str) -> None:
    command = [*with_only([name for name in _CORE if name != missing]), *FIRESTEEL, "run"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 3, done.stderr
    assert f"needs CAP_{missing}, which" in done.stderr
    assert f"--cap-add={missing}" in done.stderr


def with_only(names: Sequence[str]) -> tuple[str, ...]:
    """The command to run another one with, as root whose bounding set has just these."""
    everything = (1 << int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1) - 1
    decoded = subprocess.run(
        [program("capsh"), f"--decode={everything:x}"], check=True, capture_output=True, text=True
    ).stdout
    wanted = {f"cap_{name.lower()}" for name in names}
    dropped = [name for name in decoded.strip().partition("=")[2].split(",") if name not in wanted]
    return (program("capsh"), f"--drop={','.join(dropped)}", "--", "-c", 'exec "$0" "$@"')


@contextmanager
def readable_file() -> Iterator[Path]:
    """A file that a process without privileges can read as well, as one from a ConfigMap."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "firesteel.yaml"


@contextmanager
def loading(server: Server, seconds: int) -> Iterator[list[clients.HttpLoad]]:
    """wrk runs beside the block; afterwards the list has what it reports."""
    done: list[clients.HttpLoad] = []
    thread = threading.Thread(
        target=lambda: done.append(clients.wrk(server, seconds=seconds, connections=_CONNECTIONS))
    )
    thread.start()
    try:
        yield done
    finally:
        thread.join()


@contextmanager
def watching(agent: Agent, server: Server) -> Iterator[list[float]]:
    """Reads the page again and again beside the block: the requests of `server` each time."""
    seen: list[float] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.wait(0.1):
            agent.page()
            seen.append(agent.total(REQUESTS, port=str(server.port)))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("depth", [1, 2])
def test_a_nested_node_counts_its_own_processes_only(tmp_path: Path, depth: int) -> None:
    """Processes have the numbers and names that the node itself knows; what others do on the same kernel is theirs."""
    port = free_port()
    node = (sys.executable, str(ROOT / "tests/kernel/programs/nested_node.py"), str(depth), str(port))
    with running_agent(tmp_path, prefix=node) as agent, servers.nginx() as outside:
        inside = Server("nested", "127.0.0.1", port, 0, tmp_path)
        for _ in range(7):
            clients.curl(outside, "/")
        for _ in range(5):
            clients.curl(inside, "/absent")
        assert agent.counts(REQUESTS, 5, port=str(port)) == 5
        (told,) = agent.find(REQUESTS, port=str(port), is_error="true")
        assert (told.value, told.labels["workload_name"], told.labels["response_content"]) == (5, "python", "404")
        assert agent.find(REQUESTS, port=str(outside.port)) == []
        assert agent.find(EDGES, dst_port=str(outside.port)) == []
        assert [p["what"] for p in agent.status()["problems"] if "pid namespace" in p["what"]]
