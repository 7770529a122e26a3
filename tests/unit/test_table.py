# SPDX-License-Identifier: Apache-2.0
"""Reading the shared table, the driver's counters and writing the configuration, without any engine."""

import os
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest

from analyzers._native import ffi, lib
from analyzers.contract import EVENTS, PROTOCOLS, REASONS, STAT_HELP, STATS
from analyzers.counters import MappedCounters
from analyzers.memory import SharedBlock
from analyzers.rows import EngineState, LastRequest, RequestRow, Role
from analyzers.settings import ConfigBlock, EngineSettings, PortRule
from analyzers.table import SharedTable
from analyzers.table_values import address_text

V4 = bytes(10) + b"\xff\xff"


@pytest.fixture
def table() -> Iterator[SharedTable]:
    made = SharedTable.create()
    yield made
    made.close()


def write_ident(table: SharedTable, index: int, **values: Any) -> None:
    ffi.memmove(
        table.pointer.idents[index : index + 1], ffi.new("struct fs_ident *", values), ffi.sizeof("struct fs_ident")
    )


def write_string(table: SharedTable, index: int, text: bytes) -> None:
    entry = table.pointer.strings[index]
    entry.text, entry.length, entry.generation = text, len(text), entry.generation + 1


def write_row(table: SharedTable, index: int, **values: Any) -> None:
    ffi.memmove(table.pointer.rows[index : index + 1], ffi.new("struct fs_row *", values), ffi.sizeof("struct fs_row"))


def a_row(generation: int = 7, **values: Any) -> dict[str, Any]:
    """A server's row with every counter distinct."""
    return {
        "generation": generation,
        "flags": lib.FS_ROW_ERROR,
        "ident": 3,
        "local": V4 + bytes((10, 0, 0, 1)),
        "remote": V4 + bytes((192, 168, 7, 9)),
        "local_port": 8080,
        "role": lib.FS_ROLE_SERVER,
        "protocol": 1,
        "l4": 6,
        "request_content": 2,
        "response_content": 4,
        "status": 503,
        "created_ns": 11,
        "updated_ns": 12,
        "count": 13,
        "duration_ns": 14,
        "request_bytes": 15,
        "response_bytes": 16,
        "buckets": list(range(20, 29)),
        "last_duration_ns": 30,
        "last_request_ns": 31,
        "last_processing_ns": 32,
        "last_response_ns": 33,
        "last_connect_ns": 34,
    } | values


def test_a_new_table_is_empty(table: SharedTable) -> None:
    assert table.requests() == []
    assert table.tcp() == []
    assert table.samples_since(1).samples == ()
    state = table.state()
    assert (state.state, state.starts, state.failure) == ("new", 0, "")
    assert set(state.stats) == set(STATS)
    assert not any(state.stats.values())


def test_a_row_is_read_whole(table: SharedTable) -> None:
    write_ident(table, 3, generation=5, netns=4026531840, cgroup_id=99, pid=1234, comm=b"nginx")
    write_ident(table, 6, generation=8, netns=1, cgroup_id=100, pid=1235, comm=b"sixteen-letters!")
    write_string(table, 2, b"/api/*")
    write_string(table, 4, "5\N{MULTIPLICATION SIGN}3".encode())
    write_row(table, 100, **a_row(peer_ident=6))
    (row,) = table.requests()
    assert row.last == LastRequest(12, 30, 34, 31, 32, 33)
    assert (row.count, row.duration_ns, row.request_bytes, row.response_bytes) == (13, 14, 15, 16)
    assert row.buckets == tuple(range(20, 29))
    key = row.key
    assert (key.index, key.generation, key.role, key.protocol, key.l4) == (100, 7, Role.SERVER, "http", "tcp")
    assert (key.local_ip, key.local_port, key.remote_ip, key.remote_port) == ("10.0.0.1", 8080, "192.168.7.9", 0)
    assert (key.status, key.request_content, key.response_content, key.created_ns) == (
        503,
        "/api/*",
        "5\N{MULTIPLICATION SIGN}3",
        11,
    )
    assert (key.is_error, key.is_slow, key.no_response, key.overflow) == (True, False, False, False)
    assert (key.identity.comm, key.identity.pid, key.identity.netns, key.identity.cgroup_id) == (
        "nginx",
        1234,
        4026531840,
        99,
    )
    assert key.peer is not None
    assert key.peer.comm == "sixteen-letters!"
    assert repr(row).startswith("RequestRow(key=RequestKey(")
    assert hash(row) == hash(RequestRow(key, 13, 14, 15, 16, tuple(range(20, 29)), row.last))
    with pytest.raises(AttributeError):
        row.count = 1  # type: ignore[misc]


def test_what_did_not_change_is_the_same_object(table: SharedTable) -> None:
    for index in range(1, 5):
        write_row(table, index, **a_row(generation=index))
    before = table.requests()
    table.pointer.rows[3].count += 1
    after = table.requests()
    assert [old is new for old, new in zip(before, after, strict=True)] == [True, True, False, True]
    assert after[2].count == 14
    assert after[2].key is before[2].key


def test_another_generation_is_another_key(table: SharedTable) -> None:
    write_row(table, 1, **a_row(generation=7))
    table.requests()
    write_row(table, 1, **a_row(generation=8, local_port=9090, count=13))
    (row,) = table.requests()
    assert (row.key.generation, row.key.local_port) == (8, 9090)
    table.pointer.rows[1].generation = 0
    assert table.requests() == []
    write_row(table, 1, **a_row(generation=8, local_port=9091))
    assert table.requests()[0].key.local_port == 9091


def test_an_owner_is_read_again_with_its_generation(table: SharedTable) -> None:
    write_ident(table, 3, generation=1, comm=b"old")
    write_row(table, 1, **a_row(generation=1))
    assert table.requests()[0].key.identity.comm == "old"
    write_ident(table, 3, generation=2, comm=b"new")
    write_row(table, 2, **a_row(generation=2))
    assert [row.key.identity.comm for row in table.requests()] == ["old", "new"]


def test_every_row_can_be_used(table: SharedTable) -> None:
    for index in range(lib.FS_ROWS):
        table.pointer.rows[index].generation = index + 1
    for index in range(lib.FS_TCP_ROWS):
        table.pointer.tcp_rows[index].generation = index + 1
    assert [row.key.index for row in table.requests()] == list(range(lib.FS_ROWS))
    assert [row.key.index for row in table.tcp()] == list(range(lib.FS_TCP_ROWS))


def test_reading_an_empty_table_does_not_fill_memory(table: SharedTable) -> None:
    pages = os.fstat(table.fd).st_blocks
    table.requests()
    table.tcp()
    table.state()
    table.samples_since(1)
    assert os.fstat(table.fd).st_blocks <= pages + 2 * 4096 // 512
    table.pointer.rows[lib.FS_ROWS - 1].generation = 1  # the last one, behind nothing but holes
    table.pointer.tcp_rows[lib.FS_TCP_ROWS - 1].generation = 1
    assert [row.key.index for row in table.requests()] == [lib.FS_ROWS - 1]
    assert [row.key.index for row in table.tcp()] == [lib.FS_TCP_ROWS - 1]


def test_tcp_rows(table: SharedTable) -> None:
    values: dict[str, Any] = {
        "generation": 9,
        "flags": lib.FS_ROW_OVERFLOW,
        "local": bytes.fromhex("20010db8000000000000000000000001"),
        "remote": bytes.fromhex("fe800000000000000000000000000002"),
        "remote_port": 443,
        "role": lib.FS_ROLE_CLIENT,
        "kind": lib.FS_TCP_CONNECT,
        "error": 111,
        "srtt_us": 1,
        "created_ns": 2,
        "updated_ns": 3,
        "connects": 4,
        "connect_ns": 5,
        "retransmits": 6,
        "synack_retransmits": 7,
        "drops": 8,
        "resets_sent": 9,
        "resets_received": 10,
        "closed": 11,
    }
    for index, more in ((1, {}), (2, {"kind": lib.FS_TCP_HEALTH, "flags": 0})):
        entry = ffi.new("struct fs_tcp_row *", values | more)
        ffi.memmove(table.pointer.tcp_rows[index : index + 1], entry, ffi.sizeof("struct fs_tcp_row"))
    connect, health = table.tcp()
    assert (connect.key.error, connect.key.overflow, health.key.error, health.key.overflow) == (111, True, None, False)
    assert (connect.key.local_ip, connect.key.remote_ip) == ("2001:db8::1", "fe80::2")
    assert (connect.key.remote_port, connect.key.created_ns, connect.key.role) == (443, 2, Role.CLIENT)
    assert (connect.srtt_us, connect.updated_ns, connect.connects, connect.connect_ns, connect.retransmits) == (
        1,
        3,
        4,
        5,
        6,
    )
    assert (connect.synack_retransmits, connect.drops, connect.resets_sent, connect.resets_received) == (7, 8, 9, 10)
    assert connect.closed == 11
    assert table.tcp()[0] is connect


def write_samples(table: SharedTable, first: int, last: int) -> None:
    for sequence in range(first, last + 1):
        sample = table.pointer.samples[sequence % lib.FS_SAMPLES]
        sample.sequence, sample.duration_ns, sample.protocol, sample.why = sequence, sequence * 10, 2, lib.FS_WHY_SLOW
    table.pointer.sample_head = last


def test_samples_come_once_and_in_order(table: SharedTable) -> None:
    write_samples(table, 1, 3)
    batch = table.samples_since(1)
    assert [sample.sequence for sample in batch.samples] == [1, 2, 3]
    assert [sample.duration_ns for sample in batch.samples] == [10, 20, 30]
    assert {(sample.protocol, sample.why, sample.trace_id) for sample in batch.samples} == {("dns", "slow", "")}
    assert (batch.next_sequence, batch.overwritten) == (4, 0)
    assert table.samples_since(4).samples == ()
    write_samples(table, 4, 5)
    assert [sample.sequence for sample in table.samples_since(4).samples] == [4, 5]


def test_overwritten_samples_are_counted(table: SharedTable) -> None:
    write_samples(table, 1, lib.FS_SAMPLES + 100)
    batch = table.samples_since(51)
    assert batch.overwritten == 50
    assert len(batch.samples) == lib.FS_SAMPLES
    assert batch.samples[0].sequence == 101
    table.pointer.samples[200].sequence = 0  # just being overwritten
    batch = table.samples_since(101)
    assert (batch.overwritten, len(batch.samples)) == (1, lib.FS_SAMPLES - 1)


def test_texts_of_a_sample(table: SharedTable) -> None:
    write_samples(table, 1, 1)
    sample = table.pointer.samples[1]
    sample.request_content = b"GET /" + b"x" * 122  # 127 and the terminator
    sample.request_text = b"GET / HTTP/1.1\r\n\0binary\xff"
    sample.request_text_length = 24
    sample.trace_id = bytes(range(16))
    (read,) = table.samples_since(1).samples
    assert read.request_content == "GET /" + "x" * 122
    assert read.request_text == "GET / HTTP/1.1\r\n\0binary\N{REPLACEMENT CHARACTER}"
    assert read.response_text == ""
    assert read.trace_id == bytes(range(16)).hex()


def test_state_by_name(table: SharedTable) -> None:
    head = table.pointer
    head.state, head.starts, head.connections = lib.FS_ENGINE_RUNNING, 2, 17
    head.events[lib.FS_EV_DATA], head.parse_failures[2], head.parsed[1] = 5, 6, 7
    head.stats.requests, head.stats.connections_opened, head.stats.ring_contradictions = 8, 9, 10
    head.failure = b"x" * 128  # not terminated
    state = table.state()
    assert isinstance(state, EngineState)
    assert (state.state, state.starts, state.connections, state.failure) == ("running", 2, 17, "x" * 128)
    assert (state.events["data"], state.parse_failures["dns"], state.parsed["http"]) == (5, 6, 7)
    assert (state.stats["requests"], state.stats["connections_opened"], state.stats["ring_contradictions"]) == (
        8,
        9,
        10,
    )
    assert "" not in state.events


def test_damaged_numbers_do_not_raise(table: SharedTable) -> None:
    """The writer parses what strangers sent: should it ever go wrong, its reader must not."""
    ffi.buffer(table.pointer.rows[1:2])[:] = b"\xff" * ffi.sizeof("struct fs_row")
    ffi.buffer(table.pointer.tcp_rows[1:2])[:] = b"\xff" * ffi.sizeof("struct fs_tcp_row")
    ffi.buffer(table.pointer.samples[1:2])[:] = b"\xff" * ffi.sizeof("struct fs_sample")
    table.pointer.samples[1].sequence = 1
    table.pointer.sample_head, table.pointer.state = 1, 77
    assert table.requests()[0].key.protocol == "NOSUPPORT"
    assert table.requests()[0].key.role is Role.UNKNOWN
    assert table.tcp()[0].key.role is Role.UNKNOWN
    assert len(table.samples_since(1).samples) == 1
    assert table.state().state == "failed"


def test_a_table_of_another_build_is_refused(table: SharedTable) -> None:
    table.pointer.magic, table.pointer.version, table.pointer.size = lib.FS_TABLE_MAGIC, 99, 5
    with pytest.raises(ValueError, match="version 99, 5 bytes, this agent reads version 3"):
        SharedTable.attach(os.dup(table.fd))
    table.pointer.version, table.pointer.size = lib.FS_TABLE_VERSION, ffi.sizeof("struct fs_table")
    write_row(table, 1, **a_row())
    other = SharedTable.attach(os.dup(table.fd))
    assert other.requests() == table.requests()
    other.close()


def test_the_size_of_shared_memory_is_sealed(table: SharedTable) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(table.fd, 0)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (V4 + bytes((127, 0, 0, 1)), "127.0.0.1"),
        (bytes(16), "::"),
        (bytes(15) + b"\1", "::1"),
        (bytes.fromhex("20010db8" + "0" * 16 + "00000001"), "2001:db8::1"),
    ],
)
def test_addresses(raw: bytes, text: str) -> None:
    assert address_text(raw) == text


def test_twenty_thousand_rows_are_cheap(table: SharedTable) -> None:
    """A generous bound against accidents; the figures are in the module's text."""
    for index in range(20_000):
        table.pointer.rows[index].generation = index + 1
    table.requests()
    for index in range(20_000):
        table.pointer.rows[index].count += 1
    begin = time.process_time()
    table.requests()
    changed = time.process_time() - begin
    begin = time.process_time()
    table.requests()
    unchanged = time.process_time() - begin
    assert changed < 0.4
    assert unchanged < 0.15


def test_driver_counters_are_summed_over_cpus() -> None:
    fd = os.memfd_create("counters")
    os.ftruncate(fd, ffi.sizeof("struct fs_cpu_counters") * lib.FS_CPUS)
    block = SharedBlock(os.dup(fd), "struct fs_cpu_counters", count=lib.FS_CPUS)
    for cpu in (0, 1, lib.FS_CPUS - 1):
        block.pointer[cpu].written[lib.FS_EV_DATA] = 10
        block.pointer[cpu].lost[lib.FS_EV_OPEN] = cpu
        block.pointer[cpu].absent[lib.FS_REASON_SYSCALL] = 1
        block.pointer[cpu].storage_failed = 2
        block.pointer[cpu].merged = 1 << 40
    counters = MappedCounters(fd)
    read = counters.read()
    assert read.written == {name: 30 if name == "data" else 0 for name in EVENTS if name}
    assert read.lost == {name: lib.FS_CPUS if name == "open" else 0 for name in EVENTS if name}
    assert read.absent == {name: 3 if name == "syscall" else 0 for name in REASONS[1:]}
    assert (read.storage_failed, read.merged) == (6, 3 << 40)
    counters.close()
    block.close()


def test_names_come_from_the_contract() -> None:
    assert PROTOCOLS[:3] == ("NOSUPPORT", "http", "dns")
    assert EVENTS[lib.FS_EV_PROCESS] == "process"
    assert len(EVENTS) == lib.FS_EV_COUNT
    assert len(STATS) * 8 == ffi.sizeof("struct fs_stats")
    assert STAT_HELP["requests"] == "requests that were counted"


def test_every_setting_reaches_the_block() -> None:
    names = {name for name, _ in ffi.typeof("struct fs_engine_config").fields}
    ours = {field.name for field in fields(EngineSettings)} - {"slow_default_ns", "unwanted_comms"}
    others = {"magic", "version", "generation", "stop", "port_rule", "cgroup_aside", "reserved", "reserved2"}
    assert ours | {"unwanted_comm"} == names - others
    settings = EngineSettings(
        max_connections=1, contents_per_workload=2, row_limit=3, tcp_row_limit=4, connection_idle_ns=5, row_idle_ns=6,
        no_response_ns=7, slow_ns={"dns": 8}, slow_default_ns=9, bucket_ns=(1, 2, 3, 4, 5, 6, 7, 8),
        protocols_enabled=frozenset({"dns"}), sample_rate=10, sample_per_edge=11, sample_normal_permille=12,
        capture_bytes=13, parse_bytes=14, stream_bytes=15, poll_us=16, url_clustering="blank",
        dns_nxdomain_is_error=False, measure=True, message_mode=False,
        port_rules=(PortRule(80, "http"), PortRule(9, None)), excluded_netns=(17, 18),
        cgroups_aside=(20, 19),
    )  # fmt: skip
    block = ConfigBlock(settings)
    config = block._config
    for name in ("max_connections", "contents_per_workload", "row_limit", "tcp_row_limit", "connection_idle_ns",
                 "row_idle_ns", "no_response_ns", "sample_rate", "sample_per_edge", "sample_normal_permille",
                 "capture_bytes", "parse_bytes", "stream_bytes", "poll_us", "dns_nxdomain_is_error", "measure",
                 "message_mode"):  # fmt: skip
        assert getattr(config, name) == getattr(settings, name), name
    assert list(config.bucket_ns) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert list(config.slow_ns) == [8 if number == 2 else 9 for number in range(32)]
    assert config.protocols_enabled == 1 << 2
    assert config.url_clustering == 2
    assert config.port_rules == 2
    assert [(rule.port, rule.protocol) for rule in config.port_rule[0:3]] == [(80, 1), (9, 255), (0, 0)]
    assert list(config.excluded_netns)[:3] == [17, 18, 0]
    assert (config.cgroups_aside, list(config.cgroup_aside)[:3]) == (2, [19, 20, 0])
    assert (config.magic, config.version, config.generation) == (lib.FS_TABLE_MAGIC, lib.FS_TABLE_VERSION, 1)
    block.apply(replace(settings, port_rules=()))
    assert (config.generation, config.port_rules) == (2, 0)
    block.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url_clustering": "alphabeta"}, "url_clustering = 'alphabeta': one of noparam, alphabet, blank, learn"),
        ({"max_connections": -1}, "max_connections = -1"),
        ({"max_connections": 1 << 32}, "max_connections = 4294967296"),
        ({"bucket_ns": (1, 2)}, "bucket_ns: 2 values, exactly 8"),
        ({"bucket_ns": (2, 1, 3, 4, 5, 6, 7, 8)}, "bounds must ascend"),
        ({"protocols_enabled": frozenset({"gopher"})}, "no protocol 'gopher'"),
        ({"port_rules": (PortRule(1, None),) * 65}, "65 rules, at most 64"),
        ({"excluded_netns": (1,) * 17}, "17 values, at most 16"),
    ],
)
def test_bad_settings_are_refused_and_the_old_stay(change: dict[str, Any], message: str) -> None:
    block = ConfigBlock(EngineSettings(poll_us=77))
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        block.apply(replace(EngineSettings(), **change))
    assert block._config.poll_us == 77
    assert block._config.generation == 1
    assert block.settings.poll_us == 77
    block.close()
