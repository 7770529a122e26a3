# SPDX-License-Identifier: Apache-2.0
"""Lines of the documents for a cluster, typed as they are written: kubectl firesteel against an API server of our own, Helm's as it renders
them, the certificate of the names service. And the scrape job that the quick start shows takes the agents and nothing else."""

import os
import re
import shlex
import signal
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
import yaml

from collector.schema import Config
from tests.agents import FIRESTEEL, Agent, running_agent
from tests.command_rules import KUBERNETES
from tests.command_runs import Line, of_a_terminal, run_by
from tests.deploy import manifests
from tests.deploy.fake_cluster import FakeCluster, fake_cluster
from tests.deploy.served import Ended, Object
from tests.documents import ROOT, blocks
from tests.servers import free_port, program

pytestmark = pytest.mark.timeout(300)
_HERE: Final = "tests/deploy/test_docs_cluster.py"
PLUGIN: Final = list(run_by(f"{_HERE}::test_the_plugin_as_the_page_has_it"))
HELM: Final = list(run_by(f"{_HERE}::test_helm_renders_it"))
CERTIFICATE: Final = list(run_by(f"{_HERE}::test_the_certificate_of_the_names_service"))
# In the order of somebody's day; the page of the cluster has them so, and others repeat them.
ORDER: Final = (
    "make kubectl-plugin",
    "sudo install build/kubectl/kubectl-firesteel /usr/local/bin/",
    "kubectl firesteel check --image-registry registry.example.com/tools",
    "kubectl firesteel install --image-registry registry.example.com/tools",
    "kubectl firesteel status",
    "kubectl firesteel top",
    "kubectl -n firesteel port-forward ds/firesteel-core 9501",
    "kubectl -n firesteel exec ds/firesteel-core -- firesteel status",
    "kubectl firesteel uninstall",
)
_SECONDS: Final = 160
_META: Final = "__meta_kubernetes_pod_"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("agent"), ["driver=none"]) as running:
        yield running


@pytest.fixture
def cluster(tmp_path: Path, agent: Agent) -> Iterator[FakeCluster]:
    """Two nodes; in their containers is the real program, whose agent listens on the node's own loopback."""

    def work(_pod: Object, command: Sequence[str]) -> Ended:
        words = [word for word in command if word != "firesteel"]
        asked = ["--url", f"http://127.0.0.1:{agent.api_port}"] if words[0] in {"status", "top"} else []
        environment = os.environ | {"FIRESTEEL_LISTEN__METRICS": "off", "FIRESTEEL_LISTEN__API": "off"}
        ended = subprocess.run(
            [*FIRESTEEL, *words, *asked], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        return ended.returncode, ended.stdout, ended.stderr

    with fake_cluster(37, tmp_path, work) as made:
        made.node("a")
        made.node("b")
        made.ports[9501] = agent.api_port
        yield made


def environment_of(folder: Path) -> dict[str, str]:
    """With kubectl's file in `folder`, and programs of its `bin` before others."""
    own = folder / "bin"
    own.mkdir(exist_ok=True)
    found = f"{own}:{Path(program('kubectl')).parent}:{os.environ['PATH']}"
    return {**of_a_terminal(), "PATH": found, "KUBECONFIG": str(folder / "kubeconfig"), "HOME": str(folder),
            "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "true", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "true"}  # fmt: skip


def typed(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """By a shell in the clone; what is for /usr/local/bin goes into the `bin` of `folder`."""
    environment = environment_of(folder)
    ours = line.removeprefix("sudo ").replace("/usr/local/bin/", f"{folder}/bin/")
    return subprocess.run(
        ["bash", "-c", ours], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=_SECONDS
    )


def page_through(line: str, folder: Path) -> bytes:
    """What a browser gets while a line that forwards a port goes on, which Ctrl-C then ends: on another port here than the one that it names."""
    remote, here = line.rsplit(maxsplit=1)[-1], free_port()
    command = ["bash", "-c", f"exec {line.removesuffix(remote)}{here}:{remote}"]
    forwarding = subprocess.Popen(command, cwd=ROOT, env=environment_of(folder), stdout=subprocess.PIPE, text=True)
    assert forwarding.stdout is not None
    try:
        assert forwarding.stdout.readline() == f"Forwarding from 127.0.0.1:{here} -> {remote}\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{here}/", timeout=20) as answer:
            return bytes(answer.read())
    finally:
        forwarding.send_signal(signal.SIGINT)
        forwarding.communicate(timeout=20)


def test_every_line_of_the_plugin_has_its_turn() -> None:
    assert {line.text for line in PLUGIN} == set(ORDER)


def test_the_plugin_as_the_page_has_it(cluster: FakeCluster, agent: Agent, tmp_path: Path) -> None:
    told = {}
    for line in ORDER:
        if "port-forward" in line:
            with urllib.request.urlopen(f"http://127.0.0.1:{agent.api_port}/", timeout=20) as answer:
                assert page_through(line, tmp_path) == answer.read()
            continue
        done = typed(line, tmp_path)
        # What is not as wished is told as 1: what the machine that tests lacks, and of the agent here, that it has no driver.
        assert done.returncode in ({0, 1} if "check" in line else {1} if "status" in line else {0}), (
            done.stdout + done.stderr
        )
        told[line.split()[-1] if "exec" not in line else "exec"] = done.stdout
        if "check" in line:
            rows = {row.split()[0]: row for row in done.stdout.splitlines() if row}
            assert [" core " in rows[node] for node in ("a", "b")] == [True, True]
            assert not cluster.of("daemonsets")
        if line.startswith("kubectl firesteel install"):
            assert "firesteel-core: 2 of 2 ready" in done.stdout
            (image,) = {pod["spec"]["containers"][0]["image"] for pod in cluster.of("pods")}
            assert image == "registry.example.com/tools/firesteel:0.1.0"
    assert [row.split()[:3] for row in told["status"].splitlines()[1:3]] == [
        ["a", "core", "none"],
        ["b", "core", "none"],
    ]
    assert told["top"].split()[:3] == ["NODE", "FROM", "TO"]
    assert "none" in told["exec"]
    assert cluster.of("daemonsets") == cluster.of("pods") == cluster.of("configmaps") == []


@pytest.mark.parametrize("line", HELM, ids=lambda line: line.text[:30])
def test_helm_renders_it(line: Line) -> None:
    """Its objects, where no cluster is: everything of an installation, or what is put beside one."""
    helm = os.environ.get("FIRESTEEL_HELM") or str(ROOT / "build" / "bin" / "helm")
    if not Path(helm).exists():
        pytest.skip("no helm: make helm")
    words = shlex.split(line.text.partition(" | ")[0])
    passed = [word for word in words[2:] if word not in {"--create-namespace", "--reuse-values"}]
    done = subprocess.run(
        [helm, "template", *passed, *KUBERNETES], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    objects = manifests.objects_of(done.stdout)
    kinds = {item["kind"] for item in objects}
    assert {item["metadata"].get("namespace", "firesteel") for item in objects} == {"firesteel"}
    if words[1] != "template":
        (daemonset,) = manifests.of_kind(objects, "DaemonSet")
        assert daemonset["metadata"]["name"] == "firesteel-core"
    if "podMonitor" in line.text:
        watching = [item for item in objects if item["kind"] in {"PodMonitor", "PrometheusRule"}]
        assert [item["metadata"]["labels"]["release"] for item in watching] == ["RELEASE", "RELEASE"]
        assert kinds >= {"PodMonitor", "PrometheusRule", "ConfigMap"}
    if words[1] == "template":
        assert kinds == {"PodMonitor", "PrometheusRule", "ConfigMap"}
        assert {
            item["metadata"]["labels"].get("grafana_dashboard") for item in manifests.of_kind(objects, "ConfigMap")
        } == {"1"}
        (monitor,) = manifests.of_kind(objects, "PodMonitor")
        theirs = manifests.one(manifests.manifest("firesteel"), "DaemonSet", "firesteel-core")
        assert (
            monitor["spec"]["selector"]["matchLabels"].items()
            <= theirs["spec"]["template"]["metadata"]["labels"].items()
        )


def test_side_by_side_with_kindling() -> None:
    """Everything that has the port has the page's, and where no Helm is, the file with that port is the same."""
    helm = os.environ.get("FIRESTEEL_HELM") or str(ROOT / "build" / "bin" / "helm")
    if not Path(helm).exists():
        pytest.skip("no helm: make helm")
    (line,) = run_by(f"{_HERE}::test_side_by_side_with_kindling")
    passed = [word for word in shlex.split(line.text)[2:] if word != "--create-namespace"]

    def rendered(*settings: str) -> list[Object]:
        command = [helm, "template", *passed, *KUBERNETES, *settings]
        return manifests.objects_of(
            subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        )

    def parts(objects: list[Object]) -> tuple[Object, Object, Object]:
        (daemonset,) = manifests.of_kind(objects, "DaemonSet")
        given = manifests.one(objects, "ConfigMap", "firesteel")["data"]["firesteel.yaml"]
        return (
            yaml.safe_load(given),
            daemonset["spec"]["template"]["metadata"]["annotations"],
            manifests.agent_of(daemonset),
        )

    config, notes, container = parts(rendered())
    (page,) = (block for block in blocks(ROOT / "docs/from-kindling.md") if "prefix: trial" in block.text)
    assert {name: config[name] for name in ("listen", "metrics")} == {
        **yaml.safe_load(page.text), "listen": {"metrics": ":9600", "api": "127.0.0.1:9601"},
    }  # fmt: skip
    (port,) = container["ports"]
    assert (port["containerPort"], port["hostPort"], notes["prometheus.io/port"]) == (9600, 9600, "9600")
    assert {container[f"{probe}Probe"]["httpGet"]["port"] for probe in ("liveness", "readiness")} == {port["name"]}
    watched = rendered("--set", "monitoring.serviceMonitor.enabled=true")
    (service,) = manifests.of_kind(watched, "Service")
    assert [one["port"] for one in service["spec"]["ports"]] == [9600]

    file = (manifests.FOLDER / "firesteel.yaml").read_text()
    of_file, notes_of_file, container_of_file = parts(manifests.objects_of(re.sub(r"\b9500\b", "9600", file)))
    assert of_file["listen"] == {"metrics": ":9600"}
    assert notes_of_file["prometheus.io/port"] == notes["prometheus.io/port"]
    assert {**container_of_file, "image": ""} == {**container, "image": ""}
    assert len(re.findall(r"\b9500\b", file)) == 4


def test_the_certificate_of_the_names_service(tmp_path: Path) -> None:
    """openssl makes it, and kubectl the Secret that the manifest of a large cluster asks for."""
    printed: list[Object] = []
    for line in CERTIFICATE:
        words = shlex.split(line.text)
        dry = ["--dry-run=client", "--output", "json"] if words[0] == "kubectl" else []
        done = subprocess.run(
            [program(words[0]), *words[1:], *dry], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        printed += [yaml.safe_load(done.stdout)] if dry else []
    space, secret = printed
    assert (space["kind"], space["metadata"]["name"]) == ("Namespace", "firesteel")
    assert (secret["type"], secret["metadata"]["namespace"]) == ("kubernetes.io/tls", "firesteel")
    assert set(secret["data"]) == {"tls.crt", "tls.key", "ca.crt"}
    assert secret["data"]["ca.crt"] == secret["data"]["tls.crt"]
    deployment = manifests.one(manifests.manifest("firesteel-large-cluster"), "Deployment", "firesteel-names")
    wanted = {
        volume.get("secret", {}).get("secretName") for volume in deployment["spec"]["template"]["spec"]["volumes"]
    }
    assert secret["metadata"]["name"] in wanted
    host = manifests.one(manifests.manifest("firesteel-large-cluster"), "ConfigMap", "firesteel")["data"][
        "firesteel.yaml"
    ]
    (name,) = re.findall(r"subjectAltName=DNS:(\S+)", CERTIFICATE[0].text)
    assert yaml.safe_load(host)["kubernetes"]["names"].partition(":")[0] == name


def job() -> Object:
    (block,) = (block for block in blocks(ROOT / "docs/quick-start-cluster.md") if "scrape_configs" in block.text)
    (found,) = yaml.safe_load(block.text)["scrape_configs"]
    return dict(found)


def targets(file: str) -> Iterator[dict[str, str]]:
    """Labels that Prometheus' discovery of pods gives each port of what a file installs."""
    for item in manifests.manifest(file):
        if item["kind"] in {"DaemonSet", "Deployment"}:
            pod = item["spec"]["template"]
            labels = {
                f"{_META}label_{re.sub('[^a-zA-Z0-9_]', '_', name)}": value
                for name, value in pod["metadata"]["labels"].items()
            }
            for port in pod["spec"]["containers"][0]["ports"]:
                yield {**labels, f"{_META}container_port_name": port["name"], "of": item["metadata"]["name"]}


def test_the_job_scrapes_the_agents_and_no_names_service() -> None:
    kept = [
        target["of"]
        for target in targets("firesteel-large-cluster")
        if all(
            re.fullmatch(rule["regex"], ";".join(target.get(name, "") for name in rule["source_labels"]))
            for rule in job()["relabel_configs"]
        )
    ]
    assert kept == ["firesteel-core"]
    assert {"firesteel-names", "firesteel-core"} == {target["of"] for target in targets("firesteel-large-cluster")}
    assert {rule["action"] for rule in job()["relabel_configs"]} == {"keep"}
    assert job()["honor_labels"] is True
    # Else Prometheus takes a minute, for half of which agents show new counters as 0: whether it sees that is chance.
    interval = yaml.safe_load(str(job()["scrape_interval"]).removesuffix("s"))
    assert interval * 10**9 == Config().metrics.scrape_interval


def test_prometheus_takes_the_job(tmp_path: Path) -> None:
    """The whole block, with the file of rules that it names beside it. Debian's Prometheus is built without Kubernetes: it gets a target."""
    (block,) = (block for block in blocks(ROOT / "docs/quick-start-cluster.md") if "scrape_configs" in block.text)
    text, found = re.subn(r"kubernetes_sd_configs: .*", "static_configs: [{targets: [127.0.0.1:9500]}]", block.text)
    assert found == 1
    (tmp_path / "prometheus.yml").write_text(text)
    (tmp_path / "firesteel-rules.yaml").write_bytes((ROOT / "deploy/prometheus/firesteel-rules.yaml").read_bytes())
    done = subprocess.run(
        [program("promtool"), "check", "config", "prometheus.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 rule files found" in done.stdout
