# SPDX-License-Identifier: Apache-2.0
"""The bcc driver without a kernel: headers found, sources prepared, results kept, instructions patched, refusals."""

import re
import struct
import sys
from pathlib import Path

import pytest

from probes import bcc, bcc_cache, bcc_programs, bcc_source
from probes.bcc_programs import LD_IMM64
from probes.driver import Rejection
from probes.facts import Facts
from probes.hooks import HOOKS, Hook, HookSet, hooks_of

RELEASE = "5.10.0-46-amd64"
FACTS = Facts(RELEASE, "x86_64", False, Path("/x"), Path("/x"), None)
VERSION = (5 << 16) + (10 << 8) + 200
ANSWER: dict[str, object] = {"programs": {}, "seconds": 1.5, "mebibytes": 200, "bcc": "0.26.0"}
TRACE = """
TRACE_EVENT(tcp_retransmit_synack,
	TP_PROTO(const struct sock *sk, const struct request_sock *req),
DEFINE_EVENT(tcp_event_sk_skb, tcp_retransmit_skb,

	TP_PROTO(const struct sock *sk, const struct sk_buff *skb),
DEFINE_EVENT(tcp_event_sk, tcp_destroy_sock,
	TP_PROTO(struct sock *sk),
"""
SETTINGS = {"has_ring": "1", "pid_namespace": "0u", "cgroup_controller": "-1"}


def _headers(root: Path, version: int = VERSION) -> Path:
    """As Debian lays them out: what was generated in one folder, the rest in another."""
    generated, common = root / "linux-headers-5.10.0-46-amd64", root / "linux-headers-5.10.0-46-common"
    for path, text in {
        generated / "include/generated/uapi/linux/version.h": f"#define LINUX_VERSION_CODE {version}\n",
        generated / "include/generated/autoconf.h": "#define CONFIG_MEMCG 1\n",
        generated / "Makefile": "include /nowhere/linux-headers-5.10.0-46-common/Makefile\n",
        generated / "arch/x86/include/generated/asm.h": "",
        common / "include/linux/uio.h": "u8 iter_type;",
        common / "include/net/sock.h": "int (*sendpage)(struct sock *sk);",
        common / "include/trace/events/tcp.h": TRACE,
        common / "include/uapi/linux/bpf.h": "struct bpf_known {\nstruct bpf_new {\nBPF_OLD BPF_NEWER\n",
        common / "arch/x86/include/asm.h": "",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return generated


def test_headers_in_two_folders_are_one_tree(tmp_path: Path) -> None:
    headers = bcc_source.find(RELEASE, _headers(tmp_path), tmp_path)
    assert [folder.name for folder in headers.folders] == [
        "linux-headers-5.10.0-46-amd64",
        "linux-headers-5.10.0-46-common",
    ]
    assert headers.version() == VERSION
    assert bcc_source.features(headers) == ["HAVE_ITER_TYPE", "HAVE_SENDPAGE"]
    bcc_source.merge(headers, "x86_64", tmp_path / "merged")
    assert {path.name for path in (tmp_path / "merged/include").iterdir()} == {
        "generated",
        "linux",
        "net",
        "trace",
        "uapi",
    }


@pytest.mark.parametrize("given", [None, Path("/nowhere")])
def test_headers_that_are_not_there_are_named_with_the_package(tmp_path: Path, given: Path | None) -> None:
    release = "9.9.9-none"
    with pytest.raises(Rejection) as rejection:
        bcc_source.find(release, given, tmp_path)
    if given is None:
        assert f"there are no kernel headers of {release}" in rejection.value.reason
        assert f"linux-headers-{release}" in rejection.value.remedy
    else:
        assert "/nowhere has no kernel headers" in rejection.value.reason


def test_headers_of_another_version_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejection, match=r"has the headers of Linux 6\.1, and this is 5\.10"):
        bcc_programs.compiled(FACTS, _headers(tmp_path, (6 << 16) + (1 << 8)))


def test_a_python_without_bcc_is_told_with_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(bcc_cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(bcc_programs, "PYTHON", sys.executable)
    with pytest.raises(Rejection, match="has no BCC") as rejection:
        bcc_programs.compiled(FACTS, _headers(tmp_path))
    assert "python3-bpfcc" in rejection.value.remedy
    assert f"compiling the programs for {RELEASE}" in capsys.readouterr().err
    monkeypatch.setattr(bcc_programs, "PYTHON", "/nowhere/python3")
    with pytest.raises(Rejection, match="there is no /nowhere/python3"):
        bcc_programs.compiled(FACTS, _headers(tmp_path))


def test_tracepoints_are_counted_by_their_arguments(tmp_path: Path) -> None:
    headers = bcc_source.find(RELEASE, _headers(tmp_path), tmp_path)
    names = {"tcp_retransmit_skb", "tcp_retransmit_synack", "tcp_destroy_sock", "kfree_skb"}
    assert bcc_source.tracepoints(headers, names) == {
        "tcp_retransmit_synack": 2,
        "tcp_retransmit_skb": 2,
        "tcp_destroy_sock": 1,
    }


def test_every_map_and_setting_of_the_sources_gets_a_number(tmp_path: Path) -> None:
    prepared = bcc_source.sources(SETTINGS)
    text = "".join(prepared.files.values())
    assert 'SEC(".maps")' not in text
    assert not re.search(r"^const volatile", text, re.MULTILINE)
    assert "#define has_ring (1)" in text
    assert {"control", "modes", "counters", "events", "perf_events", "connections", "calls"} <= set(prepared.maps)
    assert not {"has_ring", "pid_namespace", "cgroup_controller"} & set(prepared.maps)
    headers = bcc_source.find(RELEASE, _headers(tmp_path), tmp_path)
    main = bcc_source.text(headers, hooks_of(HookSet.KPROBES), "x86_64", prepared.maps, b"struct bpf_known { BPF_OLD")
    assert "struct bpf_new {" in main
    assert "struct bpf_known {" not in main
    assert "#define BPF_NEWER" in main
    assert "#define BPF_OLD" not in main
    assert bcc_source.numbers_in(main) == [f"fs_number_loss_{word}" for word in range(bcc_source.LOSS_WORDS)]


def test_another_setting_or_another_source_is_another_result(tmp_path: Path) -> None:
    headers = bcc_source.find(RELEASE, _headers(tmp_path), tmp_path)
    names = {
        bcc_source.fingerprint(release, text, bcc_source.sources(SETTINGS | {"has_ring": ring}), headers)
        for release in (RELEASE, "5.10.0-47-amd64")
        for text in ("a", "b")
        for ring in "01"
    }
    assert len(names) == 8


def test_results_are_kept_for_the_same_user_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(bcc_cache.VARIABLE, str(tmp_path / "cache"))
    assert bcc_cache.read(RELEASE, "name") is None
    assert bcc_cache.write(RELEASE, "name", ANSWER) == f"kept in {tmp_path}/cache/{RELEASE}"
    assert bcc_cache.read(RELEASE, "name") == ANSWER
    kept = tmp_path / "cache" / RELEASE / "name.json"
    kept.chmod(0o666)
    assert bcc_cache.read(RELEASE, "name") is None
    kept.chmod(0o600)
    kept.write_text("{broken")
    assert bcc_cache.read(RELEASE, "name") is None
    for number in range(6):
        bcc_cache.write(RELEASE, f"{number}", ANSWER)
    assert len(list((tmp_path / "cache" / RELEASE).iterdir())) == 4


def test_results_that_cannot_be_kept_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(bcc_cache.VARIABLE, str(tmp_path / "file"))
    assert bcc_cache.write(RELEASE, "name", ANSWER).startswith("not kept (")


def test_numbers_of_maps_become_descriptors() -> None:
    mark = 0x46530000
    load = struct.pack("=BBhi", LD_IMM64, 0x11, 0, mark + 3) + bytes(8)
    other = struct.pack("=BBhi", LD_IMM64, 0x01, 0, mark + 3) + bytes(8)
    assert list(bcc._map_numbers(load + other)) == [3]
    patched = bcc._with_descriptors(load + other, {3: 77})
    assert struct.unpack_from("=BBhi", patched) == (LD_IMM64, 0x11, 0, 77)
    assert patched[16:] == other
    assert bcc_programs._constant(struct.pack("=BBhi", 0xB7, 0, 0, -1)) == (1 << 64) - 1
    assert bcc_programs._constant(struct.pack("=BBhiBBhi", LD_IMM64, 0, 0, 5, 0, 0, 0, 1)) == 1 << 32 | 5


def test_kernels_that_are_too_old_or_of_another_machine_are_refused() -> None:
    for facts, reason in (
        (Facts("4.9.0", "x86_64", False, None, None, None), "Linux 4.9.0 is older than"),
        (Facts(RELEASE, "riscv64", False, None, None, None), "no BPF programs for riscv64"),
    ):
        with pytest.raises(Rejection, match=reason):
            bcc.load(facts, 1 << 20)


def test_rows_that_a_version_does_not_need() -> None:
    def row(name: str, program: str) -> Hook:
        return next(hook for hook in HOOKS if (hook.name, hook.program) == (name, program))

    newer, older = row("inet6_sendmsg", "on_send_begins"), row("inet_sendpage", "on_sendpage_begins")
    assert [newer.is_needed(version) for version in ((5, 2), (5, 3))] == [False, True]
    assert [older.is_needed(version) for version in ((6, 4), (6, 5))] == [True, False]


def test_functions_of_the_kernel_are_found_by_name(tmp_path: Path) -> None:
    (tmp_path / "kallsyms").write_text("0 T inet_sendmsg\n0 t release_sock [module]\n0 T other\n")
    found = bcc._functions({"inet_sendmsg", "release_sock", "missing"}, tmp_path / "kallsyms")
    assert found == {"inet_sendmsg", "release_sock"}


def test_a_place_for_results_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(bcc_cache.VARIABLE, str(tmp_path / "cache"))
    bcc_cache.write(RELEASE, "name", ANSWER)
    assert (tmp_path / "cache" / RELEASE).stat().st_mode & 0o077 == 0
