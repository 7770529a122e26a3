# SPDX-License-Identifier: Apache-2.0
"""From a file, the environment and `--set` to one checked Config, or to everything that is wrong with them.

The file is `--config`, else FIRESTEEL_CONFIG, else /etc/firesteel/firesteel.yaml if there is one, else none. A variable
FIRESTEEL_A__B goes before the file, `--set a.b=c` before both. Every fault is collected; nothing is guessed.
"""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from collector.compound_kinds import Table
from collector.config_rules import BrokenRule, broken_rules
from collector.document import Fault, Unreadable, compose
from collector.keys import Key, members, sections
from collector.kinds import Refused, line_of, nearest, shown
from collector.schema import BY_NAME, KEYS, Config, build, value_of

DEFAULT_PATH = Path("/etc/firesteel/firesteel.yaml")
FILE_VARIABLE = "FIRESTEEL_CONFIG"
_PREFIX = "FIRESTEEL_"
# What Kubernetes sets in every pod beside a Service called firesteel or firesteel-something: not ours.
_SERVICE_LINK = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_.*)?)?)|FIRESTEEL_PORT")


# What is at the top of Kindling's configuration, and the parts of it that people copy: none is a slip of a key of ours.
_KINDLING = frozenset(
    {
        "application", "receivers", "analyzers", "processors", "exporters", "observability", "cgoreceiver", "networkanalyzer",
        "tcpconnectanalyzer", "tcpmetricanalyzer", "k8smetadataprocessor", "aggregateprocessor", "otelexporter",
    }
)  # fmt: skip


class ConfigError(Exception):
    """The configuration is wrong; `faults` is everything that was found."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a configuration comes from. `path` None means no file; `required` files must exist.

    `settings` are the texts of --set, `environment` the variables that start with FIRESTEEL_.
    """

    path: Path | None
    required: bool
    settings: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """What set a key: a file with its line, an option or a variable."""

    name: str
    line: int

    def __str__(self) -> str:
        return f"{self.name}:{self.line}" if self.line else self.name


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration, the source it can be read from again, and what set the keys that are set."""

    config: Config
    source: Source
    origins: Mapping[str, Origin]

    def beside_the_file(self) -> dict[str, str]:
        """Keys that an option or a variable set, and which; no values, for some are secret."""
        return {
            key: "--set" if origin.name.startswith("--set") else origin.name
            for key, origin in sorted(self.origins.items())
            if not origin.line
        }


def find_source(
    path: str | None = None, settings: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Source:
    """Which file, variables and options hold. `path` and `settings` come from the command line."""
    variables = os.environ if environment is None else environment
    ours = tuple(sorted((name, value) for name, value in variables.items() if name.startswith(_PREFIX)))
    named = path if path is not None else variables.get(FILE_VARIABLE) or None
    if named is not None:
        return Source(Path(named), True, tuple(settings), ours)
    return Source(DEFAULT_PATH, False, tuple(settings), ours)


def load(source: Source) -> Loaded:
    """Read and check everything; raises ConfigError."""
    return parse(read(source), source)


def read(source: Source) -> bytes:
    """The bytes of the file, none if it need not exist and does not; raises ConfigError."""
    if source.path is None:
        return b""
    try:
        return source.path.read_bytes()
    except FileNotFoundError:
        if not source.required:
            return b""
        raise ConfigError([Fault(str(source.path), 0, "", "", "there is no such file", "a YAML file")]) from None
    except OSError as error:
        # The agent reads it again without privileges: whose permission is missing is half of the answer.
        who = f" by user {os.geteuid()}" if isinstance(error, PermissionError) else ""
        message = f"cannot be read{who}: {error.strerror or error}"
        raise ConfigError([Fault(str(source.path), 0, "", "", message, "a readable YAML file")]) from None


def parse(text: bytes, source: Source) -> Loaded:
    """The same as `load`, with the file's bytes at hand."""
    reading = _Reading()
    reading.file(text, str(source.path))
    for name, value in source.environment:
        reading.variable(name, value)
    for setting in source.settings:
        reading.setting(setting)
    config = build(reading.values)
    if not reading.faults:
        reading.faults = [_rule_fault(rule, config, reading.origins) for rule in broken_rules(config)]
    if reading.faults:
        raise ConfigError(reading.faults)
    return Loaded(config, source, reading.origins)


def _rule_fault(rule: BrokenRule, config: Config, origins: Mapping[str, Origin]) -> Fault:
    """Blames the first of the rule's keys that somebody set: defaults alone break no rule."""
    name = next(name for name in rule.keys if name in origins)
    row = BY_NAME[name]
    value = row.kind.write(value_of(config, row))
    return Fault(origins[name].name, origins[name].line, name, value, rule.message, rule.allowed)


class _Reading:
    """One pass over all places; later ones win."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.origins: dict[str, Origin] = {}
        self.faults: list[Fault] = []

    def file(self, text: bytes, origin: str) -> None:
        try:
            root = compose(text, origin)
        except Unreadable as unreadable:
            self.faults.append(unreadable.fault)
            return
        if root is not None:
            self._section(root, Config, (), origin)

    def variable(self, name: str, value: str) -> None:
        if name == FILE_VARIABLE:
            return
        row = next((row for row in KEYS if row.variable == name), None)
        if row is not None:
            self._text(row, (), value, name)
            return
        for row in KEYS:  # a name inside of a mapping: FIRESTEEL_PROTOCOLS__SLOW__HTTP
            if name.startswith(row.variable + "__") and is_mapping(row):
                self._text(row, (name.removeprefix(row.variable + "__").lower(),), value, name)
                return
        near = _meant_variable(name)
        if not near and "__" not in name:
            return
        self.faults.append(Fault(name, 0, "", value, "no key has this variable", "FIRESTEEL_ and a key", near))

    def setting(self, setting: str) -> None:
        name, equals, value = setting.partition("=")
        name = name.strip()
        origin = f"--set {name}"
        if not equals:
            self.faults.append(
                Fault(f"--set {setting}", 0, "", "", "has no value", "KEY=VALUE, such as log.level=debug")
            )
            return
        row = BY_NAME.get(name)
        if row is not None:
            self._text(row, (), value, origin)
            return
        outer, _, inner = name.rpartition(".")
        row = BY_NAME.get(outer)
        if row is not None and is_mapping(row):
            self._text(row, (inner,), value, origin)
            return
        message, allowed = "is not a key", "a key of docs/config.md"
        if inside := [row.name for row in KEYS if row.name.startswith(name + ".")]:
            message, allowed = "is a section", " | ".join(inside)
        self.faults.append(Fault(origin, 0, "", value, message, allowed, nearest(name, list(BY_NAME))))

    def _section(self, node: yaml.Node, of: type[Any], path: tuple[str, ...], origin: str) -> None:
        if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
            return  # a section of which every key is commented out
        where = ".".join(path)
        known = dict(members(of, path))
        allowed = " | ".join(known)
        if not isinstance(node, yaml.MappingNode):
            message = f'"{shown(node)}" is not a mapping' if isinstance(node, yaml.ScalarNode) else "is not a mapping"
            self.faults.append(Fault(origin, line_of(node), where, shown(node), message, f"a mapping of {allowed}"))
            return
        seen: dict[str, int] = {}
        for name_node, child in node.value:
            name = shown(name_node)
            line = line_of(name_node)
            full = ".".join((*path, name))
            member = known.get(name)
            if name in seen:
                message = f"is there twice, first on line {seen[name]}"
                self.faults.append(Fault(origin, line, full, shown(child), message, "each key once"))
            elif member is None:
                names = list(known) if isinstance(name_node, yaml.ScalarNode) else []
                self._unknown(origin, line, full, child, names, allowed)
            elif isinstance(member, Key):
                self._value(member, child, origin, line)
            else:
                self._section(child, member, (*path, name), origin)
            seen.setdefault(name, line)

    def _unknown(self, origin: str, line: int, full: str, child: yaml.Node, names: list[str], allowed: str) -> None:
        section, _, name = full.rpartition(".")
        if full in _KINDLING:
            message = "is a key of Kindling, not of Firesteel; docs/from-kindling.md has both side by side"
            self.faults.append(Fault(origin, line, full, shown(child), message, allowed))
            return
        near = nearest(name, names)
        if not near:  # right name, wrong section
            elsewhere = [row.name for row in KEYS if row.path[-1] == name]
            elsewhere += [".".join(path) for path, _ in sections(Config) if path and path[-1] == name]
            near = elsewhere[0] if len(elsewhere) == 1 else ""
        inside = f"in {section}" if section else "at the top"
        self.faults.append(Fault(origin, line, full, shown(child), f"there is no such key {inside}", allowed, near))

    def _value(self, row: Key, node: yaml.Node, origin: str, line: int) -> None:
        try:
            self.values[row.name] = row.kind.read(node)
            self.origins[row.name] = Origin(origin, line)
        except Refused as refused:
            for part in refused.refusals:
                name = f"{row.name}.{part.item}" if part.item else row.name
                at = part.line if line else 0
                self.faults.append(Fault(origin, at, name, part.shown, part.message, part.allowed, part.nearest))

    def _text(self, row: Key, inner: tuple[str, ...], value: str, origin: str) -> None:
        """A value that came as text from a variable or an option: YAML, as it would stand in the file."""
        try:
            node = compose(value.encode("utf-8", "surrogateescape"), origin)
        except Unreadable as unreadable:
            fault = unreadable.fault
            self.faults.append(Fault(origin, 0, row.name, value, fault.message, row.kind.allowed))
            return
        mark = yaml.Mark(origin, 0, 0, 0, "", 0)
        dash = value.strip() == "-"  # a list of nothing to YAML, standard output to everybody else
        if node is None or dash:
            node = yaml.ScalarNode("tag:yaml.org,2002:str", "-" if dash else "", mark, mark)
        if inner:
            name = yaml.ScalarNode(_tag_of(inner[0]), inner[0], mark, mark)
            node = yaml.MappingNode("tag:yaml.org,2002:map", [*self._pairs(row, inner[0]), (name, node)], mark, mark)
        self._value(row, node, origin, 0)

    def _pairs(self, row: Key, but: str) -> list[tuple[yaml.Node, yaml.Node]]:
        """What earlier places put into a mapping, as nodes, so that one more name is added to them."""
        if row.name not in self.values:
            return []
        node = yaml.compose(row.kind.write(self.values[row.name]), Loader=yaml.SafeLoader)
        assert isinstance(node, yaml.MappingNode)
        return [pair for pair in node.value if pair[0].value != but]


def _meant_variable(name: str) -> str:
    """The variable that was probably meant. One without a double underscore may belong to somebody else: it must be
    a key's but for the underscores, or nearly a word of the top.
    """
    ours = [row.variable for row in KEYS]
    if "__" in name:
        near = nearest(name.removeprefix(_PREFIX), [variable.removeprefix(_PREFIX) for variable in ours])
        return near and _PREFIX + near
    if _SERVICE_LINK.fullmatch(name):
        return ""
    plain = {variable.replace("_", ""): variable for variable in ours if "__" in variable}
    if meant := plain.get(name.replace("_", "")):
        return meant
    at_top = [variable for variable in ours if "__" not in variable]
    return next(iter(difflib.get_close_matches(name, at_top, n=1, cutoff=0.9)), "")


def is_mapping(row: Key) -> bool:
    """Whether a key's value has names of its own, so that `--set key.name=value` may set one."""
    return isinstance(row.kind, Table)


def _tag_of(text: str) -> str:
    return "tag:yaml.org,2002:int" if text.isdigit() else "tag:yaml.org,2002:str"
