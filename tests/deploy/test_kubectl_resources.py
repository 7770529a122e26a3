# SPDX-License-Identifier: Apache-2.0
"""What somebody wrote into the agents' resources, as docs/scale.md tells large clusters to, when `install` and `upgrade` write them again."""

from fractions import Fraction

import pytest

from deploy.kubectl.kubectl_firesteel.resources import amount
from tests.deploy.plugged import Plugin, a_plugin  # noqa: F401 - fixture
from tests.deploy.served import Object

_OURS = {"limits": {"memory": "400Mi"}, "requests": {"cpu": "50m", "memory": "128Mi"}}
_COMMANDS = (("install", "--names"), ("upgrade", "--yes"))


def container_of(plugin: Plugin, plural: str, name: str) -> Object:
    (container,) = plugin.cluster.store[plural, "firesteel", name]["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def test_a_higher_limit_of_memory_stays(plugin: Plugin) -> None:
    plugin("install", "--names")
    agent = {"limits": {"memory": "528Mi"}, "requests": {"cpu": "0.05", "memory": "256Mi"}}
    unlimited = {"requests": {"memory": "1Gi"}}
    container_of(plugin, "daemonsets", "firesteel-core")["resources"] = agent
    container_of(plugin, "deployments", "firesteel-names")["resources"] = unlimited
    # The first writes nothing, and says it before.
    for command in (("upgrade",), *_COMMANDS):
        told = plugin(*command)
        assert told.returncode == 0, told.stderr
        assert (
            "resources of agent in daemonset/firesteel-core stay, as their limit of memory is above ours: "
            "limits.memory 528Mi (ours 400Mi), requests.memory 256Mi (ours 128Mi)"
        ) in told.stdout.splitlines()
        assert "in deployment/firesteel-names stay, as their limit of memory is above ours: limits.memory none" in told.stdout  # fmt: skip
        assert container_of(plugin, "daemonsets", "firesteel-core")["resources"] == agent
        assert container_of(plugin, "deployments", "firesteel-names")["resources"] == unlimited


@pytest.mark.parametrize("command", _COMMANDS)
def test_what_is_put_back_is_told(plugin: Plugin, command: tuple[str, ...]) -> None:
    """As are those of an older version, whose limit was too low for this one."""
    plugin("install", "--names")
    container_of(plugin, "daemonsets", "firesteel-core")["resources"] = {"limits": {"memory": "300M", "cpu": "1"}}
    told = plugin(*command)
    assert (
        "resources of agent in daemonset/firesteel-core are put back, as their limit of memory is not above ours: limits.cpu 1 (ours none), "
        "limits.memory 300M (ours 400Mi), requests.cpu none (ours 50m), requests.memory none (ours 128Mi)"
    ) in told.stdout.splitlines()
    assert container_of(plugin, "daemonsets", "firesteel-core")["resources"] == _OURS


def test_the_same_amount_in_other_words_is_nothing_to_tell(plugin: Plugin) -> None:
    plugin("install")
    same = {"limits": {"memory": "419430400"}, "requests": {"cpu": "0.05", "memory": "131072Ki"}}
    container_of(plugin, "daemonsets", "firesteel-core")["resources"] = same
    assert "resources" not in plugin("install").stdout


@pytest.mark.parametrize(
    ("quantity", "value"),
    [("1Gi", 2**30), ("1.5Ki", 1536), ("2k", 2000), ("1M", 10**6), ("3E", 3 * 10**18), ("1e3", 1000), ("12E2", 1200),
     ("100m", Fraction(1, 10)), ("5n", Fraction(5, 10**9)), ("7", 7), (".5", Fraction(1, 2))],
)  # fmt: skip
def test_quantities(quantity: str, value: Fraction) -> None:
    assert amount(quantity) == value
