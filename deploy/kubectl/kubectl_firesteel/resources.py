# SPDX-License-Identifier: Apache-2.0
"""What containers may take. In large clusters somebody gives them more memory, with a budget in the ConfigMap that needs it and stays (docs/scale.md):
so that stays too, and what is put back is told."""

import copy
import re
from fractions import Fraction
from typing import Final

from .kubectl import Object
from .objects import pod_of

_QUANTITY: Final = re.compile(r"([+-]?[\d.]+)(?:[eE]([+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)")
_UNITS: Final = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1), "k": Fraction(1000),
    **{unit: Fraction(1000 ** (power + 2)) for power, unit in enumerate("MGTPE")},
    **{f"{unit}i": Fraction(1024 ** (power + 1)) for power, unit in enumerate("KMGTPE")},
}  # fmt: skip
_LIMIT: Final = "limits.memory"


def fitted_to(item: Object, there: Object) -> tuple[Object, list[str]]:
    """The DaemonSet or Deployment as it is to be written over `there`, and what to say of it."""
    fitted, told = copy.deepcopy(item), []
    theirs = {container["name"]: container.get("resources") or {} for container in pod_of(there)["containers"]}
    for container in pod_of(fitted)["containers"]:
        found, ours = theirs.get(container["name"]), container.get("resources") or {}
        if found is None or not (differing := _differing(found, ours)):
            continue
        name = f"resources of {container['name']} in {item['kind'].lower()}/{item['metadata']['name']}"
        if _is_higher(_flat(found).get(_LIMIT), _flat(ours).get(_LIMIT)):
            container["resources"] = found
            told.append(f"{name} stay, as their limit of memory is above ours: {differing}")
        else:
            told.append(f"{name} are put back, as their limit of memory is not above ours: {differing}")
    return fitted, told


def _differing(found: Object, ours: Object) -> str:
    there, wanted = _flat(found), _flat(ours)
    return ", ".join(
        f"{name} {there.get(name, 'none')} (ours {wanted.get(name, 'none')})"
        for name in sorted(there.keys() | wanted.keys())
        if name not in there or name not in wanted or amount(there[name]) != amount(wanted[name])
    )


def _flat(resources: Object) -> dict[str, str]:
    """Of limits and requests; what else there is (claims) we never write."""
    parts = {part: resources.get(part) or {} for part in ("limits", "requests")}
    return {f"{part}.{name}": str(value) for part, values in parts.items() for name, value in values.items()}


def _is_higher(found: str | None, ours: str | None) -> bool:
    """Without a limit there is none that could be too low."""
    return ours is not None and (found is None or amount(found) > amount(ours))


def amount(quantity: str) -> Fraction:
    """Of a Kubernetes quantity: 400Mi, 0.5, 100m, 1e9."""
    match = _QUANTITY.fullmatch(quantity)
    if match is None:
        raise ValueError(quantity)
    number, power, unit = match.groups()
    return Fraction(number) * (Fraction(10) ** int(power) if power else _UNITS[unit or ""])
