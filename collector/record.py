# SPDX-License-Identifier: Apache-2.0
"""`firesteel record`: the events of this machine, as they come out of the kernel, into a file or to standard output."""

import os
import signal
import sys
import time
from pathlib import Path

from analyzers import recording
from analyzers.settings import ConfigBlock
from analyzers.table import SharedTable
from collector import privileges, problems
from collector.capture import Capture
from collector.options import Exit, RecordOptions
from collector.part_settings import engine_settings
from collector.record_stream import Stream
from collector.schema import Config
from probes import loader


class _File:
    """A new file, as Stream is for standard output. Raises OSError."""

    fault = ""

    def __init__(self, path: Path, driver: str) -> None:
        self.file = recording.create(path, driver)

    @property
    def size(self) -> int:
        return os.fstat(self.file).st_size

    def start(self) -> None:
        pass

    def finish(self) -> int:
        size = self.size
        os.close(self.file)
        return size


def record(config: Config, options: RecordOptions) -> int:
    """Writes the events of this machine until a limit or an interrupt."""
    table, block = SharedTable.create(), ConfigBlock(engine_settings(config))
    attachment = loader.start(config.drivers, config.ring.size, config.kernel.btf)
    if not attachment.has_ring:
        for problem in problems.of_driver(attachment.report):
            print(f"firesteel record: {problem.what}: {problem.cause}; {problem.remedy}", file=sys.stderr)
        return Exit.NOT_AS_WISHED
    try:
        driver = attachment.report.driver
        target = _File(options.path, driver) if options.path else Stream(driver)
    except (OSError, recording.RecordingError) as error:
        print(f"firesteel record: {error}", file=sys.stderr)
        attachment.close()
        return Exit.NOT_AS_WISHED
    capture = Capture(attachment, table, block, target.file)
    capture.configure(config)
    try:
        privileges.drop()
        target.start()
        capture.start()
        _wait_for_limit(capture, target, options)
    except privileges.PrivilegeError as error:
        print(f"firesteel record: {error}", file=sys.stderr)
        return Exit.NOT_PERMITTED
    except OSError as error:
        print(f"firesteel record: {error}", file=sys.stderr)
        return Exit.NOT_AS_WISHED
    finally:
        capture.stop()
        written = table.state().stats["recording_written"]
        failed = table.state().stats["recording_failed"]
        size = target.finish()
    faults = [f"{failed} could not be written"] if failed else []
    status = capture.status()
    crash = f"the engine failed ({status.last_crash})" if status and status.last_crash else ""
    faults += [f"{fault}, the recording ends before its time" for fault in (target.fault, crash) if fault]
    told = "; ".join([f"{options.path or 'standard output'}: {written} events, {size} bytes", *faults])
    print(told, file=sys.stdout if options.path else sys.stderr)
    return Exit.NOT_AS_WISHED if faults else Exit.DONE


def _wait_for_limit(capture: Capture, target: _File | Stream, options: RecordOptions) -> None:
    ended = False

    def end(_number: int, _frame: object) -> None:
        nonlocal ended
        ended = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    began = time.monotonic_ns()
    while not ended and not target.fault:
        status = capture.turn()
        if status is not None and status.finished:
            break
        if options.duration_ns and time.monotonic_ns() - began >= options.duration_ns:
            break
        if options.max_bytes and target.size >= options.max_bytes:
            break
        time.sleep(0.05)
