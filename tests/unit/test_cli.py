# SPDX-License-Identifier: Apache-2.0
"""The command line: exit codes, sentences, and that a question to an agent ends with an answer or a remedy."""

import json
import os
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from analyzers.contract import REASON_HELP
from analyzers.resolver import MISSING_NAMES
from collector import capabilities, start
from collector.cli import COMMANDS, main
from collector.options import Exit
from collector.status import explain_sentences, parse_address, status_sentences
from collector.version import CONTRACT_VERSION, VERSION, describe

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of the machine that runs the tests."""
    empty = tmp_path / "empty.yaml"
    empty.write_text("", encoding="utf-8")
    monkeypatch.setenv("FIRESTEEL_CONFIG", str(empty))


def ends(arguments: list[str]) -> int:
    """The exit code, argparse's own exits included."""
    try:
        return main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends([command, "--help"]) == Exit.DONE
    told = capsys.readouterr().out
    assert f"usage: firesteel {command}" in told
    assert "exit codes: 0 done, 1 not as wished, 2 wrong use or configuration, 3 not permitted" in told


def test_the_commands_are_those_of_the_contract() -> None:
    assert {command.name for command in COMMANDS} == {
        "run", "doctor", "check-config", "record", "replay", "top", "explain", "status", "names", "uninstall", "version",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["recrod", "x"], "there is no command 'recrod', did you mean record?"),
        (["zzz"], "there is no command 'zzz';"),
        (["version", "--jsn"], "unrecognized arguments: --jsn"),
        (["record"], "the following arguments are required: FILE"),
        (["status", "--js"], "unrecognized arguments: --js"),
        (["explain", "1.2.3"], "'1.2.3' is not an address; write 192.0.2.1, 192.0.2.1:80 or [2001:db8::1]:80"),
        (["explain", "1.2.3.4:70000"], "port 70000 is above 65535"),
        (["record", "/tmp/x.fsrec", "--duration", "10"], '--duration: "10" has no unit'),
        (["record", "/tmp/x.fsrec", "--max-bytes", "1 MB"], "did you mean 1MiB?"),
        (["record", "/tmp/x.fsrec", "--max-bytes", "1k"], "4KiB to 1024GiB, did you mean 4KiB?"),
        (["record", "/tmp/x.fsrec", "--max-bytes", "["], "cannot be read (allowed: a size with its unit"),
        (["run", "--set", "log.level=loud"], "--set log.level: log.level:"),
        (["status", "--config", "/nowhere.yaml"], "/nowhere.yaml: there is no such file"),
        (["top", "--set", "x"], "--set x: has no value"),
        (["top", "--sort", "name"], "argument --sort: invalid choice: 'name' (choose from"),
        (["top", "--interval", "0"], "argument --interval: 0 is not between 0.2 and 3600"),
        (["top", "--interval", "often"], "argument --interval: 'often' is not a number of seconds"),
        (["replay", "x.fsrec", "--set", "x"], "--set x: has no value"),
    ],
)
def test_wrong_use_ends_with_2_and_says_why(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends(arguments) == Exit.WRONG_USE
    assert told in capsys.readouterr().err


def test_no_command_prints_the_help_and_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends([]) == Exit.WRONG_USE
    assert "check-config" in capsys.readouterr().err


def test_record_does_not_overwrite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    existing = tmp_path / "a.fsrec"
    existing.touch()
    assert ends(["record", str(existing)]) == Exit.WRONG_USE
    assert "exists; name a new file or remove it" in capsys.readouterr().err
    assert ends(["record", str(tmp_path / "no" / "a.fsrec")]) == Exit.WRONG_USE
    assert "there is no folder" in capsys.readouterr().err


def test_a_recording_is_not_for_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "isatty", lambda _: True)
    assert ends(["record", "-", "--duration", "1s"]) == Exit.WRONG_USE
    assert "standard output is a terminal, and a recording is not text" in capsys.readouterr().err


def test_a_recording_to_standard_output_has_an_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "isatty", lambda _: False)
    assert ends(["record", "-"]) == Exit.WRONG_USE
    assert "to standard output it needs an end; add --duration 30s" in capsys.readouterr().err
    monkeypatch.setattr(capabilities, "effective", frozenset)
    for limit in (["--duration", "1s"], ["--max-bytes", "1MiB"]):
        assert ends(["record", "-", *limit]) == Exit.NOT_PERMITTED


# --- permission


def test_run_without_privileges_ends_with_3_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    have = frozenset({"BPF", "NET_ADMIN", "SETUID", "SETGID", "SETPCAP"})
    monkeypatch.setattr(capabilities, "effective", lambda: have)
    assert ends(["run"]) == Exit.NOT_PERMITTED
    told = capsys.readouterr().err
    assert "firesteel run: the core driver needs CAP_PERFMON, which this process does not have; run as root" in told
    assert "--cap-add=PERFMON," in told
    assert ends(["record", str(tmp_path / "x.fsrec")]) == Exit.NOT_PERMITTED
    assert not (tmp_path / "x.fsrec").exists()


def test_with_its_profile_a_driver_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from collector.schema import Config

    for driver in ("core", "kmod", "none"):
        profile = frozenset(capabilities.PROFILES[driver])
        monkeypatch.setattr(capabilities, "effective", lambda profile=profile: profile)
        assert start.not_permitted(Config(driver=(driver,))) == ""
        for name in profile:
            monkeypatch.setattr(capabilities, "effective", lambda left=profile - {name}: left)
            refusal = start.not_permitted(Config(driver=(driver,)))
            assert refusal.startswith(f"the {driver} driver needs CAP_{name}, which this process does not have;")


def test_what_one_of_the_drivers_needs_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    from collector.schema import Config

    monkeypatch.setattr(capabilities, "effective", lambda: frozenset(capabilities.PROFILES["kmod"]))
    assert start.not_permitted(Config()) == ""
    refusal = start.not_permitted(Config(driver=("core", "none")))
    assert refusal.startswith("the core driver needs CAP_BPF, CAP_PERFMON, which")


def test_without_the_demo_the_refusal_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(capabilities, "effective", frozenset[str])
    monkeypatch.setattr(start, "demo_recording", lambda: None)
    assert ends(["run", "--demo-if-unprivileged"]) == Exit.NOT_PERMITTED
    assert "bundled recording is not part of this installation" in capsys.readouterr().err


def test_names_needs_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(["names", "--set", "listen.names=127.0.0.1:0"]) == Exit.NOT_AS_WISHED
    assert "there is no cluster to tell of" in capsys.readouterr().err


def test_names_are_not_served_in_the_clear(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(["names"]) == Exit.WRONG_USE
    told = capsys.readouterr().err
    assert "listen.names: :9502 can be reached from other machines" in told
    assert "set listen.tls.cert and listen.tls.key" in told


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(
    "command", [["record", "{}/x.fsrec"], ["uninstall", "--dry-run", "--node-root", "{}"], ["replay", "{}/x.fsrec"]]
)
def test_a_folder_that_one_may_not_enter_ends_with_3(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FIRESTEEL_CONFIG", "/dev/null")
    monkeypatch.setattr(capabilities, "effective", frozenset[str])
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    words = [word.format(folder) for word in command]
    main(words)  # imports, from where another user may not read either
    capsys.readouterr()
    os.seteuid(65534)
    try:
        code = main(words)
    finally:
        os.seteuid(0)
    (told,) = capsys.readouterr().err.splitlines()
    assert code == Exit.NOT_PERMITTED
    assert told.startswith(f"firesteel {command[0]}: {folder}")
    assert ": Permission denied; name a" in told


# --- check-config


def test_check_config_prints_faults_and_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("log:\n  level: info\n  formt: json\nring: {size: 9MiB}\n", encoding="utf-8")
    assert ends(["check-config", str(path)]) == Exit.WRONG_USE
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        f"{path}:3: log.formt: there is no such key in log (allowed: level | format | repeat_every, did you mean format?)",
        (
            f"{path}:4: ring.size: 9MiB is not a power of two "
            "(allowed: a power of two with its unit, 4KiB to 1GiB, did you mean 16MiB?)"
        ),
        "2 faults; every key: docs/config.md",
    ]
    assert ends(["check-config", str(path), "--json"]) == Exit.WRONG_USE
    answer = json.loads(capsys.readouterr().out)
    assert answer["valid"] is False
    assert answer["faults"][0] == {
        "origin": str(path),
        "line": 3,
        "key": "log.formt",
        "value": "json",
        "message": "there is no such key in log",
        "allowed": "level | format | repeat_every",
        "nearest": "format",
    }


def test_check_config_prints_what_holds_and_marks_what_was_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("log:\n  format: json\n", encoding="utf-8")
    assert ends(["check-config", str(path), "--set", "ring.size=1MiB"]) == Exit.DONE
    told = capsys.readouterr().out
    assert f"  format: json  # set by {path}:2\n" in told
    assert "  size: 1MiB  # set by --set ring.size\n" in told
    assert "  level: info\n" in told
    assert ends(["check-config", str(path), "--json"]) == Exit.DONE
    answer = json.loads(capsys.readouterr().out)
    assert answer["valid"] is True
    assert answer["values"]["log.format"] == "json"
    assert answer["set_by"] == {"log.format": f"{path}:2"}


def test_what_top_offers_is_what_it_can() -> None:
    from collector.cli import TOP_LEVELS, TOP_SORTS
    from collector.ends import Level
    from collector.top import SORTS

    assert set(TOP_SORTS) == set(SORTS)
    assert set(TOP_LEVELS) == set(Level)


# --- version


def test_the_version_is_that_of_the_package_and_of_the_contract() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == VERSION
    header = (ROOT / "probes" / "include" / "event.h").read_text(encoding="utf-8")
    assert f"#define FS_CONTRACT_VERSION {CONTRACT_VERSION}\n" in header


def test_version_prints_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(["version"]) == Exit.DONE
    assert capsys.readouterr().out.startswith(f"firesteel {VERSION}, event contract {CONTRACT_VERSION}, Python 3.")
    assert ends(["version", "--json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out) == describe()


def test_the_program_starts_without_what_it_does_not_need() -> None:
    """A person waits for `firesteel version`: no network, no event loop, no compiled module."""
    code = (
        "import sys; from collector.cli import main; main(['version']);"
        "print([name for name in ('aiohttp', 'asyncio', 'cffi', 'opentelemetry', 'rich', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m collector.cli check-config --json | true",
        shell=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    "command", [["version"], ["check-config", "--json"], ["replay", "tests/recordings/demo.fsrec"], ["doctor"]]
)
def test_a_standard_output_without_room_is_told_in_a_sentence(command: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "collector.cli", *command], stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False
        )  # fmt: skip
    assert done.returncode == Exit.NOT_AS_WISHED
    wanted = f"firesteel {command[0]}: standard output: No space left on device; print to where there is room"
    assert done.stderr.splitlines() == [wanted]


# --- questions to an agent


class _Agent(BaseHTTPRequestHandler):
    answers: dict[str, tuple[int, Any]]
    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))
        code, answer = self.answers.get(self.path, (404, {"error": {"what": "no such path", "remedy": "read docs"}}))
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        pass


@contextmanager
def agent(answers: dict[str, tuple[int, Any]]) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """Something that answers as an agent does; yields its address and what it was asked."""
    handler = type("Handler", (_Agent,), {"answers": answers, "asked": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", handler.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


STATUS = {
    "version": 1,
    "agent": {"version": "0.1.0", "node": "n1", "kernel": "6.18", "mode": "live", "uptime_seconds": 3725.2, "detail": "pod"},
    "driver": {
        "name": "core",
        "why": "it loaded and passed the self-test",
        "hooks": [
            {"name": "tp_btf/sock_send_length", "attached": True, "required": True, "reason": "", "remedy": ""},
            {"name": "kfree_skb", "attached": False, "required": False, "reason": "refused", "remedy": "5.17"},
        ],
        "rejected": [{"name": "bcc", "reason": "not in this version", "remedy": ""}],
    },
    "engine": {
        "state": "running", "failure": "", "starts": 2, "connections": 12, "rows": 3, "tcp_rows": 4, "strings": 5,
        "identities": 6, "stats": {"requests": 200000, "exchanges": 7},
        "parsed": {"http": 40, "dns": 3, "kafka": 9}, "parse_failures": {"http": 2, "dns": 0},
    },
    "processes": {
        "agent": {"cpu_seconds": 61.4, "memory_bytes": 43_411_046},
        "engine": {"cpu_seconds": 0.25, "memory_bytes": 11_010_048},
    },
    "unresolved": {"outside": 9, "pod_not_told_yet": 3},
    "loss": {"ring": 5, "storage": 0, "parse": 0, "total": 5, "events": {"DATA": 5}},
    "not_visible": {"syscall": 2},
    "configuration": {"source": "/etc/firesteel/firesteel.yaml", "problem": "line 3", "needs_restart": ["ring.size"]},
    "problems": [],
}  # fmt: skip


def test_status_is_told_in_sentences() -> None:
    assert list(status_sentences(STATUS)) == [
        "Firesteel 0.1.0 on n1 (Linux 6.18), live for 1 h 2 m.",
        "Driver core: it loaded and passed the self-test.",
        "1 of 2 hooks attached.",
        "  kfree_skb is not attached: refused; 5.17",
        "  bcc was not chosen: not in this version",
        "Metrics have the labels of single pods.",
        "Use so far: agent 41 MiB and 61 s of a core, engine 10 MiB and 0 s of a core.",
        "Engine running, restarted once: 12 connections, 200000 requests and 7 undecoded exchanges counted.",
        "Tables: 3 request rows, 4 TCP rows, 5 texts, 6 owners.",
        "  2 messages of http that its parser gave up on, 40 that it understood",
        "Lost: 5 at ring.",
        "  the ring was full: raise ring.size, or give the agent more CPU",
        f"  2 reads or writes not captured, or not in full: syscall, {REASON_HELP['syscall']}",
        "12 addresses in use have no name: 9 outside, 3 pod_not_told_yet (docs/troubleshooting.md has what these mean).",
        "Configuration from /etc/firesteel/firesteel.yaml.",
        "  the changed file was not taken over: line 3",
        "  waiting for a restart: ring.size",
    ]


def test_status_names_the_hooks_in_use_and_the_others_as_others() -> None:
    refused = {"name": "core", "reason": "trampolines, typed: not permitted", "remedy": "none is needed"}
    driver = {"name": "core", "hook_set": "socket-tracepoints", "why": "self-test passed", "rejected": [refused]}
    told = list(status_sentences(STATUS | {"driver": driver}))
    assert told[1:3] == [
        "Driver core by socket-tracepoints: self-test passed.",
        "  core by other hooks: trampolines, typed: not permitted; none is needed",
    ]


def test_status_names_keys_that_the_command_line_or_the_environment_set() -> None:
    beside = {"log.level": "FIRESTEEL_LOG__LEVEL", "scope.exclude_ports": "--set"}
    told = list(status_sentences(STATUS | {"configuration": {"source": "defaults", "beside": beside}}))
    assert told[-1] == "Configuration from defaults, log.level by FIRESTEEL_LOG__LEVEL, scope.exclude_ports by --set."


@pytest.mark.parametrize("reason", MISSING_NAMES)
def test_explain_has_a_sentence_for_each_reason(reason: str) -> None:
    told = list(explain_sentences({"ip": "192.0.2.9", "reason": reason}))
    assert told[1] == f"Why no more is known: {MISSING_NAMES[reason]}."


def test_a_replay_has_no_node_and_a_reason_of_another_version_no_sentence() -> None:
    agent_of_a_recording = {"version": "0.1.0", "node": "", "kernel": "6.18", "mode": "replay", "uptime_seconds": 5}
    told = list(status_sentences(STATUS | {"agent": agent_of_a_recording, "not_visible": {"later": 1}}))
    assert told[0] == "Firesteel 0.1.0 (Linux 6.18), replay for 5 s."
    assert "  1 reads or writes not captured, or not in full: later" in told


def test_status_asks_the_agent_that_the_configuration_names(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret-of-sixteen\n", encoding="utf-8")
    with agent({"/api/v1/status": (200, STATUS)}) as (url, asked):
        endpoint = url.removeprefix("http://")
        assert ends(["status", "--set", f"listen.api={endpoint}", "--set", f"listen.auth={token}"]) == Exit.DONE
        assert asked == [("/api/v1/status", "Bearer secret-of-sixteen")]
        assert "Driver core" in capsys.readouterr().out
        assert ends(["status", "--url", url, "--json"]) == Exit.DONE
        assert json.loads(capsys.readouterr().out) == STATUS
        assert asked[-1] == ("/api/v1/status", None), "a token goes only where it was named for"


def test_status_ends_with_1_when_the_agent_reports_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    problem = {"severity": "error", "what": "the engine stopped", "cause": "three crashes", "remedy": "report it"}
    with agent({"/api/v1/status": (200, STATUS | {"problems": [problem]})}) as (url, _):
        assert ends(["status", "--url", url]) == Exit.NOT_AS_WISHED
    assert capsys.readouterr().out.splitlines()[-1] == "ERROR: the engine stopped: three crashes; report it"


@pytest.mark.parametrize(
    ("code", "answer", "told"),
    [
        (401, {"error": {"what": "no token", "remedy": "x"}}, "asks for a token; name the file that holds it with"),
        (500, b"<html>", "answered 500: Internal Server Error; check --url and the agent's log"),
        (200, b"<html>", "cannot be asked: Expecting value"),
        (200, [1], "answered something else than an agent does; check --url"),
        (404, {"error": {"what": "gone", "remedy": "look elsewhere"}}, "answered 404: gone; look elsewhere"),
    ],
)
def test_an_answer_that_is_none_is_told(
    code: int, answer: object, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with agent({"/api/v1/status": (code, answer)}) as (url, _):
        assert ends(["status", "--url", url]) == Exit.NOT_AS_WISHED
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("command", [["status"], ["explain", "192.0.2.1"], ["top"]])
def test_no_agent_is_a_sentence_with_a_remedy(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with agent({}) as (url, _):
        pass  # its port is free again
    assert ends([*command, "--url", url]) == Exit.NOT_AS_WISHED
    told = capsys.readouterr().err
    assert (
        told
        == f"firesteel: no agent answers at {url}; start one (sudo firesteel run), or name another with --url or --config\n"
    )
    assert ends([*command, "--url", url, "--json"]) == Exit.NOT_AS_WISHED
    assert json.loads(capsys.readouterr().out)["error"]["what"] == f"no agent answers at {url}"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "127.0.0.1:9501", ""])
def test_only_web_addresses_are_asked(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(["status", "--url", url]) == Exit.NOT_AS_WISHED
    assert "is not a web address" in capsys.readouterr().err


def test_status_where_there_is_no_api(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(["status", "--set", "listen.api=off"]) == Exit.NOT_AS_WISHED
    assert capsys.readouterr().err == "firesteel: listen.api is off; name an agent with --url\n"


def test_explain_tells_names_steps_and_conversations(capsys: pytest.CaptureFixture[str]) -> None:
    answer = {
        "ip": "192.0.2.1",
        "port": 443,
        "namespace": "NOT_FOUND_EXTERNAL",
        "domain": "example.org",
        "reason": "no reverse name",
        "steps": ["outside of this host", "seen in an answer of 127.0.0.53"],
        "rows": [
            {
                "source": {"ip": "10.0.0.1", "port": 0, "process": "curl"},
                "destination": {"ip": "192.0.2.1", "port": 443, "domain": "example.org"},
                "protocol": "tls", "request_content": "example.org", "response_content": "",
                "total": {"requests": 3, "errors": 0, "slow": 1},
            }
        ],
        "tcp": [
            {
                "source": {"ip": "10.0.0.1", "port": 0, "process": "curl"},
                "destination": {"ip": "192.0.2.1", "port": 443},
                "kind": "connect", "error_text": "Connection refused", "connects": 60,
            },
            {
                "source": {"ip": "10.0.0.1", "port": 0, "process": "curl"},
                "destination": {"ip": "192.0.2.1", "port": 443},
                "kind": "connect", "error_text": "", "connects": 3,
            },
        ],
        "left_off": 4,
    }  # fmt: skip
    assert list(explain_sentences(answer)) == [
        "192.0.2.1:443 is namespace NOT_FOUND_EXTERNAL, domain example.org.",
        "Why no more is known: no reverse name.",
        "  1. outside of this host",
        "  2. seen in an answer of 127.0.0.53",
        "  10.0.0.1 (curl) -> 192.0.2.1:443 (example.org) tls example.org: 3 requests, 0 errors, 1 slow",
        "  and 4 more; --json has them all",
        "  10.0.0.1 (curl) -> 192.0.2.1:443: 60 attempts that ended with Connection refused",
        "  10.0.0.1 (curl) -> 192.0.2.1:443: 3 connections made",
    ]
    with agent({"/api/v1/explain?address=%5B2001%3Adb8%3A%3A1%5D%3A443": (200, answer)}) as (url, asked):
        assert ends(["explain", "[2001:db8::1]:443", "--url", url]) == Exit.DONE
    assert len(asked) == 1
    assert list(explain_sentences({"ip": "192.0.2.9", "port": 0})) == [
        "192.0.2.9 has no name.",
        "No conversation with it is in the tables.",
    ]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("192.0.2.1", ("192.0.2.1", 0)),
        ("192.0.2.1:80", ("192.0.2.1", 80)),
        ("2001:db8::1", ("2001:db8::1", 0)),
        ("[2001:DB8::1]:80", ("2001:db8::1", 80)),
        ("[::1]", ("::1", 0)),
    ],
)
def test_addresses(text: str, meant: tuple[str, int]) -> None:
    assert parse_address(text) == meant


def test_without_privileges_the_demo_is_shown_and_the_real_thing_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from collector import replay_server

    played: list[tuple[Path, bool]] = []

    def serve(_loaded: object, path: Path, *, paced: bool = False) -> Exit:
        played.append((path, paced))
        return Exit.DONE

    recording = tmp_path / "demo.fsrec"
    monkeypatch.setattr(capabilities, "effective", frozenset[str])
    monkeypatch.setattr(start, "demo_recording", lambda: recording)
    monkeypatch.setattr(replay_server, "serve", serve)
    assert ends(["run", "--demo-if-unprivileged"]) == Exit.DONE
    assert played == [(recording, True)]
    told = capsys.readouterr().err
    assert "the core driver needs CAP_BPF" in told
    assert "Shown instead is a recording of another machine, until Ctrl-C. For this machine: sudo make run" in told
    assert ends(["run"]) == Exit.NOT_PERMITTED, "only who asked for the demo gets it"
