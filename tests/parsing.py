# SPDX-License-Identifier: Apache-2.0
"""The protocol parsers for tests: one call each, and a reader that feeds a byte stream to a parser as the engine does."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, IntFlag
from typing import Any
from weakref import WeakKeyDictionary

from analyzers._parsers import ffi, lib

_kept: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


class Protocol(IntEnum):
    NOSUPPORT = 0
    HTTP = 1
    DNS = 2
    TLS = 3
    WEBSOCKET = 4
    HTTP2 = 5
    GRPC = 6
    MYSQL = 7
    POSTGRESQL = 8
    MONGODB = 9
    REDIS = 10
    MEMCACHED = 11
    KAFKA = 12
    ROCKETMQ = 13
    DUBBO = 14
    AMQP = 15
    MQTT = 16


UNDECIDED = 255
"""FS_UNDECIDED of analyzers/native/protocol.h."""


class Detected(IntEnum):
    NOT_MINE = 0
    REQUEST = 1
    RESPONSE = 2
    TOO_SHORT = 3
    GREETING = 4


class Framed(IntEnum):
    MORE = 0
    INVALID = 1
    MESSAGE = 2
    PART = 3
    END = 4
    PASSED = 5


class Body(IntEnum):
    DONE = 0
    PARTS = 1
    UNTIL_FLIP = 2
    UNTIL_CLOSE = 3


class Flag(IntFlag):
    NONE = 0
    INTERIM = 1
    NO_ANSWER = 2
    SWITCH = 4
    CUT = 8
    UNWANTED = 1 << 14
    SKIP = 16
    OPEN = 32
    MORE = 64
    REVERSED = 128
    TELLS = 256
    IF_FAILED = 512
    SETTLES = 1024
    QUIET = 2048


class Clustering(IntEnum):
    NOPARAM = 0
    ALPHABET = 1
    BLANK = 2
    LEARN = 3


class Side(IntEnum):
    REQUEST = 0
    RESPONSE = 1


@dataclass(frozen=True, slots=True)
class Options:
    clustering: Clustering = Clustering.ALPHABET
    nxdomain_is_error: bool = True
    unwanted: tuple[str, ...] = ()
    """Paths; one that ends in * stands for all that begin so."""

    def to_c(self) -> Any:
        """Lives as long as what is returned."""
        rules = ffi.new("struct fs_path_rules *", {"count": len(self.unwanted)})
        for rule, path in zip(rules.rule, self.unwanted, strict=False):
            text = path.removesuffix("*").encode()
            rule.length, rule.is_prefix = len(text), path.endswith("*")
            ffi.memmove(rule.text, text, len(text))
        made = ffi.new("struct fs_parser_options *", [self.clustering, self.nxdomain_is_error])
        if self.unwanted:
            made.unwanted = rules
            _kept[made] = rules
        return made


@dataclass(frozen=True, slots=True)
class Message:
    """What a parser said of one message. `length` counts stream bytes, those of a body's parts included once read."""

    length: int
    content: str = ""
    status: int = 0
    flags: Flag = Flag.NONE
    body: Body = Body.DONE
    next_protocol: Protocol | None = Protocol.NOSUPPORT
    """None: to be recognised."""
    trace_id: str = ""
    parent_id: str = ""
    id: int = 0
    note: int = 0
    protocol: Protocol = Protocol.NOSUPPORT
    raw: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    status: int
    error: bool
    request_content: str
    response_content: str


def text_of(label: Any) -> str:
    """A label's text, which is always printable ASCII, terminated, and as long as it says."""
    raw = bytes(ffi.buffer(label.text, label.length))
    assert label.text[label.length] == b"\0"
    assert all(0x20 < byte < 0x7F or byte == 0x20 for byte in raw), raw
    return raw.decode("ascii")


def detect(protocol: Protocol, data: bytes, *, truncated: bool = False, datagram: bool = False) -> Detected:
    return Detected(lib.fs_detect_with(protocol, data, len(data), truncated, datagram))


def listed() -> list[Protocol]:
    """The protocols that are detected, in their order."""
    found: list[Protocol] = []
    while number := lib.fs_listed(len(found)):
        found.append(Protocol(number))
    return found


def name_of(number: int) -> str:
    return str(ffi.string(lib.fs_protocol_name(number)), "ascii")


def has_parser(number: int) -> bool:
    return bool(lib.fs_protocol_by_id(number) != ffi.NULL)


def cluster(target: bytes, how: Clustering = Clustering.ALPHABET) -> str:
    copy = ffi.from_buffer(target)
    label = ffi.new("struct fs_label *")
    lib.fs_cluster_path(ffi.new("struct fs_text *", [copy, len(target)])[0], how, label)
    return text_of(label)


class Dialect(IntEnum):
    MYSQL = 0
    POSTGRESQL = 1


def reduce_sql(statement: bytes, dialect: Dialect, *, truncated: bool = False) -> str:
    """A statement as a label: operation and table."""
    label = ffi.new("struct fs_label *")
    lib.fs_sql_with(statement, len(statement), truncated, dialect, label)
    return text_of(label)


def _hex(value: Any) -> str:
    raw = bytes(value)
    return raw.hex() if any(raw) else ""


def message_of(raw: Any) -> Message:
    return Message(
        length=raw.length,
        content=text_of(raw.content),
        status=raw.status,
        flags=Flag(raw.flags),
        body=Body(raw.body),
        next_protocol=None if raw.next_protocol == UNDECIDED else Protocol(raw.next_protocol),
        trace_id=_hex(raw.trace_id),
        parent_id=_hex(raw.parent_id),
        id=raw.id,
        note=raw.note,
        protocol=Protocol(raw.protocol),
        raw=raw,
    )


def new_state(protocol: Protocol) -> Any:
    """What a protocol keeps for a connection, both sides of it; NULL if that is nothing."""
    return _memory(lib.fs_protocol_by_id(protocol).state_bytes)


def new_shared(protocol: Protocol) -> Any:
    """What a protocol keeps for all connections; NULL if that is nothing."""
    return _memory(lib.fs_protocol_by_id(protocol).shared_bytes)


def _memory(size: int) -> Any:
    return ffi.new("uint64_t[]", (size + 7) // 8) if size else ffi.NULL


class Parser:
    """One side of one connection: a parser with its scratch. `state` is the other side's, `shared` all connections'."""

    def __init__(
        self,
        protocol: Protocol,
        side: Side,
        options: Options | None = None,
        *,
        datagram: bool = False,
        state: Any = None,
        shared: Any = None,
    ) -> None:
        self.protocol = protocol
        self._options = (options or Options()).to_c()
        self._scratch = ffi.new("uint8_t[]", lib.FS_SCRATCH)
        self._input = ffi.new("struct fs_frame_input *")
        self._input.options = self._options
        self._input.scratch = self._scratch
        self.state = new_state(protocol) if state is None else state
        self._input.state = self.state
        self._shared = new_shared(protocol) if shared is None else shared
        self._input.shared = self._shared
        self._input.side = side
        self._input.datagram = datagram

    def frame(self, data: bytes, *, truncated: bool = False, waiting: Message | None = None) -> tuple[Framed, Message]:
        """The parser's answer and, of MORE and INVALID, a message that means nothing."""
        out = ffi.new("struct fs_message *")
        self._input.waiting = waiting.raw if waiting else ffi.NULL
        answer = Framed(lib.fs_frame_with(self.protocol, self._input, data, len(data), truncated, out))
        return answer, message_of(out)

    def nanoseconds(self, data: bytes, rounds: int = 20000) -> float:
        """CPU time of framing `data` once."""
        return float(lib.fs_frame_ns(self.protocol, self._input, ffi.from_buffer(data), len(data), rounds))


def stitch(protocol: Protocol, request: Message, response: Message | None, options: Options | None = None) -> Outcome:
    out = ffi.new("struct fs_outcome *")
    answer = response.raw if response else ffi.NULL
    lib.fs_stitch_with(protocol, request.raw, answer, (options or Options()).to_c(), out)
    return Outcome(out.status, out.error, text_of(out.request_content), text_of(out.response_content))


class Unreadable(Exception):
    """A parser found no message where one had to start."""


@dataclass(slots=True)
class _Open:
    message: Message
    remaining: int


class Reader:
    """Feeds what one side sends, in any pieces, to a parser and collects the messages with their whole lengths."""

    def __init__(self, parser: Parser, waiting: Sequence[Message] = ()) -> None:
        self._parser = parser
        self._waiting = list(waiting)
        self._buffer = b""
        self._open: _Open | None = None
        self.messages: list[Message] = []

    def feed(self, data: bytes) -> None:
        self._buffer += data
        while self._step():
            pass

    def close(self) -> list[Message]:
        """What was read; a message that had no end of its own ends here."""
        if self._open and self._open.message.body in {Body.UNTIL_FLIP, Body.UNTIL_CLOSE} and not self._open.remaining:
            self._end()
        if self._open or self._buffer:
            raise Unreadable(f"unfinished: {self._open}, {self._buffer!r}")
        return self.messages

    def _step(self) -> bool:
        current = self._open
        if current and current.remaining:
            return self._skip(current)
        if current and current.message.body in {Body.UNTIL_FLIP, Body.UNTIL_CLOSE}:
            self._grow(len(self._buffer))
            self._buffer = b""
            return False
        return bool(self._buffer) and self._parse()

    def _parse(self) -> bool:
        answer, said = self._parser.frame(self._buffer, waiting=self._waiting[0] if self._waiting else None)
        if answer is Framed.MORE:
            return False
        if answer is Framed.INVALID or (self._open is None) != (answer is Framed.MESSAGE):
            raise Unreadable(f"{answer.name} at {self._buffer!r}")
        if answer is Framed.MESSAGE:
            self._open = _Open(replace(said, length=0), said.length)
        else:
            assert self._open
            self._open.remaining = said.length
            assert said.length > 0
            if answer is Framed.END:
                self._open.message = replace(self._open.message, body=Body.DONE)
        return True

    def _skip(self, current: _Open) -> bool:
        here = min(current.remaining, len(self._buffer))
        self._buffer = self._buffer[here:]
        current.remaining -= here
        self._grow(here)
        if not current.remaining and current.message.body is Body.DONE:
            self._end()
        return here > 0

    def _grow(self, count: int) -> None:
        assert self._open
        self._open.message = replace(self._open.message, length=self._open.message.length + count)

    def _end(self) -> None:
        assert self._open
        message = self._open.message
        self.messages.append(message)
        self._open = None
        if self._waiting and not message.flags & (Flag.INTERIM | Flag.SKIP):
            self._waiting.pop(0)


def read(
    protocol: Protocol,
    side: Side,
    pieces: Iterable[bytes],
    waiting: Sequence[Message] = (),
    options: Options | None = None,
) -> list[Message]:
    """The messages of one side of a connection that sent `pieces` and closed."""
    reader = Reader(Parser(protocol, side, options), waiting)
    for piece in pieces:
        reader.feed(piece)
    return reader.close()


def every_split(data: bytes) -> Iterable[list[bytes]]:
    """All ways to cut in two, and byte by byte."""
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]
    yield [data[at : at + 1] for at in range(len(data))]
