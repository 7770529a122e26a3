# SPDX-License-Identifier: Apache-2.0
"""Dockerfile, .dockerignore and their scripts, read without an engine: each names only what is there and what the others know."""

import os
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.agents import ROOT
from tests.deploy.dockerfile import IMAGES, Stage, context, copied, is_ignored, stages, variables

PINNED = "debian@sha256:0"
ARCHIVE = "http://snapshot.debian.org/archive/debian/20261101T000000Z"


@pytest.fixture(scope="module")
def found() -> dict[str, Stage]:
    before, read = stages((IMAGES / "Dockerfile").read_text())
    assert before == ["BASE"]
    return {stage.name: stage for stage in read}


@pytest.fixture(scope="module")
def files() -> set[str]:
    return set(context())


def test_the_stages_are_these_and_begin_with_the_pinned_base(found: dict[str, Stage]) -> None:
    assert {name: stage.base for name, stage in found.items()} == {
        "build": "${BASE}", "full": "${BASE}", "small": "scratch",
    }  # fmt: skip


def test_each_step_uses_what_its_stage_declares_and_nothing_is_declared_in_vain(found: dict[str, Stage]) -> None:
    for stage in found.values():
        used = {name for word, rest in stage.steps if word != "ARG" for name in variables(rest)}
        assert used == stage.arguments().keys(), stage.name
    # One default each, wherever it is declared.
    defaults = {pair for stage in found.values() for pair in stage.arguments().items()}
    assert defaults == {("BASE", ""), ("SOURCE_DATE_EPOCH", "1700000000"), ("DEBIAN_ARCHIVE", "")}


def test_what_is_copied_is_there_and_not_left_out(found: dict[str, Stage], files: set[str]) -> None:
    earlier: set[str] = set()
    for stage in found.values():
        for copy in map(copied, stage.of("COPY")):
            if copy.stage:
                assert copy.stage in earlier
                assert all(source == "/image" or source.startswith("/image/") for source in copy.sources)
            elif copy.sources != (".",):
                assert set(copy.sources) <= files
        earlier.add(stage.name)


def test_what_steps_run_is_there(found: dict[str, Stage], files: set[str]) -> None:
    """Scripts by the place where a COPY put them, with words that they take."""
    ran = [
        re.findall(r"(?:^|[ /])([a-z]+\.(?:sh|py))( \w+| /\w*)?", line) for s in found.values() for line in s.of("RUN")
    ]
    assert [[(name, word.strip()) for name, word in line] for line in ran] == [
        [("packages.sh", "build")],
        [("build.sh", "/image")],
        [("packages.sh", "full"), ("packages.sh", "")],
        [],
        [("bill.py", "/"), ("bill.py", "")],
    ]
    assert {"deploy/images/packages.sh", "deploy/images/build.sh", "deploy/images/bill.py"} <= files
    words = re.findall(r"^(\w+)\) set --", (IMAGES / "packages.sh").read_text(), re.MULTILINE)
    assert words == ["build", "full"]


def test_what_building_runs_is_handed_over(files: set[str]) -> None:
    script = (IMAGES / "build.sh").read_text()
    modules = [name.replace(".", "/") + ".py" for name in re.findall(r"python -m ([\w.]+)", script)]
    assert modules == ["deploy/images/assemble.py"]
    targets = re.findall(r"^make (\w+)$", script, re.MULTILINE)
    assert targets == ["build"]
    assert re.search(r"^build:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {
        *modules,
        "Makefile",
        "pyproject.toml",
        "requirements.txt",
        "setup.py",
        "scripts/setup.sh",
        "README.md",
    } <= files
    for name in (
        "analyzers/native/main.c",
        "probes/ebpf/firesteel.bpf.c",
        "probes/include/event.h",
        "collector/cli.py",
    ):
        assert name in files


@pytest.mark.parametrize(
    "name",
    [
        ".git/HEAD", ".venv/bin/python", "build/stamps/engine", "tests/agents.py", "docs/index.md", "tests/recordings/other.fsrec",
        "analyzers/_native.cpython-311-x86_64-linux-gnu.so", "analyzers/_native.c", "analyzers/native/firesteel-engine",
        "analyzers/native/firesteel-engine-asan", "probes/ebpf/firesteel-typed-x86.bpf.o", "probes/kmod/.firesteel.o.d",
        "collector/__pycache__/cli.cpython-311.pyc", "deploy/helm/firesteel/Chart.yaml",
    ],
)  # fmt: skip
def test_what_was_built_here_and_what_no_step_needs_stays_outside(name: str) -> None:
    assert is_ignored(name, (IMAGES / "Dockerfile.dockerignore").read_text())


def test_the_last_line_that_fits_counts() -> None:
    lines = "**\n!a\n!b/c\n**/*.o\na/x*\n"
    given = {"a/d.c": False, "a/e/f.o": True, "a/xy": True, "a/e/xy": False, "b/c": False, "b/c/d": False, "b/d": True}
    assert {name: is_ignored(name, lines) for name in given} == given


@pytest.mark.parametrize(("platform", "archive"), [("", ""), ("linux/arm64", ""), ("", ARCHIVE)])
def test_the_engine_is_told_what_to_build(platform: str, archive: str, found: dict[str, Stage], tmp_path: Path) -> None:
    engine = tmp_path / "docker"
    engine.write_text('#!/bin/sh\necho "$@" >>"$0.told"\n')
    engine.chmod(0o755)
    subprocess.run(
        ["make", "--silent", "-C", str(ROOT), "image", f"BASE={PINNED}", "IMAGE=here/firesteel", f"PLATFORM={platform}",
         f"ARCHIVE={archive}"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=True, capture_output=True,
    )  # fmt: skip
    told = [line.split() for line in (tmp_path / "docker.told").read_text().splitlines()]
    assert [of(line, "--target") for line in told] == [["small"], ["full"]]
    assert [of(line, "--tag") for line in told] == [["here/firesteel:0.1.0"], ["here/firesteel:0.1.0-full"]]
    assert [of(line, "--platform") for line in told] == [[platform] if platform else []] * 2
    assert {name for line in told for name in of(line, "--target")} <= found.keys()
    for line in told:
        values = dict(value.split("=", 1) for value in of(line, "--build-arg"))
        assert values == {"BASE": PINNED, "SOURCE_DATE_EPOCH": values["SOURCE_DATE_EPOCH"]} | (
            {"DEBIAN_ARCHIVE": archive} if archive else {}
        )
        assert values.keys() <= {name for stage in found.values() for name in stage.arguments()}
        assert of(line, "--file") == ["deploy/images/Dockerfile"]
        revision = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
        )
        assert of(line, "--label") == [
            "org.opencontainers.image.version=0.1.0", f"org.opencontainers.image.revision={revision.stdout.strip()}"
        ]  # fmt: skip


def of(line: list[str], option: str) -> list[str]:
    return [value for name, value in pairwise(line) if name == option]


@pytest.mark.parametrize(
    ("environment", "word", "said"),
    [
        ({"BASE": "debian:bookworm-slim"}, "build", "BASE=debian:bookworm-slim is not pinned"),
        ({"BASE": PINNED}, "small", "usage: packages.sh build|full"),
        (
            {"BASE": PINNED, "DEBIAN_ARCHIVE": "20261101T000000Z"},
            "full",
            "DEBIAN_ARCHIVE=20261101T000000Z is no address",
        ),
    ],
)
def test_packages_are_refused_before_anything_is_touched(environment: dict[str, str], word: str, said: str) -> None:
    ended = subprocess.run(
        [str(IMAGES / "packages.sh"), word], env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"packages.sh: {said}"), ended.stderr


def test_an_image_of_an_unpinned_base_is_not_made() -> None:
    ended = subprocess.run(
        [str(IMAGES / "images.sh"), "debian:bookworm-slim"], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "BASE=debian:bookworm-slim is not pinned" in ended.stderr


def test_examples_of_the_archive_need_no_certificates() -> None:
    """A slim Debian has none before its first packages are there."""
    for name in ("Dockerfile", "packages.sh", "images.sh"):
        assert "https://snapshot" not in (IMAGES / name).read_text()
