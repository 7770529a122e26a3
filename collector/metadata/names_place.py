# SPDX-License-Identifier: Apache-2.0
"""Where the names service answers: as the configuration says, or at the Service of the agent's own namespace."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from collector.metadata.kube_api import KubeApi, Refused, Unavailable

SERVICE: Final = "firesteel-names"
"""The Service that `kubernetes.names: auto` looks for in the agent's own namespace."""
_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class NoService(Exception):
    """`auto`, and there is none: nothing is wrong, the API server is asked."""


@dataclass(frozen=True, slots=True)
class Place:
    """`name` is the one that the certificate must have."""

    host: str
    port: int
    name: str


def find(api: KubeApi, names: str) -> Place:
    """By `kubernetes.names`, which is not `off`. Raises NoService or Unavailable."""
    if names != "auto":
        host, _, port = names.rpartition(":")
        return Place(host.strip("[]"), int(port), host.strip("[]"))
    namespace = _own_namespace()
    if not namespace:
        raise NoService
    try:
        # By a list, which the account of an agent may ask for: reading by name is a right of its own.
        found = api.get(f"/api/v1/namespaces/{namespace}/services", {"fieldSelector": f"metadata.name={SERVICE}"})
    except Refused as refusal:
        if refusal.status in {403, 404}:
            raise NoService from None
        raise
    services = found.get("items")
    if not isinstance(services, list) or not services:
        raise NoService
    spec: Mapping[str, Any] = services[0].get("spec") or {}
    ports = [entry for entry in spec.get("ports") or () if isinstance(entry.get("port"), int)]
    named = [entry for entry in ports if entry.get("name") == "names"] or ports
    if not named:
        raise Unavailable(f"Service {namespace}/{SERVICE} has no port")
    name, address = f"{SERVICE}.{namespace}.svc", spec.get("clusterIP")
    return Place(address if address and address != "None" else name, int(named[0]["port"]), name)


def _own_namespace() -> str:
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
