# SPDX-License-Identifier: Apache-2.0
"""What several dashboards have in common: matchers, colours, and short forms of queries."""

from typing import Final

from exporters import registry_own as own
from exporters import registry_traffic as traffic
from exporters.grafana.expressions import RATE, selector, total
from exporters.grafana.panels import Variable
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


class BoardForms:
    """What the dashboards for one `metrics.prefix` are put together from."""

    def __init__(self, prefix: str = "kindling") -> None:
        self._prefix = prefix

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
