# SPDX-License-Identifier: Apache-2.0
"""The first process of the demo's process namespace: starts shop, agent and monitoring, tells where to look, and stops all
of it when its standard input ends, which is when whoever started it says so or is gone."""

import argparse
import os
import select
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from scripts.demo import grafana, monitoring, servers
from scripts.demo.monitoring import Ports
from scripts.demo.network import ADDRESSES
from scripts.demo.programs import CannotStart, Started, program, run
from scripts.demo.servers import ROOT

_LOOK_SECONDS = 0.5
_ASK = "topk(10, sum by (src_workload_name, dst_workload_name, dst_domain) (rate(kindling_topology_request_total[1m])))"


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--first-port", type=int)
    options.add_argument("--rate", type=float)
    options.add_argument("--visits", type=int)
    options.add_argument("--no-grafana", action="store_true")
    given = options.parse_args()
    Path("/proc/self/comm").write_text("demo")  # by this name the agent leaves its questions out
    with ExitStack() as stack:
        stack.callback(lambda: _say("stopped: every process and network namespace of the demo is gone"))
        started: list[Started] = []
        stack.callback(_stop, started)
        try:
            _everything(given, started, stack)
            return _watch(started)
        except CannotStart as fault:
            _say(str(fault))
            return 1
        finally:
            _say("stopping")


def _stop(started: Sequence[Started]) -> None:
    for each in reversed(started):
        each.stop()


def _say(text: str) -> None:
    print(f"demo: {text}", flush=True)


def _everything(given: argparse.Namespace, started: list[Started], stack: ExitStack) -> None:
    folder: Path = given.folder
    look, chosen = (None, None) if given.no_grafana else way()
    _resolve_by_own_names(folder)
    ports = Ports.chosen(given.first_port)
    _say("starting the shop: dnsmasq, redis, postgres, payment, shop, nginx")
    started += servers.shop(folder, folder / "bank.pem")
    _say("starting the agent")
    started.append(monitoring.agent(folder, ports))
    _say("starting prometheus")
    started.append(monitoring.prometheus(folder, ports))
    if chosen is not None:
        look = _grafana(chosen, folder, ports, started, stack)
    started.append(servers.browser(folder, given.rate, given.visits))
    _tell(ports, look)


def _resolve_by_own_names(folder: Path) -> None:
    """The shop's processes ask dnsmasq and nobody else. Seen in this mount namespace only."""
    for name, text in (
        ("resolv.conf", f"nameserver {ADDRESSES['names']}\noptions timeout:2 attempts:2\n"),
        ("nsswitch.conf", "hosts: dns\npasswd: files\ngroup: files\n"),
    ):
        (folder / name).write_text(text)
        run(program("mount"), "--bind", str(folder / name), f"/etc/{name}")


def way() -> tuple[str, grafana.Way | None]:
    """What to tell if there is none, and how Grafana can be started."""
    try:
        chosen = grafana.way(_say)
    except CannotStart as fault:
        return f"none: {fault}", None
    return "none: neither grafana-server nor a container engine that answers is here", chosen


def _grafana(chosen: grafana.Way, folder: Path, ports: Ports, started: list[Started], stack: ExitStack) -> str:
    """Starts it; what to tell about it."""
    (ROOT / "build").mkdir(exist_ok=True)
    shared = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=ROOT / "build", prefix="demo-grafana-")))
    shared.chmod(0o755)
    stack.callback(grafana.remove, folder)
    _say(f"starting grafana by {Path(chosen.program).name}")
    try:
        running = grafana.grafana(chosen, folder, shared, ports)
    except CannotStart as fault:
        return f"none: {fault}"
    # Before its folder goes.
    stack.callback(running.stop)
    started.insert(0, running)
    panel = (
        ""
        if (shared / "plugins" / "firesteel-topology-panel").exists()
        else " (make grafana-plugin adds the topology panel)"
    )
    return f"http://127.0.0.1:{ports.grafana}/dashboards{panel}"


def _tell(ports: Ports, look: str | None) -> None:
    told = monitoring.status(ports.api)
    driver = f"driver {told['driver']['name']}: {told['driver']['why']}" if told else "does not answer"
    rows: Sequence[tuple[str, str]] = (
        ("shop", "browser > nginx > shop > redis, postgres, payment > api.bank.example (outside); names by dnsmasq"),
        ("on purpose", "pages that are missing, slow or broken, declined payments, a mail server that refuses"),
        ("agent", driver),
        ("live page", f"http://127.0.0.1:{ports.api}/"),
        ("metrics", f"http://127.0.0.1:{ports.metrics}/metrics"),
        ("Prometheus", f"http://127.0.0.1:{ports.prometheus}/ with the rules of deploy/prometheus"),
        ("  ask it", _ASK),
        ("Grafana", look or "not wanted"),
        ("terminal", f".venv/bin/firesteel top --url http://127.0.0.1:{ports.api}"),
    )
    print()
    for name, text in rows:
        print(f"  {name:<11} {text}")
    print("\nThe agent shows the demo's processes only. Ctrl-C stops all of it.\n", flush=True)


def _watch(started: Sequence[Started]) -> int:
    """Until standard input ends. Raises CannotStart when something ends by itself."""
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], _LOOK_SECONDS)
        if ready and not os.read(sys.stdin.fileno(), 1):
            return 0
        for each in started:
            if (code := each.process.poll()) is not None:
                raise CannotStart(f"{each.name} ended with {code}: {each.tail()}")


if __name__ == "__main__":
    sys.exit(main())
