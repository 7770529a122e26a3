# SPDX-License-Identifier: Apache-2.0
"""`make demo` as a user starts and interrupts it: what it shows is exactly what its shop does, and it leaves nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts.demo import services
from scripts.demo.programs import PACKAGES, found
from tests.processes import children
from tests.servers import MissingProgram, free_port

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60.0
VISITS = len(services.VISITS)


def until(what: Callable[[], bool], saying: Callable[[], str], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, saying()
        time.sleep(0.25)


def four_ports() -> int:
    for _ in range(50):
        first = free_port()
        if all(_is_free(port) for port in range(first, first + 4)):
            return first
    raise OSError("no four free ports in a row")


def _is_free(port: int) -> bool:
    hexadecimal = f":{port:04X}"
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return not any(row.split()[1].endswith(hexadecimal) and row.split()[3] == "0A" for row in rows)


_GRAFANA = """#!{python}
import http.server, os, pathlib
provisioning = pathlib.Path(os.environ["GF_PATHS_PROVISIONING"])
assert (provisioning / "datasources" / "firesteel.yaml").exists()
assert list(provisioning.parent.glob("dashboards/*.json"))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{{}}")
http.server.HTTPServer(("127.0.0.1", int(os.environ["GF_SERVER_HTTP_PORT"])), Handler).serve_forever()
"""
"""What stands for a Grafana on machines that have none: it wants what a real one is given, and answers."""
_ENGINE = """#!/bin/bash
echo "$@" >>{folder}/asked
case "$1 $2" in
"image inspect") exec test -e {folder}/image ;;
"pull "*) cat /etc/resolv.conf >{folder}/resolved; touch {folder}/image ;;
"run --rm")
    while [ $# -gt 1 ]; do
        [ "$1" != -e ] || export "$2"
        shift
    done
    touch {folder}/container
    exec {folder}/a-grafana
    ;;
"rm --force") rm {folder}/container ;;
esac
"""
"""What stands for a container engine: what it runs has a container until that is removed, whatever ended it."""
_ENGINES = ("docker", "podman", "nerdctl")


def put(place: Path, text: str) -> None:
    place.write_text(text)
    place.chmod(0o755)


def grafana_alone(folder: Path) -> None:
    put(folder / "grafana-server", _GRAFANA.format(python=sys.executable))


def engine_alone(folder: Path) -> None:
    put(folder / "a-grafana", _GRAFANA.format(python=sys.executable))
    put(folder / "docker", _ENGINE.format(folder=folder))


def no_grafana(folder: Path) -> None:
    """Programs of engines that do not answer."""
    for name in _ENGINES:
        put(folder / name, "#!/bin/sh\nexit 1\n")


@contextmanager
def demo(
    folder: Path, *arguments: str, here: Callable[[Path], None] = grafana_alone
) -> Iterator[tuple[subprocess.Popen[bytes], int, Path]]:
    """(process, first port, log). Stopped at the end if the test did not. `here` puts programs into a folder of PATH."""
    if here is not grafana_alone and found("grafana-server"):
        pytest.skip("a Grafana of its own is here: the demo takes that")
    for name, package in PACKAGES.items():
        if found(name) is None:
            raise MissingProgram(package)
    log, first = folder / "demo.log", four_ports()
    command = [sys.executable, "-m", "scripts.demo", "--first-port", str(first), *arguments]
    here(folder)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield process, first, log
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(SECONDS)


def get(port: int, path: str) -> Any:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None


Edge = tuple[str, str, str]


def edges(port: int) -> dict[Edge, tuple[int, int]]:
    """(source, destination, protocol) by title: requests, and those that failed, or attempts to connect."""
    told = get(port, "/api/v1/topology")
    titles = {node["id"]: node["title"] for node in told["nodes"]}
    return {
        (titles[edge["source"]], titles[edge["destination"]], edge["protocol"]): (
            edge["total"]["requests"],
            edge["total"]["errors"] + sum(edge["tcp"]["connect_failures"].values()),
        )
        for edge in told["edges"]
    }


def expected() -> dict[Edge, tuple[int, int]]:
    """What VISITS cause, by what Shop does for each."""
    visits = Counter(path.split("/")[1] for path in services.VISITS)
    payments, lists = visits["checkout"], visits["products"]
    declined, fresh = payments // services.DECLINED_EVERY, lists // services.FRESH_EVERY
    failed = declined + visits["search"] + visits["newsletter"]
    queries = fresh + (payments - declined) + visits["report"] + visits["search"]
    return {
        ("browser", "dnsmasq", "dns"): (VISITS, 0),
        ("browser", "nginx", "http"): (VISITS, failed + visits["missing"]),
        ("nginx", "shop", "http"): (VISITS - visits[""] - visits["missing"], failed),
        ("shop", "redis-server", "redis"): (lists + fresh + visits["cart"], 0),
        ("shop", "postgres", "postgresql"): (queries, visits["search"]),
        ("shop", "dnsmasq", "dns"): (payments + visits["newsletter"], 0),
        ("shop", "payment", "http"): (payments, declined),
        ("shop", services.MAIL, "NOSUPPORT"): (0, visits["newsletter"]),
        ("payment", "dnsmasq", "dns"): (payments, 0),
        # A handshake, and the exchange that it is for.
        ("payment", services.BANK, "tls"): (2 * payments, 0),
    }


def descendants(pid: int) -> set[int]:
    found = set(children(pid))
    return found.union(*(descendants(child) for child in found))


def alive(pids: set[int]) -> list[str]:
    return [path.read_text().strip() for pid in sorted(pids) if (path := Path(f"/proc/{pid}/comm")).exists()]


def left_behind() -> set[str]:
    """Folders, names of network namespaces and mounts that a demo could leave."""
    shared = {str(path) for path in (ROOT / "build").glob("demo-grafana-*")}
    mounts = {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if "firesteel-demo" in line}
    spaces = {
        f"netns {path.name}" for path in Path("/run/netns").glob("*") if path.name in {"street", "internet", "www"}
    }
    return mounts | spaces | shared | {str(path) for path in Path("/tmp").glob("firesteel-demo-*")}


def ask(port: int, expression: str) -> list[Any]:
    told = get(port, "/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
    return list(told["data"]["result"]) if told else []


def test_the_demo_shows_exactly_what_its_shop_does_and_leaves_nothing(tmp_path: Path) -> None:
    before = left_behind()
    with demo(tmp_path, "--visits", str(VISITS), "--rate", "10") as (process, first, log):
        metrics, api, prometheus = first, first + 1, first + 2
        until(lambda: process.poll() is not None or "Ctrl-C" in log.read_text(), log.read_text)
        until(lambda: edges(api) == expected(), lambda: f"{edges(api)}\n\n{expected()}")
        assert get(api, "/api/v1/status")["loss"]["total"] == 0
        # Not this test, and nothing else of this machine.
        names = {node["title"] for node in get(api, "/api/v1/topology")["nodes"]}
        assert names == {end for edge in expected() for end in edge[:2]}
        asked = 'sum(kindling_topology_request_total{src_workload_name="browser",dst_workload_name="nginx"})'
        until(
            lambda: bool(found := ask(prometheus, asked)) and float(found[0]["value"][1]) == VISITS,
            lambda: str(ask(prometheus, asked)),
        )
        outside = ask(prometheus, 'kindling_topology_request_total{dst_namespace="NOT_FOUND_EXTERNAL"}')
        assert {row["metric"]["dst_domain"] for row in outside} == {services.BANK, services.MAIL}
        groups = get(prometheus, "/api/v1/rules")["data"]["groups"]
        assert {group["name"] for group in groups} >= {"firesteel-recording", "firesteel-alerts"}
        assert f"http://127.0.0.1:{metrics}/metrics" in log.read_text()
        assert f"http://127.0.0.1:{first + 3}/dashboards" in log.read_text()
        assert get(first + 3, "/api/health") == {}
        started = descendants(process.pid)
        assert {"nginx", "redis-server", "postgres", "dnsmasq", "shop", "bank", "firesteel", "prometheus"} <= set(
            alive(started)
        )
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all in the foreground
        assert process.wait(SECONDS) == 0, log.read_text()
        assert log.read_text().endswith("every process and network namespace of the demo is gone\n")
    assert alive(started) == []
    assert left_behind() == before
    assert all(_is_free(port) for port in range(first, first + 4))


def started_up(process: subprocess.Popen[bytes], log: Path) -> str:
    """What it said once everything runs."""
    until(lambda: process.poll() is not None or "Ctrl-C" in log.read_text(), log.read_text)
    assert process.poll() is None, log.read_text()
    return log.read_text()


def test_a_container_engine_fetches_grafana_before_names_are_the_shops(tmp_path: Path) -> None:
    before = left_behind()
    with demo(tmp_path, "--visits", "1", here=engine_alone) as (process, first, log):
        text = started_up(process, log)
        name = f"firesteel-demo-grafana-{first + 3}"
        assert text.index("demo: fetching grafana/grafana:") < text.index("demo: starting the shop")
        assert f"  Grafana     http://127.0.0.1:{first + 3}/dashboards" in text
        assert get(first + 3, "/api/health") == {}
        asked = (tmp_path / "asked").read_text().splitlines()
        assert [" ".join(line.split()[:4]) for line in asked] == [
            "info", "image inspect grafana/grafana:11.4.0", "pull grafana/grafana:11.4.0", f"run --rm --name {name}",
        ]  # fmt: skip
        assert (tmp_path / "resolved").read_text() == Path("/etc/resolv.conf").read_text()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(SECONDS) == 0, log.read_text()
    assert (tmp_path / "asked").read_text().splitlines()[4:] == [f"rm --force {name}"]
    assert not (tmp_path / "container").exists()
    assert left_behind() == before
    assert _is_free(first + 3)


def test_a_container_goes_with_the_part_that_started_it(tmp_path: Path) -> None:
    """The first process of the demo's process namespace is killed, and everything in it by the kernel: not the container."""
    before = left_behind()
    with demo(tmp_path, "--visits", "1", here=engine_alone) as (process, _, log):
        started_up(process, log)
        assert (tmp_path / "container").exists()
        (unshare,) = [pid for pid, name in children(process.pid).items() if name == "unshare"]
        (node,) = children(unshare)
        os.kill(node, signal.SIGKILL)
        assert process.wait(SECONDS) != 0
    assert not (tmp_path / "container").exists()
    for folder in left_behind() - before:  # what nobody is there to remove
        shutil.rmtree(folder)


def test_without_any_grafana_the_demo_says_so(tmp_path: Path) -> None:
    with demo(tmp_path, "--visits", "1", here=no_grafana) as (process, _, log):
        text = started_up(process, log)
        assert "  Grafana     none: neither grafana-server nor a container engine that answers is here\n" in text
        assert "http://127.0.0.1" in text
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(SECONDS) == 0, log.read_text()


def test_a_demo_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    before = left_behind()
    with demo(tmp_path, "--visits", "1", "--no-grafana") as (process, _, log):
        until(lambda: process.poll() is not None or "Ctrl-C" in log.read_text(), log.read_text)
        started = descendants(process.pid)
        assert "nginx" in alive(started)
        process.kill()
        process.wait()
        until(lambda: alive(started) == [], lambda: str(alive(started)))
    # Its folder was in memory: where that was, an empty one stays.
    for folder in left_behind() - before:
        Path(folder).rmdir()
    assert left_behind() == before
