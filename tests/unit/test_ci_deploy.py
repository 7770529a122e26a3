# SPDX-License-Identifier: Apache-2.0
"""The deploy stage of .ci/run, with programs of its own in the places of make and setup.sh: what it asks for, what it says was left out."""

import subprocess
from pathlib import Path

import pytest

from tests.ci_script import Ended, run_stage

MAKE = """#!/bin/sh
echo "$* groups=$FIRESTEEL_REQUIRED_GROUPS api=$FIRESTEEL_REAL_API steps=$FIRESTEEL_IMAGE_STEPS previous=$FIRESTEEL_PREVIOUS" >>"$CALLS"
case $* in *"$BROKEN"*) [ -z "$BROKEN" ] || exit 2 ;; esac
case $* in
*test-deploy*)
	echo "---- what this machine lacks ----"
	echo "9 skipped: optional: no arm64 image: FIRESTEEL_ARM64_IMAGE=folder"
	echo "1 skipped: optional: no arm64 image: FIRESTEEL_ARM64_IMAGE=folder"
	echo "2 skipped: no wrk: apt-get install wrk"
	for number in $FAILS; do echo "FAILED tests/deploy/test_a.py::test_$number - slow"; done
	[ -z "$FAILS" ] || exit 2
	;;
esac
"""
PYTHON = """#!/bin/sh
echo "python $* groups=$FIRESTEEL_REQUIRED_GROUPS steps=$FIRESTEEL_IMAGE_STEPS" >>"$CALLS"
exit "$AGAIN"
"""
SETUP = """#!/bin/sh
[ "$*" != 'packages image' ] || [ "$LACKS" != mmdebstrap ]
"""
ID = "#!/bin/sh\necho 0\n"
NOTHING = "#!/bin/sh\n"
ARM64 = "; not run: no arm64 image: FIRESTEEL_ARM64_IMAGE=folder"


def run(folder: Path, **environment: str) -> Ended:
    programs = {
        "bin/make": MAKE, "bin/id": ID, "bin/mmdebstrap": NOTHING, "scripts/setup.sh": SETUP, ".venv/bin/python": PYTHON,
    }  # fmt: skip
    known = {
        "BROKEN": "",
        "FAILS": "",
        "AGAIN": "0",
        "LACKS": "",
        "XDG_CACHE_HOME": str(folder / "cache"),
        **environment,
    }
    return run_stage(folder, "deploy deployed", programs, known)


def commits(folder: Path, number: int) -> None:
    """A repository in the folder whose last commit has a file with its number."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    for made in range(number):
        (folder / "number").write_text(f"{made}\n")
        options = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        subprocess.run(["git", "-C", str(folder), "add", "number"], check=True)
        subprocess.run(["git", "-C", str(folder), *options, "commit", "-q", "-m", f"the {made}th"], check=True)


def test_without_anything_it_says_so(tmp_path: Path) -> None:
    commits(tmp_path, 1)
    ended = run(tmp_path, LACKS="mmdebstrap")
    assert ended.calls == ["test-deploy ARGS=--durations=10 groups=deploy api= steps= previous="]
    assert ended.status == 0
    assert ended.last.startswith("ci: all passed (deploy) in ")
    # Of a lack that two lines name, once; of what must be there, the session itself fails.
    assert ended.last.endswith(f" s; not run: no older commit that builds, to upgrade from{ARM64}")


def test_what_is_here_is_asked_for(tmp_path: Path) -> None:
    commits(tmp_path, 52)
    programs = tmp_path / "cache/firesteel/kube-api"
    programs.mkdir(parents=True)
    for name in ("etcd", "kube-apiserver", "kube-controller-manager"):
        (programs / name).write_text(NOTHING)
        (programs / name).chmod(0o755)
    ended = run(tmp_path)
    assert ended.calls == [
        "-C build/previous build groups=unit,replay,live,kernel,cluster api= steps= previous=",
        f"test-deploy ARGS=--durations=10 groups=deploy api=1 steps=1 previous={tmp_path}/build/previous/.venv/bin/firesteel",
    ]
    assert (tmp_path / "build/previous/number").read_text() == "1\n"
    assert "the 1th" in ended.output
    assert ended.last.endswith(f" s{ARM64}")


def test_half_an_api_server_is_none(tmp_path: Path) -> None:
    commits(tmp_path, 1)
    (tmp_path / "cache/firesteel/kube-api").mkdir(parents=True)
    (tmp_path / "cache/firesteel/kube-api/etcd").write_text(NOTHING)
    assert " api= " in run(tmp_path).calls[0]


def test_a_tag_is_the_version_before(tmp_path: Path) -> None:
    commits(tmp_path, 3)
    subprocess.run(["git", "-C", str(tmp_path), "tag", "v1", "HEAD~1"], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "tag", "v2", "HEAD"], check=True)
    run(tmp_path)
    assert (tmp_path / "build/previous/number").read_text() == "1\n"


def test_a_command_or_a_commit_that_is_named_is_taken(tmp_path: Path) -> None:
    commits(tmp_path, 3)
    ended = run(tmp_path, FIRESTEEL_PREVIOUS="/older/firesteel")
    assert [call.rpartition(" ")[2] for call in ended.calls] == ["previous=/older/firesteel"]
    run(tmp_path, FIRESTEEL_PREVIOUS_COMMIT="HEAD~2")
    assert (tmp_path / "build/previous/number").read_text() == "0\n"


@pytest.mark.parametrize("broken", ["test-deploy", "previous"])
def test_what_fails_fails_or_is_named(broken: str, tmp_path: Path) -> None:
    """An older commit that today's machine cannot build is no fault of the change's."""
    commits(tmp_path, 52)
    ended = run(tmp_path, BROKEN=broken)
    assert ended.status == (1 if broken == "test-deploy" else 0)
    assert ("not run: no older commit" in ended.last) == (broken == "previous")


@pytest.mark.parametrize(("fails", "again", "status"), [("1 2 3", "0", 0), ("1 2 3", "1", 1), ("1 2 3 4", "0", 1)])
def test_what_failed_once_has_a_second_chance(fails: str, again: str, status: int, tmp_path: Path) -> None:
    """Three of them at most, with what the first time had."""
    commits(tmp_path, 1)
    ended = run(tmp_path, FAILS=fails, AGAIN=again)
    assert ended.status == status
    tried = [call for call in ended.calls if call.startswith("python ")]
    names = " ".join(f"tests/deploy/test_a.py::test_{number}" for number in fails.split())
    assert tried == ([] if len(fails.split()) > 3 else [f"python -m pytest {names} groups= steps=1"])
