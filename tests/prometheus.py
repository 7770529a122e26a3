# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus that scrapes one page twice, each second and every three: jobs `often` and `seldom`."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
