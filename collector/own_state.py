# SPDX-License-Identifier: Apache-2.0
"""What the agent tells of itself on the metrics page: driver, losses, processes, and which metrics cannot be had."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from analyzers.table import SharedTable
from collector import polling
from collector.capture import Capture, children_cpu_seconds
from collector.metadata.conntrack import Conntrack
from collector.metadata.kube_api import KubeApi
from collector.metadata.kube_watch import WatchState
from collector.metadata.kubernetes import Cluster
from collector.metadata.names_client import NamesState
from collector.schema import Config
from collector.step_down import StepDown, Use
from collector.table_view import TableView
from collector.version import VERSION
from exporters import registry_traffic as traffic
from exporters.labels import label_text
from exporters.own import (
    ApiReport,
    DriverReport,
    ExportReport,
    FollowReport,
    OwnState,
    PluginReport,
    ProcessUse,
    TableSizes,
)
from probes.attachment import Report

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
NEEDS = {
    "tcp_retransmit_skb": traffic.RETRANSMIT.name,
    "kfree_skb": traffic.PACKET_LOSS.name,
}
"""Metrics that one optional hook feeds."""
RESETS = ("tcp_send_reset", "tcp_receive_reset")


def hierarchy(report: Report) -> Path | None:
    """Where the programs' cgroup ids belong to, None without a driver."""
    return Path(report.pod_hierarchy) if report.pod_hierarchy else None


def absent(report: Report, cluster: Cluster | None = None) -> Mapping[str, str]:
    """Reason for each metric that this node cannot have, by its name in the registry."""
    missing = {} if cluster else {traffic.WORKLOAD_INFO.name: "there is no cluster to ask for workloads"}
    for hook in report.hooks:
        if not hook.attached and hook.name in NEEDS:
            missing[NEEDS[hook.name]] = f"hook {hook.name} is not attached: {hook.reason}"
    resets = [hook for hook in report.hooks if hook.name in RESETS]
    if resets and not any(hook.attached for hook in resets):
        missing[traffic.RESET.name] = "; ".join(f"hook {hook.name} is not attached: {hook.reason}" for hook in resets)
    if report.driver == "none":
        reason = "no driver is in place: " + "; ".join(f"{r.driver}: {r.reason}" for r in report.rejected)
        missing |= {m.name: reason for m in traffic.TRAFFIC if m.name not in missing and m.name not in polling.TOLD}
    return missing


def workloads(cluster: Cluster | None) -> tuple[str, ...]:
    """The label text of each workload of the cluster."""
    found = cluster.index.workloads() if cluster else ()
    ordered = sorted((namespace, workload.kind, workload.name) for namespace, workload in found)
    return tuple(label_text(list(zip(traffic.WORKLOAD_LABELS, values, strict=True))) for values in ordered)


def gather(
    capture: Capture, table: SharedTable, view: TableView, config: Config, *, config_valid: bool,
    cluster: Cluster | None = None, exports: Mapping[str, ExportReport] | None = None,
    step_down: StepDown | None = None, plugins: PluginReport | None = None, stream_dropped: int | None = None,
    left_out: int | None = None, conntrack: Conntrack | None = None,
) -> OwnState:  # fmt: skip
    """All of it as of now."""
    report = capture.report
    state = table.state()
    attached = {hook.name: hook.attached for hook in report.hooks}
    rejected = [(rejection.driver, rejection.reason) for rejection in report.rejected]
    uses = process_uses(capture)
    return OwnState(
        version=VERSION,
        now_ns=time.monotonic_ns(),
        driver=DriverReport(report.driver, report.hook_set, report.kernel, attached, rejected),
        engine=state if state.starts else None,
        counters=capture.counters(),
        sizes=TableSizes(connections=config.connections.max),
        snapshot=view.snapshot,
        series=view.report(),
        absent={name.format(prefix=config.metrics.prefix): why for name, why in absent(report, cluster).items()},
        watches=watches(cluster.states()) if cluster else {},
        api=api_report(cluster.api, cluster.states()) if cluster else None,
        follows=_follows(cluster.names) if cluster else None,
        exports=exports or {},
        plugins=plugins,
        step_level=step_down.level if step_down else 0,
        steps=step_down.taken if step_down else {},
        processes=uses,
        restarts=max(0, state.starts - 1),
        samples_missed=view.missed_samples,
        stream_dropped=stream_dropped,
        left_out=left_out,
        conntrack=conntrack.is_read if conntrack else None,
        config_valid=config_valid,
    )


def watches(states: Sequence[WatchState]) -> dict[str, bool]:
    """Which resources are being watched."""
    return {state.name: not state.fault and state.heard > 0 for state in states}


def api_report(api: KubeApi, states: Sequence[WatchState]) -> ApiReport:
    now = time.monotonic()
    return ApiReport(api.requests, api.bytes_read, {state.name: now - state.heard for state in states if state.heard})


def _follows(names: NamesState | None) -> FollowReport | None:
    if names is None:
        return None
    starts = {"whole": names.wholes, "resumed": names.resumed, "failed": names.failures, "fallback": names.fallbacks}
    age = time.monotonic() - names.heard if names.heard else 0.0
    return FollowReport(names.subscribed, age, names.bytes_read, starts)


def process_uses(capture: Capture) -> dict[str, ProcessUse]:
    """What each of the agent's processes uses."""
    status = capture.status()
    processes = {"agent": os.getpid()}
    if status and status.pid:
        processes["engine"] = status.pid
    uses = {name: use for name, pid in processes.items() if (use := process_use(pid)) is not None}
    if "engine" in uses:
        ended = children_cpu_seconds() - capture.children_cpu_before
        uses["engine"] = ProcessUse(uses["engine"].cpu_seconds + ended, uses["engine"].memory_bytes)
    return uses


def whole_use(capture: Capture) -> Use:
    """The same of all of them together."""
    uses = process_uses(capture).values()
    return Use(sum(use.cpu_seconds for use in uses), sum(use.memory_bytes for use in uses))


def process_use(pid: int, proc: Path = Path("/proc")) -> ProcessUse | None:
    """CPU and resident memory of a process (proc(5): stat fields 14 to 17, 24); None if it is gone."""
    try:
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    ticks = int(fields[11]) + int(fields[12])
    return ProcessUse(ticks / _TICKS, int(fields[21]) * _PAGE)
