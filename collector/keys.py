# SPDX-License-Identifier: Apache-2.0
"""The rows of the configuration table, as fields of frozen dataclasses: how one is declared and how they are walked."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml

from collector.kinds import Kind

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Key:
    """One row of the table. `default` is the YAML text of the default; `restart` keys wait for one to take effect."""

    path: tuple[str, ...]
    kind: Kind[Any]
    default: str
    help: str
    restart: bool

    @property
    def name(self) -> str:
        """As written in `--set` and in messages: ring.size."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The environment variable that sets it: FIRESTEEL_RING__SIZE."""
        return "FIRESTEEL_" + "__".join(self.path).upper()


def key(kind: Kind[T], default: str, text: str, *, restart: bool = False) -> T:
    """A field of the table below; its default is read by its own kind, so a wrong default fails at import."""
    node = yaml.compose(default, Loader=yaml.SafeLoader)
    if node is None:
        raise ValueError(f"a default must be written out: {text}")
    value = kind.read(node)
    row = Key((), kind, default, text, restart)
    return dataclasses.field(default_factory=lambda: value, metadata={"key": row})


def section(of: type[T]) -> T:
    """A field that holds a section."""
    return dataclasses.field(default_factory=of, metadata={"section": of})


def sections(of: type[Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], type[Any]]]:
    """Every section with its path, the root first."""
    yield path, of
    for field in dataclasses.fields(of):
        if inner := field.metadata.get("section"):
            yield from sections(inner, (*path, field.name))


def members(of: type[Any], path: tuple[str, ...]) -> Iterator[tuple[str, Key | type[Any]]]:
    """The names in one section, each with its key or the section it opens."""
    for field in dataclasses.fields(of):
        if "key" in field.metadata:
            yield field.name, dataclasses.replace(field.metadata["key"], path=(*path, field.name))
        else:
            yield field.name, field.metadata["section"]


def collect(of: type[Any], path: tuple[str, ...]) -> Iterator[Key]:
    """Every key of a section and the sections in it."""
    for name, member in members(of, path):
        if isinstance(member, Key):
            yield member
        else:
            yield from collect(member, (*path, name))
