# SPDX-License-Identifier: Apache-2.0
"""What the loader hands to the agent over a socketpair: descriptors, and a report of what it did and why.

One message: a JSON object, and with it the descriptors in the order of its `descriptors` list. The loader then exits;
the hooks live as long as somebody holds these descriptors.
"""

import json
import mmap
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from probes import perf_rings

_LARGEST_REPORT = 1 << 18
_MOST_DESCRIPTORS = 253  # SCM_MAX_FD
ITERATOR = "iterator"
LINK = "link"
PERF_RING = "perf_ring"


class LoaderError(Exception):
    """The loader did not answer as agreed; the text says what to do."""


@dataclass(frozen=True, slots=True)
class HookReport:
    name: str
    attached: bool
    required: bool
    reason: str = ""
    loses: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A driver that was tried or left out, why, and what would change that."""

    driver: str
    reason: str
    remedy: str = ""


def not_taken(driver: str, in_use: str) -> str:
    """How its refusal is told: a driver that loads may have been refused in another way before."""
    return f"{driver} by other hooks" if driver == in_use else f"{driver} was not chosen"


@dataclass(frozen=True, slots=True)
class Report:
    """Which driver was chosen (`none`: no probe at all) and why the others were not."""

    driver: str
    hook_set: str
    kernel: str
    ring_bytes: int = 0
    pod_hierarchy: str = ""
    hooks: tuple[HookReport, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    self_test: str = ""
    seconds: float = 0.0
    pid_namespace: int = 0
    """Inode of the agent's own pid namespace, where only what runs inside of it is seen; 0: the whole machine is."""
    cgroup_subtree: bool = False
    """The cgroup hooks see only a part of the machine's groups."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Report":
        fields = json.loads(text)
        fields["hooks"] = tuple(HookReport(**hook) for hook in fields["hooks"])
        fields["rejected"] = tuple(Rejected(**rejected) for rejected in fields["rejected"])
        return Report(**fields)


@dataclass(frozen=True, slots=True)
class Attachment:
    """The descriptors of a loaded driver, by role. Whoever holds it owns them."""

    report: Report
    ring: int = -1
    control: int = -1
    modes: int = -1
    counters: int = -1
    iterators: list[int] = field(default_factory=list)
    links: tuple[int, ...] = ()
    perf_rings: tuple[int, ...] = ()
    """Instead of `ring`: one for each processor, of `report.ring_bytes` each."""
    held: tuple[mmap.mmap, ...] = ()
    """Their mappings, without which the kernel would let go of them."""

    @property
    def has_ring(self) -> bool:
        """Whether events come from this driver at all."""
        return self.ring >= 0 or bool(self.perf_rings)

    def close(self) -> None:
        """Lets go of everything: the last holder's close takes the hooks off."""
        for mapping in self.held:
            mapping.close()
        one = (self.ring, self.control, self.modes, self.counters)
        for fd in (*one, *self.iterators, *self.links, *self.perf_rings):
            if fd >= 0:
                os.close(fd)
        self.iterators.clear()


def send(
    channel: socket.socket, report: Report, descriptors: Mapping[str, int], many: Mapping[str, Iterable[int]]
) -> None:
    """The loader's side. `descriptors` has one of each role, `many` several (links, iterators, perf rings)."""
    named = [*descriptors.items(), *((role, fd) for role, fds in many.items() for fd in fds)]
    message = json.dumps({"report": report.to_json(), "descriptors": [role for role, _ in named]}).encode()
    socket.send_fds(channel, [message], [fd for _, fd in named])


def receive(channel: socket.socket) -> Attachment:
    """The agent's side: waits as long as the channel's time-out. Raises LoaderError."""
    try:
        message, fds, flags, _ = socket.recv_fds(channel, _LARGEST_REPORT, _MOST_DESCRIPTORS)
    except TimeoutError:
        raise LoaderError("the loader did not answer in time; its last words are above") from None
    for fd in fds:
        os.set_inheritable(fd, False)  # recv_fds does not hand its flags on
    if not message:
        raise LoaderError("the loader ended without an answer; its last words are above")
    try:
        answer = json.loads(message)
        roles: list[str] = answer["descriptors"]
        report = Report.from_json(answer["report"])
        if len(roles) != len(fds) or flags & socket.MSG_CTRUNC:
            raise ValueError(f"{len(fds)} of {len(roles)} descriptors arrived, see ulimit -n")
    except (ValueError, KeyError, TypeError) as error:
        for fd in fds:
            os.close(fd)
        raise LoaderError(f"the loader's answer cannot be read ({error}); reinstall, its parts do not match") from None
    one = dict(zip(roles, fds, strict=True))
    rings = tuple(fd for role, fd in zip(roles, fds, strict=True) if role == PERF_RING)
    try:
        held = tuple(perf_rings.hold(rings, report.ring_bytes))
    except OSError as error:
        for fd in fds:
            os.close(fd)
        raise LoaderError(
            f"the perf rings cannot be mapped ({error.strerror}); allow more locked memory (ulimit -l), or a smaller ring.size"
        ) from None
    return Attachment(
        report=report,
        ring=one.get("ring", -1),
        control=one.get("control", -1),
        modes=one.get("modes", -1),
        counters=one.get("counters", -1),
        iterators=[fd for role, fd in zip(roles, fds, strict=True) if role == ITERATOR],
        links=tuple(fd for role, fd in zip(roles, fds, strict=True) if role == LINK),
        perf_rings=rings,
        held=held,
    )
