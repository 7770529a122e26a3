# SPDX-License-Identifier: Apache-2.0
"""What connections suffered, and who is talked with outside of the cluster."""

from exporters import registry_traffic as traffic
from exporters.grafana.board_forms import ANY_IS_BAD, ASKING, FAILED_ATTEMPT, OUTSIDE, SUCCEEDED, BoardForms
from exporters.grafana.expressions import selector
from exporters.grafana.panels import Dashboard, Query, Row, series, stat, table
from exporters.metric import Metric


class NetworkBoards(BoardForms):
    """TCP, and outside addresses."""

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
