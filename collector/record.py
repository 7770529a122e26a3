# SPDX-License-Identifier: Apache-2.0
"""`firesteel record`: the events of this machine, as they come out of the kernel, into a file."""

import os
import signal
import sys
import time

from analyzers import recording
from analyzers.settings import ConfigBlock
from analyzers.table import SharedTable
from collector import privileges, problems
from collector.capture import Capture
from collector.options import Exit, RecordOptions
from collector.part_settings import engine_settings
from collector.schema import Config
from probes import loader


def record(config: Config, options: RecordOptions) -> int:
    """Writes the events of this machine to a file until a limit or an interrupt."""
    table, block = SharedTable.create(), ConfigBlock(engine_settings(config))
    attachment = loader.start(config.drivers, config.ring.size, config.kernel.btf)
    if not attachment.has_ring:
        for problem in problems.of_driver(attachment.report):
            print(f"firesteel record: {problem.what}: {problem.cause}; {problem.remedy}", file=sys.stderr)
        return Exit.NOT_AS_WISHED
    try:
        file = recording.create(options.path, attachment.report.driver)
    except (OSError, recording.RecordingError) as error:
        print(f"firesteel record: {error}", file=sys.stderr)
        attachment.close()
        return Exit.NOT_AS_WISHED
    capture = Capture(attachment, table, block, file)
    capture.configure(config)
    try:
        privileges.drop()
        capture.start()
        _wait_for_limit(capture, file, options)
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
        size = os.fstat(file).st_size
        os.close(file)
    print(f"{options.path}: {written} events, {size} bytes" + (f"; {failed} could not be written" if failed else ""))
    return Exit.NOT_AS_WISHED if failed else Exit.DONE


def _wait_for_limit(capture: Capture, file: int, options: RecordOptions) -> None:
    ended = False

    def end(_number: int, _frame: object) -> None:
        nonlocal ended
        ended = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    began = time.monotonic_ns()
    while not ended:
        capture.turn()
        if options.duration_ns and time.monotonic_ns() - began >= options.duration_ns:
            break
        if options.max_bytes and os.fstat(file).st_size >= options.max_bytes:
            break
        time.sleep(0.05)
