# SPDX-License-Identifier: Apache-2.0
"""The shared table, read: what the engine counted, as the records of `analyzers.rows`.

Cost grows with the rows that changed since the last look. Used rows are packed together by C, an unchanged row is the
very object that was returned before, and what belongs to a key (addresses, names, owner) is read once per generation.
"""

import gc
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

from analyzers._native import ffi, lib
from analyzers.contract import EVENTS, PROTOCOLS, STATS, TRANSPORTS
from analyzers.drafts import request_row
from analyzers.memory import SharedBlock
from analyzers.rows import (
    Domain,
    EngineState,
    Identity,
    RequestKey,
    RequestRow,
    Sample,
    TcpKey,
    TcpRow,
)
from analyzers.table_values import address_text, char_text, method_of, octets_hex, protocol_of, role_of

_READING: Final = struct.Struct("=II5Q9Q5Q")
_TCP_READING: Final = struct.Struct("=II10Q")
assert _READING.size == ffi.sizeof("struct fs_row_reading")
assert _TCP_READING.size == ffi.sizeof("struct fs_tcp_row_reading")

_STATES: Final = {0: "new", 1: "starting", 2: "running", 3: "finished", 4: "failed"}
_UNDECODED: Final = 0
_WHY: Final = {1: "new_edge", 2: "error", 3: "slow", 4: "normal"}


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Samples in their order. Ask for the next ones with `next_sequence`; `overwritten` came too late to be read."""

    samples: tuple[Sample, ...]
    next_sequence: int
    overwritten: int


class SharedTable:
    """One mapping of struct fs_table. Only the engine writes it; it outlives every engine that did."""

    def __init__(self, block: SharedBlock) -> None:
        self._block = block
        self._table: Any = block.pointer
        self._readings: Any = ffi.new("struct fs_row_reading[]", lib.FS_ROWS)
        self._tcp_readings: Any = ffi.new("struct fs_tcp_row_reading[]", lib.FS_TCP_ROWS)
        self._sample: Any = ffi.new("struct fs_sample *")
        self._fine: Any = ffi.new("struct fs_fine *")
        self._domains: Any = None
        self._requests: dict[int, tuple[tuple[int, ...], RequestRow]] = {}
        self._tcp: dict[int, tuple[tuple[int, ...], TcpRow]] = {}
        self._identities: dict[int, Identity] = {}
        self._strings: dict[int, tuple[int, str]] = {}

    @classmethod
    def create(cls) -> Self:
        """A new, empty table in a memfd; the first engine fills in its head."""
        return cls(SharedBlock.create("firesteel-table", "struct fs_table"))

    @classmethod
    def attach(cls, fd: int) -> Self:
        """Maps a table that exists and takes the descriptor over.

        Raises ValueError if it was written by another version.
        """
        table = cls(SharedBlock(fd, "struct fs_table", writable=False))
        head = table._table
        known = (lib.FS_TABLE_MAGIC, lib.FS_TABLE_VERSION, ffi.sizeof("struct fs_table"))
        if head.magic and (head.magic, head.version, head.size) != known:
            found = f"version {head.version}, {head.size} bytes"
            table.close()
            raise ValueError(
                f"shared table: {found}, this agent reads version {known[1]}, {known[2]} bytes: use one build"
            )
        return table

    @property
    def fd(self) -> int:
        return self._block.fd

    @property
    def pointer(self) -> Any:
        """The struct itself, for the supervisor and for tests that run an engine in this process."""
        return self._table

    def close(self) -> None:
        """Gives the memory back; records that were returned stay valid."""
        self._table = None
        self._block.close()

    def requests(self) -> list[RequestRow]:
        """Every row in use, in the order of their index. One that ended meanwhile is left out."""
        used = self._read(lib.fs_read_rows, "rows", self._readings)
        old, new = self._requests, {}
        rows: list[RequestRow] = []
        with _no_collection():
            for reading in _READING.iter_unpack(ffi.buffer(self._readings, used * _READING.size)):
                known = old.pop(reading[0], None)  # so that old and new are not both here, where all of them are others
                if known is None or known[0] != reading:
                    row = self._request_row(reading, known[1].key if known else None)
                    if row is None:
                        continue
                    known = (reading, row)
                new[reading[0]] = known
                rows.append(known[1])
        self._requests = new
        return rows

    def tcp(self) -> list[TcpRow]:
        """Every TCP relation in use, in the order of their index. One that ended meanwhile is left out."""
        used = self._read(lib.fs_read_tcp_rows, "tcp_rows", self._tcp_readings)
        old, new = self._tcp, {}
        rows: list[TcpRow] = []
        with _no_collection():
            for reading in _TCP_READING.iter_unpack(ffi.buffer(self._tcp_readings, used * _TCP_READING.size)):
                known = old.pop(reading[0], None)
                if known is None or known[0] != reading:
                    same = known is not None and known[1].key.generation == reading[1]
                    key = known[1].key if known and same else self._tcp_key(*reading[:2])
                    if key is None:
                        continue
                    known = (reading, TcpRow(key, *reading[2:]))
                new[reading[0]] = known
                rows.append(known[1])
        self._tcp = new
        return rows

    def identities(self) -> list[Identity]:
        """Every owner in use, also those that no row is told of."""
        left = int(self._table.idents_used) - 1  # entry 0 is nobody
        found: list[Identity] = []
        for index in range(1, lib.FS_IDENTS):
            if left <= 0:
                break
            if self._table.idents[index].generation:
                found.append(self._identity(index))
                left -= 1
        return found

    def samples_since(self, sequence: int) -> SampleBatch:
        """Samples from number `sequence` on (the first ever is 1), as far as they are still there."""
        head = int(self._table.sample_head)
        wanted = max(sequence, 1)
        first = max(wanted, head - lib.FS_SAMPLES + 1)
        samples = tuple(
            self._read_sample() for n in range(first, head + 1) if lib.fs_read_sample(self._table, n, self._sample)
        )
        after = max(head + 1, wanted)
        return SampleBatch(samples, after, after - wanted - len(samples))

    def domains(self, after: int) -> list[Domain]:
        """Names of addresses whose generation is above `after`, in no order."""
        if not self._table.domain_head:
            return []
        if self._domains is None:
            self._domains = ffi.new("struct fs_domain[]", lib.FS_DOMAINS)
        found = (self._domains[i] for i in range(lib.fs_read_domains(self._table, after, self._domains)))
        return [
            Domain(
                domain.generation,
                domain.netns,
                address_text(bytes(domain.address)),
                bytes(ffi.buffer(domain.text, domain.length)).decode("ascii", "replace"),
                domain.expires_ns,
            )
            for domain in found
        ]

    def state(self) -> EngineState:
        """The engine's own account. `state` is new, starting, running, finished or failed."""
        table = self._table
        return EngineState(
            state=_STATES.get(table.state, "failed"),
            heartbeat_ns=table.heartbeat_ns,
            clock_ns=table.clock_ns,
            cpu_ns=table.cpu_ns,
            starts=table.starts,
            connections=table.connections,
            pending=table.pending,
            rows_used=table.rows_used,
            tcp_rows_used=table.tcp_rows_used,
            strings_used=table.strings_used,
            idents_used=table.idents_used,
            failure=char_text(table.failure),
            events={name: count for name, count in zip(EVENTS, table.events, strict=False) if name},
            parse_failures=dict(zip(PROTOCOLS, table.parse_failures, strict=False)),
            parse_ns=dict(zip(PROTOCOLS, table.parse_ns, strict=False)),
            parsed=dict(zip(PROTOCOLS, table.parsed, strict=False)),
            stats=self._stats(),
        )

    def _read(self, read: Callable[..., int], array: str, readings: Any) -> int:
        """Has C collect the used rows of an array, wherever a row can be used at all; how many there are."""
        rows = getattr(self._table, array)
        start = int(ffi.offsetof("struct fs_table", array))
        step = ffi.sizeof(ffi.typeof(rows).item)
        used = done = 0
        for begin, end in self._block.written(start, start + len(rows) * step):
            # A row that begins in a hole has no generation.
            first, done = max(-(-(begin - start) // step), done), -(-(end - start) // step)
            used += read(self._table, first, done, readings + used)
        return used

    def _stats(self) -> dict[str, int]:
        numbers = ffi.unpack(ffi.cast("uint64_t *", ffi.addressof(self._table, "stats")), len(STATS))
        return dict(zip(STATS, numbers, strict=True))

    def _request_row(self, reading: tuple[int, ...], key: RequestKey | None) -> RequestRow | None:
        index, generation = reading[:2]
        if key is None or key.generation != generation:
            key = self._request_key(index, generation)
        if key is None:
            return None
        return request_row(key, reading, self._fine_of(index, generation))

    def _fine_of(self, index: int, generation: int) -> tuple[int, ...]:
        """The fine buckets, if durations were counted so at any time. A row that just ended tells nothing new."""
        if not self._table.fine_used or not lib.fs_read_fine(self._table, index, generation, self._fine):
            return ()
        return tuple(ffi.unpack(self._fine.buckets, lib.FS_FINE_BUCKETS))

    def _request_key(self, index: int, generation: int) -> RequestKey | None:
        """None if the row ended while it was read: what stands there by now may be another's."""
        row = self._table.rows[index]
        key = RequestKey(
            index=index,
            generation=generation,
            role=role_of(row.role),
            protocol=protocol_of(row.protocol),
            l4=TRANSPORTS.get(row.l4, ""),
            identity=self._identity(row.ident),
            peer=self._identity(row.peer_ident) if row.peer_ident else None,
            local_ip=address_text(bytes(row.local)),
            local_port=row.local_port,
            remote_ip=address_text(bytes(row.remote)),
            remote_port=row.remote_port,
            status=row.status,
            request_content=self._string(row.request_content),
            response_content=self._string(row.response_content),
            is_error=bool(row.flags & lib.FS_ROW_ERROR),
            is_slow=bool(row.flags & lib.FS_ROW_SLOW),
            no_response=bool(row.flags & lib.FS_ROW_NO_RESPONSE),
            overflow=bool(row.flags & lib.FS_ROW_OVERFLOW),
            created_ns=row.created_ns,
            dialled_ip=address_text(bytes(row.dialled)) if row.dialled_port else "",
            dialled_port=row.dialled_port,
            method=method_of(row.verb),
        )
        return key if lib.fs_row_stands(self._table, index, generation) else None

    def _tcp_key(self, index: int, generation: int) -> TcpKey | None:
        """None as with a request's."""
        row = self._table.tcp_rows[index]
        key = TcpKey(
            index=index,
            generation=generation,
            role=role_of(row.role),
            identity=self._identity(row.ident),
            peer=self._identity(row.peer_ident) if row.peer_ident else None,
            local_ip=address_text(bytes(row.local)),
            local_port=row.local_port,
            remote_ip=address_text(bytes(row.remote)),
            remote_port=row.remote_port,
            error=row.error if row.kind == lib.FS_TCP_CONNECT else None,
            overflow=bool(row.flags & lib.FS_ROW_OVERFLOW),
            created_ns=row.created_ns,
            dialled_ip=address_text(bytes(row.dialled)) if row.dialled_port else "",
            dialled_port=row.dialled_port,
        )
        return key if lib.fs_tcp_row_stands(self._table, index, generation) else None

    def _read_sample(self) -> Sample:
        sample = self._sample
        texts = [
            bytes(ffi.buffer(text)[:length])
            for text, length in (
                (sample.request_text, sample.request_text_length),
                (sample.response_text, sample.response_text_length),
            )
        ]
        # Of a decoded request they are blanked and may be shown; of anything else they are as they were sent.
        shown, raw = ([b"", b""], texts) if sample.protocol == _UNDECODED else (texts, [b"", b""])
        return Sample(
            sequence=sample.sequence,
            why=_WHY.get(sample.why, "normal"),
            role=role_of(sample.role),
            protocol=protocol_of(sample.protocol),
            l4=TRANSPORTS.get(sample.l4, ""),
            identity=self._identity(sample.ident),
            peer=self._identity(sample.peer_ident) if sample.peer_ident else None,
            pid=sample.pid,
            conn_id=sample.conn_id,
            local_ip=address_text(bytes(sample.local)),
            local_port=sample.local_port,
            remote_ip=address_text(bytes(sample.remote)),
            remote_port=sample.remote_port,
            status=sample.status,
            is_error=bool(sample.flags & lib.FS_ROW_ERROR),
            is_slow=bool(sample.flags & lib.FS_ROW_SLOW),
            no_response=bool(sample.flags & lib.FS_ROW_NO_RESPONSE),
            start_ns=sample.start_ns,
            duration_ns=sample.duration_ns,
            connect_ns=sample.connect_ns,
            request_ns=sample.request_ns,
            processing_ns=sample.processing_ns,
            response_ns=sample.response_ns,
            request_bytes=sample.request_bytes,
            response_bytes=sample.response_bytes,
            request_content=char_text(sample.request_content),
            response_content=char_text(sample.response_content),
            request_text=shown[0].decode("utf-8", "replace"),
            response_text=shown[1].decode("utf-8", "replace"),
            trace_id=octets_hex(sample.trace_id),
            parent_id=octets_hex(sample.parent_id),
            dialled_ip=address_text(bytes(sample.dialled)) if sample.dialled_port else "",
            dialled_port=sample.dialled_port,
            method=method_of(sample.verb),
            undecoded=(raw[0], raw[1]),
        )

    def _identity(self, index: int) -> Identity:
        ident = self._table.idents[index % lib.FS_IDENTS]
        known = self._identities.get(index)
        if known is None or known.generation != ident.generation:
            known = Identity(index, ident.generation, ident.netns, ident.cgroup_id, ident.pid, char_text(ident.comm))
            self._identities[index] = known
        return known

    def _string(self, index: int) -> str:
        entry = self._table.strings[index % lib.FS_STRINGS]
        known = self._strings.get(index)
        if known is None or known[0] != entry.generation:
            known = (entry.generation, char_text(entry.text, entry.length))
            self._strings[index] = known
        return known[1]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Many records at once, none of them in a cycle: the collector's passes over them took twice their making."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
