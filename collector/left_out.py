# SPDX-License-Identifier: Apache-2.0
"""What `firesteel explain` says of an address that `scope` leaves out: else its silence looks like a fault."""

from collections.abc import Iterator

from analyzers.resolver import Party
from collector.schema import Scope


def left_out(party: Party, port: int, scope: Scope) -> Iterator[str]:
    """One sentence per key that leaves it out, or may."""
    if port in scope.exclude_ports:
        yield f"port {port} is excluded by scope.exclude_ports: its new conversations are not observed"
    if party.workload_kind == "process" and party.workload_name in scope.exclude_comms:
        yield f"process {party.workload_name} is excluded by scope.exclude_comms"
    elif party.reason == "no_owner_seen" and scope.exclude_comms:
        yield f"scope.exclude_comms leaves out these processes, of which it may be one: {', '.join(scope.exclude_comms)}"
    if party.namespace in scope.exclude_namespaces:
        yield f"namespace {party.namespace} is excluded by scope.exclude_namespaces"
    if (workload := f"{party.namespace}/{party.workload_name}") in scope.exclude_workloads:
        yield f"workload {workload} is excluded by scope.exclude_workloads"
