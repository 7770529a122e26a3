# SPDX-License-Identifier: Apache-2.0
"""check: `firesteel doctor` on every node before anything is installed, as one table."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Final

from . import namespaces, objects, platforms
from .install import agents_pod, installed, minor_of
from .jobs import NodeJob, Result, check_job, run_jobs
from .kubectl import Kubectl, Object
from .objects import OFF, PROFILE, can_be_watched, profile_of
from .tables import table

_NONE: Final = "none"


def check(
    kubectl: Kubectl, namespace: str, node: str, *, images: objects.Images, seconds: float, as_json: bool,
    say: Callable[[str], None],
) -> bool:  # fmt: skip
    """Whether no node has anything to repair. The namespace must be there; if it is not, it is made, and gone again at the end."""
    nodes = [item for item in kubectl.items("/api/v1/nodes") if can_be_watched(item)]
    if node:
        nodes = [item for item in nodes if item["metadata"]["name"] == node]
    if not nodes:
        say(f"there is no Linux node that can be watched{f' named {node}' if node else ''}")
        return False
    minor = minor_of(kubectl)
    aside = _unsaid if as_json else say
    there = installed(kubectl, namespace)
    by_name = {str(item["metadata"]["name"]): item for item in sorted(nodes, key=lambda item: item["metadata"]["name"])}
    jobs = [
        NodeJob(name, check_job(name, profile, namespace, minor=minor, images=images, like=agents_pod(there, profile)))
        for name, profile in ((name, profile_of(item)) for name, item in by_name.items())
        if profile != OFF
    ]
    with namespaces.for_jobs(kubectl, namespace, seconds, aside) as is_made:
        results = list(run_jobs(kubectl, jobs, seconds))
        remarks = {result.node: _remarks(result, by_name[result.node], there) for result in results}
        if as_json:
            told = [
                {"node": r.node, "doctor": report_of(r), "fault": r.fault, "remarks": remarks[r.node]} for r in results
            ]
            say(json.dumps(told, indent=2))
        else:
            say(as_table(results, by_name, remarks))
    # Whoever installs next finds it gone, and not on its way.
    if is_made:
        namespaces.delete(kubectl, namespace, seconds, aside)
    return all(_is_well(result) and not remarks[result.node] for result in results)


def _unsaid(_text: str) -> None:
    """Beside JSON nothing is printed."""


def report_of(result: Result) -> Object | None:
    """The doctor's own JSON; None where something else was printed."""
    try:
        found = json.loads(result.output)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "checks" in found else None


def _is_well(result: Result) -> bool:
    report = report_of(result)
    return report is not None and bool(report["ok"])


def _remarks(result: Result, node: Object, there: Sequence[Object]) -> list[str]:
    """What is known of the node's platform. What loaded there all the same is right."""
    report = report_of(result)
    if report is not None and _driver(report["checks"]) != _NONE:
        return []
    return platforms.remarks(node, agents_pod(there, profile_of(node)))


def as_table(results: Sequence[Result], nodes: dict[str, Object], remarks: dict[str, list[str]]) -> str:
    """Of all these nodes, in the order of their names. `remarks` are those about each node that was asked."""
    rows, lines = [], []
    by_node = {result.node: result for result in results}
    for name, node in nodes.items():
        info = node.get("status", {}).get("nodeInfo", {})
        facts = [name, str(info.get("kernelVersion", "?")), str(info.get("osImage", "?")), profile_of(node)]
        if name not in by_node:
            rows.append([*facts, "-", f"not asked: the label {PROFILE} says {OFF}"])
            continue
        result = by_node[name]
        report = report_of(result)
        lines += [f"{name}: {remark}" for remark in remarks[name]]
        if report is None:
            rows.append([*facts, "?", result.fault or result.output.strip().splitlines()[-1][:100]])
            continue
        checks = report["checks"]
        faults = [row for row in checks if row["state"] == "fail"]
        warnings = [row for row in checks if row["state"] == "warn"]
        rows.append([*facts, _driver(checks), f"{len(faults)} to repair, {len(warnings)} to know about"])
        lines += [f"{result.node}: {row['check']}: {row['sentence']} -> {row['remedy']}" for row in faults]
    text = table(["NODE", "KERNEL", "SYSTEM", "PROFILE", "DRIVER", "DOCTOR"], rows)
    return "\n".join([text, "", *lines]) if lines else text


def _driver(checks: Sequence[Object]) -> str:
    """Which one loads, out of the doctor's sentence about its trial."""
    for row in checks:
        loads = re.match(r"(\w+) loads by ([\w-]+)", row["sentence"])
        if row["check"] == "driver" and loads:
            return f"{loads[1]} ({loads[2]})"
    return _NONE
