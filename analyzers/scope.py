# SPDX-License-Identifier: Apache-2.0
"""What the user does not want to see by namespace (scope.exclude_namespaces)."""

from dataclasses import dataclass

from analyzers.edges import Ends
from analyzers.resolver import Party
from analyzers.rows import Role


@dataclass(frozen=True, slots=True)
class Scope:
    """A workload of an excluded namespace has no entity and asks nobody. Others may still ask it: their edge is theirs,
    unless nobody sees them, for then it would be told by the excluded one."""

    excluded_namespaces: frozenset[str] = frozenset()

    def has(self, party: Party) -> bool:
        return party.namespace not in self.excluded_namespaces

    def has_edge(self, asking: Party, answering: Party) -> bool:
        return self.has(asking) and (asking.observed or self.has(answering))

    def has_row(self, role: Role, ends: Ends) -> bool:
        """Whether a row's conversation is shown, whichever end it was seen from."""
        if not self.excluded_namespaces:
            return True
        if role is Role.SERVER:
            return self.has_edge(ends.remote, ends.local)
        if role is Role.CLIENT:
            return self.has_edge(ends.local, ends.remote)
        return self.has(ends.local)


EVERYTHING = Scope()
