# SPDX-License-Identifier: Apache-2.0
"""The table of drivers in the documentation: what the code has, and nothing beside it."""

from pathlib import Path

import pytest

from collector import driver_table, own_state
from exporters.registry_traffic import TRAFFIC


def _cells() -> dict[str, tuple[str, ...]]:
    return {first.strip("`"): tuple(cells) for first, *cells in driver_table.rows()}


def test_the_documentation_has_the_drivers_as_they_are() -> None:
    text = (Path(__file__).parents[2] / "docs" / "drivers.md").read_text()
    told = text.partition("<!-- drivers -->\n")[2].partition("<!-- end of drivers -->")[0]
    assert told == driver_table.table(), "python -m collector.driver_table"


def test_every_metric_of_traffic_has_a_row() -> None:
    cells = _cells()
    assert {metric.name.format(prefix="kindling") for metric in TRAFFIC} == {
        n for n in cells if n.startswith("kindling_")
    }
    assert cells["kindling_topology_request_total"] == ("yes", "yes", "yes", "-")
    assert cells["kindling_tcp_srtt_microseconds"] == ("yes", "yes", "yes", "yes")
    assert cells["kernel"] == ("from 5.5", "from 4.17", "from 3.10", "any")


def test_a_metric_whose_hook_nobody_has_is_not_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(own_state.NEEDS, "no_such_hook", TRAFFIC[0].name)
    assert _cells()["kindling_entity_request_total"] == ("-", "-", "-", "-")
