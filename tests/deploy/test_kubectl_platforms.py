# SPDX-License-Identifier: Apache-2.0
"""What `kubectl firesteel` knows of a node by its osImage, which nothing in a pod there can see."""

import json
from collections.abc import Mapping, Sequence

import pytest

from collector import module_checks
from deploy.kubectl.kubectl_firesteel import platforms
from tests.deploy.fake_cluster import Wrong
from tests.deploy.plugged import Plugin, a_plugin  # noqa: F401 - fixture
from tests.deploy.served import Ended, Object

_BOTTLEROCKET = "Bottlerocket OS 1.19.2 (aws-k8s-1.29)"
_LACKS = f"{platforms.TYPE_WANTED} -> {platforms.TYPE_REMEDY}"
_KEY = ("daemonsets", "firesteel", "firesteel-core")


def doctor(plugin: Plugin, sentence: str) -> None:
    """On every node it has nothing to repair, and says this of its trial."""
    checks = [{"check": "driver", "state": "ok", "sentence": sentence, "remedy": ""}]

    def work(_pod: Object, _command: Sequence[str]) -> Ended:
        return 0, json.dumps({"ok": True, "checks": checks}), ""

    plugin.cluster.work = work


@pytest.mark.parametrize(
    ("system", "reason"),
    [
        ("Talos (v1.7.0)", "Talos accepts no module"),
        (_BOTTLEROCKET, "Bottlerocket accepts modules only through"),
        ("Container-Optimized OS from Google", "Container-Optimized OS accepts signed modules only"),
        ("Flatcar Container Linux by Kinvolk 3815.2.0 (Oklo)", "Flatcar has headers only"),
    ],
)
def test_a_check_says_where_no_module_can_be_had(plugin: Plugin, system: str, reason: str) -> None:
    plugin.cluster.node("k", {"firesteel/profile": "kmod"}, system=system)
    doctor(plugin, "nothing loads")
    told = plugin("check")
    assert told.returncode == 1
    (line,) = [line for line in told.stdout.splitlines() if "platform: " in line]
    assert line.startswith(f"k: platform: {reason}")
    assert line.endswith(" -> kubectl label --overwrite node k firesteel/profile=core")
    remarks = {answer["node"]: answer["remarks"] for answer in json.loads(plugin("check", "--json").stdout)}
    assert remarks == {"a": [], "b": [], "k": [line.removeprefix("k: ")]}
    # One that was built elsewhere.
    doctor(plugin, "kmod loads by kretprobes")
    assert (plugin("check").returncode, "platform: " in plugin("check").stdout) == (0, False)


def test_the_doctor_says_the_same_of_them() -> None:
    assert sorted(platforms.NO_MODULES.values()) == sorted(module_checks.NO_MODULES.values())


def test_bottlerocket_without_its_selinux_type_is_told(plugin: Plugin) -> None:
    for name in "vwxyz":
        plugin.cluster.node(name, system=_BOTTLEROCKET)
    plugin.cluster.node("none", {"firesteel/profile": "none"}, system=_BOTTLEROCKET)
    doctor(plugin, "nothing loads")
    told = plugin("check")
    assert told.returncode == 1
    assert [line for line in told.stdout.splitlines() if "super_t" in line] == [f"{name}: platform: {_LACKS}" for name in "vwxyz"]  # fmt: skip
    for command in (("install", "--dry-run"), ("install",)):
        told = plugin(*command)
        assert told.returncode == 0, told.stderr
        assert f"v, w, x and 2 more: {_LACKS}" in told.stdout.splitlines()
    pod = plugin.cluster.store[_KEY]["spec"]["template"]["spec"]
    pod["securityContext"]["seLinuxOptions"] = {"type": "super_t"}
    for command in (("check",), ("install", "--dry-run"), ("install",)):
        told = plugin(*command)
        assert (told.returncode, "super_t" in told.stdout) == (0, False), told.stdout


def test_who_may_not_list_nodes_may_install(plugin: Plugin) -> None:
    answer = plugin.cluster.answer

    def forbidding(method: str, path: str, query: Mapping[str, str], body: Object | None) -> Object | str:
        if path == "/api/v1/nodes":
            raise Wrong(403, "Forbidden", "nodes is forbidden")
        return answer(method, path, query, body)

    plugin.cluster.answer = forbidding  # type: ignore[method-assign]
    told = plugin("install")
    assert told.returncode == 0, told.stderr
