# SPDX-License-Identifier: Apache-2.0
"""What a protocol written in Python is: a class with `detect`, `frame` and `stitch`, found by an entry point.

    [project.entry-points."firesteel.protocols"]
    teatime = "teatime:Teatime"

It sees the beginnings of sampled exchanges that no parser of the engine decodes, in a process of its own (plugin_worker.py),
and says what they were. Counters do not pass through it: they stay the engine's. docs/extending.md tells more.
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final

GROUP: Final = "firesteel.protocols"
NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,30}")
CONTENT_BYTES: Final = 127
"""What a content is cut to; the engine's own are no longer."""


class Side(Enum):
    REQUEST = "request"
    RESPONSE = "response"


@dataclass(frozen=True, slots=True)
class Message:
    """What the beginning of one side says. `length` is that of the message in bytes, which may be more than was seen.

    `content` has to be safe to show: few values, none of them a secret.
    """

    length: int
    content: str = ""
    status: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was asked and what came of it, as the labels of the same names."""

    request_content: str
    response_content: str = ""
    status: int = 0
    is_error: bool = False


class ProtocolPlugin(ABC):
    """One object is made of it, without arguments, for all exchanges. Each call gets at most 255 bytes.

    Whatever it raises costs the exchange its name, is counted, and told in status.
    """

    name: ClassVar[str]
    """The value of the label `protocol`: small letters, digits, `-` and `_`; not one of the engine's own."""

    @abstractmethod
    def detect(self, data: bytes) -> bool:
        """Whether a request of this protocol begins with these bytes. Called for every exchange that nobody knows."""

    @abstractmethod
    def frame(self, data: bytes, side: Side) -> Message | None:
        """The message that begins here, or None if none does."""

    @abstractmethod
    def stitch(self, request: Message, response: Message | None) -> Outcome:
        """What becomes of both; `response` is None if there was none, or it could not be read."""


def printable(text: str) -> str:
    """As much of it as a label may show."""
    return "".join(char if " " <= char <= "~" else "." for char in text[:CONTENT_BYTES])
