# SPDX-License-Identifier: Apache-2.0
"""What the HTTP API asks of the agent, and the JSON it makes of the answers. docs/api.md describes every field.

Everything here is pure: records in, JSON-ready values out. The server adds HTTP, `topology` adds graphs and rates.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TypeAlias

from analyzers.losses import LOSSES
from analyzers.resolver import Party
from analyzers.rows import DriverCounters, EngineState
from analyzers.samples import NamedSample
from collector.ends import End, Level, directed_sample, label
from collector.kubernetes_state import KubernetesState, kubernetes_json
from collector.rates import NANOSECONDS
from collector.traffic import Traffic

if TYPE_CHECKING:  # it brings the SDK along, which a terminal has no use for
    from exporters.own import ProcessUse

API_VERSION = 1
"""Raised when a field changes its meaning or goes away; new fields do not raise it."""

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


@dataclass(frozen=True, slots=True)
class Hook:
    """One place in the kernel: attached, or absent for a reason."""

    name: str
    attached: bool
    required: bool
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class RejectedDriver:
    """A driver that was tried or skipped before the one in use."""

    name: str
    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Driver:
    """What feeds events: core, bcc, kmod, none or replay. `why` is why this one; for `none`, what is not seen."""

    name: str
    why: str = ""
    hooks: Sequence[Hook] = ()
    rejected: Sequence[RejectedDriver] = ()
    hook_set: str = ""
    """Of the ways in which one driver hooks into a kernel, the one in use."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not work as wished. `severity` is warning or error."""

    severity: str
    what: str
    cause: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """`source` is the file in force, or "defaults". `problem` says why a changed file was not taken over."""

    source: str = "defaults"
    problem: str = ""
    needs_restart: Sequence[str] = ()
    beside: Mapping[str, str] = field(default_factory=dict)
    """Keys that the command line or the environment set, and what set each."""


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """How the agent is. `started` is in seconds since 1970; `mode` is live or replay; `detail` is pod or workload."""

    version: str
    node: str
    kernel: str
    mode: str
    started: float
    driver: Driver
    engine: EngineState
    counters: DriverCounters | None
    configuration: Configuration
    detail: str = ""
    problems: Sequence[Problem] = ()
    undelivered: int = 0
    """Points, spans and lines that exporters had to drop."""
    undirected: int = 0
    """Requests for which nobody could tell who asked."""
    unresolved: Mapping[str, int] = field(default_factory=dict)
    """Addresses in use that have no name, by reason."""
    processes: "Mapping[str, ProcessUse]" = field(default_factory=dict)
    """What each of the agent's processes uses, by name."""
    kubernetes: KubernetesState | None = None
    """None where no cluster is asked for names."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an address is called what it is called: `party`, and one sentence per step that led there."""

    party: Party
    steps: Sequence[str] = ()


class AgentView(Protocol):
    """All that the HTTP server knows of the agent. Every call answers from memory, at once."""

    def status(self) -> AgentStatus: ...

    def last_turn(self) -> float:
        """`time.monotonic()` of the last completed turn of the agent's loop."""
        ...

    def wall_minus_monotonic_ns(self) -> int:
        """Add it to a time of the engine's clock to get nanoseconds since 1970."""
        ...

    def traffic(self) -> Traffic: ...

    def samples(self, after: int, limit: int) -> Sequence[NamedSample]:
        """Samples with a sequence above `after`, oldest first; the newest `limit` of them if there are more."""
        ...

    def metrics(self, *, openmetrics: bool) -> Iterable[bytes]:
        """The Prometheus page, in chunks of some tens of kilobytes."""
        ...

    def explain(self, ip: str, port: int) -> Explanation:
        """`port` is 0 when it was not given."""
        ...


# Stages of what the driver, the engine and the exporters lose. The table of connections has a stage of its own.
_LOSS_STAGES = ("ring", "storage", "hook", "connections", "table", "parse", "pair", "recording", "export")


def loss_json(engine: EngineState, counters: DriverCounters | None, undelivered: int = 0) -> dict[str, Json]:
    """What is missing in what is counted, by the stage that lost it. `events` counts by event type what did not fit into
    the ring."""
    lost = counters.lost if counters else {}
    out = dict.fromkeys(_LOSS_STAGES, 0)
    out["ring"] = sum(lost.values())
    if counters:
        out["storage"], out["hook"] = counters.storage_failed, counters.missed
    for name, loss in LOSSES.items():
        if loss.lowers and loss.remedy:
            out["connections" if name == "connections_rejected" else loss.stage] += engine.stats.get(name, 0)
    out["export"] += undelivered
    return {**out, "total": sum(out.values()), "events": {name: n for name, n in sorted(lost.items()) if n}}


def status_json(status: AgentStatus, now: float, monotonic_ns: int) -> dict[str, Json]:
    """`now` in seconds since 1970; `monotonic_ns` to tell the age of the engine's heartbeat (live only)."""
    engine = status.engine
    live = status.mode == "live"
    age = max(0, monotonic_ns - engine.heartbeat_ns) / NANOSECONDS if live and engine.heartbeat_ns else None
    return {
        "version": API_VERSION,
        "agent": {
            "version": status.version,
            "node": status.node,
            "kernel": status.kernel,
            "mode": status.mode,
            "started": rfc3339(status.started),
            "uptime_seconds": max(0.0, now - status.started),
            "detail": status.detail,
        },
        "driver": _driver_json(status.driver),
        "engine": {
            "state": engine.state,
            "failure": engine.failure,
            "heartbeat_age_seconds": age,
            "cpu_seconds": engine.cpu_ns / NANOSECONDS,
            "starts": engine.starts,
            "connections": engine.connections,
            "waiting_requests": engine.pending,
            "rows": engine.rows_used,
            "tcp_rows": engine.tcp_rows_used,
            "strings": engine.strings_used,
            "identities": engine.idents_used,
            "events": dict(engine.events),
            "parsed": dict(engine.parsed),
            "parse_failures": dict(engine.parse_failures),
            "stats": dict(engine.stats),
        },
        "loss": loss_json(engine, status.counters, status.undelivered),
        "undirected": status.undirected,
        "unresolved": dict(sorted(status.unresolved.items())),
        "processes": {
            name: {"cpu_seconds": use.cpu_seconds, "memory_bytes": use.memory_bytes}
            for name, use in status.processes.items()
        },
        "not_visible": {k: n for k, n in sorted(status.counters.absent.items()) if n} if status.counters else {},
        "configuration": {
            "source": status.configuration.source,
            "problem": status.configuration.problem,
            "needs_restart": list(status.configuration.needs_restart),
            "beside": dict(status.configuration.beside),
        },
        "kubernetes": kubernetes_json(status.kubernetes),
        "problems": [
            {"severity": p.severity, "what": p.what, "cause": p.cause, "remedy": p.remedy} for p in status.problems
        ],
    }


def _driver_json(driver: Driver) -> dict[str, Json]:
    return {
        "name": driver.name,
        "hook_set": driver.hook_set,
        "why": driver.why,
        "hooks": [
            {"name": h.name, "attached": h.attached, "required": h.required, "reason": h.reason, "remedy": h.remedy}
            for h in driver.hooks
        ],
        "rejected": [{"name": r.name, "reason": r.reason, "remedy": r.remedy} for r in driver.rejected],
    }


def party_json(party: Party) -> dict[str, Json]:
    """Every name of one end that is known; what is not known is empty."""
    return {
        "node": party.node,
        "namespace": party.namespace,
        "workload_kind": party.workload_kind,
        "workload_name": party.workload_name,
        "service": party.service,
        "pod": party.pod,
        "container": party.container,
        "container_id": party.container_id,
        "domain": party.domain,
        "outside": party.outside,
    }


def end_json(end: End) -> dict[str, Json]:
    """One end of a conversation with every name that is known; what is not known is empty."""
    party, identity = end.party, end.identity
    return {
        "ip": end.ip,
        "port": end.port,
        **party_json(party),
        "reason": party.reason,
        "process": end.process,
        "pid": identity.pid if identity else 0,
        "netns": identity.netns if identity else 0,
    }


def sample_json(named: NamedSample, wall_minus_monotonic_ns: int) -> dict[str, Json]:
    """One whole request. `start` is the time of day of the request's first byte."""
    sample = named.sample
    source, destination = directed_sample(named)
    return {
        "sequence": sample.sequence,
        "start": rfc3339((sample.start_ns + wall_minus_monotonic_ns) / NANOSECONDS),
        "why": sample.why,
        "protocol": sample.protocol,
        "l4": sample.l4,
        "seen_from": sample.role.name.lower(),
        "source": {**end_json(source), **_ids(source, serving=False)},
        "destination": {**end_json(destination), **_ids(destination, serving=True)},
        "pid": sample.pid,
        "connection": f"{sample.conn_id:x}",
        "request_content": sample.request_content,
        "response_content": sample.response_content,
        "status": sample.status,
        "error": sample.is_error,
        "slow": sample.is_slow,
        "no_response": sample.no_response,
        "duration_seconds": sample.duration_ns / NANOSECONDS,
        "phases_seconds": {
            "connect": sample.connect_ns / NANOSECONDS,
            "request": sample.request_ns / NANOSECONDS,
            "processing": sample.processing_ns / NANOSECONDS,
            "response": sample.response_ns / NANOSECONDS,
        },
        "request_bytes": sample.request_bytes,
        "response_bytes": sample.response_bytes,
        "request_text": sample.request_text,
        "response_text": sample.response_text,
        "trace_id": sample.trace_id,
        "parent_id": sample.parent_id,
    }


def _ids(end: End, *, serving: bool) -> dict[str, Json]:
    """Which node of each level's topology this end is, and its short name."""
    labels = {level.value: label(level, end, serving=serving) for level in Level}
    return {"title": labels["workload"].title, "ids": {name: found.node_id for name, found in labels.items()}}


def traces_json(samples: Sequence[NamedSample], wall_minus_monotonic_ns: int) -> dict[str, Json]:
    """Newest first."""
    return {
        "version": API_VERSION,
        "requests": [sample_json(s, wall_minus_monotonic_ns) for s in reversed(samples)],
    }


def explain_json(ip: str, port: int, found: Explanation) -> dict[str, Json]:
    return {
        "version": API_VERSION,
        **end_json(End(found.party, None, ip, port)),
        "steps": list(found.steps),
    }


def rfc3339(seconds: float) -> str:
    """Milliseconds and Z; `seconds` since 1970."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
