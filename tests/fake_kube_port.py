# SPDX-License-Identifier: Apache-2.0
"""A port of loopback with an HTTP server behind it, which can be closed with every connection to it and opened again."""

import socket
import ssl
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler], certificate: tuple[Path, Path] | None) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # that the other end left, or that this one was cut, is no fault
            super().handle_error(request, client_address)


class Port:
    """Open from the beginning; `number` stays the same. `certificate` is its path and its key's, for TLS."""

    def __init__(
        self, handler: type[BaseHTTPRequestHandler], number: int = 0, certificate: tuple[Path, Path] | None = None
    ) -> None:
        self._handler = handler
        self._certificate = certificate
        self.number = number
        self.open()

    def open(self) -> None:
        """In this thread's network namespace."""
        self._server = _Server(self.number, self._handler, self._certificate)
        self.number = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        """Who connects afterwards is refused by the kernel, who is connected hears the end at once."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for connection in list(self._server.connections):
            with suppress(OSError):  # it ended by itself
                connection.shutdown(socket.SHUT_RDWR)
