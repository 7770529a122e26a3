# SPDX-License-Identifier: Apache-2.0
"""The configuration as one table: every key, its kind, its default, what it does, and whether it waits for a restart.

The frozen dataclasses below and in the `*_keys` modules are that table. Parsing (`collector.config`), the effective
configuration that `check-config` prints, and docs/config.md (`python -m collector.schema`) all come from it. Durations
are integer nanoseconds, sizes integer bytes. Names and defaults are a contract: they stay, new keys are added.
"""

# ruff: noqa: RUF009 - the fields of these dataclasses are rows of a table, and key() and section() write them

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from collector.compound_kinds import Items, Table
from collector.export_keys import Export
from collector.key_texts import NAME, PATH
from collector.keys import Key, collect, key, members, section
from collector.kinds import Choice, Count, Duration, Flag, Share, Size, Text
from collector.listen_keys import Listeners
from collector.metrics_keys import Metrics

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

DRIVERS = ("core", "bcc", "kmod", "none")
PROTOCOLS = (
    "http", "http2", "grpc", "websocket", "dns", "mysql", "postgresql", "mongodb", "redis", "memcached", "kafka",
    "rocketmq", "dubbo", "amqp", "mqtt", "tls",
)  # fmt: skip
_PORT = Count(1, 65535)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """The ring buffer between kernel and engine."""

    size: int = key(
        Size(1 << 12, 1 << 30), "8MiB", "Buffer between kernel and engine, for the whole node.", restart=True
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """What the running kernel does not tell of itself."""

    btf: str = key(
        PATH,
        '""',
        "File with the types of exactly this kernel, for the core driver where there is no /sys/kernel/btf/vmlinux: "
        "raw BTF, or an ELF file that has a .BTF section.",
        restart=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is left out."""

    exclude_namespaces: tuple[str, ...] = key(
        Items(NAME, 64),
        "[]",
        "Namespaces whose pods make no series. Pods of other namespaces that talk with them still do. The engine is told "
        "their cgroups, and the kernel sends no data of TCP connections of which nobody else on the node is an end.",
    )
    exclude_workloads: tuple[str, ...] = key(
        Items(Text(r"[^/\s]{1,253}/[^/\s]{1,253}", "a namespace, / and a workload's name"), 256),
        "[]",
        "The same for single workloads, as namespace/name: shop/cart.",
    )
    exclude_ports: tuple[int, ...] = key(
        Items(_PORT, 256),
        "[]",
        "Ports, on either side, whose new conversations are not observed; open ones still are.",
    )
    exclude_comms: tuple[str, ...] = key(
        Items(Text(r"[^\x00]{1,15}", "a process name of at most 15 characters"), 64),
        "[]",
        "Process names (as in /proc/PID/comm) whose conversations make no series, on either side where both are on the "
        "node. The kernel sends no data of their connections.",
    )
    exclude_protocols: tuple[str, ...] = key(
        Items(Choice(PROTOCOLS), len(PROTOCOLS)),
        "[]",
        "Protocols whose requests are not counted. Once one is recognised, the kernel sends no more data of that "
        "connection.",
    )
    exclude_paths: tuple[str, ...] = key(
        Items(
            Text(
                r"/[\x21-\x7e]{0,124}", "a path that begins with /, printable, with * at its end for all that begin so"
            ),
            32,
        ),
        "[]",
        "Paths of HTTP and methods of gRPC whose requests are not counted, without query and before they are "
        "clustered: /healthz, /static/*, /grpc.health.v1.Health/*.",
    )
    own_traffic: bool = key(Flag(), "false", "Whether the agent's own conversations (scrapes, API) are observed.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """The engine's table of connections."""

    max: int = key(
        Count(64, 1 << 20),
        "65536",
        "Connections that are followed at once; those beyond are counted as rejected.",
        restart=True,
    )
    idle: int = key(Duration(SECOND, 7 * 24 * HOUR), "2h", "A connection without traffic for so long is forgotten.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocols:
    """Which protocols are decoded."""

    enabled: tuple[str, ...] = key(
        Items(Choice(PROTOCOLS), len(PROTOCOLS), alone=("default",)),
        "default",
        "Protocols that are decoded; the rest are counted as exchanges and bytes. `default` is every one there is; grpc "
        "brings http2 with it, and websocket http.",
    )
    ports: Mapping[int, str] = key(
        Table(_PORT, Choice((*PROTOCOLS, "none")), 64),
        "{}",
        "What is spoken on a server port, where recognition should not decide; `none` leaves the port undecoded.",
    )
    plugins: tuple[str, ...] = key(
        Items(Text(r"[^\s,\[\]]{1,64}", "the name of an entry point"), 8),
        "[]",
        "Entry points of the group firesteel.protocols: protocols written in Python, for sampled exchanges that nothing "
        "else decodes. The first 255 bytes of both sides of these reach the plugins as they were sent, and nobody else.",
        restart=True,
    )
    slow: Mapping[str, int] = key(
        Table(
            Choice((*PROTOCOLS, "default")),
            Duration(SECOND // 1000, HOUR),
            len(PROTOCOLS) + 1,
            base=(
                ("http", 500_000_000),
                ("mysql", 100_000_000),
                ("redis", 100_000_000),
                ("dns", 100_000_000),
                ("kafka", 100_000_000),
                ("default", 500_000_000),
            ),
        ),
        "{http: 500ms, mysql: 100ms, redis: 100ms, dns: 100ms, kafka: 100ms, default: 500ms}",
        "A request that takes longer carries is_slow. Protocols that are not named have `default`.",
    )

    def slow_ns(self, protocol: str) -> int:
        """From which duration, in nanoseconds, a request of `protocol` is slow."""
        return self.slow.get(protocol, self.slow["default"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """What a request is called, and when it failed."""

    url_clustering: str = key(
        Choice(("noparam", "alphabet", "blank", "learn")),
        "alphabet",
        "How URL paths become label values: without parameters, segments with other than letters as *, not at all, or "
        "learned.",
    )
    dns_nxdomain_is_error: bool = key(Flag(), "true", "Whether a DNS answer NXDOMAIN counts as an error.")
    no_response: int = key(
        Duration(SECOND, HOUR), "120s", "A request without an answer for so long is counted as never answered."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """How much of what is sent reaches the parsers, and what of it may leave the engine."""

    capture_bytes: int = key(
        Count(0, 255),
        "0",
        "Bytes of the heads of HTTP/1.x requests and responses that samples carry, blanked; 0: no payload leaves the engine.",
    )
    parse_bytes: int = key(Count(64, 4096), "512", "Bytes of each read or write that reach the parsers.")
    stream_bytes: int = key(
        Count(64, 4096),
        "4096",
        "The same for short first messages, and for all once pipelining or multiplexing is known; up to eight times as many "
        "where messages lay behind these.",
    )
    redact: str = key(
        Choice(("standard",)),
        "standard",
        "What is blanked before anything is stored: query strings, literals, credentials, cookies.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The stream of single requests."""

    rate: int = key(Count(0, 100_000), "200", "Requests per second and node that are handed out whole.")
    per_edge: int = key(Count(0, 100_000), "5", "Of these, at most so many per second of one edge.")
    normal: float = key(Share(), "0.0", "Share of healthy, quick requests of known edges among the samples.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubernetes:
    """Names from the cluster."""

    enabled: str = key(
        Choice(("auto", "true", "false")),
        "auto",
        "Whether names come from the Kubernetes API; auto: where there is one.",
    )
    kubeconfig: str = key(PATH, '""', "File with the cluster's address and credentials; empty: the pod's own account.")
    names: str = key(
        Text(r"auto|off|(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}", "auto | off | host:port", words=("off",)),
        "auto",
        "Where names of the rest of the cluster come from: the names service at this place; auto: at the Service `firesteel-names` of the agent's own namespace, where there is one; off, and while it does not answer: from the API server.",
    )
    names_ca: str = key(
        PATH, '""', "PEM file with the authorities that may vouch for the names service; empty: the system's."
    )
    names_token: str = key(
        PATH,
        '""',
        "File with the token that is shown to the names service, read anew each time; empty: the one for the API server.",
    )
    tombstones: int = key(Duration(0, HOUR), "5m", "How long a deleted pod's address keeps its name.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the agent may use. Above it does less, in this order: live stream, samples, paths, pods."""

    cpu: int = key(Count(0, 10_000), "100", "Percent of one core, of all the agent's processes; 0: no limit.")
    memory: int = key(
        Size(0, 1 << 40, power=False), "320MiB", "Resident memory of all the agent's processes; 0B: no limit."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The agent's own log, on standard error."""

    level: str = key(Choice(("debug", "info", "warning", "error")), "info", "Least important lines that are written.")
    format: str = key(Choice(("logfmt", "json", "text")), "logfmt", "How a line is written.")
    repeat_every: int = key(
        Duration(0, 24 * HOUR), "1m", "The same message is written once in so long, with how often it came; 0s: always."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration; `Config()` is the default one."""

    driver: tuple[str, ...] = key(
        Items(Choice(DRIVERS), len(DRIVERS), alone=("auto", *DRIVERS), least=1),
        "auto",
        "How the kernel is watched: one driver, or a list in the order to try. auto is [core, bcc, kmod, none].",
        restart=True,
    )
    ring: Ring = section(Ring)
    kernel: Kernel = section(Kernel)
    scope: Scope = section(Scope)
    connections: Connections = section(Connections)
    protocols: Protocols = section(Protocols)
    requests: Requests = section(Requests)
    payload: Payload = section(Payload)
    samples: Samples = section(Samples)
    metrics: Metrics = section(Metrics)
    kubernetes: Kubernetes = section(Kubernetes)
    listen: Listeners = section(Listeners)
    export: Export = section(Export)
    budget: Budget = section(Budget)
    log: Log = section(Log)

    @property
    def drivers(self) -> tuple[str, ...]:
        """The drivers to try, in order, with auto spelled out."""
        return DRIVERS if self.driver == ("auto",) else self.driver


def build(values: Mapping[str, object]) -> Config:
    """The configuration with `values` (by key name) in place of the defaults; they must be of their kinds."""
    return cast("Config", _build(Config, (), values))


def _build(of: type[Any], path: tuple[str, ...], values: Mapping[str, object]) -> object:
    given: dict[str, object] = {}
    for name, member in members(of, path):
        if not isinstance(member, Key):
            given[name] = _build(member, (*path, name), values)
        elif member.name in values:
            given[name] = values[member.name]
    return of(**given)


def value_of(config: Config, row: Key) -> object:
    """What `config` holds for a key."""
    value: object = config
    for name in row.path:
        value = getattr(value, name)
    return value


# Every key, in the order of docs/config.md.
KEYS: tuple[Key, ...] = tuple(collect(Config, ()))
BY_NAME: Mapping[str, Key] = {row.name: row for row in KEYS}


if __name__ == "__main__":
    from collector.schema_page import page

    sys.stdout.write(page())
