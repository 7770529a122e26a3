# SPDX-License-Identifier: Apache-2.0
"""`firesteel uninstall`: what it removes, what it leaves, and what it says about either."""

import io
import os
from pathlib import Path

import pytest

from collector import capabilities
from collector.cli import main
from collector.options import Exit
from collector.uninstall import uninstall
from probes import module_file

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def state_of(root: Path) -> Path:
    state = root / "var/lib/firesteel"
    (state / "modules/5.10.0-1/1").mkdir(parents=True)
    (state / "modules/5.10.0-1/1/firesteel.ko").write_bytes(b"module")
    (state / "bcc/5.4.0").mkdir(parents=True)
    return state


def run(root: Path, *, dry: bool = False, fault: str = "") -> tuple[Exit, str]:
    out = io.StringIO()
    (root / "var/lib").mkdir(parents=True, exist_ok=True)
    code = uninstall(str(root), dry=dry, out=out, unload=lambda: fault)
    return code, out.getvalue()


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_file, "loaded_version", lambda: "1.2")
    monkeypatch.setattr(capabilities, "effective", lambda: frozenset({"SYS_MODULE"}))


@pytest.fixture(autouse=True)
def not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_file, "loaded_version", lambda: None)


def test_everything_of_ours_goes(tmp_path: Path) -> None:
    state = state_of(tmp_path)
    code, told = run(tmp_path)
    assert (code, state.exists(), state.parent.exists()) == (Exit.DONE, False, True)
    assert told.splitlines() == [f"removed {state}/modules", f"removed {state}/bcc", f"removed {state}"]
    assert run(tmp_path) == (Exit.DONE, "nothing of Firesteel is on this node\n")


def test_a_dry_run_says_the_same_and_changes_nothing(tmp_path: Path) -> None:
    state = state_of(tmp_path)
    code, told = run(tmp_path, dry=True)
    assert code == Exit.DONE
    assert told.splitlines() == [f"would remove {state}/modules", f"would remove {state}/bcc", f"would remove {state}"]
    assert (state / "modules/5.10.0-1/1/firesteel.ko").exists()


def test_what_others_put_there_stays_and_is_named(tmp_path: Path) -> None:
    state = state_of(tmp_path)
    (state / "recording.fsrec").write_text("mine")
    code, told = run(tmp_path)
    assert code == Exit.NOT_AS_WISHED
    assert "has what Firesteel did not write: recording.fsrec" in told
    assert (state / "recording.fsrec").read_text() == "mine"
    assert not (state / "modules").exists()


def test_links_are_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("precious")
    state = tmp_path / "var/lib/firesteel"
    state.mkdir(parents=True)
    (state / "modules").symlink_to(elsewhere)
    assert run(tmp_path)[0] == Exit.DONE
    assert (elsewhere / "file").read_text() == "precious"
    state.symlink_to(elsewhere)
    code, told = run(tmp_path)
    assert code == Exit.NOT_AS_WISHED
    assert "is a symbolic link, and is not followed" in told
    assert (elsewhere / "file").exists()


def test_a_place_without_a_nodes_files_is_not_a_clean_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cleaning Job whose mount went elsewhere must not count."""
    for options in ([], ["--dry-run"]):
        for root in (tmp_path, tmp_path / "nope"):
            assert main(["uninstall", "--node-root", str(root), *options]) == Exit.WRONG_USE
            told = capsys.readouterr()
            assert told.err.startswith(f"firesteel uninstall: there is no folder {root}/var/lib; name where ")
            assert told.out == ""


@pytest.mark.usefixtures("loaded")
def test_the_module_is_unloaded(tmp_path: Path) -> None:
    assert run(tmp_path) == (Exit.DONE, "unloaded kernel module firesteel 1.2\n")
    assert run(tmp_path, dry=True) == (Exit.DONE, "would unload the kernel module firesteel 1.2\n")
    code, told = run(tmp_path, fault="it is in use")
    assert code == Exit.NOT_AS_WISHED
    assert told == "kernel module firesteel 1.2: not unloaded, it is in use; stop the agent, and call this again\n"


@pytest.mark.usefixtures("loaded")
def test_a_missing_capability_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "effective", frozenset)
    code, told = run(tmp_path)
    assert code == Exit.NOT_AS_WISHED
    assert "CAP_SYS_MODULE is missing" in told


def test_what_dkms_has_is_named(tmp_path: Path) -> None:
    tree = tmp_path / "usr/src/firesteel-1.2"
    tree.mkdir(parents=True)
    (tree / "dkms.conf").write_text("")
    code, told = run(tmp_path)
    assert code == Exit.NOT_AS_WISHED
    assert told.endswith("dkms remove -m firesteel -v 1.2 --all, then rm -r /usr/src/firesteel-1.2\n"), (
        "as the node has it"
    )


def test_only_root_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    state = state_of(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["uninstall", "--node-root", str(tmp_path)]) == Exit.NOT_PERMITTED
    assert "only root may do that" in capsys.readouterr().err
    assert main(["uninstall", "--node-root", str(tmp_path), "--dry-run"]) == Exit.DONE
    assert state.exists()
