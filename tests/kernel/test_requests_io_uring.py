# SPDX-License-Identifier: Apache-2.0
"""io_uring: its payload cannot be read where its operations end, so the other end tells, or only bytes are known."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.agents import ROOT, Agent
from tests.raw_http import Figures, connected, total
from tests.requests_seen import edge, entity, protocols, wait_for, watching
from tests.servers import MissingProgram, Server, free_port, nginx, running

SOURCE = Path(__file__).parent / "programs/uring-http.c"
BUILT = ROOT / "build/tests/uring-http"
CONNECTIONS = 4
EACH = 25
REQUESTS = CONNECTIONS * EACH
REASON = "firesteel_payload_not_visible_total"


@pytest.fixture(scope="module")
def uring() -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        raise MissingProgram("cc")
    if not Path("/usr/include/liburing.h").exists():
        pytest.skip("no liburing.h: apt-get install liburing-dev")
    setting = Path("/proc/sys/kernel/io_uring_disabled")
    if setting.exists() and int(setting.read_text()) == 2:
        pytest.skip("io_uring is switched off: sysctl kernel.io_uring_disabled=0")
    BUILT.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([compiler, "-O1", "-Wall", "-Werror", str(SOURCE), "-o", str(BUILT), "-luring"], check=True)
    return str(BUILT)


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with watching() as running_one:
        yield running_one


@contextmanager
def uring_server(uring: str, how: str, folder: Path) -> Iterator[Server]:
    port = free_port()
    with running("uring-http", [uring, "server", str(port), how], "127.0.0.1", port, folder) as server:
        yield server


def uring_client(uring: str, server: Server, how: str) -> Figures:
    arguments = ["client", str(server.port), how, str(CONNECTIONS), str(EACH)]
    done = subprocess.run([uring, *arguments], check=True, capture_output=True, text=True, timeout=60)
    responses, sent, received = map(int, done.stdout.split())
    return Figures(responses, sent, received)


def not_visible(agent: Agent) -> dict[str, float]:
    return {series.labels["reason"]: series.value for series in agent.find(REASON)}


@pytest.mark.parametrize("how", ["inline", "async"])
def test_the_client_tells_for_a_server_on_io_uring(agent: Agent, uring: str, how: str, tmp_path: Path) -> None:
    with uring_server(uring, how, tmp_path) as server:
        expected = Figures()
        with ExitStack() as stack:
            clients = [stack.enter_context(connected(server)) for _ in range(CONNECTIONS)]
            for _ in range(EACH):
                for client in clients:
                    assert client.ask("GET", "/ring").status == 200
            for client in clients:
                expected += Figures(EACH, client.sent, client.received)
        wait_for(agent, server.port, REQUESTS)
    assert protocols(agent, server.port) == {"http"}
    assert entity(agent, server.port) == {"200": expected}
    assert edge(agent, server.port) == {"200": expected}


@pytest.mark.parametrize("how", ["inline", "async"])
def test_the_server_tells_for_a_client_on_io_uring(agent: Agent, uring: str, how: str) -> None:
    with nginx(locations='location /ring { return 200 "hello\\n"; }') as server:
        expected = uring_client(uring, server, how)
        assert expected.requests == REQUESTS
        wait_for(agent, server.port, REQUESTS)
    assert protocols(agent, server.port) == {"http"}
    assert entity(agent, server.port) == {"200": expected}
    assert edge(agent, server.port) == {"200": expected}


@pytest.mark.parametrize("how", ["inline", "async"])
def test_with_io_uring_at_both_ends_exchanges_and_bytes_are_known(
    agent: Agent, uring: str, how: str, tmp_path: Path
) -> None:
    agent.page()
    before = not_visible(agent)
    with uring_server(uring, how, tmp_path) as server:
        expected = uring_client(uring, server, how)
        assert expected.requests == REQUESTS
        wait_for(agent, server.port, REQUESTS, "NOSUPPORT")
    assert protocols(agent, server.port) == {"NOSUPPORT"}
    assert total(entity(agent, server.port, "NOSUPPORT")) == expected
    assert total(edge(agent, server.port, "NOSUPPORT")) == expected
    after = not_visible(agent)
    grown = {reason: after[reason] - before[reason] for reason in after if after[reason] > before[reason]}
    # Each message is one send and one receive. Once the engine has given up on it, payload is not even tried.
    assert 0 < grown["syscall"] <= 4 * REQUESTS
