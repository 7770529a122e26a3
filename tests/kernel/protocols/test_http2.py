# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 requests to nginx over the real kernel: by path and status they are what the client did."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.agents import Agent
from tests.http2_client import http2_client
from tests.operations_seen import protocols, seen
from tests.recordings.parsers.capture_http2 import serve_upgrade
from tests.requests_seen import lost, watching
from tests.servers import nginx, program

STATUSES = {"/": 200, "/moved": 301, "/missing": 404, "/error": 500, "/body/0": 200}

# It answers once it has the whole body.
PUT = "location /put/ { root {folder}; dav_methods PUT; create_full_put_path on; }"


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with watching() as running:
        yield running


def test_requests_one_after_the_other_on_one_connection(agent: Agent) -> None:
    expected: Counter[tuple[str, str, bool]] = Counter()
    with nginx(http2=True, bodies=(0,)) as server:
        with http2_client(server.port) as client:
            for _ in range(20):
                for path, status in STATUSES.items():
                    assert client.get(path, headers=[("cookie", "a=b")]) == status
                    expected[path.replace("/0", "/*"), str(status), status >= 400] += 1
        assert seen(agent, server.port, "http2", expected.total()) == expected
        assert protocols(agent, server.port) == {"http2"}


def test_many_streams_at_once(agent: Agent) -> None:
    """nginx allows 128 of them; they are answered in the order that suits it."""
    with nginx(http2=True) as server:
        for _ in range(5):
            with http2_client(server.port) as client:
                for _ in range(5):
                    for number in range(100):
                        client.ask(("/", "/missing", "/status/503")[number % 3], flush=False)
                    client.flush()
                    client.wait()
        expected = {("/", "200", False): 850, ("/missing", "404", True): 825, ("/status/*", "503", True): 825}
        assert seen(agent, server.port, "http2", 2500) == expected


def test_uploads_and_requests_that_are_given_up(agent: Agent) -> None:
    with nginx(http2=True, locations=PUT) as server:
        with http2_client(server.port) as client:
            for size in (0, 1, 3000):
                assert client.get("/put/file", method="PUT", body=bytes(size)) in {201, 204}
            for _ in range(7):
                client.reset(client.ask("/put/never", method="PUT", body=b"begun", end=False))
            assert client.get("/") == 200
        expected = {
            ("/put/file", "201", False): 1,
            ("/put/file", "204", False): 2,
            ("/put/never", "CANCEL", True): 7,
            ("/", "200", False): 1,
        }
        assert seen(agent, server.port, "http2", 11) == expected


@pytest.mark.timeout(120)
def test_every_request_of_h2load_is_counted(agent: Agent) -> None:
    agent.page()
    before = lost(agent)
    with nginx(http2=True, bodies=(100,), workers=2) as server:
        load = [program("h2load"), "--no-tls-proto=h2c", "-n", "40000", "-c", "8", "-m", "20", server.url("/body/100")]
        said = subprocess.run(load, capture_output=True, text=True, timeout=60, check=True).stdout
        assert "40000 succeeded, 0 failed" in said
        assert seen(agent, server.port, "http2", 40000) == {("/body/*", "200", False): 40000}
    assert lost(agent) == before


def test_a_connection_that_was_switched_from_http1(agent: Agent) -> None:
    """The switched request is HTTP/1's; what follows is HTTP/2's. curl asks, and h2 answers in this process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        threading.Thread(target=serve_upgrade, args=(listener,), daemon=True).start()
        subprocess.run(["curl", "-s", "--http2", f"http://127.0.0.1:{port}/orders/17"], check=True, timeout=10)
        assert seen(agent, port, "http", 1) == {("/orders/*", "101", False): 1}
