# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus that scrapes one page twice, each second and every three: jobs `often` and `seldom`; and what it is asked."""

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.receivers import until
from tests.servers import free_port, listens, program

_CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: often
  honor_labels: true
  static_configs: [{{targets: ["127.0.0.1:{port}"], labels: {{}}}}]
- job_name: seldom
  honor_labels: true
  scrape_interval: 3s
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@contextmanager
def prometheus(folder: Path, scraped: int) -> Iterator[str]:
    """URL of one that scrapes that port."""
    port = free_port()
    (folder / "prometheus.yml").write_text(_CONFIG.format(port=scraped))
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=debug",
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        until(lambda: process.poll() is not None or listens(process.pid, "127.0.0.1", port), 30)
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def ask(url: str, expression: str) -> list[dict[str, Any]]:
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=60) as answer:
        return list(json.load(answer)["data"]["result"])


def number(url: str, expression: str) -> float:
    """-1 where there is nothing."""
    found = ask(url, expression)
    return float(found[0]["value"][1]) if found else -1.0


def faults(url: str, page: str, log: str, over: str = "1h", port: int = 0) -> list[str]:
    """What Prometheus holds against the metrics of `page` in that time: counts that fell, samples refused, scrapes missed.

    With a port, of the traffic only what has to do with it may not fall: in a long time what others on the host do may rest for
    longer than a row lives, and its next row begins at 0.
    """
    found: list[str] = []
    for counter in sorted(set(re.findall(r"^# TYPE (\w+) counter$", page, re.MULTILINE))):
        found += _fell(url, counter, over, port)
    for family in sorted(set(re.findall(r"^# TYPE (\w+) histogram$", page, re.MULTILINE))):
        found += _fell(url, f"{family}_count", over, port)
        # Buckets of one row never fall from one to the next.
        if ask(url, f'{family}_bucket{{le="+Inf"}} != ignoring(le) {family}_count'):
            found.append(f"{family}: its last bucket is not its count")
    found += re.findall(r"level=warn.*(?:duplicate|out.of.order|parse|append failed).*", log)
    found += re.findall(r".*(?:Error on ingesting|Duplicate sample|Append failed|Out of order|out of bounds).*", log)
    if (answered := number(url, f"min(avg_over_time(up[{over}]))")) != 1:
        found.append(f"{1 - answered:.2%} of the scrapes of a job failed")
    return found


def _fell(url: str, counter: str, over: str, port: int) -> list[str]:
    """One line, with the labels of the first of its series that did."""
    rows = [row["metric"] for row in ask(url, f"resets({counter}[{over}]) > 0") if _concerns(row["metric"], port)]
    return [f"{counter} fell in {len(rows)} series, as in {json.dumps(rows[0])}"] if rows else []


def _concerns(labels: dict[str, str], port: int) -> bool:
    ports = {labels[name] for name in ("port", "src_port", "dst_port") if name in labels}
    return not port or not ports or str(port) in ports
