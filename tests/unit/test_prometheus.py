# SPDX-License-Identifier: Apache-2.0
"""The page as text: both formats, escaping, negotiation, gzip in a stream, and what promtool says."""

import gzip
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from analyzers.rows import Role
from exporters import registry_traffic as traffic
from exporters.labels import VALUE_LIMIT, escaped, label_text
from exporters.prometheus import (
    LINES_PER_CHUNK,
    PageSource,
    accepts_gzip,
    compressed,
    negotiate,
    render,
)
from exporters.settings import MetricsSettings, RowLimits
from tests.pages import Bench, parse, promtool_check, values
from tests.rows import CLIENT, SECOND, request_row, sample, tcp_row

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;"
    "q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


def bench(settings: MetricsSettings | None = None) -> Bench:
    rows = [
        request_row(1, Role.SERVER, count=4, peer=CLIENT, duration_ns=SECOND),
        request_row(2, Role.SERVER, count=2, peer=CLIENT, status=500, is_error=True, is_slow=True),
    ]
    tcp = [
        tcp_row(1, srtt_us=120, retransmits=1, drops=2, resets_sent=3, resets_received=4),
        tcp_row(2, error=0, connects=5, connect_ns=500),
        tcp_row(3, error=110, connects=1, connect_ns=900),
    ]
    samples = [sample(trace_id="4bf92f3577b34da6a3ce929d0e0e4736")]
    settings = settings or MetricsSettings(scrape_interval_ns=0, histograms="both")
    return Bench(settings).feed(rows, tcp, samples, now_ns=20 * SECOND)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "text"),
        ("*/*", "text"),
        (PROMETHEUS, "text"),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", "openmetrics"),
        ("application/openmetrics-text;version=1.0.0;q=0.6,*/*;q=0.5", "openmetrics"),
        ("application/openmetrics-text;q=0, */*", "text"),
        ("application/openmetrics-text, text/plain;q=0", "openmetrics"),
        ("Application/OpenMetrics-Text; version=1.0.0", "openmetrics"),
        ("application/openmetrics-text;q=0.1,text/plain;q=0.9", "text"),
        ("application/openmetrics-text;q=x", "text"),
        ("text/plain", "text"),
        ("text/html, nonsense;;q=x", "text"),
    ],
)
def test_negotiation(accept: str, expected: str) -> None:
    assert negotiate(accept) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [("", False), ("gzip", True), ("deflate, GZIP;q=0.5", True), ("gzip;q=0", False), ("*", True), ("identity", False),
     ("*, gzip;q=0", False), ("gzip, *;q=0", True), ("gzip;q=x", False), ("br;q=0.5, gzip;Q=0.001", True)],
)  # fmt: skip
def test_gzip_negotiation(header: str, expected: bool) -> None:
    assert accepts_gzip(header) is expected


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain /a?b", "plain /a?b"),
        ('a"b\\c\nd', 'a\\"b\\\\c\\nd'),
        ("tab\tbell\x07del\x7f", "tab\ufffdbell\ufffddel\ufffd"),
        ("half \ud800", "half \ufffd"),
        ("größe 中", "größe 中"),
        ("x" * 300, "x" * VALUE_LIMIT),
    ],
)
def test_label_values(value: str, shown: str) -> None:
    assert escaped(value) == shown


@given(st.text(max_size=400))
def test_any_value_can_be_read_back_by_the_reference_parsers(value: str) -> None:
    page = f"x{{{label_text([('a', value), ('b', 'c')])}}} 1\n"
    (text,) = text_families(page)
    (openmetrics,) = openmetrics_families(  # type: ignore[no-untyped-call]
        f"# TYPE x gauge\n{page}# EOF\n"
    )
    expected = {"a": "".join(_expected(character) for character in value[:VALUE_LIMIT]), "b": "c"}
    assert text.samples[0].labels == expected
    assert openmetrics.samples[0].labels == expected


def _expected(character: str) -> str:
    control = (ord(character) < 0x20 and character != "\n") or 0x7F <= ord(character) < 0xA0
    return "\ufffd" if control or 0xD800 <= ord(character) < 0xE000 else character


def test_promtool_accepts_the_page() -> None:
    assert promtool_check(bench().page()) == []


def test_the_whole_text_of_one_family() -> None:
    page = bench(MetricsSettings(scrape_interval_ns=0, drop_labels=frozenset(traffic.TCP_LABELS))).page()
    start = page.index("# HELP kindling_tcp_connect_total")
    assert page[start:].split("# HELP kindling_tcp_connect_duration", maxsplit=1)[0] == (
        "# HELP kindling_tcp_connect_total Connection attempts by result. "
        'success="false" with errno 111 is a port nobody listens at, 110 a packet filter or a dead host.\n'
        "# TYPE kindling_tcp_connect_total counter\n"
        'kindling_tcp_connect_total{dnat_ip="",dnat_port="",success="true",errno="0"} 5\n'
        'kindling_tcp_connect_total{dnat_ip="",dnat_port="",success="false",errno="110"} 1\n'
    )


def test_openmetrics_says_the_same_with_created_times_and_exemplars() -> None:
    offset = 1_700_000_000 * SECOND
    source = bench()
    told_families = source.page(style="openmetrics", wall_offset_ns=offset)
    families = {
        family.name: family
        for family in openmetrics_families(told_families)  # type: ignore[no-untyped-call]
    }
    told = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families.values()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
    assert told == parse(source.page())
    created = [s for family in families.values() for s in family.samples if s.name.endswith("_created")]
    assert {sample.value for sample in created} == {1_700_000_020.0}
    counters = sum(not key[0].endswith(("_nanoseconds", "_microseconds", "_bucket", "_count", "_sum")) for key in told)
    histograms = sum(key[0].endswith("_count") for key in told)
    assert len(created) == counters + histograms
    exemplars = [s for s in families["kindling_entity_request_duration_seconds"].samples if s.exemplar]
    (bucket,) = exemplars
    assert bucket.labels["le"] == "0.01"
    assert bucket.exemplar.labels == {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}
    assert (bucket.exemplar.value, float(bucket.exemplar.timestamp)) == (0.007, 1_700_000_005.007)


def test_the_reference_parser_reads_the_same() -> None:
    page = bench().page()
    told = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_families(page)
        for sample in family.samples
    }
    assert told == parse(page)


def test_a_metric_that_cannot_be_had_is_absent_with_its_reason() -> None:
    source = bench()
    absent = {traffic.PACKET_LOSS.name: "no hook:\nkernel too old", traffic.WORKLOAD_INFO.name: "there is no cluster"}
    page = source.page(absent=absent)
    assert "kindling_tcp_packet_loss_total{" not in page
    assert "# kindling_tcp_packet_loss_total is absent: no hook: kernel too old\n" in page
    assert "# kindling_k8s_workload_info is absent: there is no cluster\n" in page
    assert "absent" not in source.page(style="openmetrics", absent=absent)
    assert promtool_check(page) == []


def test_workloads_of_a_cluster() -> None:
    body = label_text(zip(traffic.WORKLOAD_LABELS, ("shop", "deployment", "server"), strict=True))
    page = bench().page(workloads=(body,))
    assert values(page, "kindling_k8s_workload_info", *traffic.WORKLOAD_LABELS) == {("shop", "deployment", "server"): 1}


def test_another_prefix() -> None:
    page = bench(MetricsSettings(prefix="firesteel_traffic", scrape_interval_ns=0)).page()
    names = {name for name, _ in parse(page)}
    assert names
    assert all(name.startswith("firesteel_traffic_") for name in names)


def test_an_empty_page_is_empty() -> None:
    assert Bench().page() == ""
    assert Bench().page(style="openmetrics") == "# EOF\n"


def test_own_metrics_come_last_and_before_the_end_mark() -> None:
    assert bench().page(own=b"firesteel_up 1\n").endswith('errno="110"} 900\nfiresteel_up 1\n')
    assert bench().page(style="openmetrics", own=b"firesteel_up 1\n").endswith("firesteel_up 1\n# EOF\n")


def test_chunks_are_bounded_and_compress_to_the_same_page() -> None:
    settings = MetricsSettings(scrape_interval_ns=0, rows=RowLimits(entity=3000))
    rows = [request_row(n, Role.SERVER, peer=CLIENT, request_content=f"/{n % 40}/x{n}") for n in range(1200)]
    settings = replace(settings, contents_per_workload=2000)
    store = Bench(settings).feed(rows, now_ns=1).store
    chunks = list(render(PageSource(store.page(1))))
    assert max(chunk.count(b"\n") for chunk in chunks) == LINES_PER_CHUNK
    whole = b"".join(chunks)
    packed = list(compressed(iter(chunks)))
    assert len(packed) > 2
    assert gzip.decompress(b"".join(packed)) == whole
    half = zlib.decompressobj(31).decompress(b"".join(packed[:2]))
    assert whole.startswith(half)
