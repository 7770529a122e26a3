# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus scrapes a real agent while connections and paths come and go, twice, at different intervals.

FIRESTEEL_CHURN_SECONDS makes it longer. `make soak` is an hour of the same with pods and a fixed rate.
"""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.agents import running_agent
from tests.pages import promtool_check
from tests.prometheus import faults, number, prometheus
from tests.receivers import until
from tests.servers import nginx, program

SECONDS = float(os.environ.get("FIRESTEEL_CHURN_SECONDS", "12"))


@pytest.mark.timeout(90 + 2 * SECONDS)
def test_prometheus_reads_what_happened_and_nothing_falls(tmp_path: Path) -> None:
    with nginx() as server, running_agent(tmp_path) as agent, prometheus(tmp_path, agent.metrics_port) as url:
        made = 0
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            # A process and a connection for each handful, and paths that are all different.
            paths = [
                f"http://127.0.0.1:{server.port}/{word}{made + index}x"
                for index, word in enumerate(("a/", "b/", "missing"))
            ]
            subprocess.run(
                [program("curl"), "-s", *(part for path in paths for part in ("-o", "/dev/null", path))], check=True
            )
            made += len(paths)
            if made % 30 == 0:
                assert promtool_check(agent.get("/metrics", api=False).decode()) == []
        counted = f'kindling_topology_request_total{{dst_port="{server.port}"'
        until(lambda: number(url, f'sum({counted},job="seldom"}})') >= made, 30)
        time.sleep(4)
        # Kindling's queries, by either scraper: what the workload did, exactly.
        for job in ("often", "seldom"):
            assert number(url, f'sum({counted},job="{job}"}})') == made
            assert number(url, f'sum(kindling_entity_request_total{{port="{server.port}",job="{job}"}})') == made
        assert number(url, f'sum(increase({counted},job="often"}}[1h]))') > 0
        errors = number(url, f'sum(kindling_entity_request_total{{port="{server.port}",is_error="true",job="often"}})')
        assert 0 < errors <= made
        page = agent.get("/metrics", api=False).decode()
        assert faults(url, page, (tmp_path / "prometheus.log").read_text()) == []
