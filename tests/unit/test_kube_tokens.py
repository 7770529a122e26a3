# SPDX-License-Identifier: Apache-2.0
"""The token of a pod's service account is a file that the kubelet replaces while the agent runs."""

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from kubernetes.config import incluster_config

from collector.metadata.kube_api import KubeApi
from collector.metadata.kubernetes import Cluster
from tests.fake_kube import PATHS, FakeKube, fake_kube, pod
from tests.receivers import self_signed, until

NODE = "n1"
MINUTES_LATER = datetime.timedelta(seconds=61)
"""The official client takes a token that it read for a minute."""


@contextmanager
def in_a_pod(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakeKube, Path, Callable[[], None]]]:
    """The API server, the file of the token, and what has the client's clock go on by a minute."""
    certificate, key = self_signed(folder)
    token = folder / "token"
    token.write_text("first")
    clock = SimpleNamespace(ahead=datetime.timedelta())

    def later() -> None:
        clock.ahead += MINUTES_LATER

    now = SimpleNamespace(now=lambda: datetime.datetime.now(datetime.UTC) + clock.ahead)
    monkeypatch.setattr(incluster_config, "datetime", SimpleNamespace(datetime=now, timedelta=datetime.timedelta))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(certificate))
    with fake_kube(token="first", certificate=(certificate, key)) as kube:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(kube.port))
        yield kube, token, later


@contextmanager
def following(kube: FakeKube) -> Iterator[Cluster]:
    """Complete, with every request so far under the first token."""
    cluster = Cluster(KubeApi.connect(""), NODE, 300 * 10**9)
    cluster.start()
    try:
        until(lambda: cluster.is_complete and sum(kube.asked(name, watch=True) for name in PATHS) == 7)
        assert set(kube.authorized) == {"bearer first"}
        yield cluster
    finally:
        cluster.stop()


def is_at(cluster: Cluster, ip: str, name: str) -> bool:
    found = cluster.index.pod_at(ip)
    return found is not None and found.name == name


def test_a_rotated_token_is_sent_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaced while the old one still holds, as the kubelet does: nothing is refused, and nothing but the new one is sent."""
    with in_a_pod(tmp_path, monkeypatch) as (kube, token, later):
        kube.put("pods", pod("web-0", "10.1.0.1", "n2"))
        with following(kube) as cluster:
            token.write_text("second")
            later()
            before = len(kube.authorized)
            kube.token = "second"
            kube.put("pods", pod("web-1", "10.1.0.2", "n2"))
            kube.forget()  # every watch ends, and each asks anew
            until(lambda: is_at(cluster, "10.1.0.2", "web-1"))
            until(lambda: len(kube.authorized) >= before + 14)  # a list and a watch of each of seven
            assert set(kube.authorized[before:]) == {"bearer second"}
            assert [(state.failures, state.fault) for state in cluster.states()] == [(0, "")] * 7


def test_a_token_that_expired_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused as nobody's first, because the file came late: names stay, and the new one heals all of it."""
    monkeypatch.setattr("collector.metadata.kube_watch._LONGEST_PAUSE", 0.5)
    with in_a_pod(tmp_path, monkeypatch) as (kube, token, later):
        kube.put("pods", pod("web-0", "10.1.0.1", "n2"))
        with following(kube) as cluster:
            kube.token = "second"
            kube.put("pods", pod("web-1", "10.1.0.2", "n2"))
            kube.forget()
            until(lambda: len(cluster.problems()) == 7)
            assert {"401: Unauthorized" in problem.cause for problem in cluster.problems()} == {True}
            assert is_at(cluster, "10.1.0.1", "web-0")
            token.write_text("second")
            later()
            until(lambda: is_at(cluster, "10.1.0.2", "web-1") and not cluster.problems(), 30)
            assert kube.authorized[-1] == "bearer second"
