# SPDX-License-Identifier: Apache-2.0
"""Names out of a recording alone: what this machine knows of its own processes and addresses says nothing about another.

A process stands for its workload. An address is internal when a socket of the recording had it, or when it is loopback;
with the port of a server of the recording it has that server's name.
"""

from collections.abc import Iterable

from analyzers.resolver import NOT_FOUND_EXTERNAL, NOT_FOUND_INTERNAL, Party
from analyzers.rows import Identity, RequestRow, Role, TcpRow
from analyzers.table import SampleBatch
from collector.metadata.addresses import is_loopback
from collector.table_view import RowSource

_Place = tuple[str, int, int]  # address, port, and for loopback its network namespace


class RecordedNames:
    """A Resolver. `learn` takes the addresses of the recorded machine out of its rows."""

    def __init__(self) -> None:
        self._own: set[str] = set()
        self._servers: dict[_Place, str] = {}
        self._version = 0

    def learn(self, rows: Iterable[RequestRow | TcpRow]) -> None:
        """Call before naming; what is new makes earlier answers outdated."""
        known = len(self._own) + len(self._servers)
        for row in rows:
            key = row.key
            if key.overflow or key.local_ip in {"::", "0.0.0.0"}:  # noqa: S104 - compared
                continue
            self._own.add(key.local_ip)
            if key.role is Role.SERVER and key.identity.comm:
                self._servers.setdefault(_place(key.local_ip, key.local_port, key.identity.netns), key.identity.comm)
        self._version += len(self._own) + len(self._servers) > known

    def local(self, identity: Identity, ip: str, port: int) -> Party:  # noqa: ARG002 - the Resolver's signature
        if not identity.comm:
            return Party(namespace=NOT_FOUND_INTERNAL, reason="process_unknown")
        return Party(namespace=NOT_FOUND_INTERNAL, workload_kind="process", workload_name=identity.comm)

    def remote(self, ip: str, port: int, netns: int, at_ns: int = 0) -> Party:  # noqa: ARG002 - the Resolver's signature
        if comm := self._servers.get(_place(ip, port, netns)):
            return Party(namespace=NOT_FOUND_INTERNAL, workload_kind="process", workload_name=comm)
        if ip in self._own or is_loopback(ip):
            return Party(namespace=NOT_FOUND_INTERNAL, reason="recording")
        return Party(namespace=NOT_FOUND_EXTERNAL, outside=True, reason="recording")

    def service(self, ip: str, port: int) -> str:  # noqa: ARG002 - the Resolver's signature
        """A recording has no translations."""
        return ""

    def bound_address(self, remote_ip: str, netns: int) -> str:  # noqa: ARG002 - the Resolver's signature
        """Loopback for loopback, else the first recorded address of the same family."""
        v6 = ":" in remote_ip
        same = sorted(ip for ip in self._own if (":" in ip) == v6 and not is_loopback(ip))
        if same and not is_loopback(remote_ip):
            return same[0]
        return "::1" if v6 else "127.0.0.1"

    def version(self) -> int:
        return self._version

    def explained(self, ip: str) -> tuple[str, ...]:
        """The steps that led to `remote`'s answer."""
        if ip in self._own:
            return ("a socket of the recorded machine had this address",)
        if is_loopback(ip):
            return ("this is a loopback address",)
        return ("no socket of the recorded machine had this address, so it is outside of it",)


class RecordedRows:
    """A RowSource: the table of a recording. Its engine writes while it is read, so names are learned from each row
    in the reading that shows it: a row shown before would be named as if its machine had no address."""

    def __init__(self, table: RowSource, names: RecordedNames) -> None:
        self._table = table
        self._names = names

    def requests(self) -> list[RequestRow]:
        rows = self._table.requests()
        self._names.learn(rows)
        return rows

    def tcp(self) -> list[TcpRow]:
        rows = self._table.tcp()
        self._names.learn(rows)
        return rows

    def samples_since(self, sequence: int) -> SampleBatch:
        return self._table.samples_since(sequence)


def _place(ip: str, port: int, netns: int) -> _Place:
    return (ip, port, netns if is_loopback(ip) else 0)
