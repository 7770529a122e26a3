# SPDX-License-Identifier: Apache-2.0
"""What belongs to the installation in one namespace. Objects of the whole cluster carry the same label whoever made them: another
release's are told apart by whom they are for (subjects, users), and roles by who is bound to them and by their instance."""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from . import certificate, objects
from .kubectl import Kubectl, Object
from .objects import SELECTOR

_INSTANCE: Final = "app.kubernetes.io/instance"
Found = tuple[str, str, Object]
"""(kind, path, object)."""


def in_namespace(kubectl: Kubectl, namespace: str, *, beside: bool = True) -> Iterator[Found]:
    """What carries our label there, what was made last first. `beside`: also of the kinds that are never installed here, for which one needs
    further rights."""
    for kind, path, item in _of(kubectl, namespace, namespaced=True, beside=beside):
        # The account of every namespace is not ours, whatever its labels.
        if (kind, item["metadata"]["name"]) != ("ServiceAccount", "default"):
            yield kind, path, item


def secrets(kubectl: Kubectl, namespace: str) -> Iterator[str]:
    """The paths of what is ours among the Secrets, whose contents are not asked for: certificates of the names service, also one that was
    made by hand and has no label."""
    place = f"/api/v1/namespaces/{namespace}/secrets"
    selections = [{"labelSelector": SELECTOR}, {"fieldSelector": f"metadata.name={certificate.SECRET}"}]
    found = {name for selection in selections for name in kubectl.names(place, **selection)}
    for name in sorted(found):
        yield f"{place}/{name}"


def instances(ours: Iterable[Found]) -> set[str]:
    """The names of the releases in a namespace, of which `ours` is what `in_namespace` has; our own where nothing is left there."""
    return set(filter(None, (instance_of(item) for _, _, item in ours))) or {instance_of(objects.everything()[0])}


def of_cluster(kubectl: Kubectl, namespace: str, releases: Collection[str], *, beside: bool = True) -> list[Found]:
    """What is in no namespace and for nobody but the accounts in this one. `releases` as `instances` has them."""
    found = list(_of(kubectl, namespace, namespaced=False, beside=beside))
    roles = [entry for entry in found if entry[0] == "ClusterRole"]
    others = [entry for entry in found if entry[0] != "ClusterRole"]
    chosen = [entry for entry in others if _is_for(entry[2], namespace, releases)]
    bound = {item["roleRef"]["name"] for kind, path, item in others if "roleRef" in item and (kind, path, item) not in chosen}  # fmt: skip
    free = [entry for entry in roles if entry[2]["metadata"]["name"] not in bound and instance_of(entry[2]) in releases]
    return chosen + free


def _of(kubectl: Kubectl, namespace: str, *, namespaced: bool, beside: bool) -> Iterator[Found]:
    for kind, path in reversed(objects.collections(namespace, namespaced=namespaced)):
        if kind in objects.BESIDE and not beside:
            continue
        for item in kubectl.items(path, labelSelector=SELECTOR):
            yield kind, f"{path}/{item['metadata']['name']}", item


def whose(item: Object) -> set[str]:
    """The namespaces of the accounts that it names."""
    found = {str(subject["namespace"]) for subject in item.get("subjects") or () if subject.get("namespace")}
    accounts = (str(user).split(":") for user in item.get("users") or ())
    return found | {parts[2] for parts in accounts if parts[:2] == ["system", "serviceaccount"]}


def _is_for(item: Object, namespace: str, releases: Collection[str]) -> bool:
    """By the accounts that it names; one that names none by its release."""
    named = whose(item)
    return named == {namespace} if named else instance_of(item) in releases


def instance_of(item: Object) -> str:
    """The name of the release that it is of."""
    return str(item["metadata"].get("labels", {}).get(_INSTANCE, ""))
