# SPDX-License-Identifier: Apache-2.0
"""Requests to nginx over the real kernel: every one is counted, with its status and its bytes."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.agents import Agent
from tests.clients import wrk
from tests.raw_http import Figures, RawConnection, access_log, chunked, connected, head, total
from tests.requests_seen import counts, edge, entity, lost, wait_for, watching
from tests.servers import Server, free_port, nginx

LOAD_SECONDS = int(os.environ.get("FIRESTEEL_LOAD_SECONDS", "6"))
CONNECTIONS = 32
SIZES = (0, 1, 4095, 65536, 1 << 20, 10 << 20)
STATUSES = {"/": 200, "/moved": 301, "/missing": 404, "/status/503": 503}
# PUT reads its body and keeps it; sub_filter makes nginx answer in chunks.
LOCATIONS = """
    location /put/ { root {folder}; dav_methods PUT; create_full_put_path on; client_body_buffer_size 16k; }
    location /chunked/ { alias {folder}/files/body/; sub_filter_types *; sub_filter 'firesteel-is-not-in-it' ''; }
"""
PIPELINE = """
init = function(args)
  local parts = {}
  for i = 1, 16 do parts[i] = wrk.format(nil, "/status/200/" .. i) end
  joined = table.concat(parts)
end
request = function() return joined end
"""


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with watching() as running:
        yield running


def logged(server: Server, requests: int) -> dict[str, Figures]:
    """nginx's log once it has so many lines: a line may come after the response."""
    end = time.monotonic() + 10
    while total(found := access_log(server.folder)).requests < requests and time.monotonic() < end:
        time.sleep(0.05)
    return found


def assert_as_logged(agent: Agent, server: Server, requests: int) -> None:
    """Requests and bytes of entity and edge are by status what nginx wrote down."""
    expected = logged(server, requests)
    assert total(expected).requests == requests
    wait_for(agent, server.port, requests)
    assert entity(agent, server.port) == expected
    assert edge(agent, server.port) == expected


@pytest.mark.timeout(180)
def test_every_request_of_wrk_at_full_speed_is_counted(agent: Agent) -> None:
    agent.page()
    before = lost(agent)
    with nginx(access_log=True, workers=2) as server:
        load = wrk(server, seconds=LOAD_SECONDS, connections=CONNECTIONS)
        time.sleep(0.5)
        log = access_log(server.folder)
        requests = total(log).requests
        assert load.requests <= requests <= load.requests + CONNECTIONS
        wait_for(agent, server.port, requests)
    assert lost(agent) == before
    assert total(entity(agent, server.port)).requests == requests
    assert total(edge(agent, server.port)).requests == requests
    assert counts(entity(agent, server.port)) == counts(log)


@pytest.mark.timeout(180)
def test_every_pipelined_request_of_wrk_at_full_speed_is_counted() -> None:
    """nginx has read up to 16 requests of each connection when wrk closes it: it logs some, and drops the rest."""
    in_flight = 16 * CONNECTIONS
    with watching(ring="32MiB") as agent, nginx(access_log=True, workers=2) as server:
        load = wrk(server, seconds=max(2, LOAD_SECONDS // 3), connections=CONNECTIONS, script=PIPELINE)
        time.sleep(0.5)
        log = total(access_log(server.folder)).requests
        agent.settled("kindling_topology_request_total", dst_port=str(server.port))
        seen = counts(entity(agent, server.port))
        assert lost(agent) == {}
        assert set(seen) <= {"200", "no response"}
        assert load.requests <= seen["200"] <= log <= sum(seen.values()) <= load.requests + in_flight
        assert total(entity(agent, server.port)) == total(edge(agent, server.port))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_statuses_and_methods(agent: Agent, address: str) -> None:
    with nginx(address=address, access_log=True) as server:
        for _ in range(25):
            for method in ("GET", "HEAD", "POST", "PUT"):
                body = b"" if method in {"POST", "PUT"} else None
                with connected(server) as client:
                    for path, status in STATUSES.items():
                        assert client.ask(method, path, body).status == status
                    assert client.ask(method, "/error", body).status == 500  # after which nginx closes
        assert_as_logged(agent, server, 25 * 4 * 5)


@pytest.mark.parametrize("sendfile", [False, True], ids=["write", "sendfile"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_bodies_of_every_size_both_ways(agent: Agent, address: str, sendfile: bool) -> None:
    with nginx(address=address, access_log=True, sendfile=sendfile, bodies=SIZES, locations=LOCATIONS) as server:
        with connected(server) as client:
            rounds = 2
            for number in range(rounds):
                for size in SIZES:
                    assert client.ask("GET", f"/body/{size}").status == 200
                    assert client.ask("HEAD", f"/body/{size}").status == 200
                    assert client.ask("GET", f"/chunked/{size}").status == 200
                    assert client.ask("PUT", f"/put/{number}-{size}", bytes(size)).status == 201
                    client.send(head("PUT", f"/put/{number}-{size}", "Transfer-Encoding: chunked"))
                    client.send(chunked(bytes(size), 30_000))
                    assert client.answer().status == 204
        assert_as_logged(agent, server, rounds * len(SIZES) * 5)
        assert total(entity(agent, server.port)) == Figures(rounds * len(SIZES) * 5, client.sent, client.received)


def test_bodies_that_the_server_throws_away_after_its_response(agent: Agent) -> None:
    """nginx answers before it has read the body, and does not count it itself. The last piece of one may look like a request
    that waits for its response: it is told with what comes next, at the latest with the end of the connection."""
    sent: dict[str, Figures] = {}
    with nginx() as server:
        with connected(server) as client:
            for path, status in {"/upload": 200, "/status/503": 503, "/missing": 404}.items():
                for size in SIZES:
                    before = client.sent
                    answer = client.ask("POST", path, bytes(size))
                    assert answer.status == status
                    figures = Figures(1, client.sent - before, answer.size)
                    sent[str(status)] = sent.get(str(status), Figures()) + figures
        agent.wait(lambda reader: entity(reader, server.port) == edge(reader, server.port) == sent, 15)
        wait_for(agent, server.port, total(sent).requests)
    assert entity(agent, server.port) == sent
    assert edge(agent, server.port) == sent


def test_a_client_that_begins_to_pipeline_later(agent: Agent) -> None:
    """Its requests had been merged with their responses, and a batch is longer than what can be merged."""
    with nginx(access_log=True) as server, connected(server) as client:
        for _ in range(10):
            assert client.ask("GET", "/").status == 200
        time.sleep(0.5)  # the engine has seen enough of it
        for _ in range(20):
            client.send(b"".join(head("GET", f"/status/404/{number}") for number in range(16)))
            assert [client.answer().status for _ in range(16)] == [404] * 16
        assert_as_logged(agent, server, 10 + 20 * 16)


def test_sixteen_requests_in_flight(agent: Agent) -> None:
    paths = [path for path in STATUSES for _ in range(4)]
    with nginx(access_log=True, bodies=[20_000], locations=LOCATIONS) as server, connected(server) as client:
        paths[5] = "/body/20000"
        for _ in range(30):
            client.send(b"".join(head("GET", path) for path in paths))
            assert [client.answer().status for _ in paths] == [STATUSES.get(path, 200) for path in paths]
        assert_as_logged(agent, server, 30 * len(paths))


def test_responses_that_leave_in_one_write(agent: Agent) -> None:
    batch, rounds = 16, 20
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n" + bytes(60)
    sent = 0
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0] as server:
            for _ in range(rounds):
                client.sendall(text := b"".join(head("GET", f"/batch/{number}") for number in range(batch)))
                sent += len(text)
                assert server.recv(1 << 16) == text
                server.sendall(batch * response)
                assert client.recv(batch * len(response), socket.MSG_WAITALL) == batch * response
    expected = {"200": Figures(rounds * batch, sent, rounds * batch * len(response))}
    wait_for(agent, port, rounds * batch)
    assert entity(agent, port) == expected
    assert edge(agent, port) == expected


def test_http_1_0(agent: Agent) -> None:
    """With keep-alive, and without it, where the body ends with the connection."""
    with nginx(access_log=True, bodies=[3000], locations=LOCATIONS) as server:
        with connected(server) as client:
            for _ in range(10):
                assert client.ask("GET", "/body/3000", None, "Connection: keep-alive", version="1.0").status == 200
        for _ in range(10):
            with connected(server) as client:
                assert client.ask("GET", "/chunked/3000", version="1.0").status == 200
            with connected(server) as client:
                assert client.ask("GET", "/missing", version="1.0").status == 404
        assert_as_logged(agent, server, 30)


def test_an_interim_response_belongs_to_its_request(agent: Agent) -> None:
    with nginx(access_log=True, locations=LOCATIONS) as server, connected(server) as client:
        for number in range(12):
            client.send(head("PUT", f"/put/{number}", "Expect: 100-continue", size=5000))
            time.sleep(0.01)  # a client waits for the 100 before it sends the body
            client.send(bytes(5000))
            answer = client.answer()
            assert (answer.status, answer.interim) == (201, (100,))
        wait_for(agent, server.port, 12)
    expected = {"201": Figures(12, client.sent, client.received)}
    assert entity(agent, server.port) == expected
    assert edge(agent, server.port) == expected


@contextmanager
def silent_server() -> Iterator[tuple[int, Callable[[], socket.socket]]]:
    """Its port, and a function that takes the next connection and reads one request's head from it."""
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        listener.settimeout(10)
        links: list[socket.socket] = []

        def take() -> socket.socket:
            link, _ = listener.accept()
            links.append(link)
            link.settimeout(10)
            text = b""
            while not text.endswith(b"\r\n\r\n"):
                text += link.recv(4096)
            return link

        yield listener.getsockname()[1], take
        for link in links:
            link.close()


def test_a_server_that_closes_instead_of_answering(agent: Agent) -> None:
    sent = 0
    with silent_server() as (port, take):
        for number in range(8):
            with socket.create_connection(("127.0.0.1", port)) as link:
                link.sendall(request := head("GET", f"/nothing/{number}"))
                sent += len(request)
                take().close()
                assert link.recv(100) == b""
        wait_for(agent, port, 8)
    assert entity(agent, port) == {"no response": Figures(8, sent, 0)}
    assert edge(agent, port) == {"": Figures(8, sent, 0)}


def test_connections_that_end_while_requests_wait(agent: Agent) -> None:
    """A client that gives up: nginx has read the request, its answer comes never."""
    slow = "location /slow/ { proxy_pass http://127.0.0.1:{silent}/; }"
    with silent_server() as (silent, take), nginx(locations=slow.replace("{silent}", str(silent))) as server:
        clients: list[RawConnection] = []
        for number in range(5):
            with connected(server) as client:
                assert client.ask("GET", "/").status == 200
                client.send(head("GET", f"/slow/{number}"))
                take()
                clients.append(client)
        wait_for(agent, server.port, 10)
        expected = {"200": 5, "no response": 5}
        assert counts(entity(agent, server.port)) == expected
        assert counts(edge(agent, server.port)) == {"200": 5, "": 5}
        assert total(entity(agent, server.port)).request_bytes == sum(client.sent for client in clients)
        assert total(entity(agent, server.port)).response_bytes == sum(client.received for client in clients)
