# SPDX-License-Identifier: Apache-2.0
"""The containers of profiles bcc and kmod on a kernel that takes both: what the host's tests/deploy/test_container.py asks of core.

They start with exactly the capabilities and folders that the manifests list, behind a read-only root, and count; with any one
capability less they name it. Then the Job of `kubectl firesteel uninstall`, in its own container, leaves nothing of it.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from collector.capabilities import NUMBERS, PROFILES
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
        "set -e",
        ".venv/bin/python -m pytest -q -p no:cacheprovider --timeout 900 tests/deploy/test_container.py -k 'bcc or kmod'",
        f".venv/bin/python -m tests.vm.uninstall_guest {machine.EXCHANGE}/answers",
    ])  # fmt: skip
    finished = machine.run(KERNEL, command, seconds=_SECONDS, exchange=exchange)
    assert finished.status == 0, finished.output + finished.console[-2000:]
    # Of each: what the container is, that it counts, each capability that lacks, a recording, and what it falls back to.
    wanted = sum(4 + len(PROFILES[profile]) for profile in _CHOSEN)
    assert re.search(rf"^{wanted} passed", finished.output, re.MULTILINE), finished.output
    _nothing_is_left(json.loads((exchange / "answers").read_text()))
    assert finished.complaints == []


def test_the_job_of_uninstall_unloads_the_module_and_takes_its_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Alone, in two minutes: here no agent was there before."""
    exchange = tmp_path_factory.mktemp("exchange")
    command = f"{modules.handed_over(KERNEL, exchange)}\n.venv/bin/python -m tests.vm.uninstall_guest {machine.EXCHANGE}/answers"
    finished = machine.run(KERNEL, command, seconds=_SECONDS, exchange=exchange)
    assert finished.status == 0, finished.output + finished.console[-2000:]
    _nothing_is_left(json.loads((exchange / "answers").read_text()))
    assert finished.complaints == []


def _nothing_is_left(answers: dict[str, Any]) -> None:
    """What uninstall_guest.py saw: first that its container is what the Job asks for."""
    version, module = answers["version"], f"kernel module firesteel {answers['version']}"
    inside = answers["container"]
    masks = {line.split(":\t")[0]: int(line.split(":\t")[1], 16) for line in inside["told"] if line.startswith("Cap")}
    only = 1 << NUMBERS["SYS_MODULE"]
    assert masks == {"CapInh": 0, "CapPrm": only, "CapEff": only, "CapBnd": only, "CapAmb": 0}
    assert re.findall(r"touch '(\S+)': Read-only file system", inside["errors"]) == ["/x", "/node/x"], inside
    assert "self" in inside["told"]
    assert len([line for line in inside["told"] if line.isdigit()]) <= 2, "it sees processes of the node"
    for refused, why in (
        ("without", "not unloaded, CAP_SYS_MODULE is missing; sudo firesteel uninstall, outside of a container"),
        ("while_read", "not unloaded, it is in use; stop the agent, and call this again"),
    ):
        assert (answers[refused]["code"], answers[refused]["told"]) == (1, [f"{module}: {why}"])
    assert answers["before"] == version
    state = Path("/node/var/lib/firesteel")
    removed = [f"removed {state / name}" for name in answers["folders"]]
    assert answers["uninstall"] == {
        "code": 0, "told": [f"unloaded {module}", *removed, f"removed {state}"], "errors": "",
    }  # fmt: skip
    assert "modules" in answers["folders"]
    assert (answers["after"], answers["device"], answers["state"], answers["others_stay"]) == (None, False, False, True)
    assert answers["again"] == {"code": 0, "told": ["nothing of Firesteel is on this node"], "errors": ""}
