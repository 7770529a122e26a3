# SPDX-License-Identifier: Apache-2.0
"""The shop's own programs: the web service, the payment service, the browser, and the bank out in the internet.

    python -m scripts.demo.services shop|payment|browser|bank ARGUMENTS

What each visit causes is fixed, so that whoever counts it can be checked: VISITS below, one after the other.
"""

import http.client
import http.server
import itertools
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from scripts.demo.network import ADDRESSES
from scripts.demo.wire import Cache, Database, Refused

WWW, PAYMENT, BANK, MAIL = (
    "www.shop.example", "payment.shop.example", "api.bank.example", "mail.example",
)  # fmt: skip
HTTP_PORT, SHOP_PORT, PAYMENT_PORT, MAIL_PORT, HTTPS_PORT = 80, 8000, 8001, 25, 443
CACHE_PORT, DATABASE_PORT = 6379, 5432
USER, DATABASE = "shop", "shop"
VISITS: Final = (
    "/", "/products", "/products/1042", "/cart", "/checkout", "/", "/products", "/products/7", "/cart", "/report",
    "/", "/products", "/products/19", "/cart", "/checkout", "/", "/products", "/missing", "/cart", "/",
    "/", "/products", "/products/1042", "/cart", "/checkout", "/", "/products", "/search", "/cart", "/",
    "/", "/products", "/products/7", "/cart", "/checkout", "/", "/products", "/products/19", "/cart", "/newsletter",
)  # fmt: skip
"""What the browser asks for, over and over."""
DECLINED_EVERY: Final = 4
"""Of so many payments the bank declines one."""
FRESH_EVERY: Final = 3
"""Of so many lists of products one comes from the database."""
_TIMEOUT: Final = 10.0

Answer = tuple[int, str]


def looked_up(name: str, port: int) -> str:
    """The IPv4 address of a name: one question to the name server."""
    return str(socket.getaddrinfo(name, port, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])


def asked(connection: http.client.HTTPConnection, method: str, path: str, host: str) -> int:
    """The status of one request over a connection of its own."""
    try:
        connection.request(method, path, headers={"Host": host})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


class Shop:
    """What the web service does for each path. One request at a time: its connections are shared."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cache: Cache | None = None
        self._database: Database | None = None
        self._lists = itertools.count(1)

    def answer(self, path: str) -> Answer:
        with self._lock:
            place = path.split("/")[1]
            paths: Mapping[str, Callable[[], Answer]] = {
                "products": self._products,
                "cart": self._cart,
                "checkout": self._checkout,
                "report": self._report,
                "search": self._search,
                "newsletter": self._newsletter,
            }
            return paths.get(place, lambda: (404, "no such page\n"))()

    def _products(self) -> Answer:
        self._ask_cache("GET", "products")
        if next(self._lists) % FRESH_EVERY == 0:
            self._ask_database("SELECT id, name, price FROM products ORDER BY name")
            self._ask_cache("SET", "products", "warm")
        return 200, "tea, cups, a pot\n"

    def _cart(self) -> Answer:
        self._ask_cache("INCR", "carts")
        return 200, "one pot\n"

    def _checkout(self) -> Answer:
        behind = http.client.HTTPConnection(looked_up(PAYMENT, PAYMENT_PORT), PAYMENT_PORT, timeout=_TIMEOUT)
        if asked(behind, "POST", "/pay", PAYMENT) != http.client.OK:
            return 502, "the payment was declined\n"
        self._ask_database("INSERT INTO orders (product) VALUES ('a pot')")
        return 200, "thank you\n"

    def _report(self) -> Answer:
        self._ask_database("SELECT count(*), pg_sleep(0.6) FROM orders")
        return 200, "many\n"

    def _search(self) -> Answer:
        try:
            self._ask_database("SELECT id FROM search_index WHERE word = 'pot'")
        except Refused as refused:
            return 500, f"{refused}\n"
        return 200, "a pot\n"

    def _newsletter(self) -> Answer:
        try:
            socket.create_connection((looked_up(MAIL, MAIL_PORT), MAIL_PORT), _TIMEOUT).close()
        except OSError as error:
            return 503, f"the mail server: {error}\n"
        return 200, "welcome\n"

    def _ask_cache(self, *words: str) -> bytes | None:
        if self._cache is None:
            self._cache = Cache(ADDRESSES["cache"], CACHE_PORT)
        return self._cache.ask(*words)

    def _ask_database(self, statement: str) -> None:
        if self._database is None:
            self._database = Database(ADDRESSES["db"], DATABASE_PORT, USER, DATABASE)
        self._database.query(statement)


def pay(trusted: Path) -> Callable[[str], Answer]:
    """The payment service: asks the bank, over TLS."""
    trusting = ssl.create_default_context(cafile=str(trusted))

    def answer(_path: str) -> Answer:
        bank = http.client.HTTPSConnection(looked_up(BANK, HTTPS_PORT), HTTPS_PORT, timeout=_TIMEOUT)
        plain = socket.create_connection((bank.host, HTTPS_PORT), _TIMEOUT)
        bank.sock = trusting.wrap_socket(plain, server_hostname=BANK)
        status = asked(bank, "POST", "/v1/payments", BANK)
        return (200, "paid\n") if status == http.client.OK else (402, "declined\n")

    return answer


def decide() -> Callable[[str], Answer]:
    """The bank: declines one payment of DECLINED_EVERY."""
    count = itertools.count(1)

    def answer(_path: str) -> Answer:
        return (402, "declined\n") if next(count) % DECLINED_EVERY == 0 else (200, "paid\n")

    return answer


def serve(port: int, answer: Callable[[str], Answer], certificate: Path | None = None) -> None:
    """Answers over HTTP/1.1 at all addresses until SIGTERM."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes: the second would wait for an acknowledgement

        def do_GET(self) -> None:
            status, text = answer(self.path)
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the base class's name

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("", port), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        context.num_tickets = 0  # nobody reads them, and closing on what is unread is a reset
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


def browse(per_second: float, visits: int) -> None:
    """Visits the shop until SIGTERM, or that many times. Each visit looks the name up and has a connection of its own."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stopped.set())
    pages = itertools.cycle(VISITS)
    count = 0
    while not stopped.wait(1 / per_second) and (visits == 0 or count < visits):
        count += 1
        connection = http.client.HTTPConnection(looked_up(WWW, HTTP_PORT), HTTP_PORT, timeout=_TIMEOUT)
        asked(connection, "GET", next(pages), WWW)
    stopped.wait()


def main(arguments: list[str]) -> None:
    name, *rest = arguments
    # What the kernel calls this process, and thus what the topology does.
    Path("/proc/self/comm").write_text(name)
    signal.pthread_sigmask(signal.SIG_BLOCK, set() if name == "browser" else {signal.SIGTERM, signal.SIGINT})
    if name == "shop":
        serve(SHOP_PORT, Shop().answer)
    elif name == "payment":
        serve(PAYMENT_PORT, pay(Path(rest[0])))
    elif name == "bank":
        serve(HTTPS_PORT, decide(), Path(rest[0]))
    else:
        browse(float(rest[0]), int(rest[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
