# SPDX-License-Identifier: Apache-2.0
"""Teatime, spoken by no other machine: a line with a verb, a pot and a tea, and a line with a number in answer.

BREW pot-17 earl-grey
202 brewing
BREW kettle-3 coffee
418 I am a kettle
"""

from typing import ClassVar

from analyzers.plugin import Message, Outcome, ProtocolPlugin, Side

_VERBS = (b"BREW", b"POUR", b"WHEN")
_LINE_BYTES = 128


class Teatime(ProtocolPlugin):
    """Requests are shown as verb and tea. Pots are many, so they are left out."""

    name: ClassVar[str] = "teatime"

    def detect(self, data: bytes) -> bool:
        verb, blank, _ = data.partition(b" ")
        return bool(blank) and verb in _VERBS and b"\n" in data[:_LINE_BYTES]

    def frame(self, data: bytes, side: Side) -> Message | None:
        line, end, _ = data.partition(b"\n")
        words = line.decode("ascii", "replace").split()
        if not end or not words:
            return None
        if side is Side.REQUEST:
            return Message(len(line) + 1, content=" ".join((words[0], *words[2:3])))
        if not words[0].isdecimal():
            return None
        return Message(len(line) + 1, content=words[0], status=int(words[0]))

    def stitch(self, request: Message, response: Message | None) -> Outcome:
        if response is None:
            return Outcome(request.content)
        return Outcome(request.content, response.content, response.status, is_error=response.status >= 400)
