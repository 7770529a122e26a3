# SPDX-License-Identifier: Apache-2.0
"""What `kubectl firesteel` says where something is not as it should be: pods that are refused, nodes without an agent, a registry that asks
who one is, writers in between, nodes that do not answer."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from deploy.kubectl.kubectl_firesteel import agents
from deploy.kubectl.kubectl_firesteel.kubectl import Kubectl, Refused
from tests.deploy.fake_cluster import Wrong
from tests.deploy.plugged import Plugin, a_plugin, names  # noqa: F401 - fixture
from tests.deploy.served import Ended, Object

_WELL = {
    "driver": {"name": "core"}, "agent": {"version": "0.1.0", "uptime_seconds": 5}, "loss": {"total": 0}, "kubernetes": None, "problems": [],
}  # fmt: skip
_REFUSED = 'is forbidden: violates PodSecurity "baseline:latest": host namespaces'


def well(_pod: Object, _command: Sequence[str]) -> Ended:
    """Of an agent that has nothing to complain about."""
    return 0, json.dumps(_WELL), ""


def answers(plugin: Plugin, *options: str) -> tuple[int, list[tuple[str, str]]]:
    """The exit code of `status`, and of each node what is wrong there."""
    told = plugin("status", "--json", *options)
    return told.returncode, [(answer["node"], answer["fault"]) for answer in json.loads(told.stdout)]


def test_a_node_without_an_agent_has_a_line_that_says_why(plugin: Plugin) -> None:
    plugin.cluster.work = well
    plugin("install")
    assert answers(plugin) == (0, [("a", ""), ("b", "")])
    plugin.cluster.node("left", {"firesteel/profile": "off"})
    off = ("left", "no agent: the label firesteel/profile says off")
    assert answers(plugin) == (0, [("a", ""), ("b", ""), off])
    plugin.cluster.node("chosen", {"firesteel/profile": "kmod"})
    kmod = "no agent: profile kmod is not installed: kubectl firesteel install --profile core --profile kmod"
    assert answers(plugin) == (1, [("a", ""), ("b", ""), ("chosen", kmod), off])
    assert answers(plugin, "--node", "chosen") == (1, [("chosen", kmod)])
    assert answers(plugin, "--node", "left") == (0, [off])
    rows = {line.split()[0]: line for line in plugin("status").stdout.splitlines()}
    assert rows["chosen"].split()[1:7] == ["kmod", "-", "-", "-", "-", "-"]
    assert rows["chosen"].endswith(kmod)
    assert "win" not in rows
    nobody = plugin("status", "--node", "nowhere")
    assert (nobody.returncode, nobody.stdout) == (1, "no agent in namespace firesteel on nowhere; kubectl firesteel install\n")  # fmt: skip


def test_a_node_that_the_daemonset_does_not_choose_is_no_fault(plugin: Plugin) -> None:
    plugin.cluster.work = well
    plugin("install")
    plugin.cluster.node("virtual")
    assert answers(plugin) == (0, [("a", ""), ("b", ""), ("virtual", "no agent: its DaemonSet does not choose this node")])  # fmt: skip


def test_status_says_why_the_agents_pods_were_refused(plugin: Plugin) -> None:
    """To which the end of an installation refers."""
    plugin("install")
    labels = plugin.cluster.store["namespaces", "", "firesteel"]["metadata"]["labels"]
    labels["pod-security.kubernetes.io/enforce"] = "baseline"
    plugin.cluster._control("daemonsets", plugin.cluster.store["daemonsets", "firesteel", "firesteel-core"])
    assert names(plugin.cluster, "pods") == []
    fault = f'no agent: Error creating: pods "firesteel-core-b" {_REFUSED}'
    assert answers(plugin) == (1, [("a", fault), ("b", fault)])
    told = plugin("status").stdout.splitlines()
    # In whole, for a column of the table has not room for it.
    assert told[-1] == f"a, b: {fault}"


def test_a_refusal_is_not_told_of_nodes_that_the_daemonset_leaves_out(plugin: Plugin) -> None:
    """By a nodeSelector of the chart's values, or by its required terms."""
    plugin.cluster.node("chosen", {"pool": "shop"})
    plugin.cluster.node("arm", {"pool": "shop", "kubernetes.io/arch": "arm64"})
    plugin("install")
    daemonset = plugin.cluster.store["daemonsets", "firesteel", "firesteel-core"]
    pod = daemonset["spec"]["template"]["spec"]
    pod["nodeSelector"] = {**pod.get("nodeSelector", {}), "pool": "shop"}
    (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    term["matchExpressions"].append({"key": "kubernetes.io/arch", "operator": "NotIn", "values": ["arm64"]})
    labels = plugin.cluster.store["namespaces", "", "firesteel"]["metadata"]["labels"]
    labels["pod-security.kubernetes.io/enforce"] = "baseline"
    plugin.cluster._control("daemonsets", daemonset)
    left_out = "no agent: its DaemonSet does not choose this node"
    fault = f'no agent: Error creating: pods "firesteel-core-chosen" {_REFUSED}'
    assert answers(plugin) == (1, [("a", left_out), ("arm", left_out), ("b", left_out), ("chosen", fault)])


def test_a_pod_that_no_scheduler_placed_is_its_nodes(plugin: Plugin) -> None:
    plugin.cluster.work = well
    plugin("install")
    pod = plugin.cluster.store["pods", "firesteel", "firesteel-core-b"]
    del pod["spec"]["nodeName"]
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}
    pod["spec"]["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}  # fmt: skip
    why = "0/3 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    pod["status"] = {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": why}]}
    assert answers(plugin) == (1, [("a", ""), ("b", why)])
    assert answers(plugin, "--node", "b") == (1, [("b", why)])


def test_a_check_says_why_no_pod_was_made_and_does_not_wait_for_one(plugin: Plugin) -> None:
    plugin.cluster.put({"metadata": {"name": "careful"}}, "namespaces")
    began = time.monotonic()
    told = plugin("check", "-n", "careful", "--node", "a", "--timeout", "100")
    assert time.monotonic() - began < 50
    row = told.stdout.splitlines()[1]
    assert (told.returncode, row.split()[0]) == (1, "a")
    assert row.endswith(f'-xyz" {_REFUSED}')
    assert names(plugin.cluster, "jobs") == []


def refused_before(plugin: Plugin, space: str, kind: str, name: str) -> None:
    """An event of an object of that name that is gone, which lives for an hour."""
    plugin.cluster._event({"kind": kind, "metadata": {"name": name, "namespace": space, "uid": "gone"}}, "FailedCreate", "of old")  # fmt: skip


def name_of_check(node: str) -> str:
    return f"firesteel-check-{hashlib.sha256(node.encode()).hexdigest()[:12]}"


def test_what_an_earlier_object_of_that_name_was_refused_for_is_over(plugin: Plugin) -> None:
    plugin.cluster.put({"metadata": {"name": "careful"}}, "namespaces")
    refused_before(plugin, "careful", "Job", name_of_check("a"))
    plugin.cluster._job = lambda item: item.update(status={})  # type: ignore[method-assign]
    told = plugin("check", "-n", "careful", "--node", "a", "--timeout", "2")
    assert told.stdout.splitlines()[1].endswith("no pod was made, and no event says why"), told.stdout + told.stderr
    plugin("install", "-n", "careful")
    refused_before(plugin, "careful", "DaemonSet", "firesteel-core")
    del (
        plugin.cluster.store["pods", "careful", "firesteel-core-a"],
        plugin.cluster.store["pods", "careful", "firesteel-core-b"],
    )
    fault = "no agent: its pod is not there yet"
    assert answers(plugin, "-n", "careful") == (1, [("a", fault), ("b", fault)])


def test_a_check_outlives_a_refusal_that_its_controller_gets_over(plugin: Plugin) -> None:
    """An admission webhook that is away for a moment: the Job's controller asks again."""
    cluster = plugin.cluster
    plugin.cluster.work = lambda _pod, _command: (0, json.dumps({"ok": True, "checks": []}), "")
    make, asked = cluster._job, iter(range(4))

    def later(item: Object) -> None:
        cluster._event(item, "FailedCreate", "failed calling webhook")
        item["status"] = {}

    answer = cluster.answer

    def meanwhile(method: str, path: str, query: Mapping[str, str], body: Object | None) -> Object | str:
        if method == "GET" and path.endswith(f"/jobs/{name_of_check('a')}") and next(asked, None) is None:
            make(cluster.store["jobs", "firesteel", name_of_check("a")])
        return answer(method, path, query, body)

    cluster._job = later  # type: ignore[method-assign]
    cluster.answer = meanwhile  # type: ignore[method-assign]
    told = plugin("check", "--node", "a", "--timeout", "60")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "0 to repair" in told.stdout


def test_a_check_asks_every_node_that_would_have_an_agent(plugin: Plugin) -> None:
    """Core runs where the label is none that it knows; a node that has none by its label is in the table all the same."""
    asked: list[str] = []

    def work(pod: Object, _command: Sequence[str]) -> Ended:
        asked.append(pod["spec"]["nodeName"])
        return 0, json.dumps({"ok": True, "checks": []}), ""

    plugin.cluster.work = work
    plugin.cluster.node("left", {"firesteel/profile": "off"})
    plugin.cluster.node("odd", {"firesteel/profile": "croe"})
    told = plugin("check")
    rows = {line.split()[0]: line for line in told.stdout.splitlines() if line}
    assert (told.returncode, asked) == (0, ["a", "b", "odd"])
    assert " core " in rows["odd"]
    assert rows["left"].endswith("  off      -       not asked: the label firesteel/profile says off")


def test_top_without_an_agent_says_so(plugin: Plugin) -> None:
    told = plugin("top")
    assert (told.returncode, told.stdout) == (1, "no agent in namespace firesteel; kubectl firesteel install\n")
    for command in ("top", "status"):
        told = plugin(command, "--json")
        assert (told.returncode, told.stdout) == (1, "[]\n")


def test_images_of_a_registry_that_asks_who_one_is(plugin: Plugin) -> None:
    pods: list[Object] = []

    def work(pod: Object, command: Sequence[str]) -> Ended:
        pods.append(pod)
        return well(pod, command)

    plugin.cluster.work = work
    wanted = [{"name": "first"}, {"name": "second"}]
    options = ("--image-pull-secret", "first", "--image-pull-secret", "second")
    plugin("check", "--node", "a", *options)
    assert [pod["spec"]["imagePullSecrets"] for pod in pods] == [wanted]
    assert plugin("install", "--names", *options).returncode == 0
    for command in ((), ("upgrade", "--yes")):
        assert not command or plugin(*command).returncode == 0
        templates = [item["spec"]["template"]["spec"] for kind in ("daemonsets", "deployments") for item in plugin.cluster.of(kind)]  # fmt: skip
        assert [spec["imagePullSecrets"] for spec in templates] == [wanted, wanted]


def test_what_a_cluster_gave_the_account_to_pull_images_with_stays(plugin: Plugin) -> None:
    """Without it no node could pull the image of the next version."""
    plugin("install")
    account = plugin.cluster.store["serviceaccounts", "firesteel", "firesteel"]
    account["imagePullSecrets"], account["secrets"] = [{"name": "pull"}], [{"name": "builder"}]
    assert plugin("install").returncode == 0
    account = plugin.cluster.store["serviceaccounts", "firesteel", "firesteel"]
    assert (account["imagePullSecrets"], account["secrets"]) == ([{"name": "pull"}], [{"name": "builder"}])


def test_a_status_that_is_written_meanwhile_stops_no_installation(plugin: Plugin) -> None:
    """A controller writes a DaemonSet's with each pod that comes or goes, so what was read is outdated at once."""
    plugin("install")
    cluster = plugin.cluster
    answer, turns = cluster.answer, iter(range(3))

    def meanwhile(method: str, path: str, query: Mapping[str, str], body: Object | None) -> Object | str:
        found = answer(method, path, query, body)
        if method == "GET" and path.endswith("/daemonsets/firesteel-core") and next(turns, None) is not None:
            assert isinstance(found, dict)
            cluster.put(found, "daemonsets")
        return found

    cluster.requests.clear()
    cluster.answer = meanwhile  # type: ignore[method-assign]
    told = plugin("install")
    assert told.returncode == 0, told.stderr
    written = [path for method, path in cluster.requests if method == "PUT" and "/daemonsets/" in path]
    assert len(written) == 4, "three that were outdated, and one"
    assert told.stdout.count("replaced daemonset/firesteel-core") == 1


@pytest.mark.parametrize("plural", ["podmonitors", "securitycontextconstraints", "networkpolicies"])
def test_what_may_not_be_listed_stops_no_installation(plugin: Plugin, plural: str) -> None:
    """By that the rest of an earlier one is found, after all is put; monitors and OpenShift's constraints are not even asked for."""
    cluster = plugin.cluster
    answer, message = cluster.answer, f'{plural} is forbidden: User "ada" cannot list resource'

    def forbidding(method: str, path: str, query: Mapping[str, str], body: Object | None) -> Object | str:
        if method == "GET" and path.endswith(f"/{plural}"):
            raise Wrong(403, "Forbidden", message)
        return answer(method, path, query, body)

    cluster.answer = forbidding  # type: ignore[method-assign]
    told = plugin("install")
    assert told.returncode == 0, told.stderr
    assert "firesteel-core: 2 of 2 ready" in told.stdout.splitlines()
    sentence = f"what an earlier installation left was not looked for: {message}"
    assert (sentence in told.stdout.splitlines()) == (plural == "networkpolicies")
    # It is the first that is asked, so nothing is done by halves.
    before = dict(cluster.store)
    gone = plugin("uninstall")
    assert (gone.returncode, gone.stderr) == (3, f"kubectl firesteel: {message}\n")
    assert cluster.store == before


def test_a_node_that_does_not_answer_is_told_as_its_own_fault(tmp_path: Path) -> None:
    """And not as the end of the whole table."""
    program = tmp_path / "kubectl"
    program.write_text('#!/bin/sh\ncase "$*" in *pod-a*) exec sleep 30 ;; *) echo "{}" ;; esac\n')
    program.chmod(0o755)
    kubectl = Kubectl(program=str(program))
    kubectl.patience = 1.0
    try:
        with pytest.raises(Refused, match="no answer within 1 s: does the kubelet of its node answer"):
            kubectl.execute("firesteel", "pod-a", "agent", "firesteel", "status")
        whom = [agents.Agent(f"pod-{node}", node, "core", "") for node in ("a", "b")]
        told = [(answer.agent.node, answer.fault) for answer in agents.ask(kubectl, "firesteel", whom, "status")]
    finally:
        kubectl.close()
    assert told == [("a", "no answer within 1 s: does the kubelet of its node answer?"), ("b", "")]


def test_virtual_nodes_are_nobodys(plugin: Plugin) -> None:
    """A pod that insists on one waits there for ever."""
    plugin.cluster.work = well
    plugin.cluster.node("fargate", {"eks.amazonaws.com/compute-type": "fargate"})
    plugin.cluster.node("burst", {"type": "virtual-kubelet"})
    assert "firesteel-core: 2 of 2 ready" in plugin("install").stdout
    assert answers(plugin) == (0, [("a", ""), ("b", "")])
    assert {line.split()[0] for line in plugin("check").stdout.splitlines() if line} == {"NODE", "a", "b"}


def test_what_selinux_knows_the_agents_as_stays(plugin: Plugin) -> None:
    """The files for OpenShift and Bottlerocket set it, and this plugin has no word for it; the agents could load nothing without."""
    seen: list[Object] = []

    def work(pod: Object, command: Sequence[str]) -> Ended:
        seen.append(pod["spec"])
        return well(pod, command)

    plugin.cluster.work = work
    plugin("install")
    known_as = {"type": "super_t", "level": "s0"}
    key = ("daemonsets", "firesteel", "firesteel-core")
    plugin.cluster.store[key]["spec"]["template"]["spec"]["securityContext"]["seLinuxOptions"] = known_as
    for command in (("install",), ("upgrade", "--yes")):
        assert plugin(*command).returncode == 0
        security = plugin.cluster.store[key]["spec"]["template"]["spec"]["securityContext"]
        assert security == {"fsGroup": 65532, "seLinuxOptions": known_as}
    seen.clear()
    plugin("check", "--node", "a")
    (pod,) = seen
    assert pod["securityContext"] == {"fsGroup": 65532, "seLinuxOptions": known_as}
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("firesteel", False)
