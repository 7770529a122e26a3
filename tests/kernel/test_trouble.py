# SPDX-License-Identifier: Apache-2.0
"""TCP in trouble: attempts that fail, segments sent again, resets, packets dropped. All of it is made to happen between
two network namespaces, and compared with what the kernel counted there."""

import errno
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.agents import Agent, running_agent
from tests.namespaces import Namespace, namespace, pair

CONNECTS = "kindling_tcp_connect_total"
CONNECT_NS = "kindling_tcp_connect_duration_nanoseconds_total"
RETRANSMITS = "kindling_tcp_retransmit_total"
RESETS = "kindling_tcp_reset_total"
LOSS = "kindling_tcp_packet_loss_total"
_CLOSED, _OPEN = 7001, 7002
_SECOND_NS = 1_000_000_000


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("trouble")) as running:
        yield running


@pytest.fixture
def ends() -> Iterator[tuple[Namespace, Namespace]]:
    with pair() as made:
        yield made


_CONNECT = """
import json, socket, sys, time
address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
results, began = [], time.monotonic()
for _ in range(count):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as trial:
        results.append(trial.connect_ex((address, port)))
print(json.dumps([results, time.monotonic() - began]))
"""


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_closed_port_refuses(agent: Agent, ends: tuple[Namespace, Namespace], family: str) -> None:
    here, there = ends
    source, target = getattr(here, family), getattr(there, family)
    results, seconds = here.python(_CONNECT, target, _CLOSED, 25)
    assert results == [errno.ECONNREFUSED] * 25
    edge = {"src_ip": source, "dst_ip": target, "dst_port": str(_CLOSED)}
    assert agent.counts(CONNECTS, 25, **edge) == 25
    assert by_result(agent, **edge) == {("false", "111"): 25}
    assert 0 < agent.total(CONNECT_NS, **edge) < seconds * _SECOND_NS
    assert agent.total(RESETS, src_ip=source, direction="received") == 25
    assert agent.total(RESETS, src_ip=target, direction="sent") == there.tcp()["OutRsts"] == 25


_TIME_OUT = """
import json, select, socket, sys
address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
waiting, poll, results = {}, select.poll(), []
for _ in range(count):
    trial = socket.socket()
    trial.setblocking(False)
    trial.connect_ex((address, port))
    waiting[trial.fileno()] = trial
    poll.register(trial, select.POLLOUT)
while waiting:
    for fd, _ in poll.poll(30000):
        poll.unregister(fd)
        trial = waiting.pop(fd)
        results.append(trial.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        trial.close()
print(json.dumps(results))
"""


def test_a_filtered_port_times_out(agent: Agent, ends: tuple[Namespace, Namespace]) -> None:
    here, there = ends
    here.set("ipv4/tcp_syn_retries", 1)
    there.drop("-p", "tcp", "--dport", str(_CLOSED))
    assert here.python(_TIME_OUT, there.ipv4, _CLOSED, 8) == [errno.ETIMEDOUT] * 8
    edge = {"src_ip": here.ipv4, "dst_ip": there.ipv4}
    assert agent.counts(CONNECTS, 8, **edge) == 8
    assert by_result(agent, **edge) == {("false", "110"): 8}
    # How often a SYN is sent again with this setting, and how long it is waited for, differs between kernels.
    again = here.tcp()["RetransSegs"]
    assert again in {8, 16}
    assert 8 * 1.9 * _SECOND_NS < agent.total(CONNECT_NS, **edge) < 8 * 4 * _SECOND_NS
    assert agent.total(RETRANSMITS, **edge) == again
    assert agent.total(LOSS, dst_ip=here.ipv4) == there.dropped() == 8 + again


_GIVE_UP = """
import socket, sys, time
trials = [socket.socket() for _ in range(int(sys.argv[3]))]
for trial in trials:
    trial.setblocking(False)
    trial.connect_ex((sys.argv[1], int(sys.argv[2])))
time.sleep(0.3)
for trial in trials:
    trial.close()
"""


def test_a_client_that_gives_up_first(agent: Agent, ends: tuple[Namespace, Namespace]) -> None:
    here, there = ends
    there.drop("-p", "tcp", "--dport", str(_CLOSED))
    here.python(_GIVE_UP, there.ipv4, _CLOSED, 6)
    edge = {"src_ip": here.ipv4, "dst_ip": there.ipv4}
    assert agent.counts(CONNECTS, 6, **edge) == 6
    assert by_result(agent, **edge) == {("false", str(errno.ECANCELED)): 6}
    assert 6 * 0.3 * _SECOND_NS <= agent.total(CONNECT_NS, **edge) < 6 * 1.5 * _SECOND_NS


_ONE_DESCRIPTOR = """
import json, socket, sys
address, closed, open_port, turns = sys.argv[1], *map(int, sys.argv[2:])
results = []
for _ in range(turns):
    with socket.socket() as trial:
        results += [trial.connect_ex((address, closed)), trial.connect_ex((address, closed))]
        results += [trial.connect_ex((address, open_port))]
        trial.sendall(b"x" * 10)
        trial.recv(10)
print(json.dumps(results))
"""


def test_one_descriptor_tries_again(agent: Agent, ends: tuple[Namespace, Namespace]) -> None:
    """It keeps its socket cookie, and still each attempt has its own result."""
    here, there = ends
    with echoing(there):
        results = here.python(_ONE_DESCRIPTOR, there.ipv4, _CLOSED, _OPEN, 10)
    assert results == [errno.ECONNREFUSED, errno.ECONNREFUSED, 0] * 10
    edge = {"src_ip": here.ipv4, "dst_ip": there.ipv4}
    assert agent.counts(CONNECTS, 30, **edge) == 30
    assert by_result(agent, **edge, dst_port=str(_CLOSED)) == {("false", "111"): 20}
    assert by_result(agent, **edge, dst_port=str(_OPEN)) == {("true", "0"): 10}


_PING_PONG = """
import socket, sys
address, port, turns, size = sys.argv[1], *map(int, sys.argv[2:])
with socket.create_connection((address, port)) as connection:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(turns):
        connection.sendall(b"x" * size)
        left = size
        while left:
            left -= len(connection.recv(left))
"""


def test_segments_sent_again(agent: Agent, ends: tuple[Namespace, Namespace]) -> None:
    """Every fifth segment with data is dropped where it arrives: 48 get through."""
    here, there = ends
    is_data = ("-m", "length", "--length", "140:65535")
    with echoing(there):
        there.drop(
            "-p",
            "tcp",
            "--dport",
            str(_OPEN),
            *is_data,
            "-m",
            "statistic",
            "--mode",
            "nth",
            "--every",
            "5",
            "--packet",
            "4",
        )
        here.python(_PING_PONG, there.ipv4, _OPEN, 48, 100)
    edge = {"src_ip": here.ipv4, "dst_ip": there.ipv4, "dst_port": str(_OPEN)}
    again, lost = here.tcp()["RetransSegs"], there.dropped()
    assert again >= lost >= 11
    assert agent.counts(RETRANSMITS, again, **edge) == again
    assert agent.total(LOSS, src_ip=there.ipv4, src_port=str(_OPEN), dst_ip=here.ipv4) == lost
    # The other side cannot know that its own last answer was not what got lost.
    assert agent.total(RETRANSMITS, **between(there, here)) == there.tcp()["RetransSegs"]


def test_a_syn_and_ack_sent_again(agent: Agent, ends: tuple[Namespace, Namespace]) -> None:
    here, there = ends
    with echoing(there):
        # The first answer to each attempt is lost; the client's SYN and the server's SYN-ACK are both sent again.
        here.drop("-p", "tcp", "--sport", str(_OPEN), "--tcp-flags", "SYN,ACK", "SYN,ACK",
                  "-m", "statistic", "--mode", "nth", "--every", "2", "--packet", "0")  # fmt: skip
        here.python(_PING_PONG, there.ipv4, _OPEN, 1, 10)
    client, server = here.tcp()["RetransSegs"], there.tcp()["RetransSegs"]
    assert client + server > 0
    assert agent.counts(RETRANSMITS, client + server, **between(here, there)) == client
    assert agent.total(RETRANSMITS, **between(there, here)) == server


_ABORT = """
import socket, struct, sys, time
connections = []
for _ in range(int(sys.argv[3])):
    connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    connection.sendall(b"x" * 10)
    connection.recv(10)
    connections.append(connection)
for connection in connections:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
"""


def test_connections_that_are_cut_off(agent: Agent, ends: tuple[Namespace, Namespace]) -> None:
    here, there = ends
    with echoing(there):
        here.python(_ABORT, there.ipv4, _OPEN, 9)
        sent, received = between(here, there), between(there, here)
        assert agent.counts(RESETS, 9, **sent, direction="sent") == here.tcp()["OutRsts"] == 9
        assert agent.total(RESETS, **received, direction="received") == 9
        assert agent.total(RESETS, **sent, direction="received") == 0
        assert agent.total(RESETS, **received, direction="sent") == there.tcp()["OutRsts"] == 0


def test_nothing_is_told_of_a_healthy_connection(agent: Agent) -> None:
    with namespace("127.0.0.1") as inside, echoing(inside, port=7003):
        inside.python(_PING_PONG, "127.0.0.1", 7003, 300, 2000)
        edge = {"dst_ip": "127.0.0.1", "dst_port": "7003"}
        assert agent.counts(CONNECTS, 1, **edge) == 1
        assert inside.tcp()["RetransSegs"] == 0
    for name in (RETRANSMITS, RESETS, LOSS):
        assert agent.total(name, **edge) == agent.total(name, src_ip="127.0.0.1", src_port="7003") == 0


_ECHO = """
import socket, sys, threading
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
def serve(connection):
    try:
        while text := connection.recv(65536):
            connection.sendall(text)
    except ConnectionError:
        pass
    connection.close()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


@contextmanager
def echoing(inside: Namespace, port: int = _OPEN) -> Iterator[None]:
    """A server there that sends back what it gets."""
    command = [*inside.prefix, sys.executable, "-c", _ECHO, inside.ipv4, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            assert server.stdout.readline() == "ready\n"
            yield
        finally:
            server.kill()


def between(source: Namespace, target: Namespace) -> dict[str, str]:
    return {"src_ip": source.ipv4, "dst_ip": target.ipv4}


def by_result(agent: Agent, **labels: str) -> dict[tuple[str, str], int]:
    found = Counter[tuple[str, str]]()
    for series in agent.find(CONNECTS, **labels):
        found[series.labels["success"], series.labels["errno"]] += int(series.value)
    return dict(found)
