# SPDX-License-Identifier: Apache-2.0
"""Runs inside of a virtual machine, as root: what each driver costs those it watches, and what it costs to start.

`python -m tests.vm.cost_guest RESULT CALLS DRIVER...` writes one JSON object, with `nobody` for a kernel that is not
watched. CALLS is calls.c, compiled. Where time counts instructions, figures are the same however busy the host is.
"""

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests import clients, servers
from tests.agents import Agent, running_agent
from tests.processes import children

NOBODY = "nobody"
CALLS = 20_000
ROUNDS = 3
_LOAD_SECONDS = 1
_COMPILER = ("libbcc", "libclang", "libLLVM")


def costs(driver: str, calls: str) -> dict[str, Any]:
    """Nanoseconds of a call, requests per second of nginx in each round, and what the start took."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        answer: dict[str, Any] = {}
        if driver != NOBODY:
            settings = (f"driver={driver}", "kubernetes.enabled=false")
            began = time.monotonic()
            agent = stack.enter_context(running_agent(Path(folder), settings, ring="8MiB"))
            answer = {"start_seconds": round(time.monotonic() - began, 2), "chosen": agent.status()["driver"]["name"]}
            answer |= _left_in_memory(agent)
        said = subprocess.run([calls, str(CALLS)], check=True, capture_output=True, text=True).stdout.split()
        answer |= {f"{name}_ns": float(value) for name, value in zip(said[::2], said[1::2], strict=True)}
        with servers.nginx() as server:
            clients.wrk(server, seconds=1)
            answer["nginx"] = [round(clients.wrk(server, seconds=_LOAD_SECONDS).rate) for _ in range(ROUNDS)]
    return answer


def _left_in_memory(agent: Agent) -> dict[str, Any]:
    """The agent's processes as capture runs: their memory in MiB by name, those that have the compiler, what it said."""
    pids, waiting = [], [agent.process.pid]
    while waiting:
        pids.append(waiting.pop())
        waiting += children(pids[-1])
    memory: dict[str, float] = {}
    compilers = []
    for pid in pids:
        place = Path(f"/proc/{pid}")
        name = (place / "comm").read_text().strip()
        pages = int((place / "statm").read_text().split()[1])
        memory[name] = round(memory.get(name, 0) + pages * 4096 / (1 << 20), 1)
        if any(library in (place / "maps").read_text() for library in _COMPILER):
            compilers.append(name)
    compiled = [line for line in agent.log.read_text().splitlines() if "compiled in" in line]
    return {"memory": memory, "with_compiler": compilers, "compiled": compiled}


def main() -> None:
    result, calls, *drivers = sys.argv[1:]
    answers = {}
    # Twice, so that what changes with time alone shows.
    for driver in (NOBODY, *drivers, f"{NOBODY} again"):
        answers[driver] = costs(driver.split()[0], calls)
        print(driver, json.dumps(answers[driver]), flush=True)
        Path(result).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
