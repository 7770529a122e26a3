# SPDX-License-Identifier: Apache-2.0
"""`firesteel top`: the busiest conversations of a running agent in a terminal, and its newest requests below.

Everything comes from the agent's API (docs/api.md), so it can watch another machine's agent as well.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from collector.client import Unanswered
from collector.options import Exit

INTERVAL_SECONDS: Final = 2.0
FIRST_INTERVAL_SECONDS: Final = 1.1
"""A rate needs two looks; the agent gives the same answer again for a second."""
REQUESTS: Final = 100
_STREAM_SHARE: Final = 0.34
_FRAME_LINES: Final = 7
_PADDING: Final = 2
_NAME_LEAST: Final = 8
_NAME_ROOM: Final[Mapping[str, int]] = {
    "RESENT": 24, "RECEIVED": 24, "SENT": 24, "TOTAL": 15, "P50": 15, "P99": 15, "PROTOCOL": 15,
}  # fmt: skip
"""How much each name must have room for beside a column, the least needed first; 15 hold 127.0.0.1 with any port."""


class Source(Protocol):
    """What of `collector.client.AgentClient` is used."""

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """The JSON object that a route answers; raises Unanswered."""
        ...


@dataclass(frozen=True, slots=True)
class Line:
    """One edge. Rates are per second over the last seconds, or since the start while nothing else is known.

    What did not move in that time shows its latency and failures since the start, at a rate of 0. `failed` is the share of requests and connection attempts that failed. Times are in seconds, None without requests; `at_most` and `at_least` name those of which only a bound is known.
    """

    source: str
    destination: str
    protocol: str
    rate: float
    failed: float
    p50: float | None
    p99: float | None
    at_most: list[str]
    at_least: list[str]
    sent: float
    received: float
    requests: int
    errors: int
    retransmits: int


SORTS: Final[Mapping[str, Callable[[Line], float]]] = {
    "rate": lambda line: line.rate,
    "errors": lambda line: line.failed * max(line.rate, 1e-9) + line.failed * 1e-6,
    "p99": lambda line: line.p99 or 0.0,
    "bytes": lambda line: line.sent + line.received,
    "requests": lambda line: line.requests,
}
"""What `--sort` may be; the largest comes first."""


def lines(topology: Mapping[str, Any], sort: str = "rate") -> list[Line]:
    """The edges of an answer of /api/v1/topology, sorted."""
    titles = {node["id"]: node["title"] for node in topology["nodes"]}
    found = [_line(edge, titles, topology) for edge in topology["edges"]]
    return sorted(found, key=lambda line: (-SORTS[sort](line), -line.requests, line.source, line.destination))


def _line(edge: Mapping[str, Any], titles: Mapping[str, str], topology: Mapping[str, Any]) -> Line:
    total, window = edge["total"], edge["window"]
    all_failures = sum(edge["tcp"]["connect_failures"].values())
    seconds = topology["counted_seconds"]
    if window is not None:
        rate, failures = window["requests_per_second"], window["connect_failures"]
        sent, received = window["request_bytes_per_second"], window["response_bytes_per_second"]
        tried = window["requests"] + failures
        failed = (window["errors_per_second"] * topology["window_seconds"] + failures) / tried if tried else 0.0
        latency = window["duration_seconds"] if window["requests"] else total["duration_seconds"]
        if not tried and total["requests"] + all_failures:  # still: what it did last says more than nothing
            failed = (total["errors"] + all_failures) / (total["requests"] + all_failures)
    else:
        rate, sent, received = (
            total[name] / seconds if seconds else 0.0 for name in ("requests", "request_bytes", "response_bytes")
        )
        tried = total["requests"] + all_failures
        failed = (total["errors"] + all_failures) / tried if tried else 0.0
        latency = total["duration_seconds"]
    ports = [port for port in edge["ports"] if port]
    where = f":{ports[0]}" if len(ports) == 1 and topology["level"] != "address" else ""
    return Line(
        source=titles[edge["source"]],
        destination=titles[edge["destination"]] + where,
        protocol=protocol_name(edge["protocol"], edge["l4"]),
        rate=rate,
        failed=failed,
        p50=latency["p50"],
        p99=latency["p99"],
        at_most=latency.get("at_most", []),  # an agent of an earlier version does not tell it
        at_least=latency["at_least"],
        sent=sent,
        received=received,
        requests=total["requests"],
        errors=total["errors"] + all_failures,
        retransmits=edge["tcp"]["retransmits"] + edge["tcp"]["synack_retransmits"],
    )


def protocol_name(protocol: str, l4: Sequence[str]) -> str:
    """People read what carried undecoded bytes; NOSUPPORT is the label's value for it."""
    if protocol != "NOSUPPORT":
        return protocol
    return l4[0] if len(l4) == 1 else "undecoded"


def top(
    client: Source,
    *,
    once: bool = False,
    as_json: bool = False,
    sort: str = "rate",
    level: str = "workload",
    most: int | None = None,
    interval: float = INTERVAL_SECONDS,
    console: Console | None = None,
) -> Exit:
    """Shows the agent's edges until an interrupt, or once. Raises Unanswered if there is no agent to begin with.

    Where standard output is no terminal it prints once. `as_json` prints one JSON object per look. `most` is how many edges
    it shows, None for as many as there are, or as a terminal has room for.
    """
    console = console or Console()
    look = _Look(client, sort, level, most)
    look.refresh()
    time.sleep(min(interval, FIRST_INTERVAL_SECONDS))
    look.refresh()
    if as_json:
        while True:
            print(json.dumps(look.as_json(), ensure_ascii=False), flush=True)
            if once:
                return Exit.DONE
            time.sleep(interval)
            look.refresh()
    if once or not console.is_terminal:
        console.print(look.render(console.width, None))
        return Exit.DONE
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(look.render(console.width, console.height), refresh=True)
            time.sleep(interval)
            try:
                look.refresh()
            except Unanswered as error:
                look.trouble = str(error)


class _Look:
    """The newest answers, and what they look like."""

    def __init__(self, client: Source, sort: str, level: str, most: int | None) -> None:
        self._client, self._sort, self._level, self._most = client, sort, level, most
        self._topology: dict[str, Any] = {}
        self._status: dict[str, Any] = {}
        self._requests: list[dict[str, Any]] = []
        self.trouble = ""

    def refresh(self) -> None:
        """Raises Unanswered; then the old answers stay."""
        topology = self._client.get("/api/v1/topology", level=self._level)
        status = self._client.get("/api/v1/status")
        self._requests = self._client.get("/api/v1/traces", limit=str(REQUESTS))["requests"]
        self._topology, self._status, self.trouble = topology, status, ""

    def as_json(self) -> dict[str, Any]:
        found = lines(self._topology, self._sort)
        return {
            "version": self._topology["version"],
            "level": self._level,
            "window_seconds": self._topology["window_seconds"],
            "edges": [asdict(line) for line in found[: self._most]],
            "left_off": self._topology["left_off"] + len(found) - len(found[: self._most]),
            "lost": self._status["loss"]["total"],
            "requests": self._requests,
        }

    def render(self, width: int, height: int | None) -> RenderableType:
        """`height` None: everything, one below the other."""
        found = lines(self._topology, self._sort)
        room = height - _FRAME_LINES if height else None
        below = min(len(self._requests), max(3, int(room * _STREAM_SHARE))) if room else min(20, len(self._requests))
        above = max(3, room - below) if room else len(found)
        above = above if self._most is None else min(above, self._most)
        parts: list[RenderableType] = [self._head(found)]
        if found:
            parts.append(edge_table(found[:above], self._sort, width))
        elif self._status["driver"]["name"] != "none":
            metrics = self._status.get("listen", {}).get("metrics")
            known = f"{metrics}/metrics" if metrics else "http://example.com"
            parts.append(Text(f"\nNothing yet: try curl {known} in another terminal.\n", "dim"))
        if hidden := len(found[above:]) + self._topology["left_off"]:
            parts.append(Text(f" and {hidden} more; --sort shows others first", "dim"))
        if self._requests:
            parts.append(request_table(self._requests[:below]))
        return Group(*parts)

    def _head(self, found: Sequence[Line]) -> Text:
        agent, driver = self._status["agent"], self._status["driver"]
        watched = "replay" if agent["mode"] == "replay" else driver["name"]
        head = Text.assemble((" firesteel ", "bold"), (shown(agent["node"]), "dim"), f"  {watched}")
        head.append(f"  {rate_text(sum(line.rate for line in found))}", "bold")
        failing = sum(line.rate * line.failed for line in found)
        if failing:
            head.append(f"  {rate_text(failing)} failing", "bold red")
        if lost := self._status["loss"]["total"]:
            head.append(f"  {lost} lost", "bold yellow")
        if watched == "none" and not self._status["problems"]:
            head.append(f"\n nothing can be seen inside connections: {shown(driver['why'])}", "yellow")
        for problem in self._status["problems"]:
            head.append(f"\n {shown(problem['what'])}: {shown(problem['cause'])}; {shown(problem['remedy'])}", "yellow")
        if self.trouble:
            head.append(f"\n {shown(self.trouble)}; what follows is the last that is known", "bold red")
        return head


def edge_table(found: Sequence[Line], sort: str, width: int) -> Table:
    """Where names have no room, the columns that are needed least are left out; names that still have none are cut."""
    heads = {"rate": "RATE", "errors": "FAILED", "p99": "P99", "requests": "TOTAL", "bytes": "SENT"}
    columns: dict[str, list[str | Text]] = {
        "PROTOCOL": [Text(shown(line.protocol), "cyan") for line in found],
        "RATE": [rate_text(line.rate) for line in found],
        "FAILED": [Text(f"✕ {line.failed:.1%}", "bold red") if line.failed else Text("-", "dim") for line in found],
        "P50": [_quantile_text(line, "p50", line.p50) for line in found],
        "P99": [_quantile_text(line, "p99", line.p99) for line in found],
        "SENT": [f"{bytes_text(line.sent)}/s" for line in found],
        "RECEIVED": [f"{bytes_text(line.received)}/s" for line in found],
        "RESENT": [str(line.retransmits or "-") for line in found],
        "TOTAL": [str(line.requests) for line in found],
    }
    sources, destinations = ([shown(line.source) for line in found], [shown(line.destination) for line in found])
    taken = {name: _PADDING + max(len(name) + 1, *map(len, cells)) for name, cells in columns.items()}
    longest = [max(len("DESTINATION"), *map(len, names)) for names in (sources, destinations)]
    for name, each in _NAME_ROOM.items():
        has_room = width - sum(taken.values()) >= sum(min(most, each) + _PADDING for most in longest)
        if not has_room and name != heads[sort]:
            del columns[name], taken[name]
    room = max(2 * _NAME_LEAST, width - sum(taken.values()) - 2 * _PADDING)
    left = min(longest[0], max(room // 2, room - longest[1]))
    table = Table(expand=True, box=None, pad_edge=True, header_style="dim")
    table.add_column("SOURCE", ratio=left, min_width=left, no_wrap=True)
    table.add_column("DESTINATION", ratio=room - left, min_width=min(room - left, longest[1]), no_wrap=True)
    for name in columns:
        justify: JustifyMethod = "left" if name == "PROTOCOL" else "right"
        table.add_column(f"{name}↓" if heads[sort] == name else name, justify=justify, no_wrap=True)
    for number, line in enumerate(found):
        table.add_row(
            Text(cut(sources[number], left)),
            Text(cut(destinations[number], room - left)),
            *(cells[number] for cells in columns.values()),
            style="" if line.rate or line.failed else "dim",
        )
    return table


def cut(name: str, room: int) -> str:
    """Its beginning, and its port whole: that tells apart what has one name."""
    if len(name) <= room:
        return name
    before, colon, port = name.rpartition(":")
    end = colon + port if before and port.isdecimal() and len(port) + 2 < room else ""
    return name[: room - len(end) - 1] + "…" + end


def request_table(requests: Sequence[Mapping[str, Any]]) -> Table:
    """Newest first."""
    table = Table(expand=True, box=None, pad_edge=True, header_style="dim", title="newest requests", title_style="dim")
    table.add_column("TIME", no_wrap=True)
    table.add_column("FROM → TO", ratio=2, no_wrap=True, overflow="ellipsis")
    table.add_column("PROTOCOL", no_wrap=True)
    table.add_column("REQUEST", ratio=2, no_wrap=True, overflow="ellipsis")
    table.add_column("RESULT", no_wrap=True)
    table.add_column("TOOK", justify="right", no_wrap=True)
    for request in requests:
        bad = request["error"] or request["no_response"]
        result = (
            "no answer" if request["no_response"] else request["response_content"] or str(request["status"] or "ok")
        )
        took = "-" if request["no_response"] else time_text(request["duration_seconds"])
        table.add_row(
            Text(_time_of_day(request["start"]), "dim"),
            Text(f"{shown(request['source']['title'])} → {shown(request['destination']['title'])}"),
            Text(shown(protocol_name(request["protocol"], [request["l4"]])), "cyan"),
            Text(shown(request["request_content"])),
            Text(f"✕ {shown(result)}", "bold red") if bad else Text(shown(result)),
            Text(took, "yellow" if request["slow"] else ""),
        )
    return table


def _time_of_day(rfc3339: str) -> str:
    """Of this terminal's time zone."""
    at = datetime.fromisoformat(rfc3339).astimezone()
    return at.strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03d}"


def shown(text: str) -> str:
    """Text that strangers sent, safe for a terminal: what does not print (escapes, line ends) becomes a dot."""
    return "".join(character if character.isprintable() else "·" for character in text)


def rate_text(value: float) -> str:
    if 0 < value < 0.01:
        return "<0.01/s"
    return f"{_scaled(value, ('', 'k', 'M'))}/s"


def bytes_text(value: float) -> str:
    return _scaled(value, (" B", " kB", " MB", " GB"))


def _quantile_text(line: Line, name: str, seconds: float | None) -> str:
    return f"{'<' if name in line.at_most else '≥' if name in line.at_least else ''}{time_text(seconds)}"


def time_text(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 0.001:
        return f"{seconds * 1e6:.3g} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.4g} s"


def _scaled(value: float, units: Sequence[str]) -> str:
    place = 0
    while value >= 1000 and place < len(units) - 1:
        value /= 1000
        place += 1
    return f"{value:.3g}{units[place]}" if value < 999.5 else f"{value:.0f}{units[place]}"
