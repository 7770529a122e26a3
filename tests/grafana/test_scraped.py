# SPDX-License-Identifier: Apache-2.0
"""The whole way: requests of a cluster, the agent, a real Prometheus that scrapes it, the dashboard's queries, the panel."""

import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.cluster.agents import watched
from tests.cluster.api import fake_api
from tests.cluster.demo import Demo
from tests.cluster.shop import shop
from tests.grafana.page import showing
from tests.grafana.prometheus import Prometheus, dashboard, frame, interpolated, panels
from tests.prometheus import prometheus as scraping

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="session")
_MEASURES: Final = {"requests", "errors", "slow", "duration", "request_bytes", "response_bytes"}
_RATE: Final = re.compile(r"rate\(([^\[]+)\[\w+\]\)")
_HOST: Final = "(a process of the node)"
"""Called by its command, or by the unit in which these tests run."""
Truth = Counter[tuple[str, str, str]]


def truth_of(demo: Demo) -> Truth:
    """(source, target, protocol) -> requests, with the titles that the panel gives."""
    found: Truth = Counter()
    for edge, count in demo.truth.items():
        source = _title(edge.src_namespace, edge.src_workload, "outside")
        target = _title(edge.dst_namespace, edge.dst_workload, edge.dst_domain or edge.dst_ip)
        found[source, target, edge.protocol] += count
    return found


def _title(namespace: str, workload: str, outside: str) -> str:
    if workload:
        return workload.split("/")[1]
    return outside if namespace == "NOT_FOUND_EXTERNAL" else _HOST


def counted(asked: Prometheus, demo: Demo) -> list[dict[str, Any]]:
    """Frames of the topology dashboard for the namespaces of the demo. Counters instead of their rates: those are exact."""
    board = dashboard("firesteel-topology")
    detail = next(v for v in board["templating"]["list"] if v["name"] == "detail")["options"][1]["value"]
    namespaces = {edge.dst_namespace for edge in demo.truth} - {"NOT_FOUND_EXTERNAL", "NOT_FOUND_INTERNAL"}
    frames = []
    for _, target in panels(board):
        if target["refId"] in _MEASURES:
            expr = interpolated(target["expr"], board, detail=detail, namespace="|".join(sorted(namespaces)))
            expr = re.sub(r'cluster=~"[^"]*"', 'job="often"', _RATE.sub(r"\1", expr))  # it is scraped by two jobs
            frames.append(frame(target["refId"], asked.ask(expr, at=int(time.time()))))
    return frames


def scraped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[dict[str, Any]], Truth]:
    """What Prometheus tells of the demo once it has scraped all of it, and the truth."""
    with shop(folder, fake_api(folder)) as cluster:
        monkeypatch.setenv("NODE_NAME", cluster.name)
        demo = Demo(cluster)
        with watched(cluster, "panel") as agent, scraping(folder, agent.metrics_port) as address:
            demo.run()
            asked, wanted, end = Prometheus(address, int(time.time())), truth_of(demo), time.monotonic() + 60
            while sum(_of(counted(asked, demo), "requests")) < sum(wanted.values()) and time.monotonic() < end:
                time.sleep(1)
            return counted(asked, demo), wanted


@pytest.mark.skipif(os.geteuid() != 0, reason="not root, and only root may load programs into the kernel")
@pytest.mark.timeout(300)
async def test_what_a_cluster_did_is_drawn(
    browser: "Browser", url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, wanted = scraped(tmp_path, monkeypatch)
    async with showing(browser, url) as shown:
        await shown.show(frames)
        await shown.settled()
        drawn = await shown.drawn()
    titles = {
        node["id"]: _HOST if not node["namespace"] and node["kind"] not in {"external", "service"} else node["title"]
        for node in drawn["nodes"]
    }
    found: Truth = Counter()
    for edge in drawn["edges"]:
        found[titles[edge["source"]], titles[edge["target"]], edge["protocol"]] += edge["requests"]
    assert found == wanted


def _of(frames: list[dict[str, Any]], measure: str) -> list[float]:
    one = next(one for one in frames if one["refId"] == measure)
    return list(one["fields"][-1]["values"])
