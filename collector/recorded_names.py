# SPDX-License-Identifier: Apache-2.0
"""Names out of a recording alone: what this machine knows of its own processes and addresses says nothing about another.

A process stands for its workload. An address is internal when a socket of the recording had it, or when it is loopback.
"""

import ipaddress
from collections.abc import Iterable

from analyzers.resolver import NOT_FOUND_EXTERNAL, NOT_FOUND_INTERNAL, Party
from analyzers.rows import Identity, RequestRow, TcpRow


class RecordedNames:
    """A Resolver. `learn` takes the addresses of the recorded machine out of its rows."""

    def __init__(self) -> None:
        self._own: set[str] = set()
        self._version = 0
        self._parties: dict[str, Party] = {}

    def learn(self, rows: Iterable[RequestRow | TcpRow]) -> None:
        """Call before naming; what is new makes earlier answers outdated."""
        found = {row.key.local_ip for row in rows if row.key.local_ip not in {"::", "0.0.0.0"}}  # noqa: S104 - compared
        if not found <= self._own:
            self._own |= found
            self._version += 1
            self._parties.clear()

    def local(self, identity: Identity, ip: str, port: int) -> Party:  # noqa: ARG002 - the Resolver's signature
        if not identity.comm:
            return Party(namespace=NOT_FOUND_INTERNAL, reason="process_unknown")
        return Party(namespace=NOT_FOUND_INTERNAL, workload_kind="process", workload_name=identity.comm)

    def remote(self, ip: str, port: int, netns: int) -> Party:  # noqa: ARG002 - the Resolver's signature
        party = self._parties.get(ip)
        if party is None:
            party = self._parties[ip] = self._place(ip)
        return party

    def bound_address(self, remote_ip: str, netns: int) -> str:  # noqa: ARG002 - the Resolver's signature
        """Loopback for loopback, else the first recorded address of the same family."""
        v6 = ":" in remote_ip
        same = sorted(ip for ip in self._own if (":" in ip) == v6 and not _loopback(ip))
        if same and not _loopback(remote_ip):
            return same[0]
        return "::1" if v6 else "127.0.0.1"

    def version(self) -> int:
        return self._version

    def explained(self, ip: str) -> tuple[str, ...]:
        """The steps that led to `remote`'s answer."""
        if ip in self._own:
            return ("a socket of the recorded machine had this address",)
        if _loopback(ip):
            return ("this is a loopback address",)
        return ("no socket of the recorded machine had this address, so it is outside of it",)

    def _place(self, ip: str) -> Party:
        if ip in self._own or _loopback(ip):
            return Party(namespace=NOT_FOUND_INTERNAL, reason="recording")
        return Party(namespace=NOT_FOUND_EXTERNAL, outside=True, reason="recording")


def _loopback(ip: str) -> bool:
    try:
        return ipaddress.ip_address(ip).is_loopback
    except ValueError:
        return False
