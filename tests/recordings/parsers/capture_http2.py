# SPDX-License-Identifier: Apache-2.0
"""Makes the recordings of HTTP/2 and gRPC anew: `python -m tests.recordings.parsers.capture_http2 [name...]`."""

import contextlib
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events

from tests import servers
from tests.http2_client import http2_client
from tests.kernel.programs import grpc_server
from tests.recordings.parsers.capture import Relay, Said, nginx, run, version, write

PREFIX = "/shop.v1.Orders/"

NGINX = [
    ("/", "200", 200, False),
    ("/missing", "404", 404, True),
    ("/moved", "301", 301, False),
    ("/body/*", "200", 200, False),
    ("/body/*", "200", 200, False),
    ("/error", "500", 500, True),
    ("/status/*", "204", 204, False),
    ("/missing", "404", 404, True),
]
NGHTTP = [("/", "200", 200, False)] * 5 + [("/body/*", "200", 200, False)] * 5
NGHTTP += [("/missing", "404", 404, True)] * 5 + [("/status/*", "503", 503, True)] * 5
ORDERS = "/shop.v1.Orders/"
UNARY = [(f"{ORDERS}Get", "0", 0, False)] * 3 + [(f"{ORDERS}Fail", str(code), code, True) for code in (5, 7, 13)]
UNARY += [(f"{ORDERS}None", "12", 12, True), ("/no.Such/Thing", "12", 12, True)]
STREAMS = [
    (f"{ORDERS}Watch", "0", 0, False),
    (f"{ORDERS}Watch", "9", 9, True),
    (f"{ORDERS}Upload", "0", 0, False),
    (f"{ORDERS}Chat", "0", 0, False),
]
# What each client was told to do and saw.
EXPECTED: dict[str, list[Said]] = {
    "http2-nginx": NGINX,
    "http2-nghttp-nginx": NGHTTP,
    "http2-h2load-nginx": [("/body/*", "200", 200, False)] * 30,
    "http2-curl-upload": [("/upload", "200", 200, False)],
    "grpc-unary": UNARY,
    "grpc-streams": STREAMS,
    "grpc-cancelled": [(f"{ORDERS}Sleep", "1", 1, True), (f"{ORDERS}Watch", "1", 1, True)],
    "grpc-many": [(f"{ORDERS}Get", "0", 0, False)] * 40,
}


def keep(name: str, programs: str, command: str, relay: Relay) -> None:
    write(name, name.split("-", maxsplit=1)[0], programs, command, relay, Counter(EXPECTED[name]))


def http2_nginx() -> None:
    with servers.nginx(bodies=(0, 3000, 5000), http2=True) as server:
        relay = Relay(server.port)
        paths = ("/", "/missing", "/moved?secret=1", "/body/3000", "/body/0", "/error", "/status/204", "/missing")
        with http2_client(relay.port) as client:
            for path in paths:
                client.get(path, headers=[("cookie", "key=word"), ("authorization", "Basic c2VjcmV0")])
        keep("http2-nginx", f"h2 {h2.__version__}; {nginx()}", " ".join(paths), relay)

        relay = Relay(server.port)
        base = f"http://127.0.0.1:{relay.port}"
        said = run("nghttp", "-n", "-m", "5", f"{base}/", f"{base}/body/3000", f"{base}/missing", f"{base}/status/503")
        keep("http2-nghttp-nginx", f"{version('nghttp', '--version')}; {nginx()}", said, relay)

        relay = Relay(server.port)
        said = run("h2load", "-n", "30", "-c", "1", "-m", "10", f"http://127.0.0.1:{relay.port}/body/0?key=word")
        keep("http2-h2load-nginx", f"{version('h2load', '--version')}; {nginx()}", said, relay)

        relay = Relay(server.port)
        url = f"http://127.0.0.1:{relay.port}/upload"
        said = run("curl", "-s", "--http2-prior-knowledge", "-d", "k" * 3000, url)
        keep("http2-curl-upload", f"{version('curl', '--version')}; {nginx()}", said[:60] + "...", relay)


def serve_upgrade(listener: socket.socket) -> None:
    """One connection: an HTTP/1.1 request that is switched to HTTP/2, then an answer of 200 to it and to any other."""
    peer, _ = listener.accept()
    state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    # The client has what it asked for and may be gone before it is told the last of it.
    with peer, contextlib.suppress(ConnectionError):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += peer.recv(65536)
        settings = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"http2-settings:"))
        state.initiate_upgrade_connection(settings.split(b":", 1)[1].strip())
        peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        state.send_headers(1, [(":status", "200"), ("content-length", "5")])
        state.send_data(1, b"first", end_stream=True)
        peer.sendall(state.data_to_send())
        while data := peer.recv(65536):
            for event in state.receive_data(data):
                if isinstance(event, h2.events.StreamEnded):
                    state.send_headers(event.stream_id, [(":status", "404")], end_stream=True)
            peer.sendall(state.data_to_send())


def http2_upgrade() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve_upgrade, args=(listener,), daemon=True).start()
        relay = Relay(listener.getsockname()[1])
        said = run("curl", "-s", "--http2", f"http://127.0.0.1:{relay.port}/orders/17")
        write("http-upgrade-h2c", "http", f"{version('curl', '--version')}; h2 {h2.__version__}", said, relay)


def _channel(port: int) -> Any:
    return grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_retries", 0)])


def grpc_python() -> None:
    port = servers.free_port()
    server = grpc_server.serve(port)
    programs = f"grpcio {grpc.__version__}"
    trace = [
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("authorization", "Bearer key"),
    ]

    relay = Relay(port)
    with _channel(relay.port) as channel:
        get = channel.unary_unary(PREFIX + "Get")
        for size in (1, 10, 100):
            get(b"g" * size, metadata=trace)
        for code in (5, 7, 13):
            _expect(partial(channel.unary_unary(PREFIX + "Fail"), str(code).encode()))
        _expect(lambda: channel.unary_unary(PREFIX + "None")(b""))
        _expect(lambda: channel.unary_unary("/no.Such/Thing")(b""))
    keep("grpc-unary", programs, "3 Get, Fail with 5, 7, 13, two unknown methods", relay)

    relay = Relay(port)
    with _channel(relay.port) as channel:
        assert len(list(channel.unary_stream(PREFIX + "Watch")(b"3 100 0"))) == 3
        _expect(lambda: list(channel.unary_stream(PREFIX + "Watch")(b"2 10 9")))
        assert channel.stream_unary(PREFIX + "Upload")(iter([b"u" * 500] * 4)) == b"2000"
        assert list(channel.stream_stream(PREFIX + "Chat")(iter([b"a", b"b"]))) == [b"a", b"b"]
    keep("grpc-streams", programs, "Watch 3, Watch 2 that ends with 9, Upload 4, Chat 2", relay)

    relay = Relay(port)
    with _channel(relay.port) as channel:
        sleep = channel.unary_unary(PREFIX + "Sleep").future(b"0.5")
        time.sleep(0.2)
        sleep.cancel()
        call = channel.unary_stream(PREFIX + "Watch")(b"100000 100 0")
        next(iter(call))
        call.cancel()
        time.sleep(0.6)
    relay.chunks = [(side, data) for side, data in relay.chunks]
    keep("grpc-cancelled", programs, "Sleep and Watch, both cancelled", relay)

    relay = Relay(port)
    with _channel(relay.port) as channel:
        futures = [channel.unary_unary(PREFIX + "Get").future(str(number).encode()) for number in range(40)]
        assert [int(future.result()) for future in futures] == list(range(40))
    keep("grpc-many", programs, "40 Get at once", relay)
    server.stop(0)


def _expect(call: Callable[[], object]) -> None:
    try:
        call()
    except grpc.RpcError:
        return
    raise AssertionError("no error")


RECIPES: dict[str, Callable[[], None]] = {
    recipe.__name__: recipe for recipe in (http2_nginx, http2_upgrade, grpc_python)
}

if __name__ == "__main__":
    socket.setdefaulttimeout(20)
    for chosen in sys.argv[1:] or RECIPES:
        RECIPES[chosen]()
