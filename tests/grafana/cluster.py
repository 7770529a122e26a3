# SPDX-License-Identifier: Apache-2.0
"""A cluster whose traffic is known to the request: its agents' pages over an hour, made by the agent's own exporters.

EDGES is the truth that the drawn graph and every dashboard are compared with.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from analyzers.losses import LOSSES
from analyzers.resolver import NOT_FOUND_INTERNAL, Party
from analyzers.rows import DriverCounters, EngineState, RequestRow, Role, TcpRow
from analyzers.snapshot import EMPTY
from exporters.own import DriverReport, OwnMetrics, OwnState, ProcessUse
from exporters.settings import MetricsSettings
from tests.pages import Bench
from tests.rows import OUTSIDE, SECOND, FixedResolver, identity, last, request_row, tcp_row

STEP_SECONDS: Final = 60
STEPS: Final = 75
MS: Final = 1_000_000
SINCE: Final = 1_790_000_000 // STEP_SECONDS * STEP_SECONDS
"""Unix time of the first page."""


@dataclass(frozen=True, slots=True)
class Pod:
    workload: str
    namespace: str
    kind: str
    ip: str
    number: int = 1
    node: str = "node-1"

    @property
    def party(self) -> Party:
        return Party(
            node=self.node,
            namespace=self.namespace,
            workload_kind=self.kind,
            workload_name=self.workload,
            service=f"{self.workload}-svc" if self.kind != "daemonset" else "",
            pod=f"{self.workload}-{self.number}",
            container="main",
            container_id="0123456789ab",
            observed=True,
        )


@dataclass(frozen=True, slots=True)
class Abroad:
    ip: str
    domain: str = ""

    @property
    def party(self) -> Party:
        return replace(OUTSIDE, domain=self.domain)


@dataclass(frozen=True, slots=True)
class Machine:
    ip: str
    node: str

    @property
    def party(self) -> Party:
        return Party(node=self.node, namespace=NOT_FOUND_INTERNAL)


@dataclass(frozen=True, slots=True)
class Edge:
    """`good` and `failed` requests a minute, each of `ms`; from step `begins` on."""

    source: Pod
    target: Pod | Abroad | Machine
    protocol: str
    port: int
    good: int
    failed: int = 0
    ms: int = 4
    content: str = "/"
    begins: int = 0
    refused: int = 0
    slow: bool = False


WEB = tuple(Pod("web", "shop", "deployment", f"10.1.0.{n}", n, f"node-{n}") for n in (1, 2, 3))
CART = Pod("cart", "shop", "deployment", "10.1.0.11", 1, "node-2")
CATALOG = Pod("catalog", "shop", "deployment", "10.1.0.21", 1, "node-1")
PAYMENT = Pod("payment", "shop", "deployment", "10.1.0.31", 1, "node-3")
MAIL = Pod("mail", "shop", "deployment", "10.1.0.41", 1, "node-3")
MYSQL = Pod("mysql", "data", "statefulset", "10.1.1.1", 1, "node-1")
POSTGRES = Pod("postgres", "data", "statefulset", "10.1.1.2", 1, "node-2")
MONGO = Pod("mongo", "data", "statefulset", "10.1.1.3", 1, "node-2")
REDIS = Pod("redis", "data", "statefulset", "10.1.1.4", 1, "node-3")
KAFKA = Pod("kafka", "data", "statefulset", "10.1.1.5", 1, "node-1")
DNS = Pod("coredns", "kube-system", "deployment", "10.1.2.1", 1, "node-1")
BANK = Abroad("203.0.113.7", "api.bank.example")
NAMELESS = Abroad("198.51.100.4")
LOST_POD = Abroad("10.9.8.7")
NODE = Machine("10.0.0.2", "node-2")

EDGES: Final = (
    *(Edge(web, CART, "http", 8080, 600 * web.number, 6, 12, "/cart/*") for web in WEB),
    *(Edge(web, CATALOG, "grpc", 9090, 1200, 0, 3, "/catalog.Items/List") for web in WEB),
    *(Edge(web, DNS, "dns", 53, 300, 100, 1, "cart-svc.shop.svc.cluster.local.") for web in WEB),
    Edge(CART, REDIS, "redis", 6379, 6000, 0, 1, "GET"),
    Edge(CART, MYSQL, "mysql", 3306, 900, 60, 700, "select orders", slow=True),
    Edge(CATALOG, POSTGRES, "postgresql", 5432, 600, 0, 9, "select items"),
    Edge(CATALOG, MONGO, "mongodb", 27017, 300, 0, 5, "find reviews"),
    Edge(MYSQL, CATALOG, "http", 8080, 60, 0, 30, "/hook"),
    Edge(CART, KAFKA, "kafka", 9092, 240, 0, 4, "orders"),
    Edge(CART, PAYMENT, "http", 8080, 120, 12, 240, "/pay", begins=60),
    Edge(PAYMENT, BANK, "tls", 443, 120, 0, 220, ""),
    Edge(PAYMENT, MAIL, "tls", 8443, 60, 0, 7, ""),
    Edge(MAIL, NAMELESS, "NOSUPPORT", 25, 60, 0, 90, "", refused=30),
    Edge(MAIL, LOST_POD, "NOSUPPORT", 9999, 60, 0, 2, ""),
    Edge(MAIL, NODE, "http", 10250, 60, 0, 2, "/healthz"),
    Edge(MAIL, REDIS, "redis", 6379, 120, 0, 1, "SET", refused=12),
)


def pages() -> Iterator[tuple[int, str]]:
    """(unix time, page) of each scrape."""
    pods: dict[str, Pod] = {}
    for edge in EDGES:
        for end in (edge.source, edge.target):
            if isinstance(end, Pod):
                pods.setdefault(end.ip, end)
    numbers = {ip: at + 1 for at, ip in enumerate(pods)}
    addresses = {edge.target.ip: edge.target.party for edge in EDGES} | {ip: pod.party for ip, pod in pods.items()}
    resolver = FixedResolver({numbers[ip]: pod.party for ip, pod in pods.items()}, addresses)
    bench = Bench(MetricsSettings(scrape_interval_ns=0, histograms="both"), resolver)
    own = OwnMetrics()
    try:
        for step in range(STEPS):
            now_ns = (step + 1) * STEP_SECONDS * SECOND
            requests: list[RequestRow] = []
            tcp: list[TcpRow] = []
            for at, edge in enumerate(EDGES):
                if step >= edge.begins:
                    _rows(requests, tcp, edge, at, numbers, step - edge.begins, now_ns)
            bench.feed(requests, tcp, now_ns=now_ns)
            told = own.render(_own_state(bench, step, now_ns)).decode()
            yield SINCE + step * STEP_SECONDS, bench.page(workloads=tuple(_workloads(pods))) + told
    finally:
        own.close()


def _workloads(pods: dict[str, Pod]) -> Iterator[str]:
    for namespace, kind, name in sorted({(pod.namespace, pod.kind, pod.workload) for pod in pods.values()}):
        yield f'namespace="{namespace}",workload_kind="{kind}",workload_name="{name}"'


def _rows(
    requests: list[RequestRow],
    tcp: list[TcpRow],
    edge: Edge,
    at: int,
    numbers: dict[str, int],
    steps: int,
    now_ns: int,
) -> None:
    ends = ((edge.good, False), (edge.failed, True))
    for outcome, (per_minute, failed) in enumerate(ends):
        if per_minute:
            requests += _request_rows(edge, 10 * at + 2 * outcome, numbers, per_minute * steps, failed, now_ns)
    number, local, remote = numbers[edge.source.ip], edge.source.ip, edge.target.ip
    common: dict[str, Any] = {
        "identity": identity(number),
        "local_ip": local,
        "remote_ip": remote,
        "remote_port": edge.port,
        "updated_ns": now_ns,
    }
    tcp.append(
        tcp_row(
            10 * at + 5,
            srtt_us=400,
            retransmits=60 * steps,
            drops=6 * steps,
            resets_sent=steps,
            resets_received=2 * steps,
            **common,
        )
    )
    tcp.append(tcp_row(10 * at + 6, error=0, connects=30 * steps, connect_ns=30 * steps * MS, **common))
    if edge.refused:
        tcp.append(tcp_row(10 * at + 7, error=111, connects=edge.refused * steps, **common))


def _request_rows(
    edge: Edge, index: int, numbers: dict[str, int], count: int, failed: bool, now_ns: int
) -> Iterator[RequestRow]:
    count = max(count, 1)
    bucket = [0] * 9
    bucket[3 if edge.ms < 500 else 6] = count
    common: dict[str, Any] = {
        "protocol": edge.protocol,
        "count": count,
        "status": 500 if failed else 200,
        "request_content": edge.content,
        "response_content": "500" if failed else "200",
        "is_error": failed,
        "is_slow": edge.slow,
        "duration_ns": count * edge.ms * MS,
        "request_bytes": count * 200,
        "response_bytes": count * 1500,
        "buckets": tuple(bucket),
        "last": last(now_ns, edge.ms * MS),
    }
    yield request_row(
        index,
        Role.CLIENT,
        identity=identity(numbers[edge.source.ip]),
        local_ip=edge.source.ip,
        remote_ip=edge.target.ip,
        remote_port=edge.port,
        **common,
    )
    if isinstance(edge.target, Pod):
        yield request_row(
            index + 1,
            Role.SERVER,
            identity=identity(numbers[edge.target.ip]),
            local_ip=edge.target.ip,
            local_port=edge.port,
            remote_ip=edge.source.ip,
            **common,
        )


def _own_state(bench: Bench, step: int, now_ns: int) -> OwnState:
    engine = EngineState(
        state="running",
        heartbeat_ns=now_ns,
        clock_ns=now_ns,
        cpu_ns=step * MS,
        starts=1,
        connections=120,
        pending=2,
        rows_used=64,
        tcp_rows_used=64,
        strings_used=64,
        idents_used=8,
        failure="",
        events={"DATA": 1000 * step},
        parse_failures={"http": step},
        parse_ns={},
        parsed={"http": 900 * step},
        stats=dict.fromkeys(LOSSES, step),
    )
    return OwnState(
        version="0.1.0",
        now_ns=now_ns,
        driver=DriverReport("core", "tracepoints", "6.18", {"sock_send_length": True, "kfree_skb": False}),
        engine=engine,
        counters=DriverCounters(
            written={"DATA": 1000 * step}, lost={"DATA": step}, absent={"SYSCALL": step}, storage_failed=0, merged=step
        ),
        snapshot=replace(EMPTY, unresolved={"outside": 3}, undirected=step),
        series=bench.store.report(),
        absent={"kindling_tcp_packet_loss_total": "made up for the test"},
        watches={"pods": True},
        processes={"agent": ProcessUse(step / 10, 60_000_000), "engine": ProcessUse(step / 20, 9_000_000)},
    )
