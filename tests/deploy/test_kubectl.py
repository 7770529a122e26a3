# SPDX-License-Identifier: Apache-2.0
"""`kubectl firesteel` as a user runs it: the real kubectl, a cluster that refuses what a real one refuses, the real firesteel inside."""

import ast
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.kubectl.kubectl_firesteel import views
from tests.agents import ROOT, Agent
from tests.deploy.plugged import Plugin, a_plugin, an_agent, names  # noqa: F401 - fixtures
from tests.deploy.plugin import PLUGIN
from tests.deploy.served import Ended, Object
from tests.servers import program


@pytest.mark.parametrize("plugin", [25, 37], indirect=True)
def test_install_and_uninstall_leave_nothing(plugin: Plugin) -> None:
    before = set(plugin.cluster.store)
    made = plugin("install", "--image-registry", "registry.example.com/x")
    assert made.returncode == 0, made.stderr
    assert "firesteel-core: 2 of 2 ready" in made.stdout
    assert names(plugin.cluster, "pods") == ["firesteel-core-a", "firesteel-core-b"]
    (daemonset,) = plugin.cluster.of("daemonsets")
    assert daemonset["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example.com/x/firesteel:0.1.0"
    again = plugin("install", "--image-registry", "registry.example.com/x")
    assert again.returncode == 0, again.stderr
    assert "created" not in again.stdout
    gone = plugin("uninstall")
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert set(plugin.cluster.store) == before


def test_a_dry_run_asks_the_server_and_changes_nothing(plugin: Plugin) -> None:
    for _ in range(2):
        told = plugin("install", "--dry-run", "--profile", "core", "--profile", "kmod", "--names")
        assert told.returncode == 0, told.stderr
        assert "would create daemonset/firesteel-kmod" in told.stdout
        assert "would create deployment/firesteel-names" in told.stdout
        assert "would create secret/firesteel-names-tls" in told.stdout
        assert "no node has the label firesteel/profile=kmod" in told.stdout
        assert plugin.cluster.wrote() == []
    assert [path for method, path in plugin.cluster.requests if method == "POST" and "dryRun=All" in path]
    plugin("install")
    written = len(plugin.cluster.wrote())
    assert (
        "would delete /apis/apps/v1/namespaces/firesteel/daemonsets/firesteel-core"
        in plugin("uninstall", "--dry-run").stdout
    )
    assert "would replace daemonset/firesteel-core" in plugin("install", "--dry-run").stdout
    assert len(plugin.cluster.wrote()) == written


def test_what_others_wrote_stays(plugin: Plugin) -> None:
    plugin("install")
    namespace = plugin.cluster.store["namespaces", "", "firesteel"]
    namespace["metadata"]["labels"]["team"] = "platform"
    assert plugin("install").returncode == 0
    labels = plugin.cluster.store["namespaces", "", "firesteel"]["metadata"]["labels"]
    assert (labels["team"], labels["pod-security.kubernetes.io/enforce"]) == ("platform", "privileged")


def test_another_namespace_and_a_profile_that_went(plugin: Plugin) -> None:
    plugin.cluster.node("old", {"firesteel/profile": "bcc"})
    assert plugin("install", "-n", "watch", "--profile", "core", "--profile", "bcc", "--names").returncode == 0
    assert names(plugin.cluster, "daemonsets") == ["firesteel-bcc", "firesteel-core"]
    assert "firesteel-bcc-old" in names(plugin.cluster, "pods")
    subjects = [subject for binding in plugin.cluster.of("clusterrolebindings") for subject in binding["subjects"]]
    assert {subject["namespace"] for subject in subjects} == {"watch"}
    config = plugin.cluster.store["configmaps", "watch", "firesteel"]["data"]["firesteel.yaml"]
    assert "firesteel-names.watch.svc:9502" in config
    secret = plugin.cluster.store["secrets", "watch", "firesteel-names-tls"]
    (plugin.folder / "ca.crt").write_bytes(base64.b64decode(secret["data"]["ca.crt"]))
    told = subprocess.run(
        [program("openssl"), "x509", "-noout", "-checkhost", "firesteel-names.watch.svc", "-in", str(plugin.folder / "ca.crt")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "does match certificate" in told.stdout
    assert plugin("install", "-n", "watch").returncode == 0
    assert names(plugin.cluster, "daemonsets") == ["firesteel-core"]
    assert names(plugin.cluster, "deployments") == []
    assert names(plugin.cluster, "clusterrolebindings") == names(plugin.cluster, "configmaps") == ["firesteel"]
    assert "names-authority" not in json.dumps(plugin.cluster.of("daemonsets"))
    assert "/names/v1/stream" not in json.dumps(plugin.cluster.of("clusterroles"))
    assert "names" not in plugin.cluster.store["configmaps", "watch", "firesteel"]["data"]["firesteel.yaml"]


def test_a_node_that_cannot_start_it_is_told(plugin: Plugin) -> None:
    plugin.cluster.broken_nodes.add("b")
    told = plugin("install", "--timeout", "2")
    assert told.returncode == 1
    assert "firesteel-core: only 1 of 2 ready" in told.stdout
    assert "ImagePullBackOff" in plugin("status", "--node", "b").stdout


def test_check_runs_doctor_on_every_linux_node(plugin: Plugin) -> None:
    plugin.cluster.broken_nodes.add("b")
    plugin.cluster.node("c", {"firesteel/profile": "none"})
    before = set(plugin.cluster.store)
    told = plugin("check", "--timeout", "2")
    rows = {line.split()[0]: line for line in told.stdout.splitlines() if line}
    assert told.returncode == 1
    assert re.search(r"6\.1\.0-13-amd64 +Debian GNU/Linux 12 +core +\S.* +\d+ to repair, \d+ to know about", rows["a"])
    assert "ImagePullBackOff: Back-off pulling image" in rows["b"]
    assert " none " in rows["c"]
    assert "win" not in rows
    assert set(plugin.cluster.store) == before, "the check leaves nothing"
    one = json.loads(plugin("check", "--node", "a", "--json").stdout)
    assert {row["check"] for row in one[0]["doctor"]["checks"]} >= {"kernel", "btf", "capabilities", "driver"}


def test_what_a_check_may_do_is_what_the_agent_may(plugin: Plugin) -> None:
    seen: list[Object] = []
    inside = plugin.cluster.work

    def work(pod: Object, command: Sequence[str]) -> Ended:
        seen.append(pod)
        return inside(pod, command)

    plugin.cluster.work = work
    plugin("check", "--node", "a")
    plugin("install")
    (daemonset,) = plugin.cluster.of("daemonsets")
    (check,) = seen
    ours, theirs = (item["containers"][0] for item in (check["spec"], daemonset["spec"]["template"]["spec"]))
    assert ours["securityContext"] == theirs["securityContext"]
    assert ours["args"] == ["doctor", "--json"]
    assert not {"ports", "livenessProbe"} & ours.keys()
    assert check["spec"]["automountServiceAccountToken"] is False
    # With the agents' class it would take the place of others; and before install, no quota allows it where clusters want one.
    assert daemonset["spec"]["template"]["spec"]["priorityClassName"] == "system-node-critical"
    assert "priorityClassName" not in check["spec"]


def test_top_and_explain(plugin: Plugin, agent: Agent) -> None:
    plugin("install")
    edges = plugin("top")
    assert edges.returncode == 0, edges.stderr
    assert edges.stdout.splitlines()[0].split()[:4] == ["NODE", "FROM", "TO", "PROTOCOL"]
    told = plugin("explain", "10.0.0.1:80")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("as the agent on a has it:\n10.0.0.1")


@pytest.mark.parametrize(
    ("bounds", "shown"), [({}, "5.0 ms"), ({"at_most": ["p99"]}, "<5.0 ms"), ({"at_least": ["p99"]}, "≥5.0 ms")]
)
def test_top_says_where_a_bound_is_all_that_is_known(bounds: dict[str, list[str]], shown: str) -> None:
    line = {"node": "a", "source": "x", "destination": "y", "protocol": "dns", "rate": 1.0, "failed": 0.0, "p99": 0.005}
    assert views._edge({**line, **bounds})[-1] == shown


def test_top_of_one_node_shows_as_many_lines_as_asked_for(plugin: Plugin, agent: Agent) -> None:
    asked: list[Sequence[str]] = []
    inside = plugin.cluster.work

    def work(pod: Object, command: Sequence[str]) -> Ended:
        asked.append(command)
        return inside(pod, command)

    plugin("install")
    plugin.cluster.work = work
    one = plugin("top", "--node", "a", "--lines", "7", "--sort", "p99")
    assert (one.returncode, asked[-1]) == (0, ["firesteel", "top", "--sort", "p99", "--lines", "7"]), one.stderr
    # Which an agent of the version before does not know.
    plugin("top", "--node", "a")
    assert asked[-1] == ["firesteel", "top", "--sort", "rate"]
    assert plugin("top", "--lines", "-1").returncode == 2


def test_uninstall_cleans_nodes_of_the_module(plugin: Plugin) -> None:
    plugin.cluster.node("old", {"firesteel/profile": "kmod"})
    plugin("install", "--profile", "core", "--profile", "kmod")
    told = plugin("uninstall")
    if os.geteuid() == 0:
        assert told.returncode == 0, told.stdout + told.stderr
        assert "old: removed " in told.stdout
        assert not (plugin.state / "var/lib/firesteel").exists()
    assert "kubectl label node old firesteel/profile-" in told.stdout
    assert names(plugin.cluster, "jobs") == names(plugin.cluster, "pods") == names(plugin.cluster, "namespaces") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="not root, as the Job is")
def test_uninstall_names_what_dkms_builds_from(plugin: Plugin) -> None:
    """The Job must see it for that, and a node that has no /usr/src must not stop the Job."""
    plugin.cluster.node("old", {"firesteel/profile": "kmod"})
    tree = plugin.state / "usr/src/firesteel-1.2"
    tree.mkdir(parents=True)
    (tree / "dkms.conf").write_text("")
    told = plugin("uninstall", "--image-registry", "registry.example.com/x")
    assert told.returncode == 1, told.stdout + told.stderr
    assert "dkms remove -m firesteel -v 1.2 --all, then rm -r /usr/src/firesteel-1.2\n" in told.stdout
    assert "old is not clean: do what is said above, or there, as root, " in told.stdout
    shutil.rmtree(plugin.state / "usr/src")
    assert plugin("uninstall", "--image-registry", "registry.example.com/x").returncode == 0


def test_uninstall_without_anything(plugin: Plugin) -> None:
    told = plugin("uninstall")
    assert (told.returncode, told.stdout) == (0, "")


def test_upgrade_says_what_and_does_it_when_told(plugin: Plugin, agent: Agent) -> None:
    assert "nothing is installed" in plugin("upgrade").stdout
    plugin("install", "--image-registry", "registry.example.com/x")
    daemonset = plugin.cluster.store["daemonsets", "firesteel", "firesteel-core"]
    daemonset["metadata"]["labels"]["app.kubernetes.io/version"] = "0.0.9"
    written = len(plugin.cluster.wrote())
    told = plugin("upgrade")
    assert "installed: 0.0.9; this plugin has 0.1.0" in told.stdout, told.stderr
    assert "nothing was changed" in told.stdout
    assert len(plugin.cluster.wrote()) == written
    assert plugin("upgrade", "--yes").returncode == 0
    daemonset = plugin.cluster.store["daemonsets", "firesteel", "firesteel-core"]
    assert daemonset["metadata"]["labels"]["app.kubernetes.io/version"] == "0.1.0"
    assert daemonset["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example.com/x/firesteel:0.1.0"
    daemonset["metadata"]["labels"]["app.kubernetes.io/version"] = "0.3.0"
    refused = plugin("upgrade", "--yes")
    assert refused.returncode == 1
    assert "more than one minor version" in refused.stdout


def test_no_cluster_is_told_in_a_sentence(plugin: Plugin) -> None:
    plugin.cluster.token = "another"
    told = plugin("status")
    assert told.returncode == 3
    assert told.stderr.startswith("kubectl firesteel: ")
    assert "Traceback" not in told.stderr


def test_an_older_python_is_told_in_a_sentence(tmp_path: Path) -> None:
    """macOS brings 3.9. What such a one reads before it is told must be in its own language."""
    subprocess.run([sys.executable, str(ROOT / "scripts" / "package-kubectl-plugin.py"), str(tmp_path)], check=True, capture_output=True)  # fmt: skip
    with zipfile.ZipFile(tmp_path / "kubectl-firesteel") as archive:
        packed = archive.read("__main__.py").decode()
    for start in (packed, PLUGIN.read_text()):
        ast.parse(start, feature_version=(3, 6))
        program = f"import sys\nsys.version_info = (3, 9, 6, 'final', 0)\nexec({start!r}, {{'__file__': '/x/y', '__name__': '__main__'}})"
        told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        wanted = f"kubectl firesteel: it needs Python 3.10 or later, and {sys.executable} is 3.9\n"
        assert (told.returncode, told.stdout, told.stderr) == (1, "", wanted)


def test_one_file_is_the_same_plugin_and_the_same_bytes(plugin: Plugin, tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "scripts" / "package-kubectl-plugin.py")]
    for name in ("first", "second"):
        subprocess.run([*script, str(tmp_path / name), "https://example.com/x.tar.gz"], check=True, capture_output=True)
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "second")
    )
    assert first == second
    assert first.keys() == {"kubectl-firesteel", "firesteel-0.1.0.tar.gz", "firesteel.yaml"}
    assert hashlib.sha256(first["firesteel-0.1.0.tar.gz"]).hexdigest() in first["firesteel.yaml"].decode()
    told = subprocess.run(
        [str(tmp_path / "first" / "kubectl-firesteel"), "install", "--dry-run"],
        env={**os.environ, "KUBECONFIG": str(plugin.folder / "kubeconfig"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert "would create daemonset/firesteel-core" in told.stdout
