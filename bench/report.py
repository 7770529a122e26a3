# SPDX-License-Identifier: Apache-2.0
"""docs/benchmarks.md out of the sections that were measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bench import fuzzed
from bench.figures import Line, Section, Table

_VERDICT = {True: "kept", False: "**missed**", None: ""}


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _row(head)
    yield "|" + "---|" * len(head)
    for row in rows:
        yield _row(row)


def _line(line: Line) -> tuple[str, str, str, str]:
    return line.what, line.figure, line.budget, _VERDICT[line.kept]


def _detail(table: Table) -> Iterator[str]:
    yield f"### {table.title}"
    yield ""
    yield from _table(table.head, table.rows)
    yield ""
    if table.note:
        yield table.note
        yield ""


def page(machine: Sequence[tuple[str, str]], date: str, sections: Sequence[Section], failed: Sequence[str]) -> str:
    """The text of the report. `failed` are sentences about what could not be measured here."""
    lines = [
        "<!-- Written by `make bench`. Run it again instead of editing. -->",
        "# Benchmarks",
        "",
        "Measured by `make bench` side by side in one run: with and without the agent in turn. A shared or virtual machine",
        "gives ratios and CPU seconds per event; its absolute rates mean little. A figure with a range is a median and",
        "the lowest and highest round.",
        "",
        f"Measured {date}.",
        "",
        *_table(("", ""), machine),
        "",
        "## Budgets",
        "",
        *_table(("What", "Measured", "Budget", ""), [_line(line) for section in sections for line in section.lines]),
        "",
    ]
    if failed:
        lines += ["Not measured in this run:", "", *(f"- {sentence}" for sentence in failed), ""]
    details = [table for section in (*sections, fuzzed.section()) for table in section.tables]
    if details:
        lines += ["## Details", ""]
        for table in details:
            lines += _detail(table)
    return "\n".join(lines).rstrip() + "\n"
