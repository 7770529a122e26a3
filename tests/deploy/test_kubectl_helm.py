# SPDX-License-Identifier: Apache-2.0
"""What `kubectl firesteel` does with what Helm installed: alone, as a part of something larger, and where not all of it goes."""

from collections.abc import Mapping

from tests.deploy.fake_cluster import Key
from tests.deploy.plugged import Plugin, a_plugin  # noqa: F401 - fixture
from tests.deploy.served import Object

_SPACE: Key = ("namespaces", "", "firesteel")


def by_helm(plugin: Plugin, release: str) -> Key:
    """What is installed becomes that release's, with Helm's own record; another chart's record is beside it, whose place is answered."""
    for key, item in plugin.cluster.store.items():
        labels = item["metadata"].get("labels", {})
        if labels.get("app.kubernetes.io/name") == "firesteel" and key[0] != "pods":
            labels |= {"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/instance": release}
    # Of helm install --create-namespace.
    plugin.cluster.store[_SPACE]["metadata"]["labels"] = {"pod-security.kubernetes.io/enforce": "privileged"}
    for name in (release, "other"):
        metadata = {"name": f"sh.helm.release.v1.{name}.v1", "namespace": "firesteel", "labels": {"owner": "helm", "name": name}}  # fmt: skip
        plugin.cluster.put({"kind": "Secret", "metadata": metadata}, "secrets")
    return "secrets", "firesteel", "sh.helm.release.v1.other.v1"


def test_what_helm_installed_is_helms_to_change(plugin: Plugin) -> None:
    """Overwritten, it would be nobody's: helm upgrade refuses what another one manages."""
    plugin("install")
    by_helm(plugin, "shop")
    before = {key: dict(item) for key, item in plugin.cluster.store.items()}
    for more in ((), ("--dry-run",)):
        told = plugin("install", *more)
        assert told.returncode == 3
        assert (
            "by Helm, as shop: helm upgrade shop deploy/helm/firesteel --namespace firesteel, or first" in told.stderr
        )
    told = plugin("upgrade", "--yes")
    wanted = "this was installed by Helm: helm upgrade shop deploy/helm/firesteel --namespace firesteel"
    assert (told.returncode, told.stdout.splitlines()) == (1, [wanted])
    assert plugin.cluster.store == before


def test_uninstall_takes_what_helm_installed_and_helms_record_of_it(plugin: Plugin) -> None:
    nodes = set(plugin.cluster.store)
    plugin("install", "--names")
    stays = by_helm(plugin, "shop")
    secret = plugin.cluster.store.pop(("secrets", "firesteel", "firesteel-names-tls"))
    secret["metadata"]["name"] = "shop-firesteel-names-tls"
    plugin.cluster.put(secret, "secrets")
    dry = plugin("uninstall", "--dry-run").stdout.splitlines()
    place = "would delete /api/v1/namespaces/firesteel/secrets"
    assert [line for line in dry if line.startswith(place)] == [
        f"{place}/shop-firesteel-names-tls", f"{place}/sh.helm.release.v1.shop.v1"
    ]  # fmt: skip
    told = plugin("uninstall")
    assert told.returncode == 0, told.stdout + told.stderr
    assert set(plugin.cluster.store) == nodes | {_SPACE, stays}


def record_of(release: str) -> Key:
    return "secrets", "firesteel", f"sh.helm.release.v1.{release}.v1"


def test_helms_record_of_more_than_firesteel_stays(plugin: Plugin) -> None:
    """Without it nobody could upgrade or uninstall what the release has beside ours."""
    plugin("install")
    by_helm(plugin, "shop")
    labels = {"app.kubernetes.io/name": "web", "app.kubernetes.io/managed-by": "Helm"}
    notes = {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "firesteel"}
    plugin.cluster.put({"metadata": {"name": "web", "namespace": "firesteel", "labels": labels, "annotations": notes}}, "statefulsets")  # fmt: skip
    other = {"meta.helm.sh/release-name": "other", "meta.helm.sh/release-namespace": "firesteel"}
    plugin.cluster.put({"metadata": {"name": "theirs", "namespace": "firesteel", "labels": labels, "annotations": other}}, "services")  # fmt: skip
    dry = plugin("uninstall", "--dry-run").stdout
    assert "sh.helm.release" not in dry
    told = plugin("uninstall")
    assert told.returncode == 0, told.stdout + told.stderr
    assert (
        "Helm's record of shop stays, as that release has more than Firesteel here (statefulsets/web): "
        "helm upgrade shop without Firesteel in it, or Helm would install it again"
    ) in told.stdout.splitlines()
    assert record_of("shop") in plugin.cluster.store
    assert ("daemonsets", "firesteel", "firesteel-core") not in plugin.cluster.store


def test_helms_record_goes_last_and_only_after_all_else(plugin: Plugin) -> None:
    """By it `helm uninstall` can still take what this could not."""
    plugin("install")
    by_helm(plugin, "shop")
    cluster = plugin.cluster
    answer = cluster.answer

    def stuck(method: str, path: str, query: Mapping[str, str], body: Object | None) -> Object | str:
        # A finalizer that nobody takes away.
        if method == "DELETE" and path.endswith("/configmaps/firesteel"):
            return {"kind": "Status", "status": "Success"}
        return answer(method, path, query, body)

    cluster.answer = stuck  # type: ignore[method-assign]
    told = plugin("uninstall")
    assert told.returncode == 1
    assert (
        "Helm's record of shop stays, as not all of it is gone: helm uninstall shop --namespace firesteel"
    ) in told.stdout.splitlines()
    assert record_of("shop") in cluster.store
    cluster.answer = answer  # type: ignore[method-assign]
    cluster.requests.clear()
    told = plugin("uninstall")
    assert told.returncode == 0, told.stdout + told.stderr
    assert record_of("shop") not in cluster.store
    assert [path for method, path in cluster.requests if method == "DELETE"][-1].partition("?")[0].endswith("/sh.helm.release.v1.shop.v1")  # fmt: skip
