# SPDX-License-Identifier: Apache-2.0
"""Groups of tests by folder, and an honest end: what could not run here, why, and whether that is allowed.

A group is the folder right below tests/. FIRESTEEL_REQUIRED_GROUPS (comma separated) names the groups in which
nothing may be skipped and which must not be empty; CI sets it, and then a session that left something out fails. What takes
too long to make for everybody may be left out all the same: the reason of such a skip begins with `optional: `.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.servers import MissingProgram

_HERE = Path(__file__).parent
# What a property holds for has nothing to do with how busy the machine is.
settings.register_profile("firesteel", deadline=None)
settings.load_profile("firesteel")
REQUIRED_GROUPS = "FIRESTEEL_REQUIRED_GROUPS"
OPTIONAL = "optional: "


def group_of(path: Path) -> str:
    """The folder below tests/ in which a test file lies, or '' for a file right in tests/."""
    inside = path.relative_to(_HERE).parts if path.is_relative_to(_HERE) else ()
    return inside[0] if len(inside) > 1 else ""


class _Ledger:
    """What ran and what was skipped, by group."""

    def __init__(self, required: frozenset[str]) -> None:
        self.required = required
        self.ran: Counter[str] = Counter()
        self.skipped: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)

    def add(self, report: pytest.TestReport) -> None:
        group = group_of(_HERE.parent / report.location[0])
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped[_reason(report)].append((group, report.nodeid))
        elif report.when == "call":
            self.ran[group] += 1

    def lines(self) -> list[str]:
        return [f"{len(tests)} skipped: {reason}" for reason, tests in sorted(self.skipped.items())]

    def faults(self) -> list[str]:
        """Why the session is not whole: required groups that are empty or in which something was skipped."""
        found = [f"required group '{group}' ran no test" for group in sorted(self.required) if not self.ran[group]]
        for reason, tests in sorted(self.skipped.items()):
            if reason.startswith(OPTIONAL):
                continue
            found += [f"skipped in required group '{g}': {test} ({reason})" for g, test in tests if g in self.required]
        return found


_LEDGER = pytest.StashKey[_Ledger]()


def _reason(report: pytest.TestReport) -> str:
    # A skip's longrepr is (file, line, "Skipped: reason").
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def pytest_configure(config: pytest.Config) -> None:
    names = os.environ.get(REQUIRED_GROUPS, "")
    config.stash[_LEDGER] = _Ledger(frozenset(name.strip() for name in names.split(",") if name.strip()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The kernel group changes what runs on the machine: it goes last, after everything cheap has passed.
    order = {"unit": 0, "replay": 1, "fuzz": 2, "live": 3, "kernel": 4, "cluster": 5, "vm": 7}
    items.sort(key=lambda item: order.get(group_of(item.path), 6))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if group_of(item.path) in {"kernel", "cluster"} and os.geteuid() != 0:
        pytest.skip("not root, and only root may load programs into the kernel: sudo make test")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    try:
        return (yield)
    except MissingProgram as missing:
        pytest.skip(str(missing))


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Generator[None, object, object]:
    try:
        return (yield)
    except MissingProgram as missing:
        pytest.skip(str(missing))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.config.stash[_LEDGER].add(report)
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and session.config.stash[_LEDGER].faults():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ledger = config.stash[_LEDGER]
    ran = ", ".join(f"{group} {count}" for group, count in sorted(ledger.ran.items()) if group)
    if ran:
        terminalreporter.write_sep("-", "what ran, by group")
        terminalreporter.write_line(ran)
    if ledger.skipped:
        terminalreporter.write_sep("-", "what this machine lacks")
        for line in ledger.lines():
            terminalreporter.write_line(line, yellow=True)
    faults = ledger.faults()
    if faults:
        terminalreporter.write_sep("-", f"{REQUIRED_GROUPS}: not everything that must run did")
        for line in faults:
            terminalreporter.write_line(line, red=True)
