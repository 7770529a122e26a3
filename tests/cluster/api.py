# SPDX-License-Identifier: Apache-2.0
"""Where the objects of a test's cluster are kept: a list/watch server of our own, or a real etcd and kube-apiserver.

Both take the same objects, so one fixture drives both. The server gives each object its UID.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.fake_kube import FakeKube, fake_kube, kubeconfig

Object = dict[str, Any]


class Api(Protocol):
    """`kubeconfig` is what an agent is given."""

    kubeconfig: Path

    def put(self, resource: str, item: Object) -> str:
        """Creates an object, or changes it with its status; answers its UID."""
        ...

    def delete(self, resource: str, key: str) -> None:
        """By namespace/name, and at once: as a kubelet that has nothing left to end."""
        ...


@dataclass(slots=True)
class FakeApi:
    """`kube` can be made to stall, refuse and forget."""

    kube: FakeKube
    kubeconfig: Path

    def put(self, resource: str, item: Object) -> str:
        metadata = item["metadata"]
        known = self.kube.objects[resource].get(f"{metadata.get('namespace', '')}/{metadata['name']}")
        uid = metadata.get("uid") or (known["metadata"]["uid"] if known else str(uuid.uuid4()))
        self.kube.put(resource, {"status": {}, **item, "metadata": {**metadata, "uid": uid}})
        return str(uid)

    def delete(self, resource: str, key: str) -> None:
        self.kube.delete(resource, key)


@contextmanager
def fake_api(folder: Path) -> Iterator[FakeApi]:
    with fake_kube(token="secret") as kube:
        yield FakeApi(kube, kubeconfig(folder, kube.port))
