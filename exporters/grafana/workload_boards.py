# SPDX-License-Identifier: Apache-2.0
"""What workloads were asked: one workload in detail, and all protocols."""

from exporters import registry_traffic as traffic
from exporters.grafana.board_forms import CLUSTER, GOOD_BAD, NAMED, SERVED, WORKLOAD, BoardForms
from exporters.grafana.expressions import quantile
from exporters.grafana.panels import Dashboard, Panel, Query, Row, Variable, series, stat, table


class WorkloadBoards(BoardForms):
    """Requests by workload and by protocol."""

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
