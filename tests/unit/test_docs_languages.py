# SPDX-License-Identifier: Apache-2.0
"""The Chinese pages say what the English ones say, as far as a test can see: the same lines to type, blocks, pictures, places of files,
rows and pieces of code in tables, questions in lists. And what an error is said to be is what the program says."""

import re
from itertools import takewhile
from pathlib import Path
from typing import Final

import pytest

from collector import capabilities, config, host_checks, start
from collector.capabilities import PROFILES
from collector.host import Host
from tests.documents import ROOT, SHELLS, bare, blocks, lines

DOCS: Final = ROOT / "docs"
# A Chinese page -> the English ones that it is.
PAGES: Final = {
    "zh/quick-start.md": ("quick-start-laptop.md", "quick-start-cluster.md"),
    "zh/troubleshooting.md": ("troubleshooting.md",),
}
_CODE: Final = re.compile(r"`([^`\n]+)`")
_PICTURE: Final = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")
_LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)[^)]*\)")

Texts = list[str]


def text_of(page: str) -> str:
    """A page's text without its fenced blocks."""
    whole = (DOCS / page).read_text(encoding="utf-8")
    return re.sub(r"^ *```.*?^ *```", "", whole, flags=re.MULTILINE | re.DOTALL)


def typed(page: str) -> Texts:
    return [bare(line) for block in blocks(DOCS / page) if block.language in SHELLS for _, line in lines(block)]


def other_blocks(page: str) -> Texts:
    return [block.text for block in blocks(DOCS / page) if block.language not in SHELLS | {"promql"}]


def rows(page: str) -> list[tuple[int, ...]]:
    """Of each row of a table: how many cells it has."""
    return [(row.count(" | "),) for row in text_of(page).splitlines() if row.startswith("|")]


def code(page: str) -> set[str]:
    return set(_CODE.findall(text_of(page)))


def pictures(page: str) -> set[Path]:
    return {((DOCS / page).parent / found).resolve() for found in _PICTURE.findall(text_of(page))}


def questions(page: str) -> list[int]:
    """How many answers each numbered question has."""
    parts = re.split(r"^\d+\. ", text_of(page), flags=re.MULTILINE)[1:]
    return [
        sum(row.startswith("    - ") for row in takewhile(lambda row: row.strip(), part.splitlines())) for part in parts
    ]


def pages_of(page: str) -> set[str]:
    """The documents that it points to, but for the pages that both languages have."""
    places = {((DOCS / page).parent / found).resolve() for found in _LINK.findall(text_of(page)) if ":" not in found}
    return {place.name for place in places} - {"troubleshooting.md"}


@pytest.mark.parametrize("chinese", PAGES)
def test_the_same_lines_are_typed(chinese: str) -> None:
    assert typed(chinese) == [line for page in PAGES[chinese] for line in typed(page)]


@pytest.mark.parametrize("chinese", PAGES)
def test_the_same_is_shown(chinese: str) -> None:
    assert other_blocks(chinese) == [text for page in PAGES[chinese] for text in other_blocks(page)]
    assert pictures(chinese) == {picture for page in PAGES[chinese] for picture in pictures(page)}


@pytest.mark.parametrize("chinese", PAGES)
def test_tables_have_the_same_rows(chinese: str) -> None:
    assert rows(chinese) == [row for page in PAGES[chinese] for row in rows(page)]


@pytest.mark.parametrize("chinese", PAGES)
def test_the_same_names_are_named(chinese: str) -> None:
    """Every piece of code of the English pages, in a table, a list or between."""
    assert {name for page in PAGES[chinese] for name in code(page)} - code(chinese) == set()


@pytest.mark.parametrize("chinese", PAGES)
def test_the_same_questions_have_the_same_answers(chinese: str) -> None:
    assert questions(chinese) == [number for page in PAGES[chinese] for number in questions(page)]


@pytest.mark.parametrize("chinese", PAGES)
def test_the_same_documents_are_pointed_to(chinese: str) -> None:
    assert {name for page in PAGES[chinese] for name in pages_of(page)} - pages_of(chinese) == set()


@pytest.mark.parametrize("page", ["troubleshooting.md", "zh/troubleshooting.md", "security.md"])
def test_what_a_missing_capability_is_told_as_is_quoted(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `firesteel run`, and by `firesteel doctor` in its row."""
    monkeypatch.setattr(capabilities, "effective", lambda: frozenset(PROFILES["core"]) - {"BPF"})
    loaded = config.parse(b"", config.Source(Path("none"), False, ("driver=core",)))
    told = start.not_permitted(loaded.config).partition(";")[0]
    assert told == "the core driver needs CAP_BPF, which this process does not have"
    assert told in code(page)
    assert "core: CAP_BPF missing" in code(page)


def test_doctor_has_such_a_row(tmp_path: Path) -> None:
    """Of a process that has everything but BPF."""
    mask = sum(1 << capabilities.NUMBERS[name] for name in set(PROFILES["core"]) - {"BPF"})
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text(f"CapEff:\t{mask:016x}\n")
    loaded = config.parse(b"", config.Source(Path("none"), False, ("driver=core",)))
    (finding,) = host_checks.privileges(Host(tmp_path), loaded.config)
    assert finding.sentence == "core: CAP_BPF missing"
