# SPDX-License-Identifier: Apache-2.0
"""The agents of a cluster, and how each is asked: by its own command line, inside of its container."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from .kubectl import Kubectl, Object, Refused
from .objects import PROFILE, SELECTOR, required_terms

CONTAINER: Final = "agent"
_AT_ONCE: Final = 8


@dataclass(frozen=True)
class Agent:
    """One pod of a DaemonSet. `why_not` is empty where it can be asked."""

    pod: str
    node: str
    profile: str
    why_not: str


@dataclass(frozen=True)
class Answer:
    """What an agent said, or why it did not."""

    agent: Agent
    told: Object
    fault: str


def agents(kubectl: Kubectl, namespace: str, node: str = "") -> list[Agent]:
    """All of them, or the one of a node, by the nodes' names."""
    selector = f"{SELECTOR},app.kubernetes.io/component=agent"
    found = [_agent(pod) for pod in kubectl.items(f"/api/v1/namespaces/{namespace}/pods", labelSelector=selector)]
    chosen = [agent for agent in found if not node or agent.node == node]
    return sorted(chosen, key=lambda agent: (agent.node, agent.pod))


def _agent(pod: Object) -> Agent:
    metadata, status = pod["metadata"], pod.get("status", {})
    return Agent(
        metadata["name"],
        _node_of(pod["spec"]),
        metadata.get("labels", {}).get(PROFILE, "?"),
        _why_not(status, ends=bool(metadata.get("deletionTimestamp"))),
    )


def _node_of(spec: Object) -> str:
    """Where it runs; where its DaemonSet wants it, as long as no scheduler has put it there: only there it may be."""
    terms = required_terms(spec)
    fields = [field for term in terms for field in term.get("matchFields", ()) if field["key"] == "metadata.name"]
    return str(spec.get("nodeName") or next((field["values"][0] for field in fields), ""))


def _why_not(status: Object, *, ends: bool) -> str:
    if ends:
        return "is ending"
    for container in status.get("containerStatuses", ()):
        state = container.get("state", {})
        for kind in ("waiting", "terminated"):
            if kind in state:
                told = state[kind]
                return ": ".join(filter(None, (told.get("reason", kind), told.get("message", ""))))
        if "running" in state:
            return ""
    for condition in status.get("conditions", ()):
        if condition.get("status") == "False" and condition.get("message"):
            return str(condition["message"])
    return f"is {status.get('phase', 'not there')}"


def ask(kubectl: Kubectl, namespace: str, whom: Sequence[Agent], *command: str) -> Iterator[Answer]:
    """`firesteel COMMAND --json` in each of them, a few at once, in their order."""

    def one(agent: Agent) -> Answer:
        if agent.why_not:
            return Answer(agent, {}, agent.why_not)
        try:
            text = kubectl.execute(namespace, agent.pod, CONTAINER, "firesteel", *command, "--json")
            told = json.loads(text)
        except Refused as refused:
            return Answer(agent, {}, str(refused))
        except ValueError:
            return Answer(agent, {}, "the answer is not JSON")
        if not isinstance(told, dict):
            return Answer(agent, {}, "the answer is not an object")
        fault = told.get("error")
        return Answer(agent, told, f"{fault['what']}; {fault['remedy']}" if isinstance(fault, dict) else "")

    yield from _each(one, whom)


def _each(work: Callable[[Agent], Answer], whom: Sequence[Agent]) -> Iterator[Answer]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(work, whom)
