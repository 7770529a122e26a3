# SPDX-License-Identifier: Apache-2.0
"""An AgentView without an agent: rows are built by hand, so tests know every number that must come out."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from analyzers.edges import Ends
from analyzers.resolver import NOT_FOUND_EXTERNAL, NOT_FOUND_INTERNAL, Party
from analyzers.rows import (
    DriverCounters,
    EngineState,
    Identity,
    LastRequest,
    RequestKey,
    RequestRow,
    Role,
    Sample,
    TcpKey,
    TcpRow,
)
from analyzers.samples import NamedSample
from collector.api import AgentStatus, Configuration, Driver, Explanation, Hook
from collector.traffic import NamedRequest, NamedTcp, Traffic

SECOND = 1_000_000_000
MS = 1_000_000
BOUNDS = (1 * MS, 5 * MS, 25 * MS, 100 * MS, 500 * MS, 1 * SECOND, 2 * SECOND, 5 * SECOND)
WALL = 1_700_000_000 * SECOND


@dataclass(frozen=True, slots=True)
class Peer:
    """One end as a test names it."""

    ip: str
    name: str = ""
    kind: str = "process"
    comm: str = ""
    pid: int = 0
    outside: bool = False
    domain: str = ""
    namespace: str = NOT_FOUND_INTERNAL
    pod: str = ""
    service: str = ""

    def party(self) -> Party:
        if self.outside:
            return Party(namespace=NOT_FOUND_EXTERNAL, domain=self.domain, outside=True)
        return Party(
            node="box",
            namespace=self.namespace,
            workload_kind=self.kind if self.name else "",
            workload_name=self.name,
            service=self.service,
            pod=self.pod,
        )

    def identity(self) -> Identity | None:
        return Identity(self.pid or 1, 1, 4026531840, 1, self.pid, self.comm) if self.comm else None


UNKNOWN = Identity(0, 0, 0, 0, 0, "")


def request(
    index: int,
    source: Peer,
    destination: Peer,
    port: int,
    *,
    protocol: str = "http",
    l4: str = "tcp",
    content: str = "/",
    status: int = 200,
    count: int = 1,
    duration_ns: int = 2 * MS,
    error: bool = False,
    slow: bool = False,
    no_response: bool = False,
    role: Role = Role.CLIENT,
    request_bytes: int = 100,
    response_bytes: int = 1000,
    ended_ns: int = 100 * SECOND,
) -> NamedRequest:
    """`count` requests of `duration_ns` each, told by the end that `role` names."""
    buckets = [0] * (len(BOUNDS) + 1)
    buckets[next((i for i, bound in enumerate(BOUNDS) if duration_ns <= bound), len(BOUNDS))] = count
    server = role is Role.SERVER
    local, remote = (destination, source) if server else (source, destination)
    key = RequestKey(
        index=index,
        generation=1,
        role=role,
        protocol=protocol,
        l4=l4,
        identity=local.identity() or UNKNOWN,
        peer=remote.identity(),
        local_ip=local.ip,
        local_port=port if server else 0,
        remote_ip=remote.ip,
        remote_port=0 if server else port,
        status=status,
        request_content=content,
        response_content=str(status) if status else "",
        is_error=error,
        is_slow=slow,
        no_response=no_response,
        overflow=False,
        created_ns=1 * SECOND,
    )
    phase = duration_ns // 4
    last = LastRequest(ended_ns, duration_ns, 0, phase, duration_ns - 2 * phase, phase)
    row = RequestRow(
        key, count, count * duration_ns, count * request_bytes, count * response_bytes, tuple(buckets), last
    )
    return NamedRequest(row, Ends(local.party(), remote.party(), local.ip, remote.ip))


def tcp(
    index: int,
    source: Peer,
    destination: Peer,
    port: int,
    *,
    error: int | None = None,
    connects: int = 0,
    connect_ns: int = 0,
    srtt_us: int = 0,
    retransmits: int = 0,
    updated_ns: int = 100 * SECOND,
    role: Role = Role.CLIENT,
) -> NamedTcp:
    server = role is Role.SERVER
    local, remote = (destination, source) if server else (source, destination)
    key = TcpKey(
        index=index,
        generation=1,
        role=role,
        identity=local.identity() or UNKNOWN,
        peer=remote.identity(),
        local_ip=local.ip,
        local_port=port if server else 0,
        remote_ip=remote.ip,
        remote_port=0 if server else port,
        error=error,
        overflow=False,
        created_ns=1 * SECOND,
    )
    row = TcpRow(key, updated_ns, srtt_us, connects, connect_ns, retransmits, 0, 0, 0, 0, 0)
    return NamedTcp(row, Ends(local.party(), remote.party(), local.ip, remote.ip))


def grown(named: NamedRequest, count: int, bucket: int = 1) -> NamedRequest:
    """The same row after `count` more requests, all in histogram bucket `bucket`, 3 ms each."""
    row = named.row
    buckets = tuple(value + (count if i == bucket else 0) for i, value in enumerate(row.buckets))
    each_in, each_out = row.request_bytes // row.count, row.response_bytes // row.count
    return replace(
        named,
        row=replace(
            row,
            count=row.count + count,
            duration_ns=row.duration_ns + 3 * MS * count,
            request_bytes=row.request_bytes + each_in * count,
            response_bytes=row.response_bytes + each_out * count,
            buckets=buckets,
        ),
    )


def sample_of(
    named: NamedRequest, sequence: int, *, start_ns: int = 90 * SECOND, local_port: int = 40000
) -> NamedSample:
    """A whole request as it would be counted in the row."""
    row, key = named.row, named.row.key
    server = key.role is Role.SERVER
    sample = Sample(
        sequence=sequence,
        why="error" if key.is_error else "slow" if key.is_slow else "normal",
        role=key.role,
        protocol=key.protocol,
        l4=key.l4,
        identity=key.identity,
        peer=key.peer,
        pid=key.identity.pid,
        conn_id=0xABC + sequence,
        local_ip=key.local_ip,
        local_port=key.local_port if server else local_port,
        remote_ip=key.remote_ip,
        remote_port=local_port if server else key.remote_port,
        status=key.status,
        is_error=key.is_error,
        is_slow=key.is_slow,
        no_response=key.no_response,
        start_ns=start_ns,
        duration_ns=row.last.duration_ns,
        connect_ns=row.last.connect_ns,
        request_ns=row.last.request_ns,
        processing_ns=row.last.processing_ns,
        response_ns=row.last.response_ns,
        request_bytes=row.request_bytes // row.count,
        response_bytes=row.response_bytes // row.count,
        request_content=key.request_content,
        response_content=key.response_content,
        request_text="",
        response_text="",
        trace_id="",
        parent_id="",
    )
    return NamedSample(sample, named.ends, None, server)


def engine_state(**changes: object) -> EngineState:
    quiet = EngineState(
        state="running",
        heartbeat_ns=time.monotonic_ns(),
        clock_ns=100 * SECOND,
        cpu_ns=3 * SECOND,
        starts=1,
        connections=12,
        pending=0,
        rows_used=3,
        tcp_rows_used=1,
        strings_used=5,
        idents_used=4,
        failure="",
        events={"DATA": 40},
        parse_failures={},
        parse_ns={},
        parsed={"http": 20},
        stats={},
    )
    return replace(quiet, **changes)  # type: ignore[arg-type]


@dataclass
class FakeAgent:
    """Everything an AgentView answers with, to be changed in the middle of a test."""

    requests: list[NamedRequest] = field(default_factory=list)
    tcp: list[NamedTcp] = field(default_factory=list)
    recorded: list[NamedSample] = field(default_factory=list)
    clock_ns: int = 100 * SECOND
    turned: float = field(default_factory=time.monotonic)
    page: Sequence[bytes] = (b"a 1\n", b"b 2\n")
    fails: bool = False
    traffic_asked: int = 0
    now: AgentStatus = field(
        default_factory=lambda: AgentStatus(
            version="0.1.0",
            node="box",
            kernel="6.18.0",
            mode="live",
            started=time.time() - 60,
            driver=Driver("core", "socket tracepoints", (Hook("sock_send_length", True, True),)),
            engine=engine_state(),
            counters=DriverCounters({"DATA": 40}, {}, {}, 0, 0),
            configuration=Configuration("defaults"),
            detail="pod",
        )
    )

    def status(self) -> AgentStatus:
        return self.now

    def last_turn(self) -> float:
        return self.turned

    def wall_minus_monotonic_ns(self) -> int:
        return WALL

    def traffic(self) -> Traffic:
        self.traffic_asked += 1
        return Traffic(self.clock_ns, tuple(self.requests), tuple(self.tcp), BOUNDS)

    def samples(self, after: int, limit: int) -> Sequence[NamedSample]:
        return [s for s in self.recorded if s.sample.sequence > after][-limit:]

    def metrics(self, *, openmetrics: bool) -> Iterable[bytes]:
        if self.fails:
            raise RuntimeError("the page cannot be made")
        yield from self.page
        if openmetrics:
            yield b"# EOF\n"

    def explain(self, ip: str, port: int) -> Explanation:
        return Explanation(Party(namespace=NOT_FOUND_INTERNAL, node="box"), (f"{ip} is an address of this host",))
