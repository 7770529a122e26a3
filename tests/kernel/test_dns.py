# SPDX-License-Identifier: Apache-2.0
"""DNS as real resolvers and servers speak it: every question is counted once, under its name and with its answer."""

import contextlib
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import clients, servers
from tests.agents import Agent, running_agent
from tests.namespaces import namespace
from tests.servers import Server

REQUESTS = "kindling_entity_request_total"
EDGES = "kindling_topology_request_total"
NOERROR, NXDOMAIN, REFUSED = "NOERROR", "NXDOMAIN", "REFUSED"
_NAMES = ("apple", "birch", "cedar", "dogwood", "elm", "fir", "ginkgo", "hazel", "ivy", "juniper")
RECORDS = tuple(
    record
    for number, name in enumerate(_NAMES)
    for record in (
        f"{name}.test. 60 IN A 192.0.2.{number + 1}",
        f"{name}.test. 60 IN AAAA 2001:db8::{number + 1}",
        f"{name}.test. 60 IN MX 10 mail.test.",
        f'{name}.test. 60 IN TXT "a tree"',
    )
)
QUESTIONS = (
    *((f"{name}.test", kind, NOERROR) for name in _NAMES for kind in ("A", "AAAA", "MX", "TXT", "SRV")),
    *((f"no-{name}.test", kind, NXDOMAIN) for name in _NAMES for kind in ("A", "AAAA", "MX", "TXT")),
    *((f"{name}.example", "A", REFUSED) for name in _NAMES),
)
ROUNDS = 200


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    settings = ("metrics.contents_per_workload=500", "requests.no_response=1s")
    with running_agent(tmp_path_factory.mktemp("dns"), settings) as running:
        yield running


def test_twenty_thousand_questions_of_every_kind(agent: Agent) -> None:
    assert len(QUESTIONS) * ROUNDS == 20_000
    with servers.unbound(RECORDS) as server:
        load = clients.dnsperf(server, [(name, kind) for name, kind, _ in QUESTIONS], rounds=ROUNDS)
        assert (load.sent, load.completed, load.lost) == (20_000, 20_000, 0)
        assert agent.counts(REQUESTS, 20_000, port=str(server.port)) == 20_000
    assert answers(agent, server) == {(f"{name} {kind}", rcode): ROUNDS for name, kind, rcode in QUESTIONS}
    assert by_label(agent, EDGES, "status_code", dst_port=str(server.port)) == {"0": 10_000, "3": 8_000, "5": 2_000}
    # NXDOMAIN is an error because requests.dns_nxdomain_is_error says so.
    assert agent.total(REQUESTS, port=str(server.port), is_error="true") == 10_000
    assert agent.total("firesteel_lost_total", stage="ring") == 0


def test_names_beyond_the_cap_are_counted_as_other(tmp_path: Path) -> None:
    with running_agent(tmp_path, ("metrics.contents_per_workload=12",)) as agent, servers.unbound(RECORDS) as server:
        load = clients.dnsperf(server, [(name, kind) for name, kind, _ in QUESTIONS], rounds=20)
        assert (load.completed, load.lost) == (2_000, 0)
        assert agent.counts(REQUESTS, 2_000, port=str(server.port)) == 2_000
        found = answers(agent, server)
    named = {key: count for key, count in found.items() if key[0] != "other"}
    right = {(f"{name} {kind}", rcode): 20 for name, kind, rcode in QUESTIONS}
    assert len({content for content, _ in named}) == 12
    assert named == {key: right[key] for key in named}
    expected: Counter[tuple[str, str]] = Counter()
    for (content, rcode), count in right.items():
        if (content, rcode) not in named:
            expected["other", rcode] += count
    assert {key: count for key, count in found.items() if key[0] == "other"} == expected


def test_over_tcp(agent: Agent) -> None:
    with servers.unbound(RECORDS) as server:
        load = clients.dnsperf(server, [(name, kind) for name, kind, _ in QUESTIONS], rounds=20, tcp=True)
        assert (load.completed, load.lost) == (2_000, 0)
        assert agent.counts(REQUESTS, 2_000, port=str(server.port)) == 2_000
    assert answers(agent, server) == {(f"{name} {kind}", rcode): 20 for name, kind, rcode in QUESTIONS}


def test_over_ipv6(agent: Agent) -> None:
    with servers.unbound(RECORDS, address="::1") as server:
        load = clients.dnsperf(server, [(name, kind) for name, kind, _ in QUESTIONS], rounds=20)
        assert (load.completed, load.lost) == (2_000, 0)
        assert agent.counts(REQUESTS, 2_000, port=str(server.port)) == 2_000
    assert answers(agent, server) == {(f"{name} {kind}", rcode): 20 for name, kind, rcode in QUESTIONS}
    assert {series.labels["ip"] for series in agent.find(REQUESTS, port=str(server.port))} == {"::1"}


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "unconnected"])
def test_answers_find_their_question_among_many_in_flight(agent: Agent, connected: bool) -> None:
    """Ids are all the same in every second round, and the answers come in the opposite order: a wrong pair would show
    as a name with the other rcode."""
    rounds, width = 20, 16
    with answering_backwards(width) as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        if connected:
            client.connect(("127.0.0.1", port))
        for turn in range(rounds):
            for i in range(width):
                name = f"{'odd' if i % 2 else 'even'}-{'abcdefghijklmnop'[i]}.test"
                message = query(name, 7 if turn % 2 else turn * width + i + 1)
                client.send(message) if connected else client.sendto(message, ("127.0.0.1", port))
            for _ in range(width):
                client.recvfrom(512)
        assert agent.counts(REQUESTS, rounds * width, port=str(port)) == rounds * width
    expected = {
        (f"{'odd' if i % 2 else 'even'}-{letter}.test A", NXDOMAIN if i % 2 else NOERROR): rounds
        for i, letter in enumerate("abcdefghijklmnop")
    }
    assert contents(agent, port) == expected


def test_one_socket_asks_two_servers(agent: Agent) -> None:
    with servers.unbound(RECORDS) as one, servers.unbound(RECORDS) as two:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            for turn in range(50):
                client.sendto(query("apple.test", turn + 1), (one.address, one.port))
                client.sendto(query("no-apple.test", turn + 1), (two.address, two.port))
                client.recvfrom(512)
                client.recvfrom(512)
        assert agent.counts(REQUESTS, 50, port=str(one.port)) == 50
        assert agent.counts(REQUESTS, 50, port=str(two.port)) == 50
    assert answers(agent, one) == {("apple.test A", NOERROR): 50}
    assert answers(agent, two) == {("no-apple.test A", NXDOMAIN): 50}


def test_questions_that_nobody_answers(agent: Agent) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        port = servers.free_port()
        silent.bind(("127.0.0.1", port))
        for i in range(30):
            client.sendto(query("apple.test" if i % 3 else "elm.test", i + 1), ("127.0.0.1", port))
            silent.recvfrom(512)
        assert agent.counts(REQUESTS, 30, port=str(port)) == 30
        assert agent.total(EDGES, dst_port=str(port)) == 30
    assert contents(agent, port) == {("apple.test A", "no response"): 20, ("elm.test A", "no response"): 10}
    assert by_label(agent, EDGES, "is_error", dst_port=str(port)) == {"true": 30}
    assert by_label(agent, EDGES, "status_code", dst_port=str(port)) == {"": 30}


_GETADDRINFO = """
import socket, sys
for _ in range(int(sys.argv[1])):
    found = {info[4][0] for info in socket.getaddrinfo("apple.test", 80, type=socket.SOCK_STREAM)}
    assert found == {"192.0.2.1", "2001:db8::1"}, found
    try:
        socket.getaddrinfo("no-apple.test", 80, type=socket.SOCK_STREAM)
        raise SystemExit("an address for a name that does not exist")
    except socket.gaierror:
        pass
"""


def test_glibc_asks_for_both_kinds_of_address_at_once(agent: Agent, tmp_path: Path) -> None:
    """getaddrinfo sends A and AAAA with one sendmmsg and reads them with recvfrom and recvmsg."""
    calls = 100
    configuration = tmp_path / "resolv.conf"
    configuration.write_text("nameserver 127.0.0.1\n")
    mounted = f'mount --bind {configuration} /etc/resolv.conf && exec "$@"'
    with namespace() as inside, servers.unbound(RECORDS, port=53, prefix=inside.prefix) as server:
        command = [*inside.prefix, "unshare", "--mount", "sh", "-c", mounted, "sh", sys.executable, "-c", _GETADDRINFO]
        subprocess.run([*command, str(calls)], check=True, timeout=60)
        here = {"port": "53", "protocol": "dns", "ip": server.address}
        assert agent.counts(REQUESTS, 4 * calls, **here) == 4 * calls
    found = Counter[tuple[str, str]]()
    for series in agent.find(REQUESTS, **here):
        found[series.labels["request_content"], series.labels["response_content"]] += int(series.value)
    assert found == {
        ("apple.test A", NOERROR): calls,
        ("apple.test AAAA", NOERROR): calls,
        ("no-apple.test A", NXDOMAIN): calls,
        ("no-apple.test AAAA", NXDOMAIN): calls,
    }


def test_dnsmasq_answers_too(agent: Agent) -> None:
    """dnsmasq reads with recvmsg and answers with sendmsg on an unconnected socket, and forks for TCP."""
    questions = [("apple.test", "A"), ("apple.test", "AAAA"), ("none.test", "A")]
    with servers.dnsmasq({"apple.test": "192.0.2.1"}) as server:
        load = clients.dnsperf(server, questions, rounds=300)
        assert (load.completed, load.lost) == (900, 0)
        assert agent.counts(REQUESTS, 900, port=str(server.port)) == 900
    assert answers(agent, server) == {
        ("apple.test A", NOERROR): 300,
        ("apple.test AAAA", NOERROR): 300,
        ("none.test A", NXDOMAIN): 300,
    }


def answers(agent: Agent, server: Server) -> dict[tuple[str, str], int]:
    return contents(agent, server.port)


def contents(agent: Agent, port: int) -> dict[tuple[str, str], int]:
    """Requests by (request_content, response_content) of the page that was read last; protocol dns only."""
    found = Counter[tuple[str, str]]()
    for series in agent.find(REQUESTS, port=str(port), protocol="dns"):
        found[series.labels["request_content"], series.labels["response_content"]] += int(series.value)
    return dict(found)


def by_label(agent: Agent, name: str, label: str, **labels: str) -> dict[str, int]:
    found = Counter[str]()
    for series in agent.find(name, **labels):
        found[series.labels[label]] += int(series.value)
    return dict(found)


def query(name: str, number: int) -> bytes:
    """A question for the address of `name`, recursion desired (RFC 1035, section 4.1)."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack(">6H", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, 1, 1)


def answer(question: bytes) -> bytes:
    """NXDOMAIN for names that begin with odd, else an empty NOERROR."""
    rcode = 3 if question[13:16] == b"odd" else 0
    return question[:2] + struct.pack(">H", 0x8180 | rcode) + question[4:]


@contextlib.contextmanager
def answering_backwards(width: int) -> Iterator[int]:
    """A server that waits for `width` questions and answers the last one first. Yields its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        port = servers.free_port()
        listener.bind(("127.0.0.1", port))
        listener.settimeout(0.2)
        ended = threading.Event()
        thread = threading.Thread(target=_answer_backwards, args=(listener, width, ended))
        thread.start()
        try:
            yield port
        finally:
            ended.set()
            thread.join()


def _answer_backwards(listener: socket.socket, width: int, ended: threading.Event) -> None:
    waiting: list[tuple[bytes, tuple[str, int]]] = []
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            waiting.append(listener.recvfrom(512))
        if len(waiting) == width:
            for question, address in reversed(waiting):
                listener.sendto(answer(question), address)
            waiting.clear()
