# SPDX-License-Identifier: Apache-2.0
"""docs/commands.md, out of the table of commands: `python -m collector.cli_page`."""

import argparse
import sys
from collections.abc import Iterator

from collector.cli import COMMANDS, Command

_HEAD = """\
<!-- Made by `python -m collector.cli_page > docs/commands.md`; change collector/cli.py instead. -->
# Commands

In a clone, `firesteel` is `.venv/bin/firesteel`. Each command has `--help`.

Exit codes: 0 done, 1 not as wished, 2 wrong use or configuration, 3 not permitted (with the remedy).
What only this machine can tell is 1: an address of `listen` that is in use, that it does not have, or that this user may not open. A file of `listen`
that is missing, unreadable or wrong (a short token, a certificate of another key) is 2.
"""


def page() -> str:
    return "\n".join([_HEAD, *(line for command in COMMANDS for line in _section(command))])


def _section(command: Command) -> Iterator[str]:
    parser = argparse.ArgumentParser(prog=f"firesteel {command.name}", add_help=False)
    command.options(parser)
    actions = parser._actions  # noqa: SLF001 - argparse tells them nowhere else
    places = " ".join(_place(action) for action in actions if not action.option_strings)
    yield f"## {command.name}\n"
    yield f"`firesteel {command.name}{' [options]' if any(a.option_strings for a in actions) else ''}{places and ' ' + places}`\n"
    yield f"{command.help}\n"
    if actions:
        yield "| | |\n|---|---|"
        yield from (f"| `{_name(action)}` | {_cell(action)} |" for action in actions)
        yield ""


def _place(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest)
    return f"[{name}]" if action.nargs == "?" else name


def _name(action: argparse.Action) -> str:
    if not action.option_strings:
        return _place(action)
    if action.nargs == 0:
        return action.option_strings[0]
    return (
        f"{action.option_strings[0]} {action.metavar or '/'.join(map(str, action.choices or (action.dest.upper(),)))}"
    )


def _cell(action: argparse.Action) -> str:
    return (action.help or "").replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
