# SPDX-License-Identifier: Apache-2.0
"""Connections that say nothing for longer than the engine remembers them: pools of a database, subscriptions."""

import http.client
import time
from pathlib import Path

from tests import servers
from tests.agents import running_agent

REQUESTS = "kindling_entity_request_total"


def test_a_connection_that_was_let_go_counts_from_its_next_request_on(tmp_path: Path) -> None:
    with running_agent(tmp_path, ["connections.idle=2s"]) as agent, servers.nginx() as server:
        client = http.client.HTTPConnection(server.address, server.port, timeout=10)
        for path, times in (("/", 5), ("/missing", 20)):
            agent.page()
            expired = agent.total("firesteel_engine_stat_total", stat="connections_expired")
            for _ in range(times):
                client.request("GET", path)
                client.getresponse().read()
            labels = {"port": str(server.port), "request_content": path}
            assert agent.counts(REQUESTS, times, **labels) == times
            end = time.monotonic() + 30
            while agent.total("firesteel_engine_stat_total", stat="connections_expired") < expired + 2:
                assert time.monotonic() < end, "neither end was let go"
                time.sleep(0.5)
                agent.page()
        client.close()
        assert agent.total("firesteel_engine_stat_total", stat="connections_unknown") == 0
