# SPDX-License-Identifier: Apache-2.0
"""Real servers on loopback, each in a folder of its own, for the kernel tests and the benchmarks.

Every starter is a context manager: it yields a `Server` once the process listens and ends exactly that process
afterwards. Whether it listens is read from /proc/<pid>/net, never tried with a connection: a test that counts
connections would see the trial. A program that is not installed raises `MissingProgram`, which the test session
turns into a skip that names the package.
"""

from __future__ import annotations

import ipaddress
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

# Program to Debian package. scripts/setup.sh installs the same packages; test_servers.py compares the two.
PACKAGES: Mapping[str, str] = {
    "capsh": "libcap2-bin",
    "chromium": "chromium",
    "dnsmasq": "dnsmasq-base",
    "dnsperf": "dnsperf",
    "go": "golang-go",
    "h2load": "nghttp2-client",
    "ip": "iproute2",
    "iperf3": "iperf3",
    "iptables": "iptables",
    "java": "default-jdk-headless",
    "kubectl": "kubernetes-client",
    "memcached": "memcached",
    "mosquitto": "mosquitto",
    "mvn": "maven",
    "nginx": "nginx-light",
    "node": "nodejs",
    "openssl": "openssl",
    "promtool": "prometheus",
    "rabbitmq-server": "rabbitmq-server",
    "redis-benchmark": "redis-tools",
    "redis-server": "redis-server",
    "tcpdump": "tcpdump",
    "unbound": "unbound",
    "wrk": "wrk",
}

# Ports below 32768: the agent blanks the ports above it in some labels, as those are ephemeral.
_PORTS = range(20000, 30000)
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


class MissingProgram(Exception):
    """A program that a test or a benchmark drives is not installed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no {name}: apt-get install {PACKAGES.get(name, name)}")
        self.name = name


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: where it listens, which process it is, and the folder with its files and log."""

    name: str
    address: str
    port: int
    pid: int
    folder: Path

    @property
    def host(self) -> str:
        """The address as a URL writes it."""
        return f"[{self.address}]" if ":" in self.address else self.address

    def url(self, path: str = "/", scheme: str = "http") -> str:
        return f"{scheme}://{self.host}:{self.port}{path}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


def program(name: str) -> str:
    """The full path of a program, also from the system folders that a user's PATH may lack."""
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(_SYSTEM_FOLDERS))
    if found is None:
        raise MissingProgram(name)
    return found


def free_port(address: str = "127.0.0.1") -> int:
    """A port below 32768 that neither a TCP nor a UDP socket holds at `address` now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for _ in range(200):
        port = random.choice(_PORTS)
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(family, kind) as trial:
                    trial.bind((address, port))
        except OSError:
            continue
        return port
    raise OSError(f"no free port between {_PORTS.start} and {_PORTS.stop} at {address}")


def _encoded(address: str, port: int) -> str:
    """An address as /proc/net writes it: 32-bit words in host order, port in hexadecimal."""
    packed = ipaddress.ip_address(address).packed
    words = [packed[i : i + 4][::-1].hex().upper() for i in range(0, len(packed), 4)]
    return f"{''.join(words)}:{port:04X}"


def listens(pid: int, address: str, port: int, kind: str = "tcp") -> bool:
    """Whether a socket of `kind` (tcp, udp) listens there in the network namespace of process `pid`.

    An IPv6 socket may take what comes for an IPv4 address: Java's do.
    """
    addresses = (address, "::") if ":" in address else (address, "0.0.0.0", f"::ffff:{address}", "::")
    wanted = {_encoded(one, port) for one in addresses}
    states = {"tcp": "0A", "udp": "07"}
    rows: list[list[str]] = []
    for table in (kind, f"{kind}6"):
        with suppress(FileNotFoundError):
            rows += [line.split() for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
    return any(row[1] in wanted and row[3] == states[kind] for row in rows)


def _stop(process: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(sign)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    address: str,
    port: int,
    folder: Path,
    *,
    kinds: Sequence[str] = ("tcp",),
    prefix: Sequence[str] = (),
    stop: signal.Signals = signal.SIGTERM,
    environment: Mapping[str, str] | None = None,
    seconds: float = 10.0,
) -> Iterator[Server]:
    """Runs `command` (behind `prefix`, for instance ip netns exec) until the block ends.

    Raises RuntimeError with the end of its log if it ends, or does not listen within `seconds`.
    """
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=None if environment is None else {**os.environ, **environment},
        )
    server = Server(name, address, port, process.pid, folder)
    try:
        deadline = time.monotonic() + seconds
        while not all(listens(process.pid, address, port, kind) for kind in kinds):
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with {process.returncode}: {server.log[-2000:]}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} does not listen at {address}:{port}: {server.log[-2000:]}")
            time.sleep(0.01)
        yield server
    finally:
        _stop(process, stop)


@contextmanager
def _folder() -> Iterator[Path]:
    # Closed to others, and removed also where a server left files behind that it may not unlink itself.
    with tempfile.TemporaryDirectory(prefix="firesteel-server-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def certificate(folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    """A self-signed certificate for `name`, 127.0.0.1 and ::1, made in `folder`: (certificate, key)."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", f"/CN={name}"]
        + ["-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1,IP:::1"],
        check=True,
        capture_output=True,
    )
    return cert, key


_NGINX = """
{user}
daemon off;
worker_processes {workers};
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    log_format exact '$status $request_length $bytes_sent $request_method $request_uri';
    access_log {access_log};
    default_type application/octet-stream;
    client_body_temp_path {folder}/client-body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 64m;
    keepalive_requests 100000000;
    keepalive_timeout {keepalive}s;
    sendfile {sendfile};
    server {{
        listen {listen};
        {tls}
        root {folder}/files;
        location = / {{ return 200 "hello\\n"; }}
        location = /moved {{ return 301 /; }}
        location = /missing {{ return 404; }}
        location = /error {{ return 500; }}
        location = /upload {{ return 200; }}
        location /body/ {{ }}
        location /status/200 {{ return 200; }}
        location /status/204 {{ return 204; }}
        location /status/301 {{ return 301 /; }}
        location /status/404 {{ return 404; }}
        location /status/500 {{ return 500; }}
        location /status/503 {{ return 503; }}
        {locations}
    }}
}}
"""


@contextmanager
def nginx(
    *,
    address: str = "127.0.0.1",
    port: int | None = None,
    workers: int = 1,
    bodies: Sequence[int] = (),
    sendfile: bool = False,
    tls: bool = False,
    http2: bool = False,
    access_log: bool = False,
    keepalive: int = 75,
    locations: str = "",
    prefix: Sequence[str] = (),
) -> Iterator[Server]:
    """nginx: `/` says hello (200), `/moved` 301, `/missing` 404, `/error` 500, `/status/<n>/...`, `/upload` takes a
    body of up to 64 MiB, `/body/<size>` is a file of so many bytes for each size in `bodies`.

    With `http2` it speaks nothing but HTTP/2, without TLS to clients that know it does.
    With `access_log`, access.log in the server's folder has one line a request: status, request length, bytes sent.
    `locations` are more of nginx's own words for the server's block; `{folder}` in them is the server's folder.
    """
    port = port or free_port(address)
    with _folder() as folder:
        files = folder / "files" / "body"
        files.mkdir(parents=True)
        for size in bodies:
            (files / str(size)).touch()
            os.truncate(files / str(size), size)
        listen = (
            f"{f'[{address}]' if ':' in address else address}:{port}{' ssl' if tls else ''}{' http2' if http2 else ''}"
        )
        secure = ""
        if tls:
            cert, key = certificate(folder)
            secure = f"ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;"
        (folder / "nginx.conf").write_text(
            _NGINX.format(
                user="user root;" if os.geteuid() == 0 else "",
                workers=workers,
                folder=folder,
                access_log=f"{folder}/access.log exact" if access_log else "off",
                keepalive=keepalive,
                sendfile="on" if sendfile else "off",
                listen=listen,
                tls=secure,
                locations=locations.replace("{folder}", str(folder)),
            )
        )
        command = [program("nginx"), "-e", f"{folder}/error.log", "-p", str(folder), "-c", str(folder / "nginx.conf")]
        with running("nginx", command, address, port, folder, prefix=prefix, stop=signal.SIGTERM) as server:
            yield server


@contextmanager
def redis(
    *, address: str = "127.0.0.1", port: int | None = None, prefix: Sequence[str] = (), options: Sequence[str] = ()
) -> Iterator[Server]:
    """redis-server without persistence."""
    port = port or free_port(address)
    with _folder() as folder:
        command = [program("redis-server"), "--port", str(port), "--bind", address, "--dir", str(folder)]
        command += ["--save", "", "--appendonly", "no", "--protected-mode", "no", "--daemonize", "no", *options]
        with running("redis", command, address, port, folder, prefix=prefix) as server:
            yield server


@contextmanager
def dnsmasq(
    records: Mapping[str, str],
    *,
    domain: str = "test",
    address: str = "127.0.0.1",
    port: int | None = None,
    prefix: Sequence[str] = (),
) -> Iterator[Server]:
    """dnsmasq that answers exactly `records` (name to IPv4 or IPv6 address) over UDP and TCP.

    Any other name under `domain` is NXDOMAIN, every name outside of it REFUSED. Nothing is forwarded.
    """
    port = port or free_port(address)
    with _folder() as folder:
        command = [program("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]
        command += [f"--port={port}", f"--listen-address={address}", "--bind-interfaces", f"--local=/{domain}/"]
        command += [f"--pid-file={folder}/pid", "--log-facility=-", "--dns-forward-max=1000"]
        command += ["--user=root"] if os.geteuid() == 0 else []
        command += [f"--host-record={name},{value}" for name, value in records.items()]
        with running("dnsmasq", command, address, port, folder, kinds=("udp", "tcp"), prefix=prefix) as server:
            yield server


@contextmanager
def unbound(
    records: Sequence[str],
    *,
    domain: str = "test",
    address: str = "127.0.0.1",
    port: int | None = None,
    prefix: Sequence[str] = (),
) -> Iterator[Server]:
    """unbound that answers from `records` ("www.test. 60 IN A 192.0.2.1", any type) over UDP and TCP.

    Any other name under `domain` is NXDOMAIN, every name outside of it REFUSED. Nothing is forwarded.
    """
    port = port or free_port(address)
    with _folder() as folder:
        lines = ["server:", '  username: ""', '  chroot: ""', f'  directory: "{folder}"', "  do-daemonize: no"]
        lines += ["  use-syslog: no", f"  interface: {address}@{port}", f"  port: {port}", "  num-threads: 1"]
        lines += [f'  pidfile: "{folder}/pid"', "  do-not-query-localhost: no", '  module-config: "iterator"']
        lines += [f"  access-control: {'::0/0' if ':' in address else '0.0.0.0/0'} allow"]
        lines += [f'  local-zone: "{domain}." static', '  local-zone: "." refuse']
        lines += [f"  local-data: '{record}'" for record in records]
        lines += ["remote-control:", "  control-enable: no"]
        (folder / "unbound.conf").write_text("\n".join(lines) + "\n")
        command = [program("unbound"), "-d", "-p", "-c", str(folder / "unbound.conf")]
        with running("unbound", command, address, port, folder, kinds=("udp", "tcp"), prefix=prefix) as server:
            yield server


@contextmanager
def iperf3(*, address: str = "127.0.0.1", port: int | None = None, prefix: Sequence[str] = ()) -> Iterator[Server]:
    """An iperf3 server."""
    port = port or free_port(address)
    with _folder() as folder:
        command = [program("iperf3"), "--server", "--port", str(port), "--bind", address]
        with running("iperf3", command, address, port, folder, prefix=prefix) as server:
            yield server


@contextmanager
def tls_server(
    *, address: str = "127.0.0.1", port: int | None = None, prefix: Sequence[str] = (), options: Sequence[str] = ()
) -> Iterator[Server]:
    """openssl s_server that answers HTTP requests with a status page; its cert.pem is in the server's folder."""
    port = port or free_port(address)
    with _folder() as folder:
        cert, key = certificate(folder)
        where = f"{f'[{address}]' if ':' in address else address}:{port}"
        command = [program("openssl"), "s_server", "-accept", where, "-cert", str(cert), "-key", str(key)]
        command += ["-www", "-quiet", *options]
        with running("openssl", command, address, port, folder, prefix=prefix) as server:
            yield server
