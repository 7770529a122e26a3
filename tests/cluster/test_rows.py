# SPDX-License-Identifier: Apache-2.0
"""What rows of a table say of pods elsewhere: with FIRESTEEL_REAL_API=1 as the API server itself prints them."""

import time
from pathlib import Path
from typing import Any

import pytest

from collector.metadata.kube_api import KubeApi
from collector.metadata.kubernetes import Cluster
from tests.cluster.agents import api_in

SECOND = 10**9


def _ended(reason: str, code: int) -> dict[str, Any]:
    return {"terminated": {"reason": reason, "exitCode": code, "signal": 9 if code > 128 and not reason else 0}}


def _pod(name: str, ip: str, phase: str, *states: dict[str, Any]) -> dict[str, Any]:
    names = [f"c{number}" for number in range(len(states))]
    statuses = [
        {"name": name, "image": "x", "imageID": "", "ready": "running" in state, "restartCount": 0, "state": state}
        for name, state in zip(names, states, strict=True)
    ]
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": name},
        "spec": {"nodeName": "n2", "containers": [{"name": name, "image": "x"} for name in names]},
        "status": {"phase": phase, "podIP": ip, "podIPs": [{"ip": ip}], "containerStatuses": statuses},
    }  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")  # as the real server's kubeconfig wants it
def test_a_pod_elsewhere_is_over_when_its_phase_says_so(tmp_path: Path) -> None:
    running: dict[str, Any] = {"running": {}}
    cases: dict[str, tuple[str, list[dict[str, Any]], bool]] = {
        "killed": ("Failed", [_ended("OOMKilled", 137)], True),
        "signal": ("Failed", [_ended("", 137)], True),
        "exit": ("Failed", [_ended("", 3)], True),
        "done": ("Succeeded", [_ended("Completed", 0)], True),
        "half": ("Running", [_ended("Error", 1), running], False),
        "whole": ("Running", [running], False),
    }
    with api_in(tmp_path) as api:
        for number, (name, (phase, states, _)) in enumerate(cases.items()):
            api.put("pods", _pod(name, f"10.1.0.{number}", phase, *states))
        cluster = Cluster(KubeApi.connect(str(api.kubeconfig)), "n1", 300 * SECOND)
        cluster.start()
        try:
            end = time.monotonic() + 60
            while not cluster.is_complete and time.monotonic() < end:
                time.sleep(0.05)
            found = {pod.name: pod.is_over for n in range(len(cases)) if (pod := cluster.index.pod_at(f"10.1.0.{n}"))}
        finally:
            cluster.stop()
    assert found == {name: over for name, (_, _, over) in cases.items()}
