# SPDX-License-Identifier: Apache-2.0
"""What `make demo` says and chooses before it starts anything; how it runs is tests/kernel/test_demo.py."""

import argparse
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from scripts.demo import __main__ as entry
from scripts.demo import grafana, network, node, programs, servers
from scripts.demo.monitoring import DASHBOARDS, Ports
from tests.receivers import until
from tests.servers import free_port

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


ENGINE = """echo "$@" >>{log}
case "$1 $2" in
"image inspect") test -e {image} || {{ echo "no such image" >&2; exit 1; }} ;;
"pull {name}") {pull} ;;
esac
"""
"""What stands for a container engine: it writes down what it is asked, and knows whether it has the image."""


def engine(path: Path, *, pull: str = "") -> Path:
    """Its log. `pull` is what it does to fetch the image; without it, it has that."""
    image, log = path.parent / "image", path.parent / f"{path.name}.asked"
    if not pull:
        image.touch()
    executable(path, ENGINE.format(log=log, image=image, name=grafana.IMAGE, pull=pull or "exit 1"))
    return log


@pytest.fixture
def programs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are looked for."""
    monkeypatch.setattr(programs, "_SYSTEM_FOLDERS", "/nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_grafana_is_its_own_program_else_an_engine_that_answers_else_nothing(programs_in: Path) -> None:
    said: list[str] = []
    environment = {"GF_SERVER_HTTP_PORT": "3000"}
    assert grafana.way(said.append) is None
    executable(programs_in / "docker", "exit 1")
    assert grafana.way(said.append) is None
    asked = engine(programs_in / "podman")
    chosen = grafana.way(said.append)
    assert chosen == grafana.Way(str(programs_in / "podman"), is_engine=True)
    assert asked.read_text().splitlines() == ["info", f"image inspect {grafana.IMAGE}"]
    podman = grafana.command(chosen, "a-name", programs_in, environment)
    assert podman == [
        str(programs_in / "podman"), "run", "--rm", "--name", "a-name", "--network", "host", "-e",
        "GF_SERVER_HTTP_PORT=3000", "-v", f"{programs_in}:{programs_in}", grafana.IMAGE,
    ]  # fmt: skip
    executable(programs_in / "grafana-server", "exit 0")
    own = grafana.way(said.append)
    assert own == grafana.Way(str(programs_in / "grafana-server"), is_engine=False)
    assert grafana.command(own, "a-name", programs_in, environment)[:3] == [
        "env", "GF_SERVER_HTTP_PORT=3000", str(programs_in / "grafana-server"),
    ]  # fmt: skip
    assert said == []


def test_an_engine_fetches_the_image_that_it_lacks(programs_in: Path) -> None:
    said: list[str] = []
    asked = engine(programs_in / "docker", pull=f": >{programs_in}/image")
    assert grafana.way(said.append) == grafana.Way(str(programs_in / "docker"), is_engine=True)
    assert asked.read_text().splitlines() == ["info", f"image inspect {grafana.IMAGE}", f"pull {grafana.IMAGE}"]
    assert said == [f"fetching {grafana.IMAGE} by docker"]


def test_why_an_engine_fetches_nothing_is_told(programs_in: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine(programs_in / "nerdctl", pull="echo Trying; echo no route to the registry >&2; exit 125")
    look, chosen = node.way()
    assert chosen is None
    assert look == f"none: nerdctl did not fetch {grafana.IMAGE}: no route to the registry"
    assert capsys.readouterr().out == f"demo: fetching {grafana.IMAGE} by nerdctl\n"
    (programs_in / "nerdctl").unlink()
    assert node.way() == ("none: neither grafana-server nor a container engine that answers is here", None)


def test_a_container_is_taken_away_by_its_name(programs_in: Path) -> None:
    """Also one that never answered: nothing else ends what an engine's own process keeps."""
    asked = engine(programs_in / "docker")
    chosen = grafana.way(print)
    assert chosen is not None
    logs, shared = programs_in / "logs", programs_in / "shared"
    logs.mkdir()
    shared.mkdir()
    port = free_port()
    with pytest.raises(programs.CannotStart, match="grafana ended with 0"):
        grafana.grafana(chosen, logs, shared, replace(PORTS, grafana=port))
    name = f"firesteel-demo-grafana-{port}"
    assert asked.read_text().splitlines()[2].startswith(f"run --rm --name {name} --network host -e ")
    for _ in range(2):
        grafana.remove(logs)
        assert asked.read_text().splitlines()[3:] == [f"rm --force {name}"]


def test_what_grafana_is_given(tmp_path: Path) -> None:
    environment = grafana.provisioned(tmp_path, PORTS)
    provisioning = Path(environment["GF_PATHS_PROVISIONING"])
    source = yaml.safe_load((provisioning / "datasources" / "firesteel.yaml").read_text())["datasources"][0]
    assert (source["type"], source["url"]) == ("prometheus", "http://127.0.0.1:9090")
    provider = yaml.safe_load((provisioning / "dashboards" / "firesteel.yaml").read_text())["providers"][0]
    copied = {path.name for path in Path(provider["options"]["path"]).glob("*.json")}
    assert copied == {path.name for path in DASHBOARDS.glob("*.json")} != set()


@pytest.fixture
def _as_root(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("sys.argv", ["demo"])
    monkeypatch.setattr(entry, "missing", list)
    before = {number: signal.signal(number, signal.default_int_handler) for number in entry.ENDS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pressed() -> None:
    """Ctrl-C, seen by Python at once."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)


@pytest.mark.usefixtures("_as_root")
def test_what_was_laid_out_goes_though_ctrl_c_is_pressed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []

    def run(_given: argparse.Namespace, stack: ExitStack) -> int:
        stack.callback(gone.append, "folder")
        stack.callback(pressed)
        pressed()
        return 0

    monkeypatch.setattr(entry, "_run", run)
    assert (entry.main(), gone) == (130, ["folder"])


@pytest.mark.usefixtures("_as_root")
def test_the_node_is_told_once_and_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A node that says what it does: it stops when its standard input ends, and takes its time."""
    node_like = tmp_path / "unshare"
    node_like.write_text('#!/bin/sh\necho began >"$0.told"\ncat\nsleep 1\necho stopped >>"$0.told"\n')
    node_like.chmod(0o755)
    told = tmp_path / "unshare.told"
    monkeypatch.setattr(entry, "program", lambda _name: str(node_like))
    monkeypatch.setattr(entry, "_folder", lambda: nullcontext(tmp_path))
    monkeypatch.setattr(entry, "_out_of_unit", lambda _stack: nullcontext())
    monkeypatch.setattr(network, "lay_out", lambda: None)
    monkeypatch.setattr(grafana, "remove", lambda _folder: None)
    monkeypatch.setattr(servers, "bank", lambda _folder: SimpleNamespace(stop=pressed))

    def impatient() -> None:
        until(told.exists)
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)

    thread = threading.Thread(target=impatient)
    thread.start()
    assert entry.main() == 0
    thread.join()
    assert told.read_text() == "began\nstopped\n"
