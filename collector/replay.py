# SPDX-License-Identifier: Apache-2.0
"""`firesteel replay FILE`: a recording through the same engine, table and exporters as live events, and the page it gives.

Time is the recording's. Every counter shows what the whole recording came to.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from analyzers.recording import RecordingError, RecordingHead, read_head
from analyzers.recording import replay as read_whole
from analyzers.rows import EngineState
from collector.config import Loaded
from collector.ends import Level
from collector.options import Exit
from collector.part_settings import engine_settings, metrics_settings
from collector.recorded_names import RecordedNames
from collector.schema import HOUR
from collector.table_view import TableView
from collector.topology import topology_json
from collector.traffic import Traffic

_FOREVER_NS = 1000 * 24 * HOUR
_CAPTURES = {
    b"\xd4\xc3\xb2\xa1": "pcap",
    b"\xa1\xb2\xc3\xd4": "pcap",
    b"\x4d\x3c\xb2\xa1": "pcap",
    b"\xa1\xb2\x3c\x4d": "pcap",
    b"\x0a\x0d\x0d\x0a": "pcapng",
}


class Unplayable(Exception):
    """The file cannot be replayed at all; `exit` is the command's exit code."""

    def __init__(self, told: str, exit_code: Exit = Exit.NOT_AS_WISHED) -> None:
        super().__init__(told)
        self.exit = exit_code


def show(loaded: Loaded, path: Path, *, as_json: bool, out: TextIO | None = None) -> Exit:
    """Print the metrics page of the whole recording, or as JSON the engine's account and the topology.

    A recording that is damaged further down is printed up to there, and ends with NOT_AS_WISHED.
    """
    out = out or sys.stdout
    try:
        head = open_head(path)
        # One snapshot at the end: no row may end before it, and no counter has to show 0 first.
        settings = replace(engine_settings(loaded.config), row_idle_ns=_FOREVER_NS)
        table = read_whole(path, settings)
    except (Unplayable, RecordingError, OSError) as error:
        return refused(path, error)
    try:
        state = table.state()
        names = RecordedNames()
        names.learn([*table.requests(), *table.tcp()])
        metrics = replace(metrics_settings(loaded.config), scrape_interval_ns=0)
        view = TableView(table, names, metrics, loaded.config.scope.exclude_comms)
        view.turn(state.clock_ns)
        if as_json:
            print(json.dumps(_account(path, head, state, view.traffic(state.clock_ns)), indent=2), file=out)
        else:
            for chunk in view.page(state.clock_ns, head.wall_minus_monotonic_ns):
                out.write(chunk.decode())
    finally:
        table.close()
    if state.state != "failed":
        return Exit.DONE
    print(f"firesteel replay: {path}: {state.failure}; what came before it is counted", file=sys.stderr)
    return Exit.NOT_AS_WISHED


def open_head(path: Path) -> RecordingHead:
    """Check that this is a recording; raises Unplayable, RecordingError and OSError."""
    with path.open("rb") as file:
        magic = file.read(4)
    if kind := _CAPTURES.get(magic):
        told = f"this is a packet capture ({kind}), which this version does not read"
        raise Unplayable(f"{told}; replay a file made by firesteel record")
    return read_head(path)


def refused(path: Path, error: Exception) -> Exit:
    """Tell why `path` cannot be replayed."""
    if isinstance(error, FileNotFoundError) and error.filename is None:  # the engine's own sentence
        print(f"firesteel replay: {error}", file=sys.stderr)
        return Exit.NOT_AS_WISHED
    if isinstance(error, OSError):
        print(f"firesteel replay: {path}: {error.strerror or error}; name a file that can be read", file=sys.stderr)
        return Exit.NOT_PERMITTED if isinstance(error, PermissionError) else Exit.WRONG_USE
    told = str(error)
    print(f"firesteel replay: {told if told.startswith(str(path)) else f'{path}: {told}'}", file=sys.stderr)
    return error.exit if isinstance(error, Unplayable) else Exit.NOT_AS_WISHED


def _account(path: Path, head: RecordingHead, state: EngineState, traffic: Traffic) -> dict[str, object]:
    return {
        "version": 1,
        "recording": {
            "file": str(path),
            "kernel": head.kernel,
            "driver": head.driver,
            "contract": head.contract,
            "complete": state.state != "failed",
            "fault": state.failure,
        },
        "engine": {
            "events": state.events,
            "parsed": state.parsed,
            "parse_failures": state.parse_failures,
            "stats": state.stats,
        },
        "topology": topology_json(Level.ADDRESS, traffic, None),
    }
