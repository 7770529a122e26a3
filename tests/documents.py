# SPDX-License-Identifier: Apache-2.0
"""The documents as tests read them: fenced blocks with their place, and the commands in those of a shell."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
_FENCE: Final = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w-]*)(?P<rest>.*)$")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_SEPARATORS: Final = frozenset({";", "&", "&&", "|", "||", "(", ")"})
# Words in front of a command that leave it what it is.
_PREFIXES: Final = frozenset({"sudo", "time", "env", "exec", "nohup"})
SHELLS: Final = frozenset({"sh", "bash", "shell", "console"})


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block. `line` is that of its first line of content."""

    path: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command: program and arguments, without sudo, variables, redirections and what it is piped to."""

    words: tuple[str, ...]
    variables: tuple[str, ...]
    line: str
    place: str

    @property
    def program(self) -> str:
        """Its name as a user of an installation would type it: without `.venv/bin/` and the like."""
        return self.words[0].removeprefix("./").removeprefix(".venv/bin/")


def pages() -> list[Path]:
    """Every document that is for users or developers of Firesteel."""
    found = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
    return sorted(path for path in found if path.exists())


def blocks(path: Path) -> Iterator[Block]:
    opened: re.Match[str] | None = None
    first, content = 0, list[str]()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        found = _FENCE.match(line)
        if opened is None:
            if found:
                opened, first, content = found, number + 1, []
        elif found and found["ticks"] == opened["ticks"] and not found["language"]:
            yield Block(path, first, opened["language"], "\n".join(content) + "\n")
            opened = None
        else:
            content.append(line.removeprefix(opened["indent"]))
    if opened:
        raise ValueError(f"{path.relative_to(ROOT)}:{first - 1}: this block has no end")


def lines(block: Block) -> Iterator[tuple[str, str]]:
    """(place, line) of a block of shell lines, with what a backslash continues; empty ones and comments left out."""
    rows = block.text.split("\n")
    at = 0
    while at < len(rows):
        number, line = block.line + at, rows[at]
        while line.endswith("\\") and at + 1 < len(rows):
            at += 1
            line = line[:-1] + " " + rows[at].lstrip()
        at += 1
        if line.strip() and not line.lstrip().startswith("#"):
            yield f"{block.path.relative_to(ROOT)}:{number}", line


def bare(line: str) -> str:
    """A line of a shell without the comment behind it and with single spaces: what tells it from others."""
    return " ".join(re.sub(r"\s#\s.*$", "", line).split())


def commands(block: Block) -> list[Command]:
    """The simple commands of a block of shell lines. Raises ValueError with the place of a line that no shell reads."""
    found: list[Command] = []
    for place, line in lines(block):
        try:
            found += _simple(line, place)
        except ValueError as error:
            raise ValueError(f"{place}: {error}: {line}") from None
    return found


def _simple(line: str, place: str) -> Iterator[Command]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    skip = False
    for token in [*lexer, ";"]:
        if skip:
            skip = False
        elif token in _SEPARATORS:
            if made := _command(words, line, place):
                yield made
            words = []
        elif token[0] in "<>" and set(token) <= set("<>&"):
            skip = True
            if words and words[-1] in {"1", "2"}:
                words.pop()
        else:
            words.append(token)


def _command(words: list[str], line: str, place: str) -> Command | None:
    variables: list[str] = []
    at = 0
    while at < len(words) and (words[at] in _PREFIXES or _ASSIGNMENT.fullmatch(words[at])):
        if words[at] not in _PREFIXES:
            variables.append(words[at])
        at += 1
    return Command(tuple(words[at:]), tuple(variables), line.strip(), place) if words[at:] else None
