# SPDX-License-Identifier: Apache-2.0
"""The agent's log: one line names the object, what happened to it, the cause and the remedy.

Lines go through the standard library's logging, so those of libraries look the same. A message that repeats is written
once per `log.repeat_every` and then says how often it came.
"""

import json
import logging
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

from collector import schema

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_MOST_REMEMBERED = 512
_BARE = re.compile(r"[^\s=\"\\\x00-\x1f\x7f]+")
_ROOT = "firesteel"


@dataclass(frozen=True, slots=True)
class Line:
    """What is written: `fields` are cause, remedy and whatever else the caller names, in that order."""

    time: float
    level: str
    subject: str
    message: str
    fields: tuple[tuple[str, str], ...]


class Log:
    """Writes about one object: `Log("driver").warning("core was not chosen", cause="no BTF", remedy="...")`."""

    __slots__ = ("_logger",)

    def __init__(self, subject: str) -> None:
        self._logger = logging.getLogger(f"{_ROOT}.{subject}")

    def debug(self, message: str, *, cause: str = "", remedy: str = "", **fields: object) -> None:
        self._write(logging.DEBUG, message, cause, remedy, fields)

    def info(self, message: str, *, cause: str = "", remedy: str = "", **fields: object) -> None:
        self._write(logging.INFO, message, cause, remedy, fields)

    def warning(self, message: str, *, cause: str = "", remedy: str = "", **fields: object) -> None:
        self._write(logging.WARNING, message, cause, remedy, fields)

    def error(self, message: str, *, cause: str = "", remedy: str = "", **fields: object) -> None:
        self._write(logging.ERROR, message, cause, remedy, fields)

    def _write(self, level: int, message: str, cause: str, remedy: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            told = {"cause": cause, "remedy": remedy} | {name: str(value) for name, value in fields.items()}
            kept = tuple((name, value) for name, value in told.items() if value)
            self._logger.log(level, "%s", message, extra={"firesteel_fields": kept})


def configure(settings: schema.Log, stream: TextIO | None = None) -> None:
    """Put level, format and repetition in force, at the start and at each reload."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, _Handler):
            root.removeHandler(handler)
    root.addHandler(_Handler(stream or sys.stderr, FORMATS[settings.format], settings.repeat_every))
    root.setLevel(max(_LEVELS[settings.level], logging.INFO))  # libraries' debugging is nobody's business here
    logging.getLogger(_ROOT).setLevel(_LEVELS[settings.level])


def logfmt(line: Line) -> str:
    """time=... level=info object=driver msg="..." cause="..." remedy="..." """
    pairs = [("time", _stamp(line.time)), ("level", line.level), ("object", line.subject), ("msg", line.message)]
    return " ".join(f"{name}={_quoted(value)}" for name, value in (*pairs, *line.fields))


def as_json(line: Line) -> str:
    """One JSON object."""
    head = {"time": _stamp(line.time), "level": line.level, "object": line.subject, "msg": line.message}
    return json.dumps({**head, **dict(line.fields)}, ensure_ascii=False)


def as_text(line: Line) -> str:
    """For a person at a terminal."""
    clock = datetime.fromtimestamp(line.time, UTC).astimezone().strftime("%H:%M:%S")
    named = dict(line.fields)
    cause, remedy = named.pop("cause", ""), named.pop("remedy", "")
    rest = "".join(f" {name}={_quoted(value)}" for name, value in named.items())
    sentence = line.message + (f": {cause}" if cause else "") + (f"; {remedy}" if remedy else "") + rest
    level = "" if line.level == "info" else f"{line.level.upper()} "
    return f"{clock} {level}{line.subject}: {_one_line(sentence)}"


FORMATS: dict[str, Callable[[Line], str]] = {"logfmt": logfmt, "json": as_json, "text": as_text}


@dataclass(slots=True)
class _Seen:
    until: float
    line: Line
    more: int = 0


class _Handler(logging.Handler):
    """Writes lines and holds back repetitions; what it remembers is bounded."""

    def __init__(self, stream: TextIO, write: Callable[[Line], str], repeat_ns: int) -> None:
        super().__init__()
        self._stream = stream
        self._text = write
        self._interval = repeat_ns / 1e9
        self._seen: OrderedDict[tuple[str, str, str], _Seen] = OrderedDict()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = _line(record)
            now = time.monotonic()
            self._tell_held_back(now)
            name = (line.level, line.subject, line.message)
            seen = self._seen.get(name)
            if seen is not None:
                seen.more += 1
                seen.line = line
                return
            if self._interval:
                self._seen[name] = _Seen(now + self._interval, line)
            self._put(line)
        except (OSError, ValueError):
            self.handleError(record)

    def _tell_held_back(self, now: float) -> None:
        """Entries are in the order in which their interval ends."""
        while self._seen:
            name, seen = next(iter(self._seen.items()))
            if seen.until > now and len(self._seen) < _MOST_REMEMBERED:
                return
            del self._seen[name]
            if seen.more:
                self._put(_repeated(seen))

    def close(self) -> None:
        """Say what was held back."""
        for seen in self._seen.values():
            if seen.more:
                self._put(_repeated(seen))
        self._seen.clear()
        super().close()

    def _put(self, line: Line) -> None:
        self._stream.write(self._text(line) + "\n")
        self._stream.flush()


def _repeated(seen: _Seen) -> Line:
    line = seen.line
    return Line(line.time, line.level, line.subject, line.message, (*line.fields, ("repeated", str(seen.more))))


def _line(record: logging.LogRecord) -> Line:
    subject = record.name.removeprefix(_ROOT + ".")
    fields: tuple[tuple[str, str], ...] = getattr(record, "firesteel_fields", ())
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        fields = (*fields, ("cause", f"{type(error).__name__}: {error}"))
    return Line(record.created, record.levelname.lower(), subject, record.getMessage(), fields)


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _quoted(value: str) -> str:
    return value if _BARE.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
