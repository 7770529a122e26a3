# SPDX-License-Identifier: Apache-2.0
"""What the command line asks of the agent beside its configuration, and how commands end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # reading configurations costs start time that `version` and `--help` need not pay
    from collector.config import Loaded


class Exit(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    NOT_AS_WISHED = 1
    WRONG_USE = 2
    NOT_PERMITTED = 3


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Of `run`. `loaded` also says where the configuration can be read from again."""

    loaded: Loaded


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """Of `record`: stop after `duration_ns` or once the file holds `max_bytes`, whichever is first; 0 is no limit.

    `path` is None for standard output.
    """

    loaded: Loaded
    path: Path | None
    duration_ns: int
    max_bytes: int
