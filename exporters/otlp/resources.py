# SPDX-License-Identifier: Apache-2.0
"""The resource of a workload: what everything that was observed of it goes out under."""

from functools import lru_cache

from analyzers.edges import OTHER
from analyzers.resolver import NOT_FOUND_EXTERNAL, NOT_FOUND_INTERNAL, Party
from exporters.otlp.settings import Origin
from exporters.otlp.wire import Value, attributes
from exporters.registry_otel import WORKLOAD_ATTRIBUTES

_ATTRIBUTES = 1
_NO_NAMESPACE = frozenset({"", NOT_FOUND_EXTERNAL, NOT_FOUND_INTERNAL, OTHER})


def of_agent(origin: Origin) -> bytes:
    """A Resource message for what belongs to no workload: flows and the agent's own metrics."""
    pairs: list[tuple[str, Value]] = [
        ("service.name", "firesteel"),
        ("service.version", origin.version),
        ("service.instance.id", origin.instance),
        ("host.name", origin.node),
        ("k8s.cluster.name", origin.cluster),
    ]
    return attributes(_ATTRIBUTES, pairs)


@lru_cache(maxsize=1024)
def of_party(party: Party, origin: Origin, full: bool) -> bytes:
    """A Resource message for a workload; without `full` nothing that differs between its pods."""
    namespace = "" if party.namespace in _NO_NAMESPACE else party.namespace
    pairs: list[tuple[str, Value]] = [
        ("service.name", party.workload_name or party.service or party.domain or "unknown_service"),
        ("service.namespace", namespace),
        ("k8s.namespace.name", namespace),
        ("k8s.cluster.name", origin.cluster),
        *_workload(party),
    ]
    if full:
        pairs += [
            ("service.instance.id", _instance(party)),
            ("k8s.pod.name", party.pod),
            ("k8s.container.name", party.container if party.pod else ""),
            ("container.id", party.container_id),
            ("k8s.node.name", party.node if namespace else ""),
            ("host.name", party.node),
        ]
    return attributes(_ATTRIBUTES, pairs)


def _workload(party: Party) -> list[tuple[str, Value]]:
    name = WORKLOAD_ATTRIBUTES.get(party.workload_kind.lower())
    if name is not None:
        return [(name, party.workload_name)]
    return [("firesteel.workload.kind", party.workload_kind), ("firesteel.workload.name", party.workload_name)]


def _instance(party: Party) -> str:
    """As the conventions want it in Kubernetes: namespace, pod and container, joined by dots."""
    if party.pod:
        return ".".join(part for part in (party.namespace, party.pod, party.container) if part)
    return party.container_id or (f"{party.node}.{party.workload_name}" if party.node else "")
