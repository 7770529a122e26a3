# SPDX-License-Identifier: Apache-2.0
"""upgrade: what is there, what would come, what to know, and then the same as install."""

from collections.abc import Callable, Sequence

from . import objects
from .agents import agents, ask
from .install import Wish, helm_release, install, installed
from .kubectl import Kubectl, Object
from .objects import PROFILE, Images

NOTES = (
    "Counters begin at 0 in a new pod. rate() and increase() understand that; dashboards show no gap but one scrape.",
    "A tenth of the agents is exchanged at a time; connections that are open are told again by the kernel.",
    "Agents, the names service, the panel and the dashboards may differ by one minor version.",
    "The module of profile kmod is exchanged where its version differs: scripts/recompile-module.sh builds it before.",
)


def upgrade(kubectl: Kubectl, wish: Wish, *, yes: bool, say: Callable[[str], None]) -> bool:
    """Without `yes`, says only what would be done. Profiles and the names service stay as they are installed."""
    there = installed(kubectl, wish.namespace)
    if not there:
        say(f"nothing is installed in namespace {wish.namespace}; kubectl firesteel install")
        return False
    if release := helm_release(there):
        say(f"this was installed by Helm: helm upgrade {release} deploy/helm/firesteel --namespace {wish.namespace}")
        return False
    now, target = sorted({objects.version_of(item) for item in there}), objects.version()
    say(f"installed: {', '.join(now)}; this plugin has {target}")
    for version in now:
        if not is_neighbour(version, target):
            say(f"from {version} to {target} is more than one minor version: upgrade to one in between first")
            return False
    for setting in _waiting(kubectl, wish.namespace):
        say(setting)
    for note in NOTES:
        say(f"- {note}")
    wish = Wish(
        wish.namespace, tuple(_profiles(there)), _images(wish.images, there),
        any(item["kind"] == "Deployment" for item in there), wish.dry or not yes, wish.seconds,
    )  # fmt: skip
    done = install(kubectl, wish, say)
    if not yes:
        say("nothing was changed; kubectl firesteel upgrade --yes does it")
    return done


def is_neighbour(first: str, second: str) -> bool:
    """The same major version, and minor ones at most one apart."""
    try:
        (major, minor), (other_major, other_minor) = (tuple(map(int, text.split(".")[:2])) for text in (first, second))
    except ValueError:
        return False
    return major == other_major and abs(minor - other_minor) <= 1


def _profiles(there: Sequence[Object]) -> list[str]:
    labels = (item["metadata"].get("labels", {}).get(PROFILE) for item in there if item["kind"] == "DaemonSet")
    return sorted(label for label in labels if label)


def _images(wished: Images, there: Sequence[Object]) -> Images:
    """From where they came so far, and by which Secrets, where nothing else is wished."""
    pod = objects.pod_of(there[0])
    secrets = tuple(str(secret["name"]) for secret in pod.get("imagePullSecrets") or ())
    registry = str(pod["containers"][0]["image"]).rpartition("/")[0]
    return Images(wished.registry or registry, wished.tag, wished.secrets or secrets)


def _waiting(kubectl: Kubectl, namespace: str) -> list[str]:
    """Keys of a changed configuration that only a restart applies: they will with this one."""
    found = set()
    for answer in ask(kubectl, namespace, agents(kubectl, namespace), "status"):
        found |= set(answer.told.get("configuration", {}).get("needs_restart", ()))
    return [f"configuration that waits for this restart: {', '.join(sorted(found))}"] if found else []
