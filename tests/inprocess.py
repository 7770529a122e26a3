# SPDX-License-Identifier: Apache-2.0
"""The engine inside the test's own process: events in, rows out, and what it says about itself."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any, Self, cast

from analyzers import _native
from analyzers._native import ffi, lib
from analyzers.contract import PROTOCOLS
from analyzers.table_values import address_text

ROLES = ("unknown", "client", "server")
MODES = ("stream", "message", "lengths", "silent", "flips", "again")
FLAGS = (
    ("error", lib.FS_ROW_ERROR),
    ("slow", lib.FS_ROW_SLOW),
    ("overflow", lib.FS_ROW_OVERFLOW),
    ("both_ends", lib.FS_ROW_BOTH_ENDS),
    ("no_response", lib.FS_ROW_NO_RESPONSE),
)
SETTINGS: dict[str, int] = {
    "max_connections": 1024,
    "contents_per_workload": 50,
    "connection_idle_ns": 600 * 10**9,
    "row_idle_ns": 3600 * 10**9,
    "early_idle_ns": 45 * 10**9,
    "no_response_ns": 10 * 10**9,
    "protocols_enabled": 0xFFFFFFFF,
    "parse_bytes": 512,
    "stream_bytes": 4096,
    "message_mode": 1,
    "dns_nxdomain_is_error": 1,
    "url_clustering": 1,
}


@dataclass(frozen=True, slots=True)
class Row:
    """A request row without its place in the table; `owner` and `peer` are command names."""

    role: str
    protocol: str
    l4: str
    owner: str
    peer: str
    local: tuple[str, int]
    remote: tuple[str, int]
    request: str
    response: str
    status: int
    flags: frozenset[str]
    count: int
    duration_ns: int
    request_bytes: int
    response_bytes: int
    last: tuple[int, int, int, int]
    """request transfer, processing, response transfer, connect"""
    buckets: tuple[int, ...]
    dialled: tuple[str, int] = ("", 0)


@dataclass(frozen=True, slots=True)
class TcpRow:
    role: str
    kind: str
    owner: str
    local: tuple[str, int]
    remote: tuple[str, int]
    error: int
    srtt_us: int
    connects: int
    connect_ns: int
    retransmits: int
    synack_retransmits: int
    drops: int
    resets_sent: int
    resets_received: int
    closed: int


def flag_names(flags: int) -> frozenset[str]:
    return frozenset(name for name, bit in FLAGS if flags & bit)


def _order(row: Row | TcpRow) -> tuple[Any, ...]:
    return tuple(sorted(value) if isinstance(value, frozenset) else value for value in astuple(row))


def _text(characters: Any) -> str:
    return cast("bytes", ffi.string(characters)).decode()


class InProcessEngine:
    """One engine on a table of its own, or on `table`, as after a crash. Always close it.

    `native` is another build of the engine than that of `analyzers._native`.
    """

    def __init__(
        self, *, table: Any = None, slow_ns: int = 500 * 10**6, native: Any = _native, **settings: int
    ) -> None:
        self._ffi, self._lib = native.ffi, native.lib
        ffi, lib = self._ffi, self._lib
        self.table: Any = ffi.new("struct fs_table *") if table is None else table
        self.slots: Any = ffi.new("uint64_t[]", lib.FS_SLOTS)
        self.control: Any = ffi.new("struct fs_control *")
        config: Any = ffi.new("struct fs_engine_config *", {**SETTINGS, **settings})
        self.config = config
        self.config.slow_ns = [slow_ns] * 32
        self.config.bucket_ns = [ms * 10**6 for ms in (5, 10, 25, 50, 100, 250, 500, 2500)]
        self.engine: Any = lib.fs_engine_new(self.table, self.config, self.slots, self.control)
        self.now_ns = 0

    def close(self) -> None:
        if self.engine:
            self._lib.fs_engine_free(self.engine)
        self.engine = None

    def crash(self) -> None:
        """The next engine on the same table, which knows what stands there and nothing else."""
        self.close()
        self.engine = self._lib.fs_engine_new(self.table, self.config, self.slots, self.control)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def feed(self, events: Iterable[bytes]) -> Self:
        for event in events:
            self._lib.fs_engine_event(self.engine, self._ffi.from_buffer(event), len(event))
        return self

    def tick(self, now_ns: int) -> Self:
        self._lib.fs_engine_tick(self.engine, now_ns)
        return self

    def lost(self, total: int) -> Self:
        """As many events found no place so far."""
        self._lib.fs_engine_lost(self.engine, total)
        return self

    def finish(self) -> Self:
        self._lib.fs_engine_finish(self.engine)
        return self

    def stat(self, name: str) -> int:
        return int(getattr(self.table.stats, name))

    def stats(self) -> dict[str, int]:
        """Those that are not zero."""
        names = [field for field, _ in self._ffi.typeof("struct fs_stats").fields]
        return {name: self.stat(name) for name in names if self.stat(name)}

    def mode(self, conn_id: int) -> str | None:
        """What the driver was told about a connection, None if nothing."""
        slot = self.slots[self._lib.fs_read_slot_of(conn_id)]
        if not slot or (slot >> 24) != conn_id & (1 << 40) - 1:
            return None
        mode = slot >> 16 & 0xFF
        added = " of requests out" if mode & lib.FS_MODE_REQUESTS_OUT else ""
        added += " with long answers" if mode & lib.FS_MODE_LONG_ANSWERS else ""
        return MODES[mode & ~lib.FS_MODE_ADDED] + added

    def comm(self, ident: int) -> str:
        return _text(self.table.idents[ident].comm)

    def text(self, string: int) -> str:
        return _text(self.table.strings[string].text)

    def rows(self, *, with_empty: bool = False) -> list[Row]:
        made = [self._row(row) for row in self._used(self.table.rows, lib.FS_ROWS, self.table.rows_used)]
        return sorted(
            (row for row in made if row.count or with_empty or row.request_bytes or row.response_bytes), key=_order
        )

    def tcp_rows(self) -> list[TcpRow]:
        used = self._used(self.table.tcp_rows, lib.FS_TCP_ROWS, self.table.tcp_rows_used)
        return sorted((self._tcp_row(row) for row in used), key=_order)

    def samples(self) -> list[Any]:
        head = self.table.sample_head
        return [self.table.samples[n % lib.FS_SAMPLES] for n in range(max(1, head - lib.FS_SAMPLES + 1), head + 1)]

    @staticmethod
    def _used(entries: Any, capacity: int, used: int) -> list[Any]:
        found: list[Any] = []
        for i in range(capacity):
            if len(found) == used:
                break
            if entries[i].generation:
                found.append(entries[i])
        return found

    def _row(self, row: Any) -> Row:
        return Row(
            ROLES[row.role],
            PROTOCOLS[row.protocol],
            "tcp" if row.l4 == 6 else "udp",
            self.comm(row.ident),
            self.comm(row.peer_ident),
            (address_text(bytes(row.local)), row.local_port),
            (address_text(bytes(row.remote)), row.remote_port),
            self.text(row.request_content),
            self.text(row.response_content),
            row.status,
            flag_names(row.flags),
            row.count,
            row.duration_ns,
            row.request_bytes,
            row.response_bytes,
            (row.last_request_ns, row.last_processing_ns, row.last_response_ns, row.last_connect_ns),
            tuple(row.buckets),
            (address_text(bytes(row.dialled)), row.dialled_port) if row.dialled_port else ("", 0),
        )

    def _tcp_row(self, row: Any) -> TcpRow:
        return TcpRow(
            ROLES[row.role],
            ("", "health", "connect")[row.kind],
            self.comm(row.ident),
            (address_text(bytes(row.local)), row.local_port),
            (address_text(bytes(row.remote)), row.remote_port),
            row.error,
            row.srtt_us,
            row.connects,
            row.connect_ns,
            row.retransmits,
            row.synack_retransmits,
            row.drops,
            row.resets_sent,
            row.resets_received,
            row.closed,
        )
