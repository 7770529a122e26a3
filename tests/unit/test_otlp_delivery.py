# SPDX-License-Identifier: Apache-2.0
"""Receivers as they are in life: slow, gone, refusing, with certificates of their own. The loop never waits for them."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import pytest

from analyzers.snapshot import SnapshotBuilder
from exporters.otlp import exporter as exporter_module
from exporters.otlp import lane as lane_module
from exporters.otlp.delivery import ChannelError
from exporters.otlp.exporter import OtlpExporter
from exporters.otlp.settings import Origin, OtlpSettings, Protocol, TlsFiles
from exporters.own import OwnState
from exporters.settings import MetricsSettings
from tests.receivers import Receiver, grpc_receiver, http_receiver, self_signed, until
from tests.relays import relay
from tests.rows import SECOND, FixedResolver, request_row, sample

Opened = Callable[..., AbstractContextManager[Receiver]]
RECEIVERS: dict[Protocol, Opened] = {"http": http_receiver, "grpc": grpc_receiver}
REFUSED, UNWILLING = {"http": 503, "grpc": 14}, {"http": 400, "grpc": 3}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(lane_module, "LONGEST_PAUSE", 0.2)


@pytest.fixture(params=["http", "grpc"])
def protocol(request: pytest.FixtureRequest) -> Protocol:
    found: Protocol = request.param
    return found


class Running:
    """An exporter with traffic, turned by hand."""

    def __init__(
        self, port: int, protocol: Protocol, *, scheme: str = "http", host: str = "127.0.0.1", **more: Any
    ) -> None:
        fields: dict[str, Any] = {"interval": 0.0, "timeout": 2.0, "spans": True} | more
        settings = OtlpSettings(f"{scheme}://{host}:{port}", protocol, **fields)
        self.exporter = OtlpExporter(settings, MetricsSettings(), Origin("1", "node-1"))
        self.builder = SnapshotBuilder(FixedResolver())
        self.builder.count_calls(True)
        self.count = self.sequence = 0
        self.spent = 0.0
        self.exporter.start()

    def turn(self, samples: int = 1) -> None:
        self.count += 1
        made = []
        for _ in range(samples):
            self.sequence += 1
            made.append(sample(sequence=self.sequence))
        snapshot = self.builder.build([request_row(1, count=self.count)], [], made, self.count * SECOND)
        began = time.monotonic()
        self.exporter.turn(snapshot, 0, lambda: OwnState("1"))
        self.spent += time.monotonic() - began

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.exporter.stop(5)


def test_metrics_and_spans_arrive(protocol: Protocol) -> None:
    with RECEIVERS[protocol]() as told, Running(told.port, protocol) as running:
        running.turn(samples=3)
        until(lambda: told.points("firesteel.build_info") and len(told.spans()) == 3)
        until(lambda: running.exporter.account().spans.delivered == 3)
        assert told.points("firesteel.network.topology.requests")[0][1].as_int == 1
        assert running.exporter.account().metrics.fault == ""


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_headers_and_compression(protocol: Protocol, compression: str) -> None:
    with (
        RECEIVERS[protocol]() as told,
        relay(told.port) as between,
        Running(
            between.port, protocol, headers={"X-Scope-OrgID": "shop"}, compression=compression, metrics=False
        ) as running,
    ):
        running.turn(samples=200)
        until(lambda: told.traces)
        assert {headers["x-scope-orgid"] for headers in told.headers} == {"shop"}
        # What gRPC packs it does below its header fields, so only the wire shows it.
        size = told.traces[0].ByteSize()
        assert between.sent < size / 2 if compression == "gzip" else between.sent > size
        if protocol == "http":
            packed = {headers.get("content-encoding", "none") for headers in told.headers}
            assert packed == {compression}


def test_a_receiver_that_is_gone_is_found_again(protocol: Protocol) -> None:
    with RECEIVERS[protocol]() as told:
        port = told.port
    with Running(port, protocol, interval=0.05) as running:
        running.turn(samples=5)
        until(lambda: running.exporter.account().spans.failures >= 2)
        assert running.exporter.account().spans.fault
        with RECEIVERS[protocol](port) as again:
            until(lambda: len(again.spans()) == 5, 30)
            until(lambda: not running.exporter.account().spans.fault)
            assert running.exporter.account().spans.dropped == 0


def test_a_busy_receiver_is_asked_again_a_refusing_one_is_not(protocol: Protocol) -> None:
    with RECEIVERS[protocol]() as told, Running(told.port, protocol, metrics=False) as running:
        told.status = REFUSED[protocol]
        running.turn()
        until(lambda: told.attempts >= 3)
        good, told.status = 200 if protocol == "http" else 0, UNWILLING[protocol]
        until(lambda: running.exporter.account().spans.dropped == 1)
        told.status = good
        running.turn()
        until(lambda: running.exporter.account().spans.delivered == 1)
        assert [span.name for _, span in told.spans()] == ["HTTP /a"]


def test_an_answer_that_breaks_off_is_asked_for_again(protocol: Protocol) -> None:
    with (
        RECEIVERS[protocol]() as told,
        relay(told.port) as between,
        Running(between.port, protocol, interval=0.05) as running,
    ):
        told.asked = between.cut
        running.turn(samples=3)
        until(lambda: running.exporter.account().spans.failures >= 2)
        turned_until(running, lambda: running.exporter.account().metrics.failures >= 2)
        assert between.cuts >= 4
        assert (running.exporter.account().spans.delivered, running.exporter.account().spans.dropped) == (0, 0)
        assert running.exporter.account().metrics.fault
        told.asked = lambda: False
        until(lambda: running.exporter.account().spans.delivered == 3)
        assert len(told.spans()) == 3
        assert_recovered(running, told)


def test_an_answer_that_is_not_all_there_is_none() -> None:
    with http_receiver() as told, Running(told.port, "http", interval=0.05) as running:
        told.missing = 10
        running.turn(samples=3)
        until(lambda: running.exporter.account().spans.failures >= 2)
        assert running.exporter.account().spans.delivered == 0
        told.missing = 0
        until(lambda: running.exporter.account().spans.delivered == 3)
        assert running.exporter.account().spans.dropped == 0
        assert_recovered(running, told)


def test_an_answer_that_comes_byte_by_byte_is_not_waited_for() -> None:
    with http_receiver() as told, Running(told.port, "http", interval=0.05, timeout=0.3) as running:
        told.nonsense, told.drip = bytes(200), 0.1
        running.turn(samples=3)
        until(lambda: running.exporter.account().spans.failures >= 2, 5)
        assert running.exporter.account().spans.delivered == 0
        told.nonsense, told.drip = b"", 0.0
        until(lambda: running.exporter.account().spans.delivered == 3)
        assert running.exporter.account().spans.dropped == 0
        assert_recovered(running, told)


def test_nonsense_as_an_answer_is_told_and_what_it_was_for_counts_as_lost(protocol: Protocol) -> None:
    with RECEIVERS[protocol]() as told, Running(told.port, protocol, interval=0.05) as running:
        told.nonsense = b"<html>It works!</html>"
        running.turn(samples=3)
        until(lambda: running.exporter.account().spans.dropped == 3)
        turned_until(running, lambda: running.exporter.account().metrics.failures)
        for account in (running.exporter.account().spans, running.exporter.account().metrics):
            assert account.fault.startswith("the answer is not OTLP")
        assert told.attempts
        told.nonsense = b""
        assert_recovered(running, told)
        running.turn(samples=2)
        until(lambda: running.exporter.account().spans.delivered == 2)
        assert running.exporter.account().spans.dropped == 3


def turned_until(running: Running, what: Callable[[], object]) -> None:
    """Metrics are pushed at a turn whose interval is over, and a quick machine's may not be."""

    def turned() -> object:
        running.turn(samples=0)
        return what()

    until(turned)


def assert_recovered(running: Running, told: Receiver) -> None:
    """Metrics arrive again, with all that was counted meanwhile."""

    def told_last() -> int:
        running.turn(samples=0)
        points = told.points("firesteel.network.topology.requests")
        return int(points[-1][1].as_int) if points else 0

    wanted = running.count + 1
    until(lambda: told_last() >= wanted)
    until(lambda: not running.exporter.account().metrics.fault)


def test_the_receiver_says_when_to_come_again() -> None:
    with http_receiver() as told, Running(told.port, "http", metrics=False) as running:
        told.status, told.answer_headers = 429, {"Retry-After": "1"}
        running.turn()
        until(lambda: told.attempts == 1)
        told.status, told.answer_headers = 200, {}
        time.sleep(0.5)
        assert told.attempts == 1
        until(lambda: len(told.spans()) == 1)


def test_a_slow_receiver_holds_up_nothing_and_memory_stays_bounded(protocol: Protocol) -> None:
    with RECEIVERS[protocol]() as told, Running(told.port, protocol, queue=50, timeout=0.3) as running:
        told.stall = 1.0
        for _ in range(100):
            running.turn(samples=10)
        account = running.exporter.account()
        # One batch of at most 256 is on its way, 50 wait, and the rest is counted.
        assert account.spans.waiting <= 50
        assert 1000 - 50 - 256 <= account.spans.dropped < 1000
        assert account.late > 50
        assert running.spent < 10, "a hundred turns that each waited for the time-out would take thirty seconds"
        told.stall = 0.0
        until(lambda: running.exporter.account().spans.delivered > 0)
        until(lambda: told_of(running) == 1000)


def told_of(running: Running) -> int:
    spans = running.exporter.account().spans
    return spans.delivered + spans.dropped


def test_what_the_receiver_takes_only_in_part_is_counted(protocol: Protocol) -> None:
    with RECEIVERS[protocol]() as told, Running(told.port, protocol, metrics=False) as running:
        told.rejected = 1
        running.turn(samples=3)
        until(lambda: running.exporter.account().spans.delivered == 2)
        assert running.exporter.account().spans.dropped == 1


def test_tls_with_an_authority_of_its_own(protocol: Protocol, tmp_path: Path) -> None:
    pair = self_signed(tmp_path)
    with RECEIVERS[protocol](certificate=pair) as told, Running(
        told.port, protocol, scheme="https", tls=TlsFiles(ca=str(pair[0]))
    ) as running:  # fmt: skip
        running.turn()
        until(lambda: told.metrics and told.spans())


def test_a_receiver_nobody_vouches_for_gets_nothing(protocol: Protocol, tmp_path: Path) -> None:
    pair, other = self_signed(tmp_path), self_signed(tmp_path, "other")
    with RECEIVERS[protocol](certificate=pair) as told, Running(
        told.port, protocol, scheme="https", tls=TlsFiles(ca=str(other[0]))
    ) as running:  # fmt: skip
        running.turn()
        until(lambda: running.exporter.account().spans.failures >= 2)
        assert not told.attempts
        assert running.exporter.account().metrics.fault


@pytest.mark.parametrize("shown", [True, False])
def test_a_receiver_that_wants_to_know_who_pushes(protocol: Protocol, tmp_path: Path, shown: bool) -> None:
    pair, ours = self_signed(tmp_path), self_signed(tmp_path, "agent")
    own = {"cert": str(ours[0]), "key": str(ours[1])} if shown else {}
    with (
        RECEIVERS[protocol](certificate=pair, authority=ours[0]) as told,
        Running(told.port, protocol, scheme="https", tls=TlsFiles(ca=str(pair[0]), **own)) as running,
    ):
        running.turn()
        if shown:
            until(lambda: told.metrics and told.spans())
            assert running.exporter.account().spans.failures == 0
        else:
            until(lambda: running.exporter.account().spans.failures >= 2)
            assert not told.attempts
            assert running.exporter.account().metrics.fault


def test_an_answer_that_is_no_otlp_is_told() -> None:
    with http_receiver() as told, Running(told.port, "grpc", timeout=1.0) as running:
        running.turn()
        until(lambda: running.exporter.account().metrics.fault)
        assert not told.metrics


def test_files_that_cannot_be_read_are_named(protocol: Protocol, tmp_path: Path) -> None:
    missing = TlsFiles(ca=str(tmp_path / "missing.pem"))
    with pytest.raises(ChannelError, match=r"missing\.pem"):
        OtlpExporter(OtlpSettings("https://127.0.0.1:1", protocol, tls=missing), MetricsSettings(), Origin("1"))


def test_a_request_that_never_arrives_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter_module, "SPAN_PATIENCE", 0.3)
    with http_receiver() as told:
        port = told.port
    with Running(port, "http", metrics=False) as running:
        running.turn(samples=4)
        until(lambda: running.exporter.account().spans.dropped == 4)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    import threading

    yield
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("otlp ")])
