# SPDX-License-Identifier: Apache-2.0
"""status, top and explain: what the agents say, from all nodes in one place."""

import json
from collections.abc import Callable, Sequence
from typing import Final

from .agents import CONTAINER, Agent, Answer, agents, ask
from .kubectl import Kubectl, Object
from .missing import Missing, missing
from .tables import span, table

Say = Callable[[str], None]
LINES: Final = 30
"""Edges of all nodes that top shows unless told otherwise."""
_WIDTH: Final = 100
_QUIET_SECONDS: Final = 120.0
"""A source of names that has nothing to say gives a sign each minute; after so long without one, names are as old as they are."""


def status(kubectl: Kubectl, namespace: str, node: str, *, as_json: bool, say: Say) -> bool:
    """Whether every node that should have an agent has one, which answers and reports no error."""
    # Of all nodes, for whether one of them lacks its agent is seen by how many the others have.
    present = agents(kubectl, namespace)
    whom = [agent for agent in present if node in {"", agent.node}]
    lacking = list(missing(kubectl, namespace, present, node))
    if not whom and not lacking:
        say("[]" if as_json else _nobody(namespace, node))
        return False
    answers = [*ask(kubectl, namespace, whom, "status"), *map(_of_nobody, lacking)]
    answers.sort(key=lambda answer: answer.agent.node)
    if as_json:
        say(json.dumps([_plain(answer) for answer in answers], indent=2))
    else:
        say(
            table(["NODE", "PROFILE", "DRIVER", "VERSION", "LOST", "NAMES", "UP", "PROBLEMS"], list(map(_row, answers)))
        )
        for line in _remarks(answers):
            say(line)
    unwanted = {one.node for one in lacking if not one.is_wanted}
    return all(
        answer.agent.node in unwanted or not (answer.fault or _problems(answer.told, "error")) for answer in answers
    )


def _nobody(namespace: str, node: str) -> str:
    return f"no agent in namespace {namespace}{f' on {node}' if node else ''}; kubectl firesteel install"


def _of_nobody(one: Missing) -> Answer:
    return Answer(Agent("", one.node, one.profile, one.why), {}, f"no agent: {one.why}")


def _plain(answer: Answer) -> Object:
    return {"node": answer.agent.node, "pod": answer.agent.pod, "status": answer.told or None, "fault": answer.fault}


def _row(answer: Answer) -> list[str]:
    agent, told = answer.agent, answer.told
    if answer.fault or not told:
        return [agent.node, agent.profile, "-", "-", "-", "-", "-", answer.fault[:_WIDTH]]
    problems = [str(problem.get("what")) for problem in told.get("problems", ())]
    return [
        agent.node,
        agent.profile,
        str(told["driver"]["name"]),
        str(told["agent"]["version"]),
        str(told["loss"]["total"]),
        names_of(told),
        span(float(told["agent"]["uptime_seconds"])),
        str(len(problems)) if problems else "",
    ]


def names_of(told: Object) -> str:
    """How old a cluster's names are: `current`, an age, `never heard`, `-` where nobody is asked for any, `?` of an agent before this."""
    if "kubernetes" not in told:
        return "?"
    names = told["kubernetes"]
    if names is None:
        return "-"
    age = names["age_seconds"]
    if age is None:
        return "never heard"
    return f"{span(age)} old" if names["fault"] or age > _QUIET_SECONDS else "current"


def _problems(told: Object, severity: str) -> list[Object]:
    return [problem for problem in told.get("problems", ()) if problem.get("severity") == severity]


def _remarks(answers: Sequence[Answer]) -> list[str]:
    """Each problem once, with the nodes that have it."""
    where: dict[str, list[str]] = {}
    for answer in answers:
        # For which the table had no room.
        if len(answer.fault) > _WIDTH:
            where.setdefault(answer.fault, []).append(answer.agent.node)
        for problem in answer.told.get("problems", ()):
            text = f"{str(problem.get('severity', '')).upper()}: {problem.get('what')}: {problem.get('cause')}"
            remedy = f" -> {problem['remedy']}" if problem.get("remedy") else ""
            where.setdefault(text + remedy, []).append(answer.agent.node)
    return [f"{', '.join(nodes)}: {text}" for text, nodes in where.items()]


def top(kubectl: Kubectl, namespace: str, node: str, *, sort: str, lines: int | None, as_json: bool, say: Say) -> int:
    """With a node: its own `firesteel top`, live. Without: the busiest edges of all nodes, once. An exit code.

    `lines` is how many edges to show, None where nobody said.
    """
    whom = agents(kubectl, namespace, node)
    if node and whom and not whom[0].why_not and not as_json:
        # Only where it was asked for: an agent of the version before does not know it.
        most = [] if lines is None else ["--lines", str(lines)]
        return kubectl.attach(namespace, whom[0].pod, CONTAINER, "firesteel", "top", "--sort", sort, *most)
    if not whom:
        say("[]" if as_json else _nobody(namespace, node))
        return 1
    found, faults = [], []
    for answer in ask(kubectl, namespace, whom, "top", "--once", "--sort", sort):
        if answer.fault:
            faults.append(f"{answer.agent.node}: {answer.fault}")
        found += [{"node": answer.agent.node, **line} for line in answer.told.get("edges", ())]
    key = {"rate": "rate", "errors": "failed", "p99": "p99", "bytes": "received", "requests": "requests"}[sort]
    found.sort(key=lambda line: line.get(key) or 0, reverse=True)
    shown = found[: LINES if lines is None else lines]
    if as_json:
        say(json.dumps(shown, indent=2))
    else:
        heads = ["NODE", "FROM", "TO", "PROTOCOL", "PER SECOND", "FAILED", "P99"]
        say(table(heads, [_edge(line) for line in shown]))
    for fault in faults:
        say(fault)
    return 1 if faults else 0


def _edge(line: Object) -> list[str]:
    p99 = line.get("p99")
    # In the first and the last bucket of the histogram nothing but its bound is known.
    bound = "<" if "p99" in line.get("at_most", ()) else "≥" if "p99" in line.get("at_least", ()) else ""
    return [
        str(line["node"]),
        str(line["source"]),
        str(line["destination"]),
        str(line["protocol"]),
        f"{line['rate']:.1f}",
        f"{line['failed']:.1%}",
        f"{bound}{p99 * 1000:.1f} ms" if p99 is not None else "-",
    ]


def explain(kubectl: Kubectl, namespace: str, address: str, node: str, *, as_json: bool, say: Say) -> bool:
    """Asks the agent on the address's own node if it is a pod's or a node's, else the first one."""
    whom = [agent for agent in agents(kubectl, namespace, node) if not agent.why_not]
    if not whom:
        say(f"no agent answers in namespace {namespace}; kubectl firesteel status says why")
        return False
    chosen = whom[0] if node else _nearest(kubectl, whom, address)
    arguments = ["firesteel", "explain", address, *(["--json"] if as_json else [])]
    told = kubectl.execute(namespace, chosen.pod, CONTAINER, *arguments)
    if not as_json:
        say(f"as the agent on {chosen.node} has it:")
    say(told.rstrip("\n"))
    return True


def _nearest(kubectl: Kubectl, whom: Sequence[Agent], address: str) -> Agent:
    ip = address[1:].partition("]")[0] if address.startswith("[") else address
    ip = ip.partition(":")[0] if ip.count(":") == 1 else ip
    owners = {pod["spec"].get("nodeName") for pod in kubectl.items("/api/v1/pods", fieldSelector=f"status.podIP={ip}")}
    return next((agent for agent in whom if agent.node in owners), whom[0])
