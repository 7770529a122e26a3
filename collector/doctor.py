# SPDX-License-Identifier: Apache-2.0
"""`firesteel doctor`: what works here, what does not, and what to do about it. It changes nothing."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TextIO

from collector.config import ConfigError, Source, load
from collector.config_rules import not_yet
from collector.findings import FAIL, OK, WARN, Check, Finding
from collector.host import Host
from collector.host_checks import CHECKS
from collector.options import Exit
from collector.schema import Config


@dataclass(frozen=True, slots=True)
class Row:
    """A finding and the check that found it."""

    check: str
    state: str
    sentence: str
    remedy: str


def doctor(
    source: Source,
    as_json: bool,
    host: Host | None = None,
    checks: Sequence[Check] = CHECKS,
    out: TextIO | None = None,
) -> Exit:
    """Print a row for each finding; NOT_AS_WISHED when one of them is a failure.

    Faults of the configuration are rows of their own; the other checks then run with the defaults.
    """
    out = out or sys.stdout
    try:
        config = load(source).config
        rows = [*_configuration(source, config)]
    except ConfigError as error:
        config = Config()
        remedy = "correct it; firesteel check-config says more"
        rows = [Row("configuration", FAIL, str(fault), remedy) for fault in error.faults]
    rows += examine(host or Host(), config, checks)
    failed = sum(row.state == FAIL for row in rows)
    if as_json:
        print(json.dumps({"version": 1, "ok": not failed, "checks": [asdict(row) for row in rows]}, indent=2), file=out)
    else:
        print("\n".join(_lines(rows)), file=out)
    return Exit.NOT_AS_WISHED if failed else Exit.DONE


def examine(host: Host, config: Config, checks: Sequence[Check] = CHECKS) -> list[Row]:
    """Every finding of every check."""
    return [_row(check.name, finding) for check in checks for finding in check.run(host, config)]


def _configuration(source: Source, config: Config) -> Iterator[Row]:
    found = source.path is not None and source.path.exists()
    yield Row("configuration", OK, f"{source.path} is valid" if found else "no file, the defaults hold", "")
    for sentence in not_yet(config):
        yield Row("configuration", WARN, sentence, "remove the key, or use a version that has it")


def _row(check: str, finding: Finding) -> Row:
    return Row(check, finding.state, finding.sentence, finding.remedy)


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    width = max(len(row.check) for row in rows)
    for row in rows:
        yield f"{row.state:4}  {row.check:{width}}  {row.sentence}"
        if row.state != OK and row.remedy:
            yield f"      {'':{width}}  -> {row.remedy}"
    counts = {state: sum(row.state == state for row in rows) for state in (FAIL, WARN)}
    if not any(counts.values()):
        yield "Everything is as it should be."
    else:
        yield f"{counts[FAIL]} to repair, {counts[WARN]} to know about."
