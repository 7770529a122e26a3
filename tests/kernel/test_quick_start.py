# SPDX-License-Identifier: Apache-2.0
"""The quick start as a newcomer types it, line by line out of the document: what it promises is on the page and in `top`.

`make run` itself is the agent here, started as it starts it but for its ports; everything else is the document's text with these, pasted
into one shell. Nothing waits but what the text itself waits for.
"""

import os
import re
import shlex
import subprocess
from pathlib import Path

from tests.agents import Agent, running_agent, series_of
from tests.command_runs import run_by
from tests.documents import ROOT, SHELLS, bare, blocks, lines
from tests.servers import free_port

_HERE = "tests/kernel/test_quick_start.py::test_the_second_step"
PAGES = ("README.md", "docs/quick-start-laptop.md", "docs/zh/quick-start.md")
_VERY_LONG = 60.0
REQUESTS = "kindling_entity_request_total"


def second_step(page: str) -> list[str]:
    """The lines that make traffic and look at it, and on the longer pages those up to the end of the server."""
    ours = {line.text for line in run_by(_HERE)}
    found = [bare(line) for block in blocks(ROOT / page) if block.language in SHELLS for _, line in lines(block)]
    return [line for line in found if line in ours]


def as_run_starts_it() -> list[str]:
    """The settings that `make run` gives."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    line = next(line for line in makefile.splitlines() if "firesteel run --demo-if-unprivileged" in line)
    return re.findall(r"--set (\S+)", line)


def pasted(typed: list[str], agent: Agent, port: int) -> dict[str, str]:
    """What each line prints, of a shell with jobs that all are pasted into. It goes on after a line that fails, as a terminal's does."""
    script = []
    for line in typed:
        ours = line
        for usual, here in ((8000, port), (9500, agent.metrics_port), (9501, agent.api_port)):
            ours = re.sub(rf"(?<=[ :\"]){usual}\b", str(here), ours)
        if ours.endswith("firesteel top"):
            ours += " --once"  # it goes on until somebody presses Ctrl-C
        if ours.endswith("&"):
            ours = f"timeout {_VERY_LONG:g} {ours}"  # nothing stays, should this shell be killed
        script += [f"echo $'\\f'{shlex.quote(line)}", ours if ours.endswith("&") else f'{ours} || echo "failed: $?"']
    environment = os.environ | {"FIRESTEEL_LISTEN__API": f"127.0.0.1:{agent.api_port}", "COLUMNS": "200"}
    done = subprocess.run(
        ["bash", "-m"], cwd=ROOT, env=environment, input="\n".join(script) + "\n", capture_output=True, text=True, check=False,
        timeout=_VERY_LONG,
    )  # fmt: skip
    parts = (part.partition("\n") for part in done.stdout.split("\f")[1:])
    return {line: printed for line, _, printed in parts}


def listens(port: int) -> bool:
    rows = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    return any(
        f":{port:04X}" in row.split()[1] and row.split()[3] == "0A" for row in rows.splitlines() if ":" in row[:8]
    )


def test_every_page_types_the_same() -> None:
    readme, english, chinese = (second_step(page) for page in PAGES)
    assert english == chinese
    assert readme == english[: len(readme)]
    assert (readme[-1], english[-1]) == (".venv/bin/firesteel top", "kill %1")


def test_the_second_step(tmp_path: Path) -> None:
    typed = second_step("docs/quick-start-laptop.md")
    serve, _, ask, _, look, top, status, explain, end = typed
    port = free_port()
    with running_agent(tmp_path, as_run_starts_it()) as agent:
        printed = pasted(typed, agent, port)
        assert list(printed) == typed
        assert not listens(port), "the server is ended"
        # The server says so itself, at once or at its end.
        told = [row for line in (serve, ask, end) for row in printed[line].splitlines()]
        assert [row for row in told if not row.startswith("Serving HTTP on ")] == []
        (request,) = [row for row in series_of(printed[look]) if row.name == REQUESTS]
        assert (request.labels["protocol"], request.labels["port"]) == ("http", str(port))
        assert "python" in printed[top]
        assert "http" in printed[top]
        assert "core" in printed[status]
        assert "python" in printed[explain]
        assert "failed" not in "".join(printed.values())
        # What the page had at 0 for its first interval, and then.
        agent.wait(lambda agent: agent.total(REQUESTS, port=str(port)) == 1, _VERY_LONG)
        assert agent.total(REQUESTS, port=str(port)) == 1
