# SPDX-License-Identifier: Apache-2.0
"""What an engine reads of deploy/images: the Dockerfile's stages and steps, and which files are left out of its context."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.agents import ROOT

IMAGES: Final = ROOT / "deploy" / "images"
_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Copy:
    """A COPY line; `stage` is where from, empty for the context."""

    stage: str
    sources: tuple[str, ...]
    target: str


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands between one FROM and the next: words and what follows them, in the file's order."""

    name: str
    base: str
    steps: tuple[tuple[str, str], ...]

    def of(self, word: str) -> list[str]:
        """What follows each of these words."""
        return [rest for found, rest in self.steps if found == word]

    def arguments(self) -> dict[str, str]:
        """Every ARG that is declared here and its default."""
        return {name: default.strip('"') for name, _, default in (rest.partition("=") for rest in self.of("ARG"))}


def stages(text: str) -> tuple[list[str], list[Stage]]:
    """The names of ARGs before the first stage, and the stages."""
    before: list[str] = []
    found: list[Stage] = []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if not line or line.startswith("#"):
            continue
        assert word.isupper(), f"a step goes on over two lines: {line}"
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(name, base, ()))
        elif not found:
            before.append(rest)
        else:
            last = found.pop()
            found.append(Stage(last.name, last.base, (*last.steps, (word, rest))))
    return before, found


def copied(rest: str) -> Copy:
    """What a COPY line means."""
    words = rest.split()
    stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else ""
    return Copy(stage, tuple(words[:-1]), words[-1])


def variables(line: str) -> set[str]:
    """Names of the arguments that a line uses."""
    return set(_VARIABLE.findall(line))


def filled(line: str, values: Mapping[str, str]) -> str:
    """The line with its arguments; KeyError for one that nobody declared."""
    return _VARIABLE.sub(lambda found: values[found[1]], line)


def is_ignored(path: str, patterns: str) -> bool:
    """Whether a .dockerignore of these lines keeps that file out: the last line counts that fits it or a folder that it is in."""
    places = ["/".join(path.split("/")[: end + 1]) for end in range(path.count("/") + 1)]
    ignored = False
    for line in patterns.splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = _pattern(line.removeprefix("!"))
        if any(pattern.fullmatch(place) for place in places):
            ignored = not line.startswith("!")
    return ignored


def _pattern(text: str) -> re.Pattern[str]:
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    parts = re.split(r"(\*\*/|\*\*|\*)", text)
    return re.compile("".join(words.get(part, re.escape(part)) for part in parts))


def sources() -> Iterator[str]:
    """Every file of the repository that is not built, below it."""
    told = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    yield from (name for name in told.stdout.split("\0") if name and (ROOT / name).is_file())


def context() -> list[str]:
    """Of these, what an engine hands to the build."""
    patterns = (IMAGES / "Dockerfile.dockerignore").read_text()
    return sorted(name for name in sources() if not is_ignored(name, patterns))


def hand_over(names: list[str], folder: Path) -> None:
    """Copies files of the repository to a folder, which is made."""
    folder.mkdir(parents=True)
    listed = "".join(f"{name}\0" for name in names)
    subprocess.run(
        ["xargs", "--null", "cp", "--parents", "--preserve=mode,timestamps", f"--target-directory={folder}"],
        input=listed, cwd=ROOT, text=True, check=True,
    )  # fmt: skip
