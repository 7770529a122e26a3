# SPDX-License-Identifier: Apache-2.0
"""A real provider of Dubbo on loopback and its own client, as tests/servers.py starts other servers."""

from __future__ import annotations

import socket
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL

from tests.jars import jars, java
from tests.servers import Server, _folder, free_port, program, running

VERSION = "3.2.11"
_ARTIFACT = f"org.apache.dubbo:dubbo:{VERSION}"
_UNUSED = [f"spring-{part}" for part in ("context", "context-support", "aop", "beans", "core", "expression", "jcl")]
_FIRST = 0x6B8F_2E7C_9D41_A503
"""A number such as Dubbo begins with."""
_SOURCES = Path(__file__).parent / "kernel" / "programs" / "shop"
_OPTIONS = (
    "-Ddubbo.application.logger=jdk",
    # Hessian looks into exceptions and numbers.
    *("--add-opens", "java.base/java.lang=ALL-UNNAMED", "--add-opens", "java.base/java.math=ALL-UNNAMED"),
)


@dataclass(frozen=True, slots=True)
class Provider:
    server: Server
    class_path: str

    @property
    def port(self) -> int:
        return self.server.port


@contextmanager
def dubbo() -> Iterator[Provider]:
    """shop.CartServer, without a registry."""
    port, libraries = free_port(), jars(_ARTIFACT, without=_UNUSED)
    with _folder() as folder:
        compiler = [program("java"), "-XX:TieredStopAtLevel=1", "-m", "jdk.compiler/com.sun.tools.javac.Main"]
        sources = [str(path) for path in sorted(_SOURCES.glob("*.java"))]
        every_jar = ":".join(map(str, Path(libraries).parent.glob("*.jar")))  # it knows no star
        command = [*compiler, "-cp", every_jar, "-d", str(folder / "classes"), *sources]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        class_path = f"{folder / 'classes'}:{libraries}"
        options = [*_OPTIONS, f"-Duser.home={folder}"]
        command = java(class_path, "shop.CartServer", str(port), heap="128m", options=options)
        with running("dubbo", command, "127.0.0.1", port, folder, stop=SIGKILL, seconds=90) as server:
            yield Provider(server, class_path)


@dataclass(frozen=True, slots=True)
class Called:
    """What a client called, and what came of it: value, exception, none (nothing was wanted) or failed."""

    content: str
    outcome: str


def client(
    provider: Provider, *, port: int = 0, serialization: str = "hessian2", rounds: int = 20, heartbeat_ms: int = 60_000
) -> Counter[Called]:
    """Calls of all kinds over one connection; `port` is another one to reach the provider at."""
    arguments = (str(port or provider.port), serialization, str(rounds), str(heartbeat_ms))
    options = [*_OPTIONS, f"-Duser.home={provider.server.folder}"]
    command = java(provider.class_path, "shop.CartClient", *arguments, heap="128m", options=options)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    rows = (line.split("\t") for line in done.stdout.splitlines())
    return Counter({Called(content, outcome): int(count) for content, outcome, count in rows})


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def ask_wrongly(connection: socket.socket, times: int) -> int:
    """Calls with arguments that nobody can read, one after the other; gives back the status that they were answered with."""
    texts = ("2.0.2", "shop.Cart", "1.0", "add", "Ljava/lang/String;I")
    body = b"".join(bytes([len(text)]) + text.encode() for text in texts) + b"\x05apple" + b"Mnothing"
    answers = set[int]()
    for number in range(_FIRST, _FIRST + times):
        connection.sendall(struct.pack(">HBBQI", 0xDABB, 0xC2, 0, number, len(body)) + body)
        magic, _, status, answered, length = struct.unpack(">HBBQI", _read(connection, 16))
        assert (magic, answered) == (0xDABB, number)
        _read(connection, length)
        answers.add(status)
    (status,) = answers
    return status


def _read(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = connection.recv(length - len(data))
        if not more:
            raise ConnectionError(f"ended after {len(data)} of {length} bytes")
        data += more
    return data
