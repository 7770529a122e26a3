# SPDX-License-Identifier: Apache-2.0
"""The HTTP listeners as a client meets them, over real sockets."""

import asyncio
import gzip
import json
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from analyzers.rows import DriverCounters
from collector import http_guard, request_stream, server
from collector.api import Problem
from collector.http_guard import ListenError, is_loopback_name
from collector.kinds import Endpoint
from collector.listen_keys import Listeners, Tls
from collector.schema import Config
from collector.server import HttpServer
from tests.fake_agent import MS, SECOND, FakeAgent, Peer, grown, request, sample_of, tcp

LOOPBACK = Endpoint("127.0.0.1", 0)
CURL = Peer("127.0.0.1", "curl", comm="curl", pid=10)
NGINX = Peer("127.0.0.1", "nginx.service", "systemd", comm="nginx", pid=20)
# What Prometheus sends by itself, and with `scrape_protocols: [OpenMetricsText1.0.0]`.
PROMETHEUS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
OPENMETRICS_ALONE = "application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1"


def listeners(**changes: Any) -> Listeners:
    return replace(Config().listen, **{"metrics": LOOPBACK, "api": LOOPBACK, **changes})


@asynccontextmanager
async def serving(agent: FakeAgent, settings: Listeners | None = None) -> AsyncIterator[tuple[str, str]]:
    """URLs of both listeners."""
    http = HttpServer(settings or listeners(), agent)
    await http.start()
    try:
        yield http.url("listen.metrics"), http.url("listen.api")
    finally:
        await http.stop()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def raw(url: str, head: bytes) -> bytes:
    """Everything that a listener sends for a request head, to which the last lines are added."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(head + b"Connection: close\r\n\r\n")
    try:
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


async def get(session: aiohttp.ClientSession, url: str, **more: Any) -> tuple[int, Any, Any]:
    async with session.get(url, **more) as answer:
        body = await answer.read()
        kind = answer.headers.get("Content-Type", "")
        return answer.status, json.loads(body) if kind.startswith("application/json") else body, answer.headers


# --- listen.metrics


async def test_the_metrics_page_comes_whole_in_both_formats(client: aiohttp.ClientSession) -> None:
    agent = FakeAgent(page=[b"x" * 50_000 + b"\n"] * 40)
    async with serving(agent) as (url, _):
        status, body, headers = await get(client, f"{url}/metrics")
        assert (status, body) == (200, b"".join(agent.page))
        assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        # It names both, and would store the `_created` lines of OpenMetrics as series.
        status, body, headers = await get(client, f"{url}/metrics", headers={"Accept": PROMETHEUS})
        assert (status, body) == (200, b"".join(agent.page))
        assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        status, body, headers = await get(client, f"{url}/metrics", headers={"Accept": OPENMETRICS_ALONE})
        assert body.endswith(b"# EOF\n")
        assert headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"


async def test_the_metrics_page_is_zipped_only_when_asked() -> None:
    agent = FakeAgent(page=[b"kindling 1\n" * 2000] * 3)
    async with (
        aiohttp.ClientSession(auto_decompress=False) as client,
        serving(agent) as (url, _),
    ):
        _, body, headers = await get(client, f"{url}/metrics", headers={"Accept-Encoding": "gzip"})
        assert headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(body) == b"".join(agent.page)
        assert len(body) < 5000
        _, body, headers = await get(client, f"{url}/metrics", headers={"Accept-Encoding": "gzip;q=0, identity"})
        assert "Content-Encoding" not in headers
        assert body == b"".join(agent.page)


async def test_a_page_that_cannot_be_made_is_an_error_and_not_an_empty_page(client: aiohttp.ClientSession) -> None:
    async with serving(FakeAgent(fails=True)) as (url, _):
        assert (await get(client, f"{url}/metrics"))[0] == 500


async def test_health_follows_the_loop_and_readiness_does_not(client: aiohttp.ClientSession) -> None:
    agent = FakeAgent()
    async with serving(agent) as (url, _):
        assert (await get(client, f"{url}/healthz"))[0] == 200
        agent.turned = time.monotonic() - server.STALLED_SECONDS - 1
        status, body, _ = await get(client, f"{url}/healthz")
        assert status == 503
        assert "has not finished a turn for 61 s" in body["error"]["what"]
        assert (await get(client, f"{url}/readyz"))[0] == 200


async def test_the_api_is_not_on_the_metrics_listener(client: aiohttp.ClientSession) -> None:
    async with serving(FakeAgent()) as (url, api):
        assert (await get(client, f"{url}/api/v1/status"))[0] == 404
        assert (await get(client, f"{api}/metrics"))[0] == 404


# --- listen.api


async def test_status_topology_traces_rows_and_explain(client: aiohttp.ClientSession) -> None:
    named = request(1, CURL, NGINX, 80, count=5)
    agent = FakeAgent(requests=[named], tcp=[tcp(1, CURL, NGINX, 80, retransmits=1)], recorded=[sample_of(named, 1)])
    agent.now = replace(
        agent.now,
        counters=DriverCounters({}, {"DATA": 3}, {"COMPAT": 2}, 0, 0),
        problems=(Problem("warning", "dns", "no answer", "check the resolver"),),
    )
    async with serving(agent) as (_, url):
        _, status, _ = await get(client, f"{url}/api/v1/status")
        assert (status["version"], status["loss"]["total"], status["not_visible"]) == (1, 3, {"COMPAT": 2})
        assert status["problems"][0]["remedy"] == "check the resolver"
        assert status["stream"] == {"listeners": 0, "listeners_max": 16, "dropped": 0}
        _, topology, _ = await get(client, f"{url}/api/v1/topology?level=address")
        (edge,) = topology["edges"]
        assert edge["total"]["requests"] == 5
        _, rows, _ = await get(client, f"{url}/api/v1/rows", params={"level": "address", "edge": edge["id"]})
        assert (len(rows["rows"]), len(rows["tcp"])) == (1, 1)
        _, rows, _ = await get(client, f"{url}/api/v1/rows", params={"level": "address", "edge": "no such edge"})
        assert (rows["rows"], rows["tcp"]) == ([], [])
        _, rows, _ = await get(client, f"{url}/api/v1/rows", params={"level": "address", "node": edge["source"]})
        assert len(rows["rows"]) == 1
        _, traces, _ = await get(client, f"{url}/api/v1/traces?limit=10")
        assert [r["sequence"] for r in traces["requests"]] == [1]
        _, explained, _ = await get(client, f"{url}/api/v1/explain?address=127.0.0.1:80")
        assert explained["steps"] == ["127.0.0.1 is an address of this host"]
        assert len(explained["rows"]) == 1


async def test_rates_appear_with_the_second_question(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.api_routes.FRESH_SECONDS", 0.0)
    monkeypatch.setattr("collector.api_routes.REUSE", 0)
    first = request(1, CURL, NGINX, 80, count=5)
    agent = FakeAgent(requests=[first], clock_ns=100 * SECOND)
    async with serving(agent) as (_, url):
        _, topology, _ = await get(client, f"{url}/api/v1/topology")
        assert topology["window_seconds"] is None
        agent.requests, agent.clock_ns = [grown(first, 10)], 102 * SECOND
        _, topology, _ = await get(client, f"{url}/api/v1/topology")
        assert topology["edges"][0]["window"]["requests_per_second"] == 5.0


async def test_pollers_share_an_answer(client: aiohttp.ClientSession) -> None:
    agent = FakeAgent(requests=[request(1, CURL, NGINX, 80)])
    async with serving(agent) as (_, url):
        for _ in range(5):
            await get(client, f"{url}/api/v1/topology")
        assert agent.traffic_asked == 1
        await get(client, f"{url}/api/v1/topology?level=pod")
        assert agent.traffic_asked == 2


async def test_node_graph_routes(client: aiohttp.ClientSession) -> None:
    rows = [
        request(1, CURL, NGINX, 80, count=3, duration_ns=35_000),
        request(2, CURL, NGINX, 80, count=1, status=500, error=True, duration_ns=35_000),
    ]
    async with serving(FakeAgent(requests=rows)) as (_, url):
        _, fields, _ = await get(client, f"{url}/api/graph/fields")
        _, data, _ = await get(client, f"{url}/api/graph/data")
        for kind in ("nodes", "edges"):
            named = {row["field_name"] for row in fields[f"{kind}_fields"]}
            assert all(set(item) == named for item in data[kind])
        served = next(node for node in data["nodes"] if node["title"] == "nginx.service")
        assert (served["arc__healthy"], served["arc__failed"]) == (0.75, 0.25)
        assert data["edges"][0]["secondaryStat"] == "p99 <1 ms"
        assert {data["edges"][0]["source"], data["edges"][0]["target"]} == {node["id"] for node in data["nodes"]}
        assert (await get(client, f"{url}/api/graph/health"))[0] == 200
        assert (await get(client, f"{url}/api/health"))[0] == 200


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/api/v1/topology?level=pods", 'level "pods" is unknown'),
        ("/api/v1/topology?limit=0", 'limit "0" is not allowed'),
        ("/api/v1/topology?limit=abc", 'limit "abc" is not allowed'),
        ("/api/v1/traces?limit=99999", 'limit "99999" is not allowed'),
        ("/api/v1/traces?after=-1", 'after "-1" is not allowed'),
        ("/api/v1/stream?backlog=%C2%B2", 'backlog "²" is not allowed'),
        ("/api/v1/rows", "either edge or node must be given"),
        ("/api/v1/rows?edge=a&node=b", "either edge or node must be given"),
        ("/api/v1/explain", '"" is not an address'),
        ("/api/v1/explain?address=nginx", '"nginx" is not an address'),
        ("/api/v1/explain?address=1.2.3.4:99999", 'port "99999" is not a number up to 65535'),
        ("/api/v1/explain?address=[::1]80", '"[::1]80" is not an address'),
    ],
)
async def test_wrong_questions_are_told_what_is_allowed(client: aiohttp.ClientSession, path: str, what: str) -> None:
    async with serving(FakeAgent()) as (_, url):
        status, body, _ = await get(client, f"{url}{path}")
        assert status == 400
        assert body["error"]["what"] == what
        assert body["error"]["remedy"]


@pytest.mark.parametrize(
    ("given", "shown"),
    [("127.0.0.1", ("127.0.0.1", 0)), ("1.2.3.4:80", ("1.2.3.4", 80)), ("::1", ("::1", 0)), ("[::1]:53", ("::1", 53)),
     ("::ffff:1.2.3.4", ("1.2.3.4", 0)), ("[2001:DB8::1]", ("2001:db8::1", 0))],
)  # fmt: skip
async def test_ways_to_write_an_address(client: aiohttp.ClientSession, given: str, shown: tuple[str, int]) -> None:
    async with serving(FakeAgent()) as (_, url):
        _, body, _ = await get(client, f"{url}/api/v1/explain", params={"address": given})
        assert (body["ip"], body["port"]) == shown


async def test_unknown_paths_say_where_to_go(client: aiohttp.ClientSession) -> None:
    async with serving(FakeAgent()) as (_, url):
        status, body, _ = await get(client, f"{url}/api/v2/status")
        assert (status, "docs/api.md" in body["error"]["remedy"]) == (404, True)
        assert (await get(client, f"{url}/live/..%2f..%2fapi.py"))[0] == 404


async def test_the_page_and_its_files_may_only_load_themselves(client: aiohttp.ClientSession) -> None:
    async with serving(FakeAgent()) as (_, url):
        status, body, headers = await get(client, f"{url}/")
        assert (status, b"/live/page.js" in body) == (200, True)
        assert headers["Content-Security-Policy"] == http_guard.CONTENT_SECURITY_POLICY
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers
        assert headers["X-Frame-Options"] == "DENY"
        again, _, _ = await get(client, f"{url}/", headers={"If-None-Match": headers["ETag"]})
        assert again == 304
        _, _, headers = await get(client, f"{url}/live/page.js")
        assert headers["Content-Type"] == "text/javascript; charset=utf-8"


# --- who may ask


@pytest.mark.parametrize(
    ("host", "admitted"),
    [
        ("127.0.0.1:9501", True), ("localhost", True), ("localhost:9501", True), ("[::1]:9501", True), ("127.8.8.8", True),
        ("LOCALHOST.", True), ("app.localhost:80", True), ("evil.example", False), ("evil.example:9501", False),
        ("127.0.0.1.evil.example", False), ("192.168.0.1", False), ("", False), ("[::2]", False), ("localhost.evil", False),
    ],
)  # fmt: skip
async def test_dns_rebinding_is_refused_on_loopback(client: aiohttp.ClientSession, host: str, admitted: bool) -> None:
    assert is_loopback_name(host) is admitted
    if not host:
        return
    async with serving(FakeAgent()) as (metrics, api):
        for url in (f"{metrics}/metrics", f"{api}/api/v1/status", f"{api}/"):
            status, body, _ = await get(client, url, headers={"Host": host})
            assert status == (200 if admitted else 421)
            assert admitted or "127.0.0.1" in body["error"]["remedy"]


async def test_other_sites_scripts_are_refused_and_links_are_not(client: aiohttp.ClientSession) -> None:
    async with serving(FakeAgent()) as (_, url):
        script = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        own = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
        assert (await get(client, f"{url}/api/v1/stream", headers=script))[0] == 403
        assert (await get(client, f"{url}/", headers=link))[0] == 200
        assert (await get(client, f"{url}/api/v1/status", headers=own))[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_only_reading_is_allowed(client: aiohttp.ClientSession, method: str) -> None:
    async with serving(FakeAgent()) as urls:
        for url in urls:
            async with client.request(method, f"{url}/") as answer:
                assert answer.status == 405
                assert answer.headers["Allow"] == "GET, HEAD"


async def test_bodies_and_long_heads_are_refused(client: aiohttp.ClientSession) -> None:
    async with serving(FakeAgent()) as (url, _):
        async with client.request("GET", f"{url}/metrics", data=b"x") as answer:
            assert answer.status == 413
        assert (await get(client, f"{url}/metrics", headers={"X-Long": "x" * 9000}))[0] == 400
        assert (await get(client, f"{url}/metrics?{'x' * 9000}"))[0] == 400


def token_file(folder: Path, token: str = "correct-horse-battery") -> Path:
    path = folder / "token"
    path.write_text(f"{token}\n")
    return path


async def test_the_token_guards_the_api_and_nothing_else(client: aiohttp.ClientSession, tmp_path: Path) -> None:
    path = token_file(tmp_path)
    async with serving(FakeAgent(), listeners(auth=str(path))) as (metrics, api):
        status, body, headers = await get(client, f"{api}/api/v1/status")
        assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer realm="firesteel"')
        assert "listen.auth" in body["error"]["remedy"]
        for wrong in ("Bearer wrong", "Basic correct-horse-battery", "correct-horse-battery", "Bearer ", "Bearer é"):
            assert (await get(client, f"{api}/api/v1/status", headers={"Authorization": wrong}))[0] == 401
        right = {"Authorization": "Bearer correct-horse-battery"}
        assert (await get(client, f"{api}/api/v1/status", headers=right))[0] == 200
        assert (await get(client, f"{api}/api/graph/data"))[0] == 401
        assert (await get(client, f"{api}/"))[0] == 200
        assert (await get(client, f"{metrics}/metrics"))[0] == 200


async def test_the_metrics_may_ask_for_a_token_of_their_own(client: aiohttp.ClientSession, tmp_path: Path) -> None:
    path = token_file(tmp_path)
    async with serving(FakeAgent(), listeners(metrics_auth=str(path))) as (metrics, api):
        status, body, _ = await get(client, f"{metrics}/metrics")
        assert status == 401
        assert "listen.metrics_auth" in body["error"]["remedy"]
        right = {"Authorization": "Bearer correct-horse-battery"}
        assert (await get(client, f"{metrics}/metrics", headers=right))[0] == 200
        for path_of_probe in ("/healthz", "/readyz"):
            assert (await get(client, f"{metrics}{path_of_probe}"))[0] == 200
        assert (await get(client, f"{api}/api/v1/status"))[0] == 200


async def test_a_token_of_stray_bytes_is_a_wrong_one(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("0123456789abcdef")
    async with serving(FakeAgent(), listeners(auth=str(file))) as (_, api):
        answer = await raw(api, b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \xff\xfe\r\n")
        assert answer.startswith(b"HTTP/1.1 401 ")


async def test_a_head_has_no_body() -> None:
    async with serving(FakeAgent()) as (metrics, api):
        answer = await raw(metrics, b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\n")
        answer = await raw(api, b"HEAD /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n")
        assert answer.startswith(b"HTTP/1.1 405 ")


async def test_a_reader_that_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "WRITE_SECONDS", 0.2)
    monkeypatch.setattr(server, "PAGES_MAX", 1)
    agent = FakeAgent()
    agent.metrics = lambda **_: iter([b"# " + b"x" * (1 << 20) + b"\n"] * 64)  # type: ignore[method-assign]
    async with serving(agent) as (url, _), aiohttp.ClientSession() as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), limit=1 << 10)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readline()
        status, told, _ = await get(client, f"{url}/metrics")
        assert (status, told["error"]["what"]) == (503, "1 pages are being read already")
        await asyncio.sleep(0.8)
        assert (await get(client, f"{url}/metrics"))[0] == 200
        assert len(await asyncio.wait_for(reader.read(), 5)) < 64 << 20
        writer.close()


async def test_a_rotated_token_is_taken_over(
    client: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_guard, "_TOKEN_REREAD_SECONDS", 0.0)
    path = token_file(tmp_path)
    async with serving(FakeAgent(), listeners(auth=str(path))) as (_, api):
        token_file(tmp_path, "another-long-enough-token")
        new = {"Authorization": "Bearer another-long-enough-token"}
        assert (await get(client, f"{api}/api/v1/status", headers=new))[0] == 200
        path.unlink()
        assert (await get(client, f"{api}/api/v1/status", headers=new))[0] == 200


async def test_beyond_loopback_an_api_without_a_token_is_refused(tmp_path: Path) -> None:
    everywhere = Endpoint("", 0)
    with pytest.raises(ListenError) as refused:
        await HttpServer(listeners(api=everywhere), FakeAgent()).start()
    assert "can be reached from other machines" in str(refused.value)
    assert "listen.auth" in refused.value.remedy
    async with serving(
        FakeAgent(), listeners(metrics=everywhere, api=everywhere, auth=str(token_file(tmp_path)))
    ) as urls:
        assert all(url.startswith("http://127.0.0.1:") for url in urls)


@pytest.mark.parametrize("content", ["", "short", "x" * 5000])
async def test_a_useless_token_file_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ListenError, match="allowed are 16 to 4096"):
        await HttpServer(listeners(auth=str(token_file(tmp_path, content))), FakeAgent()).start()
    with pytest.raises(ListenError, match="No such file"):
        await HttpServer(listeners(auth=str(tmp_path / "none")), FakeAgent()).start()


# --- opening and closing


async def test_a_port_in_use_names_the_key_and_a_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ListenError) as error:
            await HttpServer(listeners(api=Endpoint("127.0.0.1", port)), FakeAgent()).start()
        text = str(error.value)
        assert f"listen.api: 127.0.0.1:{port} is in use" in text
        assert "--set listen.api=127.0.0.1:" in text


@pytest.mark.parametrize(
    ("host", "problem"), [("192.0.2.55", "no address of this machine"), ("no.such.invalid", "cannot be resolved")]
)
async def test_a_bad_address_is_named(host: str, problem: str) -> None:
    with pytest.raises(ListenError, match=problem):
        await HttpServer(listeners(metrics=Endpoint(host, 0)), FakeAgent()).start()


async def test_when_one_listener_fails_the_other_is_closed_again() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    settings = listeners(metrics=Endpoint("127.0.0.1", free), api=Endpoint("192.0.2.55", 0), auth="/none")
    with pytest.raises(ListenError):
        await HttpServer(settings, FakeAgent()).start()
    with socket.socket() as again:
        again.bind(("127.0.0.1", free))


async def test_off_means_off() -> None:
    async with serving(FakeAgent(), listeners(metrics=None)) as (metrics, api):
        assert metrics == ""
        assert api
    async with serving(FakeAgent(), listeners(api=None)) as (metrics, api):
        assert metrics
        assert api == ""


async def test_new_settings_replace_old_ones_or_leave_them_in_force(client: aiohttp.ClientSession) -> None:
    http = HttpServer(listeners(), FakeAgent())
    await http.start()
    try:
        with pytest.raises(ListenError):
            await http.replace(listeners(metrics=Endpoint("192.0.2.55", 1)))
        assert (await get(client, f"{http.url('listen.metrics')}/readyz"))[0] == 200
        await http.replace(listeners(metrics=Endpoint("127.0.0.2", 0)))
        assert http.url("listen.metrics").startswith("http://127.0.0.2:")
        assert (await get(client, f"{http.url('listen.metrics')}/readyz"))[0] == 200
    finally:
        await http.stop()


async def test_what_privileges_opened_stays_open_without_them(
    client: aiohttp.ClientSession, tmp_path: Path, certificate: Tls
) -> None:
    """A token, a key and a port that cannot be had again: other settings change all the same, or nothing changes."""
    file = tmp_path / "token"
    file.write_text("0123456789abcdef")
    trust = ssl.create_default_context(cafile=certificate.cert)
    first = listeners(auth=str(file), tls=certificate)
    key = Path(certificate.key)
    http = HttpServer(first, FakeAgent())
    await http.start()
    try:
        metrics, api = http.url("listen.metrics"), http.url("listen.api")
        file.unlink()
        key.unlink()  # noqa: ASYNC240 - a file of the test
        with pytest.raises(ListenError, match=r"listen\.auth"):
            await http.replace(replace(first, auth=str(tmp_path / "other")))
        assert (await get(client, f"{metrics}/readyz", ssl=trust))[0] == 200
        await http.replace(replace(first, metrics=Endpoint("127.0.0.2", 0)))
        assert http.url("listen.api") == api
        bearer = {"Authorization": "Bearer 0123456789abcdef"}
        assert (await get(client, f"{api}/api/v1/status", ssl=trust))[0] == 401
        assert (await get(client, f"{api}/api/v1/status", ssl=trust, headers=bearer))[0] == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            await get(client, f"{metrics}/readyz", ssl=trust)
    finally:
        await http.stop()


def self_signed(folder: Path) -> Tls:
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    return Tls(cert=str(cert), key=str(key))


def pem(tls: Tls) -> tuple[str, str]:
    """A certificate and its key."""
    return Path(tls.cert).read_text(), Path(tls.key).read_text()


def write(path: str, text: str) -> None:
    Path(path).write_text(text)


@pytest.fixture
def certificate(tmp_path: Path) -> Tls:
    return self_signed(tmp_path)


async def test_tls(certificate: Tls) -> None:
    trust = ssl.create_default_context(cafile=certificate.cert)
    async with (
        serving(FakeAgent(), listeners(tls=certificate)) as urls,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as client,
    ):
        for url in urls:
            assert url.startswith("https://")
            assert (await get(client, f"{url}/"))[0] == 200


async def test_a_renewed_certificate_is_shown_and_half_of_one_is_not(certificate: Tls, tmp_path: Path) -> None:
    old, old_key = pem(certificate)
    http = HttpServer(listeners(tls=certificate), FakeAgent())
    await http.start()

    async def shown(trusted: str) -> int:
        trust = ssl.create_default_context(cadata=trusted)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as client:
            return (await get(client, f"{http.url('listen.metrics')}/readyz"))[0]

    try:
        new, new_key = pem(self_signed(tmp_path))
        write(certificate.key, old_key)  # the certificate is there, its key is not yet
        assert certificate.cert in http.read_certificate_again()
        assert http.read_certificate_again() == "", "said once"
        assert await shown(old) == 200
        write(certificate.key, new_key)
        assert http.read_certificate_again() == ""
        assert await shown(new) == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await shown(old)
    finally:
        await http.stop()
    plain = HttpServer(listeners(), FakeAgent())
    assert plain.read_certificate_again() == ""


async def test_tls_needs_both_files_and_they_must_be_readable(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match="a certificate needs its key"):
        await HttpServer(listeners(tls=Tls(cert="/a", key="")), FakeAgent()).start()
    with pytest.raises(ListenError, match="must be readable PEM files"):
        await HttpServer(listeners(tls=Tls(cert=str(tmp_path / "a"), key=str(tmp_path / "b"))), FakeAgent()).start()


async def test_silent_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_guard, "FIRST_REQUEST_SECONDS", 0.2)
    async with serving(FakeAgent()) as (url, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: ")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_who_asked_while_the_loop_was_held_up_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_guard, "FIRST_REQUEST_SECONDS", 0.3)
    async with serving(FakeAgent()) as (url, _):
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=5) as asking:
            await asyncio.sleep(0.1)
            asking.sendall(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            time.sleep(0.5)  # noqa: ASYNC251 - a turn that names very many rows, on a busy machine
            asking.setblocking(False)
            answer = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(asking, 4096), 5)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_guard, "CONNECTIONS_MAX", 3)
    async with serving(FakeAgent()) as (url, _):
        port = int(url.rpartition(":")[2])
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        for _, open_writer in (*held, (reader, writer)):
            open_writer.close()


# --- the stream


class Events:
    """Reads server-sent events."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def next(self) -> tuple[str, Any, str]:
        fields: dict[str, str] = {}
        while True:
            line = (await asyncio.wait_for(self._answer.content.readline(), 5)).decode()
            if not line:
                raise EOFError
            name, _, value = line.rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "event" in fields:
                return fields["event"], json.loads(fields["data"]), fields.get("id", "")
            else:
                fields = {}


Streaming = Callable[[FakeAgent, str, aiohttp.ClientSession], Coroutine[Any, Any, None]]


async def test_the_stream_starts_with_the_past_and_goes_on(client: aiohttp.ClientSession) -> None:
    named = request(1, CURL, NGINX, 80)
    agent = FakeAgent(recorded=[sample_of(named, n) for n in range(1, 6)])
    async with serving(agent) as (_, url), client.get(f"{url}/api/v1/stream?backlog=3") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        events = Events(answer)
        kind, data, last = await events.next()
        assert (kind, [r["sequence"] for r in data], last) == ("requests", [3, 4, 5], "5")
        agent.recorded.append(sample_of(named, 6))
        kind, data, last = await events.next()
        assert (kind, [r["sequence"] for r in data], last) == ("requests", [6], "6")


async def test_a_reconnecting_reader_goes_on_where_it_stopped(client: aiohttp.ClientSession) -> None:
    agent = FakeAgent(recorded=[sample_of(request(1, CURL, NGINX, 80), n) for n in range(1, 6)])
    async with serving(agent) as (_, url):
        async with client.get(f"{url}/api/v1/stream", headers={"Last-Event-ID": "2"}) as answer:
            assert [r["sequence"] for r in (await Events(answer).next())[1]] == [3, 4, 5]
        # A number from an earlier life of the agent is not "nothing new for ever".
        async with client.get(f"{url}/api/v1/stream?backlog=1", headers={"Last-Event-ID": "900"}) as answer:
            assert [r["sequence"] for r in (await Events(answer).next())[1]] == [5]


async def test_streams_are_bounded_and_free_again_when_closed(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_stream, "MAX_LISTENERS", 2)
    async with serving(FakeAgent()) as (_, url):
        held = [await client.get(f"{url}/api/v1/stream") for _ in range(2)]
        status, body, headers = await get(client, f"{url}/api/v1/stream")
        assert (status, headers["Retry-After"]) == (503, "5")
        assert "/api/v1/traces" in body["error"]["remedy"]
        for answer in held:
            answer.close()
        for _ in range(100):
            if (await get(client, f"{url}/api/v1/status"))[1]["stream"]["listeners"] == 0:
                break
            await asyncio.sleep(0.05)
        async with client.get(f"{url}/api/v1/stream") as answer:
            assert answer.status == 200


def test_a_slow_listener_loses_the_oldest_and_is_told_how_many() -> None:
    listener = request_stream.Listener()
    for n in range(request_stream.QUEUE_REQUESTS + 7):
        listener.put(n, b"%d" % n)
    text = listener.take().decode()
    assert text.startswith('event: dropped\ndata: {"dropped": 7}\n\nevent: requests\n')
    first = json.loads(text.split("data: ")[2])
    assert (first[0], len(first)) == (7, request_stream.BATCH)
    listener.take()
    assert not listener.ready.is_set()
    assert listener.take() == b""


async def test_requests_that_passed_between_two_looks_are_counted_as_dropped(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_stream, "QUEUE_REQUESTS", 10)
    named = request(1, CURL, NGINX, 80)
    agent = FakeAgent(recorded=[sample_of(named, 1)])
    async with serving(agent) as (_, url), client.get(f"{url}/api/v1/stream") as answer:
        events = Events(answer)
        await events.next()
        agent.recorded += [sample_of(named, n) for n in range(2, 32)]
        assert (await events.next())[:2] == ("dropped", {"dropped": 20})
        assert [r["sequence"] for r in (await events.next())[1]] == list(range(22, 32))
        agent.recorded.append(sample_of(named, 40))  # 32 to 39 were never to be shown: not a loss
        kind, data, _ = await events.next()
        assert (kind, [r["sequence"] for r in data]) == ("requests", [40])


async def test_stopping_ends_open_streams_at_once(client: aiohttp.ClientSession) -> None:
    http = HttpServer(listeners(), FakeAgent())
    await http.start()
    answer = await client.get(f"{http.url('listen.api')}/api/v1/stream")
    started = time.monotonic()
    await http.stop()
    with pytest.raises((EOFError, aiohttp.ClientError)):
        await Events(answer).next()
    assert time.monotonic() - started < 2


async def test_nothing_is_read_while_nobody_listens() -> None:
    class Counting(FakeAgent):
        asked = 0

        def samples(self, after: int, limit: int) -> list[Any]:
            self.asked += 1
            return []

    agent = Counting()
    async with serving(agent):
        await asyncio.sleep(0.6)
    assert agent.asked == 0


def test_durations_of_the_fakes_add_up() -> None:
    row = request(1, CURL, NGINX, 80, duration_ns=8 * MS).row
    assert row.last.request_ns + row.last.processing_ns + row.last.response_ns == row.last.duration_ns
