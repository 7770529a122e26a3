# SPDX-License-Identifier: Apache-2.0
"""Grafana with our data source, dashboards and panel, by its own program or in a container; nothing where neither is."""

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from scripts.demo.monitoring import DASHBOARDS, PANEL, Ports
from scripts.demo.programs import START_SECONDS, CannotStart, Started, answers, found, start, wait_until

ENGINES: Final = ("docker", "podman", "nerdctl")
IMAGE: Final = "grafana/grafana:11.4.0"
CONTAINER: Final = "firesteel-demo-grafana"
"""First part of the container's name; the port is the second, for there may be two demos."""
_HOME: Final = Path("/usr/share/grafana")
_PLUGIN: Final = "firesteel-topology-panel"
_NOTE: Final = "grafana-container"
"""In the demo's folder: engine and name of the container, for whoever takes it away."""
_ENGINE_SECONDS: Final = 10.0
PULL_SECONDS: Final = 240.0


@dataclass(frozen=True, slots=True)
class Way:
    """How Grafana runs here: `program` is its own, or an engine that has its image."""

    program: str
    is_engine: bool


def way(say: Callable[[str], None]) -> Way | None:
    """None where there is neither. An engine fetches the image now if it lacks it: later, names are the shop's own, and no
    registry is among them. Raises CannotStart with what the engine said if it cannot."""
    if own := found("grafana-server"):
        return Way(own, is_engine=False)
    for name in ENGINES:
        engine = found(name)
        # Its program is often there without the engine.
        if engine and _said([engine, "info"], _ENGINE_SECONDS) is None:
            _fetch(engine, say)
            return Way(engine, is_engine=True)
    return None


def _fetch(engine: str, say: Callable[[str], None]) -> None:
    if _said([engine, "image", "inspect", IMAGE], _ENGINE_SECONDS) is None:
        return
    say(f"fetching {IMAGE} by {Path(engine).name}")
    if fault := _said([engine, "pull", IMAGE], PULL_SECONDS):
        raise CannotStart(f"{Path(engine).name} did not fetch {IMAGE}: {fault}")


def _said(command: Sequence[str], seconds: float) -> str | None:
    """What a command that failed said last; None if it did not fail."""
    try:
        done = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return f"not within {seconds:.0f} s"
    except OSError as error:
        return str(error)
    if not done.returncode:
        return None
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1] if lines else f"it ended with {done.returncode}"


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


def command(chosen: Way, name: str, folder: Path, environment: Mapping[str, str]) -> Sequence[str]:
    """How it is started; `name` is the container's."""
    if not chosen.is_engine:
        words = [f"{variable}={value}" for variable, value in environment.items()]
        home = [f"--homepath={_HOME}"] if _HOME.is_dir() else []
        return ["env", *words, chosen.program, *home]
    options = [word for variable, value in environment.items() for word in ("-e", f"{variable}={value}")]
    mounts = ["-v", f"{folder}:{folder}"]
    return [chosen.program, "run", "--rm", "--name", name, "--network", "host", *options, *mounts, IMAGE]


def grafana(chosen: Way, demo: Path, folder: Path, ports: Ports) -> Started:
    """Grafana, answering. `demo` is for its log and the note; remove(demo) is due whatever becomes of it."""
    name = f"{CONTAINER}-{ports.grafana}"
    words = command(chosen, name, folder, provisioned(folder, ports))
    if chosen.is_engine:
        (demo / _NOTE).write_text(f"{chosen.program}\n{name}")
    started = start("grafana", words, demo)
    try:
        wait_until(lambda: answers(ports.grafana, "/api/health"), started, "answers", START_SECONDS)
    except CannotStart:
        started.stop()
        raise
    return started


def remove(demo: Path) -> None:
    """Takes the container away, if there is one: an engine's own process keeps it when the demo is killed."""
    note = demo / _NOTE
    try:
        engine, name = note.read_text().split("\n")
    except OSError:
        return
    _said([engine, "rm", "--force", name], _ENGINE_SECONDS)
    note.unlink()
