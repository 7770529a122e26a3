# SPDX-License-Identifier: Apache-2.0
"""What does not work as wished, as sentences with a cause and a remedy: `status`, the live page and the log use them."""

from collections.abc import Iterable, Iterator

from analyzers import losses
from analyzers.engine import EngineStatus
from analyzers.rows import DriverCounters, EngineState
from analyzers.snapshot import Snapshot
from collector.api import Problem
from collector.metadata.conntrack import Conntrack
from exporters.own import PluginReport
from exporters.series import SeriesReport
from probes.attachment import Report

_STALE_NS = 5 * 10**9


def of_driver(report: Report) -> Iterator[Problem]:
    """Why there is no probe, which hooks are absent, and what lies outside of the agent's reach."""
    if report.driver == "none":
        reasons = "; ".join(f"{rejected.driver}: {rejected.reason}" for rejected in report.rejected)
        remedies = [rejected.remedy for rejected in report.rejected if rejected.remedy]
        yield Problem(
            "error",
            "no probe is in place: connections and their health are listed, requests are not seen",
            reasons or "driver: none is configured",
            remedies[0] if remedies else "driver: auto",
        )
    if report.pid_namespace:
        yield Problem(
            "warning",
            "only the processes inside this pid namespace are seen",
            "the agent runs in a pid namespace of its own",
            "right on a node that is a container (kind, k3d); for a whole machine: hostPID: true, or --pid=host",
        )
    if report.cgroup_subtree and not report.pid_namespace:
        yield Problem(
            "warning",
            "the peers of UDP datagrams are told for this container only",
            "/sys/fs/cgroup is that of a private cgroup namespace, and the cgroup hooks see only what is below it",
            "mount the node's /sys/fs/cgroup into the container",
        )
    for hook in report.hooks:
        if not hook.attached and hook.loses:
            yield Problem("warning", f"hook {hook.name} is not attached", hook.reason, f"without it: {hook.loses}")


def of_plugins(report: PluginReport) -> Iterator[Problem]:
    """Which protocols.plugins are not in use, and what the others raised."""
    for name, why in report.failed.items():
        yield Problem("error", f"the plugin {name} is not in use", why, "install its package, or mend it, and restart")
    for name, fault in report.last_fault.items():
        bad = {result: count for (plugin, result), count in report.counts.items() if plugin == name}
        told = ", ".join(f"{bad[result]} {result}" for result in ("failed", "timeout", "crashed") if bad.get(result))
        yield Problem(
            "warning",
            f"the plugin {name or 'process'} could not read sampled exchanges: {told}",
            fault,
            "mend the plugin; everything is counted without it",
        )
    if report.given_up:
        yield Problem("error", "no plugin is in use", report.given_up, "mend the plugin, and restart the agent")


def of_sandbox(unfiltered: str) -> Iterator[Problem]:
    """Why the agent runs without a seccomp filter of its own."""
    if unfiltered:
        yield Problem(
            "warning",
            "the agent process has no seccomp filter of its own",
            unfiltered,
            "install libseccomp2; it holds no capability all the same, and the engine has its filter",
        )


def of_cgroups(fault: str) -> Iterator[Problem]:
    """Why a container that is there for a moment only may have no name."""
    if fault:
        yield Problem(
            "warning",
            "what runs for less than a second may stay without a name: not all cgroups can be watched",
            fault,
            "raise fs.inotify.max_user_watches or max_user_instances on the node; it is tried again every five minutes",
        )


def of_cluster(fault: str) -> Iterator[Problem]:
    """Why there is no cluster to ask, where one was configured."""
    if fault:
        yield Problem(
            "error",
            "there is no cluster to ask: pods and services have no names",
            fault,
            "correct kubernetes.kubeconfig, or the pod's service account; kubernetes.enabled: false asks nobody",
        )


def of_translations(conntrack: Conntrack, lost: int) -> Iterator[Problem]:
    """Why the pod behind a Service may not be known, on a node that belongs to a cluster."""
    if conntrack.reason:
        yield Problem(
            "warning",
            "translations of addresses are not read: behind a Service, the pod that answered is not known",
            conntrack.reason,
            f"{conntrack.remedy}; network plugins that translate in eBPF (Cilium, Calico eBPF) have no conntrack to read",
        )
    if lost:
        yield Problem(
            "warning",
            f"conntrack told more than could be read, {lost} times: some connections show the Service only",
            "more new connections than the socket's buffer holds while the engine was busy",
            "give the agent more CPU",
        )


def of_engine(status: EngineStatus | None, state: EngineState, now_ns: int) -> Iterator[Problem]:
    """Crashes, hangs, parsers that were switched off."""
    if status is None:
        return
    if status.crashes:
        yield Problem(
            "warning",
            f"the engine crashed {status.crashes} times and was started again",
            status.last_crash,
            "counters went on; please report it",
        )
    for protocol in status.switched_off:
        yield Problem(
            "error",
            f"the {protocol} parser is switched off",
            "it crashed the engine three times",
            "restart the agent to try again; please report it",
        )
    if status.running and state.heartbeat_ns and now_ns - state.heartbeat_ns > _STALE_NS:
        yield Problem(
            "error",
            "the engine does not keep up",
            f"no sign of it for {(now_ns - state.heartbeat_ns) / 1e9:.0f} s",
            "it is restarted when it hangs; give the agent more CPU",
        )


def of_agent(turn_failure: str, seeds_missed: int, samples_missed: int) -> Iterator[Problem]:
    """What the agent itself could not do."""
    if turn_failure:
        yield Problem(
            "error",
            "the agent's last turn failed",
            turn_failure,
            "names and metrics stand still meanwhile; please report it",
        )
    if seeds_missed:
        yield Problem(
            "warning",
            f"{seeds_missed} engines started without seeding",
            "the iterators made at the start are used up, or failed",
            "connections older than the last engine are told at their next use; restart the agent for all of them at once",
        )
    if samples_missed:
        yield Problem(
            "warning",
            f"{samples_missed} sampled requests were overwritten before they were read",
            "the queue of samples was full",
            "lower samples.rate; counts are not concerned",
        )


def of_losses(counters: DriverCounters | None, state: EngineState) -> Iterator[Problem]:
    """What was dropped on the way, and where."""
    if counters is not None and (lost := sum(counters.lost.values())):
        parts = ", ".join(f"{count} {name}" for name, count in counters.lost.items() if count)
        yield Problem(
            "warning",
            f"{lost} events were lost since the start",
            f"the ring was full ({parts})",
            "raise ring.size; counts of requests in flight at that time are incomplete",
        )
    if counters is not None and counters.storage_failed:
        yield Problem(
            "warning",
            f"{counters.storage_failed} times a connection could not be tracked",
            "no socket storage (net.core.optmem_max or memory)",
            "raise net.core.optmem_max",
        )
    if counters is not None and counters.missed:
        yield Problem(
            "warning",
            f"{counters.missed} reads or writes were not seen",
            "more threads were inside of a watched function than the module has room for",
            "raise /sys/module/firesteel/parameters/maxactive and restart the agent",
        )
    events_lost = state.stats.get("ring_dropped", 0)
    if counters is not None:
        events_lost += sum(counters.lost.values()) + counters.missed
    for name, count, loss, what in losses.told(state.stats):
        if remedy := losses.remedy_of(loss, events_lost):
            yield Problem("warning", f"{count} {what}", name, remedy)


def of_accounts(snapshot: Snapshot, series: SeriesReport, plugins_skipped: int) -> Iterator[Problem]:
    """What the agent left out, or put together, on the way from the table to the page."""
    for kind, count in snapshot.evicted.items():
        if count:
            yield Problem(
                "warning",
                f"{count} series of kind {kind} ended early: there were too many",
                "more different ones within metrics.ttl than the agent keeps",
                "shorten metrics.ttl, or leave out ports and processes (scope.exclude_*)",
            )
    for kind, count in series.overflow.items():
        limit = kind.partition("_")[0]
        if count:
            yield Problem(
                "warning",
                f"{count} rows of kind {kind} found no place on the page: "
                + ("they are not in the trace view" if kind == "trace" else "they are counted as `other`"),
                f"metrics.rows.{limit} is reached",
                "raise it, drop a label (metrics.drop_labels), or use metrics.detail: workload",
            )
    if plugins_skipped:
        yield Problem(
            "warning",
            f"{plugins_skipped} sampled exchanges were not shown to plugins",
            "plugins took longer than they may",
            "make the plugins quicker, or lower samples.rate; all is counted without them",
        )


def of_configuration(not_yet: Iterable[str], faults: Iterable[str]) -> Iterator[Problem]:
    """Keys that mean nothing yet, and a changed file that was not taken over."""
    for told in not_yet:
        yield Problem("warning", "configuration", told, "remove the key, or use a version that has it")
    for fault in faults:
        yield Problem("error", "the changed configuration was not taken over", fault, "correct the file")
