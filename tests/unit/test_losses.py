# SPDX-License-Identifier: Apache-2.0
"""Nothing is lost in silence: each counter of a loss has a series on the metrics page and a sentence in `firesteel status`."""

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from analyzers.contract import STAT_HELP, STATS
from analyzers.losses import LOSSES, NO_LOSS
from analyzers.rows import DriverCounters, EngineState
from analyzers.snapshot import EMPTY
from collector import problems
from collector.api import AgentStatus, Configuration, Driver, status_json
from collector.status import status_sentences
from exporters.own import OwnMetrics, OwnState
from exporters.registry_own import SEEN_IN_PART
from exporters.series import SeriesReport
from tests.fake_agent import engine_state

NO_SERIES = SeriesReport({}, {}, "pod")


def sentences(engine: EngineState, undirected: int = 0) -> list[str]:
    """What `firesteel status` prints of an agent whose engine is as given."""
    found = list(problems.of_losses(None, engine))
    status = AgentStatus(
        "1", "n1", "6.18", "live", 0.0, Driver("core", ""), engine, None, Configuration("defaults"),
        problems=found, undirected=undirected,
    )  # fmt: skip
    return list(status_sentences(status_json(status, 1.0, 1)))


def test_each_counter_of_the_engine_is_a_loss_or_says_why_it_is_none() -> None:
    """A new line of FS_STATS (analyzers/native/table.h) fails here until analyzers/losses.py says what it means."""
    assert set(LOSSES) | set(NO_LOSS) == set(STATS)
    assert not set(LOSSES) & set(NO_LOSS)
    assert all(NO_LOSS.values())


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_loss_has_a_series_and_a_sentence(name: str) -> None:
    engine = engine_state(stats={**dict.fromkeys(STATS, 0), name: 4711})
    own = OwnMetrics()
    try:
        page = own.render(OwnState("1", engine=engine))
    finally:
        own.close()
    loss = LOSSES[name]
    lost = {
        (sample.labels["type"], sample.labels["stage"]): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
        if sample.name == "firesteel_lost_total" and sample.value
    }
    assert lost == {(loss.kind, loss.stage): 4711}
    assert [
        line
        for line in sentences(engine)
        if f"4711 {STAT_HELP[name]}" in line and len(line) > len(STAT_HELP[name]) + 10
    ]


def test_what_is_no_loss_makes_no_sentence() -> None:
    quiet = sentences(engine_state(stats=dict.fromkeys(STATS, 0)))
    busy = sentences(
        engine_state(stats=dict.fromkeys(STATS, 0) | dict.fromkeys(set(NO_LOSS) - {"requests", "exchanges"}, 4711))
    )
    assert busy == quiet
    assert "Nothing was lost." in quiet


def test_only_what_counts_are_missing_for_adds_up_as_lost() -> None:
    for name, loss in LOSSES.items():
        lost = [line for line in sentences(engine_state(stats={name: 4711})) if line.startswith("Lost: ")]
        stage = "connections" if name == "connections_rejected" else loss.stage
        assert lost == ([f"Lost: 4711 at {stage}."] if loss.lowers and loss.remedy else [])


def test_the_types_that_alerts_leave_out_are_those_without_a_remedy() -> None:
    with_remedy = {loss.kind for loss in LOSSES.values() if loss.remedy}
    assert set(SEEN_IN_PART) == {loss.kind for loss in LOSSES.values()} - with_remedy


@pytest.mark.parametrize(
    ("counters", "ring_dropped", "is_problem"),
    [
        (None, 0, False),
        (DriverCounters({}, {"DATA": 0}, {}, 0, 0, 0), 0, False),
        (DriverCounters({}, {"DATA": 1}, {}, 0, 0, 0), 0, True),
        (DriverCounters({}, {}, {}, 0, 0, 1), 0, True),
        (DriverCounters({}, {}, {}, 1, 0, 0), 0, False),
        (None, 1, True),
    ],
    ids=["replay", "healthy", "ring", "hook", "storage", "recorded"],
)
def test_what_was_seen_in_part_is_a_problem_where_events_were_lost(
    counters: DriverCounters | None, ring_dropped: int, is_problem: bool
) -> None:
    """An agent that joins in the middle, doubts or is told another scope drops exchanges, and is healthy."""
    engine = engine_state(stats={"discarded_exchanges": 4711, "ring_dropped": ring_dropped})
    found = [problem for problem in problems.of_losses(counters, engine) if problem.cause == "discarded_exchanges"]
    assert [(problem.severity, "ring.size" in problem.remedy) for problem in found] == [("warning", True)] * is_problem
    told = [line for line in sentences(engine_state(stats={"discarded_exchanges": 4711})) if "4711" in line]
    assert ["to be expected" in line for line in told] == [True]
    assert not [line for line in sentences(engine) if line.startswith("Lost: 4711")]


def test_each_loss_of_the_driver_has_a_sentence() -> None:
    counters = DriverCounters({}, {"DATA": 41}, {}, 42, 0, 43)
    told = " ".join(problem.what for problem in problems.of_losses(counters, engine_state()))
    assert [count for count in ("41", "42", "43") if count in told] == ["41", "42", "43"]


def test_what_nobody_asked_is_told() -> None:
    assert any("17 requests that make no edge" in line for line in sentences(engine_state(), 17))


def test_what_the_agent_itself_left_out_has_a_sentence() -> None:
    snapshot = replace(EMPTY, evicted={"topology": 31, "entity": 0})
    series = replace(NO_SERIES, overflow={"entity": 32, "entity_histogram": 0, "trace": 33})
    found = list(problems.of_accounts(snapshot, series, 34))
    assert [problem.what.split()[0] for problem in found] == ["31", "32", "33", "34"]
    assert [problem.cause for problem in found[1:3]] == [
        "metrics.rows.entity is reached",
        "metrics.rows.trace is reached",
    ]
    assert not list(problems.of_accounts(EMPTY, NO_SERIES, 0))
