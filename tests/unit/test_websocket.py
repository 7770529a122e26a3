# SPDX-License-Identifier: Apache-2.0
"""WebSocket through the engine: turns under the path of the upgrade, and why the conversation ended."""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain

import pytest

from tests.conversations import Conversation, counted, events_of, load
from tests.events import IN, OUT
from tests.events import Conversation as Talk
from tests.inprocess import InProcessEngine

UPGRADE = (
    b"GET /chat/42 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
ANSWERS = 64
"""FS_ANSWERS_AT_LEAST of analyzers/native/state.h."""
MS = 10**6
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
Said = tuple[str, bytes]
Ended = Counter[tuple[str, int, bool]]


def frame(opcode: int, payload: bytes, side: str, *, first: int = 0x80) -> bytes:
    """A client's is masked: RFC 6455, section 5.2."""
    masked = side == "client"
    length = len(payload)
    short = length if length < 126 else 126 if length < 1 << 16 else 127
    head = bytes([first | opcode, masked << 7 | short])
    head += b"" if short < 126 else struct.pack(">H", length) if short == 126 else struct.pack(">Q", length)
    if not masked:
        return head + payload
    mask = b"\x5a\xa5\x3c\xc3"
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


def says(side: str, opcode: int, payload: bytes = b"") -> Said:
    return side, frame(opcode, payload, side)


def closes(side: str, code: int | None, reason: str = "") -> Said:
    return says(side, CLOSE, b"" if code is None else struct.pack(">H", code) + reason.encode())


def talk(*chunks: Said) -> Conversation:
    return Conversation("made", "websocket", (("client", UPGRADE), ("server", SWITCH), *chunks))


def ended(conversation: Conversation, **how: object) -> Ended:
    """Of the turns of the conversation: response content, status, whether it is an error."""
    rows, _ = counted(events_of(conversation, **how))  # type: ignore[arg-type]
    found: Ended = Counter()
    for row in rows:
        if row.protocol == "websocket":
            assert row.request == "/chat/*"
            found[row.response, row.status, "error" in row.flags] += row.count
    return +found


ASKED = (says("client", TEXT, b"a"), says("server", TEXT, b"b"))
TURN = ("", 0, False)


@pytest.mark.parametrize("side", ["server", "client"])
@pytest.mark.parametrize(
    ("code", "told", "error"),
    [
        (1000, "1000", False),
        (1001, "1001", False),
        (None, "1005", False),
        (1002, "1002", True),
        (1009, "1009", True),
        (1011, "1011", True),
        (3000, "3000", True),
        (4401, "4401", True),
    ],
)
def test_codes(side: str, code: int | None, told: str, error: bool) -> None:
    """The client closes, and the server repeats what it said."""
    made = talk(*ASKED, closes("client", code, "why"[: 3 if code else 0]), closes("server", code))
    assert ended(made, side=side) == Counter({TURN: 1, (told, int(told), error): 1})


@pytest.mark.parametrize("code", [0, 1, 999, 5000, 65535])
def test_a_code_that_nobody_may_send_breaks_the_protocol(code: int) -> None:
    """RFC 6455, section 7.4.2."""
    made = talk(*ASKED, closes("client", code, "why"), closes("server", 1002))
    assert ended(made) == Counter({TURN: 1, ("1002", 1002, True): 1})


def test_the_codes_of_strangers_are_bounded() -> None:
    """2 000 are an application's own; none is lost, but not all have a row."""
    codes = range(3000, 3300)
    told = (events_of(talk(closes("server", code)), conn_id=code) for code in codes)
    rows, stats = counted(chain.from_iterable(told), max_connections=4096)
    found = [row for row in rows if row.protocol == "websocket"]
    assert len(found) == ANSWERS + 1
    assert sum(row.count for row in found) == len(codes)
    (other,) = [row for row in found if row.response == "other"]
    assert (other.status, "error" in other.flags) == (0, True)
    assert other.count == stats["contents_overflow"] == len(codes) - ANSWERS


def test_a_server_that_closes_ends_the_last_turn() -> None:
    made = talk(*ASKED, *ASKED, closes("server", 1011, "broken"), closes("client", 1011))
    assert ended(made) == Counter({TURN: 1, ("1011", 1011, True): 1})


def test_a_server_that_closes_at_once() -> None:
    assert ended(talk(closes("server", 4000), closes("client", 4000))) == Counter({("4000", 4000, True): 1})


def test_the_first_close_says_why() -> None:
    made = talk(*ASKED, closes("client", 1000), closes("server", 1011))
    assert ended(made) == Counter({TURN: 1, ("1000", 1000, False): 1})


def test_a_close_that_nobody_answers() -> None:
    assert ended(talk(*ASKED, closes("client", 1001))) == Counter({TURN: 1, ("1001", 1001, False): 1})
    assert ended(talk(*ASKED, closes("server", 1012))) == Counter({("1012", 1012, True): 1})


def test_an_end_without_a_close_is_abnormal() -> None:
    assert ended(talk(*ASKED)) == Counter({TURN: 1, ("1006", 1006, True): 1})
    assert ended(talk()) == Counter({("1006", 1006, True): 1})


def test_a_close_in_the_segment_of_the_switch() -> None:
    made = Conversation("made", "websocket", (("client", UPGRADE), ("server", SWITCH + closes("server", 1008)[1])))
    assert ended(made) == Counter({("1008", 1008, True): 1})


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 300_000])
@pytest.mark.parametrize("captured", [256, 512, None])
def test_messages_of_any_length_are_stepped_over(size: int, captured: int | None) -> None:
    payload = bytes(random.Random(size).randbytes(size))
    made = talk(
        says("client", BINARY, payload),
        says("server", BINARY, payload),
        says("client", PING, b"x"),
        says("server", PONG, b"x"),
        closes("client", 1000),
        closes("server", 1000),
    )
    assert ended(made, captured=captured) == Counter({TURN: 2, ("1000", 1000, False): 1})


def test_frames_in_one_segment_and_a_message_in_pieces() -> None:
    many = b"".join(frame(TEXT, b"a" * n, "client") for n in range(20)) + frame(TEXT, b"x", "client", first=0)
    made = talk(
        ("client", many + frame(0, b"y", "client")),
        ("server", frame(TEXT, b"ok", "server", first=0xC0) + closes("server", 1000)[1]),
        closes("client", 1000),
    )
    assert ended(made) == Counter({("1000", 1000, False): 1})


def cut_at(place: int, chunk: int) -> Callable[[int, bytes], Sequence[int]]:
    return lambda number, _: [place] if number == chunk else []


def test_a_close_cut_at_every_byte() -> None:
    made = talk(*ASKED, closes("client", 1011, "broken"), closes("server", 1011, "broken"))
    for chunk in range(2, len(made.chunks)):
        for place in range(1, len(made.chunks[chunk][1])):
            assert ended(made, cut=cut_at(place, chunk)) == Counter({TURN: 1, ("1011", 1011, True): 1})


@pytest.mark.parametrize(
    "noise",
    [
        b"\x83\x00",
        b"\xb1\x00",
        b"\x08\x00",
        b"\x88\x01x",
        b"\x89\x7e\x01\x00",
        b"\x82\xff" + b"\xff" * 8,
        b"\x81\x81aaaab",
    ],
    ids=["opcode", "reserved", "pieces", "one-byte", "long-ping", "too-long", "masked"],
)
def test_what_are_no_frames_tells_nothing_but_a_close_is_found_behind_it(noise: bytes) -> None:
    """Nor is it told that there was no Close, where there might have been one."""
    broken = (says("client", TEXT, b"a"), ("server", noise))
    assert ended(talk(*broken)) == Counter({TURN: 1})
    made = talk(*broken, *ASKED, closes("server", 1002), closes("client", 1002))
    assert ended(made) == Counter({TURN: 1, ("1002", 1002, True): 1})


class Heard:
    """A conversation event by event, as the server's end tells it, and what the driver is told meanwhile."""

    def __init__(self, engine: InProcessEngine) -> None:
        self._engine = engine
        self._talk = Talk(7, ("10.0.0.2", 8000), ("10.0.0.1", 40000), "server", comm="server", pid=5)
        self._ms = 0
        engine.feed([self._talk.open(0)])
        self.hears(("client", UPGRADE), ("server", SWITCH))

    def hears(self, *chunks: Said) -> str | None:
        for side, data in chunks:
            self._ms += 1
            self._engine.feed([self._talk.moves(OUT if side == "server" else IN, self._ms * MS, data)])
        return self._engine.mode(7)

    def hears_half_an_exchange(self, data: bytes) -> None:
        """What the driver kept of the client until it had to give it away: the other half is empty."""
        self._ms += 1
        self._engine.feed([self._talk.exchanges(self._ms * MS, data, b"", first_start_ns=self._ms * MS)])

    def ended(self) -> Ended:
        self._engine.feed([self._talk.close(1000 * MS)]).finish()
        rows = [row for row in self._engine.rows() if row.protocol == "websocket"]
        return +Counter({(row.response, row.status, "error" in row.flags): row.count for row in rows})


NOISE = b"\x83\x00"


def test_nobody_asks_for_bytes_behind_a_close() -> None:
    with InProcessEngine() as engine:
        heard = Heard(engine)
        assert heard.hears(*ASKED) == "stream"
        assert heard.hears(closes("client", 1000)) == "lengths"
        assert heard.hears(closes("server", 1000)) == "lengths"
        assert heard.ended() == Counter({TURN: 1, ("1000", 1000, False): 1})


def test_nobody_asks_for_bytes_where_both_sides_are_lost() -> None:
    with InProcessEngine() as engine:
        heard = Heard(engine)
        assert heard.hears(says("client", TEXT, b"a"), ("server", NOISE)) == "stream"
        assert heard.hears(("client", NOISE)) == "lengths"
        assert heard.ended() == Counter({TURN: 1})


def test_nothing_is_found_in_no_bytes() -> None:
    """The Close fills its I/O with something behind it: the side that was lost does not take it for a frame's start."""
    with InProcessEngine() as engine:
        heard = Heard(engine)
        heard.hears(says("client", TEXT, b"a"), ("server", NOISE))
        heard.hears_half_an_exchange(frame(TEXT, b"b", "client"))
        heard.hears(("server", closes("server", 1011)[1] + frame(TEXT, b"long", "server")[:3]))
        assert heard.ended() == Counter({TURN: 2})


def test_the_recording_of_a_real_client_ends_in_good_order() -> None:
    recorded = load("http-websocket")
    for side in ("server", "client"):
        rows, _ = counted(events_of(recorded, side=side))
        found = Counter(
            {(row.response, "error" in row.flags): row.count for row in rows if row.protocol == "websocket"}
        )
        assert found == Counter({("", False): 3, ("1000", False): 1})


def test_a_close_that_was_not_captured_is_not_made_up() -> None:
    """It stands behind more messages in one segment than are told of it: neither its code nor 1006 is known."""
    many = b"".join(frame(TEXT, b"a" * 100, "client") for _ in range(5))
    made = talk(*ASKED, ("client", many + closes("client", 1011)[1]), *ASKED)
    assert ended(made, captured=256) == Counter({TURN: 2})
    assert ended(made) == Counter({TURN: 1, ("1011", 1011, True): 1})
