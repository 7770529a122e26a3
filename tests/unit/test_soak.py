# SPDX-License-Identifier: Apache-2.0
"""What `make soak` makes of its readings."""

from dataclasses import replace

from bench.soak_report import Counts, Reading, graph, slope, verdict

STEADY = [Reading(10.0 * n, 70 + (n % 3) * 0.1, 20.0, 30, 5, 1000.0 * n, 100) for n in range(1, 361)]


def test_a_steady_run_has_no_fault() -> None:
    assert verdict(STEADY) == []
    assert abs(slope([(one.seconds, one.agent_mib) for one in STEADY])) < 0.1


def test_what_grows_is_told() -> None:
    leaking = [replace(one, agent_mib=70 + one.seconds / 1800) for one in STEADY]
    assert verdict(leaking) == ["agent_mib grew by 2.00 MiB an hour"]
    (told,) = verdict([replace(one, descriptors=30 + int(one.seconds / 500)) for one in STEADY])
    assert told.startswith("descriptors grew from 3")
    falling = [*STEADY[:-1], replace(STEADY[-1], requests=5)]
    assert verdict(falling) == ["a count fell"]


def test_memory_is_not_judged_by_a_few_minutes() -> None:
    assert verdict([replace(one, agent_mib=70 + one.seconds) for one in STEADY[:12]]) == []


def test_the_graph_is_a_picture_of_all_readings() -> None:
    drawn = graph(STEADY)
    assert drawn.startswith("<svg ")
    assert drawn.count(",") >= 2 * len(STEADY)


def test_counts_are_those_of_the_clients_or_up_to_what_was_cut_off() -> None:
    exact = Counts(
        1000, 7, 7, 100, {"often": 1003, "seldom": 1003}, {"often": 7, "seldom": 7}, {"often": 1007, "seldom": 1007}, []
    )
    assert exact.wrong() == []
    assert replace(exact, edges={"often": 999, "seldom": 999}).wrong() == [
        "the topology has 999 requests by the job often, 1000 were answered",
        "the topology has 999 requests by the job seldom, 1000 were answered",
    ]
    assert replace(exact, entity={"often": 1108, "seldom": 1107}).wrong() == [
        "the entity has 1108 requests by the job often, 1007 were answered",
        "the two jobs disagree on the entity",
    ]
    assert replace(exact, from_pods={"often": 8, "seldom": 8}).wrong() == [
        "the topology of the pods has 8 requests by the job often, 7 were answered",
        "the topology of the pods has 8 requests by the job seldom, 7 were answered",
    ]
    assert replace(exact, pods_named=5).wrong() == ["2 of 7 pods have no name"]
    assert replace(exact, faults=["a_total fell"]).wrong() == ["a_total fell"]
