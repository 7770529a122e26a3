# SPDX-License-Identifier: Apache-2.0
"""Protocols in Python: what they say of sampled exchanges, and that nothing they do harms the agent or passes its limits."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from analyzers._native import ffi
from analyzers.rows import Sample
from analyzers.table import SampleBatch
from collector import plugins as module
from collector import problems
from collector.plugins import STRIKES, Plugins
from exporters.own import OwnMetrics, OwnState
from tests import events
from tests.inprocess import InProcessEngine
from tests.installed_plugins import install
from tests.rows import sample as make_sample

BREW = (b"BREW pot-17 earl-grey\n", b"202 brewing\n")
REFUSED = (b"BREW kettle-3 coffee\n", b"418 I am a kettle\n")
OTHER = (b"\x00\x01\x02", b"\x03")
PATIENCE = 60.0


def sample(sequence: int, said: tuple[bytes, bytes]) -> Sample:
    return make_sample(sequence=sequence, protocol="NOSUPPORT", undecoded=said)


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)
    monkeypatch.setattr(module, "START_SECONDS", PATIENCE)


Starter = Callable[[list[str]], Plugins]


@pytest.fixture
def start(installed: None) -> Iterator[Starter]:
    made: list[Plugins] = []

    def begin(names: list[str]) -> Plugins:
        made.append(Plugins(names))
        return made[-1]

    yield begin
    for plugins in made:
        plugins.close()


def look(plugins: Plugins, samples: Sequence[Sample]) -> None:
    """As many turns as it takes until the child is up, and then one for these samples."""
    before = plugins.report()
    settled = (before.counts, before.failed)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        plugins.turn(samples, samples[-1].sequence + 1)
        report = plugins.report()
        if (report.counts, report.failed) != settled or report.given_up:
            return
    raise AssertionError("the plugins' process is not up")


def test_what_the_example_says_of_samples(start: Starter) -> None:
    plugins = start(["teatime"])
    samples = [sample(1, BREW), sample(2, OTHER), sample(3, REFUSED), sample(4, (BREW[0], b""))]
    look(plugins, samples)
    told = [plugins.apply(one) for one in samples]
    assert [(one.protocol, one.request_content, one.response_content, one.status, one.is_error) for one in told] == [
        ("teatime", "BREW earl-grey", "202", 202, False),
        ("NOSUPPORT", samples[1].request_content, samples[1].response_content, samples[1].status, samples[1].is_error),
        ("teatime", "BREW coffee", "418", 418, True),
        ("teatime", "BREW earl-grey", "", 0, False),
    ]
    report = plugins.report()
    assert report.counts == {("teatime", "decoded"): 3}
    assert not list(problems.of_plugins(report))
    metrics = OwnMetrics()
    page = metrics.render(OwnState("1", plugins=report)).decode()
    metrics.close()
    assert 'firesteel_plugin_exchanges_total{plugin="teatime",result="decoded"} 3' in page


@pytest.mark.parametrize(
    ("name", "result", "why"),
    [
        ("raises", "failed", "KeyError: 'no such tea'"),
        ("half", "failed", "TypeError: frame gave int instead of a Message or None"),
        ("hoards", "failed", "MemoryError"),
        ("leaves", "crashed", "ended its process"),
        ("crashes", "crashed", "ended its process"),
        ("hangs", "timeout", "gave no answer in time"),
    ],
)
def test_a_plugin_that_fails_is_counted_and_told_and_harms_nobody(
    start: Starter, name: str, result: str, why: str
) -> None:
    plugins = start([name, "teatime"])
    began = time.monotonic()
    look(plugins, [sample(1, BREW)])
    report = plugins.report()
    assert report.counts == {(name, result): 1}
    assert report.last_fault[name].startswith(why)
    assert time.monotonic() - began < PATIENCE
    assert plugins.apply(sample(1, BREW)).protocol == "NOSUPPORT"
    (problem,) = problems.of_plugins(report)
    assert name in problem.what
    assert f"1 {result}" in problem.what
    assert problem.cause.startswith(why)


def test_a_turn_is_over_when_its_time_is(start: Starter) -> None:
    plugins = start(["hangs"])
    look(plugins, [sample(number, BREW) for number in range(1, 51)])
    report = plugins.report()
    assert report.counts == {("hangs", "timeout"): 1}
    assert report.skipped >= 49


def test_of_a_file_all_are_looked_at_but_those_that_nobody_can_look_at(start: Starter) -> None:
    """After a hang another process is asked, two seconds later: the samples behind it wait for that."""
    plugins = start(["stumbles"])
    samples = [sample(1, BREW), sample(2, OTHER), *(sample(number, BREW) for number in range(3, 9))]
    plugins.whole(SampleBatch(tuple(samples), 9, 0))
    report = plugins.report()
    assert (report.counts, report.skipped) == ({("stumbles", "decoded"): 7, ("stumbles", "timeout"): 1}, 0)
    told = [plugins.apply(one).protocol for one in samples]
    assert told == ["faulty", "NOSUPPORT", *["faulty"] * 6]


def test_a_process_that_ends_again_and_again_is_given_up(start: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = start(["crashes"])
    for number in range(STRIKES):
        monkeypatch.setattr(plugins, "_not_before", 0.0)
        look(plugins, [sample(number + 1, BREW)])
    report = plugins.report()
    assert report.counts == {("crashes", "crashed"): STRIKES}
    assert report.given_up
    assert any(problem.severity == "error" for problem in problems.of_plugins(report))
    plugins.turn([sample(9, BREW)], 10)
    assert plugins.report().counts == {("crashes", "crashed"): STRIKES}


def test_what_cannot_be_loaded_is_told_and_the_rest_goes_on(start: Starter) -> None:
    plugins = start(["nosuch", "absent", "taken", "misnamed", "unborn", "noplugin", "teatime"])
    look(plugins, [sample(1, BREW)])
    failed = plugins.report().failed
    assert failed.keys() == {"nosuch", "absent", "taken", "misnamed", "unborn", "noplugin"}
    assert failed["nosuch"] == "no installed package has an entry point nosuch in the group firesteel.protocols"
    assert failed["unborn"] == "OSError: no tea here"
    assert failed["taken"] == "name = 'http' is another protocol's"
    assert len(list(problems.of_plugins(plugins.report()))) == 6
    assert plugins.apply(sample(1, BREW)).protocol == "teatime"


def test_what_a_plugin_writes_to_standard_output_is_no_answer(start: Starter) -> None:
    """Also past Python, as a library in C does; and there is nothing for it to read but an end."""
    plugins = start(["chatters"])
    look(plugins, [sample(1, OTHER)])
    assert plugins.report().counts == {("chatters", "decoded"): 1}
    assert plugins.apply(sample(1, OTHER)).protocol == "faulty"


def test_what_a_plugin_says_is_cut_and_printable(start: Starter) -> None:
    plugins = start(["prints"])
    look(plugins, [sample(1, OTHER)])
    told = plugins.apply(sample(1, OTHER))
    assert told.request_content == ("tea.for " + "two" * 100)[:127]
    assert (told.response_content, told.status) == (".", 65535)


@pytest.mark.parametrize("wanted", [0, 255])
def test_the_engine_keeps_undecoded_bytes_for_plugins_only(wanted: int) -> None:
    talk = events.Conversation(7, ("10.0.0.1", 40000), ("10.0.0.2", 8000), "server", comm="tea", pid=5)
    made = [talk.open(0)]
    for turn in range(20):
        made.append(talk.moves(events.IN, 1_000_000 * (2 * turn + 1), BREW[0]))
        made.append(talk.moves(events.OUT, 1_000_000 * (2 * turn + 2), BREW[1]))
    with InProcessEngine(
        undecoded_bytes=wanted, sample_rate=1000, sample_normal_permille=1000, sample_per_edge=1000
    ) as engine:
        engine.feed([*made, talk.close(99_000_000)]).finish()
        samples = engine.samples()
        assert len(samples) == 20
        kept = {
            (
                bytes(ffi.buffer(one.request_text)[: one.request_text_length]),
                bytes(ffi.buffer(one.response_text)[: one.response_text_length]),
            )
            for one in samples
        }
    assert kept == {BREW if wanted else (b"", b"")}
