# SPDX-License-Identifier: Apache-2.0
"""What the dashboards show. Names and labels come from the registry through `expressions`."""

from typing import Final

from exporters import registry_own as own
from exporters import registry_traffic as traffic
from exporters.grafana.expressions import RATE, quantile, selector, total
from exporters.grafana.panels import Dashboard, Panel, Query, Row, Variable, series, stat, table
from exporters.metric import Metric

CLUSTER: Final = 'cluster=~"$cluster"'
SERVED: Final = (CLUSTER, 'namespace=~"$namespace"')
WORKLOAD: Final = (*SERVED, 'workload_name=~"$workload"')
ASKING: Final = (CLUSTER, 'src_namespace=~"$namespace"')
OUTSIDE: Final = (*ASKING, 'dst_namespace="NOT_FOUND_EXTERNAL"')
SUCCEEDED: Final = 'success="true"'
FAILED_ATTEMPT: Final = 'success="false"'
NAMED: Final = ("namespace", "workload_kind", "workload_name")
GOOD_BAD: Final = ((None, "blue"), (0.01, "yellow"), (0.05, "red"))
ANY_IS_BAD: Final = ((None, "blue"), (1e-9, "red"))


class Boards:
    """The dashboards for one `metrics.prefix`."""

    def __init__(self, prefix: str = "kindling") -> None:
        self._prefix = prefix

    def all(self) -> tuple[Dashboard, ...]:
        return (self.workload(), self.protocols(), self.network(), self.outside(), self.agents())

    # --- short forms

    def total(self, metric: Metric, by: tuple[str, ...], *matchers: str, window: str = RATE) -> str:
        return total(metric, self._prefix, by, *matchers, window=window)

    def share(self, metric: Metric, wanted: str, by: tuple[str, ...], *matchers: str) -> str:
        """The part of a counter's rate that matches `wanted`; 0 where there is some rate and none of it matches."""
        whole = self.total(metric, by, *matchers)
        part = self.total(metric, by, wanted, *matchers)
        return f"({part} or 0 * {whole}) / {whole}"

    def mean_seconds(self, by: tuple[str, ...], *matchers: str) -> str:
        spent = self.total(traffic.ENTITY_DURATION, by, *matchers)
        return f"{spent} / {self.total(traffic.ENTITY_TOTAL, by, *matchers)} / 1e9"

    def values(self, metric: Metric, label: str, *matchers: str) -> str:
        return f"label_values({selector(metric, self._prefix, *matchers)}, {label})"

    def variables(self, *more: Variable) -> tuple[Variable, ...]:
        return (
            Variable("cluster", "Cluster", f"label_values({own.BUILD_INFO.name}, cluster)", all=True),
            Variable("namespace", "Namespace", self.values(traffic.TOPOLOGY_TOTAL, "src_namespace", CLUSTER), all=True),
            *more,
        )

    # --- dashboards

    def workload(self) -> Dashboard:
        entity, kinds = traffic.ENTITY_TOTAL, ("workload_name", "protocol")
        named = "{{workload_name}} {{protocol}}"
        workload = Variable("workload", "Workload", self.values(entity, "workload_name", *SERVED), all=True)
        callers = (
            CLUSTER,
            'dst_namespace=~"$namespace"',
            'dst_workload_name=~"$workload"',
        )
        return Dashboard(
            "firesteel-workload",
            "Firesteel / Workload",
            "Rate, errors and duration of what workloads are asked, and who asks them",
            self.variables(workload),
            (
                Row(
                    "Rate, errors, duration",
                    (
                        stat(
                            "Requests", "All requests a second.", Query(self.total(entity, (), *WORKLOAD)), unit="reqps"
                        ),
                        stat(
                            "Failed",
                            "Share of requests that failed by the rule of their protocol.",
                            Query(self.share(entity, 'is_error="true"', (), *WORKLOAD)),
                            unit="percentunit",
                            steps=GOOD_BAD,
                        ),
                        stat(
                            "Slow",
                            "Share of requests above protocols.slow.",
                            Query(self.share(entity, 'is_slow="true"', (), *WORKLOAD)),
                            unit="percentunit",
                            steps=GOOD_BAD,
                        ),
                        stat("Mean", "Mean duration.", Query(self.mean_seconds((), *WORKLOAD)), unit="s"),
                        stat(
                            "p99",
                            "99 of 100 requests are faster.",
                            Query(quantile(traffic.ENTITY_HISTOGRAM, self._prefix, 0.99, (), *WORKLOAD)),
                            unit="s",
                        ),
                        stat(
                            "Workloads",
                            "How many workloads were asked anything.",
                            Query(f"count({self.total(entity, NAMED, *WORKLOAD)} > 0)"),
                        ),
                        series(
                            "Requests by workload",
                            "Load. A step without a deployment is a new client.",
                            Query(self.total(entity, kinds, *WORKLOAD), named),
                            unit="reqps",
                        ),
                        series(
                            "Share of failed requests",
                            "Above 1 % look at the codes below, and at who asks.",
                            Query(self.share(entity, 'is_error="true"', kinds, *WORKLOAD), named),
                            unit="percentunit",
                        ),
                        series(
                            "Duration, p50, p90, p99",
                            "If only p99 rises a few requests wait; if p50 rises as well all of them do.",
                            *(
                                Query(
                                    quantile(traffic.ENTITY_HISTOGRAM, self._prefix, q, ("workload_name",), *WORKLOAD),
                                    f"p{round(q * 100)} {{{{workload_name}}}}",
                                )
                                for q in (0.5, 0.9, 0.99)
                            ),
                            unit="s",
                        ),
                        series(
                            "Mean duration",
                            "Exact, from the sum of durations.",
                            Query(self.mean_seconds(kinds, *WORKLOAD), named),
                            unit="s",
                        ),
                    ),
                ),
                Row(
                    "What and who",
                    (
                        table(
                            "Busiest requests",
                            "What is asked for most; the content is clustered and has no literals.",
                            Query(
                                f"topk(50, {self.total(entity, ('namespace', 'workload_name', 'protocol', 'request_content', 'response_content'), *WORKLOAD)})"
                            ),
                            names={"Value": "requests/s"},
                        ),
                        table(
                            "Who asks",
                            "Clients, as they see it: their own durations include the network.",
                            Query(
                                f"topk(50, {self.total(traffic.TOPOLOGY_TOTAL, ('src_namespace', 'src_workload_name', 'dst_workload_name', 'protocol', 'status_code'), *callers)})"
                            ),
                            names={"Value": "requests/s"},
                        ),
                        series(
                            "Received",
                            "Bytes in requests.",
                            Query(
                                self.total(traffic.ENTITY_RECEIVED, ("workload_name",), *WORKLOAD), "{{workload_name}}"
                            ),
                            unit="binBps",
                        ),
                        series(
                            "Sent",
                            "Bytes in responses.",
                            Query(self.total(traffic.ENTITY_SENT, ("workload_name",), *WORKLOAD), "{{workload_name}}"),
                            unit="binBps",
                        ),
                    ),
                ),
            ),
        )

    def protocols(self) -> Dashboard:
        entity = traffic.ENTITY_TOTAL
        families = {
            "HTTP": "http|http2|grpc|dubbo|websocket",
            "DNS": "dns",
            "SQL and documents": "mysql|postgresql|mongodb",
            "Caches": "redis|memcached",
            "Messages": "kafka|amqp|mqtt|rocketmq",
            "Encrypted and undecoded": "tls|NOSUPPORT",
        }
        return Dashboard(
            "firesteel-protocols",
            "Firesteel / Protocols",
            "Each protocol with what matters in it",
            self.variables(),
            (
                Row(
                    "All",
                    (
                        series(
                            "Requests by protocol",
                            "What this cluster speaks.",
                            Query(self.total(entity, ("protocol",), *SERVED), "{{protocol}}"),
                            unit="reqps",
                        ),
                        series(
                            "Failed by protocol",
                            "Share of failed requests.",
                            Query(self.share(entity, 'is_error="true"', ("protocol",), *SERVED), "{{protocol}}"),
                            unit="percentunit",
                        ),
                    ),
                ),
                *(Row(name, self._family(f'protocol=~"{wanted}"')) for name, wanted in families.items()),
            ),
        )

    def _family(self, wanted: str) -> tuple[Panel, ...]:
        entity, matchers = traffic.ENTITY_TOTAL, (*SERVED, wanted)
        by = ("workload_name", "protocol")
        legend = "{{workload_name}} {{protocol}}"
        return (
            series(
                "Requests",
                "Rate by serving workload.",
                Query(self.total(entity, by, *matchers), legend),
                unit="reqps",
                width=8,
            ),
            series(
                "Failed",
                "Share of failed requests.",
                Query(self.share(entity, 'is_error="true"', by, *matchers), legend),
                unit="percentunit",
                width=8,
            ),
            series("Mean duration", "Exact mean.", Query(self.mean_seconds(by, *matchers), legend), unit="s", width=8),
            table(
                "By content and response",
                "For DNS the names and codes, for SQL operation and table, for HTTP path and status, for brokers topics.",
                Query(
                    f"topk(30, {self.total(entity, ('workload_name', 'protocol', 'request_content', 'response_content', 'is_error'), *matchers)})"
                ),
                names={"Value": "requests/s"},
            ),
        )

    def network(self) -> Dashboard:
        pair = ("src_workload_name", "dst_workload_name")
        arrow = "{{src_workload_name}} → {{dst_workload_name}}"
        connects, retransmit = traffic.CONNECTS, traffic.RETRANSMIT
        sent, received = traffic.TOPOLOGY_REQUEST_BYTES, traffic.TOPOLOGY_RESPONSE_BYTES
        return Dashboard(
            "firesteel-network",
            "Firesteel / Network",
            "TCP health and volume between workloads",
            self.variables(),
            (
                Row(
                    "Volume",
                    (
                        series(
                            "Client to server",
                            "Bytes of requests.",
                            Query(f"topk(20, {self.total(sent, pair, *ASKING)})", arrow),
                            unit="binBps",
                        ),
                        series(
                            "Server to client",
                            "Bytes of responses.",
                            Query(f"topk(20, {self.total(received, pair, *ASKING)})", arrow),
                            unit="binBps",
                        ),
                    ),
                ),
                Row(
                    "TCP health",
                    (
                        series(
                            "Retransmitted segments",
                            "Each end counts its own. A pair far above the others has a bad path between its nodes.",
                            Query(f"topk(20, {self.total(retransmit, pair, *ASKING)})", arrow),
                            unit="pps",
                        ),
                        series(
                            "Packets dropped by this kernel",
                            "Buffers, conntrack and policies of the source's node.",
                            Query(f"topk(20, {self.total(traffic.PACKET_LOSS, pair, *ASKING)})", arrow),
                            unit="pps",
                        ),
                        series(
                            "Round-trip time",
                            "The kernel's smoothed time, newest reading, mean of the pair.",
                            Query(
                                f"topk(20, avg by ({', '.join(pair)}) ({selector(traffic.SRTT, self._prefix, *ASKING)})) / 1e6",
                                arrow,
                            ),
                            unit="s",
                        ),
                        series(
                            "Resets",
                            "Received: the peer refused or gave up. Sent: this side did.",
                            Query(
                                self.total(traffic.RESET, ("direction", "src_workload_name"), *ASKING),
                                "{{src_workload_name}} {{direction}}",
                            ),
                            unit="pps",
                        ),
                    ),
                ),
                Row(
                    "Connections",
                    (
                        series(
                            "Attempts",
                            "New connections. Many per request: the client does not keep them.",
                            Query(f"topk(20, {self.total(connects, pair, *ASKING)})", arrow),
                            unit="cps",
                        ),
                        series(
                            "Failed attempts by errno",
                            "111: nobody listens there; 110: a filter or a dead host; 113: no route.",
                            Query(
                                self.total(
                                    connects,
                                    ("src_workload_name", "dst_workload_name", "errno"),
                                    *ASKING,
                                    FAILED_ATTEMPT,
                                ),
                                f"{arrow} {{{{errno}}}}",
                            ),
                            unit="cps",
                        ),
                        series(
                            "Time to connect",
                            "Mean handshake of attempts that succeeded.",
                            Query(
                                f"{self.total(traffic.CONNECT_DURATION, pair, *ASKING, SUCCEEDED)} / {self.total(connects, pair, *ASKING, SUCCEEDED)} / 1e9",
                                arrow,
                            ),
                            unit="s",
                        ),
                        table(
                            "Failing destinations",
                            "Who cannot reach what.",
                            Query(
                                f"topk(50, {self.total(connects, ('src_namespace', 'src_workload_name', 'dst_namespace', 'dst_workload_name', 'dst_ip', 'dst_port', 'errno'), *ASKING, FAILED_ATTEMPT)} > 0)"
                            ),
                            names={"Value": "attempts/s"},
                        ),
                    ),
                ),
            ),
        )

    def outside(self) -> Dashboard:
        requests, connects = traffic.TOPOLOGY_TOTAL, traffic.CONNECTS
        who = ("src_namespace", "src_workload_name")
        where = ("dst_domain", "dst_ip", "dst_port")

        def grown(metric: Metric, by: tuple[str, ...], window: str, *more: str) -> str:
            return f"sum by ({', '.join(by)}) (increase({selector(metric, self._prefix, *OUTSIDE, *more)}[{window}]))"

        in_use = selector(traffic.TRACE, self._prefix, *OUTSIDE)
        return Dashboard(
            "firesteel-outside",
            "Firesteel / Outside destinations",
            "Addresses and domains beyond the cluster: who uses them, how much, since when",
            self.variables(),
            (
                Row(
                    "Now",
                    (
                        stat(
                            "Addresses in use",
                            "Different addresses outside with a request in the last minutes.",
                            Query(f"count(count by (dst_ip) ({in_use}))"),
                            width=6,
                        ),
                        stat(
                            "Workloads that go outside",
                            "Different clients.",
                            Query(f"count({self.total(requests, who, *OUTSIDE)} > 0)"),
                            width=6,
                        ),
                        stat(
                            "Sent outside",
                            "Bytes of requests.",
                            Query(self.total(traffic.TOPOLOGY_REQUEST_BYTES, (), *OUTSIDE)),
                            unit="binBps",
                            width=6,
                        ),
                        stat(
                            "Failed attempts",
                            "Connection attempts that failed.",
                            Query(self.total(connects, (), *OUTSIDE, FAILED_ATTEMPT)),
                            unit="cps",
                            width=6,
                            steps=ANY_IS_BAD,
                        ),
                        table(
                            "In use",
                            "The newest request of each, in nanoseconds.",
                            Query(f"max by ({', '.join((*who, *where))}, protocol) ({in_use})"),
                            names={"Value": "duration (ns)"},
                        ),
                    ),
                ),
                Row(
                    "In the range of time",
                    (
                        table(
                            "Who asked whom, how often, how much",
                            "Sort by bytes to find what leaves the cluster.",
                            Query(grown(requests, (*who, *where), "$__range") + " > 0", name="requests"),
                            Query(grown(traffic.TOPOLOGY_REQUEST_BYTES, (*who, *where), "$__range"), name="sent"),
                            Query(grown(traffic.TOPOLOGY_RESPONSE_BYTES, (*who, *where), "$__range"), name="received"),
                            names={
                                "Value #requests": "requests",
                                "Value #sent": "bytes sent",
                                "Value #received": "bytes received",
                            },
                        ),
                        table(
                            "Attempts that failed",
                            "Destinations that were tried and did not answer.",
                            Query(grown(connects, (*who, *where, "errno"), "$__range", FAILED_ATTEMPT) + " > 0"),
                            names={"Value": "attempts"},
                        ),
                        series(
                            "By domain",
                            "Requests a second.",
                            Query(
                                f"topk(20, {self.total(requests, ('dst_domain', 'dst_ip'), *OUTSIDE)})",
                                "{{dst_domain}} {{dst_ip}}",
                            ),
                            unit="reqps",
                        ),
                        series(
                            "By workload",
                            "Bytes sent a second.",
                            Query(
                                f"topk(20, {self.total(traffic.TOPOLOGY_REQUEST_BYTES, who, *OUTSIDE)})",
                                "{{src_namespace}}/{{src_workload_name}}",
                            ),
                            unit="binBps",
                        ),
                    ),
                ),
            ),
        )

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
                            Query(f"count({selector(own.BUILD_INFO, self._prefix, *on)})"),
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
                            Query(f"count({selector(own.WATCH_UP, self._prefix, *on)} == 0) or vector(0)"),
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
