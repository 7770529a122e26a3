# SPDX-License-Identifier: Apache-2.0
"""The addresses of this host: of all its interfaces, in its own network namespace and in those of its processes.

Read from /proc/PID/net, which needs no privilege. IPv4 from the routing trie (each address is a `/32 host LOCAL` leaf),
IPv6 from if_inet6.
"""

import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final

NAMESPACE_LIMIT: Final = 1024
ROUTE_CACHE_LIMIT: Final = 4096
KEPT_REFRESHES: Final = 10
_DISCARD_PORT: Final = 9


class HostAddresses:
    """Answers from memory; `refresh` reads, and belongs in a thread."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._own = self._namespace()
        self._by_netns: dict[int, frozenset[str]] = {}
        self._all: frozenset[str] = frozenset()
        self._misses: dict[int, int] = {}
        self._routes: dict[str, str] = {}

    def refresh(self, processes: Mapping[int, int]) -> bool:
        """Read again. `processes` has one process for each network namespace (its inode number). True if any address came
        or went. A namespace whose process is gone is kept for some refreshes: another process may be seen in it."""
        found: dict[int, frozenset[str]] = {}
        for netns, pid in list(processes.items())[-NAMESPACE_LIMIT:]:
            addresses = frozenset(self._read(str(pid)))
            misses = 0 if addresses else self._misses.get(netns, 0) + 1
            self._misses[netns] = misses
            if misses <= KEPT_REFRESHES:
                found[netns] = addresses or self._by_netns.get(netns, frozenset())
        self._misses = {netns: self._misses[netns] for netns in found}
        found[self._own] = frozenset(self._read("self"))
        everywhere = frozenset(address for addresses in found.values() for address in addresses)
        changed = everywhere != self._all
        self._by_netns, self._all = found, everywhere
        if changed:
            self._routes = {}
        return changed

    def contains(self, ip: str) -> bool:
        """Whether this is an address of this host; every loopback address is."""
        return ip in self._all or is_loopback(ip)

    def reaches_us(self, ip: str, netns: int) -> bool:
        """Whether whoever talks to this address from that network namespace talks to our own."""
        if is_loopback(ip):
            return netns == self._own
        return ip in self._by_netns.get(self._own, ())

    def towards(self, remote_ip: str, netns: int) -> str:
        """The address that a socket bound to none has for this peer. The rule, first that applies: loopback for a peer on
        loopback; the peer's own address if that is one of ours, since the kernel uses one address for both; an address
        of the socket's network namespace, if that is not the host's; what the routing table says; loopback."""
        family = _family(remote_ip)
        loopback = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        if is_loopback(remote_ip):
            return loopback
        if remote_ip in self._all:
            return remote_ip
        if netns != self._own:
            known = sorted(ip for ip in self._by_netns.get(netns, ()) if _usable(ip, family))
            if known:
                return known[0]
        address = self._routes.get(remote_ip)
        if address is None:
            if len(self._routes) >= ROUTE_CACHE_LIMIT:
                self._routes = {}
            address = self._routes[remote_ip] = _source_address(remote_ip, family) or loopback
        return address

    def _namespace(self) -> int:
        try:
            return (self._proc / "self" / "ns" / "net").stat().st_ino
        except OSError:
            return 0

    def _read(self, process: str) -> Iterator[str]:
        """Nothing for a process that has ended; only the other family's where one is switched off."""
        net = self._proc / process / "net"
        with suppress(OSError):
            yield from _local_ipv4((net / "fib_trie").read_text())
        with suppress(OSError):
            for line in (net / "if_inet6").read_text().splitlines():
                yield str(IPv6Address(int(line.split()[0], 16)))


def _local_ipv4(trie: str) -> Iterator[str]:
    address = ""
    for line in trie.splitlines():
        text = line.strip()
        if text.startswith("|-- "):
            address = text[4:]
        elif text == "/32 host LOCAL" and address:
            yield address


@lru_cache(maxsize=4096)
def is_loopback(ip: str) -> bool:
    try:
        return ip_address(ip).is_loopback
    except ValueError:
        return False


def _family(ip: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in ip and ip != "::" else socket.AF_INET


def _usable(ip: str, family: socket.AddressFamily) -> bool:
    return _family(ip) == family and not is_loopback(ip) and not ip.startswith("fe80:")


def _source_address(remote_ip: str, family: socket.AddressFamily) -> str:
    """What the kernel would send from. Connecting a datagram socket looks up the route and sends nothing."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((remote_ip, _DISCARD_PORT))
            return str(probe.getsockname()[0])
    except (OSError, ValueError):
        return ""
