# SPDX-License-Identifier: Apache-2.0
"""The loader's side without a kernel: facts, the table of hooks against the programs, the handing over."""

import io
import json
import os
import re
import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from analyzers._native import ffi
from collector import log
from collector.agent import Agent
from collector.driver_check import findings, trial
from collector.findings import FAIL, OK, WARN
from collector.host import Host
from collector.schema import Config
from probes import facts, loader
from probes.attachment import ITERATOR, LINK, HookReport, LoaderError, Rejected, Report, receive, send
from probes.control import ControlPage
from probes.hooks import HOOKS, LOSS_REASONS, Attach

PROGRAMS = Path(__file__).parents[2] / "probes" / "ebpf"
_SECTION = re.compile(r'^(?:SEC|TRACEPOINT)\("([\w/]+)"\)\s*int (?:(?:BPF_K?PROG|KPROBE)\()?(\w+)', re.MULTILINE)
_KINDS = re.compile(r"^(?:tp_btf|raw_tp|fentry|fexit|kprobe|kretprobe)/")


def test_every_program_is_a_row_and_every_row_a_program() -> None:
    texts = [path.read_text() for path in sorted(PROGRAMS.glob("*.[ch]"))]
    programs = {(_KINDS.sub("", section), name) for text in texts for section, name in _SECTION.findall(text)}
    # A kprobe's program may serve several functions; its section names the first.
    rows = {(hook.name, hook.program) for hook in HOOKS}
    assert programs <= rows
    assert {program for _, program in programs} == {program for _, program in rows}


def test_optional_hooks_say_what_is_lost_without_them() -> None:
    silent = {hook.name for hook in HOOKS if not hook.required and not hook.loses}
    assert silent == {"sched_process_exit"}
    assert not any(hook.loses for hook in HOOKS if hook.required)
    assert {hook.attach for hook in HOOKS} == set(Attach)


def test_loss_reasons_are_named_once() -> None:
    assert len(set(LOSS_REASONS)) == len(LOSS_REASONS)


@pytest.mark.parametrize(
    ("mounts", "root", "hierarchy", "controller"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "/sys/fs/cgroup", "/sys/fs/cgroup", None),
        (
            "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
            "/sys/fs/cgroup/unified",
            "/sys/fs/cgroup/memory",
            "memory",
        ),
        ("cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n", None, "/sys/fs/cgroup/memory", "memory"),
        ("proc /proc proc rw 0 0\nbroken\n", None, None, None),
        ("cgroup2 /mnt/with\\040space cgroup2 rw 0 0\n", "/mnt/with space", "/mnt/with space", None),
    ],
)
def test_cgroup_layouts(
    tmp_path: Path, mounts: str, root: str | None, hierarchy: str | None, controller: str | None
) -> None:
    file = tmp_path / "mounts"
    file.write_text(mounts)
    found = facts.gather(file)
    assert (found.cgroup_root, found.pod_hierarchy, found.controller) == (
        Path(root) if root else None,
        Path(hierarchy) if hierarchy else None,
        controller,
    )


REPORT = Report(
    driver="core",
    hook_set="socket-tracepoints",
    kernel="6.18.1",
    ring_bytes=1 << 20,
    hooks=(HookReport("sock_send_length", True, True), HookReport("kfree_skb", False, False, "refused", "drops")),
    rejected=(Rejected("bcc", "not built", "use core"),),
    self_test="passed",
)


def test_descriptors_arrive_in_their_roles() -> None:
    here, there = socket.socketpair()
    read, write = os.pipe()
    with here, there:
        send(there, REPORT, {"ring": read, "control": write}, {LINK: [read, write], ITERATOR: [read]})
        got = receive(here)
    assert got.report == REPORT
    assert os.fstat(got.ring).st_ino == os.fstat(read).st_ino
    assert os.fstat(got.control).st_ino == os.fstat(write).st_ino
    assert (got.modes, got.counters, len(got.iterators), len(got.links)) == (-1, -1, 1, 2)
    held = [got.ring, got.control, *got.iterators, *got.links]
    assert not any(os.get_inheritable(fd) for fd in held)
    got.close()
    for fd in held:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("message", [b"{", b'{"report": "{}"}', b'{"report": 1, "descriptors": []}'])
def test_an_answer_that_makes_no_sense_is_an_error(message: bytes) -> None:
    here, there = socket.socketpair()
    with here, there:
        there.send(message)
        with pytest.raises(LoaderError, match="reinstall"):
            receive(here)


def test_an_answer_without_all_of_its_descriptors_is_an_error() -> None:
    here, there = socket.socketpair()
    with here, there:
        there.send(json.dumps({"report": REPORT.to_json(), "descriptors": ["ring"]}).encode())
        with pytest.raises(LoaderError, match="0 of 1 descriptors arrived"):
            receive(here)


def test_the_loader_imports_nothing_from_the_folder_it_was_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "probes").mkdir()
    (tmp_path / "probes" / "__init__.py").write_text("raise SystemExit('taken over')")
    monkeypatch.chdir(tmp_path)
    attachment = loader.start(["none"], 1 << 12)
    assert attachment.report.rejected[0].reason == "not asked for"
    assert "taken over" not in capfd.readouterr().err


def test_a_loader_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr("probes.drivers.choose", fail)
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here:
        child = os.fork()
        if not child:
            os._exit(loader.main([str(there.fileno()), "4096", str(os.getppid()), "core", "none"]))
        there.close()
        report = receive(here).report
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert [(rejected.driver, rejected.reason) for rejected in report.rejected] == [
        ("core", "the loader failed: MemoryError: no room")
    ]


def test_a_loader_that_is_killed_or_hangs_costs_the_driver_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "LOADER_SECONDS", 1.0)
    for program, reason in (
        ("import os; os.kill(os.getpid(), 9)", "without an answer"),
        ("import time; time.sleep(60)", "in time"),
    ):
        monkeypatch.setattr(loader, "PROGRAM", (sys.executable, "-c", program))
        report = loader.start(["core", "none"], 1 << 12).report
        assert report.driver == "none"
        assert [rejected.driver for rejected in report.rejected] == ["core"]
        assert reason in report.rejected[0].reason


def test_a_loader_that_ends_or_hangs_is_an_error() -> None:
    here, there = socket.socketpair()
    with here:
        there.close()
        with pytest.raises(LoaderError, match="ended without an answer"):
            receive(here)
    here, there = socket.socketpair()
    here.settimeout(0.05)
    with here, there, pytest.raises(LoaderError, match="in time"):
        receive(here)


def test_the_control_page_is_laid_out_as_the_header_says() -> None:
    fd = os.memfd_create("control")
    os.truncate(fd, 12288)
    page = ControlPage(fd)
    page.prepare(100, 200)
    page.set_epoch(9)
    page.prepare(300, 400, 500)
    page.leave_out_processes(range(1, 20))
    page.leave_out_ports([0, 80, 65535])
    page.close()
    control: Any = ffi.from_buffer("struct fs_control *", bytearray(os.pread(fd, ffi.sizeof("struct fs_control"), 0)))
    os.close(fd)
    budgets = (control.stream_budget, control.datagram_budget, control.whole_bytes)
    assert (control.epoch, budgets) == (9, (300, 400, 500))
    assert (control.magic, control.contract) == (0x4C545346, 1)
    assert list(control.own_pids) == list(range(1, 9))
    set_bits = {port for port in range(65536) if control.excluded_ports[port >> 3] >> (port & 7) & 1}
    assert set_bits == {0, 80, 65535}


def test_the_doctor_tries_nothing_when_no_driver_is_configured() -> None:
    told = trial(Host(), replace(Config(), driver=("none",)))
    assert [(finding.state, finding.remedy) for finding in told] == [(WARN, "driver: auto")]


def test_the_doctor_tells_which_hooks_were_refused_before_those_that_were_taken() -> None:
    refused = Rejected("core", "trampolines, typed: the kernel does not permit fexit programs", "none is needed")
    told = findings(replace(REPORT, rejected=(refused,)))
    assert (OK, f"core by other hooks: {refused.reason}") in [(finding.state, finding.sentence) for finding in told]


@pytest.mark.parametrize("level", ["info", "debug"])
def test_the_first_line_of_the_agent_is_short_where_all_is_well(level: str) -> None:
    out = io.StringIO()
    log.configure(replace(Config().log, level=level, format="text"), out)
    refused = Rejected("core", "trampolines, typed: the kernel does not permit fexit programs", "none is needed")
    report = replace(REPORT, driver="core", hook_set="socket-tracepoints", rejected=(refused,), self_test="passed: all")
    started = SimpleNamespace(_capture=SimpleNamespace(report=report), _server=SimpleNamespace(url=lambda _key: ""))
    Agent._tell_start(cast("Agent", started))
    first, *rest = out.getvalue().splitlines()
    hooks = f"{sum(hook.attached for hook in report.hooks)} of {len(report.hooks)} hooks attached"
    assert first.endswith(f"agent: driver core by socket-tracepoints: {hooks}, self-test passed: all")
    assert [line.partition("agent: ")[2] for line in rest] == (
        [f"core by other hooks: {refused.reason}; {refused.remedy}"] if level == "debug" else []
    )


def test_the_doctor_tells_a_report() -> None:
    good = findings(REPORT)
    assert [finding.state for finding in good] == [OK, OK, WARN]
    assert "1 of 2 hooks" in good[0].sentence
    none = findings(Report("none", "", "4.4", rejected=(Rejected("core", "no BTF", "another kernel"),)))
    assert [(finding.state, finding.remedy) for finding in none] == [
        (FAIL, "see the reasons that follow"),
        (FAIL, "another kernel"),
    ]
