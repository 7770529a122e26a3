# SPDX-License-Identifier: Apache-2.0
"""The steps of docs/extending.md: every protocol that is detected has been through all of them."""

import re
from pathlib import Path

import pytest

from bench import protocols
from tests.conversations import load_all
from tests.fuzz import seeds
from tests.parsing import Protocol, listed, name_of

ROOT = Path(__file__).resolve().parents[2]
NAMES = {number: name_of(number) for number in listed()}
# Its parser's name, where that is not the protocol's: HTTP/1 and HTTP/2 have one each.
FILES = {Protocol.HTTP: "http1"}


def file_of(number: Protocol) -> str:
    return FILES.get(number, NAMES[number])


@pytest.mark.parametrize("number", NAMES, ids=lambda number: NAMES[number])
def test_a_protocol_has_its_parser_its_tests_and_its_recordings(number: Protocol) -> None:
    assert (ROOT / f"analyzers/native/protocols/{file_of(number)}.c").is_file()
    assert (ROOT / f"tests/unit/test_{file_of(number)}.py").is_file()
    assert [one.name for one in load_all() if one.protocol == NAMES[number]]
    assert NAMES[number] in protocols.TYPICAL


@pytest.mark.parametrize("number", NAMES, ids=lambda number: NAMES[number])
def test_a_protocol_has_a_fuzzer_with_seeds(number: Protocol) -> None:
    name = file_of(number)
    source = (ROOT / f"tests/fuzz/fuzz-{name}.c").read_text()
    assert f"FUZZ_PARSER(fs_protocol_{name})" in source
    targets = re.search(r"^targets := (.*)$", (ROOT / "tests/fuzz/Makefile").read_text(), re.MULTILINE)
    assert targets
    assert name in targets.group(1).split()
    assert seeds.TARGETS[NAMES[number]] == name
    assert list((ROOT / "tests/fuzz/seeds" / name).iterdir())


def test_every_protocol_has_a_row_in_the_table() -> None:
    page = (ROOT / "docs/protocols.md").read_text()
    rows = {
        name
        for line in page.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert rows - {"protocol"} == {*NAMES.values(), "grpc", "websocket", "NOSUPPORT"}


def test_the_decoder_of_events_has_a_seed_of_every_recording() -> None:
    made = {seeds.script_of(one, role) for one in load_all() for role in ("client", "server")}
    kept = {path.read_bytes() for path in (ROOT / "tests/fuzz/seeds/tracking").iterdir()}
    assert kept <= made
    assert len(kept) == len(load_all())
