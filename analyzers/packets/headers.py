# SPDX-License-Identifier: Apache-2.0
"""From a captured packet to the TCP segment or UDP datagram in it: link layer, IPv4 or IPv6, fragments put together.

Lengths come from the headers, so that a packet that was cut short by the capture still counts for all of its bytes.
Link layers: https://www.tcpdump.org/linktypes.html.
"""

from collections import Counter
from struct import Struct
from typing import Final, NamedTuple

from analyzers.packets import files
from analyzers.packets.fragments import Fragments

TCP, UDP = 6, 17
_IPV4, _IPV6 = 0x0800, 0x86DD
_TAGS: Final = frozenset({0x8100, 0x88A8, 0x9100})
"""VLAN, and QinQ as IEEE 802.1ad and as before it."""
_TAGS_MAX: Final = 8
_EXTENSIONS_MAX: Final = 16
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION, _MOBILITY = 0, 43, 44, 51, 60, 135
_EXTENSIONS: Final = frozenset({_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION, _MOBILITY})
_OTHER_PROTOCOLS: Final = {1: "ICMP", 2: "IGMP", 47: "GRE", 50: "ESP", 58: "ICMPv6", 132: "SCTP"}

_IPV4_HEAD: Final = Struct("!BxHHHxB")  # version and length, total length, identification, fragment, protocol
_IPV6_HEAD: Final = Struct("!4xHB")  # payload length, next header

NOT_IP: Final = "packets that are not IP"
DAMAGED: Final = "packets with a damaged header"
CUT_HEADER: Final = "packets cut short inside their headers: raise the capture's snaplen"


class Transport(NamedTuple):
    """What IP carried. `addresses` are source and destination in network order (8 or 32 bytes).

    `data` are the captured bytes of `length`, from the TCP or UDP header on.
    """

    protocol: int
    addresses: bytes
    data: bytes
    length: int


class Headers:
    """Reads one packet after the other. `skipped` counts by sentence what holds no TCP and no UDP."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self.fragments = Fragments()

    def read(self, packet: files.Packet) -> Transport | None:
        """What the packet carries; for a fragment None until the last one of its packet has come."""
        start, kind = _link_header(packet)
        if kind == _IPV4:
            return self._ipv4(packet, start)
        if kind == _IPV6:
            return self._ipv6(packet, start)
        self.skipped[CUT_HEADER if start > len(packet.data) else NOT_IP] += 1
        return None

    def place(self, packet: files.Packet) -> int:
        """Where a packet was seen: one that was routed or bridged through this machine may have been seen twice."""
        if packet.link == files.LINUX_SLL:
            return packet.place << 8 | packet.data[1] if len(packet.data) > 1 else packet.place
        if packet.link == files.LINUX_SLL2 and len(packet.data) > 10:
            return int.from_bytes(packet.data[4:8], "big") << 8 | packet.data[10]
        return packet.place

    def _ipv4(self, packet: files.Packet, start: int) -> Transport | None:
        """RFC 791."""
        data = packet.data
        if len(data) < start + 20:
            self.skipped[CUT_HEADER] += 1
            return None
        first, total, identification, fragment, protocol = _IPV4_HEAD.unpack_from(data, start)
        head = (first & 15) * 4
        # A segment that the sender's hardware was still to divide may be too long for the field, which then is 0.
        total = min(total, packet.length - start) if total else packet.length - start
        if first >> 4 != 4 or head < 20 or total < head:
            self.skipped[DAMAGED] += 1
            return None
        addresses = data[start + 12 : start + 20]
        carried = data[start + head : start + total]
        if fragment & 0x3FFF:
            key = (addresses, identification, protocol)
            at, more = (fragment & 0x1FFF) * 8, bool(fragment & 0x2000)
            return self._fragment(packet, key, protocol, at, more, carried, total - head)
        return self._known(Transport(protocol, addresses, carried, total - head))

    def _ipv6(self, packet: files.Packet, start: int) -> Transport | None:
        """RFC 8200."""
        data = packet.data
        if len(data) < start + 40:
            self.skipped[CUT_HEADER] += 1
            return None
        length, protocol = _IPV6_HEAD.unpack_from(data, start)
        addresses = data[start + 8 : start + 40]
        at = start + 40
        # A jumbogram (RFC 2675), also as segmentation offload shows it, has 0 here.
        end = min(at + length, packet.length) if length else packet.length
        if data[start] >> 4 != 6:
            self.skipped[DAMAGED] += 1
            return None
        for _ in range(_EXTENSIONS_MAX):
            if protocol not in _EXTENSIONS:
                return self._known(Transport(protocol, addresses, data[at:end], end - at))
            if len(data) < at + 8 or at + 8 > end:
                break
            following = data[at]
            if protocol == _FRAGMENT:
                place = int.from_bytes(data[at + 2 : at + 4], "big")
                key = (addresses, int.from_bytes(data[at + 4 : at + 8], "big"), following)
                carried = data[at + 8 : end]
                return self._fragment(packet, key, following, place & ~7, bool(place & 1), carried, end - at - 8)
            at += (data[at + 1] + 2) * 4 if protocol == _AUTHENTICATION else (data[at + 1] + 1) * 8
            protocol = following
            if at > end:
                break
        self.skipped[CUT_HEADER if packet.length > len(data) else DAMAGED] += 1
        return None

    def _fragment(
        self,
        packet: files.Packet,
        key: tuple[bytes, int, int],
        protocol: int,
        at: int,
        more: bool,
        carried: bytes,
        length: int,
    ) -> Transport | None:
        whole = self.fragments.add(packet.time_ns, (*key, self.place(packet)), at, more, carried, length)
        return self._known(Transport(protocol, key[0], *whole)) if whole is not None else None

    def _known(self, transport: Transport) -> Transport | None:
        protocol = transport.protocol
        if protocol in {TCP, UDP}:
            return transport
        name = _OTHER_PROTOCOLS.get(protocol)
        self.skipped[f"packets of {name}" if name else "packets of other IP protocols"] += 1
        return None


def _link_header(packet: files.Packet) -> tuple[int, int]:
    """Where IP begins, and which; 0 if this is no IP."""
    data, link = packet.data, packet.link
    if link == files.ETHERNET:
        return _ethernet(data)
    if link in {files.RAW, files.IPV4, files.IPV6}:
        return 0, {4: _IPV4, 6: _IPV6}.get(data[0] >> 4, 0) if data else 0
    if link in {files.NULL, files.LOOP}:
        return 4, _family(data)
    if link == files.LINUX_SLL:
        return _tagged(data, 14)
    kind = int.from_bytes(data[0:2], "big")
    return _tagged(data, 22) if kind in _TAGS else (20, kind)


def _ethernet(data: bytes) -> tuple[int, int]:
    kind = int.from_bytes(data[12:14], "big")
    return (14, kind) if kind in {_IPV4, _IPV6} else _tagged(data, 12)


def _tagged(data: bytes, at: int) -> tuple[int, int]:
    """From an Ethernet type on, over the tags that precede the real one."""
    for _ in range(_TAGS_MAX):
        kind = int.from_bytes(data[at : at + 2], "big")
        if kind not in _TAGS:
            return at + 2, kind
        at += 4
    return at, 0


def _family(data: bytes) -> int:
    """The kind of IP after a loopback header: the sender's AF_INET, or one of the AF_INET6 of the various systems.

    In the order of bytes of the machine that captured, which need not be the file's.
    """
    if len(data) < 4:
        return 0
    number = min(int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big"))
    return {2: _IPV4, 10: _IPV6, 24: _IPV6, 28: _IPV6, 30: _IPV6}.get(number, 0)
