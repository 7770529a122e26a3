# SPDX-License-Identifier: Apache-2.0
"""The engine's two builds, for tests that run it as a process."""

import os
import subprocess
from functools import cache
from pathlib import Path

from analyzers.engine import PROGRAM


@cache
def engine_program(build: str) -> Path:
    """ "plain" is the one that is shipped; "asan" is built here, with the address and undefined-behaviour sanitizers."""
    if build == "plain":
        return PROGRAM
    jobs = f"-j{os.cpu_count() or 1}"
    subprocess.run(["make", jobs, "-C", PROGRAM.parent, "ASAN=1"], check=True, capture_output=True)
    return PROGRAM.with_name("firesteel-engine-asan")
