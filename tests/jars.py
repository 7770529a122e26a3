# SPDX-License-Identifier: Apache-2.0
"""Servers that are written in Java: their jars from Maven Central, pinned, fetched once into a cache folder.

The cache is `$XDG_CACHE_HOME/firesteel/jars` (`~/.cache` by default). Maven keeps its own copies in `~/.m2`.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.servers import program

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


def jars(*artifacts: str, without: Sequence[str] = ()) -> str:
    """A class path with `artifacts` ("group:name:version") and what they need to run, but for the artifact ids `without`.

    Raises RuntimeError with what Maven said if they cannot be had, MissingProgram without Maven.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "firesteel" / "jars"
    folder = base / "-".join([*(artifact.split(":", 1)[1].replace(":", "-") for artifact in artifacts), *without])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _fetch(folder, artifacts, without)
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
