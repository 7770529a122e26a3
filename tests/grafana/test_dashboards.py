# SPDX-License-Identifier: Apache-2.0
"""Every dashboard against the registry and against a real Prometheus: drift, dead panels, All, single values."""

from pathlib import Path
from typing import Any

import pytest

from exporters import registry_traffic as traffic
from exporters.grafana.__main__ import files, main
from exporters.grafana.expressions import UnknownLabelError, selector
from tests.grafana.cluster import EDGES, STEP_SECONDS
from tests.grafana.prometheus import DASHBOARDS, Prometheus, dashboard, interpolated, panels

ROOT = Path(__file__).parents[2]
UIDS = sorted(path.stem for path in DASHBOARDS.glob("*.json"))
QUERIES = [
    pytest.param(uid, panel["title"], target["refId"], target["expr"], id=f"{uid}/{panel['title']}/{target['refId']}")
    for uid in UIDS
    for panel, target in panels(dashboard(uid))
]


def test_the_committed_files_are_what_the_registry_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(ROOT)]) == 0, capsys.readouterr().err
    assert {path.stem for path in files() if path.suffix == ".json"} == set(UIDS)


def test_a_label_the_registry_does_not_have_is_refused() -> None:
    with pytest.raises(UnknownLabelError, match="no label 'status'"):
        selector(traffic.ENTITY_TOTAL, "kindling", 'status="200"')


def test_another_prefix_goes_through_all_files() -> None:
    assert not any("kindling_" in text for text in files("acme").values())


@pytest.mark.parametrize("uid", UIDS)
def test_a_dashboard_is_whole(uid: str) -> None:
    board = dashboard(uid)
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in board["panels"])
    assert all(panel["description"] for panel in board["panels"] if panel["type"] != "row")
    assert all(target["datasource"]["uid"] == "${datasource}" for _, target in panels(board))


@pytest.mark.parametrize(("uid", "title", "name", "expr"), QUERIES)
def test_no_query_is_dead(prometheus: Prometheus, uid: str, title: str, name: str, expr: str) -> None:
    found = prometheus.ask(interpolated(expr, dashboard(uid)))
    assert found, f"{uid}, {title}: no series"
    assert all(row["value"][1] != "NaN" for row in found), f"{uid}, {title}: not a number"


@pytest.mark.parametrize("uid", UIDS)
def test_variables_have_values_and_one_of_them_can_be_chosen(prometheus: Prometheus, uid: str) -> None:
    board = dashboard(uid)
    chosen: dict[str, str] = {}
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            query = interpolated(variable["query"]["query"], board)
            found = prometheus.label_values(query)
            assert found, variable["name"]
            chosen[variable["name"]] = found[0]
    assert chosen["cluster"] == "made"
    wrong = interpolated(next(panels(board))[1]["expr"], board, cluster="another")
    assert all(float(row["value"][1]) == 0 for row in prometheus.ask(wrong))


def rates(vector: list[dict[str, Any]], *labels: str) -> dict[tuple[str, ...], float]:
    return {tuple(row["metric"].get(label, "") for label in labels): round(float(row["value"][1]), 3) for row in vector}


def test_rates_are_those_that_were_made(prometheus: Prometheus) -> None:
    board = dashboard("firesteel-protocols")
    expr = next(target["expr"] for panel, target in panels(board) if panel["title"] == "Requests by protocol")
    made: dict[tuple[str, ...], float] = {}
    for edge in EDGES:
        if edge.target.party.workload_name:
            key = (edge.protocol,)
            made[key] = made.get(key, 0) + (edge.good + edge.failed) / STEP_SECONDS
    assert rates(prometheus.ask(interpolated(expr, board)), "protocol") == pytest.approx(made, abs=0.01)


def test_the_node_graph_has_an_end_for_every_edge(prometheus: Prometheus) -> None:
    board = dashboard("firesteel-node-graph")
    asked = {target["refId"]: interpolated(target["expr"], board) for _, target in panels(board)}
    nodes = rates(prometheus.ask(asked["nodes"]), "id")
    edges = rates(prometheus.ask(asked["edges"]), "id", "source", "target")
    ends = {(end,) for _, *pair in edges for end in pair}
    assert ends == set(nodes)
    assert ("api.bank.example",) in nodes
    assert ("shop/web",) in nodes
    assert len({key[0] for key in edges}) == len(edges)
