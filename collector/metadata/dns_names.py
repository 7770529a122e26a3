# SPDX-License-Identifier: Apache-2.0
"""Names of addresses outside, as DNS answers told them: `dst_domain`.

A name holds for the network namespace that received the answer and nowhere else: what one pod was told says nothing about
what another one meant by the same address. It holds for its TTL and an hour longer, for connections outlive answers.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from analyzers.rows import Domain

LIMIT: Final = 8192
GRACE_NS: Final = 3600 * 10**9
NAMES_TOLD: Final = 8
"""Of one address, for who asks about it: many sites may share one."""


class DnsNames:
    """Bounded; the name that was told longest ago goes first. `version` grows when an earlier answer has changed."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.version = 0
        self.generation = 0
        self._limit = limit
        self._names: OrderedDict[tuple[int, str], Domain] = OrderedDict()
        self._answered: OrderedDict[tuple[int, str], str] = OrderedDict()
        self._told: OrderedDict[str, dict[str, None]] = OrderedDict()
        """By address, each with the name that was told last at its end."""
        self._now_ns = 0

    def learn(self, told: Callable[[int], Iterable[Domain]], now_ns: int) -> None:
        """Takes what came after the newest that is known. `told` is asked with its generation."""
        self._now_ns = max(self._now_ns, now_ns)
        for domain in told(self.generation):
            key = (domain.netns, domain.ip)
            self.generation = max(self.generation, domain.generation)
            self._names[key] = domain
            self._names.move_to_end(key)
            self.version += self._answered.get(key, domain.name) != domain.name
            self._remember(domain)
        while len(self._names) > self._limit:
            self._names.popitem(last=False)

    def _remember(self, domain: Domain) -> None:
        told = self._told.setdefault(domain.ip, {})
        self._told.move_to_end(domain.ip)
        told.pop(domain.name, None)
        told[domain.name] = None
        if len(told) > NAMES_TOLD:
            del told[next(iter(told))]
        if len(self._told) > self._limit:
            self._told.popitem(last=False)

    def name(self, ip: str, netns: int) -> str:
        """Empty if nobody in that network namespace was told one, or long ago."""
        key = (netns, ip)
        domain = self._names.get(key)
        name = domain.name if domain and self._now_ns < domain.expires_ns + GRACE_NS else ""
        self._answered[key] = name
        self._answered.move_to_end(key)
        if len(self._answered) > self._limit:
            self._answered.popitem(last=False)
        return name

    def told(self, ip: str) -> list[str]:
        """The names by which anybody on this node asked for an address, at most NAMES_TOLD, the newest last."""
        return list(self._told.get(ip, ()))
