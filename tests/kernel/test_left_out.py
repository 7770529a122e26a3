# SPDX-License-Identifier: Apache-2.0
"""scope.exclude_* over the real kernel: what is left out is not counted, everything else is, exactly."""

import socket
import subprocess
import time
from pathlib import Path

from tests.agents import Agent, running_agent
from tests.servers import nginx, program, redis

WANTED, UNWANTED = 7, 5


def ask(port: int, path: str, count: int) -> None:
    for _ in range(count):
        command = [program("curl"), "-s", "-o", "/dev/null", f"http://127.0.0.1:{port}{path}"]
        subprocess.run(command, check=True, timeout=10)


def unwanted(agent: Agent) -> float:
    return agent.total("firesteel_engine_stat_total", stat="requests_unwanted")


def test_a_path_and_a_command(tmp_path: Path) -> None:
    with nginx() as server, running_agent(tmp_path, ["scope.exclude_paths=[/healthz, /static/*]"]) as agent:
        for path, count in (("/healthz", UNWANTED), ("/", WANTED), ("/static/1.css?v=2", UNWANTED)):
            ask(server.port, path, count)
        counted = agent.counts("kindling_entity_request_total", WANTED, port=str(server.port))
        assert counted == WANTED
        assert {
            one.labels["request_content"] for one in agent.find("kindling_entity_request_total", port=str(server.port))
        } == {"/"}
        assert unwanted(agent) == 2 * UNWANTED
    with nginx() as server, running_agent(tmp_path, ["scope.exclude_comms=[curl]"]) as agent:
        ask(server.port, "/", UNWANTED)
        with socket.create_connection(("127.0.0.1", server.port)) as other:
            for _ in range(WANTED):
                other.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert other.recv(65536).startswith(b"HTTP/1.1 ")
        counted = agent.counts("kindling_entity_request_total", WANTED, port=str(server.port))
        assert counted == WANTED


def test_a_protocol_of_which_the_kernel_sends_no_more(tmp_path: Path) -> None:
    with redis() as server, nginx() as web, running_agent(tmp_path, ["scope.exclude_protocols=[redis]"]) as agent:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            for _ in range(200):
                client.sendall(b"*1\r\n$4\r\nPING\r\n")
                assert client.recv(100) == b"+PONG\r\n"
            time.sleep(1.5)  # a turn of the agent, so that `seen` has what came so far
            agent.page()
            seen = agent.total("firesteel_events_total", type="data")
            for _ in range(5000):
                client.sendall(b"*1\r\n$4\r\nPING\r\n")
                assert client.recv(100) == b"+PONG\r\n"
        ask(web.port, "/", WANTED)
        assert agent.counts("kindling_entity_request_total", WANTED, port=str(web.port)) == WANTED
        assert agent.total("kindling_entity_request_total", port=str(server.port)) == 0
        assert agent.total("kindling_topology_request_total", dst_port=str(server.port)) == 0
        # 20 000 reads and writes, of which nothing came; others run on this machine too.
        assert agent.total("firesteel_events_total", type="data") - seen < 10_000
