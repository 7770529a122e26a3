# SPDX-License-Identifier: Apache-2.0
"""How it stands with the names of Kubernetes: in the status' JSON and sentences, whether anything is wrong or not."""

import json
import threading
import time
from dataclasses import replace
from typing import Any, cast

import pytest
from kubernetes import client

from collector.api import status_json
from collector.kubernetes_state import (
    KindState,
    KubernetesState,
    NamesServiceState,
    kubernetes_json,
    kubernetes_sentences,
)
from collector.metadata import kubernetes
from collector.metadata.kube_api import KubeApi
from collector.metadata.kubernetes import Cluster
from collector.metadata.names_connection import NamesSettings
from collector.status import status_sentences
from tests.fake_agent import FakeAgent

PODS = KindState("pods", complete=True, age_seconds=3.0)
NODES = KindState("nodes", complete=True, age_seconds=41.0)
SERVICE = NamesServiceState("10.96.0.3:9502", in_use=True, complete=True, age_seconds=1.0)


def test_a_healthy_cluster_tells_its_age() -> None:
    told = kubernetes_json(KubernetesState(complete=True, kinds=[PODS, NODES]))
    assert told == {
        "complete": True, "age_seconds": 41.0, "fault": "", "names_service": None,
        "kinds": [
            {"kind": "pods", "complete": True, "age_seconds": 3.0, "fault": ""},
            {"kind": "nodes", "complete": True, "age_seconds": 41.0, "fault": ""},
        ],
    }  # fmt: skip
    assert list(kubernetes_sentences(told)) == [
        "Kubernetes names from the API server: complete, all heard in the last 41 s."
    ]


def test_what_was_never_heard_has_no_age_and_a_fault_is_told() -> None:
    silent = KindState("jobs", complete=False, age_seconds=None, fault="forbidden")
    aging = KindState("nodes", complete=True, age_seconds=700.0, fault="no route to host")
    told = kubernetes_json(KubernetesState(complete=False, kinds=[PODS, silent, aging]))
    assert told is not None
    assert (told["age_seconds"], told["fault"]) == (None, "forbidden")
    assert list(kubernetes_sentences(told)) == [
        "Kubernetes names from the API server: not complete yet.",
        "  jobs never heard: forbidden",
        "  nodes not heard for 700 s: no route to host",
    ]
    told = kubernetes_json(KubernetesState(complete=True, kinds=[PODS, aging]))
    assert told is not None
    assert (told["age_seconds"], told["fault"]) == (700.0, "no route to host")


@pytest.mark.parametrize(("in_use", "age"), [(True, 9.0), (False, 3.0)])
def test_a_names_service_counts_while_it_is_in_use(in_use: bool, age: float) -> None:
    state = KubernetesState(
        complete=True, kinds=[PODS], names_service=NamesServiceState("n:1", in_use, complete=True, age_seconds=9.0)
    )
    told = cast("Any", kubernetes_json(state))
    assert (told["age_seconds"], told["names_service"]["age_seconds"]) == (age, 9.0)
    assert list(kubernetes_sentences(told)) == [
        "Kubernetes names from the API server (this node) and the names service at n:1: complete, all heard in the last 9 s."
        if in_use
        else "Kubernetes names from the API server: complete, all heard in the last 3 s."
    ]


def test_a_names_service_that_was_left_says_why() -> None:
    left = NamesServiceState("n:1", in_use=False, complete=True, age_seconds=90.0, fault="refused")
    told = kubernetes_json(KubernetesState(complete=True, kinds=[PODS], names_service=left))
    assert told is not None
    assert (told["age_seconds"], told["fault"]) == (3.0, "")
    assert list(kubernetes_sentences(told))[1:] == ["  names service not heard for 90 s: refused"]


def test_a_cluster_that_cannot_be_asked_says_why_and_none_says_nothing() -> None:
    assert kubernetes.without("") is None
    assert kubernetes_json(None) is None
    told = kubernetes_json(kubernetes.without("no such file"))
    assert told == {"complete": False, "age_seconds": None, "fault": "no such file", "kinds": [], "names_service": None}
    assert list(kubernetes_sentences(told)) == ["No Kubernetes names: no such file."]


def test_the_status_has_it() -> None:
    status = FakeAgent().now
    assert status_json(status, 0, 0)["kubernetes"] is None
    status = replace(status, kubernetes=KubernetesState(complete=True, kinds=[PODS], names_service=SERVICE))
    told = json.loads(json.dumps(status_json(status, status.started, 0)))
    assert told["kubernetes"]["age_seconds"] == 3.0
    (line,) = [line for line in status_sentences(told) if line.startswith("Kubernetes names")]
    assert line.endswith("the names service at 10.96.0.3:9502: complete, all heard in the last 3 s.")


def test_a_cluster_tells_what_its_watches_heard() -> None:
    cluster = Cluster(KubeApi(client.Configuration(host="http://192.0.2.1")), "n1", 0, NamesSettings("10.96.0.3:9502"))
    began = cluster.state()
    assert (began.complete, began.age_seconds, [kind.kind for kind in began.kinds]) == (False, None, ["pods"])
    assert began.names_service is None  # nobody found it yet
    own = cluster.states()[0]
    own.heard, own.complete, own.fault = time.monotonic() - 30, True, "refused"
    names = cluster._names
    assert names is not None
    names.state.place, names.state.heard, names.state.silent = "n:1", time.monotonic() - 5, 100.0
    names.state.complete = True
    told = cluster.state()
    assert (told.complete, told.first_fault, told.names_service and told.names_service.in_use) == (
        True,
        "refused",
        True,
    )
    assert told.age_seconds == pytest.approx(105, abs=2)
    assert told.kinds[0].age_seconds == pytest.approx(30, abs=2)
    cluster._switch.turn(on=True)
    told = cluster.state()
    assert (told.complete, told.names_service and told.names_service.in_use, len(told.kinds)) == (False, False, 7)
    assert threading.active_count() < 20  # nothing was started
