# SPDX-License-Identifier: Apache-2.0
"""A real agent above its budget: what each step leaves out, that counts stay exact at every one of them, and the way back up."""

import json
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

import pytest

from collector.step_down import STEPS
from tests.agents import Agent, Series, running_agent
from tests.servers import Server, nginx, program

REQUESTS = 7
ENTITY, EDGE = "kindling_entity_request_total", "kindling_topology_request_total"
MEANS = (
    "the live stream is closed",
    "no request is sampled (spans, lines of JSON, exemplars)",
    "paths are no labels",
    "labels of single pods are empty",
)
# The agent as it is, with windows of a second instead of five, three below the budget instead of twelve.
HURRIED = (
    sys.executable,
    "-c",
    "import sys; from collector import cli, step_down; step_down.WINDOW_SECONDS = 1.0; step_down.WINDOWS_BELOW = 3; sys.exit(cli.main())",
)


@dataclass
class Budgeted:
    """An agent whose budget is a file that the test writes anew."""

    agent: Agent
    server: Server
    file: Path
    asked: int = 0

    def budget(self, memory: str) -> None:
        self.file.write_text(_file(memory))
        self.agent.process.send_signal(signal.SIGHUP)

    def level(self) -> float:
        return self.agent.total("firesteel_step_down_level")

    def wait_for(self, level: int) -> None:
        self.agent.wait(lambda one: self.level() == level, 60)
        assert self.level() == level

    def stay(self) -> None:
        """A budget that what is used now is below, but not by so much that there is room for more."""
        self.budget(f"{round(self.agent.total('firesteel_memory_bytes') / 0.9)}B")

    def ask(self, word: str) -> list[Series]:
        """Requests with a path of their own; the rows that moved for them, once all are counted, exactly."""
        before = self._rows()
        for _ in range(REQUESTS):
            url = f"http://127.0.0.1:{self.server.port}/{word}"
            subprocess.run([program("curl"), "-s", "-o", "/dev/null", url], check=True, timeout=20)
        self.asked += REQUESTS
        assert self.agent.counts(ENTITY, self.asked, port=str(self.server.port)) == self.asked
        assert self.agent.total(EDGE, dst_port=str(self.server.port)) == self.asked
        moved = [one for one in self._find() if one.value > before.get(frozenset(one.labels.items()), 0.0)]
        assert sum(one.value - before.get(frozenset(one.labels.items()), 0.0) for one in moved) == REQUESTS
        return moved

    def sampled(self) -> int:
        """How many of the requests to the server were handed out one by one."""
        found = json.loads(self.agent.get("/api/v1/traces?limit=1000"))["requests"]
        return len([one for one in found if one["destination"]["port"] == self.server.port])

    def samples(self, wanted: int) -> int:
        """The same, which are told a moment after the requests are counted."""
        self.agent.wait(lambda _: self.sampled() >= wanted, 20)
        return self.sampled()

    def problem(self) -> str:
        """What status says is left out; empty if nothing is."""
        found = [one["what"] for one in self.agent.status()["problems"] if "to stay within its budget" in one["what"]]
        assert len(found) <= 1
        return found[0] if found else ""

    def stream(self) -> int:
        """How the live stream answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.agent.api_port}/api/v1/stream", timeout=10) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code

    def _find(self) -> list[Series]:
        return self.agent.find(ENTITY, port=str(self.server.port))

    def _rows(self) -> dict[frozenset[tuple[str, str]], float]:
        return {frozenset(one.labels.items()): one.value for one in self._find()}


def _file(memory: str) -> str:
    return f"budget: {{cpu: 0, memory: {memory}}}\nsamples: {{normal: 1.0, per_edge: 1000, rate: 2000}}\n"


@contextmanager
def budgeted(folder: Path) -> Iterator[Budgeted]:
    with tempfile.TemporaryDirectory() as named, nginx() as server:
        Path(named).chmod(0o755)
        file = Path(named) / "firesteel.yaml"
        file.write_text(_file("0B"))
        with running_agent(folder, prefix=("env", f"FIRESTEEL_CONFIG={file}"), program=HURRIED) as agent:
            yield Budgeted(agent, server, file)


@pytest.mark.timeout(300)
def test_the_agent_does_less_step_by_step_counts_on_and_comes_back(tmp_path: Path) -> None:
    with budgeted(tmp_path) as one:
        for level in range(len(STEPS) + 1):
            if level:
                one.budget("1MiB")
                one.wait_for(level)
                one.stay()
            sampled = one.sampled()
            moved = one.ask(f"level{'abcde'[level]}")
            assert one.level() == level
            assert one.problem() == (
                f"the agent does less to stay within its budget: {', '.join(MEANS[:level])}" if level else ""
            )
            assert one.stream() == (200 if level < 1 else 503)
            handed_out = REQUESTS if level < 2 else 0
            assert one.samples(sampled + handed_out) - sampled == handed_out
            paths = {row.labels["request_content"] for row in moved}
            assert paths == ({f"/level{'abcde'[level]}"} if level < 3 else {""})
            assert {row.labels["ip"] for row in moved} == ({"127.0.0.1"} if level < 4 else {""})
            assert one.agent.status()["agent"]["detail"] == ("pod" if level < 4 else "workload")
        log = one.agent.log.read_text()
        assert log.index("metrics have pod detail") < log.index("metrics have workload detail")
        assert [one.agent.total("firesteel_step_downs_total", step=step) for step in STEPS] == [1] * len(STEPS)
        one.budget("0B")
        one.wait_for(0)
        assert one.problem() == ""
        assert one.stream() == 200
        sampled = one.sampled()
        moved = one.ask("again")
        assert {(row.labels["request_content"], row.labels["ip"]) for row in moved} == {("/again", "127.0.0.1")}
        assert one.sampled() - sampled == REQUESTS
