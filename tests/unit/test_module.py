# SPDX-License-Identifier: Apache-2.0
"""The module on disk, what a kernel answers to it, and what its rows of hooks are told as."""

import errno
import lzma
import re
from pathlib import Path

import pytest

from probes import kmod, module_file
from probes.driver import Rejection
from probes.hooks import LOSS_REASONS
from probes.kmod import WATCHED, Row, reports

RELEASE = "4.4.0-firesteel"
KMOD = Path(kmod.__file__).parent / "kmod"


def _module(path: Path, release: str = RELEASE, version: str = "0.1.0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = b"\x7fELF...\0version=" + version.encode() + b"\0vermagic=" + release.encode() + b" SMP mod_unload \0"
    path.write_bytes(lzma.compress(content) if path.suffix == ".xz" else content)
    return path


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    return {name: tmp_path / name for name in ("built", "image", "dkms", "tree")}


def _own(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if everything belonged to root."""
    monkeypatch.setattr(module_file, "_exposed", lambda *_: "")


def test_what_the_script_built_comes_before_the_images_dkms_and_the_tree(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _own(places["built"], monkeypatch)
    expected = [
        _module(places["built"] / RELEASE / "1/firesteel.ko"),
        _module(places["image"] / RELEASE / "1/firesteel.ko"),
        _module(places["dkms"] / RELEASE / "updates/dkms/firesteel.ko"),
        _module(places["dkms"] / RELEASE / "updates/dkms/firesteel.ko.xz"),
        _module(places["dkms"] / RELEASE / "extra/firesteel.ko"),
        _module(places["tree"] / "firesteel.ko"),
    ]
    for path in expected:
        found = module_file.find(RELEASE, **places)
        assert (found.path, found.release, found.version) == (path, RELEASE, "0.1.0")
        path.unlink()
    with pytest.raises(Rejection) as refused:
        module_file.find(RELEASE, **places)
    assert refused.value.reason == f"no module was built for Linux {RELEASE} (in {places['built']}/{RELEASE}/1)"
    assert refused.value.remedy == "sudo scripts/recompile-module.sh"


def test_a_module_of_another_release_is_named(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _own(places["built"], monkeypatch)
    path = _module(places["built"] / RELEASE / "1/firesteel.ko", release="4.4.1")
    with pytest.raises(Rejection, match=re.escape(f"{path} is for 4.4.1")):
        module_file.find(RELEASE, **places)


def test_what_is_no_module_is_named(places: dict[str, Path]) -> None:
    path = places["tree"] / "firesteel.ko"
    path.parent.mkdir()
    path.write_bytes(b"hello")
    with pytest.raises(Rejection, match=re.escape(f"{path} cannot be read: it is no kernel module")):
        module_file.find(RELEASE, **places)


@pytest.mark.parametrize("place", ["built", "image"])
def test_what_others_may_write_is_not_put_into_the_kernel(places: dict[str, Path], place: str) -> None:
    path = _module(places[place] / RELEASE / "1/firesteel.ko")
    path.chmod(0o666)
    with pytest.raises(Rejection) as refused:
        module_file.find(RELEASE, **places)
    owner = path.stat().st_uid
    why = f"others than root may write {path}" if owner == 0 else f"{path} belongs to uid {owner}"
    assert f"{path} is not loaded: {why}" in refused.value.reason


REFUSALS: tuple[tuple[int, dict[str, str], str, str], ...] = (
    (
        errno.EPERM,
        {"proc/sys/kernel/modules_disabled": "1\n"},
        "switched off until the next boot",
        "modules_disabled=1",
    ),
    (errno.EPERM, {"proc/self/status": "CapEff:\t0000000000000000\n"}, "CAP_SYS_MODULE is missing", "run as root"),
    (
        errno.EPERM,
        {"proc/self/status": "CapEff:\tffffffffffffffff\n", "sys/kernel/security/lockdown": "none [integrity]\n"},
        "the kernel is locked down (Secure Boot)",
        "--sign KEY CERT",
    ),
    (errno.EPERM, {"proc/self/status": "CapEff:\tffffffffffffffff\n"}, "seccomp or a security module", "doctor"),
    (errno.EKEYREJECTED, {}, "only modules that are signed with a key it trusts", "--sign KEY CERT"),
    (errno.ENOKEY, {}, "only modules that are signed with a key it trusts", "--sign KEY CERT"),
    (errno.ENOEXEC, {}, "built for another configuration or compiler", "--force"),
    (errno.ENOENT, {}, "the kernel lacks functions that the module calls", "CONFIG_KPROBES=y"),
    (errno.ENOSYS, {}, "this kernel has no loadable modules", "CONFIG_MODULES=y"),
    (errno.ENOMEM, {}, "Cannot allocate memory", "dmesg"),
)


@pytest.mark.parametrize(("number", "files", "reason", "remedy"), REFUSALS)
def test_a_refusal_is_told_with_its_reason(
    tmp_path: Path, number: int, files: dict[str, str], reason: str, remedy: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    told = module_file.refusal(number, module_file.ModuleFile(Path("firesteel.ko"), RELEASE, "0.1.0", b""), tmp_path)
    assert reason in told[0]
    assert remedy in told[1]


def _placed(*names: str) -> list[Row]:
    return [Row(name, "kprobe", 0, 0) for name in names]


def test_each_purpose_is_served_by_one_row_or_told_as_missing() -> None:
    told = {report.name: report for report in reports(_placed("inet_sendmsg", "inet_recvmsg"))}
    assert told["inet_sendmsg"].attached
    assert not told["tcp_destroy_sock"].attached
    assert told["tcp_destroy_sock"].required
    assert told["tcp_destroy_sock"].reason == "the module was built for a kernel that does not have it"


def test_a_hook_that_stands_in_for_another_serves_its_purpose() -> None:
    rows = [
        Row("inet_sock_set_state", "tracepoint", -errno.ENOENT, 0),
        *_placed("tcp_set_state", "inet_csk_listen_start", "tcp_v4_destroy_sock"),
        Row("tcp_reset", "kprobe", -errno.EINVAL, 0),
    ]
    told = {report.name: report for report in reports(rows)}
    assert [told[name].attached for name in ("tcp_set_state", "inet_csk_listen_start", "tcp_v4_destroy_sock")] == [
        True
    ] * 3
    assert "inet_sock_set_state" not in told
    assert told["tcp_receive_reset"].reason == "tcp_reset may not be watched by a kprobe"


def test_the_reason_names_what_the_kernel_lacks() -> None:
    told = {report.name: report for report in reports([Row("kfree_skb", "tracepoint", -errno.ENOENT, 0)])}
    assert told["kfree_skb"].reason == "this kernel has no tracepoint kfree_skb"


def test_a_module_that_never_came_to_its_hooks_has_none() -> None:
    assert reports([]) == []


def test_the_table_here_and_the_module_have_the_same_hooks() -> None:
    source = (KMOD / "handlers.c").read_text()
    theirs = set(re.findall(r'\{(?:CALLED|HIT)\("(\w+)"|\{EVENT\((\w+),', source))
    assert {a or b for a, b in theirs} == {name for watched in WATCHED for name in watched.names}


def test_both_drivers_have_the_same_reasons_for_loss() -> None:
    listed = re.search(r"losses='([^']+)'", (KMOD / "features.sh").read_text())
    assert listed is not None
    assert tuple(listed[1].split()) == LOSS_REASONS


def test_the_agreement_is_the_headers() -> None:
    interface = (KMOD / "interface.h").read_text()
    assert f"#define FS_KMOD_INTERFACE {kmod._INTERFACE}" in interface
    assert f"FS_CONTRACT_VERSION {module_file.CONTRACT}\n" in (KMOD.parent / "include/event.h").read_text()
    assert (kmod._HELLO.size, kmod._START.size, kmod._HOOK.size) == (96, 16, 64)


def test_every_feature_that_is_asked_for_is_looked_for() -> None:
    """A HAVE_ that no feature test makes would be false on every kernel, silently."""
    tests = (KMOD / "features.sh").read_text()
    made = set(re.findall(r"^feature (\w+) ", tests, re.MULTILINE)) | set(re.findall(r"\t(\w+_H):", tests))
    used: set[str] = set()
    for path in KMOD.glob("*.[ch]"):
        if path.name != "config.h":
            text = path.read_text()
            used |= set(re.findall(r"\bHAVE_(\w+)", text)) - set(re.findall(r"#define HAVE_(\w+)", text))
    defined = {name for path in KMOD.glob("compat*.h") for name in re.findall(r"#define HAVE_(\w+)", path.read_text())}
    assert used - defined <= made


def test_every_change_of_the_kernel_is_told_with_version_and_commit() -> None:
    """As `5.6, d56c0d45f0e2` or `4.20 (3c88ee194c28)`, in the last comment before a use, or in the line behind it."""
    tests = (KMOD / "features.sh").read_text()
    made = set(re.findall(r"^feature (\w+) ", tests, re.MULTILINE)) | set(re.findall(r"\t(\w+_H):", tests))
    unread = {"CONTROL_GOOD", "CONTROL_BAD", "DROP_REASONS_H", "DROP_REASONS_CORE_H"}
    files = [path.read_text() for path in [*sorted(KMOD.glob("compat*.h")), KMOD / "handlers.c"]]
    for name in sorted(name for name in made - unread if not name.startswith("LOSS_")):
        use = re.compile(rf"^#(?:el)?if.*\bHAVE_{name}\b.*\n(.*)", re.MULTILINE)
        told = [
            text
            for source in files
            for found in use.finditer(source)
            for text in (re.findall(r"/\*.*?\*/", source[: found.start()], re.DOTALL)[-1], found[1])
        ]
        dated = [text for text in told if re.search(r"\b[3-9]\.\d+.*\b[0-9a-f]{12}\b", text, re.DOTALL)]
        assert dated, f"HAVE_{name}: {told}"
