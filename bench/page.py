# SPDX-License-Identifier: Apache-2.0
"""What one scrape of a big page costs, compressed, from a snapshot of made-up rows: processor time of 50 000 series at
workload detail; memory of these, of four times as many, and of a page on its way."""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass

from analyzers.resolver import Party
from analyzers.rows import Identity, LastRequest, RequestKey, RequestRow, Role, TcpKey, TcpRow
from analyzers.snapshot import SnapshotBuilder
from bench.figures import Line, Section, quick
from exporters.prometheus import PageSource, compressed, render
from exporters.series import SeriesStore
from exporters.settings import MetricsSettings, RowLimits

_CLIENT_ROWS = 4000
_SERVER_ROWS = 1200
_TCP_ROWS = 3000
_BUDGET_SECONDS = 0.2
_BIG = 4  # times as many rows
_BUDGET_SHARE = 0.02
"""Of the body, that may be in memory while it is sent."""
_SECOND_NS = 10**9


class _Cluster:
    """Names as long as real ones are, a workload for each address."""

    def local(self, identity: Identity, ip: str, port: int) -> Party:
        return _party(identity.index)

    def remote(self, ip: str, port: int, netns: int, at_ns: int = 0) -> Party:
        return _party(int(ip.rpartition(".")[2]) + 256 * int(ip.split(".")[2]))

    def service(self, ip: str, port: int) -> str:
        return ""

    def bound_address(self, remote_ip: str, netns: int) -> str:
        return "10.0.0.1"

    def version(self) -> int:
        return 1


def _party(number: int) -> Party:
    name = f"checkout-{number:05d}"
    return Party(
        node="worker-17.example.internal",
        namespace=f"team-{number % 40:02d}",
        workload_kind="deployment",
        workload_name=name,
        service=name,
        pod=f"{name}-6d4cf56db6-x2x7k",
        container="main",
        container_id="0123456789ab",
    )


def _identity(number: int) -> Identity:
    return Identity(number, 1, 4026531840, 1000 + number, 2000 + number, "server")


def _request(index: int, role: Role) -> RequestRow:
    server = role is Role.SERVER
    key = RequestKey(
        index=index,
        generation=1,
        role=role,
        protocol="http",
        l4="tcp",
        identity=_identity(index % 300 if not server else index),
        peer=None,
        local_ip="10.1.0.7",
        local_port=8080 if server else 0,
        remote_ip=f"10.2.{index // 256}.{index % 256}",
        remote_port=0 if server else 8080,
        status=200,
        request_content=f"/api/v1/orders/{index % 10}/*",
        response_content="200",
        is_error=False,
        is_slow=False,
        no_response=False,
        overflow=False,
        created_ns=_SECOND_NS,
    )
    last = LastRequest(2 * _SECOND_NS, 900_000, 0, 20_000, 800_000, 80_000)
    return RequestRow(key, 1000 + index, 10**9 + index, 10**6, 10**7, (100, 50, 20, 10, 5, 2, 1, 0, 0), last)


def _tcp(index: int) -> TcpRow:
    address = f"10.2.{index // 256}.{index % 256}"
    identity = _identity(index % 300)
    key = TcpKey(index, 1, Role.CLIENT, identity, None, "10.1.0.7", 0, address, 8080, None, False, _SECOND_NS)
    return TcpRow(key, 2 * _SECOND_NS, 250, 0, 0, 3, 0, 1, 0, 0, 7)


def full_store(times: int = 1) -> SeriesStore:
    """A store fed with one snapshot that gives about 50 000 series, or so many times as many."""
    builder = SnapshotBuilder(_Cluster())
    clients = times * _CLIENT_ROWS
    requests = [_request(index, Role.CLIENT) for index in range(clients)]
    requests += [_request(clients + index, Role.SERVER) for index in range(times * _SERVER_ROWS)]
    tcp = [_tcp(index) for index in range(times * _TCP_ROWS)]
    snapshot = builder.build(requests, tcp, (), 2 * _SECOND_NS)
    rows = RowLimits(entity=30_000, topology=30_000, tcp=16_000, trace=12_000) if times > 1 else RowLimits()
    store = SeriesStore(MetricsSettings(detail="workload", rows=rows))
    store.update(snapshot)
    return store


@dataclass(frozen=True, slots=True)
class Streamed:
    """`held` is the most memory, in bytes, that sending the page took beyond the rows themselves."""

    series: int
    bytes: int
    packed: int
    held: int
    longest_chunk: int


def streamed(store: SeriesStore) -> Streamed:
    """One page to a scraper that takes gzip, of which nothing is kept."""
    source = PageSource(store.page(200 * _SECOND_NS))
    for _ in render(source):  # label text is cached from here on
        pass
    series = size = packed = longest = 0

    def counted() -> Iterator[bytes]:
        nonlocal series, size, longest
        for chunk in render(source):
            series += sum(1 for line in chunk.splitlines() if line[:1] not in {b"", b"#"})
            size += len(chunk)
            longest = max(longest, len(chunk))
            yield chunk

    tracemalloc.start()
    for piece in compressed(counted()):
        packed += len(piece)
    _, held = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Streamed(series, size, packed, held, longest)


def bytes_per_series(times: int = 1) -> float:
    """Memory of a store and of one frozen page of it, by each of its series: what grows with their number. The accounts
    that feed it are not in it."""
    tracemalloc.start()
    store = full_store(times)
    gc.collect()
    page = store.page(200 * _SECOND_NS)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    lines = (line for chunk in render(PageSource(page)) for line in chunk.splitlines())
    return taken / sum(1 for line in lines if line[:1] not in {b"", b"#"})


def _streamed_line(store: SeriesStore) -> Line:
    told = streamed(store)
    figure = (
        f"{told.held / 1e6:.1f} MB held of {told.bytes / 1e6:.0f} MB sent ({told.packed / 1e6:.1f} MB compressed), "
        f"chunks of at most {told.longest_chunk / 1e3:.0f} kB"
    )
    share = told.held / told.bytes
    return Line(
        f"memory while {told.series:,} series are sent",
        figure,
        f"{_BUDGET_SHARE:.0%} of the body",
        share <= _BUDGET_SHARE,
    )


def run() -> Section:
    store = full_store()
    costs, size, packed = [], 0, 0
    for number in range(4 if quick() else 12):
        began = time.process_time()
        source = PageSource(store.page((100 + number) * _SECOND_NS))
        packed = sum(map(len, compressed(render(source))))
        costs.append(time.process_time() - began)
        size = sum(map(len, render(source)))
    text = b"".join(render(PageSource(store.page(200 * _SECOND_NS)))).decode()
    series = sum(1 for line in text.splitlines() if line and not line.startswith("#"))
    # The first page writes all label text once; what a scraper meets afterwards is the median.
    cost = statistics.median(costs)
    figure = (
        f"{cost:.3f} s CPU ({costs[0]:.3f} s the first time), {size / 1e6:.1f} MB, {packed / 1e6:.2f} MB compressed"
    )
    lines = [
        Line(f"page of {series:,} series, gzip included", figure, "0.2 s CPU", cost <= _BUDGET_SECONDS),
        _streamed_line(full_store(_BIG)),
        Line("memory of a series on the page", f"{bytes_per_series():.0f} bytes"),
    ]
    return Section(lines, recorded={"page_seconds": round(cost, 3)})
