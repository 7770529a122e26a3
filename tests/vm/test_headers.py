# SPDX-License-Identifier: Apache-2.0
"""The module against the headers of every kernel that Debian's releases can install: ordinary, cloud and real-time ones."""

import os
from pathlib import Path

import pytest

from tests.vm import kernels, machine, modules

pytestmark = pytest.mark.timeout(machine.patient(3600))
_NAMES = os.environ.get("FIRESTEEL_VM_KERNELS", "").split() or [kernel.name for kernel in kernels.KERNELS]


@pytest.mark.parametrize("name", _NAMES)
def test_the_module_compiles_without_a_warning(name: str, tmp_path: Path) -> None:
    kernels.get(name)
    ended = {}
    for release, finished in modules.every_kernel(name, tmp_path):
        print(release, finished.stderr, flush=True)
        ended[release] = finished
    assert {release: done.stderr for release, done in ended.items() if done.returncode != 0} == {}
    assert {release: done.stderr for release, done in ended.items() if "the compiler warned" in done.stderr} == {}
    assert {release.removesuffix("-amd64").rpartition("-")[2] for release in ended} >= {"cloud", "rt"}
