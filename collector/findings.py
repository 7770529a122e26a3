# SPDX-License-Identifier: Apache-2.0
"""What a check of `firesteel doctor` says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from collector.host import Host
from collector.schema import Config

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """`state` is ok, warn (something will be missing) or fail (the agent cannot do its work)."""

    state: str
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the doctor's table. A check answers with a finding for each thing it looked at."""

    name: str
    run: Callable[[Host, Config], Sequence[Finding]]
