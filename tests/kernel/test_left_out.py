# SPDX-License-Identifier: Apache-2.0
"""scope.exclude_* over the real kernel: what is left out is not counted, everything else is, exactly."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.agents import Agent, running_agent
from tests.fake_kube import fake_kube, kubeconfig
from tests.kernel.test_processes import readable_file
from tests.pods import container, described
from tests.servers import nginx, program, redis

WANTED, UNWANTED, MANY = 7, 5, 3000
# Asks a port over one connection: for each line that comes in, the next of these counts, and answers with a line.
ASK = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as client:
    for count in sys.argv[2:]:
        sys.stdin.readline()
        for _ in range(int(count)):
            client.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 ")
        print(flush=True)
    sys.stdin.readline()
"""
LEFT_OUT = "firesteel_left_out_containers"
REQUESTS, EDGES = "kindling_entity_request_total", "kindling_topology_request_total"


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


def test_a_port_and_the_agent_says_why(tmp_path: Path) -> None:
    with nginx() as server, nginx() as other:
        left_out = f"scope.exclude_ports=[{server.port}]"
        with running_agent(tmp_path, [left_out]) as agent:
            ask(server.port, "/", UNWANTED)
            ask(other.port, "/", WANTED)
            assert agent.counts(REQUESTS, WANTED, port=str(other.port)) == WANTED
            assert agent.total(REQUESTS, port=str(server.port)) == 0
            told = {
                port: "scope.exclude_ports" in agent.get(f"/api/v1/explain?address=127.0.0.1:{port}").decode()
                for port in (server.port, other.port)
            }
            assert told == {server.port: True, other.port: False}
            assert agent.status()["configuration"]["beside"]["scope.exclude_ports"] == "--set"
            assert agent.status()["driver"]["hook_set"]


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


def test_a_process_of_which_the_kernel_sends_no_more(tmp_path: Path) -> None:
    told = subprocess.run(
        [program("python3"), "-c", "print(open('/proc/self/comm').read())"], capture_output=True, check=True
    )
    comm = told.stdout.decode().strip()
    with nginx() as server, running_agent(tmp_path, [f"scope.exclude_comms=[{comm}]"]) as agent:
        port = str(server.port)
        with asking((), server.port, UNWANTED, MANY) as go_on:
            go_on()
            # What the engine has counted comes after what it was sent before, so by then it knows the connection.
            ask(server.port, "/", 1)
            assert agent.counts(REQUESTS, 1, port=port) == 1
            before, seen = unwanted(agent), agent.total("firesteel_events_total", type="data")
            go_on()
        ask(server.port, "/", WANTED)
        assert agent.counts(REQUESTS, 1 + WANTED, port=port) == 1 + WANTED
        assert agent.total(EDGES, dst_port=port) == 1 + WANTED
        assert unwanted(agent) == before, "the kernel sent what nobody wants"
        # Of 12 000 reads and writes nothing came; others run on this machine too.
        assert agent.total("firesteel_events_total", type="data") - seen < 2 * MANY


def ask_from(prefix: Sequence[str], port: int, count: int) -> None:
    with asking(prefix, port, count) as go_on:
        go_on()


@contextmanager
def asking(prefix: Sequence[str], port: int, *counts: int) -> Iterator[Callable[[], None]]:
    """One connection, open for the block. Each call asks the next of `counts` times and returns when all were answered."""
    command = [*prefix, program("python3"), "-c", ASK, str(port), *map(str, counts)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        to, of = client.stdin, client.stdout

        def go_on() -> None:
            to.write(b"\n")
            to.flush()
            assert of.readline() == b"\n"

        yield go_on
        to.close()
        assert client.wait(60) == 0


def test_a_namespace_of_which_the_kernel_sends_nothing_until_it_is_wanted_again(tmp_path: Path) -> None:
    """Two pods of a namespace that is left out and one that is not: each request is counted where docs/config.md says."""
    ids = {name: (f"11111111-2222-3333-{place:04}-{os.getpid():012}", f"{place:032x}{os.getpid():032x}")
           for place, name in enumerate(("dns-0", "probe-0", "web-0"), 1)}  # fmt: skip
    paths = {name: f"kubepods/besteffort/pod{uid}/{container_id}" for name, (uid, container_id) in ids.items()}
    with (
        fake_kube(token="secret") as kube,
        container(paths["dns-0"]) as in_dns,
        container(paths["probe-0"]) as in_probe,
        container(paths["web-0"]) as in_web,
        nginx(prefix=in_dns) as dns,
        nginx(prefix=in_web) as web,
        readable_file() as file,
    ):
        kube.put("nodes", {"metadata": {"name": "n", "uid": "n"}, "status": {}})
        for name, (uid, container_id) in ids.items():
            namespace = "shop" if name == "web-0" else "system"
            kube.put("pods", described(uid, name, container_id, namespace=namespace))
        told = f"kubernetes: {{enabled: true, kubeconfig: {kubeconfig(tmp_path, kube.port)}}}\n"
        file.write_text(told + "scope: {exclude_namespaces: [system]}\n")
        with running_agent(tmp_path, prefix=("env", f"FIRESTEEL_CONFIG={file}")) as agent:
            ask_from(in_probe, dns.port, UNWANTED)
            ask_from(in_dns, web.port, 1)
            agent.wait(lambda one: one.total(LEFT_OUT) == 2)
            assert agent.total(LEFT_OUT) == 2
            with asking(in_probe, dns.port, UNWANTED, MANY) as go_on:
                go_on()
                # What the engine has counted comes after what it was sent before, so by then it knows the connection.
                ask_from(in_dns, web.port, 1)
                assert agent.counts(REQUESTS, 2, port=str(web.port)) == 2
                before = unwanted(agent)
                go_on()
            ask_from(in_probe, web.port, WANTED)
            ask_from(in_web, dns.port, UNWANTED)
            assert agent.counts(EDGES, UNWANTED, dst_port=str(dns.port)) == UNWANTED
            assert {one.labels["src_pod"] for one in agent.find(EDGES, dst_port=str(dns.port))} == {"web-0"}
            assert agent.total(REQUESTS, port=str(dns.port)) == 0
            assert agent.counts(REQUESTS, WANTED + 2, port=str(web.port)) == WANTED + 2
            assert agent.total(EDGES, dst_port=str(web.port)) == 0
            assert unwanted(agent) == before, "the kernel sent what nobody wants"

            file.write_text(told)
            agent.process.send_signal(signal.SIGHUP)
            agent.wait(lambda one: one.total(LEFT_OUT) == 0)
            assert agent.total(LEFT_OUT) == 0
            ask_from(in_probe, dns.port, WANTED)
            assert agent.counts(REQUESTS, WANTED, port=str(dns.port), pod="dns-0") == WANTED
            assert agent.total(EDGES, dst_port=str(dns.port), src_pod="probe-0") == WANTED
