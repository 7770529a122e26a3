# SPDX-License-Identifier: Apache-2.0
"""All dashboards without a map, in the order in which people look for them."""

from exporters.grafana.agent_board import AgentBoard
from exporters.grafana.network_boards import NetworkBoards
from exporters.grafana.panels import Dashboard
from exporters.grafana.workload_boards import WorkloadBoards


def plain_boards(prefix: str) -> tuple[Dashboard, ...]:
    """For one `metrics.prefix`."""
    workload, network = WorkloadBoards(prefix), NetworkBoards(prefix)
    return workload.workload(), workload.protocols(), network.network(), network.outside(), AgentBoard(prefix).agents()
