# SPDX-License-Identifier: Apache-2.0
"""`firesteel status` and `firesteel explain`: what a running agent says, as sentences."""

import ipaddress
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from analyzers import losses
from analyzers.contract import REASON_HELP
from analyzers.resolver import MISSING_NAMES
from collector.client import AgentClient
from collector.kubernetes_state import kubernetes_sentences
from collector.options import Exit
from probes.attachment import not_taken


def status(client: AgentClient, as_json: bool, out: TextIO | None = None) -> Exit:
    """Print the agent's status; NOT_AS_WISHED when it reports an error. Raises Unanswered."""
    answer = client.get("/api/v1/status")
    _print(answer, status_sentences(answer), as_json, out)
    wrong = any(problem.get("severity") == "error" for problem in _maps(answer.get("problems")))
    return Exit.NOT_AS_WISHED if wrong else Exit.DONE


def explain(client: AgentClient, ip: str, port: int, as_json: bool, out: TextIO | None = None) -> Exit:
    """Print who is behind an address and how that is known. Raises Unanswered."""
    host = f"[{ip}]" if ":" in ip else ip
    answer = client.get("/api/v1/explain", address=f"{host}:{port}" if port else ip)
    _print(answer, explain_sentences(answer), as_json, out)
    return Exit.DONE


def _print(answer: dict[str, Any], sentences: Iterator[str], as_json: bool, out: TextIO | None) -> None:
    out = out or sys.stdout
    print(json.dumps(answer, indent=2) if as_json else "\n".join(sentences), file=out)


def status_sentences(answer: Mapping[str, Any]) -> Iterator[str]:
    """One fact a line, problems last because that is where a terminal ends."""
    agent, driver, engine = _map(answer, "agent"), _map(answer, "driver"), _map(answer, "engine")
    node = f" on {agent['node']}" if agent.get("node") else ""  # a recording does not say where it was made
    yield (
        f"Firesteel {agent.get('version', '?')}{node} (Linux {agent.get('kernel', '?')}), "
        f"{agent.get('mode', '?')} for {_span(agent.get('uptime_seconds', 0))}."
    )
    by = f" by {driver['hook_set']}" if driver.get("hook_set") else ""
    why = f": {driver['why']}" if driver.get("why") else ""
    yield f"Driver {driver.get('name', '?')}{by}{why}."
    hooks = _maps(driver.get("hooks"))
    if hooks:
        yield f"{sum(bool(hook.get('attached')) for hook in hooks)} of {len(hooks)} hooks attached."
    for hook in hooks:
        if not hook.get("attached"):
            yield f"  {hook.get('name')} is not attached: {_with_remedy(hook.get('reason'), hook.get('remedy'))}"
    for rejected in _maps(driver.get("rejected")):
        told = not_taken(str(rejected.get("name")), driver.get("name", ""))
        yield f"  {told}: {_with_remedy(rejected.get('reason'), rejected.get('remedy'))}"
    if detail := agent.get("detail"):
        yield "Metrics have the labels of single pods." if detail == "pod" else "Metrics have no labels of single pods."
    if processes := _map(answer, "processes"):
        yield "Use so far: " + ", ".join(_use(name, _map(processes, name)) for name in processes) + "."
    yield from _engine_sentences(engine)
    yield from _loss_sentences(_map(answer, "loss"))
    yield from _to_be_expected(_map(engine, "stats"), int(answer.get("undirected", 0)))
    for reason, count in sorted(_map(answer, "not_visible").items()):
        sentence = f", {REASON_HELP[reason]}" if reason in REASON_HELP else ""  # the agent may be a later version
        yield f"  {count} reads or writes not captured, or not in full: {reason}{sentence}"
    if unresolved := _map(answer, "unresolved"):
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(unresolved.items()))
        total = sum(unresolved.values())
        yield f"{total} addresses in use have no name: {told} (docs/troubleshooting.md has what these mean)."
    if kubernetes := _map(answer, "kubernetes"):
        yield from kubernetes_sentences(kubernetes)
    configuration = _map(answer, "configuration")
    beside = "".join(f", {key} by {by}" for key, by in _map(configuration, "beside").items())
    yield f"Configuration from {configuration.get('source', '?')}{beside}."
    if configuration.get("problem"):
        yield f"  the changed file was not taken over: {configuration['problem']}"
    if waiting := configuration.get("needs_restart"):
        yield f"  waiting for a restart: {', '.join(map(str, waiting))}"
    for problem in _maps(answer.get("problems")):
        told = _with_remedy(problem.get("cause"), problem.get("remedy"))
        yield f"{str(problem.get('severity', 'warning')).upper()}: {problem.get('what')}: {told}"


def _engine_sentences(engine: Mapping[str, Any]) -> Iterator[str]:
    stats = _map(engine, "stats")
    failure = f": {engine['failure']}" if engine.get("failure") else ""
    starts = int(engine.get("starts", 1))
    restarts = f", restarted {_times(starts - 1)}" if starts > 1 else ""
    yield (
        f"Engine {engine.get('state', '?')}{failure}{restarts}: {engine.get('connections', 0)} connections, "
        f"{stats.get('requests', 0)} requests and {stats.get('exchanges', 0)} undecoded exchanges counted."
    )
    yield (
        f"Tables: {engine.get('rows', 0)} request rows, {engine.get('tcp_rows', 0)} TCP rows, "
        f"{engine.get('strings', 0)} texts, {engine.get('identities', 0)} owners."
    )
    parsed = _map(engine, "parsed")
    for protocol, count in sorted(_map(engine, "parse_failures").items()):
        if count:
            understood = parsed.get(protocol, 0)
            yield f"  {count} messages of {protocol} that its parser gave up on, {understood} that it understood"


def _loss_sentences(loss: Mapping[str, Any]) -> Iterator[str]:
    lost = {stage: count for stage, count in loss.items() if isinstance(count, int) and count and stage != "total"}
    if not lost:
        yield "Nothing was lost."
        return
    yield "Lost: " + ", ".join(f"{count} at {stage}" for stage, count in lost.items()) + "."
    if "ring" in lost:
        yield "  the ring was full: raise ring.size, or give the agent more CPU"


def _to_be_expected(stats: Mapping[str, Any], undirected: int) -> Iterator[str]:
    """What is no problem: it is so where conversations are older than the agent. Losses with a remedy are problems."""
    counts = {name: int(count) for name, count in stats.items() if isinstance(count, int)}
    for _, count, loss, what in losses.told(counts):
        if not loss.remedy:
            yield (
                f"  {count} {what}: to be expected of what was open before the agent or is taken up again,"
                " or begins while events are lost"
            )
    if undirected:
        yield f"  {undirected} requests that make no edge: nobody saw who asked, in conversations older than the agent"


def explain_sentences(answer: Mapping[str, Any]) -> Iterator[str]:
    """Who it is, then the steps that led there."""
    address = f"{answer.get('ip', '?')}:{answer['port']}" if answer.get("port") else str(answer.get("ip", "?"))
    names = [(name, str(answer[name])) for name in _NAMES if answer.get(name)]
    if names:
        yield f"{address} is " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in names) + "."
    else:
        yield f"{address} has no name."
    if answer.get("reason"):
        yield f"Why no more is known: {MISSING_NAMES.get(answer['reason'], answer['reason'])}."
    for number, step in enumerate(answer.get("steps", ()), start=1):
        yield f"  {number}. {step}"
    rows, relations = _maps(answer.get("rows")), _maps(answer.get("tcp"))
    if not rows and not relations:
        yield "No conversation with it is in the tables."
    for row in rows[:_MOST_ROWS]:
        yield _row_sentence(row)
    left = len(rows[_MOST_ROWS:]) + int(answer.get("left_off", 0))
    if left:
        yield f"  and {left} more; --json has them all"
    for relation in relations[:_MOST_ROWS]:
        if relation.get("kind") == "connect":
            told = f"{relation.get('connects', 0)} attempts that ended with {relation.get('error_text')}"
            if not relation.get("error_text"):
                told = f"{relation.get('connects', 0)} connections made"
            yield f"  {_end(relation, 'source')} -> {_end(relation, 'destination')}: {told}"


def _row_sentence(row: Mapping[str, Any]) -> str:
    total = _map(row, "total")
    asked = " ".join(str(row[name]) for name in ("protocol", "request_content", "response_content") if row.get(name))
    return (
        f"  {_end(row, 'source')} -> {_end(row, 'destination')} {asked}: "
        f"{total.get('requests', 0)} requests, {total.get('errors', 0)} errors, {total.get('slow', 0)} slow"
    )


def _end(row: Mapping[str, Any], side: str) -> str:
    end = _map(row, side)
    address = f"{end.get('ip', '?')}:{end['port']}" if end.get("port") else str(end.get("ip", "?"))
    name = end.get("pod") or end.get("workload_name") or end.get("process") or end.get("domain")
    return f"{address} ({name})" if name else address


_MOST_ROWS = 20
_NAMES = (
    "process", "pid", "namespace", "workload_kind", "workload_name", "service", "pod", "container", "container_id",
    "node", "domain",
)  # fmt: skip


def parse_address(text: str) -> tuple[str, int]:
    """ADDRESS[:PORT] or [V6]:PORT as (ip, port), port 0 if there is none; raises ValueError with a sentence."""
    found = re.fullmatch(r"\[([^\]]+)\](?::([0-9]{1,5}))?", text) or re.fullmatch(r"([0-9.]+)(?::([0-9]{1,5}))?", text)
    ip, port = (found[1], int(found[2] or 0)) if found else (text, 0)
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        raise ValueError(f"{text!r} is not an address; write 192.0.2.1, 192.0.2.1:80 or [2001:db8::1]:80") from None
    if port > 65535:
        raise ValueError(f"port {port} is above 65535")
    return str(address), port


def _map(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = answer.get(name)
    return found if isinstance(found, Mapping) else {}


def _maps(found: object) -> Sequence[Mapping[str, Any]]:
    return [part for part in found if isinstance(part, Mapping)] if isinstance(found, list) else []


def _with_remedy(cause: object, remedy: object) -> str:
    return f"{cause}; {remedy}" if remedy else str(cause or "no reason given")


def _use(name: str, use: Mapping[str, Any]) -> str:
    return f"{name} {int(use.get('memory_bytes', 0)) >> 20} MiB and {use.get('cpu_seconds', 0):.0f} s of a core"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _span(seconds: float) -> str:
    rest = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if rest >= size:
            parts.append(f"{rest // size} {unit}")
            rest %= size
    return " ".join(parts[:2]) or "0 s"
