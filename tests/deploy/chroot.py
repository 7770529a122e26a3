# SPDX-License-Identifier: Apache-2.0
"""A Debian of its own in a folder, and a Dockerfile's stages carried out in it: what an engine does, without one. Needs root."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.deploy.dockerfile import Stage, copied, filled
from tests.servers import program

SUITE: Final = "bookworm"
# As Debian's slim images leave out.
_LEFT_OUT: Final = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# How this machine reaches pip's registry; a certificate is handed over as a copy, for the step may install its own.
_PASSED_ON: Final = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT")
_AUTHORITIES: Final = ("PIP_CERT", "SSL_CERT_FILE")
_INSIDE: Final = """
set -e
mount --make-rprivate /
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/run"
for name in resolv.conf hosts; do
	: >>"$1/etc/$name"
	mount --bind "/etc/$name" "$1/etc/$name"
done
[ -z "$2" ] || cp "$2" "$1/run/authorities"
cd "$1$3"
exec chroot "$1" sh -c 'cd "$0" && exec sh -c "$1"' "$3" "$4"
"""


def debian(folder: Path, architecture: str = "") -> None:
    """Debian as its slim image is, from the mirror that apt uses here; of another architecture where its programs can run (foreign.py)."""
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(RELEASE)|$(REPO_URI)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    mirrors = {line.rpartition("|")[2] for line in told.stdout.splitlines() if line.startswith(f"Debian|{SUITE}|")}
    assert mirrors, f"this machine's apt sources name no mirror of {SUITE}"
    left_out = [f"--dpkgopt=path-exclude={place}" for place in _LEFT_OUT]
    # mmdebstrap only looks where a whole system has its list of emulators.
    foreign = [f"--architectures={architecture}", "--skip=check/qemu"] if architecture else []
    _run(
        program("mmdebstrap"), "--quiet", "--mode=root", "--variant=minbase", *foreign, *left_out,
        "--dpkgopt=path-include=/usr/share/doc/*/copyright", SUITE, str(folder), min(mirrors),
    )  # fmt: skip


def inside(root: Path, line: str, folder: str = "/", environment: Mapping[str, str] | None = None) -> str:
    """What a line of shell prints that has `root` for its /, with this machine's network. AssertionError with its words if it fails."""
    known = {name: value for name in _PASSED_ON if (value := os.environ.get(name))}
    authorities = next((value for name in _AUTHORITIES if (value := os.environ.get(name))), "")
    if authorities:
        known |= dict.fromkeys(_AUTHORITIES, "/run/authorities")
    return _run(
        "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _INSIDE, "inside", str(root), authorities, folder, line,
        environment={"PATH": _PATH, "HOME": "/root", **known, **(environment or {})},
    )  # fmt: skip


def perform(stage: Stage, root: Path, made: Mapping[str, Path], context: Path, arguments: Mapping[str, str]) -> None:
    """Carries a stage's steps out in `root`; `made` are the stages before, `arguments` what --build-arg would say."""
    values: dict[str, str] = {}
    folder = "/"
    for word, rest in stage.steps:
        if word == "ARG":
            name, _, default = rest.partition("=")
            values[name] = arguments.get(name, default.strip('"'))
        elif word == "WORKDIR":
            folder = rest
            _below(root, rest).mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            copy = copied(filled(rest, values))
            # A target that begins with / is from the root, as the engine has it.
            _copy(copy.sources, made.get(copy.stage, context), _below(root, str(Path(folder, copy.target))))
        elif word == "RUN":
            print(inside(root, rest, folder, values))
        else:
            assert word in {"ENV", "LABEL", "ENTRYPOINT", "CMD"}, word


def _below(root: Path, place: str) -> Path:
    return root / place.lstrip("/")


def _copy(sources: Sequence[str], origin: Path, target: Path) -> None:
    """A folder's content goes into the target, a file beside what is there."""
    target.mkdir(parents=True, exist_ok=True)
    for name in sources:
        source = _below(origin, name)
        _run("cp", "-a", f"{source}/." if source.is_dir() else str(source), str(target))


def removed(folder: Path) -> None:
    """Only the folder's own file system: what was mounted below it ended with its step."""
    subprocess.run(["rm", "-r", "--one-file-system", str(folder)], check=True)


def copy_of(tree: Path, target: Path) -> Path:
    """The same once more, for another stage to begin with."""
    _run("cp", "-a", "--reflink=auto", str(tree), str(target))
    return target


def _run(*command: str, environment: Mapping[str, str] | None = None) -> str:
    ended = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert ended.returncode == 0, f"{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
    return ended.stdout


def told(root: Path, *command: str) -> str:
    """What a program prints that has `root` for its /, in which there may be no shell."""
    return _run("chroot", str(root), *command, environment={"PATH": _PATH})
