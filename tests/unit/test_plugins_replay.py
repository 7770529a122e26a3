# SPDX-License-Identifier: Apache-2.0
"""Protocols in Python in a replay: every sampled exchange of the file is shown as the plugin tells it."""

import io
import json
from collections import Counter
from pathlib import Path

import pytest

from analyzers.recording import pack_head
from collector.config import Source, load
from collector.options import Exit
from collector.replay import show
from tests import events
from tests.installed_plugins import install

SECOND = 1_000_000_000
SAID = [(b"BREW pot-%d earl-grey\n", b"202 brewing\n"), (b"BREW kettle-%d coffee\n", b"418 I am a kettle\n")]
EXPECTED = {("teatime", "BREW earl-grey", "202", False): 20, ("teatime", "BREW coffee", "418", True): 20}
"""More than are looked at in one turn of an agent, if each is asked for."""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)
    empty = tmp_path / "empty.yaml"
    empty.write_text("", encoding="utf-8")
    monkeypatch.setenv("FIRESTEEL_CONFIG", str(empty))


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    made: list[bytes] = []
    for number in range(20):
        talk = events.Conversation(number + 1, ("10.0.0.1", 40000 + number), ("192.0.2.7", 4180), "client", pid=7)
        now = (number + 1) * SECOND
        made.append(talk.open(now))
        for ask, answer in SAID:
            now += SECOND // 10
            made += [talk.sends(now, ask % number), talk.receives(now + SECOND // 100, answer)]
        made.append(talk.close(now + SECOND // 10))
    path = tmp_path / "tea.fsrec"
    padded = b"".join(event + bytes(-len(event) % 8) for event in made)
    path.write_bytes(pack_head("core", "6.18.0", 1_700_000_000 * SECOND) + padded)
    return path


def replayed(path: Path, plugin: str) -> Counter[tuple[str, str, str, bool]]:
    settings = (f"protocols.plugins=[{plugin}]", "samples.normal=1.0", "samples.per_edge=100")
    out = io.StringIO()
    assert show(load(Source(None, False, settings)), path, as_json=True, out=out) == Exit.DONE
    samples = json.loads(out.getvalue())["samples"]
    return Counter((one["protocol"], one["request_content"], one["response_content"], one["error"]) for one in samples)


def test_every_sample_of_a_file_is_told_by_the_plugin(recorded: Path) -> None:
    assert replayed(recorded, "teatime") == EXPECTED


def test_what_a_plugin_cannot_read_is_told(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(replayed(recorded, "raises")) == {("NOSUPPORT", "", "", False)}
    assert "KeyError: 'no such tea'" in capsys.readouterr().err
    assert set(replayed(recorded, "absent")) == {("NOSUPPORT", "", "", False)}
    assert "the plugin absent is not in use" in capsys.readouterr().err
