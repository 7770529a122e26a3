# SPDX-License-Identifier: Apache-2.0
"""How the API server is reached: through the proxy of a kubeconfig, under the name that its certificate has."""

import base64
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from collector.metadata.kube_api import KubeApi, Unavailable
from tests.fake_kube import fake_kube
from tests.servers import certificate

NAME = "kubernetes.default.svc"
PATH = "/api/v1/nodes"


class Proxy(ThreadingHTTPServer):
    """Takes everybody to `target`, wherever he wanted to go, and keeps who asked for what."""

    daemon_threads = True

    def __init__(self, target: int) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.target = target
        self.asked: list[tuple[str, str, str]] = []


class _Tunnel(BaseHTTPRequestHandler):
    server: Proxy

    def do_CONNECT(self) -> None:
        self._told()
        with socket.create_connection(("127.0.0.1", self.server.target)) as onward:
            self.send_response(200)
            self.end_headers()
            self._carry(onward)

    def do_GET(self) -> None:
        self._told()
        with socket.create_connection(("127.0.0.1", self.server.target)) as onward:
            onward.sendall(f"GET {PATH}?limit=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            self.close_connection = True
            while piece := onward.recv(65536):
                self.wfile.write(piece)

    def _told(self) -> None:
        self.server.asked.append((self.command, self.path, self.headers.get("Proxy-Authorization", "")))

    def _carry(self, onward: socket.socket) -> None:
        other = {self.connection: onward, onward: self.connection}
        self.close_connection = True
        while ready := select.select(list(other), [], [], 10)[0]:
            for end in ready:
                if not (piece := end.recv(65536)):
                    return
                other[end].sendall(piece)

    def log_message(self, *_arguments: object) -> None:
        pass


class _Nodes(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"kind": "NodeList"}')

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def _serving(server: ThreadingHTTPServer) -> Iterator[int]:
    """Answers its port."""
    with server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(10)


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    proxy = Proxy(port)
    with _serving(proxy):
        yield proxy


@contextmanager
def by_tls(pem: Path, key: Path) -> Iterator[int]:
    """The port of an API server with this certificate."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Nodes)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who refuses a certificate breaks off
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with _serving(server) as port:
        yield port


def kubeconfig(folder: Path, **cluster: object) -> str:
    path = folder / "config"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1", "kind": "Config", "current-context": "c",
                "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "c", "user": {}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
            }
        ),
        encoding="utf-8",
    )  # fmt: skip
    return str(path)


def test_a_certificate_is_taken_under_the_name_that_the_kubeconfig_has(tmp_path: Path) -> None:
    pem, key = certificate(tmp_path, NAME)
    with by_tls(pem, key) as port:
        reached = {"server": f"https://localhost:{port}", "certificate-authority": str(pem)}
        named = KubeApi.connect(kubeconfig(tmp_path, **reached, **{"tls-server-name": NAME}))
        assert named.get(PATH, {"limit": "1"})["kind"] == "NodeList"
        for wrong in ({}, {"tls-server-name": "elsewhere"}):
            with pytest.raises(Unavailable, match="certificate"):
                KubeApi.connect(kubeconfig(tmp_path, **reached, **wrong)).get(PATH, {"limit": "1"})


def test_the_kubeconfigs_proxy_is_used_with_its_password(tmp_path: Path) -> None:
    """The server's address leads nowhere but through the proxy."""
    pem, key = certificate(tmp_path, NAME)
    with by_tls(pem, key) as port, proxy_to(port) as proxy:
        place = proxy.server_address[1]
        api = KubeApi.connect(
            kubeconfig(
                tmp_path, server=f"https://{NAME}.invalid:6443", **{"certificate-authority": str(pem)},
                **{"tls-server-name": NAME, "proxy-url": f"http://me:p%40ss@127.0.0.1:{place}"},
            )
        )  # fmt: skip
        assert api.get(PATH, {"limit": "1"})["kind"] == "NodeList"
        password = "Basic " + base64.b64encode(b"me:p@ss").decode()
        assert proxy.asked == [("CONNECT", f"{NAME}.invalid:6443", password)]


def test_a_server_without_tls_is_asked_through_the_proxy_too(tmp_path: Path) -> None:
    with fake_kube() as kube, proxy_to(kube.port) as proxy:
        place = proxy.server_address[1]
        config = kubeconfig(
            tmp_path, server="http://nowhere.invalid:8080", **{"proxy-url": f"http://127.0.0.1:{place}"}
        )
        assert KubeApi.connect(config).get(PATH, {"limit": "1"})["kind"]
        assert proxy.asked == [("GET", f"http://nowhere.invalid:8080{PATH}?limit=1", "")]


def test_a_proxy_of_the_environment_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with fake_kube() as kube:
        assert KubeApi.connect(kubeconfig(tmp_path, server=f"http://127.0.0.1:{kube.port}")).get(PATH, {"limit": "1"})


@pytest.mark.parametrize("proxied", [False, True])
def test_a_server_that_is_gone_without_a_word_is_noticed_within_a_minute(tmp_path: Path, proxied: bool) -> None:
    with fake_kube() as kube, proxy_to(kube.port) as proxy:
        told = {"proxy-url": f"http://127.0.0.1:{proxy.server_address[1]}"} if proxied else {}
        api = KubeApi.connect(kubeconfig(tmp_path, server=f"http://127.0.0.1:{kube.port}", **told))
        api.get(PATH, {"limit": "1"})
        connections = api._pool.connection_from_url(f"http://127.0.0.1:{kube.port}")
        connection = connections.pool.get()
        kept = connection.sock
        assert kept.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert kept.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        idle, between, count = (
            kept.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + between * count <= 60
        connection.close()


def test_a_proxy_that_cannot_be_used_is_refused_without_its_password(tmp_path: Path) -> None:
    config = kubeconfig(tmp_path, server="https://192.0.2.1", **{"proxy-url": "socks5://me:secret@192.0.2.2:1080"})
    with pytest.raises(Unavailable, match=r"socks5://192\.0\.2\.2: only proxies of http and https") as told:
        KubeApi.connect(config)
    assert "secret" not in str(told.value)
