# SPDX-License-Identifier: Apache-2.0
"""Where a pod is found: at addresses of its own, at ports of its node's, and by whatever else an answer about it was asked with."""

from typing import TypeAlias, TypeVar

from collector.metadata.kube_objects import PodRecord

Place: TypeAlias = str | tuple[str, int]
"""An address of a pod's own, or a port at its node's address."""
_P = TypeVar("_P", str, int, tuple[str, int])


def own_addresses(pod: PodRecord) -> tuple[str, ...]:
    """None with hostNetwork: it shares its node's."""
    return () if pod.host_network else pod.addresses


def host_places(pod: PodRecord) -> tuple[tuple[str, int], ...]:
    """Ports at its node's addresses that are its own."""
    return tuple((address, port) for address in pod.host_addresses for port in pod.host_ports)


def places(pod: PodRecord) -> frozenset[Place]:
    """Both."""
    return frozenset((*own_addresses(pod), *host_places(pod)))


def keys_of(pod: PodRecord) -> tuple[object, ...]:
    """Everything by which an answer about this pod may have been asked for."""
    return (
        pod.uid, *pod.cgroup_uids, *pod.addresses, *(container for container, _ in pod.containers), *host_places(pod),
    )  # fmt: skip


def leave(table: dict[_P, list[str]], place: _P, uid: str) -> None:
    """Takes one out of those at a place; a place without any is gone from the table."""
    left = [other for other in table.get(place, ()) if other != uid]
    if left:
        table[place] = left
    else:
        table.pop(place, None)
