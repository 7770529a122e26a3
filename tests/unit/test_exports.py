# SPDX-License-Identifier: Apache-2.0
"""What is sent elsewhere while its configuration changes: nothing is told twice, and no count of it begins anew."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from analyzers.snapshot import SnapshotBuilder
from collector.exports import Exports
from collector.schema import build
from exporters.own import ExportReport, OwnState
from tests.receivers import Receiver, http_receiver, until
from tests.rows import SECOND, FixedResolver, request_row, sample

Settings = Mapping[str, object]


class Changing:
    """Exports with traffic, turned by hand."""

    def __init__(self, settings: Settings) -> None:
        self.exports = Exports(build(settings), "node-1")
        self.exports.start()
        self.builder = SnapshotBuilder(FixedResolver())
        self.builder.count_calls(True)
        self.turns = 0

    def turn(self, count: int, samples: int = 0) -> None:
        self.turns += 1
        made = [sample(sequence=number) for number in range(samples)]
        snapshot = self.builder.build([request_row(1, count=count)], [], made, self.turns * SECOND)
        self.exports.turn(snapshot, 0, lambda: OwnState("1"), {})

    def turn_until(self, count: int, happened: Callable[[], bool]) -> None:
        def tried() -> bool:
            self.turn(count)
            return happened()

        until(tried)

    def report(self, name: str) -> ExportReport:
        return self.exports.reports()[name]


def otlp(port: int, **more: object) -> Settings:
    settings = {"endpoint": f"http://127.0.0.1:{port}", "protocol": "http", "interval": 0, "timeout": SECOND, **more}
    return {f"export.otlp.{name}": value for name, value in settings.items()}


def counted(told: Receiver, name: str, field: str) -> int:
    return sum(getattr(point, field) for _, point in told.points(name))


@pytest.mark.parametrize("temporality", ["delta", "cumulative"])
def test_what_was_pushed_is_not_pushed_again_after_a_change(temporality: str) -> None:
    edges, calls = "firesteel.network.topology.requests", "http.client.request.duration"
    with http_receiver() as told:
        changing = Changing(otlp(told.port, temporality=temporality))
        try:
            changing.turn(5)
            until(lambda: counted(told, calls, "count") == 5)
            until(lambda: changing.report("otlp_metrics").delivered > 0)
            delivered = changing.report("otlp_metrics").delivered
            began = told.points(edges)[0][1].start_time_unix_nano
            changing.exports.configure(build(otlp(told.port, temporality=temporality, headers={"a": "b"})))
            assert changing.report("otlp_metrics").delivered >= delivered
            changing.turn_until(8, lambda: told.points(calls)[-1][1].count == (3 if temporality == "delta" else 8))
            until(lambda: changing.report("otlp_metrics").delivered > delivered)
            if temporality == "delta":
                assert counted(told, edges, "as_int") == counted(told, calls, "count") == 8
            else:
                assert {point.start_time_unix_nano for _, point in told.points(edges)} == {began}
        finally:
            changing.exports.stop()


def test_what_was_pushed_before_a_fault_and_a_second_change_is_not_pushed_again(tmp_path: Path) -> None:
    edges = "firesteel.network.topology.requests"
    with http_receiver() as told:
        changing = Changing(otlp(told.port, temporality="delta"))
        try:
            changing.turn_until(5, lambda: counted(told, edges, "as_int") == 5)
            changing.exports.configure(build(otlp(told.port, temporality="delta", headers={"a": f"@{tmp_path}/none"})))
            assert "export.otlp" in next(changing.exports.problems()).what
            changing.turn(7)
            for value in ("b", "c"):
                changing.exports.configure(build(otlp(told.port, temporality="delta", headers={"a": value})))
            changing.turn_until(8, lambda: counted(told, edges, "as_int") >= 8)
            changing.turn_until(9, lambda: counted(told, edges, "as_int") >= 9)
            assert counted(told, edges, "as_int") == 9
        finally:
            changing.exports.stop()


def test_spans_that_waited_are_counted_when_the_receiver_is_another() -> None:
    with http_receiver() as gone:
        port = gone.port
    changing = Changing(otlp(port, spans=True, metrics=False))
    try:
        changing.turn(1, samples=600)
        until(lambda: changing.report("otlp_spans").failures > 0)
        failures = changing.report("otlp_spans").failures
        with http_receiver() as told:
            changing.exports.configure(build(otlp(told.port, spans=True, metrics=False)))
            assert changing.report("otlp_spans").failures >= failures
            assert changing.report("otlp_spans").dropped >= 600 - 256, "all but what was on its way"
            changing.turn(1, samples=2)
            until(lambda: changing.report("otlp_spans").delivered == 2)
    finally:
        changing.exports.stop()


def test_lines_go_on_in_another_file(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    changing = Changing({"export.jsonl.path": str(first), "export.jsonl.interval": 0})
    changing.turn(5, samples=1)
    assert changing.report("jsonl").delivered == 2
    changing.exports.configure(build({"export.jsonl.path": str(second), "export.jsonl.interval": 0}))
    assert changing.report("jsonl").delivered == 2
    changing.turn(8)
    assert changing.report("jsonl").delivered == 3
    changing.exports.stop()
    edges = [json.loads(line) for path in (first, second) for line in path.read_text().splitlines()]
    assert [line["requests"] for line in edges if line["type"] == "edge"] == [5, 3]


def test_lines_that_wait_for_a_reader_are_counted_as_lost_when_they_go_elsewhere(tmp_path: Path) -> None:
    changing = Changing({"export.jsonl.path": f"unix:{tmp_path / 'nobody'}", "export.jsonl.edges": False})
    changing.turn(1, samples=3)
    assert changing.report("jsonl").dropped == 0
    changing.exports.configure(build({"export.jsonl.path": str(tmp_path / "lines"), "export.jsonl.edges": False}))
    assert (changing.report("jsonl").delivered, changing.report("jsonl").dropped) == (0, 3)
    changing.exports.stop()
