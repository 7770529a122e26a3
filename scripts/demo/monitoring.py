# SPDX-License-Identifier: Apache-2.0
"""What looks at the shop: the agent, a Prometheus with our rules, and a Grafana with our dashboards where there is one."""

import json
import shutil
import socket
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from scripts.demo.programs import Started, answers, program, start, wait_until
from scripts.demo.servers import NOBODY, ROOT, unprivileged

RULES: Final = ROOT / "deploy" / "prometheus" / "firesteel-rules.yaml"
DASHBOARDS: Final = ROOT / "grafana-plugin" / "dashboards"
PANEL: Final = ROOT / "grafana-plugin" / "dist"
SCRAPE: Final = "5s"
_USUAL: Final = {"metrics": 9500, "api": 9501, "prometheus": 9090, "grafana": 3000}


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything answers, on 127.0.0.1."""

    metrics: int
    api: int
    prometheus: int
    grafana: int

    @classmethod
    def chosen(cls, first: int | None) -> "Ports":
        """`first` and the three after it; without it the usual ones, or the next that are free."""
        if first is not None:
            return cls(*range(first, first + 4))
        taken: set[int] = set()
        for usual in _USUAL.values():
            taken.add(next(port for port in range(usual, 65536) if port not in taken and _is_free(port)))
        by_name: dict[str, int] = {}
        for name, usual in _USUAL.items():
            by_name[name] = min(port for port in taken - set(by_name.values()) if port >= usual)
        return cls(**by_name)


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def agent(folder: Path, ports: Ports) -> Started:
    """The agent; it counts when this returns. Monitoring is left out of the picture, so that the shop is all of it."""
    settings = {
        "listen.metrics": f"127.0.0.1:{ports.metrics}",
        "listen.api": f"127.0.0.1:{ports.api}",
        "metrics.scrape_interval": SCRAPE,
        "samples.normal": "1.0",
        "scope.exclude_comms": "[prometheus, grafana, grafana-server, demo]",
        "kubernetes.enabled": "false",
        "log.format": "text",
    }
    options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    started = start("agent", [str(Path(sys.executable).parent / "firesteel"), "run", *options], folder)
    wait_until(lambda: _counts(ports.api), started, "counts")
    return started


def status(port: int) -> Any:
    """/api/v1/status of the agent; None while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/status", timeout=5) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None


def _counts(port: int) -> bool:
    told = status(port)
    return told is not None and (told["engine"]["state"] == "running" or told["driver"]["name"] == "none")


def prometheus(folder: Path, ports: Ports) -> Started:
    """Prometheus with our recording rules and alerts; it is ready when this returns."""
    home = folder / "prometheus"
    home.mkdir()
    shutil.chown(home, NOBODY, NOBODY)
    shutil.copy(RULES, home)
    configuration = {
        "global": {"scrape_interval": SCRAPE, "evaluation_interval": "15s"},
        "rule_files": [RULES.name],
        # The labels namespace, pod, node and service are the watched ones', not the agent's.
        "scrape_configs": [
            {
                "job_name": "firesteel",
                "honor_labels": True,
                "static_configs": [{"targets": [f"127.0.0.1:{ports.metrics}"]}],
            }
        ],
    }
    (home / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    command = [*unprivileged(), program("prometheus"), f"--config.file={home}/prometheus.yml"]
    command += [f"--storage.tsdb.path={home}/data", f"--web.listen-address=127.0.0.1:{ports.prometheus}"]
    started = start("prometheus", command, folder)
    wait_until(lambda: answers(ports.prometheus, "/-/ready"), started, "is ready")
    return started
