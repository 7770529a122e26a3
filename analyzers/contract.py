# SPDX-License-Identifier: Apache-2.0
"""Names and limits of the C contract headers, by number, as the compiler saw them."""

from collections.abc import Callable
from typing import Any, Final, cast

from analyzers._native import ffi, lib


def _listed(name_of: Callable[[int], Any]) -> tuple[str, ...]:
    names: list[str] = []
    while (text := name_of(len(names))) != ffi.NULL:
        names.append(cast("bytes", ffi.string(text)).decode())
    return tuple(names)


PROTOCOLS: Final = _listed(lib.fs_read_protocol_name)
"""Label values by enum fs_protocol_id."""

VERBS: Final = _listed(lib.fs_read_verb_name)
"""Methods of HTTP by enum fs_verb; number 0 is any other one and empty."""

EVENTS: Final = _listed(lib.fs_read_event_name)
"""By enum fs_event_type; number 0 is no event and empty."""

REASONS: Final = tuple(name.lower() for name in _listed(lib.fs_read_reason_name))
"""Why a payload is missing, by enum fs_reason."""

REASON_HELP: Final = dict(zip(REASONS, _listed(lib.fs_read_reason_help), strict=True))
"""A sentence for each reason."""

STATS: Final = _listed(lib.fs_read_stat_name)
"""Fields of struct fs_stats, in their order."""

STAT_HELP: Final = dict(zip(STATS, _listed(lib.fs_read_stat_help), strict=True))
"""A sentence for each statistic."""

TRANSPORTS: Final = {6: "tcp", 17: "udp"}
"""By enum fs_l4, the IP protocol number."""

CLUSTERINGS: Final = ("noparam", "alphabet", "blank", "learn")
"""Ways to cluster URL paths, by enum fs_clustering."""
