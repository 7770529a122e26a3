# SPDX-License-Identifier: Apache-2.0
"""Recording rules and alerts over the registry. Each alert has a page in docs/runbooks, named as the alert."""

from dataclasses import dataclass
from typing import Any, Final

from exporters import registry_cluster as cluster
from exporters import registry_own as own
from exporters import registry_traffic as traffic
from exporters.grafana.expressions import quantile, selector, total
from exporters.metric import Metric

RUNBOOKS: Final = "docs/runbooks"
_WORKLOAD: Final = ("cluster", "namespace", "workload_kind", "workload_name")
_PAIR: Final = (
    "cluster",
    "src_namespace",
    "src_workload_name",
    "dst_namespace",
    "dst_workload_name",
)
_OUTSIDE: Final = ("cluster", "src_namespace", "src_workload_name", "dst_domain", "dst_ip")
_EXTERNAL: Final = 'dst_namespace="NOT_FOUND_EXTERNAL"'

_BY_ITSELF: Final = f'type!~"{"|".join(own.SEEN_IN_PART)}"'


@dataclass(frozen=True, slots=True)
class Recording:
    name: str
    expr: str


@dataclass(frozen=True, slots=True)
class Alert:
    """`lasting` is how long it must hold; `summary` may use the labels."""

    name: str
    expr: str
    lasting: str
    severity: str
    summary: str
    description: str


class Rules:
    """The rules for one `metrics.prefix`."""

    def __init__(self, prefix: str = "kindling") -> None:
        self._prefix = prefix

    def recordings(self) -> tuple[Recording, ...]:
        entity, by = traffic.ENTITY_TOTAL, (*_WORKLOAD, "protocol")
        return (
            Recording("firesteel:workload_requests:rate5m", self._total(entity, by)),
            Recording("firesteel:workload_errors:rate5m", self._total(entity, by, 'is_error="true"')),
            Recording(
                "firesteel:workload_duration_seconds:p99_5m",
                quantile(traffic.ENTITY_HISTOGRAM, self._prefix, 0.99, by, window="5m"),
            ),
            Recording("firesteel:edge_requests:rate5m", self._total(traffic.TOPOLOGY_TOTAL, (*_PAIR, "protocol"))),
            Recording(
                "firesteel:outside_requests:increase10m",
                self._grown(traffic.TOPOLOGY_TOTAL.full_name(self._prefix), "10m"),
            ),
        )

    def alerts(self) -> tuple[Alert, ...]:
        return (*self._traffic(), *self._agents())

    def _total(self, metric: Metric, by: tuple[str, ...], *matchers: str, window: str = "5m") -> str:
        return total(metric, self._prefix, by, *matchers, window=window)

    def _grown(self, name: str, window: str) -> str:
        return f"sum by ({', '.join(_OUTSIDE)}) (increase({name}{{{_EXTERNAL}}}[{window}]))"

    def _traffic(self) -> tuple[Alert, ...]:
        requests, errors = "firesteel:workload_requests:rate5m", "firesteel:workload_errors:rate5m"
        # A search list (ndots) asks for names that do not exist, on purpose: NXDOMAIN, 3, is no failure, and is no lookup of what is
        # wanted either, or four of them would hide each one that fails.
        dns, bad = ('protocol="dns"', 'status_code!="3"'), 'is_error="true"'
        asks = ("cluster", "src_namespace", "src_workload_name")
        lookups = self._total(traffic.TOPOLOGY_TOTAL, asks, *dns)
        dns_failures = self._total(traffic.TOPOLOGY_TOTAL, asks, *dns, bad)
        failed = self._total(traffic.CONNECTS, _PAIR, 'success="false"')
        attempts = self._total(traffic.CONNECTS, _PAIR)
        past = selector(traffic.TOPOLOGY_TOTAL, self._prefix, _EXTERNAL)
        return (
            Alert(
                "FiresteelWorkloadErrors",
                f'{errors}{{protocol!="dns"}} / {requests} > 0.05 and {requests} > 0.1',
                "10m",
                "warning",
                "{{ $labels.namespace }}/{{ $labels.workload_name }} fails {{ $value | humanizePercentage }} of its {{ $labels.protocol }} requests",
                "More than 5 % of the requests have failed for ten minutes.",
            ),
            Alert(
                "FiresteelWorkloadSlow",
                f"firesteel:workload_duration_seconds:p99_5m > 2 and {requests} > 0.1",
                "10m",
                "warning",
                "{{ $labels.namespace }}/{{ $labels.workload_name }} takes {{ $value | humanizeDuration }} for its slowest {{ $labels.protocol }} requests",
                "The 99th percentile of the duration has been above two seconds for ten minutes.",
            ),
            Alert(
                "FiresteelDnsFailures",
                f"{dns_failures} / {lookups} > 0.2 and {lookups} > 0.1",
                "10m",
                "warning",
                "{{ $labels.src_namespace }}/{{ $labels.src_workload_name }}: {{ $value | humanizePercentage }} of its DNS questions fail",
                "More than a fifth of the lookups, without those answered by NXDOMAIN, got an error or no answer for ten minutes.",
            ),
            Alert(
                "FiresteelRetransmits",
                f"{self._total(traffic.RETRANSMIT, _PAIR)} > 5",
                "10m",
                "warning",
                "{{ $value | humanize }} segments a second are sent again from {{ $labels.src_workload_name }} to {{ $labels.dst_workload_name }}",
                "Packets are lost between these two, or the receiver does not keep up.",
            ),
            Alert(
                "FiresteelConnectFailures",
                f"{failed} / {attempts} > 0.1 and {failed} > 0.05",
                "10m",
                "warning",
                "{{ $labels.src_workload_name }} cannot connect to {{ $labels.dst_namespace }}/{{ $labels.dst_workload_name }}: {{ $value | humanizePercentage }} of its attempts fail",
                "More than a tenth of the connection attempts have failed for ten minutes.",
            ),
            Alert(
                "FiresteelNewOutsideDestination",
                f"firesteel:outside_requests:increase10m > 0"
                f" unless sum by ({', '.join(_OUTSIDE)}) (last_over_time({past}[7d] offset 15m))"
                f" and on () count({selector(own.BUILD_INFO, self._prefix)} offset 1d)",
                "0m",
                "info",
                "{{ $labels.src_namespace }}/{{ $labels.src_workload_name }} asks {{ $labels.dst_domain }} {{ $labels.dst_ip }}, which it did not in the last seven days",
                "A destination beyond the cluster that was not seen before. Silent in the first day after the installation.",
            ),
        )

    def _agents(self) -> tuple[Alert, ...]:
        def of(metric: Metric, *matchers: str) -> str:
            return selector(metric, self._prefix, *matchers)

        where = "{{ $labels.instance }}"

        def silent(told: Metric) -> str:
            """Who told this within a day, and does not answer a scrape."""
            return f"up == 0 and on (cluster, job, instance) group by (cluster, job, instance) (last_over_time({of(told)}[1d]))"

        return (
            Alert(
                "FiresteelAgentLosesEvents",
                f"sum by (cluster, instance, type, stage) (rate({of(own.LOST, _BY_ITSELF)}[5m])) > 0",
                "15m",
                "warning",
                f"The agent {where} loses {{{{ $value | humanize }}}} {{{{ $labels.type }}}} a second at {{{{ $labels.stage }}}}",
                "Counts of this node are too low.",
            ),
            Alert(
                "FiresteelAgentDown",
                # Not by the version: the names service tells one, too.
                silent(own.DRIVER_INFO),
                "5m",
                "critical",
                f"The agent {where} does not answer",
                "Its node is only seen from the other ends of its conversations.",
            ),
            Alert(
                "FiresteelNamesDown",
                silent(cluster.NAMES_AGENTS),
                "5m",
                # Nothing is lost by it: agents follow another replica, or ask the API server.
                "warning",
                f"The names service {where} does not answer",
                "Its agents follow another replica; where there is none, each of them asks the API server itself.",
            ),
            Alert(
                "FiresteelNodeWithoutAgent",
                # By the driver, as above.
                f"count by (cluster) (kube_node_info) - count by (cluster) ({of(own.DRIVER_INFO)}) > 0",
                "15m",
                "warning",
                "{{ $value }} nodes have no agent",
                "Needs kube-state-metrics. A taint that the DaemonSet does not tolerate, or an agent that cannot start.",
            ),
            Alert(
                "FiresteelCapReached",
                f"sum by (cluster, instance, metric) (increase({of(own.SERIES_OVERFLOW)}[15m])) > 0",
                "0m",
                "warning",
                f"The agent {where} has no room for more rows of {{{{ $labels.metric }}}}",
                "What exceeds metrics.rows is counted under other, so single edges or workloads are missing.",
            ),
            Alert(
                "FiresteelTableFull",
                f"max by (cluster, instance, table) ({of(own.TABLE_FILL)}) >= 0.98",
                "5m",
                "warning",
                f"The table {{{{ $labels.table }}}} of the agent {where} is full",
                "New connections or rows go into one overflow row.",
            ),
            Alert(
                "FiresteelEngineRestarts",
                f"increase({of(own.ENGINE_RESTARTS)}[15m]) > 0",
                "0m",
                "warning",
                f"The engine of the agent {where} was started again",
                "Requests that were under way are lost; counters go on.",
            ),
            Alert(
                "FiresteelConfigurationRefused",
                f"{of(own.CONFIG_VALID)} == 0",
                "5m",
                "warning",
                f"The agent {where} refuses its newest configuration",
                "An older configuration is in force.",
            ),
        )


def rules_json(rules: Rules) -> dict[str, Any]:
    """The rule file as Prometheus reads it; also the `spec` of a PrometheusRule."""
    return {
        "groups": [
            {
                "name": "firesteel-recording",
                "interval": "1m",
                "rules": [{"record": rule.name, "expr": rule.expr} for rule in rules.recordings()],
            },
            {
                "name": "firesteel-alerts",
                "rules": [
                    {
                        "alert": alert.name,
                        "expr": alert.expr,
                        "for": alert.lasting,
                        "labels": {"severity": alert.severity},
                        "annotations": {
                            "summary": alert.summary,
                            "description": alert.description,
                            "runbook": f"{RUNBOOKS}/{alert.name}.md",
                        },
                    }
                    for alert in rules.alerts()
                ],
            },
        ]
    }
