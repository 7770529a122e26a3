# SPDX-License-Identifier: Apache-2.0
"""The shop's servers: nginx, Redis, PostgreSQL and dnsmasq, each in its namespace, as Debian ships them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from scripts.demo import services
from scripts.demo.network import ADDRESSES, BANK, INTERNET, MAIL, inside
from scripts.demo.programs import CannotStart, Started, listens, program, run, start, wait_until

ROOT: Final = Path(__file__).resolve().parents[2]
NOBODY: Final = 65534
# The bank is outside of the process namespace with which everything else ends.
_WITH_US: Final = ("setpriv", "--pdeathsig", "TERM", "--")
_NGINX: Final = """
user root;
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    upstream shop {{ server {shop}; keepalive 4; }}
    server {{
        listen {http};
        location = / {{ return 200 "welcome to the shop\\n"; }}
        location = /missing {{ return 404; }}
        location / {{ proxy_pass http://shop; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""
_TABLES: Final = """\
CREATE TABLE products (id int PRIMARY KEY, name text, price int);
CREATE TABLE orders (id serial PRIMARY KEY, product text);
INSERT INTO products VALUES (1, 'tea', 4), (2, 'cups', 12), (3, 'a pot', 30);
"""


def shop(folder: Path, trusted: Path) -> list[Started]:
    """Starts everything but the browser; each listens when this returns. Raises CannotStart."""
    return [
        _dnsmasq(folder),
        _redis(folder),
        _postgres(folder),
        service("payment", "payment", folder, services.PAYMENT_PORT, trusted),
        service("shop", "shop", folder, services.SHOP_PORT),
        _nginx(folder),
    ]


def service(name: str, space: str, folder: Path, port: int, *arguments: object, prefix: Sequence[str] = ()) -> Started:
    """One of the shop's own programs; `port` 0 if it listens nowhere."""
    command = [*prefix, *inside(space), sys.executable, "-m", "scripts.demo.services", name, *map(str, arguments)]
    started = start(name, command, folder, cwd=ROOT)
    if port:
        _wait(started, port)
    return started


def browser(folder: Path, per_second: float, visits: int) -> Started:
    return service("browser", "browser", folder, 0, per_second, visits)


def bank(folder: Path) -> Started:
    """The bank in the internet, with a certificate of its own: bank.pem in the folder."""
    certificate = folder / "bank.pem"
    run(
        program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-keyout", str(certificate.with_suffix(".key")), "-out", str(certificate), "-days", "2",
        "-subj", f"/CN={services.BANK}", "-addext", f"subjectAltName=DNS:{services.BANK}",
    )  # fmt: skip
    return service("bank", INTERNET, folder, services.HTTPS_PORT, certificate, prefix=_WITH_US)


def _dnsmasq(folder: Path) -> Started:
    records = {
        services.WWW: ADDRESSES["www"],
        services.PAYMENT: ADDRESSES["payment"],
        services.MAIL: MAIL,
        services.BANK: BANK,
    }
    command = [
        *inside("names"), program("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
        "--user=root", f"--pid-file={folder}/dnsmasq.pid", "--log-facility=-", "--local=/example/",
        *(f"--host-record={name},{address}" for name, address in records.items()),
    ]  # fmt: skip
    started = start("dnsmasq", command, folder)
    _wait(started, 53, "udp")
    return started


def _redis(folder: Path) -> Started:
    command = [
        *inside("cache"), program("redis-server"), "--port", str(services.CACHE_PORT), "--bind", ADDRESSES["cache"],
        "--dir", str(folder), "--save", "", "--appendonly", "no", "--protected-mode", "no", "--daemonize", "no",
    ]  # fmt: skip
    started = start("redis", command, folder)
    _wait(started, services.CACHE_PORT)
    return started


def _postgres(folder: Path) -> Started:
    """As nobody, because PostgreSQL refuses to run as root. It trusts the street, which nobody else can reach."""
    data = folder / "postgres"
    data.mkdir(mode=0o700)
    os.chown(data, NOBODY, NOBODY)
    as_nobody = unprivileged()
    run(*as_nobody, program("initdb"), "-D", str(data), "-U", services.USER, "--auth=trust", "--no-sync", cwd=data)
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 10.88.0.0/24 trust\n")
    # In single user mode, each line is a statement, and nothing listens.
    for database, statements in (("postgres", f"CREATE DATABASE {services.DATABASE};\n"), (services.DATABASE, _TABLES)):
        done = subprocess.run(
            [*as_nobody, program("postgres"), "--single", "-D", str(data), database],
            cwd=data, input=statements, text=True, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode or "ERROR" in done.stderr:
            raise CannotStart(f"postgres did not take its tables: {done.stderr[-1500:]}")
    command = [*inside("db"), *as_nobody, program("postgres"), "-D", str(data), "-p", str(services.DATABASE_PORT)]
    command += ["-h", ADDRESSES["db"], "-k", str(data), "-c", "fsync=off", "-c", "shared_buffers=16MB"]
    started = start("postgres", command, folder)
    wait_until(lambda: _is_ready(data), started, "is ready")
    return started


def _is_ready(data: Path) -> bool:
    """By the server's own word: it listens before it takes connections."""
    try:
        return "ready" in (data / "postmaster.pid").read_text().split()
    except OSError:
        return False


def _nginx(folder: Path) -> Started:
    configuration = folder / "nginx.conf"
    upstream = f"{ADDRESSES['shop']}:{services.SHOP_PORT}"
    configuration.write_text(_NGINX.format(folder=folder, shop=upstream, http=services.HTTP_PORT))
    command = [program("nginx"), "-e", f"{folder}/nginx-error.log", "-p", str(folder), "-c", str(configuration)]
    started = start("nginx", [*inside("www"), *command], folder)
    _wait(started, services.HTTP_PORT)
    return started


def unprivileged() -> Sequence[str]:
    """In front of a command, it has that run as nobody."""
    return [program("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def _wait(started: Started, port: int, kind: str = "tcp") -> None:
    wait_until(lambda: listens(started.process.pid, port, kind), started, f"listens at port {port}")
