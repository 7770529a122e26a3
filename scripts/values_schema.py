# SPDX-License-Identifier: Apache-2.0
"""The chart's values.schema.json with `config` and `names.config` made from the configuration's table: `make docs`.

Printed is the whole file; everything else in it is written by hand. So Helm refuses a key that the agent would refuse, and
a value of another form, before a pod that cannot start is made. What JSON cannot say (limits of durations and
sizes, rules of several keys) stays the agent's own: `firesteel check-config`. Those rules of
several keys that the chart's own values break easily are in its templates/_refusals.tpl.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from collector.compound_kinds import Items, Table
from collector.keys import Key, members
from collector.kinds import DURATION_UNITS, SIZE_UNITS, Choice, Count, Duration, Flag, Kind, Listen, Share, Size, Text
from collector.schema import Config

SCHEMA: Final = Path(__file__).resolve().parent.parent / "deploy/helm/firesteel/values.schema.json"
OF_AGENTS: Final = frozenset({("driver",), ("listen", "metrics")})
"""What the chart sets itself for the agents: each profile's driver, and metricsPort."""
OF_NAMES: Final = frozenset({("driver",), ("listen", "metrics"), ("listen", "names")})
"""The same for the names service: metricsPort and names.port. It has no driver."""
_MOST_REPEATS: Final = 1000
"""Go's expressions, which Helm uses, repeat a part at most so often."""
Schema = dict[str, Any]


def whole() -> str:
    """The file as it ought to be."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    values = schema["properties"]
    about = "Keys of docs/config.md, without those that the chart itself sets."
    agents, names = (section(Config, (), without) for without in (OF_AGENTS, OF_NAMES))
    for name, part in names["properties"].items():
        if part == agents["properties"][name]:
            names["properties"][name] = {"$ref": f"#/properties/config/properties/{name}"}
    values["config"] = {"description": about, **agents}
    values["names"]["properties"]["config"] = {"description": about, **names}
    return json.dumps(schema, indent=2) + "\n"


def section(of: type[Any], path: tuple[str, ...], without: frozenset[tuple[str, ...]]) -> Schema:
    """One section: these keys, and no others. Null is one of which every key is commented out."""
    properties = {
        name: of_kind(member.kind) if isinstance(member, Key) else section(member, (*path, name), without)
        for name, member in members(of, path)
        if (*path, name) not in without
    }
    return {"type": ["object", "null"] if path else "object", "additionalProperties": False, "properties": properties}


def of_kind(kind: Kind[Any]) -> Schema:
    """What Helm may let through for one kind of value. Raises TypeError for a kind that is not known here."""
    match kind:
        case Items():
            return _items(kind)
        case Table():
            return _table(kind)
        case Flag():
            return {"type": "boolean"}
        case Choice():
            # What YAML takes for truth values reaches the agent as the same word.
            return {"enum": [*kind.words, *(word == "true" for word in kind.words if word in {"true", "false"})]}
        case Count():
            return {"type": "integer", "minimum": kind.low, "maximum": kind.high}
        case Share():
            return {"type": "number", "minimum": 0, "maximum": 1}
    return _text(_pattern(kind))


def _pattern(kind: Kind[Any]) -> str:
    """Of the kinds that are written as text."""
    match kind:
        case Duration():
            return rf"([0-9]+(\.[0-9]+)?({'|'.join(DURATION_UNITS)}))+"
        case Size(power=True):
            return "|".join(f"({_powers(kind, factor)}) ?{unit}" for unit, factor in SIZE_UNITS.items())
        case Size():
            return f"[0-9]{{1,18}} ?({'|'.join(SIZE_UNITS)})"
        case Listen():
            return r"off|(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*):[0-9]{1,5}"
        case Text():
            return "|".join((kind.pattern, *kind.words))
    raise TypeError(f"no schema for a {type(kind).__name__}")


def _powers(kind: Size, factor: int) -> str:
    """All that are allowed in one unit."""
    powers = (1 << bit for bit in range(kind.low.bit_length() - 1, kind.high.bit_length()))
    return "|".join(str(size // factor) for size in powers if size >= factor)


def _text(pattern: str) -> Schema:
    """All of the text must match; how long a part may be is left to the agent where Go cannot count so far."""
    pattern = re.sub(
        r"\{(\d+),(\d+)\}", lambda found: f"{{{found[1]},}}" if int(found[2]) > _MOST_REPEATS else found[0], pattern
    )
    return {"type": "string", "pattern": f"^({pattern})$"}


def _items(kind: Items[Any]) -> Schema:
    least: Schema = {"minItems": kind.least} if kind.least else {}
    several = {"type": "array", "items": of_kind(kind.item), "maxItems": kind.most, "uniqueItems": True, **least}
    return {"anyOf": [{"enum": list(kind.alone)}, several]} if kind.alone else several


def _table(kind: Table[Any, Any]) -> Schema:
    """Names in JSON are text, so a number's limits are the agent's."""
    names: Mapping[str, Any] = {"pattern": "^[0-9]+$"} if isinstance(kind.name, Count) else of_kind(kind.name)
    return {
        "type": "object",
        "propertyNames": names,
        "additionalProperties": of_kind(kind.value),
        "maxProperties": kind.most,
    }


if __name__ == "__main__":
    sys.stdout.write(whole())
