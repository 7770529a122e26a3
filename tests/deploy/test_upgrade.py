# SPDX-License-Identifier: Apache-2.0
"""An upgrade under load, as a DaemonSet does it: the old agent is ended, the new one begins on the same port, the load goes on.

FIRESTEEL_PREVIOUS is the command of the version before, built in a copy of its own; without it this version follows itself. Counters
begin at 0 in the new process, which is a reset as Prometheus knows it; what must not be is a series that stays away.
"""

import contextlib
import http.client
import itertools
import json
import math
import os
import re
import shlex
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.agents import FIRESTEEL, Agent, running_agent
from tests.prometheus import prometheus
from tests.receivers import until
from tests.servers import Server, free_port, nginx

PREVIOUS = tuple(shlex.split(os.environ.get("FIRESTEEL_PREVIOUS", ""))) or FIRESTEEL
REQUESTS = "kindling_entity_request_total"
_LONG = 90.0
_PAUSE = 0.005
_PATHS = ("/", "/missing", "/error")
_BEFORE, _FIRST = 1000, 300
"""Requests to the old agent, and to the new one until Prometheus has seen that it counts anew: fewer, or nobody could see it."""
_CHANCE = re.compile("kindling_tcp_(packet_loss|reset|retransmit)_total")
Key = tuple[str, frozenset[tuple[str, str]]]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="not root, and an agent that loads is: sudo make test-deploy"),
    pytest.mark.timeout(500),
]


@dataclass
class Load:
    """`made` requests have been answered; at `limit` of them it waits."""

    server: Server
    made: int = 0
    limit: float = math.inf

    def one_connection(self) -> None:
        if self.made >= self.limit:
            time.sleep(_PAUSE)
            return
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.server.port)) as connection:
            for path in _PATHS:
                connection.request("GET", path)
                connection.getresponse().read()
                self.made += 1
                time.sleep(_PAUSE)


@contextmanager
def load(server: Server) -> Iterator[Load]:
    """Connections one after the other, of as many requests as there are paths."""
    going, ended = Load(server), threading.Event()

    def run() -> None:
        while not ended.is_set():
            going.one_connection()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield going
    finally:
        ended.set()
        thread.join()


def counters(agent: Agent) -> dict[Key, float]:
    """Every series of every counter on the page, but what says how the process began."""
    text = agent.get("/metrics", api=False).decode()
    names = set(re.findall(r"^# TYPE (\w+) counter$", text, re.MULTILINE))
    return {(s.name, frozenset(s.labels.items())): s.value for s in agent.page() if s.name in names}


def of(found: dict[Key, float], port: int) -> set[Key]:
    """Those of the traffic with that port, but what only a busy machine brings along: slow requests, and packets sent again."""
    return {
        (name, labels)
        for name, labels in found
        if str(port) in dict(labels).values() and ("is_slow", "true") not in labels and not _CHANCE.search(name)
    }


def rates(url: str, expression: str, began: float, ended: float) -> list[tuple[float, float]]:
    """Times and values, a second apart where there is no hole; none as long as Prometheus has no answer."""
    query = urllib.parse.urlencode({"query": expression, "start": began, "end": ended, "step": 1})
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{query}", timeout=20) as answer:
        result = json.load(answer)["data"]["result"]
    assert len(result) <= 1
    return [(at, float(value)) for series in result for at, value in series["values"]]


def now(url: str, expression: str) -> list[float]:
    """One value, or none."""
    at = time.time()
    return [value for _, value in rates(url, expression, at, at)]


def test_no_counter_series_is_lost(tmp_path: Path) -> None:
    port = free_port()
    folders = [tmp_path / name for name in ("old", "new", "prometheus")]
    for folder in folders:
        folder.mkdir()
    with nginx() as server, load(server) as going, prometheus(folders[2], port) as url:
        counted = f'{REQUESTS}{{port="{server.port}",job="often"}}'
        rate = f"sum(rate({counted}[5m]))"
        with running_agent(folders[0], metrics_port=port, program=PREVIOUS) as agent:
            agent.wait(lambda agent: agent.total(REQUESTS, port=str(server.port)) > _BEFORE, _LONG)
            # Prometheus has seen as much of it, too: what it saw last is what the new counters are held against.
            until(lambda: [value for value in now(url, f"sum({counted})") if value > _BEFORE] and now(url, rate), _LONG)
            began, at_least = time.time(), going.made
            agent.wait(lambda agent: agent.total(REQUESTS, port=str(server.port)) > at_least, _LONG)
            old = counters(agent)
            first = agent.total(REQUESTS, port=str(server.port))
        assert len(of(old, server.port)) > len(_PATHS)
        with running_agent(folders[1], metrics_port=port) as agent:
            missed, changed = going.made, time.time()
            going.limit = missed + _FIRST
            until(lambda: of(old, server.port) <= of(counters(agent), server.port), _LONG)
            # Counters of traffic that happened to be there before (a name that was looked up) come with their traffic: the names stay.
            assert {name for name, _ in old if not name.startswith("kindling_")} <= {
                name for name, _ in counters(agent)
            }
            until(lambda: now(url, f"sum(resets({counted}[5m]))") == [float(len(_PATHS))], _LONG)
            going.limit = math.inf
            until(lambda: agent.page() != [] and agent.total(REQUESTS, port=str(server.port)) > 2 * _FIRST, _LONG)
            ended, since = time.time(), going.made - missed
            # All that was made since it was ready, and after that all there is.
            agent.wait(lambda agent: agent.total(REQUESTS, port=str(server.port)) >= since, _LONG)
            second = agent.total(REQUESTS, port=str(server.port))
            assert second >= since
        # rate(), over what dashboards take, has an answer at every second from before to after: no hole, nothing negative.
        found = rates(url, rate, began, ended)
        assert found[0][0] < changed < found[-1][0]
        assert {round(later - earlier, 3) for (earlier, _), (later, _) in itertools.pairwise(found)} == {1.0}
        assert min(value for _, value in found) > 0
    # Between the two nobody counted; nothing was counted twice.
    assert first + second <= going.made
