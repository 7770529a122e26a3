# SPDX-License-Identifier: Apache-2.0
"""Translations of addresses as /proc/net/nf_conntrack lists them, for a node on which no probe may be loaded.

To dump conntrack over netlink takes CAP_NET_ADMIN; the file takes no capability, but belongs to root (mode 0440). So it is
opened at the start, while the agent is root, and read again through that descriptor when it is not any more.
Format: seq_print of net/netfilter/nf_conntrack_standalone.c (CONFIG_NF_CONNTRACK_PROCFS).
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import BinaryIO, Final

from probes.sockets import SeenSocket

ENTRY_LIMIT: Final = 262144
"""Entries that one reading looks at: more than that would take seconds."""

_Tuple = tuple[str, int, str, int]
_End = tuple[str, int]


@dataclass(slots=True)
class TranslationLister:
    """Who really answers a connection whose address was translated. One call of `applied` at a time."""

    fault: str = ""
    """Why translations are not known; empty if they are."""
    left_out: int = 0
    """Entries beyond the limit in the newest reading."""
    _file: BinaryIO | None = None

    @classmethod
    def opened(cls, proc: Path = Path("/proc")) -> "TranslationLister":
        """Of the own network namespace. Raises nothing: what is in the way is its `fault`."""
        path = proc / "self" / "net" / "nf_conntrack"
        try:
            return cls(_file=path.open("rb"))
        except OSError as error:
            return cls(fault=f"{path}: {error.strerror}")

    def applied(self, sockets: Iterable[SeenSocket]) -> list[SeenSocket]:
        """The sockets, those that dialled a translated address with the address that answers."""
        listed = list(sockets)
        found = self._read({_ends(seen) for seen in listed})
        return [_translated(seen, found.get(_ends(seen))) for seen in listed]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self, wanted: set[_Tuple]) -> dict[_Tuple, _End]:
        """By both ends as the client has them: who answers. Only those that are wanted: most entries are of no use here."""
        found: dict[_Tuple, _End] = {}
        self.left_out = 0
        if self._file is None:
            return found
        try:
            self._file.seek(0, os.SEEK_SET)
            for number, line in enumerate(self._file):
                if number >= ENTRY_LIMIT:
                    self.left_out += 1
                elif (entry := _from_line(line)) is not None and entry[0] in wanted:
                    found[entry[0]] = entry[1]
            self.fault = ""
        except OSError as error:
            self.fault = f"nf_conntrack cannot be read: {error.strerror}"
        return found


def _ends(seen: SeenSocket) -> _Tuple:
    return (seen.local_ip, seen.local_port, seen.remote_ip, seen.remote_port)


def _translated(seen: SeenSocket, answers: _End | None) -> SeenSocket:
    if answers is None:
        return seen
    ip, port = answers
    return replace(seen, remote_ip=ip, remote_port=port, dialled_ip=seen.remote_ip, dialled_port=seen.remote_port)


def _from_line(line: bytes) -> tuple[_Tuple, _End] | None:
    """The tuple of the client and who answers, if that is somebody else than it dialled; None for any other line.

    Each entry has src, dst, sport and dport twice: as the client sent it, and as the answer comes.
    """
    if b" tcp " not in line:
        return None
    values: dict[bytes, list[bytes]] = {}
    for field in line.split():
        name, equals, value = field.partition(b"=")
        if equals:
            values.setdefault(name, []).append(value)
    try:
        sources, targets = values[b"src"], values[b"dst"]
        from_ports, to_ports = values[b"sport"], values[b"dport"]
        if (sources[1], from_ports[1]) == (targets[0], to_ports[0]):
            return None
        ends = (_address(sources[0]), int(from_ports[0]), _address(targets[0]), int(to_ports[0]))
        return ends, (_address(sources[1]), int(from_ports[1]))
    except (KeyError, IndexError, ValueError):
        return None


def _address(text: bytes) -> str:
    """The file writes IPv6 with every zero; sockets have the short form."""
    return str(ip_address(text.decode())) if b":" in text else text.decode()
