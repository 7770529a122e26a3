# SPDX-License-Identifier: Apache-2.0
"""Recordings: raw events of a real run in a file, and the way back into a table.

A file is struct fs_file_head, then events as the kernel wrote them, each padded to 8 bytes. It holds payload, so it is
made readable for its owner only.
"""

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from analyzers._native import ffi, lib
from analyzers.engine import PROGRAM, Engine, FileSource
from analyzers.settings import ConfigBlock, EngineSettings
from analyzers.table import SharedTable

_HEAD_SIZE = ffi.sizeof("struct fs_file_head")


class RecordingError(Exception):
    """A file that is no usable recording: which, where in it, what is wrong, what to do."""

    def __init__(self, path: Path | str, offset: int, problem: str, remedy: str) -> None:
        super().__init__(f"{path}: byte {offset}: {problem}; {remedy}")
        self.path = Path(path)
        self.offset = offset
        self.problem = problem
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class RecordingHead:
    """Where a recording comes from. A time of day is an event's time plus `wall_minus_monotonic_ns`."""

    contract: int
    schema: int
    wall_minus_monotonic_ns: int
    kernel: str
    driver: str


def create(path: Path, driver: str, *, overwrite: bool = False) -> int:
    """Starts a recording of this machine; the descriptor is for RingSource.record and the caller closes it.

    Raises FileExistsError unless `overwrite`, and OSError.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if overwrite else os.O_EXCL), 0o600)
    begin(fd, driver)
    return fd


def begin(fd: int, driver: str) -> None:
    """Writes the head of a recording of this machine."""
    os.write(fd, pack_head(driver, platform.release(), time.time_ns() - time.monotonic_ns()))


def pack_head(driver: str, kernel: str, wall_minus_monotonic_ns: int) -> bytes:
    """The bytes in front of a recording."""
    head: Any = ffi.new("struct fs_file_head *")
    head.magic = lib.FS_MAGIC
    head.contract = lib.FS_CONTRACT_VERSION
    head.schema = lib.FS_SCHEMA_VERSION
    head.wall_minus_monotonic_ns = wall_minus_monotonic_ns
    head.head_size = _HEAD_SIZE
    head.kernel = kernel.encode()[: len(head.kernel) - 1]
    head.driver = driver.encode()[: len(head.driver) - 1]
    return bytes(ffi.buffer(head))


def read_head(path: Path) -> RecordingHead:
    """Reads and checks the head. Raises RecordingError for another file, a damaged or a newer one, and OSError."""
    with path.open("rb") as file:
        raw = file.read(_HEAD_SIZE)
    remedy = "make one with `firesteel record FILE`"
    head: Any = ffi.new("struct fs_file_head *")
    ffi.memmove(head, raw, len(raw))
    if len(raw) < 4 or head.magic != lib.FS_MAGIC:
        raise RecordingError(path, 0, "not a recording of firesteel", remedy)
    if len(raw) < _HEAD_SIZE:
        raise RecordingError(path, len(raw), "the file ends inside its head (truncated)", remedy)
    if head.contract > lib.FS_CONTRACT_VERSION:
        problem = (
            f"recorded by a newer version (contract {head.contract}, this one reads up to {lib.FS_CONTRACT_VERSION})"
        )
        raise RecordingError(path, 4, problem, "update firesteel, or record again with this version")
    if head.contract == 0 or head.head_size < _HEAD_SIZE or head.head_size % 8:
        problem = f"the head is damaged (contract {head.contract}, head of {head.head_size} bytes)"
        raise RecordingError(path, 4, problem, remedy)
    return RecordingHead(
        contract=head.contract,
        schema=head.schema,
        wall_minus_monotonic_ns=head.wall_minus_monotonic_ns,
        kernel=_text(head.kernel),
        driver=_text(head.driver),
    )


def replay(path: Path, settings: EngineSettings, *, program: Path = PROGRAM) -> SharedTable:
    """Feeds a whole recording to an engine and returns what it counted.

    A fault inside the file does not raise: the table's state is then "failed", its failure names the byte and the
    remedy, and everything before the fault is counted. Raises as `read_head` does, and ValueError for bad settings.
    """
    read_head(path)
    table = SharedTable.create()
    try:
        config = ConfigBlock(settings)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            engine = Engine(FileSource(fd), table, config, program=program)
            try:
                engine.start()
                engine.wait()
            finally:
                engine.stop()
        finally:
            os.close(fd)
            config.close()
    except BaseException:
        table.close()
        raise
    return table


def _text(array: Any) -> str:
    return cast("bytes", ffi.string(array, len(array))).decode("utf-8", "replace")
