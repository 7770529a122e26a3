# SPDX-License-Identifier: Apache-2.0
"""Capture files: both formats in either order of bytes, every link layer, fragments, and files that are damaged."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.packets import fragments, headers
from analyzers.packets.conversion import Conversion
from analyzers.packets.files import CaptureFault, CaptureFile, Packet
from tests import packets
from tests.captures_replayed import replayed
from tests.packets import CLIENT, CLIENT6, MILLISECOND, SECOND, SERVER, SERVER6, START, Cut, Talk, ethernet

ASK = b"GET /cart HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# A question for example.com and its answer, as dig and unbound exchange them.
QUESTION = (
    bytes.fromhex("a1b20120000100000000000107") + b"example\3com\0" + bytes.fromhex("000100010000291000000000000000")
)
ANSWER = (
    bytes.fromhex("a1b28180000100010000000007")
    + b"example\3com\0"
    + bytes.fromhex("00010001c00c0001000100000e1000045db8d822")
)
HTTP = {("http", "/cart", "200"): 2}


def conversation(talk: Talk) -> list[tuple[int, bytes]]:
    made = talk.handshake()
    for _ in range(2):
        made += [talk.from_client(ASK), talk.from_server(OK)]
    return [*made, *talk.goodbye()]


def read(path: Path) -> list[Packet]:
    file = CaptureFile(path)
    try:
        return list(file.packets())
    finally:
        file.close()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True], ids=["microseconds", "nanoseconds"])
def test_pcap_in_either_order_of_bytes(tmp_path: Path, order: str, nano: bool) -> None:
    frame = ethernet(packets.udp(CLIENT, SERVER, b"x"))
    path = packets.pcap(
        tmp_path / "a", [(START + 1_234_567, frame), (START + 2, Cut(frame, 20))], order=order, nano=nano
    )
    unit = 1 if nano else 1000
    assert read(path) == [
        Packet((START + 1_234_567) // unit * unit, 1, 0, frame, len(frame)),
        Packet((START + 2) // unit * unit, 1, 0, frame[:20], len(frame)),
    ]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("resolution", "units"), [(None, 10**6), (6, 10**6), (9, 10**9), (3, 1000), (0x80 | 20, 1 << 20)]
)
def test_pcapng_in_either_order_and_resolution(tmp_path: Path, order: str, resolution: int | None, units: int) -> None:
    frame = ethernet(packets.udp(CLIENT, SERVER, b"x"))
    comment = struct.pack(f"{order}HH4s", 1, 4, b"\xff\xfe\xfd\xfc")  # in no encoding that is text
    blocks = [
        packets.section(order),
        packets.interface(1, order, resolution=resolution, options=comment),
        packets.packet(START, Cut(frame, 30), order=order, units=units, options=comment + bytes(4)),
        packets.block(0x0000000A, b"secrets", order),
        packets.packet(START + SECOND, frame, order=order, units=units),
    ]  # fmt: skip
    path = tmp_path / "a"
    path.write_bytes(b"".join(blocks))
    first, second = read(path)
    assert (first.time_ns, first.data, first.length) == (START, frame[:30], len(frame))
    assert second.time_ns == START + SECOND


def test_pcapng_with_sections_and_interfaces_of_their_own(tmp_path: Path) -> None:
    """Two interfaces of different kinds and clocks, one that is not read, then another section in the other order."""
    talk = Talk()
    made = conversation(talk)
    blocks = [
        packets.section(),
        packets.interface(195),  # IEEE 802.15.4
        packets.interface(1, offset=-5),
        packets.interface(101, resolution=9),
        packets.packet(START, b"\1\2\3", on=0),
    ]
    for when, ip in made[:5]:
        if ip[12:16] == bytes([10, 0, 0, 1]):
            blocks.append(packets.packet(when + 5 * SECOND, ethernet(ip), on=1))
        else:
            blocks.append(packets.packet(when, ip, on=2, units=10**9))
    blocks += [packets.section(">"), packets.interface(1, ">"), packets.interface(1, ">")]
    blocks += [packets.packet(when, ethernet(ip), on=1, order=">") for when, ip in made[5:]]
    path = tmp_path / "a"
    path.write_bytes(b"".join(blocks))
    file = CaptureFile(path)
    assert [packet.time_ns for packet in file.packets()] == [when for when, _ in made]
    assert file.skipped == {"packets of an interface whose link type is not read": 1}
    file.close()


def test_packets_without_a_time_are_told(tmp_path: Path) -> None:
    path = packets.pcapng(tmp_path / "a", [])
    path.write_bytes(path.read_bytes() + packets.block(3, struct.pack("<I", 4) + b"abcd"))
    assert replayed(path).account.skipped == {"packets in a block without a time": 1}


LINKS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "Ethernet": (1, ethernet),
    "VLAN": (1, lambda ip: ethernet(ip, [0x8100])),
    "QinQ": (1, lambda ip: ethernet(ip, [0x88A8, 0x8100])),
    "old QinQ": (1, lambda ip: ethernet(ip, [0x9100, 0x8100])),
    "with a check sequence": (1 | 1 << 26 | 4 << 28, lambda ip: ethernet(ip) + b"FCS!"),
    "padded": (1, lambda ip: ethernet(ip).ljust(60, b"\0")),
    "raw": (101, bytes),
    "raw, as BSD has it": (12, bytes),
    "raw, as OpenBSD has it": (14, bytes),
    "cooked v1": (113, packets.cooked),
    "cooked v2": (276, packets.cooked2),
    "loopback": (0, packets.loopback),
    "loopback of another machine": (0, lambda ip: packets.loopback(ip, ">", 30)),
    "loopback of OpenBSD": (108, lambda ip: packets.loopback(ip, ">", 24)),
}


@pytest.mark.parametrize("ends", [(CLIENT, SERVER), (CLIENT6, SERVER6)], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("made", [packets.pcap, packets.pcapng], ids=["pcap", "pcapng"])
def test_a_link_layer(
    tmp_path: Path, ends: tuple[packets.Endpoint, packets.Endpoint], link: str, made: Callable[..., Path]
) -> None:
    number, wrapped = LINKS[link]
    number = number if made is packets.pcap else number & 0xFFFF
    frames = [(when, wrapped(ip)) for when, ip in conversation(Talk(*ends))]
    seen = replayed(made(tmp_path / "a", frames, link=number))
    assert seen.counts == HTTP
    assert not seen.account.skipped
    assert {row.local for row in seen.rows} == {ends[1]}


@pytest.mark.parametrize("number", [228, 229])
def test_raw_ip_of_one_version(tmp_path: Path, number: int) -> None:
    ends = (CLIENT, SERVER) if number == 228 else (CLIENT6, SERVER6)
    assert replayed(packets.pcap(tmp_path / "a", conversation(Talk(*ends)), link=number)).counts == HTTP


def test_vlan_tags_in_cooked_packets(tmp_path: Path) -> None:
    frames = []
    for when, ip in conversation(Talk()):
        plain = packets.cooked2(ip)
        frames.append((when, b"\x81\x00" + plain[2:20] + b"\0\7\x08\0" + ip))
    assert replayed(packets.pcap(tmp_path / "a", frames, link=276)).counts == HTTP


@pytest.mark.parametrize("extension", ["hop-by-hop", "routing", "destination", "authentication", "several"])
def test_ipv6_extension_headers(tmp_path: Path, extension: str) -> None:
    numbers = {
        "hop-by-hop": [0],
        "routing": [43],
        "destination": [60],
        "authentication": [51],
        "several": [0, 60, 43, 51],
    }
    frames = []
    for when, ip in conversation(Talk(CLIENT6, SERVER6)):
        carried, following = ip[40:], 6
        for number in reversed(numbers[extension]):
            head = bytes([following, 4]) + bytes(22) if number == 51 else bytes([following, 1]) + bytes(14)
            carried, following = head + carried, number
        head = packets.ipv6(CLIENT6[0], SERVER6[0], following, carried)[:8] + ip[8:40]
        frames.append((when, ethernet(head + carried)))
    assert replayed(packets.pcap(tmp_path / "a", frames)).counts == HTTP


def test_what_is_not_read_is_counted_by_name(tmp_path: Path) -> None:
    icmp = packets.ipv4(CLIENT[0], SERVER[0], 1, b"\x08\0\0\0")
    frames: list[packets.Frame] = [
        ethernet(icmp),
        ethernet(packets.ipv6(CLIENT6[0], SERVER6[0], 58, b"\x80\0\0\0")),
        ethernet(packets.ipv4(CLIENT[0], SERVER[0], 99, b"?")),
        bytes(12) + b"\x08\x06" + bytes(28),  # ARP
        bytes(12) + b"\x86\xdd" + b"\x45" + bytes(60),  # IPv4's version where IPv6 is announced
        Cut(ethernet(icmp), 20),
        ethernet(packets.udp(CLIENT, SERVER, b"")[:24]),
        ethernet(packets.ipv6(CLIENT6[0], SERVER6[0], 0, b"\x06")),
    ]
    account = replayed(packets.pcap(tmp_path / "a", [(START, frame) for frame in frames])).account
    assert account.packets == len(frames)
    assert account.skipped == {
        "packets of ICMP": 1,
        "packets of ICMPv6": 1,
        "packets of other IP protocols": 1,
        headers.NOT_IP: 1,
        headers.DAMAGED: 2,
        headers.CUT_HEADER: 1,
        "UDP datagrams with a damaged header": 1,
    }


# --- datagrams and fragments


def dns(path: Path, question: list[bytes], answer: list[bytes]) -> Path:
    frames = [(START + number * 1000, ethernet(ip)) for number, ip in enumerate(question)]
    frames += [(START + 4 * MILLISECOND + number * 1000, ethernet(ip)) for number, ip in enumerate(answer)]
    return packets.pcap(path, frames)


@pytest.mark.parametrize("hosts", [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")], ids=["ipv4", "ipv6"])
def test_datagrams(tmp_path: Path, hosts: tuple[str, str]) -> None:
    client, server = (hosts[0], 33333), (hosts[1], 53)
    seen = replayed(dns(tmp_path / "a", [packets.udp(client, server, QUESTION)], [packets.udp(server, client, ANSWER)]))
    (row,) = seen.rows
    assert (row.protocol, row.request, row.count, row.duration_ns) == ("dns", "example.com A", 1, 4 * MILLISECOND)
    assert (row.role, row.local, row.remote) == ("server", server, (hosts[0], 0))
    assert row.flags == {"both_ends"}
    assert (row.request_bytes, row.response_bytes) == (len(QUESTION), len(ANSWER))
    assert seen.account.udp == 2


def test_a_datagram_to_a_group_is_told_by_its_sender_alone(tmp_path: Path) -> None:
    frames = [(START, ethernet(packets.udp(("10.0.0.1", 5353), (group, 5353), QUESTION)))
              for group in ("224.0.0.251", "255.255.255.255")]  # fmt: skip
    frames.append((START, ethernet(packets.udp(("fe80::1", 5353), ("ff02::fb", 5353), QUESTION))))
    assert len(replayed(packets.pcap(tmp_path / "a", frames)).events) == 3


def test_a_datagram_seen_on_two_interfaces_counts_once(tmp_path: Path) -> None:
    client, server = ("10.0.0.1", 33333), ("10.0.0.2", 53)
    frames = [(START + number, packets.cooked2(packets.udp(*ends), kind, index))
              for ends in [(client, server, QUESTION), (server, client, ANSWER)]
              for number, (kind, index) in enumerate([(0, 3), (4, 2)])]  # fmt: skip
    seen = replayed(packets.pcap(tmp_path / "a", frames, link=276))
    assert seen.counts == {("dns", "example.com A", "NOERROR"): 1}
    assert seen.account.skipped == {"UDP datagrams that were seen on another interface already": 2}


@pytest.mark.parametrize("order", ["forward", "backward", "twice"])
@pytest.mark.parametrize("hosts", [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")], ids=["ipv4", "ipv6"])
def test_fragments_are_put_together(tmp_path: Path, hosts: tuple[str, str], order: str) -> None:
    client, server = (hosts[0], 33333), (hosts[1], 53)
    carried = struct.pack("!HHHH", 53, 33333, 8 + len(ANSWER), 0) + ANSWER
    pieces = packets.fragments(server[0], client[0], 17, carried, 16)
    assert len(pieces) == 4
    pieces = {"forward": pieces, "backward": pieces[::-1], "twice": [pieces[0], *pieces]}[order]
    seen = replayed(dns(tmp_path / "a", [packets.udp(client, server, QUESTION)], pieces))
    assert [(row.protocol, row.count, row.response_bytes) for row in seen.rows] == [("dns", 1, len(ANSWER))]
    assert not seen.account.skipped


def test_a_segment_in_fragments(tmp_path: Path) -> None:
    talk = Talk()
    made = [*talk.handshake(), talk.from_client(ASK)]
    when, ip = talk.from_server(OK)
    made += [(when, piece) for piece in packets.fragments(SERVER[0], CLIENT[0], 6, ip[20:], 24)]
    made += [talk.from_client(ASK), talk.from_server(OK)]
    frames = [(when, ethernet(ip)) for when, ip in made]
    assert replayed(packets.pcap(tmp_path / "a", frames)).counts == HTTP


def test_fragments_that_never_come_or_contradict_are_counted(tmp_path: Path) -> None:
    carried = bytes(64)
    missing = packets.fragments("10.0.0.1", "10.0.0.2", 17, carried, 16, number=1)[:2]
    open_end = packets.fragments("10.0.0.1", "10.0.0.2", 17, carried, 16, number=2)[2:3]
    overlapping = [
        packets.ipv4("10.0.0.1", "10.0.0.2", 17, bytes(32), number=3, fragment=1 << 13),
        packets.ipv4("10.0.0.1", "10.0.0.2", 17, bytes(32), number=3, fragment=1 << 13 | 2),
    ]
    too_long = packets.ipv4("10.0.0.1", "10.0.0.2", 17, bytes(64), number=4, fragment=8191)
    odd = packets.ipv4("10.0.0.1", "10.0.0.2", 17, bytes(13), number=5, fragment=1 << 13)
    frames = [(START, ethernet(ip)) for ip in [*missing, *overlapping, too_long, odd]]
    frames.append((START + 31 * SECOND, ethernet(open_end[0])))
    account = replayed(packets.pcap(tmp_path / "a", frames)).account
    assert account.skipped == {fragments.OVERLAPPING: 3, fragments.INCOMPLETE: 2}


def test_fragments_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragments, "WAITING_MAX", 8)
    waiting = fragments.Fragments()
    for number in range(100):
        assert waiting.add(number, (b"x" * 8, number, 17, 0), 0, True, bytes(8), 8) is None
        assert len(waiting) <= 8
    monkeypatch.setattr(fragments, "BYTES_MAX", 100)
    for number in range(100):
        waiting.add(number, (b"x" * 8, 1000 + number, 17, 0), 0, True, bytes(40), 40)
    assert len(waiting) <= 4
    waiting.finish()
    assert waiting.skipped == {fragments.INCOMPLETE: 200}


def test_a_fragment_that_was_cut_keeps_what_is_before_it(tmp_path: Path) -> None:
    carried = struct.pack("!HHHH", 53, 33333, 8 + 600, 0) + bytes(range(100)) * 6
    whole = packets.fragments("10.0.0.1", "10.0.0.2", 17, carried, 256)
    frames = [(START, Cut(ethernet(piece), 14 + 20 + 100)) for piece in whole]
    told = replayed(packets.pcap(tmp_path / "a", frames)).events[0]
    length, captured, _, reason = struct.unpack_from("<IHBB", told, 88)
    assert (length, captured, reason) == (600, 92, 1)
    assert told[96:] == carried[8:100]


# --- files that are damaged


@pytest.mark.parametrize("made", [packets.pcap, packets.pcapng], ids=["pcap", "pcapng"])
def test_a_file_cut_anywhere_tells_where(tmp_path: Path, made: Callable[..., Path]) -> None:
    """Whatever is left of it is read; the end of a whole packet is the end of a whole file."""
    talk = Talk()
    path = made(tmp_path / "a", [(when, ethernet(ip)) for when, ip in conversation(talk)])
    whole, ends = path.read_bytes(), []
    head = 24 if made is packets.pcap else len(packets.section() + packets.interface())
    at = head
    while at < len(whole):
        ends.append(at)
        at += (
            16 + int.from_bytes(whole[at + 8 : at + 12], "little")
            if made is packets.pcap
            else int.from_bytes(whole[at + 4 : at + 8], "little")
        )
    for size in range(head, len(whole), 7):
        path.write_bytes(whole[:size])
        if ends[0] < size < ends[1]:
            with pytest.raises(CaptureFault):
                CaptureFile(path)
            continue
        conversion = Conversion(path)
        pieces: list[bytes] = []
        conversion.run(pieces.append)
        conversion.close()
        begun = max(end for end in ends if end <= size)
        assert conversion.account.packets == ends.index(begun)
        if size in ends:
            assert conversion.account.fault == ""
        else:
            assert conversion.account.fault == (
                f"{path}: byte {begun}: the file ends inside a packet (truncated); let the capture end before it is copied"
            )


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda raw: raw[:10], "byte 10: the file ends inside its head (truncated); capture again"),
        (lambda raw: raw[:4] + b"\7" + raw[5:], "byte 4: pcap of version 7.4, which is not read; "),
        (lambda raw: raw[:20] + b"\x93" + raw[21:], "byte 20: link type 147 is not read; capture on an interface"),
        (lambda raw: raw[:32] + b"\xff\xff\xff\x7f" + raw[36:], "byte 24: no packet (2147483647 bytes of 54): damaged; "),
        (lambda raw: raw[:28] + b"\xff\xff\xff\xff" + raw[32:], "byte 24: no packet (54 bytes of 54): damaged; "),
    ],
)  # fmt: skip
def test_a_damaged_pcap(tmp_path: Path, damage: Callable[[bytes], bytes], told: str) -> None:
    path = packets.pcap(tmp_path / "a", [(START, ethernet(ip)) for _, ip in conversation(Talk())])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CaptureFault) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}: {told}")


PACKET = packets.packet(START, ethernet(packets.udp(CLIENT, SERVER, b"x")))


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (packets.section()[:12] + b"\2" + packets.section()[13:], "byte 0: pcapng of version 2.0, which is not read; "),
        (packets.section()[:8] + b"1234" + packets.section()[12:], "byte 0: a section without a byte order: damaged; "),
        (packets.section() + PACKET, "byte 28: a packet of interface 0, which was never described; "),
        (packets.section() + b"\6\0\0\0\7\0\0\0" + bytes(40), "byte 28: a block of 7 bytes: damaged; "),
        (packets.section() + b"\6\0\0\0\0\0\0\x70" + bytes(40), "byte 28: a block of 1879048192 bytes: damaged; "),
        (packets.section() + PACKET[:-4] + b"\1\0\0\0", "byte 28: a block whose two lengths differ: damaged; "),
        (packets.section() + packets.block(6, b"abcd"), "byte 28: a damaged block ("),
        (packets.section() + packets.block(1, b""), "byte 28: a damaged block ("),
        (
            packets.section() + packets.interface() + PACKET[:20] + b"\xff\xff\0\0" + PACKET[24:],
            "byte 48: a packet longer than its block: damaged; ",
        ),
        (packets.section() + b"\6\0\0\0", "byte 28: the file ends inside a packet (truncated); "),
    ],
)  # fmt: skip
def test_a_damaged_pcapng(tmp_path: Path, raw: bytes, told: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(raw)
    with pytest.raises(CaptureFault) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}: {told}")


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_bytes_that_were_changed_anywhere_break_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever a file claims: a fault that names its byte, or events that the engine takes."""
    path = tmp_path_factory.mktemp("changed") / "a"
    made = data.draw(st.sampled_from([packets.pcap, packets.pcapng]))
    link, wrapped = data.draw(st.sampled_from(list(LINKS.values())))
    frames = [(when, wrapped(ip)) for when, ip in conversation(Talk())]
    frames += [
        (START + 20 * MILLISECOND, wrapped(ip)) for ip in packets.fragments("10.0.0.1", "10.0.0.2", 17, QUESTION, 8)
    ]
    raw = bytearray(made(path, frames, link=link & 0xFFFF).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(24, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        fault = replayed(path).account.fault
    except CaptureFault as refused:
        fault = str(refused)
    assert not fault or fault.startswith(f"{path}: byte ")


def test_packets_out_of_the_order_of_time_are_counted(tmp_path: Path) -> None:
    frame = ethernet(packets.udp(CLIENT, SERVER, b"x"))
    times = [START, START + 5 * SECOND, START + 4 * SECOND, START + 3 * SECOND, START + 6 * SECOND]
    assert replayed(packets.pcap(tmp_path / "a", [(when, frame) for when in times])).account.unordered == 1
