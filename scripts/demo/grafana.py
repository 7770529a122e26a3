# SPDX-License-Identifier: Apache-2.0
"""Grafana with our data source, dashboards and panel, by its own program or in a container; nothing where neither is."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import yaml

from scripts.demo.monitoring import DASHBOARDS, PANEL, Ports
from scripts.demo.programs import Started, answers, found, start, wait_until

ENGINES: Final = ("docker", "podman", "nerdctl")
IMAGE: Final = "grafana/grafana:11.4.0"
CONTAINER: Final = "firesteel-demo-grafana"
_HOME: Final = Path("/usr/share/grafana")
_PLUGIN: Final = "firesteel-topology-panel"
_ENGINE_SECONDS: Final = 10.0
PULL_SECONDS: Final = 240.0
"""An engine may have to fetch the image first."""


def provisioned(folder: Path, ports: Ports) -> dict[str, str]:
    """Writes provisioning files, copies dashboards and, if it is built, the panel; returns Grafana's environment.

    The copies are where a container engine can see them as well, and readable by everybody.
    """
    source = {"name": "Prometheus", "type": "prometheus", "access": "proxy", "isDefault": True}
    source["url"] = f"http://127.0.0.1:{ports.prometheus}"
    boards = {
        "name": "firesteel",
        "folder": "Firesteel",
        "type": "file",
        "options": {"path": str(folder / "dashboards")},
    }
    for name, content in (
        ("datasources", {"apiVersion": 1, "datasources": [source]}),
        ("dashboards", {"apiVersion": 1, "providers": [boards]}),
    ):
        (folder / "provisioning" / name).mkdir(parents=True)
        (folder / "provisioning" / name / "firesteel.yaml").write_text(yaml.safe_dump(content))
    shutil.copytree(DASHBOARDS, folder / "dashboards")
    (folder / "plugins").mkdir()
    if (PANEL / "module.js").exists():
        shutil.copytree(PANEL, folder / "plugins" / _PLUGIN)
    (folder / "data").mkdir()
    (folder / "data").chmod(0o777)  # in a container, Grafana is an ordinary user
    return {
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": str(ports.grafana),
        "GF_PATHS_DATA": str(folder / "data"),
        "GF_PATHS_PLUGINS": str(folder / "plugins"),
        "GF_PATHS_PROVISIONING": str(folder / "provisioning"),
        "GF_PLUGINS_ALLOW_LOADING_UNSIGNED_PLUGINS": _PLUGIN,
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Admin",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_USERS_DEFAULT_THEME": "dark",
    }


def command(folder: Path, environment: Mapping[str, str]) -> Sequence[str]:
    """How Grafana is started here; empty if it cannot be."""
    own = found("grafana-server")
    if own:
        words = [f"{name}={value}" for name, value in environment.items()]
        home = [f"--homepath={_HOME}"] if _HOME.is_dir() else []
        return ["env", *words, own, *home]
    for name in ENGINES:
        engine = found(name)
        if engine and _works(engine):
            options = [word for name, value in environment.items() for word in ("-e", f"{name}={value}")]
            mounts = ["-v", f"{folder}:{folder}"]
            return [engine, "run", "--rm", "--name", CONTAINER, "--network", "host", *options, *mounts, IMAGE]
    return []


def _works(engine: str) -> bool:
    """Whether the engine answers: its program is often there without it."""
    try:
        done = subprocess.run([engine, "info"], check=False, capture_output=True, timeout=_ENGINE_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def grafana(logs: Path, folder: Path, ports: Ports) -> Started | None:
    """Grafana, answering; None where there is no way to run it."""
    words = command(folder, provisioned(folder, ports))
    if not words:
        return None
    started = start("grafana", words, logs)
    wait_until(lambda: answers(ports.grafana, "/api/health"), started, "answers", PULL_SECONDS)
    return started
