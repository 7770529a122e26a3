# SPDX-License-Identifier: Apache-2.0
"""How it stands with the names of Kubernetes, well or not: as records, as `kubernetes` of the status' JSON, and as sentences.

Ages are in seconds since the last sign: an object, a bookmark, or of the names service a line. None: nothing was heard yet.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class KindState:
    """One kind of object that the API server is asked for: `complete` once it was listed, `fault` while it is not heard."""

    kind: str
    complete: bool
    age_seconds: float | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class NamesServiceState:
    """`in_use` while it tells the other nodes' names, and not the API server. Its age has in it how long it did not hear the API
    server itself."""

    place: str
    in_use: bool
    complete: bool
    age_seconds: float | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class KubernetesState:
    """`complete` once everything was told, `age_seconds` and `fault` of what was not heard for longest, of those that names come
    from now."""

    complete: bool
    kinds: Sequence[KindState] = ()
    names_service: NamesServiceState | None = None
    fault: str = ""

    @property
    def age_seconds(self) -> float | None:
        """Of the longest silent; None where one of them was never heard, or nobody is asked."""
        ages = [source.age_seconds for source in self._sources()]
        return max((age for age in ages if age is not None), default=None) if None not in ages else None

    @property
    def first_fault(self) -> str:
        """Its own, else the first of its sources'."""
        return next((fault for fault in (self.fault, *(source.fault for source in self._sources())) if fault), "")

    def _sources(self) -> Sequence[KindState | NamesServiceState]:
        followed = (self.names_service,) if self.names_service is not None and self.names_service.in_use else ()
        return (*self.kinds, *followed)


def kubernetes_json(state: KubernetesState | None) -> dict[str, Any] | None:
    """None where no cluster is asked."""
    if state is None:
        return None
    return {
        "complete": state.complete,
        "age_seconds": state.age_seconds,
        "fault": state.first_fault,
        "kinds": [asdict(kind) for kind in state.kinds],
        "names_service": asdict(state.names_service) if state.names_service else None,
    }


def kubernetes_sentences(told: Mapping[str, Any]) -> Iterator[str]:
    """One for the whole of it, and one for each source that is not heard. `told` is what `kubernetes_json` made of it."""
    kinds, service = list(told.get("kinds") or ()), told.get("names_service") or {}
    if not kinds:
        yield f"No Kubernetes names: {told.get('fault') or 'nobody is asked'}."
        return
    asked = "the API server"
    if service.get("in_use"):
        asked += f" (this node) and the names service at {service.get('place')}"
    age = told.get("age_seconds")
    whole = "complete" if told.get("complete") else "not complete yet"
    heard = f", all heard in the last {age:.0f} s" if age is not None and not told.get("fault") else ""
    yield f"Kubernetes names from {asked}: {whole}{heard}."
    for source in (*kinds, service):
        if source.get("fault"):
            silent = source.get("age_seconds")
            since = "never heard" if silent is None else f"not heard for {silent:.0f} s"
            yield f"  {source.get('kind', 'names service')} {since}: {source['fault']}"
