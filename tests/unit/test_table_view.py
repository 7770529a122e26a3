# SPDX-License-Identifier: Apache-2.0
"""What a view of the table leaves out: processes by name, and what clients ask the agent itself."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analyzers.rows import Role
from analyzers.table import SharedTable
from collector.metadata.addresses import HostAddresses
from collector.metadata.host import HostResolver
from collector.part_settings import metrics_settings
from collector.schema import Config, Scope
from collector.table_view import TableView
from tests.fake_agent import Peer, request

CURL = Peer("10.0.0.9", "curl", comm="curl", pid=10)
AGENT = Peer("10.0.0.1", "firesteel", comm="firesteel", pid=20)
OWN, OTHER = 4026531840, 4026532999


@pytest.fixture
def view() -> Iterator[TableView]:
    table = SharedTable.create()
    yield TableView(table, HostResolver(), metrics_settings(Config()))
    table.close()


def key(**changes: Any) -> Any:
    named = request(1, CURL, AGENT, 9500).row.key
    netns = changes.pop("netns", OWN)
    return replace(named, **{"role": Role.CLIENT, "identity": replace(named.identity, netns=netns), **changes})


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        ({"remote_ip": "127.0.0.1", "remote_port": 9500}, True),
        ({"remote_ip": "127.0.0.1", "remote_port": 9500, "netns": OTHER}, False),
        ({"remote_ip": "127.0.0.1", "remote_port": 9502}, False),
        ({"remote_ip": "10.0.0.1", "remote_port": 9501, "netns": OTHER}, True),
        ({"remote_ip": "10.0.0.2", "remote_port": 9501}, False),
        ({"remote_ip": "127.0.0.1", "remote_port": 9500, "role": Role.SERVER}, False),
    ],
)
def test_own_listeners_are_left_out_and_nothing_that_looks_alike(
    view: TableView, tmp_path: Path, changes: dict[str, Any], left_out: bool
) -> None:
    net = tmp_path / "self" / "net"
    net.mkdir(parents=True)
    (net / "fib_trie").write_text("  |-- 10.0.0.1\n    /32 host LOCAL\n")
    addresses = HostAddresses(tmp_path)
    addresses._own = OWN
    addresses.refresh({})
    seen = key(**changes)
    assert view._wanted(seen)
    view.leave_out_own(frozenset({9500, 9501}), addresses.reaches_us)
    assert view._wanted(seen) is not left_out


def test_processes_are_left_out_at_either_end(view: TableView) -> None:
    assert view._wanted(key())
    view.configure(metrics_settings(Config()), Scope(exclude_comms=("curl",)))
    assert not view._wanted(key())


def test_the_log_says_which_detail_is_in_force_when_it_begins_and_changes(view: TableView) -> None:
    view.turn(1)
    assert view.detail_news() == "metrics have pod detail: metrics.detail is auto, 0 pods run here"
    view.turn(2)
    assert view.detail_news() == ""
    view.configure(replace(metrics_settings(Config()), detail="workload"))
    view.turn(3)
    assert view.detail_news() == "metrics have workload detail: metrics.detail is workload, 0 pods run here"
    assert view.detail_news() == ""
