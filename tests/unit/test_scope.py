# SPDX-License-Identifier: Apache-2.0
"""scope.exclude_namespaces: whose entities and edges are left out, and whose are not."""

import pytest

from analyzers.resolver import Party
from analyzers.rows import Role
from analyzers.scope import Scope
from analyzers.snapshot import SnapshotBuilder
from collector.traffic import TrafficNames
from tests.rows import CLIENT, SECOND, SERVER, FixedResolver, pod, request_row, sample, tcp_row

EXCLUDED = Scope(frozenset({"system"}))
WEB, DNS = pod("web", namespace="shop", observed=True), pod("dns", namespace="system", observed=True)
FAR = Party(namespace="NOT_FOUND_EXTERNAL", outside=True)


@pytest.mark.parametrize(
    ("asking", "answering", "role", "edges", "entities"),
    [
        (WEB, WEB, Role.CLIENT, 1, 0),
        (WEB, WEB, Role.SERVER, 0, 1),
        (WEB, DNS, Role.CLIENT, 1, 0),  # the edge is web's
        (WEB, DNS, Role.SERVER, 0, 0),
        (DNS, WEB, Role.CLIENT, 0, 0),
        (DNS, WEB, Role.SERVER, 0, 1),  # that web was asked is web's
        (FAR, WEB, Role.SERVER, 1, 1),
        (FAR, DNS, Role.SERVER, 0, 0),  # nobody else would tell it
    ],
)
@pytest.mark.parametrize("excluded", [EXCLUDED, Scope(excluded_workloads=frozenset({"system/dns", "shop/other"}))])
def test_what_is_told_of_an_excluded_namespace_or_workload(
    asking: Party, answering: Party, role: Role, edges: int, entities: int, excluded: Scope
) -> None:
    resolver = FixedResolver({1: asking, 2: answering}, {"10.0.0.1": asking, "10.0.0.2": answering})
    builder = SnapshotBuilder(resolver)
    builder.leave_out(excluded)
    snapshot = builder.build([request_row(1, role)], [], [], SECOND)
    assert (len(snapshot.edges), len(snapshot.entities)) == (edges, entities)


def test_the_api_tcp_relations_and_samples_leave_out_the_same() -> None:
    resolver = FixedResolver({1: DNS, 2: WEB}, {"10.0.0.1": DNS, "10.0.0.2": WEB})
    row, relation, request = request_row(1), tcp_row(1), sample(Role.CLIENT)
    builder, names = SnapshotBuilder(resolver), TrafficNames(resolver)
    for scope, told in ((Scope(), 1), (EXCLUDED, 0)):
        builder.leave_out(scope)
        names.scope = scope
        fresh = SnapshotBuilder(resolver)
        fresh.leave_out(scope)
        snapshot = fresh.build([row], [relation], [request], SECOND)
        assert (len(snapshot.edges), len(snapshot.health), len(snapshot.samples)) == (told, told, told)
        traffic = names.name(SECOND, [row], [relation], ())
        assert (len(traffic.requests), len(traffic.tcp)) == (told, told)


def test_a_change_holds_from_then_on() -> None:
    resolver = FixedResolver({1: DNS, 2: WEB}, {"10.0.0.1": DNS, "10.0.0.2": WEB})
    builder = SnapshotBuilder(resolver)
    builder.build([request_row(1, count=3)], [], [], SECOND)
    builder.leave_out(EXCLUDED)
    snapshot = builder.build([request_row(1, count=10)], [], [], 2 * SECOND)
    assert [account.count for account in snapshot.edges] == [3]


@pytest.mark.parametrize(
    ("asking", "answering", "edges", "entities"),
    [(WEB, WEB, 1, 1), (WEB, DNS, 1, 0), (DNS, WEB, 0, 1), (DNS, DNS, 0, 0)],
)
@pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
def test_of_a_row_for_both_ends_each_has_its_part(
    asking: Party, answering: Party, edges: int, entities: int, role: Role
) -> None:
    resolver = FixedResolver({1: asking, 2: answering}, {"10.0.0.1": asking, "10.0.0.2": answering})
    builder = SnapshotBuilder(resolver)
    builder.leave_out(EXCLUDED)
    peer = SERVER if role is Role.CLIENT else CLIENT
    snapshot = builder.build([request_row(1, role, peer=peer)], [], [], SECOND)
    assert (len(snapshot.edges), len(snapshot.entities)) == (edges, entities)


def test_a_socket_of_an_excluded_namespace_tells_nothing_of_its_health() -> None:
    """What is measured there is nobody else's, whoever asked."""
    resolver = FixedResolver({1: WEB, 2: DNS}, {"10.0.0.1": WEB, "10.0.0.2": DNS})
    for scope, told in ((Scope(), 1), (EXCLUDED, 0)):
        builder = SnapshotBuilder(resolver)
        builder.leave_out(scope)
        assert len(builder.build([], [tcp_row(1, Role.SERVER)], [], SECOND).health) == told
