# SPDX-License-Identifier: Apache-2.0
"""Stages of .ci/run, with programs of a test's own in the places of make and what else they call."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.agents import ROOT


@dataclass(frozen=True, slots=True)
class Ended:
    """How it went; `calls` is what the programs wrote to $CALLS."""

    status: int
    output: str
    calls: list[str]

    @property
    def last(self) -> str:
        return self.output.splitlines()[-1]


def run_stage(folder: Path, stage: str, programs: Mapping[str, str], environment: Mapping[str, str]) -> Ended:
    """Runs `stage` (a name and a command) alone, in a folder that has these programs by name; bin/ of it is first on the PATH."""
    script = (ROOT / ".ci/run").read_text().partition("\nstage packages")[0]
    for name, text in {**programs, ".ci/run": f"{script}\nstage {stage}\nclose\n"}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    calls = folder / "calls"
    calls.touch()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FIRESTEEL_")}
    done = subprocess.run(
        [shutil.which("bash") or "bash", str(folder / ".ci/run")],
        env={**kept, **environment, "CALLS": str(calls), "PATH": f"{folder / 'bin'}:{kept['PATH']}"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout + done.stderr, calls.read_text().splitlines())
