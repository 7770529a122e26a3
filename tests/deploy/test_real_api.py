# SPDX-License-Identifier: Apache-2.0
"""A real API server with its controllers: it takes every manifest and every chart, and `kubectl firesteel` works with it.

Its own version is in the middle of those that we support; the schemas of the oldest and the newest are test_manifests' affair.
"""

import json
import os
import re
import shlex
import subprocess
import tarfile
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collector.capabilities import PROFILES
from tests.agents import Agent, running_agent
from tests.cluster.real_api import KUBERNETES
from tests.command_runs import of_a_terminal, run_by
from tests.deploy import manifests
from tests.deploy.definitions import KINDS, definitions
from tests.deploy.manifests import FILES, FOLDER, ROOT
from tests.deploy.plugin import run_plugin, work_on
from tests.deploy.real_cluster import RealCluster, real_cluster
from tests.deploy.served import Object
from tests.servers import program

pytestmark = pytest.mark.timeout(600)
SPACE = "/api/v1/namespaces/firesteel"
DAEMONSETS = "/apis/apps/v1/namespaces/firesteel/daemonsets"
_LONG = 120.0
_HERE = "tests/deploy/test_real_api.py"
HELM_LINES = [line.text for line in run_by(f"{_HERE}::test_helm_as_the_pages_have_it")]
FILE_LINES = [line.text for line in run_by(f"{_HERE}::test_one_file_as_the_pages_have_it")]
_CHARTS = {
    "everything": (
        *(f"profiles.{name}.enabled=true" for name in PROFILES), "names.enabled=true", "monitoring.podMonitor.enabled=true",
        "monitoring.serviceMonitor.enabled=true", "monitoring.prometheusRule.enabled=true", "dashboards.enabled=true",
        "openshift.scc.create=true", "config.listen.metrics_auth=kubernetes",
    ),
    "none of it": (
        "rbac.create=false", "serviceAccount.create=false", "serviceAccount.name=default", "networkPolicy.enabled=false",
        "resourceQuota.create=false", "monitoring.annotations=false",
    ),
    "tls": ("config.listen.tls.cert=/tls/tls.crt", "config.listen.tls.key=/tls/tls.key", "monitoring.podMonitor.enabled=true"),
}  # fmt: skip


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("agent"), ["driver=none"]) as running:
        yield running


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node's / to uninstall, which sees what its container mounts of it."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "usr").mkdir()
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, agent: Agent, state: Path) -> Iterator[RealCluster]:
    running: list[RealCluster] = []
    with real_cluster(
        tmp_path_factory.mktemp("cluster"), work_on(state, [agent], lambda _pod: configuration(running[0]))
    ) as made:
        running.append(made)
        for name in ("a", "b"):
            made.node(name)
        made.node("win", os="windows")
        for definition in definitions():
            made.api.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        until(lambda: kubectl(made, "get", ",".join(sorted(KINDS)), "-A").returncode == 0)
        yield made


def configuration(cluster: RealCluster) -> str:
    """The agents' file."""
    return str(cluster.api.ask("GET", f"{SPACE}/configmaps/firesteel")["data"]["firesteel.yaml"])


def kubectl(cluster: RealCluster, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KUBECONFIG": str(cluster.folder / "kubeconfig"), "HOME": str(cluster.folder)}
    return subprocess.run(
        [program("kubectl"), *arguments], input=text, env=environment, capture_output=True, text=True, check=False, timeout=_LONG
    )  # fmt: skip


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + _LONG
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.fixture
def space(cluster: RealCluster) -> Iterator[RealCluster]:
    """With the namespace, for the dry run of an object needs the one that it is in."""
    named(cluster, "firesteel", "privileged")
    yield cluster
    gone(cluster)


def named(cluster: RealCluster, name: str, level: str) -> None:
    labels = {"pod-security.kubernetes.io/enforce": level, "app.kubernetes.io/name": "firesteel"}
    cluster.api.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})


def gone(cluster: RealCluster, name: str = "firesteel") -> None:
    kubectl(cluster, "delete", "namespace", name, "--ignore-not-found", "--wait=false")
    until(lambda: name not in cluster.names("/api/v1/namespaces"))


def taken(cluster: RealCluster, text: str) -> str:
    """What a server's dry run says of some objects, none of whose fields it does not know."""
    told = kubectl(cluster, "apply", "--dry-run=server", "--validate=strict", "-f", "-", text=text)
    assert told.returncode == 0, told.stderr
    objects = manifests.objects_of(text)
    assert told.stdout.count("(server dry run)") == len(objects)
    return told.stdout


def test_it_takes_every_file(space: RealCluster) -> None:
    kinds = set()
    for name in FILES:
        taken(space, (FOLDER / f"{name}.yaml").read_text())
        kinds |= {item["kind"] for item in manifests.manifest(name)}
    assert kinds >= {"PodMonitor", "SecurityContextConstraints", "Deployment", "PodDisruptionBudget"}


@pytest.mark.parametrize("chart", _CHARTS)
def test_it_takes_the_chart(chart: str, space: RealCluster) -> None:
    told = subprocess.run(
        [_helm(), "template", "firesteel", str(ROOT / "deploy/helm/firesteel"), "--namespace", "firesteel", "--kube-version", KUBERNETES,
         *(part for setting in _CHARTS[chart] for part in ("--set", setting))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    taken(space, told.stdout)
    if chart == "everything":
        assert {item["kind"] for item in manifests.objects_of(told.stdout)} >= KINDS | {"Secret"}


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [("DaemonSet", ("spec", "template", "spec", "hostPids")), ("PodMonitor", ("spec", "podMetricsEndpoint"))],
)
def test_it_does_not_take_a_field_that_is_not_there(kind: str, wrong: tuple[str, ...], space: RealCluster) -> None:
    (item,) = manifests.of_kind(manifests.manifest("firesteel-prometheus-operator"), kind)
    place = item
    for name in wrong[:-1]:
        place = place[name]
    place[wrong[-1]] = True
    told = kubectl(space, "apply", "--dry-run=server", "--validate=strict", "-f", "-", text=json.dumps(item))
    assert told.returncode != 0
    assert f'unknown field "{".".join(wrong)}"' in told.stderr


def test_pod_security_lets_every_profile_into_our_namespace_only(space: RealCluster) -> None:
    named(space, "careful", "baseline")
    daemonsets = manifests.of_kind(manifests.manifest("firesteel-all-profiles"), "DaemonSet")
    for daemonset in daemonsets:
        template = daemonset["spec"]["template"]
        pod = {"metadata": {**template["metadata"], "name": "one"}, "spec": template["spec"]}
        space.api.ask("POST", f"{SPACE}/pods?dryRun=All", pod)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            space.api.ask("POST", "/api/v1/namespaces/careful/pods?dryRun=All", pod)
    gone(space, "careful")


def test_one_file_applied_and_deleted(cluster: RealCluster) -> None:
    """`kubectl apply -f`, the other way to install: agents on both Linux nodes, and after `delete` nothing."""
    before = ours(cluster)
    file = str(FOLDER / "firesteel-all-profiles.yaml")
    assert kubectl(cluster, "apply", "--validate=strict", "-f", file).returncode == 0
    until(lambda: progress(cluster, "firesteel-core") == (2, 2, 2))
    assert [progress(cluster, f"firesteel-{name}") for name in ("bcc", "kmod", "none")] == [(0, 0, 0)] * 3
    assert sorted(pod["spec"]["nodeName"] for pod in cluster.items(f"{SPACE}/pods")) == ["a", "b"]
    assert "unchanged" in kubectl(cluster, "apply", "-f", file).stdout
    assert kubectl(cluster, "delete", "--wait=false", "-f", file).returncode == 0
    until(lambda: ours(cluster) == before)


def test_helm_installs_and_uninstalls(cluster: RealCluster) -> None:
    """As the quick start says it, on a node of another profile, with the names service; its notes name what is there."""
    environment = {**os.environ, "KUBECONFIG": str(cluster.folder / "kubeconfig"), "HOME": str(cluster.folder)}

    def helm(*arguments: str) -> str:
        told = subprocess.run(
            [_helm(), *arguments, "--namespace", "firesteel"], env=environment, capture_output=True, text=True, check=False
        )  # fmt: skip
        assert told.returncode == 0, told.stderr
        return told.stdout

    before = ours(cluster)
    notes = helm("install", "firesteel", str(ROOT / "deploy/helm/firesteel"), "--create-namespace", "--set", "names.enabled=true",
                 "--set", "profiles.core.enabled=false", "--set", "profiles.none.enabled=true")  # fmt: skip
    assert "ds/firesteel-none " in notes
    label = ["label", "namespace", "firesteel", "pod-security.kubernetes.io/enforce=privileged"]
    assert kubectl(cluster, *label).returncode == 0
    assert kubectl(cluster, "label", "node", "a", "firesteel/profile=none").returncode == 0
    until(lambda: progress(cluster, "firesteel-none") == (1, 1, 1))
    # The certificate of the names service stays through an upgrade.
    key = cluster.api.ask("GET", f"{SPACE}/secrets/firesteel-names-tls")["data"]["tls.key"]
    helm(
        "upgrade",
        "firesteel",
        str(ROOT / "deploy/helm/firesteel"),
        "--reuse-values",
        "--set",
        "monitoring.podMonitor.enabled=true",
    )
    assert cluster.api.ask("GET", f"{SPACE}/secrets/firesteel-names-tls")["data"]["tls.key"] == key
    assert {"firesteel", "firesteel-names"} <= {name for kind, name in ours(cluster) if kind == "PodMonitor"}
    helm("uninstall", "firesteel")
    assert kubectl(cluster, "label", "node", "a", "firesteel/profile-").returncode == 0
    gone(cluster)
    until(lambda: ours(cluster) == before)


class Typist:
    """Types lines of the documents in a clone, each named by how it begins, until there is none left."""

    def __init__(self, cluster: RealCluster, lines: list[str]) -> None:
        self.cluster = cluster
        self.left = list(lines)
        self.programs = cluster.folder / "bin"
        self.programs.mkdir(exist_ok=True)
        for name, path in (("helm", _helm()), ("kubectl", program("kubectl"))):
            (self.programs / name).unlink(missing_ok=True)
            (self.programs / name).symlink_to(path)

    def types(self, begins: str, **instead: str) -> str:
        """The one line that begins so, by a shell, with words in capitals replaced as its reader would; what it prints."""
        (line,) = (line for line in self.left if line.startswith(begins))
        self.left.remove(line)
        for word, here in instead.items():
            line = re.sub(rf"\b{word}\b", shlex.quote(here), line)
        # A published Helm knows of itself for which Kubernetes it renders, one that Go built does not.
        line = line.replace("helm template ", f"helm template --kube-version {KUBERNETES} ")
        folder = self.cluster.folder
        environment = {**of_a_terminal(), "PATH": f"{self.programs}:{os.environ['PATH']}", "HOME": str(folder),
                       "KUBECONFIG": str(folder / "kubeconfig")}  # fmt: skip
        told = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line], cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
            timeout=_LONG,
        )  # fmt: skip
        assert told.returncode == 0, f"{line}: {told.stdout}{told.stderr}"
        return told.stdout


def monitors(cluster: RealCluster) -> set[tuple[str, str]]:
    """What the operator and the sidecar of Grafana look for: by kind, the label that they ask for."""
    told = kubectl(cluster, "get", "podmonitors,prometheusrules,configmaps", "-n", "firesteel", "-o", "json").stdout
    labels = {"PodMonitor": "release", "PrometheusRule": "release", "ConfigMap": "grafana_dashboard"}
    found = ((item["kind"], item["metadata"]["labels"].get(labels[item["kind"]], ""))
             for item in json.loads(told)["items"] if "labels" in item["metadata"])  # fmt: skip
    return {(kind, label) for kind, label in found if label}


def test_helm_as_the_pages_have_it(cluster: RealCluster) -> None:
    """Every line of it, in the order of the pages: agents on both Linux nodes, off the one that gets another profile, and nothing at the end."""
    before, page = ours(cluster), Typist(cluster, HELM_LINES)
    assert "STATUS: deployed" in page.types("helm install ")
    page.types("kubectl label namespace ")
    (namespace,) = (item for item in cluster.items("/api/v1/namespaces") if item["metadata"]["name"] == "firesteel")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    until(lambda: progress(cluster, "firesteel-core") == (2, 2, 2))
    assert images(cluster) == {"registry.example.com/tools/firesteel:0.1.0"}
    page.types("kubectl label node ", NODE="b")
    until(lambda: [pod["spec"]["nodeName"] for pod in cluster.items(f"{SPACE}/pods")] == ["a"])
    assert kubectl(cluster, "label", "node", "b", "firesteel/profile-").returncode == 0
    until(lambda: progress(cluster, "firesteel-core") == (2, 2, 2))
    assert monitors(cluster) == set()
    assert "STATUS: deployed" in page.types("helm upgrade ", RELEASE="prom")
    assert monitors(cluster) == {("PodMonitor", "prom"), ("PrometheusRule", "prom"), ("ConfigMap", "1")}
    assert images(cluster) == {"registry.example.com/tools/firesteel:0.1.0"}, "the values of the installation stay"
    page.types("helm uninstall ")
    # It made the namespace and leaves it, which is why the page has one line more.
    assert {("Namespace", "firesteel")} == {
        one for one in ours(cluster) - before if one[0] in {"Namespace", "DaemonSet"}
    }
    page.types("kubectl delete namespace ")
    assert ours(cluster) == before
    assert page.left == []


def test_one_file_as_the_pages_have_it(cluster: RealCluster) -> None:
    """Applied, the operator's objects beside it, and deleted."""
    before, page = ours(cluster), Typist(cluster, FILE_LINES)
    page.types("kubectl apply ")
    until(lambda: progress(cluster, "firesteel-core") == (2, 2, 2))
    assert sorted(pod["spec"]["nodeName"] for pod in cluster.items(f"{SPACE}/pods")) == ["a", "b"]
    assert monitors(cluster) == set()
    page.types("helm template ", RELEASE="prom")
    assert monitors(cluster) == {("PodMonitor", "prom"), ("PrometheusRule", "prom"), ("ConfigMap", "1")}
    page.types("kubectl delete ")
    assert ours(cluster) == before
    assert page.left == []


def images(cluster: RealCluster) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in cluster.items(f"{SPACE}/pods")}


def _helm() -> str:
    helm = os.environ.get("FIRESTEEL_HELM") or str(ROOT / "build" / "bin" / "helm")
    if not Path(helm).exists():
        pytest.skip("no helm: make helm")
    return helm


def progress(cluster: RealCluster, name: str) -> tuple[int, int, int]:
    status = cluster.api.ask("GET", f"{DAEMONSETS}/{name}")["status"]
    return tuple(status.get(key, 0) for key in ("desiredNumberScheduled", "updatedNumberScheduled", "numberReady"))


def ours(cluster: RealCluster) -> set[tuple[str, str]]:
    """Everything that carries our label or is in our namespace, of whatever kind the server has."""
    kinds = kubectl(cluster, "api-resources", "--verbs=list", "-o", "name").stdout.split()
    told = kubectl(
        cluster, "get", ",".join(sorted(set(kinds) - {"events", "events.events.k8s.io"})), "-A", "-o", "json"
    ).stdout
    return {
        (item["kind"], item["metadata"]["name"])
        for item in json.loads(told)["items"]
        if item["metadata"].get("labels", {}).get("app.kubernetes.io/name") == "firesteel"
        or "firesteel" in {item["metadata"].get("namespace"), item["metadata"]["name"]}
    }


def test_the_plugin_installs_looks_upgrades_and_leaves_nothing(cluster: RealCluster, agent: Agent, state: Path) -> None:
    """One life of an installation, in the order in which a user would live it."""
    before = ours(cluster)
    assert before == set()
    cluster.node("old", **{"firesteel/profile": "kmod"})
    (state / "var/lib/firesteel/modules/4.9.0/1").mkdir(parents=True)
    dry_run(cluster)
    check(cluster)
    # At once: the namespace of the check is gone, and not on its way.
    installed = run_plugin(cluster.folder, "install", "--profile", "core", "--profile", "kmod", "--names",
                           "--image-registry", "registry.example.com/x", "--timeout", "100")  # fmt: skip
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert "firesteel-core: 2 of 2 ready" in installed.stdout
    assert "firesteel-names: 2 of 2 ready" in installed.stdout
    looked_at(cluster)
    bundled(cluster)
    upgraded(cluster)
    told = run_plugin(cluster.folder, "uninstall", "--timeout", "100")
    assert told.returncode == 0, told.stdout + told.stderr
    if os.geteuid() == 0:
        assert "old: removed " in told.stdout
        assert not (state / "var/lib/firesteel").exists()
    assert ours(cluster) == before
    again = run_plugin(cluster.folder, "install", "--timeout", "100")
    assert again.returncode == 0, again.stdout + again.stderr
    deleted_meanwhile(cluster)
    told = run_plugin(cluster.folder, "uninstall", "--timeout", "100")
    assert told.returncode == 0, told.stdout + told.stderr
    assert ours(cluster) == before


def deleted_meanwhile(cluster: RealCluster) -> None:
    """A namespace that somebody else is deleting is waited for."""
    assert kubectl(cluster, "delete", "namespace", "firesteel", "--wait=false").returncode == 0
    told = run_plugin(cluster.folder, "install", "--timeout", "100")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "firesteel-core: 2 of 2 ready" in told.stdout


def test_the_plugin_takes_its_own_of_the_whole_cluster_only(cluster: RealCluster) -> None:
    """After the file for OpenShift was applied, beside another release's role and binding."""
    labels = {"app.kubernetes.io/name": "firesteel", "app.kubernetes.io/instance": "shop"}
    group = "rbac.authorization.k8s.io"
    role = {"kind": "ClusterRole", "rules": []}
    binding = {
        "kind": "ClusterRoleBinding", "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "shop-firesteel"},
        "subjects": [{"kind": "ServiceAccount", "name": "firesteel", "namespace": "shop"}],
    }  # fmt: skip
    metadata = {"apiVersion": f"{group}/v1", "metadata": {"name": "shop-firesteel", "labels": labels}}
    theirs = json.dumps({"apiVersion": "v1", "kind": "List", "items": [{**metadata, **role}, {**metadata, **binding}]})
    assert kubectl(cluster, "apply", "-f", "-", text=theirs).returncode == 0
    before = ours(cluster)
    assert before == {("ClusterRole", "shop-firesteel"), ("ClusterRoleBinding", "shop-firesteel")}
    assert kubectl(cluster, "apply", "-f", str(FOLDER / "firesteel-openshift.yaml")).returncode == 0
    made = run_plugin(cluster.folder, "install", "--timeout", "100")
    assert made.returncode == 0, made.stdout + made.stderr
    assert before | {("SecurityContextConstraints", "firesteel-core")} <= ours(cluster)
    told = run_plugin(cluster.folder, "uninstall", "--timeout", "100")
    assert told.returncode == 0, told.stdout + told.stderr
    # The file made it, not the plugin.
    assert "namespace/firesteel stays: it has no mark" in told.stdout
    assert ("Namespace", "firesteel") in ours(cluster)
    assert kubectl(cluster, "delete", "namespace", "firesteel").returncode == 0
    until(lambda: ours(cluster) == before)
    assert kubectl(cluster, "delete", "-f", "-", text=theirs).returncode == 0


def dry_run(cluster: RealCluster) -> None:
    told = run_plugin(cluster.folder, "install", "--dry-run", "--profile", "core", "--profile", "kmod", "--names")
    assert told.returncode == 0, told.stderr
    assert "would create deployment/firesteel-names" in told.stdout
    assert ours(cluster) == set(), "a dry run makes nothing"


def check(cluster: RealCluster) -> None:
    cluster.broken_nodes.add("b")
    told = run_plugin(cluster.folder, "check", "--timeout", "60")
    rows = {line.split()[0]: line for line in told.stdout.splitlines() if line}
    assert re.search(r"6\.1\.0-13-amd64 +Debian GNU/Linux 12 +core +\S.* +\d+ to repair, \d+ to know about", rows["a"])
    assert "ImagePullBackOff: Back-off pulling image" in rows["b"]
    assert " kmod " in rows["old"]
    assert (told.returncode, "win" in rows) == (1, False)
    cluster.broken_nodes.clear()
    assert ours(cluster) == set()


def looked_at(cluster: RealCluster) -> None:
    again = run_plugin(cluster.folder, "install", "--dry-run", "--profile", "core", "--profile", "kmod", "--names")
    assert "would replace daemonset/firesteel-core" in again.stdout, again.stderr
    assert "create" not in again.stdout
    told = run_plugin(cluster.folder, "status")
    lines = told.stdout.splitlines()
    assert [line.split()[:4] for line in lines[1:4]] == [
        ["a", "core", "none", "0.1.0"], ["b", "core", "none", "0.1.0"], ["old", "kmod", "none", "0.1.0"],
    ], told.stdout + told.stderr  # fmt: skip
    assert run_plugin(cluster.folder, "top").stdout.splitlines()[0].split()[:3] == ["NODE", "FROM", "TO"]
    assert run_plugin(cluster.folder, "explain", "10.0.0.1:80", "--node", "b").stdout.startswith(
        "as the agent on b has it:"
    )


def bundled(cluster: RealCluster) -> None:
    """No Secret is in it: the key of the names service's certificate, what somebody wrote into a configuration or a variable."""
    secret = cluster.api.ask("GET", f"{SPACE}/secrets/firesteel-names-tls")["data"]["tls.key"]
    config = cluster.api.ask("GET", f"{SPACE}/configmaps/firesteel")
    config["data"]["firesteel.yaml"] += "export:\n  otlp:\n    headers:\n      x-api: tops3cret\n"
    cluster.api.ask("PUT", f"{SPACE}/configmaps/firesteel", config)
    variable = [{"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": "API_TOKEN", "value": "v4riable"}}]  # fmt: skip
    patch = ["patch", "daemonset", "firesteel-kmod", "-n", "firesteel", "--type=json", "-p", json.dumps(variable)]
    assert kubectl(cluster, *patch).returncode == 0
    until(lambda: has_variable(cluster))
    for pod in cluster.items(f"{SPACE}/pods"):
        cluster.logs["firesteel", pod["metadata"]["name"]] = "kept line\npassword=hunter2\n"
    told = run_plugin(cluster.folder, "bundle", "--output", "out.tar.gz")
    assert told.returncode == 0, told.stderr
    with tarfile.open(cluster.folder / "out.tar.gz") as archive:
        contents = {
            m.name.partition("/")[2]: f.read().decode() for m in archive if (f := archive.extractfile(m)) is not None
        }
    everything = "\n".join(contents.values())
    assert not [word for word in (secret, "tops3cret", "v4riable", "hunter2") if word in everything]
    values = json.loads(contents["agents/old/configuration.json"])["values"]
    assert (values["export.otlp.headers"], values["listen.metrics"]) == ("(blanked)", '":9500"')
    assert '"API_TOKEN"' in contents["pods.json"]
    assert "kept line" in contents["agents/a/log.txt"]
    assert json.loads(contents["agents/old/status.json"])["driver"]["name"] == "none"
    assert '"kind": "Secret"' not in everything


def has_variable(cluster: RealCluster) -> bool:
    """Whether the agent of node `old` runs with it, and the one before it is gone."""
    pods = [pod for pod in cluster.items(f"{SPACE}/pods") if pod["spec"].get("nodeName") == "old"]
    return len(pods) == 1 and pods[0]["status"]["phase"] == "Running" and "v4riable" in json.dumps(pods[0]["spec"])


def upgraded(cluster: RealCluster) -> None:
    """From a version before: every pod is another one afterwards, the configuration is the same, and the answer says what to know."""

    def pods() -> dict[str, Object]:
        return {
            p["metadata"]["uid"]: p
            for p in cluster.items(f"{SPACE}/pods?labelSelector=app.kubernetes.io/component=agent")
        }

    for name in ("core", "kmod"):
        daemonset = cluster.api.ask("GET", f"{DAEMONSETS}/firesteel-{name}")
        daemonset["metadata"]["labels"]["app.kubernetes.io/version"] = "0.0.9"
        cluster.api.ask("PUT", f"{DAEMONSETS}/firesteel-{name}", daemonset)
    before, text = set(pods()), configuration(cluster)
    assert "tops3cret" in text
    told = run_plugin(cluster.folder, "upgrade")
    assert "installed: 0.0.9, 0.1.0; this plugin has 0.1.0" in told.stdout, told.stderr
    assert "nothing was changed" in told.stdout
    assert set(pods()) == before
    done = run_plugin(
        cluster.folder,
        "upgrade",
        "--yes",
        "--tag",
        "0.1.0",
        "--image-registry",
        "registry.example.com/new",
        "--timeout",
        "100",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {pod["spec"]["containers"][0]["image"] for pod in pods().values()} == {
        "registry.example.com/new/firesteel:0.1.0"
    }
    assert not before & set(pods())
    assert configuration(cluster) == text
    assert "firesteel.yaml in configmap/firesteel was changed by somebody and stays" in done.stdout.splitlines()
