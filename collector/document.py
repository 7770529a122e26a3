# SPDX-License-Identifier: Apache-2.0
"""A YAML text as a tree of nodes that know their lines, or one fault that says why it is none.

Nothing is constructed: nodes are only composed, after a pass over the events has bounded size, depth and aliases, so a
hostile file costs no more than a long one.
"""

import re
from dataclasses import dataclass

import yaml

MOST_BYTES = 256 << 10
MOST_DEPTH = 16
MOST_ALIASES = 32


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where (`origin` is a file, an option or a variable; line 0 means all of it), at which
    key, with which value, what is wrong about it, what is allowed, and what was probably meant.
    """

    origin: str
    line: int
    key: str
    value: str
    message: str
    allowed: str = ""
    nearest: str = ""

    def __str__(self) -> str:
        place = f"{self.origin}:{self.line}" if self.line else self.origin
        hints = [f"allowed: {self.allowed}"] if self.allowed else []
        hints += [f"did you mean {self.nearest}?"] if self.nearest else []
        tail = f" ({', '.join(hints)})" if hints else ""
        return _one_line(f"{place}: {self.key}: {self.message}{tail}" if self.key else f"{place}: {self.message}{tail}")


class Unreadable(Exception):
    """The text is no YAML document; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def _one_line(text: str) -> str:
    """What stands in a file may not write to the terminal or make a second line."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def compose(text: bytes, origin: str) -> yaml.Node | None:
    """The root node of `text`, None if it holds nothing; raises Unreadable."""
    if len(text) > MOST_BYTES:
        raise _unreadable(origin, 0, f"is {len(text)} bytes long", f"at most {MOST_BYTES} bytes")
    decoded = _decode(text, origin)
    try:
        _bound(decoded, origin)
        return yaml.compose(decoded, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise _syntax(error, origin) from None
    except yaml.reader.ReaderError as error:
        line = decoded.count("\n", 0, error.position) + 1
        raise _unreadable(
            origin, line, f"has a character that YAML forbids: U+{_code(error.character):04X}", "printable text"
        ) from None


def _code(character: str | int) -> int:
    return ord(character) if isinstance(character, str) else int(character)


def _decode(text: bytes, origin: str) -> str:
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise _unreadable(
            origin, line, f"is not UTF-8: byte 0x{text[error.start]:02x} at offset {error.start}", "UTF-8 text"
        ) from None


def _bound(text: str, origin: str) -> None:
    depth = aliases = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark is not None else 0
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
        if depth > MOST_DEPTH:
            raise _unreadable(origin, line, "is nested too deeply", f"at most {MOST_DEPTH} levels")
        if aliases > MOST_ALIASES:
            raise _unreadable(origin, line, "has too many aliases", f"at most {MOST_ALIASES}")


def _syntax(error: yaml.MarkedYAMLError, origin: str) -> Unreadable:
    mark, start = error.problem_mark, error.context_mark
    line = mark.line + 1 if mark is not None else 0
    problem = re.sub(r"\s+", " ", str(error.problem or error.context or "cannot be read"))
    if "'\\t'" in problem or "\t" in str(error.problem):
        return _unreadable(origin, line, "has a tab where YAML wants spaces", "spaces for indentation")
    if "expected a single document" in str(error.context):
        return _unreadable(origin, line, "starts a second document", "one document in a file")
    context = re.sub(r"\s+", " ", str(error.context)) if error.context else ""
    since = f" {context} of line {start.line + 1}," if context and start is not None else ""
    return _unreadable(origin, line, f"is not YAML:{since} {problem}", "a YAML mapping")


def _unreadable(origin: str, line: int, message: str, allowed: str) -> Unreadable:
    return Unreadable(Fault(origin, line, "", "", message, allowed))
