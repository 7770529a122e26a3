# SPDX-License-Identifier: Apache-2.0
"""Frames of made edges, for what needs no Prometheus: states, interaction, size."""

from collections.abc import Iterable
from typing import Any, Final

Json = dict[str, Any]
End = dict[str, str]
_LABELS: Final = ("namespace", "workload_kind", "workload_name", "pod", "node", "service", "domain", "ip")


def workload(namespace: str, name: str, kind: str = "deployment", pod: str = "", node: str = "node-1") -> End:
    return {"namespace": namespace, "workload_kind": kind, "workload_name": name, "pod": pod, "node": node}


def table(query: str, columns: dict[str, list[str]], values: Iterable[float]) -> Json:
    fields: list[Json] = [{"name": name, "type": "string", "values": texts} for name, texts in columns.items()]
    return {"refId": query, "fields": [*fields, {"name": "Value", "type": "number", "values": list(values)}]}


def frames(edges: list[tuple[End, End, str, dict[str, float]]]) -> list[Json]:
    """One table for each measure, with all rows: (source, target, protocol, measures)."""
    columns: dict[str, list[str]] = {}
    for label in _LABELS:
        columns[f"src_{label}"] = [edge[0].get(label, "") for edge in edges]
        columns[f"dst_{label}"] = [edge[1].get(label, "") for edge in edges]
    columns["protocol"] = [edge[2] for edge in edges]
    measures = sorted({measure for edge in edges for measure in edge[3]})
    return [table(measure, columns, (edge[3].get(measure, 0) for edge in edges)) for measure in measures]


def large(workloads: int = 1000, edges: int = 5000, pods: int = 10) -> list[Json]:
    """`edges` between `workloads` of fifty namespaces, each told by two of `pods` pods on either side."""
    made: list[tuple[End, End, str, dict[str, float]]] = []
    state = 7
    seen: set[tuple[int, int]] = set()
    while len(seen) < edges:
        state = (state * 1103515245 + 12345) % 2**31
        source = (state >> 8) % workloads
        state = (state * 1103515245 + 12345) % 2**31
        target = (state >> 8) % workloads
        if source == target or (source, target) in seen:
            continue
        seen.add((source, target))
        for told in range(2):
            pair = [
                workload(
                    f"ns-{at % 50}", f"work-{at}", pod=f"work-{at}-{(told + len(seen)) % pods}", node=f"n{at % 300}"
                )
                for at in (source, target)
            ]
            rate = 1 + state % 200
            made.append(
                (
                    pair[0],
                    pair[1],
                    ("http", "grpc", "mysql", "redis")[state % 4],
                    {"requests": rate, "errors": rate * 0.1 if state % 17 == 0 else 0, "duration": rate * 2e7},
                )
            )
    return frames(made)


def crowd(pods: int = 3000) -> list[Json]:
    """All pods of one workload in one namespace ask one database."""
    database = workload("data", "db", "statefulset", pod="db-0")
    return frames(
        [(workload("one", "crowd", pod=f"crowd-{at}"), database, "mysql", {"requests": 1.0}) for at in range(pods)]
    )
