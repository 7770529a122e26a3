# SPDX-License-Identifier: Apache-2.0
"""The containers of profiles bcc and kmod on a kernel that takes both: what the host's tests/deploy/test_container.py asks of core.

They start with exactly the capabilities and folders that the manifests list, behind a read-only root, and count; with any one
capability less they name it.
"""

import re

import pytest

from collector.capabilities import PROFILES
from probes import bcc_cache
from tests.vm import compiled, machine, modules

pytestmark = pytest.mark.timeout(machine.patient(2400))
KERNEL = "6.1"
_SECONDS = 1200
_CHOSEN = ("bcc", "kmod")


def test_bcc_and_kmod_start_with_exactly_what_is_listed(tmp_path_factory: pytest.TempPathFactory) -> None:
    exchange = tmp_path_factory.mktemp("exchange")
    compiled.compiled(KERNEL)
    command = "\n".join([
        modules.handed_over(KERNEL, exchange),
        f"export {bcc_cache.VARIABLE}={compiled.cache()} FIRESTEEL_TEST_PROFILES='{' '.join(_CHOSEN)}'",
        f"export FIRESTEEL_START_SECONDS={machine.patient(300):g}",
        ".venv/bin/python -m pytest -q -p no:cacheprovider --timeout 900 tests/deploy/test_container.py -k 'bcc or kmod'",
    ])  # fmt: skip
    finished = machine.run(KERNEL, command, seconds=_SECONDS, exchange=exchange)
    assert finished.status == 0, finished.output + finished.console[-2000:]
    # Of each: what the container is, that it counts, each capability that lacks, and what it falls back to.
    wanted = sum(3 + len(PROFILES[profile]) for profile in _CHOSEN)
    assert re.search(rf"^{wanted} passed", finished.output, re.MULTILINE), finished.output
    assert finished.complaints == []
