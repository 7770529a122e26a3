# SPDX-License-Identifier: Apache-2.0
"""`firesteel replay FILE`: a recording or a packet capture through the same engine, table and exporters as live events,
and the page it gives.

Time is the file's. Every counter shows what the whole file came to.
"""

import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from analyzers.packets import feed
from analyzers.packets.conversion import CaptureAccount
from analyzers.packets.files import capture_format, compressed_by
from analyzers.recording import RecordingError, RecordingHead, read_head
from analyzers.recording import replay as replay_recording
from analyzers.rows import EngineState
from analyzers.settings import EngineSettings
from analyzers.table import SharedTable
from collector.api import sample_json
from collector.config import Loaded
from collector.ends import Level, directed, host_port
from collector.options import Exit
from collector.part_settings import engine_settings, metrics_settings
from collector.plugins import Plugins
from collector.problems import of_plugins
from collector.recorded_names import RecordedNames, RecordedRows
from collector.schema import HOUR, SECOND
from collector.table_view import TableView
from collector.topology import topology_json
from collector.traffic import NamedRequest

_FOREVER_NS = 1000 * 24 * HOUR
_SAMPLES_SHOWN = 1000


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
    with contextlib.closing(Plugins(loaded.config.protocols.plugins)) as plugins:
        return _show(loaded, path, plugins, as_json=as_json, out=out)


def _show(loaded: Loaded, path: Path, plugins: Plugins, *, as_json: bool, out: TextIO) -> Exit:
    try:
        # One snapshot at the end: no row may end before it, and no counter has to show 0 first.
        settings = replace(engine_settings(loaded.config), row_idle_ns=_FOREVER_NS, early_idle_ns=0)
        head, table, capture = _read_whole(path, settings)
    except (Unplayable, RecordingError, OSError) as error:
        return refused(path, error)
    try:
        state = table.state()
        plugins.whole(table.samples_since(plugins.next_sample))
        names = RecordedNames()
        metrics = replace(metrics_settings(loaded.config), scrape_interval_ns=0)
        view = TableView(RecordedRows(table, names), names, metrics, loaded.config.scope)
        view.told_by_plugins = plugins.apply
        view.turn(state.clock_ns)
        if as_json:
            account = _account(path, head, state, capture) | _contents(view, state.clock_ns, head)
            print(json.dumps(account, indent=2), file=out)
        else:
            out.writelines(chunk.decode() for chunk in view.page(state.clock_ns, head.wall_minus_monotonic_ns))
    finally:
        table.close()
    for told in capture_told(capture) if capture and not as_json else ():
        print(f"firesteel replay: {path}: {told}", file=sys.stderr)
    for problem in of_plugins(plugins.report()):
        print(f"firesteel replay: {problem.what}: {problem.cause}; {problem.remedy}", file=sys.stderr)
    fault = _fault(state, capture)
    if not fault:
        return Exit.DONE
    # The engine says so itself of a recording that ends early.
    counted = "" if "before was counted" in fault else "; what came before it is counted"
    print(f"firesteel replay: {fault if fault.startswith(str(path)) else f'{path}: {fault}'}{counted}", file=sys.stderr)
    return Exit.NOT_AS_WISHED


def is_capture(path: Path) -> bool:
    """Whether this is a packet capture and not a recording; raises Unplayable for a packed file, and OSError."""
    with path.open("rb") as file:
        start = file.read(8)
    if program := compressed_by(start):
        raise Unplayable(f"this file is compressed; unpack it with {program} first")
    return bool(capture_format(start))


def capture_told(account: CaptureAccount) -> list[str]:
    """What a reader of the result has to know of the packets it was made from, a sentence each."""
    told = [f"{count} {what}" for what, count in sorted(account.skipped.items()) if count]
    if account.cut:
        told.append(f"{account.cut} of {account.packets} packets were cut short by the capture (its snaplen)")
    if account.unordered:
        told.append(f"{account.unordered} packets are out of the order of time; `reordercap` sorts them")
    return told


def _read_whole(path: Path, settings: EngineSettings) -> tuple[RecordingHead, SharedTable, CaptureAccount | None]:
    if is_capture(path):
        return feed.replay(path, settings)
    return read_head(path), replay_recording(path, settings), None


def _fault(state: EngineState, capture: CaptureAccount | None) -> str:
    if state.state == "failed":
        return state.failure
    return capture.fault if capture else ""


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


def _account(path: Path, head: RecordingHead, state: EngineState, capture: CaptureAccount | None) -> dict[str, object]:
    fault = _fault(state, capture)
    account: dict[str, object] = {
        "version": 1,
        "recording": {
            "file": str(path),
            "kernel": head.kernel,
            "driver": head.driver,
            "contract": head.contract,
            "complete": not fault,
            "fault": fault,
        },
    }
    if capture:
        account["capture"] = {
            "format": capture.format,
            "packets": capture.packets,
            "bytes": capture.bytes,
            "tcp": capture.tcp,
            "udp": capture.udp,
            "cut": capture.cut,
            "unordered": capture.unordered,
            "skipped": dict(sorted((+capture.skipped).items())),
        }
    return account | {
        "engine": {
            "events": state.events,
            "parsed": state.parsed,
            "parse_failures": state.parse_failures,
            "stats": state.stats,
        },
    }


def _contents(view: TableView, clock_ns: int, head: RecordingHead) -> dict[str, object]:
    traffic = view.traffic(clock_ns)
    samples = view.samples(0, _SAMPLES_SHOWN)
    return {
        "topology": topology_json(Level.ADDRESS, traffic, None),
        "requests": [_request(named) for named in traffic.requests if named.row.count],
        "samples": [sample_json(named, head.wall_minus_monotonic_ns) for named in samples],
    }


def _request(named: NamedRequest) -> dict[str, object]:
    """All requests of one kind between two ends. A client has no port: each of its connections has another."""
    row, key = named.row, named.row.key
    source, destination = directed(key, named.ends)
    return {
        "source": source.ip,
        "destination": host_port(destination.ip, destination.port),
        "protocol": key.protocol,
        "l4": key.l4,
        "request_content": key.request_content,
        "response_content": key.response_content,
        "status": key.status,
        "error": key.is_error,
        "slow": key.is_slow,
        "no_response": key.no_response,
        "count": row.count,
        "mean_seconds": row.duration_ns / row.count / SECOND,
        "request_bytes": row.request_bytes,
        "response_bytes": row.response_bytes,
    }
