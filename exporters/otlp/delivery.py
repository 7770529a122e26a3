# SPDX-License-Identifier: Apache-2.0
"""What becomes of a request: the seam between the lanes that send and the channels that carry.

Which answers are worth another attempt: https://opentelemetry.io/docs/specs/otlp/, "Failures".
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Signal(StrEnum):
    METRICS = "metrics"
    SPANS = "spans"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`retry`: the same request may succeed later, after `wait` seconds if the receiver named them. `rejected` is how
    many items the receiver took the rest without. `error` is empty on success."""

    error: str = ""
    retry: bool = False
    wait: float = 0.0
    rejected: int = 0

    @property
    def delivered(self) -> bool:
        return not self.error


class Channel(Protocol):
    """Carries one request at a time for each signal. Never raises."""

    def send(self, signal: Signal, body: bytes) -> Outcome: ...

    def close(self) -> None: ...


class ChannelError(Exception):
    """The channel cannot be made: a file that cannot be read, a URL that means nothing. Says which and why."""
