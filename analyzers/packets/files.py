# SPDX-License-Identifier: Apache-2.0
"""The two file formats of packet captures, one packet at a time and nothing kept.

pcap: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html
pcapng: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html

dpkt has the layouts of both in either byte order. Its own readers are not used: they forget how long a cut packet was,
give times as floats and believe every length that a damaged file claims.
"""

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import dpkt.pcap
import dpkt.pcapng
from dpkt import Error as MalformedBlock

from analyzers.recording import RecordingError

SECOND: Final = 1_000_000_000
PACKET_BYTES_MAX: Final = 1 << 24
"""More than any interface gives at once; a length beyond it is a damaged file."""

NULL, ETHERNET, RAW, LOOP, LINUX_SLL, IPV4, IPV6, LINUX_SLL2 = 0, 1, 101, 108, 113, 228, 229, 276
_SAME_LINKS: Final = {12: RAW, 14: RAW}
"""Raw IP as some systems number it: https://www.tcpdump.org/linktypes.html."""
LINKS: Final = {
    NULL: "BSD loopback",
    ETHERNET: "Ethernet",
    RAW: "raw IP",
    LOOP: "OpenBSD loopback",
    LINUX_SLL: "Linux cooked v1",
    IPV4: "raw IPv4",
    IPV6: "raw IPv6",
    LINUX_SLL2: "Linux cooked v2",
}
"""Link types that are read, by number."""

_PCAP_MAGICS: Final = {
    b"\xa1\xb2\xc3\xd4": 1000,
    b"\xd4\xc3\xb2\xa1": 1000,
    b"\xa1\xb2\x3c\x4d": 1,
    b"\x4d\x3c\xb2\xa1": 1,
    b"\xa1\xb2\xcd\x34": 1000,
    b"\x34\xcd\xb2\xa1": 1000,
}
"""First bytes of a pcap file, and how many nanoseconds a unit of its times' lower half is."""
_PCAPNG_MAGIC: Final = b"\x0a\x0d\x0d\x0a"
_COMPRESSED: Final = {b"\x1f\x8b": "gunzip", b"\x28\xb5\x2f\xfd": "unzstd", b"\xfd7zXZ": "unxz", b"BZh": "bunzip2"}

_INTERFACE_BYTES: Final = 20
"""Of the block that describes one, without options."""
_AGAIN: Final = "capture again, or let `editcap -F pcapng FILE NEW` keep what can be read"


class CaptureFault(RecordingError):
    """A capture that cannot be read (on) from `offset`; what came before is as good as if the file ended there."""


class Packet(NamedTuple):
    """`data` is what was captured of `length` bytes. `place` tells interfaces of one file apart."""

    time_ns: int
    link: int
    place: int
    data: bytes
    length: int


@dataclass(frozen=True, slots=True)
class _Interface:
    """Of a pcapng section: how its packets begin, and what its clock counts."""

    link: int
    units_per_second: int
    offset_ns: int


def capture_format(start: bytes) -> str:
    """What a file that begins with these 8 bytes is: pcap, pcapng, or empty for neither."""
    if start[:4] == _PCAPNG_MAGIC:
        return "pcapng"
    return "pcap" if start[:4] in _PCAP_MAGICS else ""


def compressed_by(start: bytes) -> str:
    """The program that unpacks a file that begins with these 8 bytes; empty if it is not packed."""
    return next((program for magic, program in _COMPRESSED.items() if start.startswith(magic)), "")


class CaptureFile:
    """One open capture. `skipped` counts, by sentence, blocks of the file that hold no usable packet."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, and CaptureFault if this is no capture, or one without a single whole packet before its fault."""
        self.path = path
        self.skipped: Counter[str] = Counter()
        self._file: BinaryIO = path.open("rb", buffering=1 << 20)
        try:
            start = self._file.read(8)
            self._file.seek(0)
            self.format = capture_format(start)
            if not self.format:
                raise self._fault(0, "not a packet capture", "give a pcap or pcapng file")
            self._packets = self._pcap() if self.format == "pcap" else self._pcapng()
            self._first = next(self._packets, None)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def packets(self) -> Iterator[Packet]:
        """In the order of the file, once. Raises CaptureFault where it is damaged or cut off, and OSError."""
        if self._first is not None:
            yield self._first
        yield from self._packets

    # --- pcap

    def _pcap(self) -> Iterator[Packet]:
        magic = self._file.read(4)
        self._file.seek(0)
        number = int.from_bytes(magic, "big")
        swapped = number in {dpkt.pcap.PMUDPCT_MAGIC, dpkt.pcap.PMUDPCT_MAGIC_NANO, dpkt.pcap.PACPDOM_MAGIC}
        layout: Any = dpkt.pcap.LEFileHdr if swapped else dpkt.pcap.FileHdr
        raw = self._file.read(layout.__hdr_len__)
        if len(raw) < layout.__hdr_len__:
            raise self._fault(len(raw), "the file ends inside its head (truncated)", "capture again")
        head = layout(raw)
        if head.v_major != dpkt.pcap.PCAP_VERSION_MAJOR:
            raise self._fault(4, f"pcap of version {head.v_major}.{head.v_minor}, which is not read", _AGAIN)
        link = self._link(head.linktype & 0xFFFF, 20)  # the upper bits tell about a frame check sequence
        record: Any = dpkt.pcap.MAGIC_TO_PKT_HDR[number]
        yield from self._records(record, link, _PCAP_MAGICS[magic], max(head.snaplen, 1 << 18))

    def _records(self, record: Any, link: int, unit_ns: int, longest: int) -> Iterator[Packet]:
        size, read = record.__hdr_len__, self._file.read
        longest = min(longest, PACKET_BYTES_MAX)
        while raw := read(size):
            if len(raw) < size:
                raise self._cut_off(self._file.tell() - len(raw))
            head = record(raw)
            captured = head.caplen
            if captured > longest or head.tv_usec * unit_ns >= SECOND:
                at = self._file.tell() - size
                raise self._fault(at, f"no packet ({captured} bytes of {head.len}): damaged", _AGAIN)
            data = read(captured)
            if len(data) < captured:
                raise self._cut_off(self._file.tell() - len(data) - size)
            yield Packet(head.tv_sec * SECOND + head.tv_usec * unit_ns, link, 0, data, max(head.len, captured))

    # --- pcapng

    def _pcapng(self) -> Iterator[Packet]:
        interfaces: list[_Interface | None] = []
        order = "<"
        for at, kind, raw in self._blocks():
            try:
                if kind == dpkt.pcapng.PCAPNG_BT_SHB:
                    order = "<" if raw[8:12] == b"\x4d\x3c\x2b\x1a" else ">"
                    self._section(at, raw, order)
                    interfaces = []
                elif kind == dpkt.pcapng.PCAPNG_BT_IDB:
                    interfaces.append(_interface(raw, order))
                elif kind == dpkt.pcapng.PCAPNG_BT_EPB:
                    packet = self._enhanced(_ENHANCED[order](raw), interfaces, at)
                    if packet is not None:
                        yield packet
                elif kind in _WITHOUT_TIME:
                    self.skipped["packets in a block without a time"] += 1
            except (MalformedBlock, struct.error, UnicodeError, IndexError) as error:
                raise self._fault(at, f"a damaged block ({error or type(error).__name__})", _AGAIN) from error

    def _blocks(self) -> Iterator[tuple[int, int, bytes]]:
        """(byte in the file, type, the whole block). The order of bytes is the newest section's."""
        order: Any = "little"
        while start := self._file.read(12):
            at = self._file.tell() - len(start)
            if len(start) < 12:
                raise self._cut_off(at)
            if start[:4] == _PCAPNG_MAGIC:
                order = "little" if start[8:12] == b"\x4d\x3c\x2b\x1a" else "big"
                if order == "big" and start[8:12] != b"\x1a\x2b\x3c\x4d":
                    raise self._fault(at, "a section without a byte order: damaged", _AGAIN)
            length = int.from_bytes(start[4:8], order)
            if length < 12 or length % 4 or length > PACKET_BYTES_MAX:
                raise self._fault(at, f"a block of {length} bytes: damaged", _AGAIN)
            raw = start + self._file.read(length - 12)
            if len(raw) < length:
                raise self._cut_off(at)
            if raw[-4:] != raw[4:8]:
                raise self._fault(at, "a block whose two lengths differ: damaged", _AGAIN)
            yield at, int.from_bytes(start[:4], order), raw

    def _section(self, at: int, raw: bytes, order: str) -> None:
        major, minor = struct.unpack_from(f"{order}HH", raw, 12)
        if major != dpkt.pcapng.PCAPNG_VERSION_MAJOR:
            raise self._fault(at, f"pcapng of version {major}.{minor}, which is not read", _AGAIN)

    def _enhanced(self, block: Any, interfaces: list[_Interface | None], at: int) -> Packet | None:
        if block.iface_id >= len(interfaces):
            raise self._fault(at, f"a packet of interface {block.iface_id}, which was never described", _AGAIN)
        interface = interfaces[block.iface_id]
        if interface is None:
            self.skipped["packets of an interface whose link type is not read"] += 1
            return None
        if len(block.pkt_data) < block.caplen:
            raise self._fault(at, "a packet longer than its block: damaged", _AGAIN)
        time = (block.ts_high << 32 | block.ts_low) * SECOND // interface.units_per_second + interface.offset_ns
        length = max(block.pkt_len, block.caplen)
        return Packet(time, interface.link, block.iface_id, block.pkt_data, length)

    # ---

    def _link(self, link: int, at: int) -> int:
        link = _SAME_LINKS.get(link, link)
        if link not in LINKS:
            known = ", ".join(LINKS.values())
            raise self._fault(at, f"link type {link} is not read", f"capture on an interface with one of: {known}")
        return link

    def _cut_off(self, at: int) -> CaptureFault:
        problem = "the file ends inside a packet (truncated)"
        return self._fault(at, problem, "let the capture end before it is copied")

    def _fault(self, at: int, problem: str, remedy: str) -> CaptureFault:
        return CaptureFault(self.path, at, problem, remedy)


def _interface(raw: bytes, order: str) -> _Interface | None:
    """None for one whose packets cannot be read; they are counted then.

    `raw` is the whole block. dpkt would want the comments in it to be text, which they need not be.
    """
    if len(raw) < _INTERFACE_BYTES:
        raise MalformedBlock("an interface without a link type")
    link = int(struct.unpack_from(f"{order}H", raw, 8)[0])
    units, offset_ns = 1_000_000, 0
    for code, data in _options(raw[_INTERFACE_BYTES - 4 : -4], order):
        if code == dpkt.pcapng.PCAPNG_OPT_IF_TSRESOL:
            resolution = data[0]
            units = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
        elif code == dpkt.pcapng.PCAPNG_OPT_IF_TSOFFSET:
            offset_ns = int(struct.unpack(f"{order}q", data)[0]) * SECOND
    link = _SAME_LINKS.get(link, link)
    return _Interface(link, units, offset_ns) if link in LINKS else None


def _options(raw: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """(code, value) up to the end that is said, or that of the block."""
    at = 0
    while at + 4 <= len(raw):
        code, length = struct.unpack_from(f"{order}HH", raw, at)
        if code == dpkt.pcapng.PCAPNG_OPT_ENDOFOPT:
            return
        yield code, raw[at + 4 : at + 4 + length]
        at += 4 + (length + 3) // 4 * 4


class _EnhancedBig(dpkt.pcapng.EnhancedPacketBlock):  # type: ignore[misc]
    """Without its options: none says anything about the packet's bytes, and a comment need not be text."""

    def _do_unpack_options(self, buf: bytes, oo: int | None = None) -> None:
        pass


class _EnhancedLittle(dpkt.pcapng.EnhancedPacketBlockLE):  # type: ignore[misc]
    """The same in the other order of bytes."""

    def _do_unpack_options(self, buf: bytes, oo: int | None = None) -> None:
        pass


_ENHANCED: Final[dict[str, Callable[[bytes], Any]]] = {"<": _EnhancedLittle, ">": _EnhancedBig}
_WITHOUT_TIME: Final = {dpkt.pcapng.PCAPNG_BT_SPB, dpkt.pcapng.PCAPNG_BT_PB}
"""Simple Packet Blocks have none; Packet Blocks are obsolete since 2009."""
