# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with an API server, of either kind: it hangs, takes a token for nobody's, dies and comes back with no memory of
the versions before."""

import signal
import subprocess
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tests.cluster.api import Api, FakeApi, Object
from tests.cluster.real_api import AGENT, RealApi

_BACK_SECONDS = 120.0


class Faults(Protocol):
    """Each holds within its block. What was changed meanwhile is told afterwards, and old versions are gone (410)."""

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Connections stay and nothing is answered."""
        yield

    @contextmanager
    def expired(self) -> Iterator[None]:
        """The agent's token is nobody's (401)."""
        yield

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nobody listens at its port, and the connections to it are cut."""
        yield

    def forget(self) -> None:
        """Watches end, and none may go on from where it was (410): the real one is started anew for that."""

    def adopt(self, replica_set: str, deployment: str) -> None:
        """Another Deployment takes a ReplicaSet (namespace/name) over."""


class FakeFaults(Faults):
    def __init__(self, api: FakeApi) -> None:
        self._kube, self._api = api.kube, api

    @contextmanager
    def hanging(self) -> Iterator[None]:
        self._kube.flowing.clear()
        try:
            yield
        finally:
            self._kube.flowing.set()

    @contextmanager
    def expired(self) -> Iterator[None]:
        token, self._kube.token = self._kube.token, "another"
        self._kube.forget()
        try:
            yield
        finally:
            self._kube.token = token

    @contextmanager
    def down(self) -> Iterator[None]:
        with self._kube.away():
            yield

    def forget(self) -> None:
        self._kube.forget()

    def adopt(self, replica_set: str, deployment: str) -> None:
        self._api.put("replicasets", _adopted(self._kube.objects["replicasets"][replica_set], deployment))


class RealFaults(Faults):
    """Of the API server's process. Its etcd goes on."""

    def __init__(self, api: RealApi) -> None:
        self._api = api

    @contextmanager
    def hanging(self) -> Iterator[None]:
        self._api.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._api.process.send_signal(signal.SIGCONT)

    @contextmanager
    def expired(self) -> Iterator[None]:
        tokens = self._api.kubeconfig.with_name("tokens.csv")
        text = tokens.read_text()
        tokens.write_text(text.replace(AGENT, "another"))
        try:
            self._end()
            self._begin()
            yield
        finally:
            tokens.write_text(text)
            self._end()
            self._begin()

    @contextmanager
    def down(self) -> Iterator[None]:
        self._end()
        try:
            yield
        finally:
            self._begin()

    def forget(self) -> None:
        """One that comes back knows no version of before."""
        with self.down():
            pass

    def adopt(self, replica_set: str, deployment: str) -> None:
        namespace, _, name = replica_set.partition("/")
        path = f"/apis/apps/v1/namespaces/{namespace}/replicasets/{name}"
        self._api.ask("PUT", path, _adopted(self._api.ask("GET", path), deployment))

    def _end(self) -> None:
        self._api.process.kill()
        self._api.process.wait()

    def _begin(self) -> None:
        with self._api.kubeconfig.with_name("apiserver.log").open("ab") as log:
            self._api.process = subprocess.Popen(self._api.command, stdout=log, stderr=log)
        end = time.monotonic() + _BACK_SECONDS
        while True:
            try:
                self._api.ask("GET", "/api/v1/namespaces/kube-system")
            except (OSError, urllib.error.HTTPError):
                assert time.monotonic() < end, "the API server does not come back"
                time.sleep(0.2)
            else:
                return


def faults_of(api: Api) -> Faults:
    if isinstance(api, FakeApi):
        return FakeFaults(api)
    assert isinstance(api, RealApi)
    return RealFaults(api)


def _adopted(item: Object, deployment: str) -> Object:
    owner = {**item["metadata"]["ownerReferences"][0], "name": deployment, "uid": f"deployment-{deployment}"}
    return {**item, "metadata": {**item["metadata"], "ownerReferences": [owner]}}
