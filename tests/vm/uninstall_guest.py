# SPDX-License-Identifier: Apache-2.0
"""Runs inside of a virtual machine, as root: the Job of `kubectl firesteel uninstall` on a node where profile kmod ran.

`python -m tests.vm.uninstall_guest RESULT` writes one JSON object. The module is where the agent looks for it; if no agent
left it loaded, it is loaded first.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from deploy.kubectl.kubectl_firesteel import jobs
from probes import facts, kmod, module_file
from tests.agents import FIRESTEEL, ROOT
from tests.deploy import container

_STATE = Path("/var/lib/firesteel")
_LOOK = "grep -h Cap /proc/self/status; touch /x /node/x; touch /node/var/lib/x; ls /proc"


def _pod() -> dict[str, Any]:
    pod: dict[str, Any] = jobs.wipe_job("a-node", "firesteel", "firesteel:0")["spec"]["template"]["spec"]
    return pod


def _job(command: list[str], without: str = "", state: Path = _STATE.parent) -> dict[str, Any]:
    """What the Job's container answers; `state` stands for the node's /var/lib."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    made = container.spec_of(_pod(), "", folder, without=without, places={"state": state})
    ended = subprocess.run([*container.command(made), *command], cwd=ROOT, capture_output=True, text=True, check=False)
    return {"code": ended.returncode, "told": ended.stdout.splitlines(), "errors": ended.stderr}


def main() -> int:
    if module_file.loaded_version() is None:
        kmod.load(facts.gather(), 1 << 20).close()
    version = module_file.loaded_version()
    uninstall = [*FIRESTEEL, *_pod()["containers"][0]["args"]]
    others = sorted(path.name for path in _STATE.parent.iterdir() if path != _STATE)
    held = kmod.load(facts.gather(), 1 << 20)
    elsewhere = Path(tempfile.mkdtemp())  # nothing to remove there
    answers: dict[str, Any] = {
        "version": version,
        "folders": sorted(path.name for path in _STATE.iterdir()),
        "container": _job(["/bin/sh", "-c", _LOOK]),
        "without": _job(uninstall, "SYS_MODULE", elsewhere),
        "while_read": _job(uninstall, state=elsewhere),
    }  # fmt: skip
    (_STATE.parent / "x").unlink(missing_ok=True)
    held.close()
    answers["before"] = module_file.loaded_version()
    answers["uninstall"] = _job(uninstall)
    answers["after"] = module_file.loaded_version()
    answers["device"] = kmod.PROC.exists()
    answers["state"] = _STATE.exists()
    answers["others_stay"] = others == sorted(path.name for path in _STATE.parent.iterdir())
    answers["again"] = _job(uninstall)
    Path(sys.argv[1]).write_text(json.dumps(answers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
