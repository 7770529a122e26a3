# SPDX-License-Identifier: Apache-2.0
"""What `kubectl firesteel` does with what is there already: a namespace on its way out, a changed configuration, another release."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import pytest

from tests.agents import Agent
from tests.deploy.fake_cluster import FakeCluster, Key
from tests.deploy.plugged import Plugin, a_plugin, an_agent, names  # noqa: F401 - fixtures
from tests.deploy.served import Ended, Object

_SPACE: Key = ("namespaces", "", "firesteel")
_FILE = "firesteel.yaml"
_STAYS = "firesteel.yaml in configmap/firesteel was changed by somebody and stays"


def test_check_install_uninstall_and_install_at_once(plugin: Plugin) -> None:
    """As the quick start types them: each finds nothing of the one before that is still on its way out."""
    before = set(plugin.cluster.store)
    checked = plugin("check", "--node", "a")
    assert checked.stdout.splitlines()[-1] == "deleted namespace/firesteel", checked.stderr
    assert set(plugin.cluster.store) == before
    for _ in range(2):
        made = plugin("install")
        assert made.returncode == 0, made.stderr
        assert "waiting" not in made.stdout
        gone = plugin("uninstall")
        assert gone.returncode == 0, gone.stdout + gone.stderr
        assert set(plugin.cluster.store) == before


def delete_until_it_is_seen(cluster: FakeCluster) -> None:
    """The namespace: it is on its way out until somebody looks at it, however late that is, and gone when that one looks again."""
    space, answer = "/api/v1/namespaces/firesteel", cluster.answer
    cluster.end_seconds = 3600
    answer("DELETE", space, {}, None)
    cluster.end_seconds = 0

    def seen(method: str, path: str, query: Mapping[str, str], body: Object | None) -> Object | str:
        found = answer(method, path, query, body)
        if (method, path) == ("GET", space) and "firesteel" in cluster.ends:
            cluster.ends["firesteel"] = 0
        return found

    cluster.answer = seen  # type: ignore[method-assign]


@pytest.mark.parametrize("command", ["install", "check"])
def test_a_namespace_that_is_being_deleted_is_waited_for(plugin: Plugin, command: str) -> None:
    plugin("install")
    delete_until_it_is_seen(plugin.cluster)
    uid = plugin.cluster.store[_SPACE]["metadata"]["uid"]
    told = plugin(command)
    assert told.stdout.splitlines()[0] == "waiting until namespace/firesteel is gone, which is being deleted"
    if command == "install":
        assert told.returncode == 0, told.stderr
        assert "created namespace/firesteel" in told.stdout
        assert plugin.cluster.store[_SPACE]["metadata"]["uid"] != uid
        assert names(plugin.cluster, "pods") == ["firesteel-core-a", "firesteel-core-b"]
    else:
        assert "a     6.1.0-13-amd64" in told.stdout, told.stderr
        assert _SPACE not in plugin.cluster.store


def test_a_check_as_json_says_nothing_else(plugin: Plugin) -> None:
    plugin("install")
    plugin.cluster.answer("DELETE", "/api/v1/namespaces/firesteel", {}, None)
    (told,) = json.loads(plugin("check", "--node", "a", "--json").stdout)
    assert told["node"] == "a"


def test_a_namespace_that_does_not_go_is_told(plugin: Plugin) -> None:
    plugin("install")
    plugin.cluster.end_seconds = 3600
    told = plugin("uninstall", "--timeout", "1")
    sentence = "does not go: kubectl get namespace firesteel -o yaml says why"
    assert (told.returncode, told.stdout.splitlines()[-1]) == (1, f"namespace/firesteel {sentence}")
    # A second time it is not asked for what is happening already.
    told = plugin("uninstall", "--timeout", "1")
    assert (told.returncode, told.stdout.splitlines()[-1]) == (1, f"namespace/firesteel {sentence}")
    told = plugin("install", "--timeout", "1")
    assert told.returncode == 3
    assert told.stderr == f"kubectl firesteel: namespace firesteel is being deleted and {sentence}\n"


def config_of(plugin: Plugin) -> Object:
    return plugin.cluster.store["configmaps", "firesteel", "firesteel"]


def test_a_changed_configuration_stays(plugin: Plugin, agent: Agent) -> None:
    plugin("install")
    config_of(plugin)["data"][_FILE] += "metrics:\n  detail: pod\n"
    config_of(plugin)["data"]["other"] = "x"
    data = dict(config_of(plugin)["data"])
    dry = plugin("upgrade")
    assert _STAYS in dry.stdout.splitlines(), dry.stdout + dry.stderr
    for command in (["install"], ["upgrade", "--yes"], ["install"]):
        told = plugin(*command)
        assert told.returncode == 0, told.stderr
        assert _STAYS in told.stdout.splitlines()
        assert config_of(plugin)["data"] == data
    told = plugin("install", "--names")
    lacks = "names: firesteel-names.firesteel.svc:9502, names_ca: /etc/firesteel-names/ca.crt"
    assert f"{_STAYS}; it has not, of what this version writes: {lacks}" in told.stdout.splitlines()
    assert config_of(plugin)["data"] == data


def test_a_configuration_that_nobody_changed_becomes_ours(plugin: Plugin) -> None:
    """That of a version before, and one that `kubectl apply` put there, which has no annotation of ours."""
    plugin("install")
    ours = config_of(plugin)["data"][_FILE]
    older = "listen:\n  metrics: :9501\n"
    config_of(plugin)["data"][_FILE] = older
    written = hashlib.sha256(older.encode()).hexdigest()
    config_of(plugin)["metadata"]["annotations"]["firesteel/written-sha256"] = written
    assert "stays" not in plugin("install").stdout
    assert config_of(plugin)["data"][_FILE] == ours
    del config_of(plugin)["metadata"]["annotations"]
    assert "stays" not in plugin("install", "--names").stdout
    assert "names: firesteel-names.firesteel.svc:9502" in config_of(plugin)["data"][_FILE]


def other_release(plugin: Plugin) -> set[Key]:
    """What a release in the namespace shop has for the whole cluster; one of its roles has the same instance as ours."""

    def put(plural: str, name: str, instance: str, **rest: object) -> Key:
        labels = {"app.kubernetes.io/name": "firesteel", "app.kubernetes.io/instance": instance,
                  "app.kubernetes.io/managed-by": "kubectl"}  # fmt: skip
        plugin.cluster.put({"metadata": {"name": name, "labels": labels}, **rest}, plural)
        return plural, "", name

    subjects = [{"kind": "ServiceAccount", "name": "firesteel", "namespace": "shop"}]
    return {
        put("clusterroles", "shop-firesteel", "shop", rules=[]),
        put("clusterrolebindings", "shop-firesteel", "shop", roleRef={"name": "shop-firesteel"}, subjects=subjects),
        put("clusterroles", "firesteel-extra", "firesteel", rules=[]),
        put("clusterrolebindings", "extra", "firesteel", roleRef={"name": "firesteel-extra"}, subjects=subjects),
        put("securitycontextconstraints", "shop-core", "firesteel", users=["system:serviceaccount:shop:firesteel"]),
    }


def constraints(plugin: Plugin) -> Key:
    """As firesteel-openshift.yaml has them for ours."""
    labels = {"app.kubernetes.io/name": "firesteel", "app.kubernetes.io/instance": "firesteel",
              "app.kubernetes.io/managed-by": "kubectl"}  # fmt: skip
    item = {"metadata": {"name": "firesteel-core", "labels": labels}, "users": ["system:serviceaccount:firesteel:firesteel"]}  # fmt: skip
    plugin.cluster.put(item, "securitycontextconstraints")
    return "securitycontextconstraints", "", "firesteel-core"


def test_what_is_for_the_whole_cluster_goes_with_its_own_installation_only(plugin: Plugin) -> None:
    before = set(plugin.cluster.store)
    theirs, ours = other_release(plugin), constraints(plugin)
    assert plugin("install", "--names").returncode == 0
    again = plugin("install")
    assert "deleted firesteel-names" in again.stdout
    assert {ours, *theirs} <= set(plugin.cluster.store), "an installation takes nothing of that away"
    binding = plugin.cluster.store["clusterrolebindings", "", "firesteel"]
    binding["subjects"].append({"kind": "User", "name": "ada", "apiGroup": "rbac.authorization.k8s.io"})
    told = plugin("uninstall")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "deleted securitycontextconstraints/firesteel-core" in told.stdout
    assert set(plugin.cluster.store) == before | theirs


def test_a_second_installation_beside_another_is_refused(plugin: Plugin) -> None:
    """It would take the other's rights away. What a namespace that is gone left behind is nobody's."""
    assert plugin("install", "-n", "watch").returncode == 0
    before = dict(plugin.cluster.store)
    for more in ((), ("--dry-run",)):
        told = plugin("install", *more)
        assert told.returncode != 0
        assert "installed in namespace watch" in told.stderr
        assert "kubectl firesteel uninstall -n watch" in told.stderr
    assert plugin.cluster.store == before
    for key in [key for key in plugin.cluster.store if key[0] in {"daemonsets", "deployments"}]:
        del plugin.cluster.store[key]
    assert plugin("install").returncode == 0
    (binding,) = plugin.cluster.of("clusterrolebindings")
    assert {subject["namespace"] for subject in binding["subjects"]} == {"firesteel"}


def test_a_namespace_of_somebody_elses_stays_with_all_that_is_in_it(plugin: Plugin) -> None:
    """It gets what lets our pods in, not our name, by which an uninstallation takes a namespace away."""
    cluster = plugin.cluster
    cluster.put({"metadata": {"name": "tools", "labels": {"team": "platform"}}}, "namespaces")
    cluster.put({"metadata": {"name": "theirs", "namespace": "tools"}, "data": {}}, "configmaps")
    before = set(cluster.store)
    made = plugin("install", "-n", "tools")
    assert made.returncode == 0, made.stderr
    assert "namespace/tools was there before, so uninstall will leave it" in made.stdout.splitlines()
    assert names(cluster, "pods") == ["firesteel-core-a", "firesteel-core-b"]
    levels = {f"pod-security.kubernetes.io/{mode}": "privileged" for mode in ("enforce", "audit", "warn")}
    assert cluster.store["namespaces", "", "tools"]["metadata"]["labels"] == {"team": "platform", **levels}
    assert "would delete /api/v1/namespaces/tools\n" not in plugin("uninstall", "-n", "tools", "--dry-run").stdout
    told = plugin("uninstall", "-n", "tools")
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.splitlines()[-1] == ("namespace/tools stays: it was not made for Firesteel")
    assert set(cluster.store) == before


def test_a_namespace_of_ours_with_pods_of_others_stays(plugin: Plugin) -> None:
    plugin("install")
    pod = {"metadata": {"name": "theirs", "namespace": "firesteel", "labels": {"app": "shop"}}, "spec": {}}
    plugin.cluster.put(pod, "pods")
    told = plugin("uninstall")
    assert told.returncode == 0, told.stdout + told.stderr
    sentence = "it has pods of others (theirs)"
    assert told.stdout.splitlines()[-1] == f"namespace/firesteel stays: {sentence}"
    assert names(plugin.cluster, "pods") == ["theirs"]
    assert names(plugin.cluster, "daemonsets") == names(plugin.cluster, "clusterroles") == []


def test_uninstall_takes_monitors_and_rules_that_install_leaves(plugin: Plugin) -> None:
    """As the quick start puts them beside what this plugin installs, into a namespace that stays."""
    plugin.cluster.put({"metadata": {"name": "tools"}}, "namespaces")
    before = set(plugin.cluster.store)
    for manager in ("Helm", "kubectl"):
        labels = {"app.kubernetes.io/name": "firesteel", "app.kubernetes.io/instance": "firesteel", "app.kubernetes.io/managed-by": manager}  # fmt: skip
        for plural in ("podmonitors", "servicemonitors", "prometheusrules"):
            metadata = {"name": f"firesteel-{manager.lower()}", "namespace": "tools", "labels": labels}
            plugin.cluster.put({"metadata": metadata}, plural)
    theirs = set(plugin.cluster.store) - before
    made = plugin("install", "-n", "tools")
    assert made.returncode == 0, made.stderr
    assert theirs <= set(plugin.cluster.store)
    told = plugin("uninstall", "-n", "tools")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "deleted podmonitors/firesteel-helm" in told.stdout.splitlines()
    assert set(plugin.cluster.store) == before


def seen(plugin: Plugin) -> list[Object]:
    """Pods that a Job of the plugin made. What runs in them says that it removed something."""
    pods: list[Object] = []

    def work(pod: Object, command: Sequence[str]) -> Ended:
        assert command[0] == "uninstall"
        pods.append(pod)
        return 0, "removed /node/var/lib/firesteel\n", ""

    plugin.cluster.work = work
    return pods


def test_the_job_on_a_node_may_do_there_what_its_agent_could(plugin: Plugin) -> None:
    """Pull from the same registry, be let in by OpenShift, and write where SELinux enforces."""
    plugin.cluster.node("old", {"firesteel/profile": "kmod"})
    plugin("install", "--profile", "core", "--profile", "kmod", "--image-registry", "registry.example.com/x")
    agent = plugin.cluster.store["daemonsets", "firesteel", "firesteel-kmod"]["spec"]["template"]["spec"]
    agent["imagePullSecrets"] = [{"name": "pull"}]
    agent["securityContext"]["seLinuxOptions"] = {"type": "spc_t"}
    pods = seen(plugin)
    told = plugin("uninstall")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "old: removed /node/var/lib/firesteel" in told.stdout.splitlines()
    (spec,) = (pod["spec"] for pod in pods)
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("firesteel", False)
    assert spec["securityContext"] == {"seLinuxOptions": {"type": "spc_t"}}
    assert [container["image"] for container in spec["containers"]] == ["registry.example.com/x/firesteel:0.1.0"]


def test_a_node_that_was_not_cleaned_is_told_and_cleaned_by_another_call(plugin: Plugin) -> None:
    plugin.cluster.node("old", {"firesteel/profile": "kmod"})
    plugin.cluster.end_seconds = 0.5
    before = set(plugin.cluster.store)
    plugin("install", "--profile", "core", "--profile", "kmod")
    plugin.cluster.broken_nodes.add("old")
    told = plugin("uninstall", "--timeout", "2")
    assert told.returncode == 1
    lines = told.stdout.splitlines()
    assert "old: ImagePullBackOff: Back-off pulling image" in lines
    assert lines[lines.index("old: ImagePullBackOff: Back-off pulling image") + 1] == (
        "old is not clean: there, as root, rmmod firesteel and rm -r /var/lib/firesteel/modules; "
        "or once more kubectl firesteel uninstall, with --image-registry"
    )
    assert _SPACE not in plugin.cluster.store
    plugin.cluster.broken_nodes.clear()
    pods = seen(plugin)
    told = plugin("uninstall", "--image-registry", "registry.example.com/x", "--timeout", "20")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "old: removed /node/var/lib/firesteel" in told.stdout.splitlines()
    (image,) = (container["image"] for pod in pods for container in pod["spec"]["containers"])
    assert image == "registry.example.com/x/firesteel:0.1.0"
    assert set(plugin.cluster.store) == before


def test_uninstall_of_a_wrong_namespace_is_refused_where_the_agents_are_elsewhere(plugin: Plugin) -> None:
    """It would unload the module under them, on every node that they watch."""
    plugin.cluster.node("old", {"firesteel/profile": "kmod"})
    pods = seen(plugin)
    assert plugin("install", "-n", "watch", "--profile", "core", "--profile", "kmod").returncode == 0
    before = dict(plugin.cluster.store)
    for more in ((), ("--every-node",), ("--dry-run",)):
        told = plugin("uninstall", "-n", "wacht", *more)
        assert (told.returncode, told.stdout) == (3, "")
        assert told.stderr == (
            "kubectl firesteel: no agents are in namespace wacht, but in namespace watch: kubectl firesteel uninstall -n watch\n"
        )
    assert (plugin.cluster.store, pods) == (before, [])


def test_uninstall_of_one_of_two_installations_leaves_the_nodes_to_the_other(plugin: Plugin) -> None:
    plugin.cluster.node("old", {"firesteel/profile": "kmod"})
    pods = seen(plugin)
    plugin("install", "--profile", "core", "--profile", "kmod")
    plugin.cluster.put({"metadata": {"name": "watch"}}, "namespaces")
    theirs = {**plugin.cluster.store["daemonsets", "firesteel", "firesteel-kmod"]}
    theirs["metadata"] = {"name": "firesteel-kmod", "namespace": "watch", "labels": theirs["metadata"]["labels"]}
    plugin.cluster.put(theirs, "daemonsets")
    told = plugin("uninstall")
    assert told.returncode == 0, told.stdout + told.stderr
    sentence = "no node is cleaned, as agents are in namespace watch: kubectl firesteel uninstall -n watch"
    assert (told.stdout.splitlines()[0], pods) == (sentence, [])
    assert [key[1] for key in plugin.cluster.store if key[0] == "daemonsets"] == ["watch"]


def test_a_namespace_that_the_plugin_did_not_make_stays(plugin: Plugin) -> None:
    """`kubectl apply -f` of our file gives its name to one that was there before, and an earlier version left no mark."""
    cluster = plugin.cluster
    labels = {"app.kubernetes.io/name": "firesteel", "pod-security.kubernetes.io/enforce": "privileged"}
    cluster.put({"metadata": {"name": "firesteel", "labels": labels}}, "namespaces")
    cluster.put({"metadata": {"name": "theirs", "namespace": "firesteel"}, "data": {}}, "configmaps")
    before = set(cluster.store)
    assert plugin("install").returncode == 0
    assert "would delete /api/v1/namespaces/firesteel\n" not in plugin("uninstall", "--dry-run").stdout
    told = plugin("uninstall")
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.splitlines()[-1] == (
        "namespace/firesteel stays: it has no mark that kubectl firesteel made it; kubectl delete namespace firesteel takes it, with all that is in it"
    )
    assert set(cluster.store) == before


def test_a_namespace_that_install_made_goes_after_another_install(plugin: Plugin) -> None:
    for _ in range(2):
        assert plugin("install").returncode == 0
    assert plugin.cluster.store[_SPACE]["metadata"]["annotations"] == {"firesteel/made-by": "kubectl-firesteel"}
    assert plugin("uninstall").returncode == 0
    assert _SPACE not in plugin.cluster.store


def test_the_level_of_pod_security_that_a_namespace_had_comes_back(plugin: Plugin) -> None:
    cluster, prefix = plugin.cluster, "pod-security.kubernetes.io/"
    had = {"team": "platform", f"{prefix}enforce": "baseline", f"{prefix}warn": "restricted"}
    cluster.put({"metadata": {"name": "tools", "labels": had, "annotations": {"owner": "ada"}}}, "namespaces")
    changes = "enforce baseline -> privileged, audit unset -> privileged, warn restricted -> privileged"
    told = f"namespace/tools: {prefix}{changes}; uninstall puts that back"
    assert told in plugin("install", "-n", "tools", "--dry-run").stdout.splitlines()
    assert told in plugin("install", "-n", "tools").stdout.splitlines()
    metadata = cluster.store["namespaces", "", "tools"]["metadata"]
    metadata["labels"][f"{prefix}warn"] = "baseline"
    again = plugin("install", "-n", "tools").stdout.splitlines()
    assert f"namespace/tools: {prefix}warn baseline -> privileged; uninstall puts that back" in again
    metadata = cluster.store["namespaces", "", "tools"]["metadata"]
    # Set since then, so whoever did it wants it.
    del metadata["labels"][f"{prefix}audit"]
    back = f"namespace/tools: {prefix}enforce privileged -> baseline, warn privileged -> baseline"
    dry = plugin("uninstall", "-n", "tools", "--dry-run").stdout.splitlines()
    assert f"would put back {back}" in dry
    gone = plugin("uninstall", "-n", "tools")
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert f"put back {back}" in gone.stdout.splitlines()
    metadata = cluster.store["namespaces", "", "tools"]["metadata"]
    levels = {f"{prefix}enforce": "baseline", f"{prefix}warn": "baseline"}
    assert (metadata["labels"], metadata["annotations"]) == ({"team": "platform", **levels}, {"owner": "ada"})


def test_the_level_stays_for_another_call_where_a_node_was_not_cleaned(plugin: Plugin) -> None:
    cluster, level = plugin.cluster, "pod-security.kubernetes.io/enforce"
    cluster.node("old", {"firesteel/profile": "kmod"})
    cluster.put({"metadata": {"name": "tools", "labels": {level: "baseline"}}}, "namespaces")
    seen(plugin)
    plugin("install", "-n", "tools", "--profile", "core", "--profile", "kmod")
    cluster.broken_nodes.add("old")
    assert plugin("uninstall", "-n", "tools", "--timeout", "2").returncode == 1
    cluster.broken_nodes.clear()
    told = plugin("uninstall", "-n", "tools")
    assert told.returncode == 0, told.stdout + told.stderr
    assert cluster.store["namespaces", "", "tools"]["metadata"]["labels"] == {level: "baseline"}
