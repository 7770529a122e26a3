# SPDX-License-Identifier: Apache-2.0
"""No text, whatever it holds, ends in anything but a configuration or its faults with a place."""

from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as some

from collector.config import ConfigError, Source, parse
from collector.document import Fault
from collector.kinds import DURATION_UNITS, SIZE_UNITS, duration_text, size_text
from collector.schema import KEYS
from collector.schema_page import yaml_lines

SOURCE = Source(Path("fuzz.yaml"), True)

words = some.sampled_from(
    ["~", "null", "", "yes", "0x10", "1e9", "-1", ".inf", "1:30", "2026-11-21", "!!binary aGk=", "&a [*a]", "*a", "<<",
     "{}", "[]", "{a: b}", "[1, 1]", "'", '"', "|", ">", "%", "@", "8MiB", "30s", ":9500", "[::1]:1", "off", "default",
     "- 1", "? x", "9" * 400, "\t", "\u2028", "\ufeff", "9" * 40 + "h", "\x85"]
)  # fmt: skip


def faults_of(text: bytes, source: Source) -> tuple[Fault, ...]:
    try:
        parse(text, source)
    except ConfigError as error:
        return error.faults
    return ()


def check(text: bytes) -> None:
    for fault in faults_of(text, SOURCE):
        assert fault.origin == "fuzz.yaml"
        assert fault.message
        assert fault.allowed
        assert len(str(fault)) < 2000
        assert str(fault).isprintable(), "a fault is one line"


@settings(max_examples=200, deadline=None)
@given(some.binary(max_size=400))
@example(b"\xef\xbb\xbfdriver: core\n")
@example(b"{" * 300)
def test_bytes(text: bytes) -> None:
    check(text)


@settings(max_examples=300, deadline=None)
@given(some.dictionaries(some.sampled_from([row.name for row in KEYS]), words | some.text(max_size=12), max_size=4))
def test_any_value_at_any_key(values: dict[str, str]) -> None:
    lines = yaml_lines({row.name: values.get(row.name, row.default) for row in KEYS})
    check("\n".join(lines).encode("utf-8", "replace"))


@settings(max_examples=200, deadline=None)
@given(some.sampled_from(KEYS), words | some.text(max_size=20))
def test_any_option(row, value: str) -> None:  # type: ignore[no-untyped-def]
    source = Source(None, False, (f"{row.name}={value}",), ((row.variable, value),))
    assert all(fault.line == 0 and row.name in str(fault) for fault in faults_of(b"", source))


@given(some.integers(1, 10**18))
def test_durations_and_sizes_are_written_as_they_are_read(number: int) -> None:
    for text, units in ((duration_text(number), DURATION_UNITS), (size_text(number), SIZE_UNITS)):
        digits = text.rstrip("".join(units))
        assert int(digits) * units[text.removeprefix(digits)] == number
