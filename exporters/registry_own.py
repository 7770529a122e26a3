# SPDX-License-Identifier: Apache-2.0
"""The agent's own metrics: what it sees, what it loses and what it costs. Their names do not take `metrics.prefix`."""

from typing import Final

from exporters.registry_cluster import CLUSTER, own

_ENGINE: Final = "the engine has not reported yet"
_DRIVER: Final = "no driver is attached"
_EXPORT: Final = "nothing is pushed or written elsewhere"

SEEN_IN_PART: Final = ("exchange", "response", "trouble")
"""The types of LOST that healthy agents count too: the losses without a remedy (analyzers/losses.py; a test holds that)."""


BUILD_INFO: Final = own(
    "firesteel_build_info",
    "gauge",
    "1",
    ("version",),
    "1; the version that runs. Compare nodes to find one left behind.",
)
DRIVER_INFO: Final = own(
    "firesteel_driver_info",
    "gauge",
    "1",
    ("driver", "hooks", "kernel"),
    "1; how this kernel is watched. A node with another driver than its neighbours may see less: ask `firesteel doctor` there.",
)
DRIVER_REJECTED: Final = own(
    "firesteel_driver_rejected_info",
    "gauge",
    "1",
    ("driver", "reason"),
    "1 for each driver that was tried and not taken, with the reason. A driver further down the list may see less; `firesteel doctor` says what helps.",
)
HOOK_ATTACHED: Final = own(
    "firesteel_hook_attached",
    "gauge",
    "1",
    ("hook",),
    "1 if the hook is attached, 0 if it could not be: the metrics it feeds are absent. `firesteel doctor` names the reason.",
    _DRIVER,
)
EVENTS: Final = own(
    "firesteel_events_total",
    "counter",
    "{event}",
    ("type", "stage"),
    "Events written by the kernel side and consumed by the engine. If the two drift apart, events wait in the ring or were lost.",
    _DRIVER,
)
MERGED: Final = own(
    "firesteel_io_merged_total",
    "counter",
    "{operation}",
    (),
    "Reads and writes that needed no event of their own. The higher its share, the cheaper the observation.",
    _DRIVER,
)
LOST: Final = own(
    "firesteel_lost_total",
    "counter",
    "{item}",
    ("type", "stage"),
    f"What was dropped and where: hook, ring, table, parse, pair, resolve, recording, export. Not 0 means that counts are too low or have less detail, and `firesteel status` has a sentence for each, but for some types ({', '.join(SEEN_IN_PART)}): of these a part was not seen, as of what was open before the agent, and they are no loss by themselves; stage ring asks for a larger ring.size, stage hook for more of the module's maxactive.",
    _ENGINE,
)
NOT_VISIBLE: Final = own(
    "firesteel_payload_not_visible_total",
    "counter",
    "{event}",
    ("reason",),
    "Reads and writes whose bytes were counted but could not be read, by reason. They show as NOSUPPORT where a protocol was expected.",
    _DRIVER,
)
PARSED: Final = own(
    "firesteel_parsed_messages_total",
    "counter",
    "{message}",
    ("protocol",),
    "Messages that a parser understood. 0 for a protocol that is in use: check protocols.enabled.",
    _ENGINE,
)
PARSE_FAILURES: Final = own(
    "firesteel_parse_failures_total",
    "counter",
    "{message}",
    ("protocol",),
    "Messages that a parser gave up on. A high share of firesteel_parsed_messages_total is worth a report with a recording.",
    _ENGINE,
)
PLUGIN: Final = own(
    "firesteel_plugin_exchanges_total",
    "counter",
    "{exchange}",
    ("plugin", "result"),
    "Sampled exchanges that a protocol of protocols.plugins decoded, failed at (it raised), or ended its process with: timeout, crashed; skipped for want of time has no plugin. status says what was raised.",
    "no protocol in Python is configured (protocols.plugins)",
)
ENGINE_STAT: Final = own(
    "firesteel_engine_stat_total",
    "counter",
    "{item}",
    ("stat",),
    "The engine's own account, one series for each line of the table in analyzers/native/table.h. For finding out why a count is not as expected.",
    _ENGINE,
)
INTRA_POD: Final = own(
    "firesteel_intra_pod_requests_total",
    "counter",
    "{request}",
    (),
    "Requests over loopback inside one pod, as to a sidecar. They are no edge, and are only counted here.",
    _ENGINE,
)
UNDIRECTED: Final = own(
    "firesteel_undirected_requests_total",
    "counter",
    "{request}",
    (),
    "Requests of conversations for which nobody could tell who asked. They make neither an edge nor an entity; if it grows, the agent joined long-lived conversations in their middle.",
)
CONNECTIONS: Final = own(
    "firesteel_connections",
    "gauge",
    "{connection}",
    (),
    "Connections that are tracked now. Near connections.max new ones are not seen.",
    _ENGINE,
)
PENDING: Final = own(
    "firesteel_pending_requests",
    "gauge",
    "{request}",
    (),
    "Requests that wait for a response now. If it only grows, responses are not recognised.",
    _ENGINE,
)
TABLE_FILL: Final = own(
    "firesteel_table_fill_ratio",
    "gauge",
    "1",
    ("table",),
    "How full a table is, 0 to 1. At 1 new rows are counted in an overflow row: exclude a noisy port or namespace.",
    _ENGINE,
)
UNRESOLVED: Final = own(
    "firesteel_unresolved_addresses",
    "gauge",
    "{address}",
    ("reason",),
    "Addresses in use now that have no name, by reason (docs/troubleshooting.md). Few are normal; a jump after a change of the cluster asks for a look at RBAC and the names service.",
)
SERIES: Final = own(
    "firesteel_series",
    "gauge",
    "{row}",
    ("metric",),
    "Rows on the page by kind of metric. Each is a few series; compare with metrics.rows.",
)
SERIES_OVERFLOW: Final = own(
    "firesteel_series_overflow_total",
    "counter",
    "{row}",
    ("metric",),
    "Rows that found no place and were counted under `other`, or left out of the trace view. Not 0: raise metrics.rows, drop a label, or use workload detail.",
)
DETAIL: Final = own(
    "firesteel_metrics_detail_info",
    "gauge",
    "1",
    ("detail",),
    "1; the detail in force, pod or workload. At workload detail labels of single pods are empty on purpose.",
)
METRIC_ABSENT: Final = own(
    "firesteel_metric_absent_info",
    "gauge",
    "1",
    ("metric", "reason"),
    "1 for each metric that cannot be had on this node, with the reason. Its panel is empty because of this, not because nothing happened.",
)
SAMPLES: Final = own(
    "firesteel_samples_total",
    "counter",
    "{request}",
    ("outcome",),
    "Requests handed out as samples, and those shed because of samples.rate. Shed ones are counted in all metrics all the same.",
    _ENGINE,
)
EXPORTED: Final = own(
    "firesteel_exported_total",
    "counter",
    "{item}",
    ("exporter",),
    "Points, spans or lines that a receiver took. If it stands still while firesteel_export_failures_total grows, nothing arrives.",
    _EXPORT,
)
EXPORT_FAILURES: Final = own(
    "firesteel_export_failures_total",
    "counter",
    "{failure}",
    ("exporter",),
    "Attempts of an exporter that did not succeed; most are tried again. `firesteel status` names the endpoint and the cause, firesteel_lost_total with stage export says what was lost.",
    _EXPORT,
)
EXPORT_WAITING: Final = own(
    "firesteel_export_waiting",
    "gauge",
    "{item}",
    ("exporter",),
    "Items that wait for an exporter now. At export.otlp.queue the oldest are dropped.",
    _EXPORT,
)
ENGINE_RESTARTS: Final = own(
    "firesteel_engine_restarts_total",
    "counter",
    "{restart}",
    (),
    "Times the engine was started again after it had ended by itself. Not 0: `firesteel status` names the parser that was at work.",
)
ENGINE_LAG: Final = own(
    "firesteel_engine_lag_seconds",
    "gauge",
    "s",
    (),
    "Time since the engine last took a turn. Above a few seconds it is stuck or starved.",
    _ENGINE,
)
LEFT_OUT: Final = own(
    "firesteel_left_out_containers",
    "gauge",
    "{container}",
    (),
    "Containers (cgroups) that the engine counts nothing of because of scope.exclude_namespaces and scope.exclude_workloads. 0 although these are set: no such pod was seen, or the cluster tells no names.",
    _ENGINE,
)
STEP_LEVEL: Final = own(
    "firesteel_step_down_level",
    "gauge",
    "1",
    (),
    "How many steps the agent went down to stay within budget.cpu and budget.memory: 1 no live stream, 2 no samples, 3 no paths, 4 no pods. Requests are counted all the same.",
)
STEPS: Final = own(
    "firesteel_step_downs_total",
    "counter",
    "{step}",
    ("step",),
    "How often each step down was taken. If it grows, the budget is too small for what this node does.",
    "no budget is watched",
)
CONFIG_VALID: Final = own(
    "firesteel_config_valid",
    "gauge",
    "1",
    (),
    "1 if the configuration file is in force, 0 if its newest version was refused and an older one still is. `firesteel status` says why.",
)
CPU: Final = own(
    "firesteel_cpu_seconds_total",
    "counter",
    "s",
    ("process",),
    "Processor time of each of the agent's processes. Its rate is what the observation costs in user space.",
)
MEMORY: Final = own(
    "firesteel_memory_bytes",
    "gauge",
    "By",
    ("process",),
    "Resident memory of each of the agent's processes. Compare with the limit of the container.",
)

OWN: Final = (
    BUILD_INFO,
    DRIVER_INFO,
    DRIVER_REJECTED,
    HOOK_ATTACHED,
    EVENTS,
    MERGED,
    LOST,
    NOT_VISIBLE,
    PARSED,
    PARSE_FAILURES,
    PLUGIN,
    ENGINE_STAT,
    INTRA_POD,
    UNDIRECTED,
    CONNECTIONS,
    PENDING,
    TABLE_FILL,
    UNRESOLVED,
    SERIES,
    SERIES_OVERFLOW,
    DETAIL,
    METRIC_ABSENT,
    SAMPLES,
    EXPORTED,
    EXPORT_FAILURES,
    EXPORT_WAITING,
    ENGINE_RESTARTS,
    ENGINE_LAG,
    LEFT_OUT,
    STEP_LEVEL,
    STEPS,
    CONFIG_VALID,
    *CLUSTER,
    CPU,
    MEMORY,
)
