# SPDX-License-Identifier: Apache-2.0
"""What the user does not want to see by namespace or workload (scope.exclude_namespaces, scope.exclude_workloads)."""

from dataclasses import dataclass

from analyzers.edges import Ends
from analyzers.resolver import Party
from analyzers.rows import Role


@dataclass(frozen=True, slots=True)
class Scope:
    """An excluded workload, or one of an excluded namespace, has no entity and asks nobody. Others may still ask it: their edge is theirs,
    unless nobody sees them, for then it would be told by the excluded one."""

    excluded_namespaces: frozenset[str] = frozenset()
    excluded_workloads: frozenset[str] = frozenset()
    """As namespace/name."""

    def has(self, party: Party) -> bool:
        if party.namespace in self.excluded_namespaces:
            return False
        return not self.excluded_workloads or f"{party.namespace}/{party.workload_name}" not in self.excluded_workloads

    def has_edge(self, asking: Party, answering: Party) -> bool:
        return self.has(asking) and (asking.observed or self.has(answering))

    @property
    def has_everything(self) -> bool:
        return not self.excluded_namespaces and not self.excluded_workloads

    def has_row(self, role: Role, ends: Ends, *, both_here: bool = False) -> bool:
        """Whether a row's conversation is shown, whichever end it was seen from. Only a row that is told for both ends,
        `both_here`, can be of interest although its own end is excluded: the engine does not even have the others
        (analyzers/native/scope.c)."""
        if self.has_everything:
            return True
        if not both_here and not self.has(ends.local):
            return False
        if role is Role.SERVER:
            return self.has_edge(ends.remote, ends.local)
        if role is Role.CLIENT:
            return self.has_edge(ends.local, ends.remote)
        return self.has(ends.local)


EVERYTHING = Scope()
