# SPDX-License-Identifier: Apache-2.0
"""Runs inside of a virtual machine, as root: what the kernel refuses on purpose, and what doctor and agent make of it.

`python -m tests.vm.refusals_guest RESULT DRIVERS CASE...` writes one JSON object: for each case (a function of `CASES`)
doctor's rows, the driver that an agent with this list took, and why it did not take the others.
"""

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from probes import bcc_cache, module_file
from tests.agents import FIRESTEEL, running_agent
from tests.vm.machine import ROOT, patient


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


@contextmanager
def _hidden(*places: Path) -> Iterator[None]:
    """Empty folders over these, for as long as the case lasts."""
    with ExitStack() as stack:
        for place in places:
            if place.is_dir():
                empty = stack.enter_context(tempfile.TemporaryDirectory())
                _run("mount", "--bind", empty, place)
                stack.callback(_run, "umount", place)
        yield


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextmanager
def _without_types() -> Iterator[None]:
    with _hidden(Path("/sys/kernel/btf")):
        yield


@contextmanager
def _without_types_and_headers() -> Iterator[None]:
    """And without what BCC compiled before."""
    release = os.uname().release
    kept, os.environ[bcc_cache.VARIABLE] = os.environ[bcc_cache.VARIABLE], "/run/no-bcc"
    folders = (f"/lib/modules/{release}/build", f"/usr/src/linux-headers-{release}", f"/usr/src/kernels/{release}")
    try:
        with _hidden(Path("/sys/kernel/btf"), *map(Path, folders)):
            yield
    finally:
        os.environ[bcc_cache.VARIABLE] = kept


@contextmanager
def _with_another_versions_module() -> Iterator[None]:
    """Ours under another version's name, as an agent of that version would have left it loaded."""
    ours = module_file.find(os.uname().release)
    other = ours.content.replace(ours.version.encode() + b"\0", b"9" * len(ours.version) + b"\0")
    file = Path("/run/other.ko")
    file.write_bytes(other)
    _run("insmod", file)
    try:
        yield
    finally:
        _run("rmmod", "firesteel")


@contextmanager
def _with_modules_disabled() -> Iterator[None]:
    """Until this machine is gone: the last case."""
    Path("/proc/sys/kernel/modules_disabled").write_text("1")
    yield


CASES: dict[str, Callable[[], Any]] = {
    "as_it_is": _as_it_is,
    "without_types": _without_types,
    "without_types_and_headers": _without_types_and_headers,
    "another_versions_module": _with_another_versions_module,
    "modules_disabled": _with_modules_disabled,
}


def _told(case: str, drivers: str) -> dict[str, Any]:
    listed = f"driver=[{drivers}]" if "," in drivers else f"driver={drivers}"
    with CASES[case](), tempfile.TemporaryDirectory() as folder:
        command = [*FIRESTEEL, "doctor", "--json", "--set", listed, "--set", "kubernetes.enabled=false"]
        told = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=patient(120))
        rows = json.loads(told.stdout)["checks"]
        settings = (listed, "kubernetes.enabled=false")
        with running_agent(Path(folder), settings, ring="1MiB") as agent:
            driver = agent.status()["driver"]
            page = [s.labels for s in agent.page() if s.name == "firesteel_driver_rejected_info"]
            loaded = module_file.loaded_version()
        ours = module_file.find(os.uname().release).version
        return {"doctor": rows, "code": told.returncode, "driver": driver, "page": page, "loaded": loaded, "ours": ours}


def main() -> None:
    _run("mount", "-t", "securityfs", "none", "/sys/kernel/security")
    answers: dict[str, Any] = {}
    for case in sys.argv[3:]:
        try:
            answers[case] = _told(case, sys.argv[2])
        except Exception:  # noqa: BLE001 - the test outside shows it
            answers[case] = {"raised": traceback.format_exc()}
        Path(sys.argv[1]).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
