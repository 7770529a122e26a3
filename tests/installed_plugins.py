# SPDX-License-Identifier: Apache-2.0
"""Plugins as an installation leaves them: modules and the entry points that lead to them, in a folder of the test's."""

import os
import shutil
import tomllib
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent / "plugin_example"
# What plugins of bad faith and bad luck do.
FAULTY = """
import os, signal
from analyzers.plugin import Message, Outcome, ProtocolPlugin

class Base(ProtocolPlugin):
    name = "faulty"
    def detect(self, data): return True
    def frame(self, data, side): return Message(len(data))
    def stitch(self, request, response): return Outcome("x")

class Raises(Base):
    def frame(self, data, side): raise KeyError("no such tea")

class Hangs(Base):
    def detect(self, data):
        while True: pass

class Stumbles(Base):
    def detect(self, data):
        while data[0] == 0: pass
        return True

class Crashes(Base):
    def detect(self, data): os.kill(os.getpid(), signal.SIGSEGV)

class Hoards(Base):
    def detect(self, data): return bytearray(1 << 40)

class Leaves(Base):
    def detect(self, data): raise SystemExit(3)

class Prints(Base):
    def detect(self, data): print("hello"); return True
    def stitch(self, request, response): return Outcome("tea\\nfor " + "two" * 100, "\\u2615", 70000)

class Chatters(Base):
    def detect(self, data):
        os.write(1, b"17\\n")
        return not os.read(0, 1)

class Half(Base):
    def frame(self, data, side): return 17

class Taken(Base):
    name = "http"

class Misnamed(Base):
    name = "Tea Time"

class Unborn(Base):
    def __init__(self): raise OSError("no tea here")

class NoPlugin: pass
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example and the faulty ones, found by every process that this test starts from now on."""
    points = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"]["firesteel.protocols"]
    names = [line.split()[1].split("(")[0].rstrip(":") for line in FAULTY.splitlines() if line.startswith("class ")]
    points |= {name.lower(): f"faulty:{name}" for name in names} | {"absent": "nowhere:Nothing"}
    shutil.copy(EXAMPLE / "teatime.py", folder / "teatime.py")
    (folder / "faulty.py").write_text(FAULTY)
    info = folder / "firesteel_teatime-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: firesteel-teatime\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[firesteel.protocols]", *lines, ""]))
    folder.chmod(0o755)
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
