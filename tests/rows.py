# SPDX-License-Identifier: Apache-2.0
"""Rows as the shared table would give them, and a resolver with a fixed answer for each address."""

from collections.abc import Mapping
from typing import Any

from analyzers.resolver import NOT_FOUND_EXTERNAL, Party
from analyzers.rows import Identity, LastRequest, RequestKey, RequestRow, Role, Sample, TcpKey, TcpRow

SECOND = 10**9
OUTSIDE = Party(namespace=NOT_FOUND_EXTERNAL, outside=True, reason="outside")


def identity(index: int = 1, comm: str = "nginx", **fields: Any) -> Identity:
    values = {"generation": 1, "netns": 100, "cgroup_id": 7, "pid": 4000 + index} | fields
    return Identity(index=index, comm=comm, **values)


CLIENT = identity(1, "curl")
SERVER = identity(2, "nginx")


def request_row(index: int = 1, role: Role = Role.CLIENT, *, count: int = 1, **fields: Any) -> RequestRow:
    """One HTTP conversation of 10.0.0.1 with 10.0.0.2:80, told by the end that `role` says."""
    server = role is Role.SERVER
    local, remote = ("10.0.0.2", "10.0.0.1") if server else ("10.0.0.1", "10.0.0.2")
    key: dict[str, Any] = {
        "index": index,
        "generation": 1,
        "role": role,
        "protocol": "http",
        "l4": "tcp",
        "identity": SERVER if server else CLIENT,
        "peer": None,
        "local_ip": local,
        "local_port": 80 if server else 0,
        "remote_ip": remote,
        "remote_port": 0 if server else 80,
        "status": 200,
        "request_content": "/a",
        "response_content": "200",
        "is_error": False,
        "is_slow": False,
        "no_response": False,
        "overflow": False,
        "created_ns": 0,
        "method": "",
    }
    row: dict[str, Any] = {
        "duration_ns": count * 1000,
        "request_bytes": count * 10,
        "response_bytes": count * 100,
        "buckets": (count, 0, 0, 0, 0, 0, 0, 0, 0),
        "last": last(),
        "fine": (),
    }
    key |= {name: value for name, value in fields.items() if name in key}
    row |= {name: value for name, value in fields.items() if name in row}
    assert not set(fields) - set(key) - set(row), "no such field"
    return RequestRow(key=RequestKey(**key), count=count, **row)


def last(ended_ns: int = 0, duration_ns: int = 1000, **phases: int) -> LastRequest:
    values = {"connect_ns": 0, "request_ns": 100, "processing_ns": 700, "response_ns": 200} | phases
    return LastRequest(ended_ns=ended_ns, duration_ns=duration_ns, **values)


def tcp_row(index: int = 1, role: Role = Role.CLIENT, **fields: Any) -> TcpRow:
    """The health of 10.0.0.1 towards 10.0.0.2:80, or with `error` the result of its attempts to connect."""
    server = role is Role.SERVER
    key: dict[str, Any] = {
        "index": index,
        "generation": 1,
        "role": role,
        "identity": SERVER if server else CLIENT,
        "peer": None,
        "local_ip": "10.0.0.2" if server else "10.0.0.1",
        "local_port": 80 if server else 0,
        "remote_ip": "10.0.0.1" if server else "10.0.0.2",
        "remote_port": 0 if server else 80,
        "error": None,
        "overflow": False,
        "created_ns": 0,
    }
    row: dict[str, Any] = {
        "updated_ns": 1,
        "srtt_us": 0,
        "connects": 0,
        "connect_ns": 0,
        "retransmits": 0,
        "synack_retransmits": 0,
        "drops": 0,
        "resets_sent": 0,
        "resets_received": 0,
        "closed": 0,
    }
    key |= {name: value for name, value in fields.items() if name in key}
    row |= {name: value for name, value in fields.items() if name in row}
    assert not set(fields) - set(key) - set(row), "no such field"
    return TcpRow(key=TcpKey(**key), **row)


def sample(role: Role = Role.SERVER, **fields: Any) -> Sample:
    server = role is Role.SERVER
    values: dict[str, Any] = {
        "sequence": 1,
        "why": "new_edge",
        "role": role,
        "protocol": "http",
        "l4": "tcp",
        "identity": SERVER if server else CLIENT,
        "peer": None,
        "pid": 4001,
        "conn_id": 9,
        "local_ip": "10.0.0.2" if server else "10.0.0.1",
        "local_port": 80 if server else 40000,
        "remote_ip": "10.0.0.1" if server else "10.0.0.2",
        "remote_port": 40000 if server else 80,
        "status": 200,
        "is_error": False,
        "is_slow": False,
        "no_response": False,
        "start_ns": 5 * SECOND,
        "duration_ns": 7_000_000,
        "connect_ns": 0,
        "request_ns": 0,
        "processing_ns": 7_000_000,
        "response_ns": 0,
        "request_bytes": 10,
        "response_bytes": 100,
        "request_content": "/a",
        "response_content": "200",
        "request_text": "",
        "response_text": "",
        "trace_id": "",
        "parent_id": "",
    }
    return Sample(**(values | fields))


def pod(name: str, namespace: str = "shop", **fields: Any) -> Party:
    """A pod on this node with every name filled."""
    values: dict[str, Any] = {
        "node": "node-1",
        "namespace": namespace,
        "workload_kind": "deployment",
        "workload_name": name,
        "service": f"{name}-service",
        "pod": f"{name}-pod",
        "container": f"{name}-main",
        "container_id": "0123456789abcdef",
        "observed": True,
    }
    return Party(**(values | fields))


class FixedResolver:
    """Owners by identity index, addresses by text; whatever is not named is outside."""

    def __init__(self, owners: Mapping[int, Party] | None = None, addresses: Mapping[str, Party] | None = None) -> None:
        self.owners = dict(owners or {1: pod("client"), 2: pod("server")})
        self.addresses = dict(addresses or {"10.0.0.1": pod("client"), "10.0.0.2": pod("server")})
        self.services: dict[tuple[str, int], str] = {}
        self.answers = 1
        self.asked = 0

    def local(self, identity: Identity, ip: str, port: int) -> Party:
        self.asked += 1
        return self.owners[identity.index]

    def remote(self, ip: str, port: int, netns: int, at_ns: int = 0) -> Party:
        self.asked += 1
        return self.addresses.get(ip, OUTSIDE)

    def service(self, ip: str, port: int) -> str:
        return self.services.get((ip, port), "")

    def bound_address(self, remote_ip: str, netns: int) -> str:
        return "10.9.9.9"

    def version(self) -> int:
        return self.answers
