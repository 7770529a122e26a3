# SPDX-License-Identifier: Apache-2.0
"""What Helm remembers of a release that installed Firesteel: by it Helm lists, upgrades and uninstalls, also what is not ours."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from . import objects
from .belongings import Found, instance_of
from .kubectl import Kubectl

_RELEASE: Final = "meta.helm.sh/release-name"
_MANAGED: Final = "app.kubernetes.io/managed-by=Helm"


@dataclass(frozen=True)
class Record:
    """`beside` is what that release has in its namespace and is not Firesteel's: where our chart is a part of another one."""

    release: str
    namespace: str
    paths: list[str]
    beside: list[str]

    def why_it_stays(self, *, is_all_gone: bool) -> str:
        """Empty where it goes with us."""
        if self.beside:
            return (
                f"as that release has more than Firesteel here ({', '.join(self.beside[:3])}): "
                f"helm upgrade {self.release} without Firesteel in it, or Helm would install it again"
            )
        return (
            ""
            if is_all_gone
            else f"as not all of it is gone: helm uninstall {self.release} --namespace {self.namespace}"
        )


def records(kubectl: Kubectl, namespace: str, ours: Iterable[Found]) -> list[Record]:
    """Of each release, with the paths of its Secrets. `ours` is what belongings.in_namespace has."""
    place = f"/api/v1/namespaces/{namespace}/secrets"
    releases = {instance_of(item) for _, _, item in ours if objects.is_helms(item)}
    return [
        Record(
            release,
            namespace,
            [f"{place}/{name}" for name in sorted(kubectl.names(place, labelSelector=f"owner=helm,name={release}"))],
            _beside_ours(kubectl, namespace, release),
        )
        for release in sorted(releases)
    ]


def forget(kubectl: Kubectl, found: list[Record], say: Callable[[str], None], *, is_all_gone: bool) -> None:
    for record in found:
        if why := record.why_it_stays(is_all_gone=is_all_gone):
            say(f"Helm's record of {record.release} stays, {why}")
            continue
        for path in record.paths:
            if kubectl.delete(path):
                say(f"deleted secrets/{path.rpartition('/')[2]}")


def _beside_ours(kubectl: Kubectl, namespace: str, release: str) -> list[str]:
    return [
        f"{path.rpartition('/')[2]}/{item['metadata']['name']}"
        for path in objects.collections_of_a_release(namespace)
        for item in kubectl.items(path, labelSelector=f"{_MANAGED},{objects.OTHERS}")
        if (item["metadata"].get("annotations") or {}).get(_RELEASE, instance_of(item)) == release
    ]
