# SPDX-License-Identifier: Apache-2.0
"""Watches of real cgroups: kernfs ends none by itself when a directory goes."""

import os

import pytest

from collector.metadata.cgroups import Cgroups
from probes import facts
from tests.receivers import until


def test_a_cgroup_that_ended_is_known_and_watched_no_more() -> None:
    hierarchy = facts.gather().pod_hierarchy
    if hierarchy is None:
        pytest.skip("no cgroup hierarchy is mounted")
    known = Cgroups(hierarchy)
    known.start()
    try:
        for number in range(20):
            group = hierarchy / f"firesteel-test-{os.getpid()}-{number}"
            group.mkdir()
            try:
                ino = group.stat().st_ino
                until(lambda ino=ino: ino in known._tree.by_ino, 5)  # type: ignore[misc]
            finally:
                group.rmdir()
            until(lambda ino=ino: ino not in known._tree.by_ino, 5)  # type: ignore[misc]
            assert known.path(ino) == f"/{group.name}"
            assert str(group) not in known._tree.directories.values()
    finally:
        known.stop()
    assert known.fault == ""
