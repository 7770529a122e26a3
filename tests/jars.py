# SPDX-License-Identifier: Apache-2.0
"""Servers that are written in Java: their jars from Maven Central, pinned, fetched once into a cache folder.

The cache is `$XDG_CACHE_HOME/firesteel/jars` (`~/.cache` by default). Maven keeps its own copies in `~/.m2`.
`tests/jars.lock` has the SHA-256 of every jar: another one is refused. `python -m tests.jars` prints what it would have to
say of the jars that are in the cache now.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.servers import program

LOCK = Path(__file__).parent / "jars.lock"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
_POM = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>io.firesteel.tests</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>{}</dependencies>
</project>
"""


def _dependency(artifact: str) -> str:
    group, name, version = artifact.split(":")
    return f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "firesteel" / "jars"


def _hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each jar by its name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.jar")}


def _compare(folder: Path) -> None:
    lines = (line.split() for line in LOCK.read_text().splitlines() if not line.startswith("#"))
    pinned = {name: value for value, name in lines}
    strange = sorted(name for name, found in _hashes(folder).items() if pinned.get(name) != found)
    if strange:
        raise RuntimeError(
            f"{folder}: not the jars of {LOCK}: {', '.join(strange)}; if a version was meant to change, python -m tests.jars"
        )


def jars(*artifacts: str, without: Sequence[str] = ()) -> str:
    """A class path with `artifacts` ("group:name:version") and what they need to run, but for the artifact ids `without`.

    Raises RuntimeError with what Maven said if they cannot be had or are not those of jars.lock, MissingProgram without
    Maven.
    """
    folder = _cache() / "-".join([*(artifact.split(":", 1)[1].replace(":", "-") for artifact in artifacts), *without])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _fetch(folder, artifacts, without)
            _compare(folder / "lib")
            (folder / "complete").touch()
    return f"{folder / 'lib'}/*"


def _fetch(folder: Path, artifacts: Sequence[str], without: Sequence[str]) -> None:
    pom = folder / "pom.xml"
    pom.write_text(_POM.format("".join(map(_dependency, artifacts))))
    command = [program("mvn"), "--batch-mode", "--quiet", "--file", str(pom), _COPY, "-DincludeScope=runtime"]
    command += [f"-DoutputDirectory={folder / 'lib'}", f"-DexcludeArtifactIds={','.join(without)}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-2000:]}")


def java(class_path: str, main: str, *arguments: str, heap: str = "256m", options: Sequence[str] = ()) -> list[str]:
    """A command that runs a class with as little memory and processor time as it takes to start."""
    lean = [f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", *options]
    return [program("java"), *lean, "-cp", class_path, main, *arguments]


if __name__ == "__main__":
    found = {name: value for folder in _cache().glob("*/lib") for name, value in _hashes(folder).items()}
    print("# SPDX-License-Identifier: Apache-2.0")
    print("\n".join(f"{value}  {name}" for name, value in sorted(found.items())))
