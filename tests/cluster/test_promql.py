# SPDX-License-Identifier: Apache-2.0
"""The question that users of Kindling ask of Prometheus: which addresses outside are in use? At every instant, exactly those.

FIRESTEEL_PROMQL_SECONDS=1800 makes it half an hour, 3600 has one call every twenty minutes.
"""

import json
import os
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.agents import EDGES, watched
from tests.cluster.api import fake_api
from tests.cluster.asking import asking
from tests.cluster.shop import shop
from tests.prometheus import prometheus
from tests.receivers import until

SECONDS = float(os.environ.get("FIRESTEEL_PROMQL_SECONDS", "24"))
_PATTERN = "127..*|10..*|172..*"
_TRACES = "kindling_trace_request_duration_nanoseconds"
QUESTION = f'count by (dst_ip) ({_TRACES}{{dst_ip!~"{_PATTERN}"}})'
STEADY, RARE, FAILING, PRIVATE = "203.0.113.10", "203.0.113.11", "203.0.113.12", "192.168.77.9"
# Hidden by the pattern, whose dots stand for anything: 100.64/10 as well as 172/8.
SELDOM, HIDDEN = "100.64.0.9", "172.120.0.9"
_LONGEST_GAP = 3.0
"""Seconds from an end of the window to the scrape next to it, which Prometheus takes for counted as well: one a second, and a busy machine."""


def told(url: str, path: str, **query: object) -> Any:
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=60) as answer:
        return json.load(answer)["data"]["result"]


def addresses(url: str, question: str, at: float) -> set[str]:
    return {found["metric"]["dst_ip"] for found in told(url, "query", query=question, time=at)}


@pytest.mark.timeout(240 + 2 * SECONDS)
def test_every_address_in_use_is_listed_at_every_instant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with shop(tmp_path, fake_api(tmp_path)) as cluster:
        monkeypatch.setenv("NODE_NAME", cluster.name)
        client = cluster.pod("client-0", "statefulset", "client")
        admitted = {STEADY, RARE, FAILING, PRIVATE}
        for address in (*admitted, SELDOM, HIDDEN):
            cluster.far.add(address)
        cluster.far.failing.add(FAILING)
        with (
            watched(cluster, "promql") as agent,
            prometheus(tmp_path, agent.metrics_port) as url,
            asking(client) as asks,
        ):

            def ask(address: str) -> None:
                assert asks(address) == (500 if address == FAILING else 200)

            for address in (*admitted, HIDDEN):
                ask(address)
            until(lambda: addresses(url, QUESTION, time.time()) >= admitted, 60)
            began = time.time()
            calls = load(ask)
            ended = time.time()
            listed_throughout(url, began, ended, client.ip, admitted)
            assert (calls, agent.counts(EDGES, 3, src_ip=client.ip, dst_ip=SELDOM)) == (3, 3)
            # Not less than 3, as one that was missed would have it. Prometheus has the growth between the first and the last
            # scrape go on to the ends of the window, which is why it is no whole number.
            assert 3 <= increase(url, ended, ended - began, client.ip) < 3 * SECONDS / (SECONDS - 2 * _LONGEST_GAP)


def load(ask: Callable[[str], None]) -> int:
    """Answers how often the seldom one was asked: thrice, evenly over the time."""
    began, seldom, rare = time.monotonic(), 0, 0
    while (elapsed := time.monotonic() - began) < SECONDS:
        ask(STEADY)
        ask(FAILING)
        if elapsed >= rare * min(240.0, SECONDS / 4):  # within the five minutes for which a gauge stays
            rare += 1
            ask(RARE)
            ask(PRIVATE)
            ask(HIDDEN)
        if elapsed >= (seldom + 0.5) * SECONDS / 3:
            seldom += 1
            ask(SELDOM)
        time.sleep(0.5)
    return seldom


def increase(url: str, at: float, seconds: float, client: str) -> float:
    """Of the client's calls to the seldom one in the time before, as its users ask: this very test may run beside, in another node's
    namespaces, and in an hour the rows of those calls are gone from the page, though Prometheus has them."""
    question = f'sum(increase({EDGES}{{job="often",src_ip="{client}",dst_ip="{SELDOM}"}}[{seconds:.0f}s]))'
    (found,) = told(url, "query", query=question, time=at)
    return float(found["value"][1])


def listed_throughout(url: str, began: float, ended: float, client: str, admitted: set[str]) -> None:
    """What others on this machine ask meanwhile is theirs: of the rest, not one more and not one less."""
    step = max(1.0, (ended - began) / 5000)
    of_others = addresses(
        url, f'count by (dst_ip) (last_over_time({_TRACES}{{src_ip!="{client}"}}[{ended - began + 60:.0f}s]))', ended
    )
    found: dict[float, set[str]] = {}
    for series in told(url, "query_range", query=QUESTION, start=began, end=ended, step=step):
        for at, _ in series["values"]:
            found.setdefault(at, set()).add(series["metric"]["dst_ip"])
    assert len(found) == int((ended - began) / step) + 1
    wrong = {at: seen for at, seen in found.items() if seen - (of_others - admitted) != admitted}
    assert wrong == {}
