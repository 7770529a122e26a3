# SPDX-License-Identifier: Apache-2.0
"""Log lines: three formats, levels, and that repetition is held back and counted."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from collector import log, schema

SECOND = 1_000_000_000


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """Where lines go; the root logger is put back afterwards."""
    root = logging.getLogger()
    level = root.level
    yield io.StringIO()
    for handler in list(root.handlers):
        if handler.__class__.__module__ == log.__name__:
            root.removeHandler(handler)
    root.setLevel(level)
    logging.getLogger("firesteel").setLevel(logging.NOTSET)


def at(out: io.StringIO, **settings: object) -> None:
    log.configure(schema.Log(**settings), out)  # type: ignore[arg-type]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("collector.log.time.monotonic", lambda: now[0])
    return now


def test_logfmt_names_object_cause_and_remedy(out: io.StringIO) -> None:
    at(out)
    log.Log("driver").warning("core was not chosen", cause='no "BTF"', remedy="a newer kernel", kernel="4.4", tries=2)
    line = out.getvalue()
    assert line.startswith("time=20")
    assert line.split(" ", 1)[1] == (
        'level=warning object=driver msg="core was not chosen" cause="no \\"BTF\\"" remedy="a newer kernel" '
        "kernel=4.4 tries=2\n"
    )


def test_a_value_cannot_make_a_line_of_its_own(out: io.StringIO) -> None:
    for style in ("logfmt", "json", "text"):
        at(out, format=style)
        log.Log("x").error(f"a\nlevel=info {style}", cause="b\r\x1b[31m", more="c\nd")
    assert len(out.getvalue().splitlines()) == 3
    assert "\x1b" not in out.getvalue()


def test_json_is_one_object_a_line(out: io.StringIO) -> None:
    at(out, format="json")
    log.Log("engine").info("started", pid=7)
    told = json.loads(out.getvalue())
    assert (told.pop("time")[-1], told) == (
        "Z",
        {"level": "info", "object": "engine", "msg": "started", "pid": "7"},
    )


def test_text_is_a_sentence(out: io.StringIO) -> None:
    at(out, format="text")
    log.Log("engine").error("stopped", cause="signal 11", remedy="report it", pid=7)
    log.Log("engine").info("started")
    first, second = out.getvalue().splitlines()
    assert first.split(" ", 1)[1] == "ERROR engine: stopped: signal 11; report it pid=7"
    assert second.split(" ", 1)[1] == "engine: started"


@pytest.mark.parametrize(("level", "lines"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_levels(level: str, lines: int, out: io.StringIO) -> None:
    at(out, level=level)
    writer = log.Log("x")
    for name in ("debug", "info", "warning", "error"):
        getattr(writer, name)(name)
    assert len(out.getvalue().splitlines()) == lines


def test_debugging_of_libraries_stays_out(out: io.StringIO) -> None:
    at(out, level="debug", format="text")
    logging.getLogger("aiohttp.server").debug("noise")
    logging.getLogger("aiohttp.server").warning("news %d", 1)
    assert [line.split(" ", 1)[1] for line in out.getvalue().splitlines()] == ["WARNING aiohttp.server: news 1"]


def test_an_exception_is_a_cause_in_one_line(out: io.StringIO) -> None:
    at(out)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("asyncio").exception("a task failed")
    (line,) = out.getvalue().splitlines()
    assert line.endswith('level=error object=asyncio msg="a task failed" cause="ValueError: two\\nlines"')


def test_a_repeated_message_is_written_once_and_then_counted(out: io.StringIO, clock: list[float]) -> None:
    at(out, format="text", repeat_every=60 * SECOND)
    writer = log.Log("ring")
    for number in range(5):
        writer.warning("is full", lost=number)
    log.Log("table").warning("is full")
    assert len(out.getvalue().splitlines()) == 2
    clock[0] += 61
    writer.info("something else")
    lines = [line.split(" ", 1)[1] for line in out.getvalue().splitlines()]
    assert lines == [
        "WARNING ring: is full lost=0",
        "WARNING table: is full",
        "WARNING ring: is full lost=4 repeated=4",
        "ring: something else",
    ]
    writer.warning("is full", lost=9)
    assert out.getvalue().splitlines()[-1].endswith("is full lost=9")


def test_zero_writes_everything(out: io.StringIO) -> None:
    at(out, repeat_every=0)
    for _ in range(3):
        log.Log("ring").warning("is full")
    assert len(out.getvalue().splitlines()) == 3


def test_what_was_held_back_is_told_at_the_end(out: io.StringIO) -> None:
    at(out, format="text")
    for _ in range(3):
        log.Log("ring").warning("is full")
    (handler,) = [h for h in logging.getLogger().handlers if h.__class__.__module__ == log.__name__]
    handler.close()
    assert out.getvalue().splitlines()[-1].endswith("repeated=2")


def test_what_is_remembered_is_bounded(out: io.StringIO) -> None:
    at(out, format="text")
    writer = log.Log("x")
    writer.info("first")
    for number in range(2000):
        writer.info(f"message {number}")
    writer.info("first")
    assert len(out.getvalue().splitlines()) == 2002, "the oldest was forgotten, so it is written again"


def test_a_new_configuration_replaces_the_old(out: io.StringIO) -> None:
    at(out, format="text")
    other = io.StringIO()
    log.configure(schema.Log(format="json"), other)
    log.Log("x").info("once")
    assert out.getvalue() == ""
    assert json.loads(other.getvalue())["msg"] == "once"
