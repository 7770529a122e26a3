# SPDX-License-Identifier: Apache-2.0
"""A threaded HTTP server and client of Python's own library, for the kernel tests. See programs/README.md."""

import json
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Handler(BaseHTTPRequestHandler):
    """Answers as programs/README.md says."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, text = {"/hello": (200, b"hello\n"), "/echo": (200, body)}.get(self.path, (404, b""))
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = answer  # noqa: N815 -- the names that the library looks up

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing: the tests count, they do not read."""


def worker(base: str, each: int) -> Counter[int]:
    counts: Counter[int] = Counter()
    connection = HTTPConnection(urlsplit(base).netloc)
    for n in range(each):
        method, path = (("GET", "/hello"), ("POST", "/echo"), ("GET", "/missing"))[n % 3]
        connection.request(method, path, bytes(3000) if method == "POST" else None)
        answer = connection.getresponse()
        answer.read()
        counts[answer.status] += 1
    connection.close()
    return counts


def load(base: str, workers: int, each: int) -> None:
    with ThreadPoolExecutor(workers) as pool:
        counts = sum(pool.map(worker, [base] * workers, [each] * workers), Counter())
    print(json.dumps(counts))


class Server(ThreadingHTTPServer):
    """Takes all the clients of a test at once."""

    request_queue_size = 64


if __name__ == "__main__":
    if sys.argv[1] == "server":
        Server(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
    else:
        load(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
