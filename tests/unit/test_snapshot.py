# SPDX-License-Identifier: Apache-2.0
"""Accounts: counters by differences, so that rows may end, merge and be renamed and nothing ever falls or counts twice."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.accounts import Ledger, growth
from analyzers.resolver import NOT_READ_YET, NOT_TOLD_YET, Party
from analyzers.rows import Role, TcpRow
from analyzers.samples import name_sample
from analyzers.snapshot import HOUR_NS, NAME_PATIENCE_NS, Snapshot, SnapshotBuilder
from tests.rows import CLIENT, SECOND, FixedResolver, last, pod, request_row, sample, tcp_row


def edges(snapshot: Snapshot) -> dict[tuple[str, str, bool], int]:
    return {
        (account.labels.edge.dst.workload_name, account.labels.status_code, account.labels.is_error): account.count
        for account in snapshot.edges
    }


def test_rows_of_one_edge_are_one_account_and_of_different_content_several_entities() -> None:
    rows = [
        request_row(1, Role.SERVER, count=3, peer=CLIENT),
        request_row(2, Role.SERVER, count=4, peer=CLIENT, request_content="/b"),
        request_row(3, Role.SERVER, count=5, peer=CLIENT, status=500, is_error=True),
    ]
    snapshot = SnapshotBuilder(FixedResolver()).build(rows, (), (), SECOND)
    assert edges(snapshot) == {("server", "200", False): 7, ("server", "500", True): 5}
    assert [(a.labels.request_content, a.labels.is_error, a.count) for a in snapshot.entities] == [
        ("/a", False, 3),
        ("/b", False, 4),
        ("/a", True, 5),
    ]
    account = snapshot.edges[0]
    assert (account.duration_ns, account.request_bytes, account.response_bytes) == (7000, 70, 700)
    assert account.buckets == (7, 0, 0, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("reason", NAME_PATIENCE_NS)
def test_nothing_is_counted_under_a_name_for_the_meantime(reason: str) -> None:
    resolver = FixedResolver()
    resolver.owners[2] = pod("python3", reason=reason)
    builder = SnapshotBuilder(resolver)
    rows, tcp = [request_row(1, Role.SERVER, count=3, peer=CLIENT, created_ns=SECOND)], [tcp_row(1, created_ns=SECOND)]
    first = builder.build(rows, tcp, (), 2 * SECOND)
    assert (first.edges, first.entities, first.traces, first.unresolved) == ((), (), (), {reason: 1})
    rows = [request_row(1, Role.SERVER, count=5, peer=CLIENT, created_ns=SECOND)]
    resolver.owners[2] = pod("server")
    resolver.answers += 1
    assert edges(builder.build(rows, tcp, (), 3 * SECOND)) == {("server", "200", False): 5}


@pytest.mark.parametrize("reason", NAME_PATIENCE_NS)
def test_a_name_is_waited_for_only_so_long(reason: str) -> None:
    resolver = FixedResolver()
    resolver.owners[2] = pod("python3", reason=reason)
    builder = SnapshotBuilder(resolver)
    row = request_row(1, Role.SERVER, count=3, peer=CLIENT, created_ns=SECOND)
    assert edges(builder.build([row], (), (), SECOND)) == {}
    assert edges(builder.build([row], (), (), SECOND + NAME_PATIENCE_NS[reason] - 1)) == {}
    assert edges(builder.build([row], (), (), SECOND + NAME_PATIENCE_NS[reason])) == {("python3", "200", False): 3}


def test_a_second_reason_has_a_time_of_its_own() -> None:
    """Read late, and then of a pod that was not told yet."""
    resolver = FixedResolver()
    builder = SnapshotBuilder(resolver)
    row = request_row(1, Role.SERVER, count=3, peer=CLIENT, created_ns=SECOND)
    late = SECOND + NAME_PATIENCE_NS[NOT_READ_YET] - 1
    for reason, at_ns in (
        (NOT_READ_YET, late),
        (NOT_TOLD_YET, late + 1),
        (NOT_TOLD_YET, late + NAME_PATIENCE_NS[NOT_TOLD_YET]),
    ):
        resolver.owners[2] = pod("python3", reason=reason)
        resolver.answers += 1
        assert edges(builder.build([row], (), (), at_ns)) == {}
    assert edges(builder.build([row], (), (), late + 1 + NAME_PATIENCE_NS[NOT_TOLD_YET])) == {
        ("python3", "200", False): 3
    }


def test_only_growth_is_added() -> None:
    builder = SnapshotBuilder(FixedResolver())
    for count in (1, 1, 5, 9):
        snapshot = builder.build([request_row(count=count)], (), (), SECOND)
        assert edges(snapshot) == {("server", "200", False): count}


def test_a_counter_survives_the_end_of_its_row_and_goes_on_with_the_next() -> None:
    builder = SnapshotBuilder(FixedResolver())
    builder.build([request_row(count=5)], (), (), SECOND)
    assert edges(builder.build([], (), (), 2 * SECOND)) == {("server", "200", False): 5}
    again = request_row(1, count=2, generation=2)
    assert again.key.generation == 2
    assert edges(builder.build([again], (), (), 3 * SECOND)) == {("server", "200", False): 7}


def test_an_account_ends_when_it_was_idle_for_its_time() -> None:
    builder = SnapshotBuilder(FixedResolver())
    row = request_row(count=5)
    builder.build([row], (), (), SECOND)
    assert edges(builder.build([row], (), (), SECOND + HOUR_NS)) == {("server", "200", False): 5}
    assert edges(builder.build([row], (), (), SECOND + HOUR_NS + 1)) == {}
    moved = request_row(count=6)
    assert edges(builder.build([moved], (), (), SECOND + HOUR_NS + 2)) == {("server", "200", False): 1}


def test_an_account_that_stands_still_is_the_same_object() -> None:
    builder = SnapshotBuilder(FixedResolver())
    first = builder.build([request_row(1, count=1), request_row(2, count=1, status=404)], (), (), SECOND)
    second = builder.build([request_row(1, count=1), request_row(2, count=2, status=404)], (), (), 2 * SECOND)
    assert first.edges[0] is second.edges[0]
    assert first.edges[1] is not second.edges[1]
    assert first.edges[1].id == second.edges[1].id


def test_names_are_asked_once_and_again_only_for_rows_that_moved_after_they_changed() -> None:
    resolver = FixedResolver()
    builder = SnapshotBuilder(resolver)
    for count in range(1, 6):
        builder.build([request_row(count=count)], (), (), SECOND)
    assert resolver.asked == 2
    resolver.addresses["10.0.0.2"] = pod("renamed")
    resolver.answers += 1
    builder.build([request_row(count=5)], (), (), SECOND)
    assert resolver.asked == 2
    snapshot = builder.build([request_row(count=8)], (), (), SECOND)
    assert edges(snapshot) == {("server", "200", False): 5, ("renamed", "200", False): 3}


def test_a_value_that_falls_is_no_growth() -> None:
    assert growth((5, 3), (4, 9)) == (1, 0)
    assert growth((5, 9), (4, 9)) == (1, 0)


def test_bytes_before_the_first_exchange_make_the_edge() -> None:
    row = request_row(count=0, request_bytes=517, protocol="tls", status=0, last=last(duration_ns=0))
    snapshot = SnapshotBuilder(FixedResolver()).build([row], (), (), SECOND)
    assert [(a.count, a.request_bytes, a.labels.status_code) for a in snapshot.edges] == [(0, 517, "")]
    assert [(row.edge.dst_ip, row.last.duration_ns) for row in snapshot.traces] == [("10.0.0.2", 0)]


def test_a_long_transfer_stays_in_the_trace_view() -> None:
    builder, minute = SnapshotBuilder(FixedResolver()), 60 * SECOND
    for turn in range(1, 20):
        row = request_row(count=1, response_bytes=turn * 1000, last=last(ended_ns=5))
        assert len(builder.build([row], (), (), turn * minute).traces) == 1


def test_undirected_requests_are_counted_and_make_nothing() -> None:
    builder = SnapshotBuilder(FixedResolver())
    builder.build([request_row(role=Role.UNKNOWN, count=2)], (), (), SECOND)
    snapshot = builder.build([request_row(role=Role.UNKNOWN, count=5)], (), (), SECOND)
    assert (snapshot.edges, snapshot.entities, snapshot.traces, snapshot.undirected) == ((), (), (), 5)


def test_the_engines_overflow_row_is_one_row_called_other() -> None:
    row = request_row(role=Role.UNKNOWN, count=4, overflow=True)
    snapshot = SnapshotBuilder(FixedResolver()).build([row], (), (), SECOND)
    assert edges(snapshot) == {("other", "", False): 4}
    assert [account.labels.entity.party.namespace for account in snapshot.entities] == ["other"]
    assert snapshot.undirected == 0


def test_tcp_counters_add_up_and_the_gauge_is_the_newest_reading() -> None:
    rows = [
        tcp_row(1, srtt_us=300, retransmits=2, synack_retransmits=1, updated_ns=20),
        tcp_row(2, srtt_us=900, retransmits=4, resets_received=1, updated_ns=10),
    ]
    builder = SnapshotBuilder(FixedResolver())
    (account,) = builder.build((), rows, (), 30).health
    assert (account.gauge, account.moved_ns) == (300, 20)
    assert account.values == (0, 0, 7, 0, 0, 1, 0)
    rows[1] = tcp_row(2, srtt_us=500, retransmits=4, resets_received=1, updated_ns=25)
    (account,) = builder.build((), rows, (), 30).health
    assert (account.gauge, account.moved_ns, account.values) == (500, 25, (0, 0, 7, 0, 0, 1, 0))


def test_attempts_are_told_apart_by_result() -> None:
    rows = [tcp_row(1, error=0, connects=9, connect_ns=90), tcp_row(2, error=111, connects=2, connect_ns=5)]
    snapshot = SnapshotBuilder(FixedResolver()).build((), rows, (), 30)
    assert [(a.labels.errno, a.values[:2]) for a in snapshot.connects] == [(0, (9, 90)), (111, (2, 5))]
    assert snapshot.health == ()


def test_unresolved_ends_are_counted_once_each_while_they_are_in_use() -> None:
    builder = SnapshotBuilder(FixedResolver())
    rows = [
        request_row(1, remote_ip="203.0.113.1"),
        request_row(2, remote_ip="203.0.113.1", status=404),
        request_row(3, remote_ip="203.0.113.2"),
        request_row(4, remote_ip=""),
    ]
    assert builder.build(rows, (), (), 1).unresolved == {"outside": 2, "peer_unknown": 1}
    assert builder.build(rows[:1], (), (), 2).unresolved == {"outside": 1}


def test_pods_of_this_node_are_counted_by_their_sockets() -> None:
    rows = [request_row(1), request_row(2, Role.SERVER), request_row(3, Role.SERVER, request_content="/b")]
    builder = SnapshotBuilder(FixedResolver())
    assert builder.build(rows, (), (), 1).local_pods == 2
    # One that was deleted has rows for some time yet, perhaps when nobody knows it any more, but does not run.
    builder.running_pods = lambda: {("shop", FixedResolver().owners[1].pod), ("shop", "without-sockets")}
    assert builder.build(rows, (), (), 2).local_pods == 1


def test_samples_get_names() -> None:
    snapshot = SnapshotBuilder(FixedResolver()).build((), (), [sample(Role.SERVER)], 1)
    (named,) = snapshot.samples
    assert named.edge is not None
    assert (named.edge.src_ip, named.edge.dst_ip, named.edge.dst_port, named.is_server) == (
        "10.0.0.1",
        "10.0.0.2",
        80,
        True,
    )


def test_the_longest_idle_account_gives_way_and_is_counted() -> None:
    ledger: Ledger[str] = Ledger(2)
    for now, labels in enumerate(("a", "b", "c")):
        ledger.book(labels, 1, now).post((1,), now)
    assert [account.labels for account in ledger.accounts()] == ["b", "c"]
    assert ledger.evicted == 1


def test_traces_show_the_newest_and_three_slow_or_failed_of_different_content() -> None:
    builder = SnapshotBuilder(FixedResolver())
    rows = [
        request_row(
            index, is_error=True, request_content=f"/{index % 5}", status=500 + index, last=last(ended_ns=index)
        )
        for index in range(1, 9)
    ]
    rows.append(request_row(9, request_content="/ok", last=last(ended_ns=100)))
    traces = builder.build(rows, (), (), SECOND).traces
    assert [(row.request_content, row.last.ended_ns) for row in traces] == [
        ("/ok", 100),
        ("/3", 8),
        ("/2", 7),
        ("/1", 6),
    ]


def test_a_trace_lives_while_its_edge_moves_and_five_minutes_more() -> None:
    builder = SnapshotBuilder(FixedResolver())
    failed = request_row(1, is_error=True, request_content="/bad", last=last(ended_ns=5))
    builder.build([failed], (), (), SECOND)
    minute = 60 * SECOND
    for now in range(1, 20):
        good = request_row(2, count=now, last=last(ended_ns=now * minute))
        traces = builder.build([failed, good], (), (), SECOND + now * minute).traces
        assert [row.request_content for row in traces] == ["/a", "/bad"]
    stop = SECOND + 19 * minute
    assert len(builder.build([failed, good], (), (), stop + 5 * minute).traces) == 2
    assert builder.build([failed, good], (), (), stop + 5 * minute + 1).traces == ()


COUNTS = st.lists(st.lists(st.integers(0, 50), min_size=4, max_size=4), min_size=1, max_size=8)


@given(COUNTS, st.data())
def test_counters_never_fall_and_add_up_whatever_rows_do(turns: list[list[int]], data: st.DataObject) -> None:
    """Four rows grow, end and begin anew at random; their names change now and then."""
    resolver = FixedResolver()
    builder = SnapshotBuilder(resolver)
    totals, generations, expected = [0] * 4, [1] * 4, 0
    before: dict[int, int] = {}
    for now, turn in enumerate(turns):
        rows = []
        for index, amount in enumerate(turn):
            if data.draw(st.booleans()):
                generations[index] += 1
                totals[index] = 0
            totals[index] += amount
            expected += amount
            status = 200 if index % 2 else 404
            rows.append(request_row(index, count=totals[index], generation=generations[index], status=status))
        if data.draw(st.booleans()):
            resolver.addresses["10.0.0.2"] = pod(f"name-{now % 2}")
            resolver.answers += 1
        snapshot = builder.build(rows, (), (), now)
        assert len({account.labels for account in snapshot.edges}) == len(snapshot.edges)
        after = {account.id: account.count for account in snapshot.edges}
        assert all(after[key] >= count for key, count in before.items())
        assert sum(after.values()) == expected
        before = after


class _Handover(FixedResolver):
    """10.0.0.2 was the old pod's until `at`."""

    at = 0

    def remote(self, ip: str, port: int, netns: int, at_ns: int = 0) -> Party:
        if ip == "10.0.0.2" and self.at:
            former = 0 < at_ns < self.at
            return replace(pod("old" if former else "new"), former=former)
        return super().remote(ip, port, netns)


def test_requests_are_his_who_had_the_address_then() -> None:
    """News of a handover come at any time: before a row was read at all, between two readings, and much later."""
    for told_before in (True, False):
        resolver = _Handover(addresses={"10.0.0.2": pod("old")})
        builder = SnapshotBuilder(resolver)

        def handed_over(resolver: _Handover = resolver) -> None:
            resolver.at = 5 * SECOND
            resolver.answers += 1

        if told_before:
            handed_over()
        row = request_row(1, Role.CLIENT, count=3, last=last(4 * SECOND))
        assert edges(builder.build([row], (), (), 6 * SECOND)) == {("old", "200", False): 3}
        if not told_before:
            handed_over()
        row = request_row(1, Role.CLIENT, count=4, last=last(4 * SECOND + 1))
        assert edges(builder.build([row], (), (), 7 * SECOND)) == {("old", "200", False): 4}
        row = request_row(1, Role.CLIENT, count=9, last=last(6 * SECOND))
        assert edges(builder.build([row], (), (), 8 * SECOND)) == {("old", "200", False): 4, ("new", "200", False): 5}


def test_tcp_is_his_who_had_the_address_then_and_so_is_a_sample() -> None:
    resolver = _Handover(addresses={"10.0.0.2": pod("new")})
    resolver.at = 5 * SECOND
    builder = SnapshotBuilder(resolver)

    def counted(row: TcpRow, now: int) -> dict[str, tuple[int, ...]]:
        snapshot = builder.build((), [row], (), now)
        accounts = (*snapshot.health, *snapshot.connects)
        return {account.labels.dst.workload_name: account.values[:2] for account in accounts}

    for error in (None, 0):
        builder = SnapshotBuilder(resolver)
        row = tcp_row(1, error=error, connects=2, connect_ns=200, updated_ns=4 * SECOND)
        assert counted(row, 6 * SECOND) == {"old": (2, 200)}
        row = replace(row, connects=5, connect_ns=500, updated_ns=4 * SECOND + 1)
        assert counted(row, 7 * SECOND) == {"old": (5, 500)}
        row = replace(row, connects=9, connect_ns=900, updated_ns=6 * SECOND)
        assert counted(row, 8 * SECOND) == {"old": (5, 500), "new": (4, 400)}
    asked = sample(Role.CLIENT, start_ns=4 * SECOND)
    told = [name_sample(replace(asked, start_ns=at), resolver).ends.remote for at in (4 * SECOND, 5 * SECOND)]
    assert [party.workload_name for party in told] == ["old", "new"]
