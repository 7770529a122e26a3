# SPDX-License-Identifier: Apache-2.0
"""How the agents are: what they see, lose and cost."""

from exporters import registry_cluster as cluster
from exporters import registry_own as own
from exporters.grafana.board_forms import ANY_IS_BAD, CLUSTER, BoardForms
from exporters.grafana.expressions import selector
from exporters.grafana.panels import Dashboard, Query, Row, Variable, series, stat, table
from exporters.metric import Metric


class AgentBoard(BoardForms):
    """The agents themselves."""

    def agents(self) -> Dashboard:
        on = (CLUSTER,)

        def rate(metric: Metric, *by: str) -> Query:
            return Query(self.total(metric, by, *on), " ".join(f"{{{{{label}}}}}" for label in by))

        def value(metric: Metric, *by: str) -> str:
            return f"max by ({', '.join(by)}) ({selector(metric, self._prefix, *on)})"

        return Dashboard(
            "firesteel-agents",
            "Firesteel / Agent health",
            "Whether the numbers on the other dashboards are whole, and what they cost",
            (Variable("cluster", "Cluster", f"label_values({own.BUILD_INFO.name}, cluster)", all=True),),
            (
                Row(
                    "Whole?",
                    (
                        stat(
                            "Agents",
                            "Agents that are being scraped.",
                            # Not by the version: the names service tells one, too.
                            Query(f"count({selector(own.DRIVER_INFO, self._prefix, *on)})"),
                        ),
                        stat(
                            "Lost a second",
                            "Not 0: counts are too low.",
                            Query(self.total(own.LOST, (), *on)),
                            steps=ANY_IS_BAD,
                        ),
                        stat(
                            "Engine restarts",
                            "In the range of time.",
                            Query(f"sum(increase({selector(own.ENGINE_RESTARTS, self._prefix, *on)}[$__range]))"),
                            steps=ANY_IS_BAD,
                        ),
                        stat(
                            "Configurations refused",
                            "Agents whose newest configuration is not in force.",
                            Query(f"count({selector(own.CONFIG_VALID, self._prefix, *on)} == 0) or vector(0)"),
                            steps=ANY_IS_BAD,
                        ),
                        stat(
                            "Watches down",
                            "Resources of the API server that are not being watched.",
                            Query(f"count({selector(cluster.WATCH_UP, self._prefix, *on)} == 0) or vector(0)"),
                            steps=ANY_IS_BAD,
                        ),
                        stat(
                            "Rows without a place",
                            "Counted under other since the start.",
                            Query(f"sum({selector(own.SERIES_OVERFLOW, self._prefix, *on)}) or vector(0)"),
                            steps=ANY_IS_BAD,
                        ),
                        series(
                            "Loss by stage",
                            "ring: a larger ring.size; table: exclude a noisy port; parse and pair: see protocols.",
                            rate(own.LOST, "stage", "type"),
                        ),
                        series(
                            "Table fill",
                            "At 1 new rows go into the overflow row.",
                            Query(value(own.TABLE_FILL, "instance", "table"), "{{instance}} {{table}}"),
                            unit="percentunit",
                        ),
                        series(
                            "Parse failures", "Messages that a parser gave up on.", rate(own.PARSE_FAILURES, "protocol")
                        ),
                        series(
                            "Payload not visible",
                            "Reads and writes that were counted without their bytes.",
                            rate(own.NOT_VISIBLE, "reason"),
                        ),
                        series(
                            "Without a name",
                            "Addresses in use without a name, by reason.",
                            Query(f"sum by (reason) ({selector(own.UNRESOLVED, self._prefix, *on)})", "{{reason}}"),
                        ),
                        series("Requests without a direction", "They make no edge.", rate(own.UNDIRECTED, "instance")),
                    ),
                ),
                Row(
                    "What it costs",
                    (
                        series("Processor time", "Cores, by process.", rate(own.CPU, "instance", "process")),
                        series(
                            "Memory",
                            "Resident, by process.",
                            Query(value(own.MEMORY, "instance", "process"), "{{instance}} {{process}}"),
                            unit="bytes",
                        ),
                        series(
                            "Events",
                            "Written by the kernel side, consumed by the engine.",
                            rate(own.EVENTS, "stage", "type"),
                        ),
                        series(
                            "Rows on the page",
                            "Compare with metrics.rows.",
                            Query(f"sum by (metric) ({selector(own.SERIES, self._prefix, *on)})", "{{metric}}"),
                        ),
                        series(
                            "Connections", "Followed now.", Query(value(own.CONNECTIONS, "instance"), "{{instance}}")
                        ),
                        series(
                            "Engine lag",
                            "Above a few seconds it is stuck or starved.",
                            Query(value(own.ENGINE_LAG, "instance"), "{{instance}}"),
                            unit="s",
                        ),
                    ),
                ),
                Row(
                    "How each node is watched",
                    (
                        table(
                            "Drivers",
                            "A node with another driver than its neighbours may see less.",
                            Query(
                                f"max by (instance, driver, hooks, kernel) ({selector(own.DRIVER_INFO, self._prefix, *on)})"
                            ),
                            names={"Value": ""},
                        ),
                        table(
                            "Hooks that are not attached",
                            "Their metrics are absent; firesteel doctor names the reason. Value 0 is not attached.",
                            Query(f"min by (instance, hook) ({selector(own.HOOK_ATTACHED, self._prefix, *on)})"),
                            names={"Value": "attached"},
                        ),
                        table(
                            "Metrics that cannot be had",
                            "Why a panel is empty.",
                            Query(
                                f"max by (instance, metric, reason) ({selector(own.METRIC_ABSENT, self._prefix, *on)})"
                            ),
                            names={"Value": ""},
                        ),
                        table(
                            "Versions and detail",
                            "Nodes left behind.",
                            Query(f"max by (instance, version) ({selector(own.BUILD_INFO, self._prefix, *on)})"),
                            names={"Value": ""},
                        ),
                    ),
                ),
            ),
        )
