# SPDX-License-Identifier: Apache-2.0
"""What the agent tells of itself: nothing of parts that are not there, and no counter that goes back."""

import os
import subprocess
import sys

from analyzers.settings import ConfigBlock
from analyzers.table import SharedTable
from collector import own_state, polling
from collector.capture import Capture, children_cpu_seconds
from collector.metadata.conntrack import Conntrack
from collector.metadata.host import HostResolver
from collector.part_settings import engine_settings, metrics_settings
from collector.schema import Config
from collector.table_view import TableView
from exporters import registry_traffic as traffic
from probes.attachment import Attachment, HookReport, Report


def report(**attached: bool) -> Report:
    return Report("core", "set", "6.18", hooks=tuple(HookReport(n, a, False, "refused") for n, a in attached.items()))


def test_a_metric_is_absent_when_everything_that_feeds_it_is() -> None:
    assert traffic.RESET.name not in own_state.absent(report(tcp_send_reset=False, tcp_receive_reset=True))
    assert own_state.absent(report(tcp_send_reset=False, tcp_receive_reset=False))[traffic.RESET.name] == (
        "hook tcp_send_reset is not attached: refused; hook tcp_receive_reset is not attached: refused"
    )
    assert traffic.RETRANSMIT.name in own_state.absent(report(tcp_retransmit_skb=False))
    none = own_state.absent(Report("none", "", "4.4"))
    assert {metric.name for metric in traffic.TRAFFIC} - set(none) == polling.TOLD


def test_an_engine_that_never_ran_tells_nothing() -> None:
    config = Config()
    table, block = SharedTable.create(), ConfigBlock(engine_settings(config))
    view = TableView(table, HostResolver(), metrics_settings(config))
    capture = Capture(Attachment(Report("none", "", "4.4")), table, block)
    told = own_state.gather(capture, table, view, config, config_valid=True)
    assert (told.engine, told.counters, told.conntrack) == (None, None, None)
    assert set(told.processes) == {"agent"}
    table.pointer.starts = 1
    refused = Conntrack(None, "no", "load it")
    told = own_state.gather(capture, table, view, config, config_valid=True, conntrack=refused)
    assert told.conntrack is False
    assert told.engine is not None
    assert told.now_ns - told.engine.heartbeat_ns == told.now_ns > 0
    capture.stop()
    table.close()
    block.close()


def test_the_cpu_of_what_ended_is_kept() -> None:
    before = children_cpu_seconds()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert children_cpu_seconds() > before
    assert own_state.process_use(os.getpid()) is not None
    assert own_state.process_use(2**22 + 1) is None
