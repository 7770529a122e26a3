# SPDX-License-Identifier: Apache-2.0
"""Kinds made of other kinds: lists and mappings. Each refuses every wrong part, not only the first."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar, cast

import yaml

from collector.kinds import Count, Kind, Refusal, Refused, nearest, refuse, scalar, shown

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Items(Generic[T]):
    """A list of one kind without doubles; with `alone`, one of these words may stand instead of the list."""

    item: Kind[T]
    most: int
    alone: tuple[str, ...] = ()
    least: int = 0

    @property
    def allowed(self) -> str:
        listing = f"a list [..] of up to {self.most}: {self.item.allowed}"
        return f"{' | '.join(self.alone)}, or {listing}" if self.alone else listing

    def read(self, node: yaml.Node) -> tuple[T, ...]:
        if not isinstance(node, yaml.SequenceNode):
            return self._read_alone(node)
        if not self.least <= len(node.value) <= self.most:
            raise refuse(node, f"has {len(node.value)} entries", self.allowed)
        values: list[T] = []
        refusals: list[Refusal] = []
        for child in node.value:
            try:
                value = self.item.read(child)
            except Refused as refused:
                refusals.extend(refused.refusals)
                continue
            if value in values:
                refusals.extend(refuse(child, f'"{shown(child)}" is there twice', "each entry once").refusals)
            values.append(value)
        if refusals:
            raise Refused(refusals)
        return tuple(values)

    def write(self, value: tuple[T, ...]) -> str:
        if len(value) == 1 and value[0] in self.alone:
            return str(value[0])
        return f"[{', '.join(self.item.write(part) for part in value)}]"

    def _read_alone(self, node: yaml.Node) -> tuple[T, ...]:
        if isinstance(node, yaml.ScalarNode) and node.value in self.alone:
            return (cast("T", node.value),)
        if isinstance(node, yaml.MappingNode):
            raise refuse(node, "is a mapping, not a list", self.allowed)
        word = scalar(node, self.allowed).value
        near = nearest(word, self.alone) or (f"[{word}]" if self._takes(node) else "")
        other = "neither one of the choices nor a list" if self.alone else "not a list"
        raise refuse(node, f'"{shown(node)}" is {other}', self.allowed, near)

    def _takes(self, node: yaml.Node) -> bool:
        """Whether `node` would do as an entry."""
        try:
            self.item.read(node)
        except Refused:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Table(Generic[K, V]):
    """A mapping from one kind to another; what is not written keeps the value it has in `base`."""

    name: Kind[K]
    value: Kind[V]
    most: int
    base: tuple[tuple[K, V], ...] = ()

    @property
    def allowed(self) -> str:
        return f"a mapping {{name: value}}; name: {self.name.allowed}; value: {self.value.allowed}"

    def read(self, node: yaml.Node) -> Mapping[K, V]:
        if not isinstance(node, yaml.MappingNode):
            raise refuse(node, f'"{shown(node)}" is not a mapping', self.allowed)
        if len(node.value) > self.most:
            raise refuse(node, f"has {len(node.value)} entries, at most {self.most} fit", self.allowed)
        values = dict(self.base)
        seen: set[K] = set()
        refusals: list[Refusal] = []
        for name_node, value_node in node.value:
            try:
                name = self.name.read(self._name_of(name_node))
                if name in seen:
                    raise refuse(name_node, f'"{shown(name_node)}" is there twice', "each name once")
                seen.add(name)
                values[name] = self._read_value(name_node, value_node)
            except Refused as refused:
                refusals.extend(refused.refusals)
        if refusals:
            raise Refused(refusals)
        return MappingProxyType(values)

    def write(self, value: Mapping[K, V]) -> str:
        pairs = (f"{self.name.write(name)}: {self.value.write(part)}" for name, part in value.items())
        return "{" + ", ".join(pairs) + "}"

    def _name_of(self, node: yaml.Node) -> yaml.Node:
        """A number in quotes as the number: JSON has no other names, nor has what Helm makes of a chart's values."""
        kind = cast("object", self.name)
        if isinstance(kind, Count) and isinstance(node, yaml.ScalarNode) and node.value.isdigit():
            return yaml.ScalarNode("tag:yaml.org,2002:int", node.value, node.start_mark, node.end_mark)
        return node

    def _read_value(self, name_node: yaml.Node, value_node: yaml.Node) -> V:
        try:
            return self.value.read(value_node)
        except Refused as refused:
            raise Refused(
                [
                    Refusal(part.message, part.shown, part.allowed, part.nearest, part.line, shown(name_node))
                    for part in refused.refusals
                ]
            ) from None
