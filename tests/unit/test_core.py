# SPDX-License-Identifier: Apache-2.0
"""The core driver without a kernel: which columns are tried, which hooks fit, and the reason for what does not."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from probes import core, hook_columns, programs
from probes.driver import Rejection
from probes.facts import Facts
from probes.hooks import HOOKS, Attach, HookSet
from probes.programs import Flavour, Refused

EBPF = 247  # EM_BPF of elf.h
FACTS = Facts("6.1.0-1-amd64", "x86_64", True, Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup"), None)


def tried(
    monkeypatch: pytest.MonkeyPatch, words: str = "", *, ring: bool = True
) -> list[tuple[HookSet, Flavour, bool]]:
    """Hook set, flavour and whether with a BPF ring, in order."""
    seen: list[tuple[HookSet, Flavour, bool]] = []

    def load(hook_set: HookSet, flavour: Flavour, _facts: Facts, _bytes: int, *, ring: bool) -> None:
        seen.append((hook_set, flavour, ring))

    monkeypatch.setattr(core, "load", load)
    monkeypatch.setattr(programs, "has_ring", lambda: ring)
    monkeypatch.setattr(programs, "use_types", lambda _: None)
    monkeypatch.setenv(core.COLUMN_VARIABLE, words)
    for candidate in core.candidates(FACTS, 1 << 20):
        candidate()
    return seen


def test_trampolines_come_first_and_kprobes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tried(monkeypatch) == [
        (HookSet.TRAMPOLINES, Flavour.TYPED, True),
        (HookSet.TRAMPOLINES, Flavour.UNTYPED, True),
        (HookSet.TRACEPOINTS, Flavour.TYPED, True),
        (HookSet.KPROBES, Flavour.UNTYPED, True),
    ]


def test_without_a_bpf_ring_the_untyped_programs_write_to_perf_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [ring for _, flavour, ring in tried(monkeypatch, ring=False) if flavour is Flavour.UNTYPED] == [False, False]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("kprobes", [(HookSet.KPROBES, Flavour.UNTYPED, True)]),
        ("kprobes perf-rings", [(HookSet.KPROBES, Flavour.UNTYPED, False)]),
        ("untyped trampolines", [(HookSet.TRAMPOLINES, Flavour.UNTYPED, True)]),
        ("socket-tracepoints untyped", []),
    ],
)
def test_a_column_can_be_forced(
    monkeypatch: pytest.MonkeyPatch, words: str, expected: list[tuple[HookSet, Flavour, bool]]
) -> None:
    assert tried(monkeypatch, words) == expected


def test_a_column_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Rejection, match="no uprobes") as refused:
        tried(monkeypatch, "uprobes typed")
    assert "socket-tracepoints" in refused.value.remedy


def test_without_types_there_is_nothing_to_try() -> None:
    with pytest.raises(Rejection, match="no BTF") as refused:
        list(core.candidates(replace(FACTS, has_btf=False), 1 << 20))
    assert "--btf FILE" in refused.value.remedy


def test_a_file_without_types_is_refused_by_its_name(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "absent", "no such file"), (tmp_path, "cannot be read")):
        with pytest.raises(Rejection, match=reason) as refused:
            list(core.candidates(replace(FACTS, has_btf=False, btf=path), 1 << 20))
        assert str(path) in refused.value.reason


@pytest.mark.parametrize(
    ("release", "version"), [("6.1.0-56-amd64", (6, 1)), ("5.10", (5, 10)), ("7.0+deb", (7, 0)), ("unknown", (0, 0))]
)
def test_the_version_is_read_off_the_release(release: str, version: tuple[int, int]) -> None:
    assert replace(FACTS, release=release).version == version


REFUSED = """libbpf: prog 'on_inet_sendmsg': BPF program load failed: {why}
{log}libbpf: prog 'on_inet_sendmsg': failed to load: -{number}
libbpf: failed to load object '/somewhere/firesteel-typed-x86.bpf.o'
"""
VERIFIER = """libbpf: prog 'on_inet_sendmsg': -- BEGIN PROG LOAD LOG --
3809: (85) call bpf_probe_read_kernel#113
R1 min value is outside of the allowed memory range
processed 6132 insns (limit 1000000) max_states_per_insn 7 total_states 426 peak_states 363 mark_read 22
-- END PROG LOAD LOG --
"""


def test_the_verifiers_last_word_is_told_and_nothing_in_its_place() -> None:
    refused = REFUSED.format(why="Permission denied", log=VERIFIER, number=13)
    assert programs.verdict(refused) == "R1 min value is outside of the allowed memory range"
    assert programs.verdict(REFUSED.format(why="Operation not permitted", log="", number=1)) == ""


def test_a_kind_of_program_that_is_not_permitted_is_named() -> None:
    hook = next(hook for hook in HOOKS if hook.attach is Attach.EXIT)
    told = core.refusal(hook, Refused(hook.program, "Operation not permitted", 1))
    assert told.reason == f"the kernel does not permit fexit programs ({hook.name}: Operation not permitted)"
    assert "CAP_PERFMON" in told.remedy
    told = core.refusal(hook, Refused(hook.program, "Permission denied; the verifier says: R1 is a scalar", 13))
    assert told.reason == f"the kernel refused fexit {hook.name}: Permission denied; the verifier says: R1 is a scalar"


@pytest.mark.parametrize("flavour", list(Flavour))
@pytest.mark.parametrize("machine", list(programs.MACHINES))
def test_there_are_programs_for_each_machine(flavour: Flavour, machine: str) -> None:
    head = programs.path_of(flavour, machine).read_bytes()[:20]
    assert head[:4] == b"\x7fELF"
    assert struct.unpack_from("<H", head, 18) == (EBPF,)


def test_another_machine_has_none() -> None:
    with pytest.raises(Rejection, match="no BPF programs for riscv64"):
        programs.path_of(Flavour.TYPED, "riscv64")


def test_the_documentation_has_the_hooks_as_they_are() -> None:
    text = (Path(__file__).parents[2] / "docs" / "drivers.md").read_text()
    told = text.partition("<!-- hooks -->\n")[2].partition("<!-- end of hooks -->")[0]
    assert told == hook_columns.table(), "python -m probes.hook_columns"
