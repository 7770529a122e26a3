# SPDX-License-Identifier: Apache-2.0
"""Every line of a shell block in the documents has a row in tests/command_runs.py that says what runs it, and the row is true."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.command_runs import LINES, RUNS, Line, Run, Way, rows_of
from tests.documents import ROOT

_CI: Final = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
# Groups of the stages test, grafana-test and deploy; of the stage vm, what it never leaves out because it is late.
_GROUPS: Final = frozenset({"unit", "replay", "live", "kernel", "cluster", "grafana", "deploy"})
_BUILT: Final = frozenset({"tests/deploy/test_real_api.py", "tests/deploy/test_image_arm64.py"})


def is_in_ci(file: str) -> bool:
    return file == "tests/vm/test_drivers.py" or (file.split("/")[1] in _GROUPS and file not in _BUILT)


def has_test(where: str) -> bool:
    """Whether `FILE::NAME` is a test of this repository."""
    file, _, name = where.partition("::")
    path = Path(ROOT / file)
    return (
        path.is_file()
        and re.search(rf"^def {re.escape(name)}\(", path.read_text(encoding="utf-8"), re.MULTILINE) is not None
    )


def test_there_are_lines() -> None:
    texts = {line.text for line in LINES}
    assert {"make test", "kubectl firesteel uninstall", "sudo make run", "kill %1"} <= texts
    assert not [text for text in texts if "  " in text or " # " in text]


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.place} {line.text[:40]}")
def test_a_line_has_one_row(line: Line) -> None:
    assert len(rows_of(line.text)) == 1, f"{line.place}: {line.text}: a row in tests/command_runs.py says what runs it"


def test_a_line_that_nobody_knows_has_none() -> None:
    assert rows_of("make frobnicate") == rows_of("kubectl get pods") == []


@pytest.mark.parametrize("row", RUNS, ids=lambda row: row.line)
def test_a_row_is_of_lines_that_are_there_and_is_true(row: Run) -> None:
    assert any(row in rows_of(line.text) for line in LINES), "no document has such a line"
    match row.way:
        case Way.NOT_RUN:
            assert row.why
            assert not row.where
        case Way.STAGE:
            for stage in filter(None, row.where.split("; ")):
                name, _, command = stage.partition(": ")
                assert re.search(rf"^stage {re.escape(name)} ", _CI, re.MULTILINE), f"CI has no stage {name}"
                assert command in _CI, f"CI types no {command}"
            assert row.where or row.why
        case Way.BUILT:
            types_where_built(row, row.where)
        case _:
            assert has_test(row.where)
            assert is_in_ci(row.where.partition("::")[0])
    if row.built:
        types_where_built(row, row.built)


def types_where_built(row: Run, where: str) -> None:
    """The test is there, CI does not always run it, and it takes its lines from the table."""
    assert has_test(where)
    file, _, name = where.partition("::")
    assert not is_in_ci(file)
    assert re.search(rf"run_by\(f?\".*::{re.escape(name)}\"\)", (ROOT / file).read_text(encoding="utf-8"))
    assert row.why, "what it needs"
