# SPDX-License-Identifier: Apache-2.0
"""Choosing a driver: what loads, attaches and passes its self-test wins, in the order that was asked for."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from probes import core, selftest
from probes.attachment import Rejected, Report
from probes.facts import Facts

ORDER = ("core", "bcc", "kmod", "none")
"""What `auto` stands for."""

_NOT_IN_THIS_VERSION = {
    "bcc": "this version has no BCC driver",
    "kmod": "this version has no kernel module",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """`loaded` is None when no probe is in place: the agent then runs with less, and `report` says why."""

    report: Report
    loaded: core.Loaded | None


def choose(wanted: Sequence[str], facts: Facts, ring_bytes: int) -> Choice:
    """Never raises because of a kernel."""
    started = time.monotonic()
    rejected: list[Rejected] = []
    for driver in wanted:
        if driver == "core":
            try:
                return _core(facts, ring_bytes, rejected, started)
            except core.Rejection as rejection:
                rejected.append(Rejected("core", rejection.reason, rejection.remedy))
        elif driver in _NOT_IN_THIS_VERSION:
            rejected.append(Rejected(driver, _NOT_IN_THIS_VERSION[driver], "use core on a kernel with BTF"))
        else:
            break
    rejected += [Rejected(name, "not asked for", "driver: auto") for name in ORDER[:-1] if name not in wanted]
    return Choice(Report("none", "", facts.release, rejected=tuple(rejected), seconds=time.monotonic() - started), None)


def _core(facts: Facts, ring_bytes: int, rejected: Sequence[Rejected], started: float) -> Choice:
    loaded = core.load(facts, ring_bytes)
    peers = all(hook.attached for hook in loaded.hooks if hook.name in {"cgroup/sendmsg4", "cgroup/recvmsg4"})
    fault = selftest.run(loaded.map_fd("events"), ring_bytes, loaded.map_fd(".data.control"), peers=peers)
    if fault:
        loaded.close()
        if facts.own_pids:
            raise core.Rejection(
                "the agent is in a pid namespace of its own, and the kernel's events tell processes by the node's numbers",
                "hostPID: true in Kubernetes, --pid=host for a container; nodes that are containers are not supported yet",
            )
        raise core.Rejection(f"self-test: {fault}", "report this kernel, with the output of firesteel doctor --json")
    report = Report(
        driver="core",
        hook_set="socket-tracepoints",
        kernel=facts.release,
        ring_bytes=ring_bytes,
        pod_hierarchy=str(facts.pod_hierarchy or ""),
        hooks=tuple(loaded.hooks),
        rejected=tuple(rejected),
        self_test="passed: 4 reads and writes over TCP and 4 over UDP came out with payload and peers",
        seconds=time.monotonic() - started,
    )
    return Choice(report, loaded)
