# SPDX-License-Identifier: Apache-2.0
"""Who asked whom: which row makes the edge, which one the entity, and what is shown where little is known."""

from dataclasses import replace

import pytest

from analyzers.edges import UNKNOWN_ADDRESS, Edge, draws_edge, edge_of, name_ends, status_code
from analyzers.entities import entity_of
from analyzers.health import tcp_labels
from analyzers.resolver import Party
from analyzers.rows import RequestRow, Role
from tests.rows import CLIENT, OUTSIDE, SERVER, FixedResolver, pod, request_row, tcp_row

RESOLVER = FixedResolver()
EDGE = Edge(pod("client"), pod("server"), "10.0.0.1", "10.0.0.2", 80, "10.0.0.2", 80, "http", "tcp")


def described(
    row: RequestRow, resolver: FixedResolver = RESOLVER
) -> tuple[Edge | None, bool, tuple[str, str, int] | None]:
    """The edge, whether this row makes it, and the entity in short."""
    ends = name_ends(row.key, resolver)
    entity = entity_of(row.key, ends)
    short = (entity.party.workload_name, entity.ip, entity.port) if entity else None
    return edge_of(row.key, ends, row.key.protocol, row.key.l4), draws_edge(row.key, ends), short


def test_the_client_makes_the_edge_and_no_entity() -> None:
    assert described(request_row(role=Role.CLIENT)) == (EDGE, True, None)


def test_the_server_makes_the_entity_and_leaves_the_edge_to_an_observed_client() -> None:
    assert described(request_row(role=Role.SERVER)) == (EDGE, False, ("server", "10.0.0.2", 80))


def test_the_server_makes_the_edge_of_a_client_that_nobody_sees() -> None:
    edge, draws, entity = described(request_row(role=Role.SERVER, remote_ip="203.0.113.9"))
    assert edge == replace(EDGE, src=OUTSIDE, src_ip="203.0.113.9")
    assert (draws, entity) == (True, ("server", "10.0.0.2", 80))


def test_the_server_makes_the_edge_of_a_pod_on_a_node_without_an_agent() -> None:
    resolver = FixedResolver(addresses={"10.0.0.1": pod("client", observed=False)})
    assert described(request_row(role=Role.SERVER), resolver)[1]


@pytest.mark.parametrize("role", [Role.SERVER, Role.CLIENT])
def test_one_row_for_both_ends_makes_the_edge_and_the_entity(role: Role) -> None:
    peer = CLIENT if role is Role.SERVER else SERVER
    resolver = FixedResolver(addresses={"unused": Party()})
    assert described(request_row(role=role, peer=peer), resolver) == (EDGE, True, ("server", "10.0.0.2", 80))


def test_an_unknown_direction_makes_nothing() -> None:
    row = request_row(role=Role.UNKNOWN, local_port=4000, remote_port=5000)
    assert described(row) == (None, False, None)


@pytest.mark.parametrize("wildcard", ["", "::", "0.0.0.0"])
def test_a_socket_bound_to_none_has_the_address_towards_its_peer(wildcard: str) -> None:
    edge, _, entity = described(request_row(role=Role.SERVER, local_ip=wildcard))
    assert edge is not None
    assert (edge.dst_ip, edge.dialled_ip, entity) == ("10.9.9.9", "10.9.9.9", ("server", "10.9.9.9", 80))


def test_a_peer_that_the_kernel_did_not_show_is_unknown_and_not_outside() -> None:
    edge, draws, _ = described(request_row(role=Role.CLIENT, remote_ip="::"))
    assert edge is not None
    assert (edge.dst_ip, edge.dst.namespace, edge.dst.outside, edge.dst.reason) == (
        UNKNOWN_ADDRESS,
        "",
        False,
        "peer_unknown",
    )
    assert draws


@pytest.mark.parametrize(
    ("protocol", "status", "no_response", "expected"),
    [
        ("http", 404, False, "404"),
        ("http", 0, True, ""),
        ("dns", 0, False, "0"),
        ("dns", 3, False, "3"),
        ("dns", 0, True, ""),
        ("NOSUPPORT", 0, False, ""),
        ("grpc", 0, False, "0"),
    ],
)
def test_status_code(protocol: str, status: int, no_response: bool, expected: str) -> None:
    assert status_code(request_row(protocol=protocol, status=status, no_response=no_response).key) == expected


def test_one_of_too_many_answers_has_no_status() -> None:
    """Its 0 would be that of success."""
    assert status_code(request_row(protocol="mysql", status=0, response_content="other", is_error=True).key) == ""


def test_tcp_goes_from_the_local_socket_whichever_side_asked() -> None:
    client, server = tcp_row(role=Role.CLIENT), tcp_row(role=Role.SERVER)
    told = tcp_labels(client.key, name_ends(client.key, RESOLVER))
    assert (told.src_ip, told.src_port, told.dst_ip, told.dst_port, told.errno) == ("10.0.0.1", 0, "10.0.0.2", 80, None)
    told = tcp_labels(server.key, name_ends(server.key, RESOLVER))
    assert (told.src_ip, told.src_port, told.dst_ip, told.dst_port) == ("10.0.0.2", 80, "10.0.0.1", 0)


@pytest.mark.parametrize(("port", "shown"), [(32767, 32767), (32768, 0), (60999, 0)])
def test_a_port_of_the_kernels_choice_is_blank(port: int, shown: int) -> None:
    row = tcp_row(remote_port=port)
    assert tcp_labels(row.key, name_ends(row.key, RESOLVER)).dst_port == shown


def test_only_attempts_to_connect_tell_the_process() -> None:
    health, attempt = tcp_row(), tcp_row(error=111)
    assert tcp_labels(health.key, name_ends(health.key, RESOLVER)).comm == ""
    told = tcp_labels(attempt.key, name_ends(attempt.key, RESOLVER))
    assert (told.errno, told.pid, told.comm) == (111, 4001, "curl")
