# SPDX-License-Identifier: Apache-2.0
"""docs/config.md out of the table of `collector.schema`. A test fails when the file and the table differ."""

from collections.abc import Iterator

from collector.keys import Key
from collector.schema import KEYS

_HEAD = """\
<!-- Made by `python -m collector.schema > docs/config.md`; change collector/schema.py or collector/*_keys.py instead. -->
# Configuration

One YAML file. It is the one given with `--config`, else the one that `FIRESTEEL_CONFIG` names, else
`/etc/firesteel/firesteel.yaml` if it exists; without any, the defaults below hold. Any key can also be set by a
variable, `FIRESTEEL_RING__SIZE=16MiB`, and on the command line, `--set ring.size=16MiB`; the command line wins over
the variable, the variable over the file. Values there are written as they would be in the file:
`--set 'scope.exclude_ports=[22, 53]'`.

An unknown key, a wrong value, a key that is there twice: everything that is wrong is listed with file, line, value,
what is allowed and the nearest name, and the exit code is 2. `firesteel check-config FILE` does that and nothing else;
for a right file it prints the configuration that results.

A changed file (also a ConfigMap's `..data` swap) or SIGHUP is applied while the agent runs. If the new file is wrong,
the old configuration stays in force, and the log, `firesteel status` and a metric say so. Keys marked **restart** wait
for one, and `status` says that they wait.

Durations are written with a unit (`500ms`, `2h`, `1h30m`), sizes with `KiB`, `MiB` or `GiB`.

"""


def page() -> str:
    """The whole page, Markdown."""
    return _HEAD + "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "## Every key and its default"
    yield ""
    yield "```yaml"
    yield from yaml_lines({row.name: row.default for row in KEYS})
    yield "```"
    group = None
    for row in KEYS:
        section = row.path[0] if len(row.path) > 1 else ""
        if section != group:
            group = section
            yield ""
            yield f"## {section}" if section else "## At the top"
            yield ""
            yield "| Key | Default | Allowed | What it does |"
            yield "|---|---|---|---|"
        yield f"| `{row.name}` | `{row.default}` | {_cell(row.kind.allowed)} | {_cell(_told(row))} |"


def _told(row: Key) -> str:
    return f"{row.help} **restart**" if row.restart else row.help


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def yaml_lines(values: dict[str, str], notes: dict[str, str] | None = None) -> Iterator[str]:
    """Key texts by name as a nested YAML document, each line with its note as a comment."""
    open_path: tuple[str, ...] = ()
    for row in KEYS:
        *outer, name = row.path
        shared = 0
        while shared < min(len(open_path), len(outer)) and open_path[shared] == outer[shared]:
            shared += 1
        for depth in range(shared, len(outer)):
            yield f"{'  ' * depth}{outer[depth]}:"
        open_path = tuple(outer)
        line = f"{'  ' * len(outer)}{name}: {values[row.name]}"
        note = (notes or {}).get(row.name, "")
        yield f"{line}  # {note}" if note else line
