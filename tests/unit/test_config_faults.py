# SPDX-License-Identifier: Apache-2.0
"""Files with one fault each, made for every key there is: named with line, key and what is allowed, at the start and as a
hot reload, where what was in force stays in force."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from collector.config import ConfigError, Loaded, find_source, load
from collector.document import Fault
from collector.keys import Key
from collector.schema import KEYS
from collector.watcher import ConfigWatcher, Rejected

# Nothing that a key of any kind takes.
FAULTS = ("[[]]", "{'': {}}", "'\\x01nothing at all'", "1e999")
TEXTS_OF_ANY_KIND = {"metrics.cluster_label"}


def _nested(row: Key, value: str) -> tuple[str, int]:
    """A file that sets this one key after some others, and the key's line."""
    lines = ["# a file", "log:", "  level: info"] if row.path[0] != "log" else ["# a file"]
    for depth, name in enumerate(row.path):
        last = depth == len(row.path) - 1
        lines.append("  " * depth + f"{name}:" + (f" {value}" if last else ""))
    return "\n".join(lines) + "\n", len(lines)


def cases() -> Iterator[tuple[Key, str]]:
    for row in KEYS:
        for value in FAULTS:
            if value == FAULTS[1] and row.default.startswith("{"):
                continue  # its names are tried by the fault of a mapping of mappings below
            yield row, value
        yield row, ""


CASES = list(cases())


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 200


@pytest.fixture
def in_force(tmp_path: Path) -> tuple[Path, Loaded]:
    path = tmp_path / "firesteel.yaml"
    path.write_text("log: {level: warning}\n")
    return path, load(find_source(str(path), environment={}))


def faults_of(loaded: Loaded) -> Sequence[Fault]:
    try:
        load(loaded.source)
    except ConfigError as error:
        return error.faults
    return ()


def test_each_is_told_and_changes_nothing(in_force: tuple[Path, Loaded]) -> None:
    path, loaded = in_force
    watcher = ConfigWatcher(loaded)
    watcher.poll()
    refused = 0
    for row, value in CASES:
        text, line = _nested(row, value)
        path.write_text(text)
        found = faults_of(loaded)
        if not found:
            # The one text that these keys would take.
            assert value == FAULTS[3] or row.name in TEXTS_OF_ANY_KIND, (row.name, value)
            continue
        (fault,) = found
        told = str(fault)
        assert fault.line == line, (text, told)
        assert told.startswith(f"{path}:{line}: {row.name}"), told
        assert "allowed: " in told, told
        assert fault.value in fault.message, told
        assert fault.value or not value, told
        watcher.request()
        news = watcher.poll()
        assert isinstance(news, Rejected), (row.name, value)
        assert watcher.config == loaded.config
        assert watcher.config.log.level == "warning"
        refused += 1
    assert refused >= 200
    goes_on(path, watcher)


@pytest.mark.parametrize("spoil", [lambda name: name + "x", lambda name: name.replace("_", "-") + "s", str.upper])
def test_a_key_that_is_written_wrongly_is_told_with_the_right_one(
    in_force: tuple[Path, Loaded], spoil: Callable[[str], str]
) -> None:
    path, loaded = in_force
    watcher = ConfigWatcher(loaded)
    watcher.poll()
    for row in KEYS:
        name = row.path[-1]
        text, line = _nested(row, "1")
        above, _, last = text.rstrip().rpartition("\n")
        path.write_text(f"{above}\n{last.replace(name + ':', spoil(name) + ':')}\n")
        (fault,) = faults_of(loaded)
        assert (fault.line, fault.nearest, fault.value) == (line, name, "1"), str(fault)
        assert str(fault).endswith(f"did you mean {name}?)")
        assert spoil(name) in str(fault)
        assert name in fault.allowed
        watcher.request()
        assert isinstance(watcher.poll(), Rejected)
        assert watcher.config == loaded.config
    goes_on(path, watcher)


def goes_on(path: Path, watcher: ConfigWatcher) -> None:
    """A file without a fault is taken over as ever."""
    path.write_text("log: {level: debug}\n")
    watcher.request()
    watcher.poll()
    assert watcher.config.log.level == "debug"
    assert not watcher.faults
