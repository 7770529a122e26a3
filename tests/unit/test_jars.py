# SPDX-License-Identifier: Apache-2.0
"""The jars of servers in Java: those of the lock file and no others."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests import jars


def test_a_jar_is_the_pinned_one_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lib = tmp_path / "lib"
    lib.mkdir()
    (lib / "one.jar").write_bytes(b"one")
    lock = tmp_path / "jars.lock"
    monkeypatch.setattr(jars, "LOCK", lock)
    lock.write_text(f"# a comment\n{hashlib.sha256(b'one').hexdigest()}  one.jar\n")
    jars._compare(lib)
    (lib / "two.jar").write_bytes(b"two")
    with pytest.raises(RuntimeError, match=r"not the jars of .*jars\.lock: two\.jar; if a version"):
        jars._compare(lib)
    (lib / "two.jar").unlink()
    (lib / "one.jar").write_bytes(b"another")
    with pytest.raises(RuntimeError, match=r"one\.jar"):
        jars._compare(lib)
