# SPDX-License-Identifier: Apache-2.0
"""The check of `firesteel doctor` that asks the cluster: whether it is too large for every agent to watch all of it."""

from collector.findings import OK, WARN, Check, Finding
from collector.host import Host
from collector.schema import Config


def names(_host: Host, config: Config) -> list[Finding]:
    from collector.metadata import names_place  # noqa: PLC0415 - 30 MiB that only a cluster is worth
    from collector.metadata.cluster_size import NODES_WITHOUT_NAMES, nodes_of  # noqa: PLC0415
    from collector.metadata.kube_api import KubeApi, Unavailable, is_in_cluster  # noqa: PLC0415

    settings = config.kubernetes
    if settings.enabled == "false" or (settings.enabled == "auto" and not settings.kubeconfig and not is_in_cluster()):
        return [Finding(OK, "names from Kubernetes are not asked for here")]
    try:
        api = KubeApi.connect(settings.kubeconfig)
        count = nodes_of(api)
        if count <= NODES_WITHOUT_NAMES:
            return [Finding(OK, f"a cluster of {count} nodes: its API server can be asked by every agent")]
        place = names_place.find(api, settings.names) if settings.names != "off" else None
    except names_place.NoService:
        place = None
    except Unavailable as fault:
        remedy = "see that it answers, and that the agent's account may list nodes"
        return [Finding(WARN, f"the Kubernetes API cannot be asked: {fault}", remedy)]
    if place is None:
        what = f"{count} nodes and no names service: every agent asks the API server for the whole cluster"
        return [Finding(WARN, what, "install the names service, and let kubernetes.names find it")]
    return [Finding(OK, f"{count} nodes, whose names are told by the names service at {place.host}:{place.port}")]


CLUSTER_CHECKS = (Check("names", names),)
