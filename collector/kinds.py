# SPDX-License-Identifier: Apache-2.0
"""What a configuration value may be: each kind reads a YAML node, says what it allows, and writes a value back.

Durations become integer nanoseconds, sizes integer bytes. A kind never guesses: what it does not understand it refuses
with a sentence, what would be allowed and, where one is near, what was probably meant.
"""

import difflib
import ipaddress
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import yaml

T_co = TypeVar("T_co", covariant=True)

_NUMBER_TAGS = {"tag:yaml.org,2002:int": "a number", "tag:yaml.org,2002:float": "a number"}
_TEXT_TAG = "tag:yaml.org,2002:str"
_SHOWN = 60
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")  # text that YAML takes for text without quotes ...
_RESERVED = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}  # ... but for these

DURATION_UNITS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_UNIT_WORDS = {"hour": "h", "hr": "h", "min": "m", "minute": "m", "sec": "s", "second": "s", "msec": "ms", "day": "d"}
SIZE_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one node is not a value: `shown` is what stood there, `line` is 1-based, `item` a key inside of a mapping."""

    message: str
    shown: str
    allowed: str
    nearest: str
    line: int
    item: str = ""


class Refused(Exception):
    """One or more refusals of the parts of one value."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__("; ".join(refusal.message for refusal in refusals))
        self.refusals = tuple(refusals)


class Kind(Protocol[T_co]):
    """A kind of value."""

    @property
    def allowed(self) -> str:
        """What a person may write, as the end of the sentence 'allowed: ...'."""
        ...

    def read(self, node: yaml.Node) -> T_co:
        """The value of `node`; raises Refused."""
        ...

    def write(self, value: Any) -> str:
        """YAML text, on one line, that reads back as `value`."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen; `host` is empty for all addresses, `port` 0 lets the kernel choose."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this host can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def nearest(word: str, names: Sequence[str]) -> str:
    """The name that `word` was probably meant to be, or an empty string."""
    by_folded = {name.lower(): name for name in names}
    found = difflib.get_close_matches(word.lower(), list(by_folded), n=1, cutoff=0.6)
    return by_folded[found[0]] if found else ""


def line_of(node: yaml.Node) -> int:
    """1-based line on which `node` starts."""
    return int(node.start_mark.line) + 1


def shown(node: yaml.Node) -> str:
    """What stands there, short enough for a message."""
    if isinstance(node, yaml.ScalarNode):
        text = str(node.value)
        return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def refuse(node: yaml.Node, message: str, allowed: str, near: str = "", item: str = "") -> Refused:
    """A Refused of one reason."""
    return Refused([Refusal(message, shown(node), allowed, near, line_of(node), item)])


def scalar(node: yaml.Node, allowed: str) -> yaml.ScalarNode:
    """`node` as a scalar that has a value; raises Refused."""
    if not isinstance(node, yaml.ScalarNode):
        raise refuse(node, f"is {shown(node)} where one value belongs", allowed)
    if node.tag == "tag:yaml.org,2002:null" and node.value == "":
        raise refuse(node, "has no value; leave the key out to get its default", allowed)
    return node


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words; `told` stands for them where they are too many for a message."""

    words: tuple[str, ...]
    told: str = ""

    @property
    def allowed(self) -> str:
        return self.told or " | ".join(self.words)

    def read(self, node: yaml.Node) -> str:
        word = scalar(node, self.allowed).value
        if word not in self.words:
            raise refuse(node, f'"{shown(node)}" is not one of the choices', self.allowed, nearest(word, self.words))
        return str(word)

    def write(self, value: str) -> str:
        return value


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false. YAML's other spellings are refused, so that everybody reads the same."""

    @property
    def allowed(self) -> str:
        return "true | false"

    def read(self, node: yaml.Node) -> bool:
        word = scalar(node, self.allowed).value
        if node.tag == _TEXT_TAG or word not in ("true", "false"):
            meant = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}
            near = meant.get(word.lower()) or nearest(word, ("true", "false"))
            raise refuse(node, f'"{shown(node)}" is neither true nor false', self.allowed, near)
        return bool(word == "true")

    def write(self, value: bool) -> str:
        return "true" if value else "false"


@dataclass(frozen=True, slots=True)
class Count:
    """A whole number within limits, both included."""

    low: int
    high: int

    @property
    def allowed(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def read(self, node: yaml.Node) -> int:
        word = scalar(node, self.allowed).value
        if not re.fullmatch(r"-?(0|[1-9][0-9]*)", word) or len(word) > 20:
            octal = re.fullmatch(r"0+([1-9][0-9]*)", word)
            raise refuse(node, f'"{shown(node)}" is not a whole number', self.allowed, octal[1] if octal else "")
        if node.tag == _TEXT_TAG:
            raise refuse(node, f'"{shown(node)}" is text; write the number without quotes', self.allowed, word)
        value = int(word)
        if not self.low <= value <= self.high:
            near = str(min(max(value, self.low), self.high))
            raise refuse(node, f"{word} is out of range", self.allowed, near)
        return value

    def write(self, value: int) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class Share:
    """A fraction from 0.0 to 1.0."""

    @property
    def allowed(self) -> str:
        return "a fraction from 0.0 to 1.0"

    def read(self, node: yaml.Node) -> float:
        word = scalar(node, self.allowed).value
        if node.tag not in _NUMBER_TAGS or not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", word):
            near = ""
            if percent := re.fullmatch(r"([0-9]{1,2}|100)%", word):
                near = str(int(percent[1]) / 100)
            raise refuse(node, f'"{shown(node)}" is not a fraction', self.allowed, near)
        value = float(word)
        if not 0.0 <= value <= 1.0 or math.isnan(value):
            raise refuse(node, f"{word} is out of range", self.allowed)
        return value

    def write(self, value: float) -> str:
        return f"{value:.9f}".rstrip("0").ljust(3, "0")


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time with its unit, in nanoseconds; parts may be joined: 1h30m."""

    low: int
    high: int

    @property
    def allowed(self) -> str:
        limits = f"{duration_text(self.low)} to {duration_text(self.high)}"
        return f"a duration such as 500ms, 30s, 5m or 2h, {limits}"

    def read(self, node: yaml.Node) -> int:
        word = scalar(node, self.allowed).value
        parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)", word)
        if not parts or "".join(number + unit for number, unit in parts) != word or len(word) > 32:
            raise refuse(node, f'"{shown(node)}" is not a duration', self.allowed)
        total = 0
        for number, unit in parts:
            if not unit:
                near = f"{word}s" if len(parts) == 1 else ""
                raise refuse(node, f'"{shown(node)}" has no unit', self.allowed, near)
            if unit not in DURATION_UNITS:
                near = _UNIT_WORDS.get(unit.lower().rstrip("s")) or nearest(unit, tuple(DURATION_UNITS))
                near = number + near if near and len(parts) == 1 else ""
                message = f'"{unit}" in "{shown(node)}" is not a unit of time (ns us ms s m h d)'
                raise refuse(node, message, self.allowed, near)
            total += round(float(number) * DURATION_UNITS[unit])
        if not self.low <= total <= self.high:
            near = duration_text(min(max(total, self.low), self.high))
            raise refuse(node, f"{word} is out of range", self.allowed, near)
        return total

    def write(self, value: int) -> str:
        return duration_text(value)


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes with its unit; with `power` only powers of two."""

    low: int
    high: int
    power: bool = True

    @property
    def allowed(self) -> str:
        what = "a power of two" if self.power else "a size"
        return f"{what} with its unit, {size_text(self.low)} to {size_text(self.high)}"

    def read(self, node: yaml.Node) -> int:
        word = scalar(node, self.allowed).value
        found = re.fullmatch(r"([0-9]{1,18}) ?([A-Za-z]*)", word)
        if not found:
            raise refuse(node, f'"{shown(node)}" is not a size', self.allowed)
        number, unit = int(found[1]), found[2]
        if unit not in SIZE_UNITS:
            meant = {"k": "KiB", "m": "MiB", "g": "GiB"}.get(unit[:1].lower(), "")
            near = self._nearest(number * SIZE_UNITS[meant or "B"]) if meant or not unit else ""
            message = f'"{unit}" in "{word}" is not a unit of size (KiB MiB GiB)' if unit else f'"{word}" has no unit'
            raise refuse(node, message, self.allowed, near)
        value = number * SIZE_UNITS[unit]
        if not self.low <= value <= self.high:
            raise refuse(node, f"{word} is out of range", self.allowed, self._nearest(value))
        if self.power and value != _power(value):
            raise refuse(node, f"{word} is not a power of two", self.allowed, self._nearest(value))
        return value

    def _nearest(self, value: int) -> str:
        """The allowed size that is meant by one that is not: a suggestion that is refused in turn would be none."""
        return size_text(min(max(_power(value) if self.power else value, self.low), self.high))

    def write(self, value: int) -> str:
        return size_text(value)


@dataclass(frozen=True, slots=True)
class Text:
    """Text of a form: `pattern` must match all of it; `form` says it in words. `words` need no quotes, whatever YAML makes
    of them (off is a truth value to it)."""

    pattern: str
    form: str
    words: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        return self.form

    def read(self, node: yaml.Node) -> str:
        word = scalar(node, self.allowed).value
        if word in self.words:
            return str(word)
        if node.tag != _TEXT_TAG:
            what = _NUMBER_TAGS.get(node.tag, "not text")
            raise refuse(node, f"{shown(node)} is {what} to YAML; put it in quotes", self.allowed, f'"{shown(node)}"')
        if not re.fullmatch(self.pattern, word):
            raise refuse(node, f'"{shown(node)}" does not have the right form', self.allowed)
        return str(word)

    def write(self, value: str) -> str:
        plain = value in self.words or (_PLAIN.fullmatch(value) and value.lower() not in _RESERVED)
        return value if plain else json.dumps(value)


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen, or `off`."""

    @property
    def allowed(self) -> str:
        return '"host:port", ":port" for all addresses, "[v6]:port", or off'

    def read(self, node: yaml.Node) -> Endpoint | None:
        word = scalar(node, self.allowed).value
        if word == "off":
            return None
        if re.fullmatch(r"[0-9]+", word):
            raise refuse(node, f'"{word}" is a port without an address', self.allowed, f'":{word}"')
        found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]*)):([0-9]{1,5})", word)
        if not found:
            raise refuse(node, f'"{shown(node)}" is not host:port', self.allowed, _meant_endpoint(word))
        bracketed, plain, port = found[1], found[2], int(found[3])
        if port > 65535:
            raise refuse(node, f"port {port} is above 65535", self.allowed)
        host = bracketed or plain or ""
        numeric = bracketed is not None or re.fullmatch(r"[0-9.]+", host)
        try:
            if numeric:
                ipaddress.ip_address(host)
        except ValueError:
            raise refuse(node, f'"{host}" is not an address', self.allowed) from None
        return Endpoint(host, port)

    def write(self, value: Endpoint | None) -> str:
        return f'"{value}"' if value else "off"


def _power(value: int) -> int:
    """The power of two that holds `value`."""
    return 1 << max(value - 1, 0).bit_length()


def _meant_endpoint(word: str) -> str:
    """host:port out of a URL, or of an IPv6 address without brackets."""
    if url := re.fullmatch(r"https?://([^/\s]+:[0-9]+)/?", word):
        return f'"{url[1]}"'
    host, _, port = word.rpartition(":")
    try:
        return f'"[{ipaddress.IPv6Address(host)}]:{port}"'
    except ValueError:
        return ""


def duration_text(nanoseconds: int) -> str:
    """Shortest exact writing with one unit: 7_200_000_000_000 is 2h."""
    if nanoseconds == 0:
        return "0s"
    for unit, factor in reversed(DURATION_UNITS.items()):
        if nanoseconds % factor == 0:
            return f"{nanoseconds // factor}{unit}"
    return f"{nanoseconds}ns"


def size_text(size: int) -> str:
    """Shortest exact writing with one unit: 8_388_608 is 8MiB."""
    for unit, factor in reversed(SIZE_UNITS.items()):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"
