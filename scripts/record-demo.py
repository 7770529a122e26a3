# SPDX-License-Identifier: Apache-2.0
"""Makes tests/recordings/demo.fsrec, which `make run` shows to those who may not watch the kernel. Needs root.

A small shop on loopback: a Python front end that asks nginx and a DNS server, clients that come back, some errors, one
encrypted conversation, one unknown protocol. Only this traffic is kept, so nothing of the machine that made it is in it.
"""

import contextlib
import http.client
import http.server
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.servers import dnsmasq, free_port, nginx, redis  # noqa: E402

TARGET = ROOT / "tests" / "recordings" / "demo.fsrec"
SECONDS = 20.0
_HEAD = struct.Struct("=QQQIIIHHII")
_PORTS_AT = {1: 80, 4: 80, 5: 80, 7: 80, 8: 80}  # by event type: where its tuple has both ports
_PROCESS = 9


def main() -> None:
    records = {"stock.shop.test": "127.0.0.2"}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        web, safe = stack.enter_context(nginx()), stack.enter_context(nginx(tls=True))
        cache, names = stack.enter_context(redis()), stack.enter_context(dnsmasq(records))
        front = free_port()
        raw = Path(folder) / "raw.fsrec"
        recorder = subprocess.Popen([str(Path(sys.executable).parent / "firesteel"), "record", str(raw)])
        time.sleep(4)
        server = subprocess.Popen([sys.executable, __file__, "front", str(front), str(web.port), str(names.port)])
        time.sleep(1)
        visit(front, safe.port, cache.port)
        server.terminate()
        server.wait()
        recorder.send_signal(signal.SIGINT)
        recorder.wait()
        ports = {front, web.port, safe.port, cache.port, names.port}
        TARGET.write_bytes(kept(raw.read_bytes(), ports))
    print(f"{TARGET.relative_to(ROOT)}: {TARGET.stat().st_size} bytes")


def visit(front: int, safe: int, cache: int) -> None:
    """Clients of the shop, for SECONDS."""
    end, count = time.monotonic() + SECONDS, 0
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    browser = http.client.HTTPConnection("127.0.0.1", front)
    encrypted = http.client.HTTPSConnection("127.0.0.1", safe, context=trusting)
    with socket.create_connection(("127.0.0.1", cache)) as store:
        while time.monotonic() < end:
            count += 1
            path = ("/", "/products", "/cart", "/products/1042", "/missing")[count % 5]
            ask(browser, path)
            if count % 3 == 0:
                ask(encrypted, "/")
            if count % 4 == 0:
                store.sendall(b"*1\r\n$4\r\nPING\r\n")
                store.recv(64)
            time.sleep(0.15)


def ask(connection: http.client.HTTPConnection, path: str) -> None:
    connection.request("GET", path)
    connection.getresponse().read()


class Front(http.server.BaseHTTPRequestHandler):
    """Answers after asking the others. `web` and `names` are their ports."""

    protocol_version = "HTTP/1.1"
    web = names = 0

    def do_GET(self) -> None:
        query = dns.message.make_query("stock.shop.test" if "products" in self.path else "nowhere.test", "A")
        dns.query.udp(query, "127.0.0.1", port=self.names, timeout=2)
        behind = http.client.HTTPConnection("127.0.0.1", self.web)
        ask(behind, {"/missing": "/missing", "/cart": "/error"}.get(self.path, "/"))
        behind.close()
        body = b"the shop\n"
        self.send_response({"/missing": 404, "/cart": 502}.get(self.path, 200))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Quiet."""


def serve_front(port: int, web: int, names: int) -> None:
    Front.web, Front.names = web, names
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Front)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    os._exit(0)


def kept(recording: bytes, ports: set[int]) -> bytes:
    """The file's head and the events of connections that have one of `ports`."""
    head_size = struct.unpack_from("=I", recording, 16)[0]
    events = list(split(recording, head_size))
    ours = {conn_id for kind, conn_id, event in events if kind == 1 and touches(kind, event, ports)}
    out = [event for kind, conn_id, event in events if conn_id in ours or touches(kind, event, ports)]
    return recording[:head_size] + b"".join(out)


def touches(kind: int, event: bytes, ports: set[int]) -> bool:
    at = _PORTS_AT.get(kind)
    return at is not None and bool(ports & set(struct.unpack_from("=HH", event, at)))


def split(recording: bytes, at: int) -> Iterator[tuple[int, int, bytes]]:
    """Type, connection id and padded bytes of each event."""
    while at + _HEAD.size <= len(recording):
        _, conn_id, _, _, _, _, kind, _, size, _ = _HEAD.unpack_from(recording, at)
        end = at + (size + 7 & ~7)
        yield kind, conn_id, recording[at:end]
        at = end


if __name__ == "__main__":
    if sys.argv[1:2] == ["front"]:
        serve_front(*(int(part) for part in sys.argv[2:5]))
    else:
        main()
