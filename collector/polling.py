# SPDX-License-Identifier: Apache-2.0
"""Without a probe: socket lists at a pace that this node can bear, and what they cannot tell."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from analyzers.polled import PolledRows
from collector.api import Problem
from exporters import registry_traffic as traffic
from probes.conntrack_list import TranslationLister
from probes.sockets import SocketLister

_PAUSE_SECONDS = 5.0
_SHARE = 50
"""A list may take a fiftieth of the time between two: on a node with many sockets they come less often."""
TOLD = frozenset(
    metric.name
    for metric in (
        traffic.SRTT, traffic.RETRANSMIT, traffic.TOPOLOGY_REQUEST_BYTES, traffic.TOPOLOGY_RESPONSE_BYTES,
        traffic.ENTITY_SENT, traffic.ENTITY_RECEIVED,
    )
)  # fmt: skip
"""Names of the metrics that socket lists can feed; the others are absent."""


class Polling:
    """`rows` is what a TableView reads. Sockets are listed off the loop's thread."""

    def __init__(self, idle_ns: int, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._lister = SocketLister(proc)
        self._translations = TranslationLister.opened(proc)
        self.rows = PolledRows(self._name_of, idle_ns)
        self._due = 0.0
        self._fault = ""
        # At once: what this imports may not be readable any more once the privileges are gone.
        self._list()

    def close(self) -> None:
        self._translations.close()

    async def turn(self) -> None:
        """Lists the sockets again if it is time."""
        if time.monotonic() < self._due:
            return
        took = await asyncio.to_thread(self._list)
        self._due = time.monotonic() + max(_PAUSE_SECONDS, _SHARE * took)

    def problems(self, *, in_cluster: bool) -> Iterator[Problem]:
        """What was not seen, and why. Translations matter to a node that belongs to a cluster."""
        if self._fault:
            yield Problem("error", "the sockets of this node cannot be listed", self._fault, "mount /proc")
        if self._lister.detail_fault:
            yield Problem(
                "warning",
                "round-trip times, retransmits and bytes are not known",
                self._lister.detail_fault,
                "a kernel with CONFIG_INET_DIAG, and hostNetwork: true",
            )
        if in_cluster:
            yield Problem(
                "warning",
                "of pods with a network of their own there are edges, but no round-trip times, retransmits and bytes",
                "sock_diag answers for the own network namespace only",
                "use a driver",
            )
        if in_cluster and self._translations.fault:
            yield Problem(
                "warning",
                "the pod that answers behind a Service is not known",
                self._translations.fault,
                "a kernel with nf_conntrack and CONFIG_NF_CONNTRACK_PROCFS; run as root, hostNetwork: true",
            )
        if self._translations.left_out:
            yield Problem(
                "warning",
                f"{self._translations.left_out} entries of conntrack were not looked at",
                "more than the limits allow",
                "use a driver",
            )
        if missed := self._lister.left_out + self.rows.overflow:
            yield Problem("warning", f"{missed} sockets were left out", "more than the limits allow", "use a driver")

    def _list(self) -> float:
        began = time.thread_time()
        try:
            sockets = self._lister.read()
            self._fault = ""
        except OSError as error:
            self._fault = str(error)
        else:
            self.rows.take(self._translations.applied(sockets), time.monotonic_ns())
        return time.thread_time() - began

    def _name_of(self, pid: int) -> str:
        try:
            return (self._proc / str(pid) / "comm").read_text(errors="replace").strip()
        except OSError:
            return ""
