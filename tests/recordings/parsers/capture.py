# SPDX-License-Identifier: Apache-2.0
"""Makes the recordings in this folder anew: real clients talk to real servers through a relay that writes it down."""

import asyncio
import contextlib
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import aiohttp
from aiohttp import web

from tests import servers
from tests.recordings.parsers.expected import EXPECTED, rows

FOLDER = Path(__file__).parent
Chunk = tuple[str, str]
# Request content, response content, status, whether it is an error.
Said = tuple[str, str, int, bool]


class Relay:
    """Passes one connection after the other, or datagrams, on to `port`, and keeps what passed."""

    def __init__(self, port: int, *, datagram: bool = False, listen: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.chunks: list[Chunk] = []
        self._target = ("127.0.0.1", port)
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM)
        self._listener.bind(listen)
        self.port = self._listener.getsockname()[1]
        if not datagram:
            self._listener.listen()
        threading.Thread(target=self._datagrams if datagram else self._accept, daemon=True).start()

    def _keep(self, side: str, data: bytes) -> None:
        with self._lock:
            self.chunks.append((side, data.hex()))

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(self._target)
            for source, sink, side in ((client, server, "client"), (server, client, "server")):
                threading.Thread(target=self._pass, args=(source, sink, side), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, side: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._keep(side, data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def _datagrams(self) -> None:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.settimeout(2)
        while True:
            data, client = self._listener.recvfrom(65536)
            self._keep("client", data)
            server.sendto(data, self._target)
            with contextlib.suppress(TimeoutError):
                answer = server.recv(65536)
                self._keep("server", answer)
                self._listener.sendto(answer, client)


def version(*command: str) -> str:
    """The program's name and the version that it tells of itself, as "nginx 1.22.1"."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = done.stdout + done.stderr
    # MariaDB's client has a version of its own before that of the distribution.
    found = re.search(r"(\d+(?:\.\d+)+[^\s,;)]*)", told.split("Distrib ")[-1])
    assert found, command
    return f"{Path(command[0]).name} {found.group(1)}"


def nginx() -> str:
    return version("nginx", "-v")


def write(
    name: str, protocol: str, programs: str, command: str, relay: Relay, expected: Mapping[Said, int] | None = None
) -> None:
    """`expected`: what must be counted, how often, where expected.py does not say it; README.md says how."""
    time.sleep(0.3)
    assert relay.chunks, name
    content: dict[str, object] = {"protocol": protocol, "programs": programs, "command": command}
    if name in EXPECTED:
        content["expected"] = rows(EXPECTED[name])
    elif expected is not None:
        content["expected"] = [[protocol, *said, count] for said, count in sorted(expected.items())]
    content["chunks"] = relay.chunks
    (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def run(*command: str, text: str = "") -> str:
    """Runs a client, whatever it says, and gives back how it was called."""
    subprocess.run(command, input=text.encode(), capture_output=True, timeout=20, check=False)
    return " ".join(command)


def http_nginx() -> None:
    with servers.nginx(bodies=(0, 5000)) as server:
        relay = Relay(server.port)
        base = f"http://127.0.0.1:{relay.port}"
        command = run(
            *("curl", "-s", f"{base}/", f"{base}/missing", f"{base}/moved?secret=1", f"{base}/body/5000"),
            *(f"{base}/body/0", f"{base}/error", f"{base}/status/204"),
        )
        write("http-curl-nginx", "http", f"{version('curl', '--version')}; {nginx()}", command, relay)

        relay = Relay(server.port)
        base = f"http://127.0.0.1:{relay.port}"
        command = run("curl", "-s", "-I", f"{base}/body/5000", f"{base}/missing", f"{base}/")
        write("http-curl-nginx-head", "http", f"{version('curl', '--version')}; {nginx()}", command, relay)

        relay = Relay(server.port)
        command = run("wrk", "-c1", "-t1", "-d1", f"http://127.0.0.1:{relay.port}/body/0")
        relay.chunks = relay.chunks[:20]
        write("http-wrk-nginx", "http", f"{version('wrk', '-v')}; {nginx()}", command, relay)

        relay = Relay(server.port)
        with socket.create_connection(("127.0.0.1", relay.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /missing HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
            time.sleep(0.3)
        write("http-pipelined-nginx", "http", f"a socket; {nginx()}", "six requests in one write", relay)


async def _aiohttp_server() -> tuple[web.AppRunner, int]:
    async def stream(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        response = web.StreamResponse(headers={"X-Length": str(len(body))})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for size in (1, 10, 300):
            await response.write(b"x" * size)
        await response.write_eof()
        return response

    async def socket_(request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        async for message in answer:
            await answer.send_str(str(message.data))
        return answer

    application = web.Application()
    application.router.add_route("*", "/stream/{tail:.*}", stream)
    application.router.add_get("/socket", socket_)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, runner.addresses[0][1]


async def _http_aiohttp() -> None:
    runner, port = await _aiohttp_server()
    relay = Relay(port)
    base = f"http://127.0.0.1:{relay.port}"
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}

    async def pieces() -> object:
        for size in (5, 500):
            yield b"y" * size

    async with aiohttp.ClientSession() as session:
        for verb, path, body in (
            ("GET", "/stream/a", None),
            ("POST", "/stream/b/17", b"z" * 100),
            ("PUT", "/stream/c", pieces()),
            ("PATCH", "/stream/d?q=1", b"{}"),
            ("DELETE", "/stream/e", None),
            ("GET", "/none", None),
        ):
            async with session.request(verb, base + path, data=body, headers=headers) as response:
                await response.read()
    write("http-aiohttp", "http", f"aiohttp {aiohttp.__version__}", "six requests, bodies chunked both ways", relay)

    relay = Relay(port)
    loop = asyncio.get_running_loop()
    url = f"http://127.0.0.1:{relay.port}/stream/upload"
    command = await loop.run_in_executor(
        None, lambda: run("curl", "-s", "-H", "Expect: 100-continue", "-d", "k" * 2000, url)
    )
    await loop.run_in_executor(None, lambda: run("curl", "-s", "-T", "-", url, text="m" * 700))
    write("http-curl-continue", "http", version("curl", "--version"), f"{command[:60]}...; curl -T -", relay)

    relay = Relay(port)
    async with aiohttp.ClientSession() as session, session.ws_connect(f"http://127.0.0.1:{relay.port}/socket") as ws:
        for word in ("one", "two", "three"):
            await ws.send_str(word)
            await ws.receive_str()
    write("http-websocket", "http", f"aiohttp {aiohttp.__version__}", "upgrade, then three messages", relay)
    await runner.cleanup()


def http_aiohttp() -> None:
    asyncio.run(_http_aiohttp())


def http_python() -> None:
    port = servers.free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(FOLDER), str(port)]
    with _http_server(command, port):
        relay = Relay(port)
        said = run("curl", "-s", "--http1.0", f"http://127.0.0.1:{relay.port}/__init__.py")
        write(
            "http-curl-python",
            "http",
            f"{version('curl', '--version')}; http.server of Python {sys.version.split()[0]}",
            said,
            relay,
        )


@contextlib.contextmanager
def _http_server(command: list[str], port: int) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not servers.listens(process.pid, "127.0.0.1", port):
                time.sleep(0.02)
            yield
        finally:
            process.terminate()


RECORDS = (
    "www.test. 60 IN A 192.0.2.1",
    "www.test. 60 IN AAAA 2001:db8::1",
    'www.test. 60 IN TXT "hello"',
    "test. 60 IN MX 10 mail.test.",
    "alias.test. 60 IN CNAME www.test.",
    "_http._tcp.test. 60 IN SRV 0 0 80 www.test.",
    "1.2.0.192.in-addr.arpa. 60 IN PTR www.test.",
)


def dns() -> None:
    asked = (
        *("www.test A", "www.test AAAA", "www.test TXT", "test MX", "alias.test A", "_http._tcp.test SRV"),
        *("WwW.TeSt A", "missing.test A", "www.elsewhere A", "www.test HTTPS", "www.test TYPE65280"),
    )
    with servers.unbound(RECORDS) as server:
        for name, datagram in (("dns-dig-udp", True), ("dns-dig-tcp", False)):
            relay = Relay(server.port, datagram=datagram)
            options = ["+tries=1", "+time=1", *(() if datagram else ("+tcp", "+keepopen"))]
            command = run("dig", "@127.0.0.1", "-p", str(relay.port), *options, *" ".join(asked).split())
            write(name, "dns", f"{version('dig', '-v')}; {version(servers.program('unbound'), '-V')}", command, relay)
    with servers.dnsmasq({"www.test": "192.0.2.7"}) as server:
        relay = Relay(server.port, datagram=True)
        said = run("dig", "@127.0.0.1", "-p", str(relay.port), "+noedns", "www.test", "no.test", "x.elsewhere", "PTR")
        write(
            "dns-dig-dnsmasq",
            "dns",
            f"{version('dig', '-v')}; {version(servers.program('dnsmasq'), '--version')}",
            said,
            relay,
        )


def tls() -> None:
    with servers.nginx(tls=True) as server:
        for name, options in (
            ("tls12", ("-tls1_2", "-servername", "Shop.Example.com")),
            ("tls-no-name", ("-tls1_2", "-noservername")),
            ("tls-version", ("-tls1_3", "-servername", "localhost")),
            ("tls-refused", ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA")),
        ):
            relay = Relay(server.port)
            command = run(
                *("openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{relay.port}", *options),
                text="GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            )
            write(name, "tls", f"{version('openssl', 'version')}; {nginx()}", command, relay)
        relay = Relay(server.port)
        with contextlib.suppress(ssl.SSLError), socket.create_connection(("127.0.0.1", relay.port)) as plain:
            ssl.create_default_context().wrap_socket(plain, server_hostname="bad.test")
        write(
            "tls-distrusted",
            "tls",
            f"Python {sys.version.split()[0]}, {ssl.OPENSSL_VERSION}; {nginx()}",
            "a client that knows no such CA",
            relay,
        )
    with servers.tls_server() as server:
        relay = Relay(server.port)
        command = run(
            *("openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{relay.port}", "-tls1_3"),
            *("-servername", "api.example.com"),
            text="GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
        write("tls13", "tls", f"{version('openssl', 'version')}; its s_server", command, relay)


def redis_cli() -> None:
    with servers.redis() as server:
        relay = Relay(server.port)
        words = "PING\nSET k v\nGET k\nLRANGE GET 0 1\nHGETALL h\nBADCOMMAND\n"
        said = run("redis-cli", "-p", str(relay.port), text=words)
        relay.chunks = [(side, data[:8192]) for side, data in relay.chunks]
        write("redis-cli", "redis", version("redis-cli", "--version"), said, relay)


RECIPES: dict[str, Callable[[], None]] = {
    recipe.__name__: recipe for recipe in (http_nginx, http_aiohttp, http_python, dns, tls, redis_cli)
}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or RECIPES:
        RECIPES[chosen]()
