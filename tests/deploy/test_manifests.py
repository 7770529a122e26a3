# SPDX-License-Identifier: Apache-2.0
"""The committed manifests against what they must say: the table of profiles, the API's schemas, the agent's own rules."""

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from collector.capabilities import PROFILES
from collector.config import Source, load
from collector.metadata.names_stream import PATH as STREAM
from collector.names_service import check
from tests.deploy import manifests
from tests.deploy.manifests import FILES, ROOT, Object
from tests.fake_kube import PATHS as API

# security-and-operations: folders of the node for each profile; True may be written.
MOUNTS = {
    "core": {"/sys/fs/cgroup": False},
    "bcc": {"/sys/fs/cgroup": False, "/lib/modules": False, "/usr/src": False, "/sys/kernel/tracing": False},
    "kmod": {"/sys/fs/cgroup": False, "/var/lib/firesteel/modules": True},
    "none": {"/sys/fs/cgroup": False},
}
# What the API server knows only where somebody installed it.
_OTHERS = {"PodMonitor", "ServiceMonitor", "PrometheusRule", "SecurityContextConstraints"}
_BEFORE = "firesteel-before-1.30"


def daemonsets(name: str) -> list[Object]:
    return manifests.of_kind(manifests.manifest(name), "DaemonSet")


def test_the_list_of_files_is_the_scripts() -> None:
    script = (ROOT / "scripts" / "render-manifests.py").read_text()
    assert re.findall(r'Manifest\(\s*"(firesteel[a-z0-9.-]*)"', script) == sorted(FILES, key=script.index)
    assert len(FILES) == 7


@pytest.mark.parametrize("name", FILES)
def test_capabilities_and_mounts_are_the_tables(name: str) -> None:
    found = daemonsets(name)
    assert found
    for daemonset in found:
        profile = manifests.profile_of(daemonset)
        security = manifests.agent_of(daemonset)["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"], "add": list(PROFILES[profile])}
        assert manifests.host_mounts(daemonset) == MOUNTS[profile]


@pytest.mark.parametrize("name", FILES)
def test_agents_run_as_the_design_says(name: str) -> None:
    for daemonset in daemonsets(name):
        pod, agent = manifests.pod_of(daemonset), manifests.agent_of(daemonset)
        security = dict(agent["securityContext"])
        del security["capabilities"]
        armor = security.pop("appArmorProfile", None)
        note = daemonset["spec"]["template"]["metadata"]["annotations"]
        assert (armor is None) == (name == _BEFORE)
        assert (
            armor == {"type": "Unconfined"}
            or note["container.apparmor.security.beta.kubernetes.io/agent"] == "unconfined"
        )
        assert security == {
            "privileged": False, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsUser": 0,
            "runAsGroup": 0, "runAsNonRoot": False, "seccompProfile": {"type": "Unconfined"},
        }  # fmt: skip
        assert (pod["hostPID"], pod["hostNetwork"], pod["priorityClassName"]) == (True, True, "system-node-critical")
        assert "hostIPC" not in pod
        assert pod["securityContext"]["fsGroup"] == 65532
        assert pod["tolerations"] == [{"operator": "Exists"}]
        assert pod["nodeSelector"]["kubernetes.io/os"] == "linux"
        assert pod["terminationGracePeriodSeconds"] == 10
        assert daemonset["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": "10%"}
        assert next(v["emptyDir"]["medium"] for v in pod["volumes"] if v["name"] == "tmp") == "Memory"
        assert agent["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert agent["readinessProbe"]["httpGet"]["path"] == "/readyz"
        names = {variable["name"]: variable for variable in agent["env"]}
        assert names["NODE_NAME"]["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}
        assert names["POD_UID"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.uid"}}


@pytest.mark.parametrize("name", FILES)
def test_resources_fit_the_agents_own_budget(name: str, tmp_path: Path) -> None:
    objects = manifests.manifest(name)
    config = load(configuration(objects, "firesteel", tmp_path)).config
    for daemonset in manifests.of_kind(objects, "DaemonSet"):
        resources = manifests.agent_of(daemonset)["resources"]
        assert resources["requests"] == {"cpu": "50m", "memory": "128Mi"}
        assert "cpu" not in resources["limits"]
        room = manifests.mebibytes(resources["limits"]["memory"]) - config.budget.memory / (1 << 20)
        assert room >= 64, "the memory of /tmp, and then some"


def configuration(
    objects: list[Object], name: str, folder: Path, environment: tuple[tuple[str, str], ...] = ()
) -> Source:
    file = folder / "firesteel.yaml"
    file.write_text(manifests.one(objects, "ConfigMap", name)["data"]["firesteel.yaml"])
    return Source(file, True, (), environment)


@pytest.mark.parametrize("name", FILES)
def test_the_agent_takes_its_configuration(name: str, tmp_path: Path) -> None:
    objects = manifests.manifest(name)
    for daemonset in manifests.of_kind(objects, "DaemonSet"):
        agent = manifests.agent_of(daemonset)
        ours = tuple(
            (variable["name"], variable["value"])
            for variable in agent["env"]
            if variable["name"].startswith("FIRESTEEL_") and variable["name"] != "FIRESTEEL_CONFIG"
        )
        config = load(configuration(objects, "firesteel", tmp_path, ours)).config
        profile = manifests.profile_of(daemonset)
        assert config.drivers == (("none",) if profile == "none" else (profile, "none"))
        (port,) = agent["ports"]
        assert config.listen.metrics is not None
        assert (config.listen.metrics.port, config.listen.metrics.host) == (port["containerPort"], "")
        assert config.listen.api is not None
        assert config.listen.api.host == "127.0.0.1"


@pytest.mark.parametrize("name", FILES)
def test_the_account_may_do_what_the_agent_asks_and_nothing_else(name: str) -> None:
    objects = manifests.manifest(name)
    (role,) = manifests.of_kind(objects, "ClusterRole")
    allowed = {(group, resource, verb) for rule in role["rules"] for group in rule.get("apiGroups", ())
               for resource in rule["resources"] for verb in rule["verbs"]}  # fmt: skip
    urls = [(rule["nonResourceURLs"], rule["verbs"]) for rule in role["rules"] if "nonResourceURLs" in rule]
    has_names = bool(manifests.of_kind(objects, "Deployment"))
    assert urls == ([([STREAM], ["get"])] if has_names else [])
    asked = set()
    for path in API.values():  # the test server has nothing but what agents ask
        parts = path.split("/")
        group = "" if parts[1] == "api" else parts[2]
        asked |= {(group, parts[-1], "list"), (group, parts[-1], "watch")}
    assert allowed == asked
    bindings = {b["metadata"]["name"]: b for b in manifests.of_kind(objects, "ClusterRoleBinding")}
    names = {"firesteel-names"} if has_names else set()
    assert {subject["name"] for subject in bindings["firesteel"]["subjects"]} == {"firesteel"} | names
    assert bindings.keys() == {"firesteel"} | names
    if has_names:
        assert bindings["firesteel-names"]["roleRef"]["name"] == "system:auth-delegator"
        assert [subject["name"] for subject in bindings["firesteel-names"]["subjects"]] == ["firesteel-names"]
    accounts = {manifests.pod_of(w)["serviceAccountName"] for w, _ in manifests.containers(objects)}
    assert (
        accounts
        == {a["metadata"]["name"] for a in manifests.of_kind(objects, "ServiceAccount")}
        == {"firesteel"} | names
    )


@pytest.mark.parametrize("label", [None, "core", "bcc", "kmod", "none", "off"])
def test_a_node_runs_one_profile_by_its_label(label: str | None) -> None:
    labels = {"kubernetes.io/os": "linux", **({"firesteel/profile": label} if label else {})}
    found = [manifests.profile_of(d) for d in daemonsets("firesteel-all-profiles") if manifests.runs_on(d, labels)]
    assert found == ([] if label == "off" else [label or "core"])
    # Where no kernel is, or each pod's own: a pod there would wait for ever.
    for other in (
        {"kubernetes.io/os": "windows"},
        {"eks.amazonaws.com/compute-type": "fargate"},
        {"type": "virtual-kubelet"},
    ):
        assert not [d for d in daemonsets("firesteel-all-profiles") if manifests.runs_on(d, {**labels, **other})]
    ec2 = {**labels, "eks.amazonaws.com/compute-type": "ec2", "type": "large"}
    assert [manifests.profile_of(d) for d in daemonsets("firesteel-all-profiles") if manifests.runs_on(d, ec2)] == found


@pytest.mark.parametrize("name", FILES)
def test_selectors_select_their_own_and_nothing_else(name: str) -> None:
    objects = manifests.manifest(name)
    workloads = [item for item in objects if item["kind"] in {"DaemonSet", "Deployment"}]
    for one in workloads:
        wanted = one["spec"]["selector"]["matchLabels"].items()
        selected = [w for w in workloads if wanted <= w["spec"]["template"]["metadata"]["labels"].items()]
        assert selected == [one]
    agents = manifests.of_kind(objects, "DaemonSet")
    for monitor in manifests.of_kind(objects, "PodMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        assert [w for w in workloads if wanted <= w["spec"]["template"]["metadata"]["labels"].items()] == agents
        assert [endpoint["honorLabels"] for endpoint in monitor["spec"]["podMetricsEndpoints"]] == [True]


def test_the_names_service_has_no_privileges(tmp_path: Path) -> None:
    objects = manifests.manifest("firesteel-large-cluster")
    deployment = manifests.one(objects, "Deployment", "firesteel-names")
    pod, container = manifests.pod_of(deployment), manifests.agent_of(deployment)
    assert container["args"] == ["names"]
    assert deployment["spec"]["replicas"] == 2
    assert container["securityContext"] == {
        "privileged": False, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 65532)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostPID", "hostNetwork"} & pod.keys()
    service = manifests.one(objects, "Service", "firesteel-names")
    config = load(configuration(objects, "firesteel", tmp_path)).config
    assert config.kubernetes.names == f"firesteel-names.firesteel.svc:{service['spec']['ports'][0]['port']}"
    assert config.kubernetes.names_ca == "/etc/firesteel-names/ca.crt"
    (daemonset,) = manifests.of_kind(objects, "DaemonSet")
    (authority,) = [v["secret"] for v in manifests.pod_of(daemonset)["volumes"] if "secret" in v]
    assert authority == {"secretName": "firesteel-names-tls", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    theirs = load(configuration(objects, "firesteel-names", tmp_path)).config
    assert check(theirs).port == service["spec"]["ports"][0]["port"]
    assert container["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    (secret,) = [v["secret"] for v in pod["volumes"] if v["name"] == mounts[str(Path(theirs.listen.tls.cert).parent)]]
    assert secret == {"secretName": "firesteel-names-tls"}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("version", ["oldest", "newest"])
def test_the_api_knows_every_field(name: str, version: str) -> None:
    """By the API servers' own schemas, in which nothing that they do not know is allowed."""
    if name == _BEFORE:
        number = {"oldest": "1.25", "newest": "1.29"}[version]
    else:
        number = {"oldest": "1.30", "newest": "1.37"}[version]
    kinds = set()
    for item in manifests.manifest(name):
        if item["kind"] not in _OTHERS:
            kubernetes_validate.validate(item, number, strict=True)
            kinds.add(item["kind"])
    assert {"Namespace", "DaemonSet", "ConfigMap", "ClusterRole", "NetworkPolicy", "ResourceQuota"} <= kinds


def test_a_field_that_the_api_does_not_know_is_found() -> None:
    (daemonset,) = daemonsets("firesteel")
    manifests.pod_of(daemonset)["hostPids"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="hostPids"):
        kubernetes_validate.validate(daemonset, "1.37", strict=True)


@pytest.mark.parametrize("name", FILES)
def test_the_namespace_lets_the_pods_in(name: str) -> None:
    namespace = manifests.one(manifests.manifest(name), "Namespace", "firesteel")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"


def test_openshift_constrains_to_the_same_table() -> None:
    objects = manifests.manifest("firesteel-openshift")
    (constraints,) = manifests.of_kind(objects, "SecurityContextConstraints")
    assert constraints["allowedCapabilities"] == list(PROFILES["core"])
    assert (constraints["allowPrivilegedContainer"], constraints["readOnlyRootFilesystem"]) == (False, True)
    assert constraints["users"] == ["system:serviceaccount:firesteel:firesteel"]


def test_the_version_is_the_projects() -> None:
    chart = yaml.safe_load((ROOT / "deploy/helm/firesteel/Chart.yaml").read_text())
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert project is not None
    assert chart["version"] == chart["appVersion"] == project[1]
