# SPDX-License-Identifier: Apache-2.0
"""TCP out of packets: what the engine counts for a capture is what was said, however the segments came."""

import errno
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.packets import tcp as followed
from tests import events, packets
from tests.captures_replayed import Replayed, events_of, replayed
from tests.inprocess import InProcessEngine, TcpRow
from tests.packets import ACK, CLIENT, FIN, MILLISECOND, RST, SECOND, SERVER, START, SYN, Cut, Talk, ethernet

ASK = b"GET /items/%d HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BIG = b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + b"x" * 3000
COUNTED = {("http", "/items/*", "200"): 3}

IpPackets = list[tuple[int, bytes]]


def file_of(folder: Path, made: IpPackets) -> Path:
    return packets.pcap(folder / "a.pcap", [(when, ethernet(ip)) for when, ip in made])


def asked(talk: Talk, count: int = 3, answer: bytes = OK) -> IpPackets:
    made = []
    for number in range(count):
        made.append(talk.from_client(ASK % number))
        made.append(talk.from_server(answer))
    return made


def health(seen: Replayed, role: str) -> TcpRow:
    (row,) = [row for row in seen.tcp if row.kind == "health" and row.role == role]
    return row


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_whole_connection(tmp_path: Path, family: str) -> None:
    ends = (CLIENT, SERVER) if family == "ipv4" else (packets.CLIENT6, packets.SERVER6)
    talk = Talk(*ends)
    seen = replayed(file_of(tmp_path, [*talk.handshake(), *asked(talk), *talk.goodbye()]))
    assert seen.counts == COUNTED
    (row,) = seen.rows
    assert (row.role, row.local, row.remote) == ("server", ends[1], (ends[0][0], 0))
    assert row.flags == {"both_ends"}
    assert row.duration_ns == 3 * MILLISECOND
    assert (row.request_bytes, row.response_bytes) == (3 * len(ASK % 0), 3 * len(OK))
    (connect,) = [row for row in seen.tcp if row.kind == "connect"]
    assert (connect.connects, connect.connect_ns, connect.error) == (1, 2 * MILLISECOND, 0)
    for role in ("client", "server"):
        told = health(seen, role)
        assert (told.closed, told.retransmits, told.srtt_us) == (1, 0, 2000)
    assert not seen.account.skipped
    assert (seen.account.packets, seen.account.tcp) == (12, 12)


def test_the_rows_are_those_of_a_recording_of_both_ends(tmp_path: Path) -> None:
    """The same conversation as events of two sockets, in the form that a driver gives them."""
    talk = Talk()
    seen = replayed(file_of(tmp_path, [*talk.handshake(), *asked(talk)]))
    server = events.Conversation(2, SERVER, CLIENT, "server", send_seq=5001, recv_seq=1001)
    client = events.Conversation(1, CLIENT, SERVER, "client", send_seq=1001, recv_seq=5001)
    made = [client.open(START), server.open(START + MILLISECOND)]
    for number in range(3):
        now = START + (3 + 2 * number) * MILLISECOND
        made += [client.sends(now, ASK % number), server.receives(now, ASK % number)]
        made += [server.sends(now + MILLISECOND, OK), client.receives(now + MILLISECOND, OK)]
    with InProcessEngine() as engine:
        assert engine.feed(made).finish().rows() == seen.rows


def test_an_unknown_beginning_is_joined(tmp_path: Path) -> None:
    """Nothing but the requests: which side serves is known by who asks."""
    talk = Talk()
    seen = replayed(file_of(tmp_path, asked(talk)))
    assert seen.counts == COUNTED
    assert {row.role for row in seen.rows} == {"server"}
    opened = [event for event in seen.events if event[36:38] == b"\x01\x00"]
    assert [struct.unpack_from("<I", event, 124)[0] for event in opened] == [events.LATE] * 2
    assert not [row for row in seen.tcp if row.kind == "connect"]


def test_joined_inside_of_a_response_the_next_request_counts(tmp_path: Path) -> None:
    talk = Talk()
    made = [talk.from_client(ASK % 9), talk.from_server(BIG[:1000]), talk.from_server(BIG[1000:]), *asked(talk)]
    seen = replayed(file_of(tmp_path, made[2:]))
    assert seen.counts == COUNTED


def test_who_serves_is_known_from_another_connection(tmp_path: Path) -> None:
    """A protocol that nobody recognises has a direction too once its port was seen to answer a connect."""
    early, late = Talk(server=("10.0.0.2", 39999)), Talk(client=("10.0.0.3", 30000), server=("10.0.0.2", 39999))
    made = [*early.handshake(), early.from_client(b"\1\2"), late.from_client(b"\1\2\3"), late.from_server(b"\4" * 5)]
    rows = replayed(file_of(tmp_path, made)).rows
    assert {(row.role, row.remote[0], row.count) for row in rows} == {
        ("server", "10.0.0.1", 0),
        ("server", "10.0.0.3", 1),
    }


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_segments_in_any_order_within_the_window(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Bursts that arrive shuffled, with pieces sent again, give the rows of the orderly stream."""
    talk = Talk(step=10_000)
    orderly, shuffled = talk.handshake(), []
    shuffled += orderly
    for number in range(3):
        asks, begun = ASK % number, talk.client_seq
        cut = data.draw(st.integers(1, len(asks) - 1))
        pieces = [talk.from_client(asks[:cut]), talk.from_client(asks[cut:])]
        doubled = [*pieces, packets_again(talk, begun, asks)] if data.draw(st.booleans()) else pieces
        orderly += pieces
        shuffled += in_order(data.draw(st.permutations([ip for _, ip in doubled])), pieces[0][0])
        sizes = data.draw(st.lists(st.integers(1, 1460), min_size=1, max_size=6))
        burst = [talk.from_server(BIG[at:end]) for at, end in cuts(len(BIG), sizes)]
        orderly += burst
        shuffled += in_order(data.draw(st.permutations([ip for _, ip in burst])), burst[0][0])
    folder = tmp_path_factory.mktemp("any")
    expected = replayed(file_of(folder, orderly))
    seen = replayed(file_of(folder, shuffled))
    assert expected.counts == seen.counts == COUNTED
    assert [(row.request_bytes, row.response_bytes) for row in expected.rows] == [
        (row.request_bytes, row.response_bytes) for row in seen.rows
    ]
    assert "stream_gaps" not in seen.stats


def cuts(length: int, sizes: list[int]) -> list[tuple[int, int]]:
    places, at = [0], 0
    for size in sizes:
        at = min(length, at + size)
        places.append(at)
    return [(begin, end) for begin, end in zip(places, [*places[1:], length], strict=True) if end > begin]


def packets_again(talk: Talk, seq: int, payload: bytes) -> tuple[int, bytes]:
    return talk.now, packets.tcp(talk.client, talk.server, seq, talk.server_seq, ACK, payload)


def in_order(ips: list[bytes], start_ns: int) -> IpPackets:
    return [(start_ns + number * 1000, ip) for number, ip in enumerate(ips)]


def test_reordered_segments_are_not_sent_again(tmp_path: Path) -> None:
    talk = Talk(step=100_000)
    made = [*talk.handshake(), talk.from_client(ASK % 0)]
    first, second, third = (talk.from_server(BIG[at:end]) for at, end in cuts(len(BIG), [1400, 1400]))
    made += [(first[0], third[1]), (second[0], first[1]), (third[0], second[1])]
    seen = replayed(file_of(tmp_path, made))
    assert seen.counts == {("http", "/items/*", "200"): 1}
    assert seen.rows[0].response_bytes == len(BIG)
    assert "trouble" not in {kind_of(event) for event in seen.events}


def test_segments_sent_again_are_counted_at_their_sender(tmp_path: Path) -> None:
    talk = Talk()
    made = talk.handshake()
    for number in range(4):
        lost = talk.from_client(ASK % number)
        made += [lost, (lost[0] + 200 * MILLISECOND, lost[1])]  # seen leaving twice
        talk.now += 201 * MILLISECOND
        made.append(talk.from_server(OK))
    answer = talk.from_client(ASK % 4), talk.from_server(OK)
    made += [*answer, (talk.now + 300 * MILLISECOND, answer[1][1]), (talk.now + 900 * MILLISECOND, answer[1][1])]
    seen = replayed(file_of(tmp_path, made))
    assert seen.counts == {("http", "/items/*", "200"): 5}
    assert health(seen, "client").retransmits == 4
    assert health(seen, "server").retransmits == 2


def test_a_segment_that_was_lost_before_the_capture_is_counted_when_it_comes(tmp_path: Path) -> None:
    """Only its repetition was seen, long after what followed it."""
    talk = Talk()
    made = [*talk.handshake(), talk.from_client(ASK % 0)]
    lost, kept = talk.from_server(BIG[:1400]), talk.from_server(BIG[1400:])
    made += [kept, (kept[0] + 220 * MILLISECOND, lost[1])]
    seen = replayed(file_of(tmp_path, made))
    assert seen.counts == {("http", "/items/*", "200"): 1}
    assert health(seen, "server").retransmits == 1
    assert "stream_gaps" not in seen.stats


def test_overlapping_segments_count_each_byte_once_and_the_first_wins(tmp_path: Path) -> None:
    talk = Talk()
    made = [*talk.handshake(), talk.from_client(ASK % 0)]
    begun = talk.server_seq
    made.append(talk.from_server(BIG[:1000]))
    again = BIG[:500].replace(b"200 OK", b"500 NO") + BIG[500:2000]
    made.append((talk.now, packets.tcp(SERVER, CLIENT, begun, talk.client_seq, ACK, again)))
    talk.server_seq = begun + 2000
    made += [talk.from_server(BIG[2000:]), *asked(talk, 2)]
    seen = replayed(file_of(tmp_path, made))
    assert seen.counts == COUNTED
    assert seen.rows[0].response_bytes == len(BIG) + 2 * len(OK)
    assert health(seen, "server").retransmits == 1


def test_what_the_capture_missed_is_a_gap(tmp_path: Path) -> None:
    """A response's middle that was acknowledged without having been seen: its bytes count all the same."""
    talk = Talk()
    made = [*talk.handshake(), talk.from_client(ASK % 0)]
    parts = [talk.from_server(BIG[at:end]) for at, end in cuts(len(BIG), [1000, 1000])]
    made += [parts[0], parts[2], talk.acknowledged(by_client=True)]
    talk.now += 100 * MILLISECOND
    seen = replayed(file_of(tmp_path, [*made, *asked(talk, 2)]))
    assert seen.counts == COUNTED
    assert seen.stats["stream_gaps"] == 1
    assert seen.rows[0].response_bytes == len(BIG) + 2 * len(OK)


def test_a_missed_request_takes_its_answer_along(tmp_path: Path) -> None:
    talk = Talk()
    made = [*talk.handshake(), *asked(talk, 1)]
    talk.from_client(ASK % 7)
    made.append(talk.from_server(OK))
    talk.now += 100 * MILLISECOND
    seen = replayed(file_of(tmp_path, [*made, *asked(talk, 2), *talk.goodbye()]))
    assert seen.counts == COUNTED
    assert "no_response" not in seen.stats


def test_one_direction_alone_counts_no_unanswered_requests(tmp_path: Path) -> None:
    """A mirror port of one direction: the client's acknowledgements say that answers there were."""
    talk = Talk()
    whole = [*talk.handshake(), *asked(talk), *talk.goodbye()]
    seen = replayed(file_of(tmp_path, [(when, ip) for when, ip in whole if ip[12:16] == bytes([10, 0, 0, 1])]))
    assert "no_response" not in seen.stats
    assert seen.counts == {}


def test_the_last_request_without_an_answer_is_unanswered_when_the_connection_ends(tmp_path: Path) -> None:
    talk = Talk()
    made = [*talk.handshake(), *asked(talk, 2), talk.from_client(ASK % 3), *talk.goodbye()]
    seen = replayed(file_of(tmp_path, made))
    assert seen.stats["no_response"] == 1
    assert seen.counts == {("http", "/items/*", "200"): 2, ("http", "/items/*", "no response"): 1}


def test_a_response_seen_before_its_request_waits_for_it(tmp_path: Path) -> None:
    talk = Talk()
    made = talk.handshake()
    ask, answer = talk.from_client(ASK % 0), talk.from_server(OK)
    seen = replayed(file_of(tmp_path, [*made, (ask[0], answer[1]), (answer[0], ask[1]), *asked(talk, 2)]))
    assert seen.counts == COUNTED


@pytest.mark.parametrize("kept", [54, 66, 70, 85, 90])
def test_a_snaplen_that_cuts_payload(tmp_path: Path, kept: int) -> None:
    """Lengths are the headers': bytes count whole; a message is recognised if its start was kept."""
    talk = Talk()
    made = [(when, Cut(ethernet(ip), kept)) for when, ip in [*talk.handshake(), *asked(talk), *talk.goodbye()]]
    seen = replayed(packets.pcap(tmp_path / "a.pcap", made, snaplen=kept))
    assert sum(seen.counts.values()) == 3
    assert sum(row.request_bytes for row in seen.rows) == 3 * len(ASK % 0)
    assert sum(row.response_bytes for row in seen.rows) == 3 * len(OK)
    assert seen.account.cut > 0


def test_a_cut_segment_carries_its_reason(tmp_path: Path) -> None:
    talk = Talk()
    _, ip = talk.from_client(b"x" * 1000)
    path = packets.pcap(tmp_path / "a.pcap", [(START, Cut(ethernet(ip), 54 + 100))])
    (data,) = [event for event in events_of(path)[1] if kind_of(event) == "data"]
    length, _, _, _, captured, direction, reason = struct.unpack_from("<QIIIHBB", data, 48)
    assert (length, captured, reason) == (1000, 100, events.TRUNCATED)
    assert direction == events.IN


def test_a_large_segment_is_told_whole(tmp_path: Path) -> None:
    """Offloading shows up to 64 KiB at once, with a length of 0 in the header if it is more."""
    talk = Talk()
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"y" * 70000
    made = [*talk.handshake(), talk.from_client(ASK % 0)]
    when, ip = talk.now, packets.tcp_segment(SERVER, CLIENT, talk.server_seq, talk.client_seq, ACK, body)
    head = bytearray(packets.ipv4(SERVER[0], CLIENT[0], 6, b""))
    head[2:4] = b"\0\0"
    talk.server_seq += len(body)
    seen = replayed(file_of(tmp_path, [*made, (when, bytes(head) + ip), *asked(talk, 2)]))
    assert seen.counts == COUNTED
    assert seen.rows[0].response_bytes == len(body) + 2 * len(OK)


def test_sequence_numbers_wrap(tmp_path: Path) -> None:
    talk = Talk(client_seq=(1 << 32) - 40, server_seq=(1 << 32) - 10)
    seen = replayed(file_of(tmp_path, [*talk.handshake(), *asked(talk, 3, BIG), *talk.goodbye()]))
    assert seen.counts == COUNTED
    assert seen.rows[0].response_bytes == 3 * len(BIG)
    assert "stream_gaps" not in seen.stats


def test_a_refused_attempt(tmp_path: Path) -> None:
    made = [
        (START, packets.tcp(CLIENT, SERVER, 1000, 0, SYN)),
        (START + MILLISECOND, packets.tcp(SERVER, CLIENT, 0, 1001, RST | ACK)),
    ]
    seen = replayed(file_of(tmp_path, made))
    (connect,) = [row for row in seen.tcp if row.kind == "connect"]
    assert (connect.error, connect.connects, connect.connect_ns) == (errno.ECONNREFUSED, 1, MILLISECOND)
    assert health(seen, "client").resets_received == 1
    assert health(seen, "server").resets_sent == 1


def test_an_attempt_that_times_out(tmp_path: Path) -> None:
    ask = packets.tcp(CLIENT, SERVER, 1000, 0, SYN)
    other = Talk(client=("10.0.0.9", 5))
    made = [(START, ask), (START + SECOND, ask), (START + 3 * SECOND, ask)]
    other.now = START + 7 * SECOND
    seen = replayed(file_of(tmp_path, [*made, *other.handshake()]))
    (failed,) = [row for row in seen.tcp if row.kind == "connect" and row.error]
    assert (failed.error, failed.connects) == (errno.ETIMEDOUT, 1)
    assert failed.connect_ns == 7 * SECOND + 2 * MILLISECOND
    (told,) = [row for row in seen.tcp if row.kind == "health" and row.local[0] == CLIENT[0]]
    assert told.retransmits == 2


@pytest.mark.parametrize(
    ("later", "told"), [(4 * SECOND, [errno.ECANCELED]), (SECOND, [])], ids=["gave up", "too soon"]
)
def test_an_attempt_that_was_not_repeated(tmp_path: Path, later: int, told: list[int]) -> None:
    other = Talk(client=("10.0.0.9", 5), now=START + later)
    made = [(START, packets.tcp(CLIENT, SERVER, 1000, 0, SYN)), *other.handshake()]
    seen = replayed(file_of(tmp_path, made))
    assert [row.error for row in seen.tcp if row.kind == "connect" and row.error] == told


def test_a_syn_and_ack_sent_again(tmp_path: Path) -> None:
    talk = Talk()
    syn, answer, last = talk.handshake()
    made = [syn, answer, (answer[0] + SECOND, answer[1]), (last[0] + SECOND, last[1])]
    talk.now += SECOND
    seen = replayed(file_of(tmp_path, [*made, *asked(talk)]))
    assert seen.counts == COUNTED
    assert health(seen, "server").synack_retransmits == 1


def test_a_reset_ends_both_ends(tmp_path: Path) -> None:
    talk = Talk()
    made = [*talk.handshake(), *asked(talk)]
    made.append((talk.now, packets.tcp(CLIENT, SERVER, talk.client_seq, talk.server_seq, RST | ACK)))
    made.append((talk.now + MILLISECOND, packets.tcp(CLIENT, SERVER, talk.client_seq, 0, RST)))
    seen = replayed(file_of(tmp_path, made))
    assert seen.counts == COUNTED
    server = health(seen, "server")
    assert (server.closed, server.resets_received, server.resets_sent) == (1, 1, 0)
    # The second one answers a segment that found no socket any more.
    clients = [row for row in seen.tcp if row.kind == "health" and row.role == "client"]
    assert sorted((row.closed, row.resets_sent, row.resets_received) for row in clients) == [(0, 1, 0), (1, 1, 0)]


def test_the_same_ports_again_are_another_connection(tmp_path: Path) -> None:
    first, second = Talk(), Talk(client_seq=900_000, server_seq=70_000, now=START + SECOND)
    made = [*first.handshake(), *asked(first, 1), *second.handshake(), *asked(second, 2), *second.goodbye()]
    seen = replayed(file_of(tmp_path, made))
    assert seen.counts == COUNTED
    (connect,) = [row for row in seen.tcp if row.kind == "connect"]
    assert connect.connects == 2
    assert health(seen, "server").closed == 2
    third = Talk(client_seq=5, server_seq=6, now=second.now + SECOND)
    assert replayed(file_of(tmp_path, [*made, *third.handshake(), *asked(third, 1)])).counts == {
        ("http", "/items/*", "200"): 4
    }


def test_a_probe_of_an_idle_peer_is_not_sent_again(tmp_path: Path) -> None:
    talk = Talk()
    made = [*talk.handshake(), *asked(talk)]
    for payload in (b"", b"\0"):
        probe = packets.tcp(CLIENT, SERVER, talk.client_seq - 1, talk.server_seq, ACK, payload)
        made += [(talk.now + 10 * SECOND, probe), (talk.now + 11 * SECOND, talk.acknowledged(by_client=False)[1])]
    seen = replayed(file_of(tmp_path, made))
    assert seen.counts == COUNTED
    assert "trouble" not in {kind_of(event) for event in seen.events}


def test_a_close_that_is_sent_again(tmp_path: Path) -> None:
    talk = Talk()
    made = [*talk.handshake(), *asked(talk)]
    bye = talk.from_client(b"", FIN)
    made += [bye, (bye[0] + 250 * MILLISECOND, bye[1])]
    talk.now += 260 * MILLISECOND
    made += [talk.from_server(b"", FIN), talk.acknowledged(by_client=True)]
    # Whatever comes after the end opens nothing.
    made += [(talk.now + MILLISECOND, bye[1]), talk.from_server(b"late")]
    seen = replayed(file_of(tmp_path, made))
    assert seen.counts == COUNTED
    assert health(seen, "client").retransmits == 1
    assert seen.stats["connections_opened"] == seen.stats["connections_closed"] == 2


def test_a_packet_seen_on_two_interfaces_counts_once(tmp_path: Path) -> None:
    """tcpdump -i any on a node: a pod's packets pass its veth, a bridge and the network card."""
    talk = Talk()
    made: list[tuple[int, bytes]] = []
    for when, ip in [*talk.handshake(), *asked(talk), *talk.goodbye()]:
        made += [(when + number * 1000, packets.cooked2(ip, kind, index)) for number, (kind, index) in
                 enumerate([(0, 5), (4, 2), (0, 7)])]  # fmt: skip
    seen = replayed(packets.pcap(tmp_path / "a.pcap", made, link=276))
    assert seen.counts == COUNTED
    assert "trouble" not in {kind_of(event) for event in seen.events}
    assert seen.account.skipped == {followed.ELSEWHERE: 22}  # those of the last acknowledgement find no connection


def test_a_stream_of_nobody_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More connections than the table has room for: those that were idle longest go, and are counted."""
    monkeypatch.setattr(followed, "CONNECTIONS_MAX", 8)
    made: IpPackets = []
    busy = Talk(client=("10.0.0.250", 999), step=1000)
    made += busy.handshake()
    for number in range(30):
        talk = Talk(client=(f"10.0.1.{number}", 40000), now=busy.now, step=1000)
        made += [*talk.handshake(), *asked(talk, 1)]
        busy.now = talk.now
        made += asked(busy, 1)
    seen = replayed(file_of(tmp_path, made))
    assert seen.counts == {("http", "/items/*", "200"): 60}
    assert seen.account.skipped == {followed.EVICTED: 23}
    assert seen.stats["connections_closed"] == 46


def test_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hole that is never filled nor acknowledged, and a sender who goes on and on."""
    monkeypatch.setattr(followed, "HELD_SEGMENTS_MAX", 16)
    talk = Talk(step=1000)
    made = [*talk.handshake(), talk.from_client(ASK % 0), talk.from_server(BIG[:500])]
    talk.from_server(BIG[500:600])
    made += [talk.from_server(BIG[at : at + 10]) for at in range(600, len(BIG), 10)]
    seen = replayed(file_of(tmp_path, made))
    assert seen.stats["stream_gaps"] == 1
    assert seen.counts == {("http", "/items/*", "200"): 1}
    assert seen.rows[0].response_bytes == len(BIG)


def test_segments_that_make_no_sense(tmp_path: Path) -> None:
    far = packets.tcp(CLIENT, SERVER, 1000 + (1 << 31) - 5, 5001, ACK, b"x")
    short = packets.ipv4(CLIENT[0], SERVER[0], 6, packets.tcp_segment(CLIENT, SERVER, 1, 1, ACK)[:10])
    damaged = bytearray(packets.tcp(CLIENT, SERVER, 1, 1, ACK, b"x"))
    damaged[32] = 0x40
    talk = Talk()
    made = [*talk.handshake(), *asked(talk, 3), (talk.now, far), (talk.now, short), (talk.now, bytes(damaged))]
    made.append((talk.now, packets.tcp(("10.0.0.8", 1), SERVER, 1, 1, ACK)))
    seen = replayed(file_of(tmp_path, made))
    assert seen.counts == COUNTED
    assert seen.account.skipped == {
        followed.OUTSIDE: 1, followed.CUT_HEADER: 1, followed.DAMAGED: 1, followed.STRAY: 1,
    }  # fmt: skip


def kind_of(event: bytes) -> str:
    return next(name for name, number in events.TYPES.items() if number == event[36])
