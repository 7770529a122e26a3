# SPDX-License-Identifier: Apache-2.0
"""A relay of TCP connections for tests: counts what goes through, and breaks off when it is told to."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Relay:
    """`sent` are the bytes that clients sent so far, `cuts` the connections that `cut` ended."""

    def __init__(self) -> None:
        self.port = 0
        self.sent = 0
        self.cuts = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def cut(self) -> bool:
        """Ends every connection, whatever was still to be said on it. True, for who asks whether it was done."""
        with self._lock:
            self.cuts += len(self._open)
            for client in self._open:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
        return True

    def carry(self, client: socket.socket, server: socket.socket) -> None:
        """Until either end is done."""
        with self._lock:
            self._open.add(client)
        back = threading.Thread(target=_pump, args=(server, client), daemon=True)
        back.start()
        try:
            with suppress(OSError):
                while data := client.recv(1 << 16):
                    self.sent += len(data)
                    server.sendall(data)
        finally:
            _end(server)
            back.join()
            with self._lock:
                self._open.discard(client)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    _end(target)


def _end(ended: socket.socket) -> None:
    with suppress(OSError):
        ended.shutdown(socket.SHUT_RDWR)


@contextmanager
def relay(onwards: int) -> Iterator[Relay]:
    """One on a port of its own, to that port of this machine."""
    made = Relay()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", onwards), 5) as server:
                server.settimeout(None)
                made.carry(self.request, server)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        made.port = listening.server_address[1]
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield made
        finally:
            listening.shutdown()
            made.cut()
            thread.join()
