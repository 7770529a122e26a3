# SPDX-License-Identifier: Apache-2.0
"""A real name server and broker of RocketMQ on loopback, and its own client, as tests/servers.py starts other servers."""

from __future__ import annotations

import socket
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL

from tests.jars import jars, java
from tests.servers import Server, _folder, free_port, running

VERSION = "5.1.4"
_ARTIFACTS = [f"org.apache.rocketmq:rocketmq-{name}:{VERSION}" for name in ("namesrv", "broker", "client")]
# What only its store in RocksDB, its proxy and its exports need.
_UNUSED = (
    *("rocketmq-rocksdb", "grpc-netty-shaded", "bcprov-jdk15on", "bcpkix-jdk15on", "bcutil-jdk15on"),
    *("kotlin-stdlib", "protobuf-java-util", "netty-tcnative-boringssl-static"),
)
CLIENT = Path(__file__).parent / "kernel" / "programs" / "RocketmqClient.java"
_LOGGING = '<configuration><root level="OFF"/></configuration>\n'
BINARY = "-Drocketmq.serialize.type=ROCKETMQ"
"""Makes a client write its headers in binary, and so its servers what they answer."""


@dataclass(frozen=True, slots=True)
class Cluster:
    name_server: Server
    broker: Server
    class_path: str
    told_at: str
    """The broker's address as the name server tells it, less the port."""


def _class_path() -> str:
    return jars(*_ARTIFACTS, without=_UNUSED)


@contextmanager
def rocketmq(told_at: str = "127.0.0.1") -> Iterator[Cluster]:
    """A name server, and a broker without topics that makes none by itself; both write no log."""
    names, port = free_port(), _broker_port()
    with _folder() as folder:
        class_path = f"{folder}:{_class_path()}"
        (folder / "rmq.logback.xml").write_text(_LOGGING)
        home = [f"-Duser.home={folder}", f"-Drocketmq.home.dir={folder}"]
        (folder / "namesrv.conf").write_text(f"listenPort={names}\nbindAddress=127.0.0.1\n")
        lines = {
            "brokerName": "broker",
            "brokerIP1": told_at,
            "bindAddress": "127.0.0.1",
            "listenPort": port,
            "namesrvAddr": f"127.0.0.1:{names}",
            "storePathRootDir": folder / "store",
            "storePathCommitLog": folder / "store" / "commitlog",
            "mappedFileSizeCommitLog": 4 << 20,
            "mappedFileSizeConsumeQueue": 60_000,
            "autoCreateTopicEnable": "false",
            "timerWheelEnable": "false",
            "diskMaxUsedSpaceRatio": 99,
        }
        (folder / "broker.conf").write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        parts = {}
        for part, main in (("namesrv", "namesrv.NamesrvStartup"), ("broker", "broker.BrokerStartup")):
            configuration = ("-c", str(folder / f"{part}.conf"))
            parts[part] = java(class_path, f"org.apache.rocketmq.{main}", *configuration, heap="128m", options=home)
        (folder / "names").mkdir()
        at = "127.0.0.1"
        # They take long to say goodbye and keep nothing.
        with (
            running("rocketmq names", parts["namesrv"], at, names, folder / "names", stop=SIGKILL, seconds=90) as first,
            running("rocketmq broker", parts["broker"], at, port, folder, stop=SIGKILL, seconds=90) as second,
        ):
            yield Cluster(first, second, class_path, told_at)


def _broker_port() -> int:
    """A port such that those beside it are free at which a broker listens too: two below, and one above for replicas."""
    while True:
        port = free_port()
        with ExitStack() as trials, suppress(OSError):
            for beside in (port - 2, port + 1):
                trials.enter_context(socket.socket()).bind(("0.0.0.0", beside))
            return port


@dataclass(frozen=True, slots=True)
class Said:
    """What a client asked of a port and was answered: "none" if it wanted no answer, "lost" if none came."""

    port: int
    content: str
    answer: str


def client(cluster: Cluster, *parts: str, options: Sequence[str] = (), name_server: int = 0) -> Counter[Said]:
    """Does `parts` (work, ask) with the official client; `name_server` is another port to find it at."""
    names = f"127.0.0.1:{name_server or cluster.name_server.port}"
    broker = f"{cluster.told_at}:{cluster.broker.port}"
    # A consumer that its broker does not know yet tries again after this time, else after 20 s.
    options = [*options, f"-Duser.home={cluster.broker.folder}", "-Drocketmq.client.rebalance.waitInterval=500"]
    command = java(cluster.class_path, str(CLIENT), names, broker, *parts, heap="128m", options=options)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    rows = (line.split("\t") for line in done.stdout.splitlines())
    return Counter(Said(int(port), content, answer) for port, content, answer in rows)
