# SPDX-License-Identifier: Apache-2.0
"""The cluster as this agent sees it: which API, the watches, and how they are doing."""

import os
import platform
import threading
import time
from collections.abc import Sequence
from typing import Final

from collector.api import Problem
from collector.kubernetes_state import KindState, KubernetesState, NamesServiceState
from collector.metadata.cluster import ClusterIndex
from collector.metadata.cluster_size import NODES_WITHOUT_NAMES, SPREAD_SECONDS, Spread
from collector.metadata.kube_api import KubeApi, Unavailable, is_in_cluster
from collector.metadata.kube_watch import Switch, Watch, WatchState, of_node, of_others
from collector.metadata.names_client import NamesState, NamesSubscription
from collector.metadata.names_connection import NamesSettings

NODE_VARIABLE: Final = "NODE_NAME"
"""Set by the DaemonSet from spec.nodeName (downward API); else the host's name is the node's."""
POD_VARIABLE: Final = "POD_UID"
"""Set by the DaemonSet from metadata.uid: pods of the same controller are agents, and see their nodes from there."""
_WITH_ADDRESSES: Final = frozenset({"pods", "elsewhere", "services", "endpointslices", "nodes"})
_STALE_SECONDS: Final = 600.0
_STOP_SECONDS: Final = 2.0


def node_name() -> str:
    return os.environ.get(NODE_VARIABLE) or platform.node()


class Cluster:
    """Owns the threads that watch. `index` answers from the start and from whatever was heard until then."""

    def __init__(
        self, api: KubeApi, node: str, tombstone_ns: int, names: NamesSettings | None = None,
        spread_seconds: float = SPREAD_SECONDS,
    ) -> None:  # fmt: skip
        """With `names`, the rest of the cluster is told by the names service while that can be had. `spread_seconds` is the
        longest time that an agent of a large cluster waits before it asks the API server for that rest."""
        self.node = node
        self.index = ClusterIndex(tombstone_ns, time.monotonic_ns, node)
        self.api = api
        self._own_pod = os.environ.get(POD_VARIABLE, "")
        self._knows_agents = False
        self._knows_addresses = False
        self._stop = threading.Event()
        self._switch = Switch(on=False)
        self._spread = Spread(api, self._stop, spread_seconds)
        self._own = [Watch(api, self.index, resource, self._stop) for resource in of_node(node)]
        self._others = [Watch(api, self.index, resource, self._stop, self._switch) for resource in of_others(node)]
        self._names = (
            NamesSubscription(api, self.index, names, self._switch, self._stop, self._answers, self._spread.wait)
            if names
            else None
        )
        runs = [(watch.state.name, watch.run) for watch in (*self._own, *self._others)]
        runs.append(("names", self._names.run) if self._names else ("spread", self._ask_all))
        self._threads = [threading.Thread(target=run, name=f"kube-{name}", daemon=True) for name, run in runs]

    def _ask_all(self) -> None:
        self._spread.wait()
        self._switch.turn(on=True)

    def _answers(self) -> bool:
        return all(watch.state.heard > 0 and not watch.state.fault for watch in self._own)

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
            self.index.observe_by(own)
            self._knows_agents = True

    def states(self) -> Sequence[WatchState]:
        """Of what the API server is asked for now."""
        return [watch.state for watch in (*self._own, *(self._others if self._switch.on else ()))]

    @property
    def names(self) -> NamesState | None:
        """How it stands with the names service; None if there is none to be followed."""
        return self._names.state if self._names and self._names.state.place else None

    def sources(self) -> list[str]:
        """Who tells the names, since when nothing was heard, and what is not told: for people."""
        now, states = time.monotonic(), self.states()
        told: list[str] = []
        if (names := self.names) is not None and not self._switch.on:
            age = f"heard {now - names.heard:.0f} s ago" if names.heard else "not heard yet"
            fault = f": {names.fault}" if names.fault else ""
            told.append(f"names of other nodes' pods are those of the names service at {names.place}, {age}{fault}")
        if (left := self._spread.left) and not self._switch.on:
            told.append(
                f"the rest of this large cluster is asked for in {left:.0f} s, as agents must not ask all at once"
            )
        fine = [state for state in states if state.complete and not state.fault]
        if fine:
            listed = ", ".join(state.name for state in fine)
            told.append(f"the API server tells of {listed}, last {now - max(state.heard for state in fine):.0f} s ago")
        for state in states:
            if state not in fine:
                since = f"for {now - state.heard:.0f} s" if state.heard else "since the start"
                told.append(
                    f"of {state.name} the API server has told nothing {since}: {state.fault or 'no answer yet'}"
                )
        return told

    def state(self) -> KubernetesState:
        """Who tells the names, what was told, and how long ago, for the status."""
        now = time.monotonic()
        kinds = [
            KindState(state.name, state.complete, now - state.heard if state.heard else None, state.fault)
            for state in self.states()
        ]
        return KubernetesState(self.is_complete, kinds, self._names_service(now))

    def _names_service(self, now: float) -> NamesServiceState | None:
        if (names := self.names) is None:
            return None
        age = now - names.heard + names.silent if names.heard else None
        return NamesServiceState(names.place, not self._switch.on, names.complete, age, names.fault)

    @property
    def is_complete(self) -> bool:
        """Whether every kind was told once."""
        return self._are_others_told and all(state.complete for state in self.states())

    def knows_addresses(self) -> bool:
        """Whether all that has an address was told once: before that, an address that nobody has may be a pod's."""
        if not self._knows_addresses and self._are_others_told:
            told = [state.complete for state in self.states() if state.name in _WITH_ADDRESSES]
            self._knows_addresses = all(told)
        return self._knows_addresses

    @property
    def _are_others_told(self) -> bool:
        return self._switch.on or (self._names is not None and self._names.state.complete)

    def cost(self) -> tuple[int, int]:
        """Requests to the API server so far, and bytes read from it."""
        return self.api.requests, self.api.bytes_read

    def problems(self) -> list[Problem]:
        """What the API does not tell, and since when."""
        found = problems_of(self.states(), "the agent's service account")
        if (names := self.names) is not None and not names.subscribed and names.fault:
            what = "the names service cannot be followed"
            asked = "the API server is asked instead" if self._switch.on else "names known until then stay"
            remedy = (
                "see its log and /readyz, kubernetes.names, and that kubernetes.names_ca vouches for its certificate"
            )
            found.append(Problem("warning", f"{what}: {asked}", names.fault, remedy))
        if names is not None and names.unreadable:
            what = f"{names.unreadable} rows of the names service were passed over"
            found.append(Problem("warning", what, f"it is of version {names.version}", "bring both to one version"))
        counts = self.index.counts()
        if self._switch.on and counts.nodes > NODES_WITHOUT_NAMES:
            what = f"every one of {counts.nodes} agents asks the API server for the whole cluster"
            remedy = "install the names service, and let kubernetes.names find it"
            found.append(Problem("warning", what, "there is no names service, or it does not answer", remedy))
        if counts.left_out:
            found.append(
                Problem("warning", f"{counts.left_out} objects were left out", "the limits are reached", "report it")
            )
        return found


def without(fault: str) -> KubernetesState | None:
    """Where there is no cluster to ask, though one was wanted: why. None where none was (`fault` is empty)."""
    return KubernetesState(complete=False, fault=fault) if fault else None


def problems_of(states: Sequence[WatchState], account: str) -> list[Problem]:
    """Of watches."""
    found: list[Problem] = []
    for state in states:
        if not state.fault:
            continue
        age = time.monotonic() - state.heard
        since = f"for {age:.0f} s; names known until then stay" if state.heard else "at all, since the start"
        severity = "error" if not state.heard or age > _STALE_SECONDS else "warning"
        remedy = f"see that the API server answers, and that {account} may list and watch"
        found.append(Problem(severity, f"the API tells nothing of {state.name} {since}", state.fault, remedy))
    for state in states:
        if state.malformed:
            what = f"{state.malformed} {state.name} could not be read and have no names"
            found.append(Problem("warning", what, state.last_malformed, "please report it with that object"))
    return found


def connect(
    enabled: str, kubeconfig: str, tombstone_ns: int, names: NamesSettings | None = None
) -> tuple[Cluster | None, str]:
    """By `kubernetes.enabled`: the cluster, or why there is none (empty where none was wanted)."""
    if enabled == "false" or (enabled == "auto" and not kubeconfig and not is_in_cluster()):
        return None, ""
    try:
        return Cluster(KubeApi.connect(kubeconfig), node_name(), tombstone_ns, names), ""
    except Unavailable as fault:
        return None, str(fault)
