# SPDX-License-Identifier: Apache-2.0
"""Label text as both exposition formats want it.

Values come from wires and kernels: anything may be in them. Backslash, quote and newline are escaped
(https://prometheus.io/docs/instrumenting/exposition_formats/); other control characters and what is no Unicode become
U+FFFD; longer values than VALUE_LIMIT are cut. Two values that are the same afterwards are one label value.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

VALUE_LIMIT: Final = 256

_SPECIAL: Final = re.compile('[\\\\"\x00-\x1f\x7f-\x9f\ud800-\udfff]')
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}


@lru_cache(maxsize=2048)  # what is asked again is asked again soon; the names of pods that come and go fill any cache
def escaped(value: str) -> str:
    """`value` as it stands between the quotes."""
    if len(value) > VALUE_LIMIT:
        value = value[:VALUE_LIMIT]
    if _SPECIAL.search(value) is None:
        return value
    return _SPECIAL.sub(lambda found: _ESCAPES.get(found.group(), "\ufffd"), value)


def label_text(labels: Iterable[tuple[str, str]]) -> str:
    """What stands between the braces."""
    return ",".join([f'{name}="{escaped(value)}"' for name, value in labels])


@dataclass(frozen=True, slots=True)
class LabelForm:
    """How labels become one text: `write` makes it, `joint` stands between a row's labels and those of one of its
    series. Rows whose text is the same are one."""

    write: Callable[[Iterable[tuple[str, str]]], str]
    joint: str


PROMETHEUS: Final = LabelForm(label_text, ",")
