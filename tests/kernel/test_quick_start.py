# SPDX-License-Identifier: Apache-2.0
"""The quick start as a newcomer types it, line by line out of the document: what it promises is on the page and in `top`.

`make run` itself is the agent here, started as it starts it but for its ports; everything else is the document's text with these.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.agents import Agent, running_agent
from tests.documents import ROOT, Block, blocks
from tests.servers import free_port

PAGES = ("README.md", "docs/quick-start-laptop.md", "docs/zh/quick-start.md")
_VERY_LONG = 60.0


def second_step(page: str) -> Block:
    """The block that makes traffic and looks at it."""
    (found,) = (block for block in blocks(ROOT / page) if "http.server" in block.text)
    return found


def as_run_starts_it() -> list[str]:
    """The settings that `make run` gives."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    line = next(line for line in makefile.splitlines() if "firesteel run --demo-if-unprivileged" in line)
    return re.findall(r"--set (\S+)", line)


@contextmanager
def typed(agent: Agent, line: str, port: int) -> Iterator[str]:
    """What a line prints that ends, or the line going on behind `&` until the block ends."""
    for usual, ours in ((8000, port), (9500, agent.metrics_port), (9501, agent.api_port)):
        line = re.sub(rf"(?<=[ :\"]){usual}\b", str(ours), line)
    if line.startswith(".venv/bin/firesteel top"):
        line += " --once"  # it goes on until somebody presses Ctrl-C
    environment = os.environ | {"FIRESTEEL_LISTEN__API": f"127.0.0.1:{agent.api_port}", "COLUMNS": "200"}
    if line.endswith("&"):
        words = line.removesuffix("&").split()
        started = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield ""
        finally:
            started.terminate()
            started.wait()
        return
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=_VERY_LONG,
    )  # fmt: skip
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    yield done.stdout


def answers(port: int) -> bool:
    rows = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    return any(
        f":{port:04X}" in row.split()[1] and row.split()[3] == "0A" for row in rows.splitlines() if ":" in row[:8]
    )


def test_the_second_step(tmp_path: Path) -> None:
    (text,) = {second_step(page).text for page in PAGES}  # the same in all of them
    port = free_port()
    serve, ask, top, look = text.splitlines()
    with running_agent(tmp_path, as_run_starts_it()) as agent, typed(agent, serve, port):
        end = time.monotonic() + _VERY_LONG
        while not answers(port):
            assert time.monotonic() < end
            time.sleep(0.1)
        with typed(agent, ask, port):
            pass
        agent.wait(lambda agent: agent.total("kindling_entity_request_total", port=str(port)) == 1, _VERY_LONG)
        with typed(agent, top, port) as printed:
            assert "python" in printed
            assert "http" in printed
        with typed(agent, look, port) as printed:
            lines = [line for line in printed.splitlines() if line.startswith("kindling_entity_request_total{")]
            assert [float(line.split()[-1]) for line in lines] == [1.0]
