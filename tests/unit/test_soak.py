# SPDX-License-Identifier: Apache-2.0
"""What `make soak` makes of its readings."""

from dataclasses import replace

from bench.soak import Reading, graph, slope, verdict

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
