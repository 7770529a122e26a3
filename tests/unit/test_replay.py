# SPDX-License-Identifier: Apache-2.0
"""firesteel replay: exact counts out of a recording made by hand, and what it says of files that are none."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from analyzers.recording import pack_head
from collector.cli import main
from collector.config import Source, load
from collector.options import Exit
from collector.replay import show
from tests import events, packets

ROOT = Path(__file__).parent.parent.parent
MILLISECOND = 1_000_000
SECOND = 1000 * MILLISECOND
CLIENT = ("10.0.0.1", 40000)
SERVER = ("192.0.2.7", 80)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(autouse=True)
def _no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    empty = tmp_path / "empty.yaml"
    empty.write_text("", encoding="utf-8")
    monkeypatch.setenv("FIRESTEEL_CONFIG", str(empty))


def file_of(path: Path, made: list[bytes]) -> Path:
    padded = b"".join(event + bytes(-len(event) % 8) for event in made)
    path.write_bytes(pack_head("core", "6.18.0", 1_700_000_000 * SECOND) + padded)
    return path


def conversation(requests: int, conn_id: int = 1, now: int = SECOND) -> list[bytes]:
    """curl asks a server outside; every third answer is a 404, each comes after 3 ms."""
    talk = events.Conversation(conn_id, CLIENT, SERVER, "client", comm="curl", pid=7)
    made = [talk.open(now)]
    for number in range(requests):
        now += 10 * MILLISECOND
        made.append(talk.sends(now, b"GET /items/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number))
        made.append(talk.receives(now + 3 * MILLISECOND, MISSING if number % 3 == 2 else OK))
    made.append(talk.close(now + 10 * MILLISECOND))
    return made


def counters(page: str, name: str) -> dict[tuple[tuple[str, str], ...], int]:
    """Samples of one metric by their non-empty labels."""
    found: dict[tuple[tuple[str, str], ...], int] = {}
    for body, value in re.findall(rf"^{name}{{(.*)}} (\d+)$", page, re.MULTILINE):
        labels = tuple((key, text) for key, text in re.findall(r'(\w+)="([^"]*)"', body) if text)
        assert labels not in found
        found[labels] = int(value)
    return found


def page_of(path: Path, *settings: str) -> str:
    out = io.StringIO()
    assert show(load(Source(None, False, settings)), path, as_json=False, out=out) == Exit.DONE
    return out.getvalue()


def total(page: str, name: str, **labels: str) -> int:
    return sum(value for body, value in counters(page, name).items() if labels.items() <= dict(body).items())


def test_the_page_has_every_request_of_the_recording(tmp_path: Path) -> None:
    page = page_of(file_of(tmp_path / "a.fsrec", conversation(9)))
    name = "kindling_topology_request_total"
    assert total(page, name) == 9
    assert total(page, name, status_code="200", is_error="false") == 6
    assert total(page, name, status_code="404", is_error="true") == 3
    edge = {"src_workload_name": "curl", "src_namespace": "NOT_FOUND_INTERNAL", "src_ip": "10.0.0.1"}
    edge |= {"dst_namespace": "NOT_FOUND_EXTERNAL", "dst_ip": "192.0.2.7", "dst_port": "80", "protocol": "http"}
    assert total(page, name, **edge) == 9
    assert total(page, "kindling_topology_request_duration_nanoseconds_total") == 9 * 3 * MILLISECOND
    assert total(page, "kindling_topology_request_response_bytes_total") == 6 * len(OK) + 3 * len(MISSING)


def test_the_same_recording_gives_the_same_page(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.fsrec", conversation(30))
    assert page_of(path) == page_of(path)


def test_nothing_ends_before_the_page_is_made(tmp_path: Path) -> None:
    """A 404 six hours before the last request: its row is long idle at the end, and is still there."""
    made = conversation(3) + conversation(2, conn_id=2, now=6 * 3600 * SECOND)
    page = page_of(file_of(tmp_path / "a.fsrec", made))
    assert total(page, "kindling_topology_request_total", status_code="404") == 1
    assert total(page, "kindling_topology_request_total", status_code="200") == 4


def test_the_configuration_holds_in_a_replay(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.fsrec", conversation(3))
    page = page_of(path, "metrics.prefix=mine", "protocols.slow.http=2ms", "metrics.drop_labels=[dst_port]")
    assert total(page, "mine_topology_request_total", is_slow="true") == 3
    assert "dst_port" not in page
    assert total(page_of(path, "scope.exclude_comms=[curl]"), "kindling_topology_request_total") == 0
    undecoded = page_of(path, "protocols.ports.80=none")
    assert total(undecoded, "kindling_topology_request_total", protocol="NOSUPPORT") == 3
    undecoded = page_of(path, "protocols.enabled=[dns]")
    assert total(undecoded, "kindling_topology_request_total", protocol="NOSUPPORT") == 3


def test_json_tells_what_was_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = file_of(tmp_path / "a.fsrec", conversation(4))
    assert main(["replay", str(path), "--json"]) == Exit.DONE
    told = json.loads(capsys.readouterr().out)
    assert told["recording"] == {
        "file": str(path), "kernel": "6.18.0", "driver": "core", "contract": 1, "complete": True, "fault": "",
    }  # fmt: skip
    assert told["engine"]["stats"]["requests"] == 4
    assert told["engine"]["events"]["data"] == 8
    (edge,) = told["topology"]["edges"]
    assert edge["total"]["requests"] == 4
    assert edge["total"]["errors"] == 1


@pytest.mark.parametrize(("cut", "whole_requests"), [(40, 5), (100, 4)], ids=["in the close", "in the last answer"])
def test_a_recording_cut_short_is_shown_up_to_there(
    cut: int, whole_requests: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file_of(tmp_path / "a.fsrec", conversation(5))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - cut])
    assert main(["replay", str(path)]) == Exit.NOT_AS_WISHED
    told = capsys.readouterr()
    assert total(told.out, "kindling_topology_request_total") == whole_requests
    assert told.err.startswith(f"firesteel replay: {path}: ")
    assert "byte " in told.err
    assert told.err.endswith("everything before was counted; record again\n")
    assert told.err.count("counted") == 1


@pytest.mark.parametrize(
    ("content", "code", "told"),
    [
        (None, Exit.WRONG_USE, "{path}: No such file or directory; name a file that can be read"),
        (
            b"",
            Exit.NOT_AS_WISHED,
            "{path}: byte 0: not a recording of firesteel; make one with `firesteel record FILE`",
        ),
        (b"GET / HTTP/1.1\r\n" * 20, Exit.NOT_AS_WISHED, "{path}: byte 0: not a recording of firesteel; make one with"),
        (pack_head("core", "6", 0)[:50], Exit.NOT_AS_WISHED, "{path}: byte 50: the file ends inside its head"),
        (
            pack_head("core", "6", 0)[:4] + b"\x09\x00" + pack_head("core", "6", 0)[6:],
            Exit.NOT_AS_WISHED,
            "{path}: byte 4: recorded by a newer version (contract 9",
        ),
        (
            b"\xd4\xc3\xb2\xa1" + bytes(20),
            Exit.NOT_AS_WISHED,
            "{path}: byte 4: pcap of version 0.0, which is not read; ",
        ),
        (
            b"\xd4\xc3\xb2\xa1" + bytes(5),
            Exit.NOT_AS_WISHED,
            "{path}: byte 9: the file ends inside its head (truncated);",
        ),
        (
            b"\x0a\x0d\x0d\x0a" + bytes(20),
            Exit.NOT_AS_WISHED,
            "{path}: byte 0: a section without a byte order: damaged;",
        ),
        (
            b"\x1f\x8b\x08" + bytes(20),
            Exit.NOT_AS_WISHED,
            "{path}: this file is compressed; unpack it with gunzip first",
        ),
    ],
)
@pytest.mark.parametrize("options", [[], ["--serve", "--set", "listen.metrics=127.0.0.1:0"]], ids=["print", "serve"])
def test_a_file_that_is_no_recording_is_told(
    options: list[str],
    content: bytes | None,
    code: Exit,
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "x"
    if content is not None:
        path.write_bytes(content)
    assert main(["replay", str(path), *options]) == code
    out = capsys.readouterr()
    assert out.err.startswith("firesteel replay: " + told.format(path=path))
    assert out.out == ""


def test_a_folder_is_no_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(tmp_path)]) == Exit.WRONG_USE
    assert "Is a directory" in capsys.readouterr().err


def ask(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def test_a_served_recording_has_the_page_the_api_and_the_live_view(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.fsrec", conversation(9))
    command = [sys.executable, "-m", "collector.cli", "replay", str(path), "--serve"]
    for name in ("metrics", "api"):
        command += ["--set", f"listen.{name}=127.0.0.1:0"]
    command += ["--set", "samples.normal=1.0", "--set", "metrics.scrape_interval=100ms"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr is not None
    try:
        urls = dict(process.stderr.readline().strip().split(": ", 1) for _ in range(2))
        assert set(urls) == {"live page", "metrics"}
        deadline = time.monotonic() + 20
        while total(page := ask(urls["metrics"]), "kindling_topology_request_total") != 9:
            assert time.monotonic() < deadline, page
            time.sleep(0.1)
        assert 'firesteel_build_info{version="' in page
        status = json.loads(ask(urls["live page"] + "api/v1/status"))
        assert status["agent"]["mode"] == "replay"
        assert status["driver"]["name"] == "replay"
        assert status["engine"]["stats"]["requests"] == 9
        assert len(json.loads(ask(urls["live page"] + "api/v1/traces"))["requests"]) >= 1
        explained = json.loads(ask(urls["live page"] + "api/v1/explain?address=192.0.2.7:80"))
        assert explained["namespace"] == "NOT_FOUND_EXTERNAL"
        assert explained["steps"] == ["no socket of the recorded machine had this address, so it is outside of it"]
        assert "<html" in ask(urls["live page"])
        base = urls["live page"].rstrip("/")
        asked = [sys.executable, "-m", "collector.cli", "status", "--url", base]
        done = subprocess.run(asked, capture_output=True, text=True, cwd=ROOT, check=False)
        assert (done.returncode, done.stdout.splitlines()[1]) == (
            0,
            "Driver replay: a.fsrec, recorded with the core driver.",
        )
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(10)
        process.stderr.close()
    assert process.returncode == 0
    with pytest.raises(urllib.error.URLError):
        ask(urls["metrics"])


def test_a_port_in_use_ends_with_1_and_the_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    path = file_of(tmp_path / "a.fsrec", conversation(1))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = main(["replay", str(path), "--serve", "--set", f"listen.metrics=127.0.0.1:{port}"])
    assert code == Exit.NOT_AS_WISHED
    assert capsys.readouterr().err.startswith("firesteel replay: listen.metrics: ")


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (["listen.metrics=192.0.2.1:9510"], Exit.NOT_AS_WISHED),
        (["listen.api=127.0.0.1:0", "listen.auth={}/token"], Exit.WRONG_USE),
        (["listen.tls.cert={}/token", "listen.tls.key={}/token"], Exit.WRONG_USE),
    ],
    ids=["not of this machine", "a short token", "no certificate"],
)
def test_a_listener_that_is_configured_wrongly_ends_with_2(
    settings: list[str], code: Exit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And with 1 where another machine, or another moment, would take the same configuration."""
    (tmp_path / "token").write_text("short")
    path = file_of(tmp_path / "a.fsrec", conversation(1))
    options = [part for setting in ("listen.metrics=127.0.0.1:0", *settings) for part in ("--set", setting.format(tmp_path, tmp_path))]  # fmt: skip
    assert main(["replay", str(path), "--serve", *options]) == code
    assert capsys.readouterr().err.startswith("firesteel replay: listen.")


def capture_of(path: Path, requests: int = 9) -> Path:
    """The same conversation as packets: every third answer is a 404, each comes after 3 ms."""
    talk = packets.Talk(CLIENT, SERVER, step=3 * MILLISECOND)
    made = talk.handshake()
    for number in range(requests):
        made.append(talk.from_client(b"GET /items/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number))
        made.append(talk.from_server(MISSING if number % 3 == 2 else OK))
    made += talk.goodbye()
    return packets.pcapng(path, [(when, packets.ethernet(ip)) for when, ip in made])


def test_a_packet_capture_is_shown_like_a_recording(tmp_path: Path) -> None:
    page = page_of(capture_of(tmp_path / "a.pcapng"))
    name = "kindling_topology_request_total"
    edge = {"src_ip": "10.0.0.1", "dst_ip": "192.0.2.7", "dst_port": "80", "protocol": "http"}
    assert total(page, name) == total(page, name, **edge) == 9
    assert total(page, name, status_code="404", is_error="true") == 3
    assert total(page, "kindling_entity_request_total", ip="192.0.2.7") == 9
    assert total(page, "kindling_topology_request_duration_nanoseconds_total") == 9 * 3 * MILLISECOND
    assert total(page, "kindling_tcp_connect_total", success="true") == 1


def test_json_tells_packets_and_requests_of_a_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = capture_of(tmp_path / "a.pcapng")
    raw = path.read_bytes()
    path.write_bytes(raw + packets.packet(packets.START + 10**9, bytes(12) + b"\x08\x06" + bytes(28)))
    assert main(["replay", str(path), "--json", "--set", "samples.normal=1.0", "--set", "samples.per_edge=100"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["recording"]["driver"] == "capture"
    assert told["capture"] == {
        "format": "pcapng", "packets": 25, "bytes": told["capture"]["bytes"], "tcp": 24, "udp": 0, "cut": 0,
        "unordered": 0, "skipped": {"packets that are not IP": 1},
    }  # fmt: skip
    assert {(r["source"], r["destination"], r["status"], r["error"], r["count"]) for r in told["requests"]} == {
        ("10.0.0.1", "192.0.2.7:80", 200, False, 6),
        ("10.0.0.1", "192.0.2.7:80", 404, True, 3),
    }
    assert {r["mean_seconds"] for r in told["requests"]} == {0.003}
    assert [sample["request_content"] for sample in told["samples"]] == ["/items/*"] * 9


def test_a_capture_cut_short_is_shown_up_to_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = capture_of(tmp_path / "a.pcapng")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert main(["replay", str(path)]) == Exit.NOT_AS_WISHED
    told = capsys.readouterr()
    assert total(told.out, "kindling_topology_request_total") == 4
    assert re.fullmatch(
        rf"firesteel replay: {re.escape(str(path))}: byte \d+: the file ends inside a packet \(truncated\); let the capture "
        r"end before it is copied; what came before it is counted\n",
        told.err,
    )
    assert main(["replay", str(path), "--json"]) == Exit.NOT_AS_WISHED
    told = capsys.readouterr()
    assert json.loads(told.out)["recording"]["complete"] is False
    assert "byte " in json.loads(told.out)["recording"]["fault"]


def test_what_was_left_out_of_a_capture_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = capture_of(tmp_path / "a.pcapng")
    arp = bytes(12) + b"\x08\x06" + bytes(28)
    more = [packets.packet(packets.START + 5 * SECOND, arp), packets.packet(packets.START, packets.Cut(arp, 30))]
    path.write_bytes(path.read_bytes() + b"".join(more))
    assert main(["replay", str(path)]) == Exit.DONE
    assert capsys.readouterr().err.splitlines() == [
        f"firesteel replay: {path}: 2 packets that are not IP",
        f"firesteel replay: {path}: 1 of 26 packets were cut short by the capture (its snaplen)",
        f"firesteel replay: {path}: 1 packets are out of the order of time; `reordercap` sorts them",
    ]


@pytest.mark.parametrize("pace", [[], ["--pace"]], ids=["at once", "paced"])
def test_a_served_capture(tmp_path: Path, pace: list[str]) -> None:
    path = capture_of(tmp_path / "a.pcapng")
    path.write_bytes(path.read_bytes()[:-9])
    command = [sys.executable, "-m", "collector.cli", "replay", str(path), "--serve", *pace]
    for name in ("metrics", "api"):
        command += ["--set", f"listen.{name}=127.0.0.1:0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr is not None
    try:
        urls = dict(process.stderr.readline().strip().split(": ", 1) for _ in range(2))
        deadline = time.monotonic() + 20
        while total(page := ask(urls["metrics"]), "kindling_topology_request_total") != 9:
            assert time.monotonic() < deadline, page
            time.sleep(0.1)
        status = json.loads(ask(urls["live page"] + "api/v1/status"))
        assert status["driver"]["why"] == "a.pcapng, a packet capture (pcapng)"
        (problem,) = status["problems"]
        assert "the file ends inside a packet (truncated)" in problem["cause"]
        assert len(json.loads(ask(urls["live page"] + "api/v1/topology?level=workload"))["nodes"]) == 2
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(10)
        process.stderr.close()
    assert process.returncode == 0
