# SPDX-License-Identifier: Apache-2.0
"""The objects of the version before in a cluster, and this version's over them: nothing of them is refused, and nothing stays behind.

The version before is the commit that CI takes for it (docs/testing.md): FIRESTEEL_PREVIOUS_COMMIT, the last tag before this commit, or
fifty commits ago.
"""

import os
import subprocess

import pytest

from deploy.kubectl.kubectl_firesteel import objects
from tests.agents import Agent
from tests.deploy.manifests import FILES, ROOT, Object, manifest, objects_of
from tests.deploy.plugged import Plugin, a_plugin, an_agent, names  # noqa: F401 - fixtures

# Monitors and constraints belong to an operator, which the cluster of our own has not.
RENDERED = [name for name in FILES if name not in {"firesteel-prometheus-operator", "firesteel-openshift"}]


def git(*words: str) -> str:
    """What git says, or nothing where it cannot."""
    told = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    return told.stdout.strip() if told.returncode == 0 else ""


@pytest.fixture(scope="module")
def before() -> str:
    commit = (
        os.environ.get("FIRESTEEL_PREVIOUS_COMMIT")
        or git("describe", "--tags", "--abbrev=0", "HEAD^")
        or git("rev-parse", "--quiet", "--verify", "HEAD~50")
    )
    if not commit:
        pytest.skip("optional: no older commit in this clone")
    return commit


def older(commit: str, name: str) -> list[Object]:
    text = git("show", f"{commit}:deploy/manifests/{name}.yaml")
    if not text:
        pytest.skip(f"optional: {commit} has no deploy/manifests/{name}.yaml")
    return objects_of(text)


def name_of(item: Object) -> tuple[str, str, str]:
    return item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]


def apply(plugin: Plugin, item: Object) -> None:
    """As `kubectl apply` would have it afterwards; Wrong where a real API server refuses."""
    path, collection = objects.path_of(item), objects.collection_of(item)
    _, space, name = name_of(item)
    if (collection.rpartition("/")[2], space, name) in plugin.cluster.store:
        plugin.cluster.answer("PUT", path, {}, item)
    else:
        plugin.cluster.answer("POST", collection, {}, item)


@pytest.mark.parametrize("name", RENDERED)
def test_a_manifest_can_be_applied_over_the_one_before(name: str, before: str, plugin: Plugin) -> None:
    old, new = older(before, name), manifest(name)
    for item in [*old, *new]:
        apply(plugin, item)
    # What kubectl apply no longer finds in the file, it leaves in the cluster.
    assert {name_of(item) for item in old} - {name_of(item) for item in new} == set()


def test_the_plugin_upgrades_what_the_manifest_before_installed(before: str, plugin: Plugin, agent: Agent) -> None:
    for item in older(before, "firesteel"):
        apply(plugin, item)
    pods = names(plugin.cluster, "pods")
    assert pods
    told = plugin("upgrade", "--yes")
    assert told.returncode == 0, told.stdout + told.stderr
    assert names(plugin.cluster, "pods") == pods
    assert {item["metadata"]["labels"]["app.kubernetes.io/version"] for item in plugin.cluster.of("daemonsets")} == {
        objects.version()
    }
    assert plugin("uninstall").returncode == 0
    # The namespace is not the plugin's: it was applied.
    assert (names(plugin.cluster, "daemonsets"), names(plugin.cluster, "pods")) == ([], [])
