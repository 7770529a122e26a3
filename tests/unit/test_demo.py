# SPDX-License-Identifier: Apache-2.0
"""What `make demo` says and chooses before it starts anything; how it runs is tests/kernel/test_demo.py."""

import os
import re
import socket
from pathlib import Path

import pytest
import yaml

from scripts.demo import __main__ as entry
from scripts.demo import grafana, programs
from scripts.demo.monitoring import DASHBOARDS, Ports

ROOT = Path(__file__).resolve().parents[2]
PORTS = Ports(9500, 9501, 9090, 3000)


def test_every_program_of_the_demo_is_installed_by_setup() -> None:
    script = (ROOT / "scripts/setup.sh").read_text()
    table = script.partition("needs_demo='")[2].partition("'")[0]
    rows = dict(re.findall(r"^([a-z0-9-]+):([a-z0-9-]+)$", table, re.MULTILINE))
    # unshare comes with setpriv.
    assert {**rows, "unshare": "util-linux"} == dict(programs.PACKAGES)


def test_without_root_it_says_what_to_type(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("sys.argv", ["demo"])
    assert entry.main() == 3
    assert capsys.readouterr().err.endswith("sudo make demo\n")


def test_a_missing_program_is_named_by_its_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("sys.argv", ["demo"])
    monkeypatch.setattr(entry, "missing", lambda: ["nginx-light", "prometheus"])
    assert entry.main() == 1
    assert capsys.readouterr().err.endswith("apt-get install --no-install-recommends nginx-light prometheus\n")


def test_a_port_that_is_taken_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 9500))
            taken.listen()
        except OSError:
            pass  # somebody else has it: as good
        chosen = Ports.chosen(None)
    assert chosen.metrics > 9500
    assert len({chosen.metrics, chosen.api, chosen.prometheus, chosen.grafana}) == 4
    assert Ports.chosen(22000) == Ports(22000, 22001, 22002, 22003)


def executable(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_grafana_is_its_own_program_else_an_engine_that_answers_else_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_SYSTEM_FOLDERS", "/nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    environment = {"GF_SERVER_HTTP_PORT": "3000"}
    assert grafana.command(tmp_path, environment) == []
    executable(tmp_path / "docker", "exit 1")
    assert grafana.command(tmp_path, environment) == []
    executable(tmp_path / "podman", "exit 0")
    podman = grafana.command(tmp_path, environment)
    assert podman[:2] == [str(tmp_path / "podman"), "run"]
    assert podman[-1] == grafana.IMAGE
    assert {"--rm", "GF_SERVER_HTTP_PORT=3000", f"{tmp_path}:{tmp_path}"} <= set(podman)
    executable(tmp_path / "grafana-server", "exit 0")
    assert str(tmp_path / "grafana-server") in grafana.command(tmp_path, environment)


def test_what_grafana_is_given(tmp_path: Path) -> None:
    environment = grafana.provisioned(tmp_path, PORTS)
    provisioning = Path(environment["GF_PATHS_PROVISIONING"])
    source = yaml.safe_load((provisioning / "datasources" / "firesteel.yaml").read_text())["datasources"][0]
    assert (source["type"], source["url"]) == ("prometheus", "http://127.0.0.1:9090")
    provider = yaml.safe_load((provisioning / "dashboards" / "firesteel.yaml").read_text())["providers"][0]
    copied = {path.name for path in Path(provider["options"]["path"]).glob("*.json")}
    assert copied == {path.name for path in DASHBOARDS.glob("*.json")} != set()
