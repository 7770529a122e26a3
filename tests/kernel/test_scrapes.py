# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus scrapes a real agent twice, at different intervals, and has in the end what the workload did: requests, errors,
bytes, connections and time, held against what server, client and kernel say themselves.

FIRESTEEL_CHURN_SECONDS makes it longer. `make soak` is an hour of the same with pods and a fixed rate.
"""

import errno
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.agents import running_agent
from tests.namespaces import pair
from tests.pages import promtool_check
from tests.prometheus import ask, faults, number, prometheus
from tests.raw_http import access_log, total
from tests.receivers import until
from tests.servers import Server, free_port, nginx, program

SECONDS = float(os.environ.get("FIRESTEEL_CHURN_SECONDS", "12"))
JOBS = ("often", "seldom")
REFUSED = 5


@dataclass
class Client:
    """What the clients did: `runs` of curl, each a process and a connection of its own, and how long curl says it all took."""

    server: Server
    runs: int = 0
    times: list[float] = field(default_factory=list)

    def ask(self) -> None:
        """One that is found, and two paths that are all different and not."""
        base = f"http://127.0.0.1:{self.server.port}"
        urls = [f"{base}/{path}" for path in ("", f"a/{self.runs}x", f"missing{self.runs}x")]
        parts = [part for url in urls for part in ("-o", "/dev/null", url)]
        command = [program("curl"), "-s", "-w", "%{time_total}\n", *parts]
        self.times += map(float, subprocess.run(command, check=True, capture_output=True, timeout=20).stdout.split())
        self.runs += 1


@pytest.mark.timeout(120 + 2 * SECONDS)
def test_prometheus_reads_what_happened_and_nothing_falls(tmp_path: Path) -> None:
    with (
        nginx(access_log=True) as server,
        running_agent(tmp_path) as agent,
        prometheus(tmp_path, agent.metrics_port) as url,
    ):
        client, closed = Client(server), free_port()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            client.ask()
            if client.runs % 10 == 0:
                assert promtool_check(agent.get("/metrics", api=False).decode()) == []
        for _ in range(REFUSED):
            refused = subprocess.run([program("curl"), "-s", f"http://127.0.0.1:{closed}/"], check=False, timeout=20)
            assert refused.returncode == 7, "curl: failed to connect"
        made, errors = len(client.times), 2 * client.runs
        served = access_log(server.folder)
        assert {status: figures.requests for status, figures in served.items()} == {"200": client.runs, "404": errors}
        sizes = [total(served).request_bytes, total(served).response_bytes]
        counted = f'kindling_topology_request_total{{dst_port="{server.port}"'
        until(lambda: number(url, f'sum({counted},job="seldom"}})') >= made, 30)
        time.sleep(4)
        # Kindling's queries, by either scraper: what the workload did, exactly.
        for job in JOBS:
            edge, entity = f'dst_port="{server.port}",job="{job}"', f'port="{server.port}",job="{job}"'
            told = {
                metric: number(url, f"sum(kindling_{metric})")
                for metric in (
                    f"topology_request_total{{{edge}}}",
                    f'topology_request_total{{{edge},is_error="true"}}',
                    f'topology_request_total{{{edge},status_code="404"}}',
                    f"topology_request_request_bytes_total{{{edge}}}",
                    f"topology_request_response_bytes_total{{{edge}}}",
                    f"entity_request_total{{{entity}}}",
                    f'entity_request_total{{{entity},is_error="true"}}',
                    f"entity_request_receive_bytes_total{{{entity}}}",
                    f"entity_request_send_bytes_total{{{entity}}}",
                    f"entity_request_duration_seconds_count{{{entity}}}",
                    f'tcp_connect_total{{{edge},success="true"}}',
                    f'tcp_connect_total{{dst_port="{closed}",job="{job}",success="false",errno="{errno.ECONNREFUSED}"}}',
                )
            }
            requests = [made, errors, errors, *sizes, made, errors, *sizes, made]
            assert list(told.values()) == [*requests, client.runs, REFUSED], told
            # The server's part of the time lies within the client's, and that within what curl measured around it.
            within = number(url, f"sum(kindling_entity_request_duration_nanoseconds_total{{{entity}}})")
            around = number(url, f"sum(kindling_topology_request_duration_nanoseconds_total{{{edge}}})")
            assert 0 < within <= around <= 1e9 * sum(client.times)
            seconds = number(url, f"sum(kindling_entity_request_duration_seconds_sum{{{entity}}})")
            assert seconds == pytest.approx(within / 1e9)
        # It took the format that it stores nothing of beside the series themselves.
        assert ask(url, '{__name__=~".+_created"}') == []
        # What Prometheus adds at both ends of the time is no more than a scrape's worth.
        assert 0.5 * made < number(url, f'sum(increase({counted},job="often"}}[1h]))') < 1.5 * made
        page = agent.get("/metrics", api=False).decode()
        assert faults(url, page, (tmp_path / "prometheus.log").read_text()) == []


_CONNECT = """
import json, socket, sys
results = []
for _ in range(int(sys.argv[3])):
    with socket.socket() as trial:
        results.append(trial.connect_ex((sys.argv[1], int(sys.argv[2]))))
print(json.dumps(results))
"""


def test_prometheus_reads_of_tcp_what_the_kernel_counted(tmp_path: Path) -> None:
    closed, filtered = 7001, 7002
    with pair() as (here, there), running_agent(tmp_path) as agent, prometheus(tmp_path, agent.metrics_port) as url:
        here.set("ipv4/tcp_syn_retries", 1)
        there.drop("-p", "tcp", "--dport", str(filtered))
        assert here.python(_CONNECT, there.ipv4, closed, 25) == [errno.ECONNREFUSED] * 25
        assert here.python(_CONNECT, there.ipv4, filtered, 2) == [errno.ETIMEDOUT] * 2
        edge = f'src_ip="{here.ipv4}",dst_ip="{there.ipv4}"'
        until(lambda: number(url, f'sum(kindling_tcp_connect_total{{{edge},job="seldom"}})') >= 27, 30)
        time.sleep(4)
        for job in JOBS:
            refused = f'{edge},job="{job}",dst_port="{closed}",errno="{errno.ECONNREFUSED}"'
            timed_out = f'{edge},job="{job}",dst_port="{filtered}",errno="{errno.ETIMEDOUT}"'
            assert number(url, f"sum(kindling_tcp_connect_total{{{refused}}})") == 25
            assert number(url, f"sum(kindling_tcp_connect_total{{{timed_out}}})") == 2
            again = here.tcp()["RetransSegs"]
            assert number(url, f'sum(kindling_tcp_retransmit_total{{{edge},job="{job}"}})') == again > 0
            resets = f'kindling_tcp_reset_total{{src_ip="{here.ipv4}",direction="received",job="{job}"}}'
            assert number(url, f"sum({resets})") == there.tcp()["OutRsts"] == 25
            dropped = f'kindling_tcp_packet_loss_total{{dst_ip="{here.ipv4}",job="{job}"}}'
            assert number(url, f"sum({dropped})") == there.dropped() == 2 + again
