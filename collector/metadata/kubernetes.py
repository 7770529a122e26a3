# SPDX-License-Identifier: Apache-2.0
"""The cluster as this agent sees it: which API, the watches, and how they are doing."""

import os
import platform
import threading
import time
from collections.abc import Sequence
from typing import Final

from collector.api import Problem
from collector.metadata.cluster import ClusterIndex
from collector.metadata.kube_api import KubeApi, Unavailable, is_in_cluster
from collector.metadata.kube_watch import Watch, WatchState, resources

NODE_VARIABLE: Final = "NODE_NAME"
"""Set by the DaemonSet from spec.nodeName (downward API); else the host's name is the node's."""
POD_VARIABLE: Final = "POD_UID"
"""Set by the DaemonSet from metadata.uid: pods of the same controller are agents, and see their nodes from there."""
_STALE_SECONDS: Final = 600.0
_STOP_SECONDS: Final = 2.0


def node_name() -> str:
    return os.environ.get(NODE_VARIABLE) or platform.node()


class Cluster:
    """Owns the threads that watch. `index` answers from the start and from whatever was heard until then."""

    def __init__(self, api: KubeApi, node: str, tombstone_ns: int) -> None:
        self.node = node
        self.index = ClusterIndex(tombstone_ns, time.monotonic_ns, node)
        self.api = api
        self._own_pod = os.environ.get(POD_VARIABLE, "")
        self._knows_agents = False
        self._stop = threading.Event()
        self._watches = [Watch(api, self.index, resource, self._stop) for resource in resources(node)]
        self._threads = [
            threading.Thread(target=watch.run, name=f"kube-{watch.state.name}", daemon=True) for watch in self._watches
        ]

    def start(self) -> None:
        """After privileges are given up: threads keep those that they are started with."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Watches end at the next event or time-out of theirs; nobody waits for the last of them."""
        self._stop.set()
        end = time.monotonic() + _STOP_SECONDS
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, end - time.monotonic()))

    def turn(self) -> None:
        """Now and then: forgets what ended long ago, and finds out which pods are agents, by the controller of its own."""
        self.index.sweep()
        own = self.index.pod_of_cgroup(self._own_pod) if self._own_pod and not self._knows_agents else None
        if own is not None:
            self.index.observe_by(own.owner)
            self._knows_agents = True

    def states(self) -> Sequence[WatchState]:
        return [watch.state for watch in self._watches]

    @property
    def is_complete(self) -> bool:
        """Whether every kind was listed once."""
        return all(state.complete for state in self.states())

    def cost(self) -> tuple[int, int]:
        """Requests to the API server so far, and bytes read from it."""
        return self.api.requests, self.api.bytes_read

    def problems(self) -> list[Problem]:
        """What the API does not tell, and since when."""
        found: list[Problem] = []
        for state in self.states():
            if not state.fault:
                continue
            age = time.monotonic() - state.heard
            since = f"for {age:.0f} s; names known until then stay" if state.heard else "at all, since the start"
            severity = "error" if not state.heard or age > _STALE_SECONDS else "warning"
            remedy = "see that the API server answers, and that the agent's service account may list and watch"
            found.append(Problem(severity, f"the API tells nothing of {state.name} {since}", state.fault, remedy))
        for state in self.states():
            if state.malformed:
                what = f"{state.malformed} {state.name} could not be read and have no names"
                found.append(Problem("warning", what, state.last_malformed, "please report it with that object"))
        if left_out := self.index.counts().left_out:
            found.append(Problem("warning", f"{left_out} objects were left out", "the limits are reached", "report it"))
        return found


def connect(enabled: str, kubeconfig: str, tombstone_ns: int) -> tuple[Cluster | None, str]:
    """By `kubernetes.enabled`: the cluster, or why there is none (empty where none was wanted)."""
    if enabled == "false" or (enabled == "auto" and not kubeconfig and not is_in_cluster()):
        return None, ""
    try:
        return Cluster(KubeApi.connect(kubeconfig), node_name(), tombstone_ns), ""
    except Unavailable as fault:
        return None, str(fault)
