# SPDX-License-Identifier: Apache-2.0
"""Choosing a driver: what loads, attaches and passes its self-test wins, in the order that was asked for."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from probes import bcc, core, kmod, selftest
from probes.attachment import Rejected, Report
from probes.driver import Candidates, Loaded, Rejection
from probes.facts import Facts

ORDER = ("core", "bcc", "kmod", "none")
"""What `auto` stands for."""

DRIVERS: Mapping[str, Candidates] = {
    "core": core.candidates,
    "bcc": bcc.candidates,
    "kmod": kmod.candidates,
}
"""`none` is not here: it needs nothing loaded, and the agent reads it itself."""


@dataclass(frozen=True, slots=True)
class Choice:
    """`loaded` is None when no probe is in place: the agent then runs with less, and `report` says why."""

    report: Report
    loaded: Loaded | None


def choose(wanted: Sequence[str], facts: Facts, ring_bytes: int, drivers: Mapping[str, Candidates] = DRIVERS) -> Choice:
    """Never raises because of a kernel."""
    started = time.monotonic()
    rejected: list[Rejected] = []
    for driver in wanted:
        if driver == "none":
            break
        if driver not in drivers:
            rejected.append(Rejected(driver, f"this version has no {driver} driver", "allow another one"))
            continue
        for loaded in _working(driver, drivers[driver], facts, ring_bytes, rejected):
            report = Report(
                driver=driver,
                hook_set=loaded.hook_set,
                kernel=facts.release,
                ring_bytes=loaded.ring_bytes,
                pod_hierarchy=str(facts.pod_hierarchy or ""),
                hooks=tuple(loaded.hooks),
                rejected=tuple(rejected),
                self_test="passed: 4 reads and writes over TCP and 4 over UDP came out with payload"
                + (" and peers" if loaded.tells_peers else ""),
                seconds=time.monotonic() - started,
                pid_namespace=facts.pid_namespace,
                cgroup_subtree=facts.cgroup_subtree,
            )
            return Choice(report, loaded)
    rejected += [Rejected(name, "not asked for", "driver: auto") for name in ORDER[:-1] if name not in wanted]
    seconds = time.monotonic() - started
    return Choice(Report("none", "", facts.release, rejected=tuple(rejected), seconds=seconds), None)


def _working(
    driver: str, candidates: Candidates, facts: Facts, ring_bytes: int, rejected: list[Rejected]
) -> Sequence[Loaded]:
    """The first candidate that tells everything as it was, or nothing; why the others do not is added to `rejected`."""
    try:
        for load in candidates(facts, ring_bytes):
            try:
                loaded = load()
                if not (fault := selftest.run(loaded)):
                    return [loaded]
                loaded.close()
                raise Rejection(
                    f"{loaded.hook_set}: self-test: {fault}",
                    "report this kernel, with the output of firesteel doctor --json",
                )
            except Rejection as rejection:
                rejected.append(Rejected(driver, rejection.reason, rejection.remedy))
    except Rejection as rejection:
        rejected.append(Rejected(driver, rejection.reason, rejection.remedy))
    return []
