# SPDX-License-Identifier: Apache-2.0
"""Whose sockets the engine need not count: those of the namespaces and workloads that scope.exclude_* names.

The engine knows owners by their cgroups, the agent knows whose these are. So the agent looks at each owner that the engine
has met, and tells it the cgroups of those that are left out; the engine counts nothing of them and has the kernel send
nothing. Until it has been told, and for what finds no room, the rows are left out when they are named
(analyzers/scope.py): the page is the same.
"""

from collections.abc import Iterable
from typing import Final

from analyzers.resolver import Resolver
from analyzers.rows import Identity
from analyzers.scope import EVERYTHING, Scope
from analyzers.settings import CGROUPS_ASIDE

_AGAIN_SECONDS: Final = 10.0
"""How often owners are asked about again while the resolver's answers change: a pod may be told of later than seen."""


class OwnersAside:
    """Which cgroups are left out. A cgroup that nobody was seen in lately stays, until there is no more room."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._scope = EVERYTHING
        self._asked: set[tuple[int, int]] = set()
        self._version = -1
        self._asked_at = float("-inf")
        self._aside: set[int] = set()

    @property
    def cgroups(self) -> tuple[int, ...]:
        """Ids, at most CGROUPS_ASIDE of them."""
        return tuple(sorted(self._aside))

    def configure(self, scope: Scope) -> None:
        """Another scope begins with nobody left out, until the next turn."""
        if scope != self._scope:
            self._scope = scope
            self._asked, self._aside = set(), set()

    @property
    def wanted(self) -> bool:
        """Whether anybody is left out, so that owners have to be looked at."""
        return not self._scope.has_everything

    def turn(self, identities: Iterable[Identity], now: float) -> bool:
        """Look at all owners there are. True when `cgroups` changed."""
        if not self.wanted:
            return False
        version = self._resolver.version()
        if version != self._version and now - self._asked_at >= _AGAIN_SECONDS:
            self._asked, self._version, self._asked_at = set(), version, now
        before, known, self._asked = set(self._aside), self._asked, set()
        present: set[int] = set()
        for identity in identities:
            present.add(identity.cgroup_id)
            key = (identity.index, identity.generation)
            if key in known or self._ask(identity):
                self._asked.add(key)
        if len(self._aside) > CGROUPS_ASIDE:
            self._aside &= present
            self._aside = set(sorted(self._aside)[:CGROUPS_ASIDE])
        return before != self._aside

    def _ask(self, identity: Identity) -> bool:
        """False if the answer may be another one in a moment."""
        party = self._resolver.local(identity, "", 0)
        if self._scope.has(party):
            self._aside.discard(identity.cgroup_id)
        elif identity.cgroup_id:
            self._aside.add(identity.cgroup_id)
        return not party.reason
